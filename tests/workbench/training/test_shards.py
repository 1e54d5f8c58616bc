"""Mixtures on disk: made once, whole or not at all, with the teacher's answers to each."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sounds import noise, write_float_wav

from pe_stream.core.types import FRAME, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training import shards, teachers
from pe_stream.workbench.training.frontend import CHANNELS
from pe_stream.workbench.training.mixture import FRAMES, STEPS, Mixture, Part
from pe_stream.workbench.training.recordings import decode
from pe_stream.workbench.training.shards import HOP_FRAMES, Job, Shards, make, read

ANSWERS = FRAMES // HOP_FRAMES
LABELS = ("cat", "dog", "owl")


class StandIn:
    """A composer whose mixtures say their number."""

    labels = LABELS
    made: list[int] = []  # noqa: RUF012 - all of them
    stop_at: int | None = None

    def __init__(self, *_: object) -> None:
        pass

    def mixture(self, number: int) -> Mixture:
        if number == self.stop_at:
            raise KeyboardInterrupt
        self.made.append(number)
        sounding = np.arange(FRAMES) >= number
        heard = sounding & (np.arange(FRAMES) % 3 == 0)
        parts = [Part("dog", sounding, heard), Part("owl", ~sounding, ~sounding)]
        return Mixture(
            np.full(FRAMES * FRAME, number / 100, np.float32),
            torch.full((CHANNELS, STEPS * FRAMES), float(number)),
            tuple(parts[: 1 + number % 2]),
            number % 2 == 0,
        )


class Teacher:
    """Says of each second its number and what the mixture is full of."""

    name = "a stand-in"
    classes: Sequence[str] = ("second", "level")

    def logits(self, samples: Samples, hop_s: float) -> NDArray[np.float32]:
        assert hop_s == 1.0
        count = round(len(samples) / 48_000)
        return np.stack([np.arange(count), np.full(count, 100 * samples[0])], 1).astype(np.float32)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr(shards, "SIZE", 3)
    monkeypatch.setattr(shards, "DecodedClips", lambda folder: folder)
    monkeypatch.setattr(shards, "Composer", StandIn)
    monkeypatch.setattr(teachers, "load", lambda folder: Teacher())
    monkeypatch.setattr(StandIn, "made", [])
    monkeypatch.setattr(StandIn, "stop_at", None)
    return Job(tmp_path / "clips", tmp_path / "shards", None, 5, {})


def made(job: Job, count: int) -> Shards:
    make(job, count, 1, lambda _: None)
    return read(job)


def test_what_is_stored_is_what_was_made(job: Job) -> None:
    stored = made(job, 6)
    assert len(stored) == 6
    assert stored.labels == LABELS
    for number in (0, 1, 5):
        mixture, kept = StandIn().mixture(number), stored[number]
        assert kept.outputs.shape == (CHANNELS, STEPS * FRAMES)
        assert kept.outputs.dtype == np.float16
        assert np.all(kept.outputs == number)
        assert kept.single == mixture.single
        count = len(mixture.parts)
        assert kept.labels.tolist() == [1, 2][:count] + [-1] * (8 - count)
        for i, part in enumerate(mixture.parts):
            np.testing.assert_array_equal(kept.sounding[i], part.sounding)
            np.testing.assert_array_equal(kept.heard[i], part.heard)
        assert kept.sounding.shape == kept.heard.shape == (8, FRAMES)
        assert not kept.sounding[count:].any()


def test_the_teachers_answers_are_stored_in_their_order(job: Job) -> None:
    stored = made(job, 6)
    assert stored.logits().shape == (6, ANSWERS, 2)
    for number in range(6):
        logits = stored[number].logits
        assert logits[:, 0].tolist() == list(range(ANSWERS))
        assert logits[:, 1].tolist() == pytest.approx([number] * ANSWERS)
        np.testing.assert_array_equal(stored.logits()[number], logits)


def test_mixtures_are_made_once(job: Job) -> None:
    made(job, 5)
    assert StandIn.made == list(range(6))  # whole shards
    made(job, 6)
    assert StandIn.made == list(range(6))
    made(job, 7)
    assert StandIn.made == list(range(9))


def test_few_are_one_small_shard(job: Job) -> None:
    assert len(made(job, 2)) == 2
    assert StandIn.made == [0, 1]


def test_progress_is_told_in_mixtures(job: Job) -> None:
    done: list[int] = []
    make(job, 6, 1, done.append)
    assert done == [3, 6]


def test_interrupted_it_goes_on_with_the_shard_under_way(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandIn, "stop_at", 4)
    with pytest.raises(KeyboardInterrupt):
        made(job, 6)
    assert len(read(job)) == 3
    monkeypatch.setattr(StandIn, "stop_at", None)
    StandIn.made.clear()
    stored = made(job, 6)
    assert StandIn.made == [3, 4, 5]
    assert [int(stored[n].outputs[0, 0]) for n in range(6)] == list(range(6))


def test_a_shard_half_written_is_not_taken(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    save = np.save
    saved: list[Path] = []

    def full(path: Path, array: NDArray[Any]) -> None:
        if len(saved) == 8:
            raise OSError(28, "No space left on device")
        saved.append(path)
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        made(job, 6)
    assert len(read(job)) == 3
    monkeypatch.setattr(np, "save", save)
    assert len(made(job, 6)) == 6
    assert sorted(path.name for path in job.shards.iterdir()) == [
        "labels.json",
        "shard_00000",
        "shard_00001",
    ]


def test_reading_maps_and_is_sent_to_other_processes_without_what_it_mapped(job: Job) -> None:
    stored = made(job, 3)
    assert isinstance(stored[1].outputs.base, np.memmap)
    again = pickle.loads(pickle.dumps(Shards(job.shards, LABELS)))
    np.testing.assert_array_equal(again[1].outputs, stored[1].outputs)


def test_a_folder_without_shards_has_none(tmp_path: Path) -> None:
    assert len(Shards(tmp_path, LABELS)) == 0


def test_a_mixture_of_another_length_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    short = Mixture(np.zeros(FRAME, np.float32), torch.zeros(CHANNELS, STEPS), (), single=False)
    monkeypatch.setattr(StandIn, "mixture", lambda *_: short)
    with pytest.raises(ValueError, match="another length"):
        made(job, 3)


class EndsWhoTakesIt(dict[str, str]):
    """A mapping that ends the process it is sent to."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (3,)


