"""Live HLS: when its segments were made, as the playlist says and from what FFmpeg reads."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from audio.heard import Heard
from audio.hostile_servers import Handler, head, serving
from audio.recordings import ffmpeg, write_wav
from timing import within

from pe_stream.audio.hls import HlsTimes, WatchedBody
from pe_stream.audio.network import NetworkStream

NOON_S = 1_795_262_400.0
ADDRESS = "http://radio/live/list.m3u8"


def utc(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


class Bodies:
    """Stands for a server: what is at each address."""

    def __init__(self, texts: dict[str, str] | None = None) -> None:
        self.texts = texts or {}

    def open(self, url: str, _flags: int, _options: object) -> Body:
        return Body(self.texts.get(url, "sound").encode())


class Body:
    """A body that comes in small pieces."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.name = "a body"

    def read(self, size: int) -> bytes:
        size = min(size, 5)
        taken, self.data = self.data[:size], self.data[size:]
        return taken


def read_through(body: WatchedBody) -> bytes:
    whole = b""
    while data := body.read(1000):
        whole += data
    return whole


def test_a_playlist_that_is_read_along_says_when_its_segments_were_made() -> None:
    text = (
        "#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n"
        f"#EXT-X-PROGRAM-DATE-TIME:{utc(NOON_S)}\r\n#EXTINF:4.000,a, b\r\na.ts\r\n"
        "#EXTINF:3.5,\nb.ts\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T13:00:30+0100\n#EXTINF:4,\n../c.ts?x=1\n"
    )
    times = HlsTimes()
    opens = times.watching(Bodies({ADDRESS: text}).open)
    body = opens(ADDRESS, 0, {})
    assert body.name == "a body"
    assert read_through(body) == text.encode()
    assert times.target_s == 4.0
    assert times.utc_of(7.0) is None
    opens("crypto+http://radio/live/b.ts", 0, {})
    assert times.utc_of(7.0) == pytest.approx(NOON_S + 4, abs=0.01)
    assert times.utc_of(7.1) == pytest.approx(NOON_S + 4.1, abs=0.01)
    opens("http://radio/c.ts?x=1", 0, {})
    assert times.utc_of(10.5) == pytest.approx(NOON_S + 30, abs=0.01)
    assert read_through(opens("http://radio/c.ts", 0, {})) == b"sound"


def test_segments_of_one_file_are_told_apart() -> None:
    text = "#EXTM3U\n" + "".join(
        f"#EXT-X-PROGRAM-DATE-TIME:{utc(NOON_S + 100 * number)}\n#EXTINF:4,\n"
        f"#EXT-X-BYTERANGE:1000{'@500' if not number else ''}\nall.ts\n"
        for number in range(3)
    )
    times = HlsTimes()
    times.read(text, ADDRESS)
    opens = times.watching(Bodies().open)
    for number, offset in enumerate((500, 1500, 2500)):
        opens("http://radio/live/all.ts", 0, {"offset": str(offset)})
        assert times.utc_of(float(number)) == pytest.approx(NOON_S + 100 * number, abs=0.01)


@pytest.mark.parametrize("said", ["", "yesterday", "2026-13-45T99:99:99Z"])
def test_a_time_that_is_none_is_left_out(said: str) -> None:
    times = HlsTimes()
    times.read(f"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:{said}\n#EXTINF:x,\na.ts\n", ADDRESS)
    times.watching(Bodies().open)("http://radio/live/a.ts", 0, {})
    assert times.utc_of(1.0) is None


def playing(
    times: HlsTimes,
    made: Callable[[int], float],
    left_s: Callable[[int], float],
    count: int,
) -> list[float]:
    """UTC of each tenth, of segments of 4 s; left_s: of each comes once the next is opened."""
    said = []
    opens = times.watching(Bodies().open)
    at = 0
    for number in range(count):
        text = f"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:{utc(made(number))}\n#EXTINF:4,\n{number}.ts\n"
        times.read(text, ADDRESS)
        opens(f"http://radio/live/{number}.ts", 0, {})
        until = round(40 * (number + 1) - (10 * left_s(number)))
        for tenth in range(at, until):
            utc_s = times.utc_of(1000 + tenth / 10)
            assert utc_s is not None
            said.append(utc_s)
        at = until
    return said


def test_the_first_segment_that_is_opened_is_the_first_that_is_heard() -> None:
    times = HlsTimes()
    opens = times.watching(Bodies().open)
    for number in range(2):  # FFmpeg looks into what there is
        made = utc(NOON_S + 4 * number)
        times.read(f"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:{made}\n{number}.ts\n", ADDRESS)
        opens(f"http://radio/live/{number}.ts", 0, {})
    assert times.utc_of(7.0) == pytest.approx(NOON_S, abs=0.01)


@pytest.mark.parametrize(
    "left_s", [lambda _: 0.0, lambda _: 0.2, lambda number: number % 4 / 10], ids=["0", "2", "0-3"]
)
def test_what_is_left_of_the_segment_before_moves_nothing(left_s: Callable[[int], float]) -> None:
    said = playing(HlsTimes(), lambda number: NOON_S + 4 * number, left_s, 20)
    assert said == pytest.approx([NOON_S + tenth / 10 for tenth in range(len(said))], abs=0.002)


