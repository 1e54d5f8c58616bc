"""Streams over real connections on loopback."""

from __future__ import annotations

import itertools
import socket
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from audio.hostile_servers import (
    Handler,
    adts_frames,
    changing,
    drip,
    flood,
    garbage,
    head,
    serving,
    tone,
    wav,
    wav_head,
)
from audio.recordings import ONSETS_S, bursts, ffmpeg, onsets_s, write_wav
from audio.stream_servers import http_file, rtsp_camera
from mosquitto import wait_until
from timing import within

from pe_stream.audio import limits, network
from pe_stream.audio.feed import Feed
from pe_stream.audio.limits import BURST_S, LiveLimits, TooCostlyError
from pe_stream.audio.network import NetworkStream
from pe_stream.audio.source import open_source
from pe_stream.config import SourceSettings
from pe_stream.core.types import AudioChunk
from pe_stream.errors import UnavailableError

pytestmark = pytest.mark.realtime


def receive(stream: NetworkStream, old_s: float = 0.5) -> tuple[list[AudioChunk], str]:
    """Everything up to the loss of the stream, and the message of the loss.

    old_s: how old a sound may be when it is handed over (s).
    """
    chunks: list[AudioChunk] = []
    with pytest.raises(UnavailableError) as caught:  # noqa: PT012 - the loop is what raises
        for chunk in stream:
            assert 0 <= time.monotonic() - chunk.captured_s < within(old_s)
            chunks.append(chunk)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    return chunks, str(caught.value)


def length_ns(chunks: list[AudioChunk]) -> float:
    return sum(len(chunk.samples) for chunk in chunks) * 1e9 / 48_000


def test_a_camera_is_heard_until_it_hangs_up(capfd: pytest.CaptureFixture[str]) -> None:
    truth = bursts(48_000)
    with rtsp_camera(truth) as url:
        began_ns = time.time_ns()
        stream = NetworkStream(url, first_sample=500)
        chunks, message = receive(stream)
        ended_ns = time.time_ns()
    name = url.replace("admin:secret", "********").replace("=secret", "=********")
    assert stream.describe == f"{name} (audio alone over TCP)"
    assert message == f"{name}: the stream ended"
    assert chunks[0].start == 500
    assert chunks[0].anchor_ns is not None
    assert began_ns - 1e9 < chunks[0].anchor_ns
    assert chunks[0].anchor_ns + length_ns(chunks) < ended_ns + within(2e8)
    assert {chunk.anchor_ns for chunk in chunks[1:]} == {None}
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert onsets_s(samples) == pytest.approx(ONSETS_S, abs=0.001)
    assert capfd.readouterr() == ("", "")


def test_a_jump_of_the_time_stamps_alone_begins_no_segment() -> None:
    with rtsp_camera(np.full(48_000, 0.5), jump_at=25) as url:
        chunks, _ = receive(NetworkStream(url))
    assert [chunk.start for chunk in chunks if chunk.anchor_ns is not None] == [0]
    assert sum(len(chunk.samples) for chunk in chunks) == 48_000


def test_silence_on_the_line_is_a_loss() -> None:
    with rtsp_camera(np.zeros(48_000), stall_at=20) as url:
        began_s, timeout_s = time.monotonic(), within(1.5)
        chunks, message = receive(NetworkStream(url, timeout_s=timeout_s))
    assert chunks[-1].end == 20 * 960
    assert message.endswith("no answer within the time limit")
    assert time.monotonic() - began_s < timeout_s + within(2.5)


def test_closing_interrupts_a_read_that_would_last() -> None:
    with rtsp_camera(np.zeros(48_000), stall_at=20) as url:
        stream = NetworkStream(url, timeout_s=20.0)
        while next(stream).end < 20 * 960:
            pass
        closed_s: list[float] = []

        def close() -> None:
            closed_s.append(time.monotonic())
            stream.close()

        threading.Timer(0.3, close).start()
        assert list(stream) == []
        assert time.monotonic() - closed_s[0] < within(0.7)
        stream.close()


def test_a_camera_that_is_not_there() -> None:
    chunks, message = receive(NetworkStream("rtsp://user:secret@127.0.0.1:1/live"))
    assert chunks == []
    assert message == "rtsp://********@127.0.0.1:1/live: Connection refused"