def clips(folder: Path) -> Path:
    path = write_float_wav(folder / "a.wav", noise((1.0, 0.1)))
    clip = Clip(path=path, key=path.name, label="dog")
    decode([clip], folder / "clips", lambda _: None)
    return folder / "clips"


@pytest.mark.timeout(300)
def test_a_process_that_is_killed_ends_the_making(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SIZE", 1)
    job = Job(clips(tmp_path), tmp_path / "shards", None, 5, EndsWhoTakesIt())
    with pytest.raises(UnavailableError, match="a process that made mixtures has ended"):
        make(job, 2, 2, lambda _: None)
    assert len(read(job)) == 0


@pytest.mark.timeout(300)
def test_another_process_makes_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SIZE", 1)
    alone = Job(clips(tmp_path), tmp_path / "alone", None, 5, {"dog": "dog"})
    make(alone, 2, 1, lambda _: None)
    other = Job(alone.recordings, tmp_path / "other", None, 5, {"dog": "dog"})
    other.shards.mkdir()
    (other.shards / "labels.json").write_text(json.dumps(read(alone).labels), "utf-8")
    # One is enough to show it: to start takes most of the time.
    assert list(shards._made_by(1, other, 1, [0, 1])) == [1, 2]
    one, two = read(alone), read(other)
    assert len(one) == len(two) == 2
    assert one.logits().shape == (2, ANSWERS, 0)
    for number in range(2):
        np.testing.assert_array_equal(one[number].outputs, two[number].outputs)
        np.testing.assert_array_equal(one[number].heard, two[number].heard)
    assert "dog" in one.labels
