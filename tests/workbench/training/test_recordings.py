"""Clips decoded once: what is kept of them, and what is told of those that cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sounds import noise, write_float_wav

from pe_stream.audio import media
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training import recordings
from pe_stream.workbench.training.recordings import LONGEST_S, DecodedClip, DecodedClips, decode


def clip(folder: Path, name: str, samples: Samples, label: str = "dog") -> Clip:
    path = write_float_wav(folder / f"{name}.wav", samples)
    return Clip(path=path, key=path.name, label=label)


def decoded(folder: Path, clips: Sequence[Clip]) -> DecodedClips:
    return decode(clips, folder / "decoded", lambda _: None)


def test_a_recording_has_label_samples_and_where_it_sounds(tmp_path: Path) -> None:
    parts = noise((1.0, 0.0), (1.0, 0.1), (2.0, 0.0))
    made = decoded(
        tmp_path,
        [
            clip(tmp_path, "a", parts, "dog; rain"),
            clip(tmp_path, "b", noise((0.5, 0.2)), "siren"),
        ],
    )
    first, second = made.all
    assert (first.label, second.label) == ("dog; rain", "siren")
    assert first.spans == ((SAMPLE_RATE, 2 * SAMPLE_RATE),)
    assert first.sounding == 0.25
    assert second.sounding == 1.0
    samples = made.read(first)
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, parts, rtol=1e-3, atol=1e-6)
    assert len(made.read(second)) == SAMPLE_RATE / 2
    assert np.abs(made.read(second)).max() > 0.2


def test_silent_clips_are_left_out(tmp_path: Path) -> None:
    silence, sound = noise((1.0, 0.0)), noise((1.0, 0.1))
    done: list[int] = []
    clips = [clip(tmp_path, "a", silence, "none"), clip(tmp_path, "b", sound)]
    made = decode(clips, tmp_path / "decoded", done.append)
    assert [recording.label for recording in made.all] == ["dog"]
    np.testing.assert_allclose(made.read(made.all[0]), sound, rtol=1e-3, atol=1e-6)
    assert done == [0, 1]


def test_clips_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [clip(tmp_path, "a", noise((1.0, 0.1)))]
    first = decoded(tmp_path, clips)
    clips[0].path.unlink()
    again = decoded(tmp_path, clips)
    assert again.all == first.all
    np.testing.assert_array_equal(again.read(again.all[0]), first.read(first.all[0]))


def test_an_interrupted_decoding_begins_again(tmp_path: Path) -> None:
    clips = [clip(tmp_path, name, noise((1.0, level))) for name, level in (("a", 0.1), ("b", 0.2))]

    def stop(number: int) -> None:
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(clips, tmp_path / "decoded", stop)
    made = decoded(tmp_path, clips)
    assert len(made.all) == 2
    assert float(np.std(made.read(made.all[0]))) == pytest.approx(0.1, rel=0.02)
    assert float(np.std(made.read(made.all[1]))) == pytest.approx(0.2, rel=0.02)


def test_long_clips_are_cut_and_not_decoded_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "LONGEST_S", 0.25)
    read: list[int] = []
    whole = media.read

    def counted(path: str) -> object:
        for chunk in whole(path):
            read.append(len(chunk.samples))
            yield chunk

    monkeypatch.setattr(media, "read", counted)
    made = decoded(tmp_path, [clip(tmp_path, "a", noise((2.0, 0.1)))])
    assert made.all == (DecodedClip("dog", 0, SAMPLE_RATE // 4, ((0, SAMPLE_RATE // 4),)),)
    assert sum(read) < SAMPLE_RATE
    assert LONGEST_S == 40


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nothing is to be heard in any"):
        decoded(tmp_path, [clip(tmp_path, "a", noise((1.0, 0.0)))])
    broken = clip(tmp_path, "b", noise((1.0, 0.1)))
    broken.path.write_bytes(b"no audio")
    with pytest.raises(UnavailableError, match=r"b\.wav"):
        decoded(tmp_path, [broken])
    assert not (tmp_path / "decoded" / "recordings.json").exists()
