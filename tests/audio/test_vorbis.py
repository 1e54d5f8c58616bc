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


def test_many_tracks_in_a_file_cost_no_more_than_two(tmp_path: Path, eight: bytes) -> None:
    file = tmp_path / "eight.ogg"
    file.write_bytes(eight)
    assert grown_mb(str(file)) < 700


def test_many_tracks_over_a_network_cost_no_more_than_two(eight: bytes) -> None:
    with serving(
        lambda connection, _: connection.sendall(head("audio/ogg", len(eight)) + eight)
    ) as server:
        assert grown_mb(server.url()) < 700
    with serving(lambda connection, _: connection.sendall(eight), asked=False) as server:
        assert grown_mb(server.url("", "tcp")) < 400  # ours alone


@pytest.mark.parametrize("name", ["a.ogg", "a.webm", "a.mka", "film.webm"])
def test_vorbis_is_heard(name: str, tmp_path: Path) -> None:
    """In what has it, with a picture or without."""
    file = tmp_path / name
    picture = ("-f", "lavfi", "-i", "testsrc=d=2:r=5:s=64x64", "-c:v", "vp8")
    tones = ("-f", "lavfi", "-i", "sine=1000:r=48000:d=2", "-c:a", "libvorbis")
    kinds = (*(picture if name == "film.webm" else ()), *tones)
    subprocess.run(["ffmpeg", "-v", "error", *_inputs_first(kinds), file], check=True)
    data = file.read_bytes()
    decoders = [open_file(str(file))]
    with serving(
        lambda connection, _: connection.sendall(head("application/ogg", len(data)) + data)
    ) as server:
        decoders.append(open_network(server.url(), timeout_s=3))
        for decoder in decoders:
            samples = sum(block.planes.shape[1] for block in decoder.blocks())
            assert samples == pytest.approx(2 * 48_000, abs=4096)


def _inputs_first(words: tuple[str, ...]) -> list[str]:
    """FFmpeg wants its inputs before how they are encoded."""
    inputs, codecs = list[str](), list[str]()
    for option, value in zip(words[::2], words[1::2], strict=True):
        (codecs if option.startswith("-c") else inputs).extend((option, value))
    return [*inputs, *codecs]
