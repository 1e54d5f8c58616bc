"""A real (virtual) microphone: PulseAudio's null sink, recorded through PortAudio."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import virtual_microphone
from audio.recordings import write_wav
from mosquitto import wait_until
from timing import within
from virtual_microphone import VirtualMicrophone

from pe_stream.audio import capture, microphone
from pe_stream.audio.devices import list_devices
from pe_stream.audio.microphone import Absent, Microphone
from pe_stream.core.pipe_messages import message
from pe_stream.core.types import AudioChunk
from pe_stream.errors import UnavailableError

pytestmark = pytest.mark.realtime


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    if absent := virtual_microphone.missing():
        pytest.skip(absent)
    with virtual_microphone.virtual_microphone() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def opened(virtual: VirtualMicrophone) -> Iterator[Microphone]:
    recording = Microphone("default", first_sample=7000)
    yield recording
    recording.close()


def heard(recording: Microphone) -> AudioChunk:
    """The next chunk; whatever is absent must come within 15 s."""
    deadline_s = time.monotonic() + within(15)
    while time.monotonic() < deadline_s:
        item = next(recording)
        if isinstance(item, AudioChunk):
            return item
    raise AssertionError("nothing is heard")


def absent(recording: Microphone) -> str:
    """Why nothing is heard, from when on nothing is."""
    return next(item.reason for item in recording if isinstance(item, Absent))


def hear_tone(recording: Microphone, virtual: VirtualMicrophone, folder: Path) -> list[AudioChunk]:
    """Play 1 s of 1 kHz at half of full scale; everything heard until it is over.

    Silence around it, since PulseAudio cuts the first moments of what begins to play.
    """
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    tone = np.pad(tone, 14_400)
    path = write_wav(folder / "tone.wav", tone, 48_000)
    chunks = [heard(recording)]
    player = virtual.play(path)
    loud = 0
    deadline = time.monotonic() + within(15)
    while loud < 40_000 or np.abs(chunks[-1].samples).max() > 0.1:
        assert time.monotonic() < deadline, "the tone was not heard"
        chunks.append(heard(recording))
        loud += int(np.count_nonzero(np.abs(chunks[-1].samples) > 0.01))
    assert player.wait(within(10)) == 0
    return chunks


def check_tone(chunks: list[AudioChunk]) -> None:
    """The tone has its level, its pitch and its length, and no sample is missing."""
    samples = np.concatenate([chunk.samples for chunk in chunks])
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    tone = samples[loud[0] : loud[-1]]
    assert len(tone) == pytest.approx(48_000, abs=200)
    assert np.abs(tone).max() == pytest.approx(0.5, abs=0.02)
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone))))
    assert np.argmax(spectrum) * 48_000 / len(tone) == pytest.approx(1000, abs=2)
    assert chunks[0].anchor_ns is not None
    for before, after in pairwise(chunks):
        assert (after.start, after.anchor_ns) == (before.end, None)


def test_what_is_played_is_heard_at_the_right_time(
    opened: Microphone, virtual: VirtualMicrophone, tmp_path: Path
) -> None:
    asked_ns = time.time_ns()
    chunks = hear_tone(opened, virtual, tmp_path)
    assert opened.describe == "microphone 'default' (alsa:default)"
    check_tone(chunks)
    assert chunks[0].start == 7000
    assert chunks[0].anchor_ns is not None
    assert -5e9 < chunks[0].anchor_ns - asked_ns < within(5e9)
    end_ns = chunks[0].anchor_ns + (chunks[-1].end - 7000) * 1e9 / 48_000
    captured_ns = time.time_ns() - (time.monotonic() - chunks[-1].captured_s) * 1e9
    assert abs(captured_ns - end_ns) < 8e7


def test_a_device_that_cannot_do_48_khz_is_resampled(
    virtual: VirtualMicrophone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recording process is given a PortAudio that refuses 48 kHz."""
    (tmp_path / "refusing.py").write_text(
        "from pe_stream.audio import capture, portaudio\n"
        "really_open = portaudio.open_input\n"
        "def only_its_own(device, *, rate, **others):\n"
        "    if rate == 48_000:\n"
        "        raise portaudio.load().PortAudioError('Invalid sample rate', -9997)\n"
        "    return really_open(device, rate=rate, **others)\n"
        "portaudio.open_input = only_its_own\n"
        "capture.start()\n"
    )
    arguments = microphone.command("pulse", None)[-2:]
    refusing = [sys.executable, str(tmp_path / "refusing.py"), *arguments]
    monkeypatch.setattr(microphone, "command", lambda *_: refusing)
    recording = Microphone("pulse")
    chunks = hear_tone(recording, virtual, tmp_path)
    recording.close()
    check_tone(chunks)
    assert {len(chunk.samples) for chunk in chunks[2:-1]} - {1920}  # soxr's blocks vary