def test_a_channel_it_has_not() -> None:
    with rtsp_camera(np.zeros(48_000)) as url:
        _, message = receive(NetworkStream(url, channel=1))
    assert message.endswith("there is no channel 1; it has 1, counted from 0")


@pytest.fixture
def mp3(tmp_path: Path) -> bytes:
    wav = write_wav(tmp_path / "a.wav", bursts(44_100), 44_100)
    ffmpeg("-i", wav, "-b:a", "128k", tmp_path / "a.mp3")
    return (tmp_path / "a.mp3").read_bytes()


def test_a_radio_is_heard_as_it_comes(mp3: bytes) -> None:
    with http_file(mp3, live=True) as url:
        chunks, message = receive(NetworkStream(url), old_s=2.5)  # it comes at once
    assert message.startswith(url)
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert onsets_s(samples) == pytest.approx(ONSETS_S, abs=0.001)


def test_a_recording_on_a_server_plays_in_real_time_and_ends(mp3: bytes) -> None:
    with http_file(mp3, live=False) as url:
        began_s = time.monotonic()
        chunks = list(NetworkStream(url))
    assert 1.3 < time.monotonic() - began_s < 2.0 + within(0.7)
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert onsets_s(samples) == pytest.approx(ONSETS_S, abs=0.001)


def test_a_wall_clock_that_is_set_begins_a_new_segment(monkeypatch: pytest.MonkeyPatch) -> None:
    with rtsp_camera(np.zeros(96_000)) as url:
        real_ns, read = time.time_ns, itertools.count()

        def set_meanwhile_ns() -> int:
            """Set after a second of sound, however busy whoever takes it is."""
            return real_ns() + (3_600_000_000_000 if next(read) >= 50 else 0)

        monkeypatch.setattr(time, "time_ns", set_meanwhile_ns)
        stream = NetworkStream(url)
        first = next(stream)
        later = next(chunk for chunk in stream if chunk.anchor_ns is not None)
        stream.close()
    assert first.anchor_ns is not None
    assert later.anchor_ns is not None
    assert later.anchor_ns - first.anchor_ns == pytest.approx(3.6e12, abs=3e9)