@pytest.mark.parametrize(("taken_s", "most_s"), [(4.02, 0.5), (3.98, 0.15)])
def test_a_wall_clock_that_leaves_the_sound_behind_is_followed(
    taken_s: float, most_s: float
) -> None:
    """4 s of sound take so long: 0.5 % slow or fast, over an hour."""
    said = playing(
        HlsTimes(), lambda number: NOON_S + taken_s * number, lambda number: number % 4 / 10, 900
    )
    true = [NOON_S + tenth / 40 * taken_s for tenth in range(len(said))]
    assert np.abs(np.array(said) - true).max() < most_s


def test_a_step_of_the_playlist_is_one_of_the_sound() -> None:
    said = playing(
        HlsTimes(), lambda number: NOON_S + 4 * number + 60 * (number >= 5), lambda _: 0.0, 10
    )
    assert said[199] == pytest.approx(NOON_S + 19.9, abs=0.002)
    assert said[200] == pytest.approx(NOON_S + 80, abs=0.002)


@pytest.mark.parametrize("left_s", [0.0, 0.2])
@pytest.mark.parametrize("first_s", [0.0, 1.4, 5000.0])
def test_stamps_that_begin_anew_with_a_segment_are_its_time(left_s: float, first_s: float) -> None:
    """As after EXT-X-DISCONTINUITY; left_s: of each segment comes once the next is opened."""
    times = HlsTimes()
    opens = times.watching(Bodies().open)

    def said(number: int, tenths: range) -> list[float]:
        stamps_s = [(first_s if number else 900.0) + tenth / 10 for tenth in tenths]
        return [found for each in stamps_s if (found := times.utc_of(each)) is not None]

    for number in range(6):
        made = utc(NOON_S + 4 * number)
        times.read(f"#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:{made}\n#EXTINF:4,\n{number}.ts\n", ADDRESS)
        opens(f"http://radio/live/{number}.ts", 0, {})
        kept = 40 - round(10 * left_s)
        found = said(number - 1, range(kept, 40)) if number else []
        found += said(number, range(kept))
        begin = 40 * number - (40 - kept if number else 0)
        true = [NOON_S + tenth / 10 for tenth in range(begin, begin + len(found))]
        assert found == pytest.approx(true, abs=0.25)


def radio(segments: list[bytes], begun_s: float, *, tells: bool) -> Handler:
    """A live playlist of segments of 1 s, of which the last three are there."""

    def answer(connection: socket.socket, path: str) -> None:
        name = path.strip("/")
        if name.endswith(".ts"):
            data = segments[int(name.removesuffix(".ts"))]
            connection.sendall(head("video/mp2t", len(data)) + data)
            return
        there = min(len(segments), int(time.time() - begun_s))
        first = max(0, there - 3)
        text = (
            f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        )
        for number in range(first, there):
            made = f"#EXT-X-PROGRAM-DATE-TIME:{utc(begun_s + number)}\n" if tells else ""
            text += f"#EXTINF:1.0,\n{made}{number}.ts\n"
        connection.sendall(head("application/vnd.apple.mpegurl", len(text)) + text.encode())

    return answer


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Segments of 1 s with a tone at the beginning of each second but the first."""
    folder = tmp_path_factory.mktemp("hls")
    samples = np.random.default_rng(0).normal(0, 0.001, 14 * 48_000)
    tone = 0.5 * np.sin(np.arange(2400) * 2 * np.pi * 1000 / 48_000)
    for second in range(1, 14):
        samples[second * 48_000 : second * 48_000 + len(tone)] += tone
    wav = write_wav(folder / "a.wav", samples, 48_000)
    cut = ("-f", "segment", "-segment_time", "1", folder / "%d.ts")
    ffmpeg("-i", wav, "-c:a", "aac", "-b:a", "96k", *cut)
    return [(folder / f"{number}.ts").read_bytes() for number in range(13)]


@pytest.mark.realtime
@pytest.mark.parametrize("tells", [True, False], ids=["with times", "without"])
def test_a_live_stream_has_the_times_of_its_sounds(segments: list[bytes], *, tells: bool) -> None:
    begun_s = time.time() - 4.5
    heard = Heard()
    with serving(radio(segments, begun_s, tells=tells)) as server:
        stream = NetworkStream(server.url("/list.m3u8"), timeout_s=3.0)
        for chunk in stream:
            assert chunk.captured_s <= time.monotonic()
            heard.chunks.append(chunk)
            if sum(len(each.samples) for each in heard.chunks) > 6 * 48_000:
                stream.close()
    assert heard.segments == 1
    assert len(heard.ticks_s) >= 4
    for tick_s in heard.ticks_s:
        off_s = (tick_s - begun_s + 0.5) % 1.0 - 0.5 if tells else 0.0
        assert abs(off_s) < 0.15
        assert tick_s < time.time()
    if not tells:  # as late as it takes to be asked for
        first_s = heard.ticks_s[0] - begun_s
        assert 3.5 < first_s < 6.0 + within(1.0)
