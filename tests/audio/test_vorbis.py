"""Vorbis, of which a few kilobytes make tables of hundreds of megabytes while it is opened."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from audio.hostile_servers import head, serving

from pe_stream.audio.opening import open_file, open_network

BOOKS, ENTRIES, DIMENSIONS = 256, 16_384, 16

MEASURED = """
import re, sys
from pathlib import Path
from pe_stream.audio.opening import open_file, open_network
from pe_stream.errors import UnavailableError

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

before = peak()
try:
    where = sys.argv[1]
    decoder = open_network(where, timeout_s=10) if "://" in where else open_file(where)
    list(decoder.blocks())
except UnavailableError as error:
    print(error, file=sys.stderr)
print((peak() - before) // 1024)
"""


class Bits:
    """Numbers as Vorbis packs them: the lowest bit first."""

    def __init__(self) -> None:
        self._value = self._count = 0

    def put(self, *numbers: tuple[int, int]) -> None:
        """Add numbers, each with how many bits it has."""
        for number, count in numbers:
            self._value |= number << self._count
            self._count += count

    def packed(self) -> bytes:
        return self._value.to_bytes((self._count + 7) // 8, "little")


def setup() -> bytes:
    """A header that is right, and has as many and as large code books as there may be."""
    bits = Bits()
    bits.put((BOOKS - 1, 8))
    one = struct.unpack("<I", struct.pack("<I", 0x6000_0001))[0]
    for _ in range(BOOKS):
        bits.put((0x564342, 24), (DIMENSIONS, 16), (ENTRIES, 24), (1, 1), (13, 5), (ENTRIES, 15))
        bits.put((1, 4), (one, 32), (one, 32), (0, 4), (0, 1), (0, 1))
    bits.put((0, 6), (0, 16))  # a transform
    bits.put((0, 6), (1, 16), (0, 5), (0, 2), (4, 4))  # a floor
    bits.put(
        (0, 6), (0, 16), (0, 24), (0, 24), (0, 24), (0, 6), (0, 8), (0, 3), (0, 1)
    )  # a residue
    bits.put((0, 6), (0, 16), (0, 1), (0, 1), (0, 2), (0, 8), (0, 8), (0, 8))  # a mapping
    bits.put((0, 6), (0, 1), (0, 16), (0, 16), (0, 8), (1, 1))  # a mode
    return b"\x05vorbis" + bits.packed()


def checksum(data: bytes) -> int:
    made = 0
    for byte in data:
        made ^= byte << 24
        for _ in range(8):
            made = (made << 1 ^ (0x04C1_1DB7 if made & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return made


def page(serial: int, number: int, *packets: bytes) -> bytes:
    """A page of Ogg."""
    laced = b"".join(b"\xff" * (len(each) // 255) + bytes([len(each) % 255]) for each in packets)
    flags, at = 2 * (number == 0), max(0, number - 1) * 5120
    front = b"OggS\0" + struct.pack("<BqII", flags, at, serial, number)
    back = bytes([len(laced)]) + laced + b"".join(packets)
    return front + struct.pack("<I", checksum(front + b"\0\0\0\0" + back)) + back


def bomb(tracks: int) -> bytes:
    """12 kB a track."""
    begun = b"\x01vorbis" + struct.pack("<IBIiiiBB", 0, 1, 48_000, 0, 64_000, 0, 0xB8, 1)
    comment = b"\x03vorbis" + struct.pack("<IxI", 0, 0)[:4] + struct.pack("<I", 0) + b"\1"
    header = setup()
    serials = range(1, tracks + 1)
    return b"".join(
        [
            *(page(serial, 0, begun) for serial in serials),
            *(page(serial, 1, comment, header) for serial in serials),
            *(page(serial, n, *[b"\0" * 20] * 5) for n in range(2, 12) for serial in serials),
        ]
    )


def grown_mb(where: str) -> int:
    done = subprocess.run([sys.executable, "-c", MEASURED, where], capture_output=True, check=True)
    return int(done.stdout)


@pytest.fixture(scope="module")
def eight() -> bytes:
    return bomb(8)


def test_a_single_track_costs_what_it_does(tmp_path: Path) -> None:
    """That is what the test is about: the header is taken."""
    file = tmp_path / "one.ogg"
    file.write_bytes(bomb(1))
    assert 150 < grown_mb(str(file)) < 400


def test_many_tracks_in_a_file_cost_no_more_than_one(tmp_path: Path, eight: bytes) -> None:
    file = tmp_path / "eight.ogg"
    file.write_bytes(eight)
    assert grown_mb(str(file)) < 400


def test_many_tracks_over_a_network_cost_no_more_than_one(eight: bytes) -> None:
    with serving(
        lambda connection, _: connection.sendall(head("audio/ogg", len(eight)) + eight)
    ) as server:
        assert grown_mb(server.url()) < 400
    with serving(lambda connection, _: connection.sendall(eight), asked=False) as server:
        assert grown_mb(server.url("", "tcp")) < 400


PICTURE, THEORA, VORBIS, OPUS, SUBTITLES = "vp8", "libtheora", "libvorbis", "libopus", "srt"

FILMS = {
    "a.ogg": [VORBIS],
    "a.webm": [VORBIS],
    "a.mka": [VORBIS],
    "film.webm": [PICTURE, VORBIS],
    "film.ogv": [THEORA, VORBIS],
    "with subtitles.mkv": [PICTURE, VORBIS, SUBTITLES],
    "with three subtitles.mkv": [PICTURE, VORBIS, SUBTITLES, SUBTITLES, SUBTITLES],
    "subtitles first.mkv": [SUBTITLES, PICTURE, VORBIS],
    "in two languages.mkv": [PICTURE, VORBIS, VORBIS],
    "in two languages.ogv": [THEORA, VORBIS, VORBIS],
    "in two codecs.mkv": [PICTURE, OPUS, VORBIS, VORBIS],
    "three.ogg": [VORBIS] * 3,
    "three.mka": [VORBIS, OPUS, OPUS],
    "a dozen.mka": [VORBIS] * 12,
}
"""What is in a container, in its order."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Of FFmpeg, for each codec."""
    subtitles = tmp_path_factory.mktemp("subtitles") / "words.srt"
    subtitles.write_text("1\n00:00:00,000 --> 00:00:02,000\nwords\n", "utf-8")
    picture = ["-f", "lavfi", "-i", "testsrc=d=2:r=5:s=64x64"]
    tones = ["-f", "lavfi", "-i", "sine=1000:r=48000:d=2"]
    return {
        PICTURE: picture,
        THEORA: picture,
        VORBIS: tones,
        OPUS: tones,
        SUBTITLES: ["-i", str(subtitles)],
    }


@pytest.mark.parametrize("name", FILMS)
def test_vorbis_is_heard_to_its_end(
    name: str, inputs: dict[str, list[str]], tmp_path: Path
) -> None:
    """Whatever else is in the container: a picture, other languages, words."""
    file = tmp_path / name
    codecs = FILMS[name]
    given = [word for codec in codecs for word in inputs[codec]]
    taken = [word for number in range(len(codecs)) for word in ("-map", str(number))]
    named = [word for number, codec in enumerate(codecs) for word in (f"-c:{number}", codec)]
    subprocess.run(["ffmpeg", "-v", "error", *given, *taken, *named, file], check=True)
    data = file.read_bytes()
    with (
        serving(lambda connection, _: connection.sendall(head(length=len(data)) + data)) as stated,
        serving(lambda connection, _: connection.sendall(head() + data)) as live,
        serving(lambda connection, _: connection.sendall(data), asked=False) as bare,
    ):
        urls = (stated.url(), live.url(), bare.url("", "tcp"))
        decoders = [open_file(str(file)), *(open_network(url, timeout_s=3) for url in urls)]
        for decoder in decoders:
            samples = sum(block.planes.shape[1] for block in decoder.blocks())
            assert samples == pytest.approx(2 * 48_000, abs=4096)


def test_another_track_of_vorbis_can_be_taken(inputs: dict[str, list[str]], tmp_path: Path) -> None:
    file = tmp_path / "two.mkv"
    tones = [*inputs[VORBIS], "-f", "lavfi", "-i", "sine=1000:r=24000:d=2"]
    taken = ["-map", "0", "-map", "1", "-c:a", VORBIS]
    subprocess.run(["ffmpeg", "-v", "error", *tones, *taken, file], check=True)
    for track, rate in ((0, 48_000), (1, 24_000)):
        (found,) = {block.rate for block in open_file(str(file), track=track).blocks()}
        assert found == rate