def test_a_burst_of_stored_audio_ends_when_it_comes(mp3: bytes) -> None:
    began_ns = time.time_ns()
    with http_file(mp3, live=True) as url:
        chunks, _ = receive(NetworkStream(url), old_s=2.5)
        ended_ns = time.time_ns()
    length_s = length_ns(chunks) / 1e9
    assert length_s == pytest.approx(2.0, abs=0.1)
    assert [chunk.anchor_ns is not None for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
    assert chunks[0].anchor_ns is not None
    assert began_ns - 5e8 < chunks[0].anchor_ns + length_ns(chunks) < ended_ns
    assert chunks[0].captured_s < chunks[-1].captured_s - length_s / 2


@pytest.mark.parametrize(
    ("handler", "costly", "patience", "said"),
    [
        (wav(1), False, 3.0, "a sample rate of 1 Hz; 1 kHz to 768 kHz can be read"),
        (garbage, True, 3.0, "no audio in 64 MB of it"),
        (drip, False, 0.15, "no audio within the time limit"),
    ],
    ids=["1 Hz", "garbage", "drip"],
)
def test_what_is_no_sound_ends_with_a_word(
    handler: Handler,
    said: str,
    patience: float,
    monkeypatch: pytest.MonkeyPatch,
    *,
    costly: bool,
) -> None:
    """Before a server is silent for its whole time limit, which a busy one may be for a while."""
    monkeypatch.setattr(limits, "PATIENCE", patience)
    with serving(handler) as source:
        chunks, message = receive(NetworkStream(source.url(), timeout_s=20.0))
        assert chunks == []
        assert message == f"{source.url()}: {said}"
        with pytest.raises(TooCostlyError if costly else UnavailableError):
            next(NetworkStream(source.url(), timeout_s=20.0))


def test_what_comes_too_fast_is_read_as_fast_as_it_plays() -> None:
    with serving(flood()) as source:
        opened_s = time.monotonic()
        stream = NetworkStream(source.url())

        def waiting_s() -> float:
            return stream._received._samples / 48_000

        # Nobody takes: the sender has to wait.
        wait_until(lambda: waiting_s() > network._WAITING_S - 1.0, "much of it waits")
        time.sleep(1.0)
        assert waiting_s() == pytest.approx(network._WAITING_S, abs=1.0)
        began_s, heard_s = time.monotonic(), 0.0
        for chunk in stream:
            assert len(chunk.samples) <= 48_000
            heard_s += len(chunk.samples) / 48_000
            passed_s = time.monotonic() - began_s
            if passed_s > 3.0 and (heard_s >= BURST_S or passed_s > within(10)):
                stream.close()
        elapsed_s = time.monotonic() - opened_s
        assert BURST_S <= heard_s <= BURST_S + 1.25 * elapsed_s + 1.0


def test_a_format_that_changes_all_the_time_is_too_much(tmp_path: Path) -> None:
    kinds = []
    for rate in (44_100, 32_000):
        wav_file = write_wav(tmp_path / f"{rate}.wav", bursts(rate), rate)
        ffmpeg("-i", wav_file, "-c:a", "aac", tmp_path / f"{rate}.aac")
        kinds.append(adts_frames((tmp_path / f"{rate}.aac").read_bytes()))
    with serving(changing(kinds)) as source:
        stream = NetworkStream(source.url())
        with pytest.raises(TooCostlyError, match="change again and again"):
            list(stream)


def test_what_is_expensive_to_decode_is_too_much() -> None:
    spent = LiveLimits()
    with pytest.raises(TooCostlyError):
        spent.spend_cpu(60.0)  # on the connections before
    with serving(flood(768_000, 64)) as source:
        stream = NetworkStream(source.url(), limits=spent)
        with pytest.raises(TooCostlyError, match=f"{source.url()}: too expensive to decode"):
            list(stream)


@pytest.mark.parametrize("kind", ["gopher", "mmsh", "rtmpt", "rtmpts", "rtmpte"])
def test_an_address_of_no_known_kind_is_refused(kind: str) -> None:
    """Nor of one that leads wherever a redirect does."""
    with pytest.raises(UnavailableError, match=f"addresses of the kind {kind}:// are not taken"):
        next(NetworkStream(f"{kind}://127.0.0.1/"))


def test_a_microphone_that_drops_out_is_counted_once_over_all_its_connections() -> None:
    """16 kHz WAV over HTTP, of which FFmpeg reads the first seconds before it hands any on."""
    some = tone(16_000, 6.0)

    def answer(connection: socket.socket, _: str) -> None:
        connection.sendall(head() + wav_head(16_000, bits=16))
        began_s = time.monotonic()
        for number in range(225):  # 4.5 s, then it hangs up
            connection.sendall(some[number * 640 : (number + 1) * 640])
            time.sleep(max(0.0, began_s + (number + 1) * 0.02 - time.monotonic()))

    chunks: list[AudioChunk] = []
    failures: list[BaseException] = []
    with serving(answer) as source:
        spec = SourceSettings(url=source.url())
        feed = Feed(
            "esp",
            lambda first, at_s: open_source(spec, first_sample=first, at_s=at_s),
            arrived=lambda: chunks.extend(
                each for each in feed.take() if isinstance(each, AudioChunk)
            ),
            failed=failures.append,
        )
        feed.open()
        feed.start()
        wait_until(lambda: sum(chunk.anchor_ns is not None for chunk in chunks) >= 3, "3", 40)
        wait_until(lambda: chunks[-1].end > 48_000 * 13, "13 s", 20)
        feed.stop()
        feed.join(5)
    assert failures == []
    heard_s = sum(len(chunk.samples) for chunk in chunks) / 48_000
    begun_s = chunks[0].captured_s - len(chunks[0].samples) / 48_000
    elapsed_s = chunks[-1].captured_s - begun_s
    assert chunks[-1].end / 48_000 == pytest.approx(elapsed_s, abs=within(0.2))
    assert heard_s < elapsed_s - 1.0  # it was away for a second, twice
