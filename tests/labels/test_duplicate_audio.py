"""A recording is known again in another form of it, and no other is taken for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import noise, write_float_wav

from pe_stream.audio import encode, media
from pe_stream.core.types import Samples
from pe_stream.labels.duplicate_audio import AROUND, find_trace, same_recording, trace, trace_of

RING = noise((0.5, 0.001), (0.4, 0.2), (0.5, 0.001))
OTHER = np.random.default_rng(8).normal(0, 0.1, 60_000).astype(np.float32)


def read(path: Path) -> Samples:
    return np.concatenate([chunk.samples for chunk in media.read(str(path))])


def pieces(samples: Samples, size: int) -> Iterator[Samples]:
    return (samples[start : start + size] for start in range(0, len(samples), size))


def test_the_same_as_floats_in_16_bits_and_cut(tmp_path: Path) -> None:
    wav = write_float_wav(tmp_path / "a.wav", RING)
    encode.write(tmp_path / "b.flac", RING)
    encode.write(tmp_path / "c.flac", read(tmp_path / "b.flac"))
    for each in (read(wav), read(tmp_path / "b.flac"), read(tmp_path / "c.flac"), RING[7_777:]):
        assert same_recording(trace(RING), trace(each))


def test_found_by_another_peak_where_the_loudest_is_not_as_it_was() -> None:
    changed = RING.copy()
    changed[np.abs(changed).argmax()] *= 0.9  # clipped elsewhere
    assert find_trace(pieces(np.concatenate([OTHER, changed, OTHER]), 48_000), [trace(RING)]) == 0


def test_too_loud_for_16_bits_is_the_same(tmp_path: Path) -> None:
    loud = RING * 4
    encode.write(tmp_path / "a.flac", loud)
    assert same_recording(trace(loud), trace(read(tmp_path / "a.flac")))


def test_two_peaks_that_are_as_loud_may_change_places() -> None:
    first, second = RING.copy(), RING.copy()
    for samples, louder in ((first, 5_000), (second, 60_000)):
        samples[[5_000, 60_000]] = 0.9
        samples[louder] += 1e-5
    assert same_recording(trace(first), trace(second))
    halves = [[first[:30_000], first[30_000:]], [second[:30_000], second[30_000:]]]
    assert same_recording(*map(trace_of, halves))


def test_what_is_hardly_heard_is_not_the_same() -> None:
    quiet = np.random.default_rng(0).normal(0, 1e-5, (2, 30_000)).astype(np.float32)
    click = np.zeros((2, 30_000), np.float32)
    click[0, 9_000], click[1, 9_000:9_003] = 0.5, 0.4
    assert not same_recording(trace(quiet[0]), trace(quiet[1]))
    assert not same_recording(trace(quiet[0] + click[0]), trace(quiet[1] + click[1]))


def test_another_is_not_the_same() -> None:
    again = RING + np.random.default_rng(1).normal(0, 0.001, len(RING)).astype(np.float32)
    for each in (OTHER, again, RING * np.float32(0.9)):
        assert not same_recording(trace(RING), trace(each))


@pytest.mark.parametrize("size", [5_000, 48_000, 1_000_000])
def test_piece_by_piece_finds_the_loudest(size: int) -> None:
    whole = np.concatenate([OTHER * np.float32(0.1), RING, OTHER * np.float32(0.1)])
    found = trace_of(pieces(whole, size))
    assert found[0, AROUND] == pytest.approx(whole[np.abs(whole).argmax()])
    assert same_recording(found, trace_of(pieces(whole, size)))


@pytest.mark.parametrize("size", [6_000, 7_001, 48_000, 1_000_000])
def test_what_is_in_another_is_found_wherever_it_is(size: int) -> None:
    whole = np.concatenate([OTHER, RING, OTHER])
    traces = [trace(noise((1, 0.3))[:30_000] * 0.5), trace(RING)]
    assert find_trace(pieces(whole, size), traces) == 1
    assert find_trace(pieces(OTHER, size), [trace(RING)]) is None


@pytest.mark.parametrize("start", [0, 24_100])
def test_an_example_cut_close_is_found(start: int) -> None:
    cut = RING[start : start + 19_000]
    assert find_trace(pieces(np.concatenate([OTHER, RING, OTHER]), 48_000), [trace(cut)]) == 0


def test_silence_is_in_nothing() -> None:
    assert find_trace([OTHER], [trace(np.zeros(9_000, np.float32))]) is None
