"""Garbage in: a documented error out, and nothing else. `make fuzz` tries 100,000 cases of each."""

from __future__ import annotations

import os
import string
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from audio.films import Drawn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pe_stream.audio.film import Film
from pe_stream.audio.media import read
from pe_stream.config import Settings
from pe_stream.config.file import parse
from pe_stream.core.types import FRAME, AudioChunk, Window
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.outputs.mqtt.commands import SetCommand, parse_set
from pe_stream.serving.heads import Coding
from pe_stream.serving.wire import (
    HearRequest,
    Item,
    LabelRows,
    WireError,
    pack_request,
    unpack_request,
)

CASES = int(os.environ.get("FUZZ_CASES", "300"))

fuzzed = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
pytestmark = [pytest.mark.heavy, pytest.mark.timeout(120 + CASES // 20)]

SHIPPED = (Path(__file__).parent.parent / "config.yaml").read_text("utf-8")

EDITS = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4)), min_size=1, max_size=20)
"""Where (0 is the beginning), and what to write there."""


def damaged(content: bytes, edits: list[tuple[float, bytes]], kept: float) -> bytes:
    """`content` with bytes overwritten, and cut off."""
    made = bytearray(content)
    for where, written in edits:
        at = int(where * (len(made) - 1))
        made[at : at + len(written)] = written
    return bytes(made[: int(kept * len(made))])


def survives(text: str) -> None:
    with suppress(ConfigError):
        assert isinstance(parse(text, "c.yaml"), Settings)


@fuzzed
@given(EDITS, st.floats(0, 1))
def test_a_damaged_configuration(edits: list[tuple[float, bytes]], kept: float) -> None:
    survives(damaged(SHIPPED.encode(), edits, kept).decode(errors="replace"))


@fuzzed
@given(st.text() | st.text(string.punctuation + "ab1 \n\t"))
def test_no_configuration(text: str) -> None:
    survives(text)


@fuzzed
@given(EDITS, st.floats(0, 1))
def test_a_damaged_set_message(edits: list[tuple[float, bytes]], kept: float) -> None:
    with suppress(ValueError):
        command = parse_set(damaged(b'{"threshold": 0.625, "enabled": false}', edits, kept))
        assert command != SetCommand()


def recording(folder: Path, suffix: str, codec: str) -> Path:
    """0.3 s of noise."""
    path = folder / f"noise.{suffix}"
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=48_000)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        noise = np.random.default_rng(0).normal(0, 3000, (1, 14_400)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_a_damaged_film(suffix: str, tmp_path: Path) -> None:
    drawn = Drawn(seconds=2.0, flash_s=1.0, fps=10, codec="mpeg4", sound=False, key=5)
    content = drawn.save(tmp_path / f"film.{suffix}").read_bytes()
    path = tmp_path / f"damaged.{suffix}"

    def attempt(edits: list[tuple[float, bytes]], kept: float) -> None:
        path.write_bytes(damaged(content, edits, kept))
        with suppress(UnavailableError):
            for picture in Film(str(path)).between(0.5, 2.0, 2.0):
                assert picture.rgb.shape[2] == 3

    run: Callable[[], None] = fuzzed(given(EDITS, st.floats(0, 1))(attempt))
    run()


def hears_or_refuses(path: Path) -> None:
    with suppress(UnavailableError):
        for chunk in read(str(path)):
            assert isinstance(chunk, AudioChunk)
            assert np.isfinite(chunk.samples).all()


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "mp3"), ("ogg", "libopus"), ("m4a", "aac")],
)
def test_a_damaged_recording(suffix: str, codec: str, tmp_path: Path) -> None:
    content = recording(tmp_path, suffix, codec).read_bytes()
    path = tmp_path / f"damaged.{suffix}"

    def attempt(edits: list[tuple[float, bytes]], kept: float) -> None:
        path.write_bytes(damaged(content, edits, kept))
        hears_or_refuses(path)

    run: Callable[[], None] = fuzzed(given(EDITS, st.floats(0, 1))(attempt))
    run()


def request_for_an_engine(wire: Coding) -> bytes:
    rows = LabelRows(np.ones((2, 4), np.float32), np.zeros(1, np.int64), np.zeros(2, np.float32))
    audio = np.random.default_rng(0).normal(0, 0.1, 3 * FRAME).astype(np.float32)
    items = [Item(f"n/{i}", "0f" * 16, Window(0, audio, done=i)) for i in range(2)]
    request = HearRequest("who", rows.digest(), embed=True, rows=rows, items=items)
    return pack_request(request, wire=wire)


@pytest.mark.parametrize("wire", get_args(Coding))
def test_a_damaged_request_for_an_engine(wire: Coding) -> None:
    content = request_for_an_engine(wire)

    def attempt(edits: list[tuple[float, bytes]], kept: float, part: float) -> None:
        edits = [(where * part, written) for where, written in edits]
        with suppress(WireError):
            for item in unpack_request(damaged(content, edits, kept)).items:
                assert np.isfinite(item.window.samples).all()

    parts = st.sampled_from([900 / len(content), 1.0])  # of the head alone, and of all
    run: Callable[[], None] = fuzzed(given(EDITS, st.floats(0.5, 2), parts)(attempt))
    run()