def test_a_microphone_is_waited_for_and_found_again(
    opened: Microphone, virtual: VirtualMicrophone
) -> None:
    before = heard(opened)
    for _ in range(2):
        virtual.unplug()
        began_s = time.monotonic()
        assert "is gone: it delivers no more sound" in absent(opened)
        assert time.monotonic() - began_s < within(4)  # 1.8 s on a quiet machine
        assert "cannot be opened" in absent(opened)
        virtual.plug_in()
        began_s = time.monotonic()
        after = heard(opened)
        assert time.monotonic() - began_s < within(6)  # 2.3 s on a quiet machine
        # As many samples are missing as the clock says.
        assert after.anchor_ns is not None
        elapsed_s = after.captured_s - before.captured_s
        assert (after.end - before.end) / 48_000 == pytest.approx(elapsed_s, abs=0.1)
        before = after
        for _ in range(25):
            before = heard(opened)


def test_one_that_is_not_there_yet_is_waited_for(virtual: VirtualMicrophone) -> None:
    virtual.unplug()
    began_s = time.monotonic()
    recording = Microphone("default", first_sample=5)
    assert "microphone 'default'" in absent(recording)
    virtual.plug_in()
    first = heard(recording)
    recording.close()
    # What passed meanwhile is lost.
    elapsed_s = first.captured_s - began_s
    assert (first.end - 5) / 48_000 == pytest.approx(elapsed_s, abs=0.2)


@pytest.mark.usefixtures("virtual")
def test_what_was_lost_before_it_was_opened_again_is_counted() -> None:
    began_s = time.monotonic()
    recording = Microphone("default", first_sample=48_000, at_s=began_s - 2.0)
    first = heard(recording)
    recording.close()
    elapsed_s = 2.0 + first.captured_s - began_s
    assert (first.end - 48_000) / 48_000 == pytest.approx(elapsed_s, abs=0.1)


def test_looking_for_one_does_not_disturb_another(
    opened: Microphone, virtual: VirtualMicrophone
) -> None:
    heard(opened)
    chunks: list[AudioChunk] = []

    def take() -> None:
        """Meanwhile: what nobody takes for too long is a gap."""
        chunks.extend(each for each in opened if isinstance(each, AudioChunk))

    taking = threading.Thread(target=take)
    taking.start()
    missing = Microphone("puls3")
    for _ in range(3):
        assert re.search(r"did you mean 'pulse'.*`pe-stream devices`", absent(missing))
        list_devices()
    missing.close()
    enough = len(chunks) + 50
    wait_until(lambda: len(chunks) >= enough, "it is heard on")
    opened.close()
    taking.join(within(5))
    assert all(chunk.anchor_ns is None for chunk in chunks)
    assert virtual.environment


