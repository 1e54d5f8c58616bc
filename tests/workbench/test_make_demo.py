"""The demo recording: made again it is what is shipped, and its truth is true."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from pe_stream.assets import DEMO_RECORDING, DEMO_TRUTH
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench import make_demo

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is missing: install espeak-ng"
)


@needs_espeak
def test_made_again_it_is_what_is_shipped(tmp_path: Path) -> None:
    make_demo.main(tmp_path)
    shipped, made = decode(DEMO_RECORDING), decode(tmp_path / make_demo.RECORDING)
    assert len(made) == len(shipped)
    for ours, theirs in zip(truth(DEMO_TRUTH), truth(tmp_path / make_demo.TRUTH), strict=True):
        assert (ours["label"], ours["text"]) == (theirs["label"], theirs["text"])
        assert ours["onset_s"] == theirs["onset_s"]
        # Another version of espeak-ng may speak a little faster or slower.
        tolerance_s = 0.5 if ours["label"] == "speech" else 0.011
        assert float(ours["offset_s"]) == pytest.approx(float(theirs["offset_s"]), abs=tolerance_s)
    before_speech = slice(0, 38 * SAMPLE_RATE)
    error = made[before_speech] - shipped[before_speech]
    assert error.std() < 0.1 * shipped[before_speech].std()


@needs_espeak
def test_same_samples_every_time() -> None:
    first, second = (
        make_demo.mix(make_demo.arrange(rng), rng)
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    )
    np.testing.assert_array_equal(first, second)


def test_shipped_recording_is_small_mono_and_a_minute_long() -> None:
    samples = decode(DEMO_RECORDING)
    assert DEMO_RECORDING.stat().st_size <= 700_000
    assert 55 <= len(samples) / SAMPLE_RATE <= 70
    assert 0.2 < np.abs(samples).max() < 1


def test_sounds_begin_and_end_where_the_truth_says() -> None:
    samples = decode(DEMO_RECORDING)
    rows = truth(DEMO_TRUTH)
    assert [float(row["onset_s"]) for row in rows] == sorted(float(row["onset_s"]) for row in rows)
    ended_s = 0.0
    for row in rows:
        onset_s, offset_s = float(row["onset_s"]), float(row["offset_s"])
        assert onset_s < offset_s
        if onset_s > ended_s + 1:  # alone, not during another one's reverberation
            quiet = level_db(samples, onset_s - 0.06, onset_s - 0.01)
            assert quiet < -50, row
            assert level_db(samples, onset_s, onset_s + 0.1) > quiet + 15, row
        ended_s = max(ended_s, offset_s)


def test_without_espeak_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UnavailableError, match="apt install espeak-ng"):
        make_demo.say("en-gb", "Hello.")


def decode(path: Path) -> Samples:
    with av.open(path) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])


def truth(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def level_db(samples: Samples, start_s: float, end_s: float) -> float:
    piece = samples[round(start_s * SAMPLE_RATE) : round(end_s * SAMPLE_RATE)]
    return float(10 * np.log10(np.mean(piece.astype(float) ** 2)))
