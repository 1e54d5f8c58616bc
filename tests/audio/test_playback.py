"""Files played in real time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from audio.recordings import LENGTH_S, ONSETS_S, bursts, onsets_s, write_wav
from timing import within

from pe_stream.audio.playback import Playback
from pe_stream.errors import UnavailableError

pytestmark = pytest.mark.realtime


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(write_wav(tmp_path / "a.wav", bursts(16_000), 16_000))


def test_a_file_plays_as_fast_as_it_sounds_and_ends(path: str) -> None:
    began_s, began_ns = time.monotonic(), time.time_ns()
    chunks = []
    for chunk in Playback(path, first_sample=1000):
        lag_s = time.monotonic() - chunk.captured_s
        assert 0 <= lag_s < within(0.5)
        chunks.append(chunk)
    assert LENGTH_S - 0.5 < time.monotonic() - began_s < LENGTH_S + within(0.5)
    assert chunks[0].start == 1000
    assert chunks[0].anchor_ns is not None
    assert -5e8 < chunks[0].anchor_ns - began_ns < within(5e8)
    assert {chunk.anchor_ns for chunk in chunks[1:]} == {None}
    samples = np.concatenate([chunk.samples for chunk in chunks])
    assert onsets_s(samples) == pytest.approx(ONSETS_S, abs=0.001)
    assert LENGTH_S - 0.5 < chunks[-1].captured_s - began_s < LENGTH_S + within(0.5)


def test_a_loop_goes_on_without_a_break_until_closed(tmp_path: Path) -> None:
    path = str(write_wav(tmp_path / "a.wav", np.full(12_000, 0.5), 48_000))
    playback = Playback(path, loop=True)
    assert playback.describe == f"{path} in real time, repeated"
    end = 0
    for chunk in playback:
        assert chunk.start == end
        assert (chunk.anchor_ns is None) == (end > 0)
        end = chunk.end
        if end > 30_000:
            playback.close()
    assert end == 33_600  # in the third round of 4800, 4800, 2400


def test_closing_from_another_thread_ends_it_at_once(path: str) -> None:
    playback = Playback(path)
    next(playback)
    threading.Timer(0.05, playback.close).start()
    began_s = time.monotonic()
    assert sum(1 for _ in playback) < 5
    assert time.monotonic() - began_s < within(0.5)
    playback.close()


def test_what_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        Playback(str(tmp_path / "missing.wav"))