def test_a_recording_process_that_dies_or_hangs_is_an_error(
    opened: Microphone, virtual: VirtualMicrophone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "_KILL_S", within(5))  # else its exit code may not be known yet
    heard(opened)
    opened._process.kill()
    with pytest.raises(UnavailableError, match=r"the process that records it has died \(-9\)"):
        list(opened)
    assert list(opened) == []
    again = Microphone("default")
    heard(again)
    again._process.send_signal(signal.SIGSTOP)
    began_s = time.monotonic()
    with pytest.raises(UnavailableError, match="the process that records it hangs"):
        list(again)
    assert time.monotonic() - began_s < within(4)
    assert virtual.environment


@pytest.mark.usefixtures("virtual")
def test_the_service_s_sigterm_does_not_end_the_recording(opened: Microphone) -> None:
    heard(opened)
    opened._process.terminate()
    for _ in range(50):
        heard(opened)


@pytest.mark.usefixtures("virtual")
def test_a_recorder_that_cannot_be_killed_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one that is stuck in its driver."""
    recording = Microphone("default")
    heard(recording)
    monkeypatch.setattr(recording._process, "kill", lambda: None)
    threading.Timer(0.2, recording.close).start()
    began_s = time.monotonic()
    list(recording)
    recording.close()
    assert time.monotonic() - began_s < within(3)
    monkeypatch.undo()
    recording._process.wait(within(5))  # its standard input is closed


def test_where_no_process_can_be_started_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "command", lambda *_: ["/no/such/python"])
    with pytest.raises(UnavailableError, match="no process to record it"):
        Microphone("default")


@pytest.mark.usefixtures("virtual")
def test_the_current_folder_is_not_imported_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    recording = Microphone("default")
    heard(recording)
    recording.close()


def test_the_recording_process_ends_with_ours(virtual: VirtualMicrophone) -> None:
    """Also when ours is killed."""
    script = (
        "from pe_stream.audio.microphone import Microphone\n"
        "recording = Microphone('default')\n"
        "next(recording)\n"
        "print(recording._process.pid, flush=True)\n"
        "for _ in recording: pass\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as ours:
        assert ours.stdout is not None
        recorder = psutil.Process(int(ours.stdout.readline()))
        ours.kill()
    recorder.wait(within(5))
    assert virtual.environment


@pytest.mark.usefixtures("virtual")
def test_audio_nobody_fetches_is_a_gap_not_a_shift() -> None:
    recording = Microphone("default")
    first = heard(recording)
    resume_s = first.captured_s + capture.MOST_BLOCKS * capture.BLOCK_S + 2.5
    while time.monotonic() < resume_s:
        time.sleep(0.02)
    after = next(
        item for item in recording if isinstance(item, AudioChunk) and item.anchor_ns is not None
    )
    recording.close()
    assert after.start - first.start > 10 * 48_000
    assert after.anchor_ns is not None
    assert first.anchor_ns is not None
    elapsed_ns = after.anchor_ns - first.anchor_ns
    assert elapsed_ns == pytest.approx((after.start - first.start) * 1e9 / 48_000, abs=1e8)


def test_a_break_ends_with_what_the_resampler_still_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that comes before the break, whose segment it belongs to."""
    monkeypatch.setattr(microphone, "command", lambda *_: ["sleep", "60"])
    recording = Microphone("default")
    block = np.full((1764, 1), 0.1, np.float32).tobytes()

    def messages() -> Iterator[tuple[bytes, bytes]]:
        for begun_s in (5.0, 9.0):
            yield capture.OPENED, b'{"describe": "it", "rate": 44100}'
            for i in range(1, 26):
                at_s = begun_s + 0.04 * i
                head = capture.SOUND_HEAD.pack(at_s, round(at_s * 1e9), False, 1)
                yield capture.SOUND, head + block
            yield capture.ABSENT, b"unplugged"
            yield capture.ABSENT, b"unplugged"

    monkeypatch.setattr(recording, "_messages", messages)
    items = list(recording)
    recording.close()
    ends = [i for i, item in enumerate(items) if isinstance(item, Absent)]
    assert len(ends) == 4
    first, second = items[: ends[0]], items[ends[1] + 1 : ends[2]]
    for part, start in ((first, 0), (second, 4 * 48_000)):
        chunks = [chunk for chunk in part if isinstance(chunk, AudioChunk)]
        assert [chunk.anchor_ns is not None for chunk in chunks] == [True] + [False] * (
            len(chunks) - 1
        )
        assert chunks[0].start == start
        assert chunks[-1].end == start + 48_000  # all of the second


@pytest.mark.parametrize("step_s", [3600, -3600])
def test_a_clock_that_is_set_moves_the_anchor_and_no_sample(
    step_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(microphone, "command", lambda *_: ["sleep", "60"])
    recording = Microphone("default")
    block = np.full((1920, 1), 0.1, np.float32).tobytes()

    def messages() -> Iterator[tuple[bytes, bytes]]:
        yield capture.OPENED, b'{"describe": "it", "rate": 48000}'
        for i in range(1, 101):
            clock_s = 1_000_000 + 0.04 * i + (step_s if i > 50 else 0)
            head = capture.SOUND_HEAD.pack(5 + 0.04 * i, round(clock_s * 1e9), False, 1)
            yield capture.SOUND, head + block

    monkeypatch.setattr(recording, "_messages", messages)
    chunks = [item for item in recording if isinstance(item, AudioChunk)]
    recording.close()
    assert [chunk.start for chunk in chunks] == [1920 * i for i in range(100)]
    anchors = {i: chunk.anchor_ns for i, chunk in enumerate(chunks) if chunk.anchor_ns is not None}
    begun, *later = anchors
    assert begun == 0
    assert len(later) == 1
    assert 50 <= later[0] < 60  # eight blocks in a row have to agree
    moved_ns = 1_000_000 * 10**9 + later[0] * 40_000_000 + step_s * 10**9
    assert anchors[later[0]] == pytest.approx(moved_ns, abs=1000)


def test_where_the_machine_pauses_no_recorder_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than one is waited for, and before it could say anything."""
    said = tmp_path / "said"
    said.write_bytes(message(capture.ABSENT, b"unplugged"))
    monkeypatch.setattr(microphone, "command", lambda *_: ["cat", str(said), "-"])
    clock = [1000.0]

    class Paused:
        def __init__(self) -> None:
            self._poll = select.poll()
            self.register = self._poll.register

        def poll(self, timeout_ms: float) -> list[tuple[int, int]]:
            if clock[0] > 1000.0:
                return self._poll.poll(timeout_ms)
            clock[0] += 60.0
            return []

    monkeypatch.setattr(microphone, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    paused = SimpleNamespace(poll=Paused, POLLIN=select.POLLIN)
    monkeypatch.setattr(microphone, "select", paused)
    recording = Microphone("default")
    assert absent(recording) == "unplugged"
    recording.close()


def test_closing_from_another_thread_ends_it_at_once(opened: Microphone) -> None:
    heard(opened)
    closed_s: list[float] = []

    def close() -> None:
        closed_s.append(time.monotonic())
        opened.close()

    threading.Timer(0.2, close).start()
    for _ in opened:
        pass
    assert time.monotonic() - closed_s[0] < within(0.5)
    opened.close()
    assert list(opened) == []


@pytest.mark.usefixtures("virtual")
def test_a_channel_it_has_not() -> None:
    recording = Microphone("pulse", channel=99)
    assert "no channel 99; it has 32, counted from 0" in absent(recording)
    recording.close()


def test_the_virtual_microphone_leaves_nothing_behind(virtual: VirtualMicrophone) -> None:
    folder = Path(virtual.environment["XDG_RUNTIME_DIR"])
    assert folder.is_relative_to(os.environ.get("TMPDIR", "/tmp"))
    assert virtual.environment["PULSE_SERVER"] == f"unix:{folder}/socket"


def test_the_recording_process_imports_little() -> None:
    """There is one for each microphone: configuration and FFmpeg were half of its memory."""
    program = (
        "import sys, pe_stream.audio.capture\n"
        "sys.exit(bool({'av', 'pydantic', 'soxr', 'torch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
