"""Mixtures on disk with what a teacher made of them: made once, by several processes, read often.

A shard is a folder of arrays, complete or not there; so making goes on where it was interrupted.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pe_stream.training import teachers
from pe_stream.training.composer import FRAMES, MOST_SOUNDS, STEPS, Composer, Mixture
from pe_stream.training.frontend import CHANNELS
from pe_stream.training.recordings import Recordings
from pe_stream.training.teachers import Teacher

SIZE = 250
"""Mixtures in a shard."""

HOP_FRAMES = 25
"""From one answer of the teacher to the next: 1 s, and of the answers a mixture has FRAMES / it."""

_HOP_S = 1.0
_LABELS = "labels.json"
_ARRAYS = ("outputs", "logits", "labels", "sounding", "heard", "single")


@dataclass(frozen=True, slots=True)
class Job:
    """What a process needs to make mixtures. teacher: its folder."""

    recordings: Path
    shards: Path
    teacher: Path | None
    seed: int
    concept_of: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """A mixture as it is kept.

    outputs: (96, 4 * FRAMES) float16 of the filterbank. logits: (FRAMES / HOP_FRAMES, classes)
    float16, the teacher's. labels: (MOST_SOUNDS,) int16 indices into `Shards.labels`, -1 for none.
    sounding, heard: (MOST_SOUNDS, FRAMES) bool. single: whether one sound is alone in it.
    """

    outputs: NDArray[np.float16]
    logits: NDArray[np.float16]
    labels: NDArray[np.int16]
    sounding: NDArray[np.bool_]
    heard: NDArray[np.bool_]
    single: bool


class Shards:
    """All complete shards of a folder; picklable, arrays are mapped when first asked for."""

    def __init__(self, folder: Path, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._folders = sorted(folder.glob("shard_[0-9]*[0-9]"))
        self._open: dict[int, dict[str, NDArray[np.generic]]] = {}

    def __len__(self) -> int:
        return len(self._folders) * SIZE

    def __getitem__(self, number: int) -> Stored:
        arrays, at = self._arrays(number // SIZE), number % SIZE
        return Stored(
            arrays["outputs"][at],
            arrays["logits"][at],
            arrays["labels"][at],
            _unpacked(arrays["sounding"][at]),
            _unpacked(arrays["heard"][at]),
            bool(arrays["single"][at]),
        )

    def logits(self) -> NDArray[np.float16]:
        """The teacher's answers to all of them: (mixtures, answers, classes)."""
        return np.concatenate(
            [np.asarray(self._arrays(n)["logits"], np.float16) for n in range(len(self._folders))]
        )

    def _arrays(self, shard: int) -> dict[str, NDArray[np.generic]]:
        if shard not in self._open:
            folder = self._folders[shard]
            self._open[shard] = {
                name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS
            }
        return self._open[shard]


def read(job: Job) -> Shards:
    """What has been made."""
    return Shards(job.shards, json.loads((job.shards / _LABELS).read_text("utf-8")))


def make(job: Job, count: int, processes: int, progress: Callable[[int], None]) -> None:
    """Make at least `count` mixtures; those that are there already are kept."""
    job.shards.mkdir(parents=True, exist_ok=True)
    labels = _composer(job).labels
    (job.shards / _LABELS).write_text(json.dumps(labels), "utf-8")
    numbers = [n for n in range(-(-count // SIZE)) if not _folder(job.shards, n).exists()]
    if numbers:
        with multiprocessing.get_context("spawn").Pool(
            processes, initializer=_begin, initargs=(job,)
        ) as pool:
            for done, _ in enumerate(pool.imap_unordered(_make_shard, numbers), 1):
                progress(SIZE * done)


_worker: tuple[Job, Composer, Teacher] | None = None
"""Of a process that makes shards."""


def _begin(job: Job) -> None:
    global _worker  # noqa: PLW0603 - a pool's processes have no other place to keep things
    torch.set_num_threads(1)
    _worker = job, _composer(job), teachers.load(job.teacher)


def _composer(job: Job) -> Composer:
    return Composer(Recordings(job.recordings), job.seed, job.concept_of)


def _make_shard(number: int) -> None:
    assert _worker is not None  # noqa: S101 - the pool has called _begin
    job, composer, teacher = _worker
    index = {label: i for i, label in enumerate(composer.labels)}
    rows: dict[str, list[NDArray[np.generic]]] = {name: [] for name in _ARRAYS}
    for at in range(number * SIZE, (number + 1) * SIZE):
        mixture = composer.mixture(at)
        for name, row in _row(mixture, index, teacher).items():
            rows[name].append(row)
    part = _folder(job.shards, number).with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for name, made in rows.items():
        np.save(part / f"{name}.npy", np.stack(made))
    part.rename(_folder(job.shards, number))


def _row(
    mixture: Mixture, index: Mapping[str, int], teacher: Teacher
) -> dict[str, NDArray[np.generic]]:
    labels = np.full(MOST_SOUNDS, -1, np.int16)
    sounding = np.zeros((MOST_SOUNDS, FRAMES), bool)
    heard = np.zeros((MOST_SOUNDS, FRAMES), bool)
    for i, part in enumerate(mixture.parts):
        labels[i], sounding[i], heard[i] = index[part.label], part.sounding, part.heard
    outputs = mixture.outputs.numpy().astype(np.float16)
    if outputs.shape != (CHANNELS, FRAMES * STEPS):
        raise ValueError(f"a mixture of another length: {outputs.shape}")
    return {
        "outputs": outputs,
        "logits": teacher.logits(mixture.samples, _HOP_S).astype(np.float16),
        "labels": labels,
        "sounding": np.packbits(sounding, axis=1),
        "heard": np.packbits(heard, axis=1),
        "single": np.array(mixture.single),
    }


def _unpacked(bits: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.unpackbits(np.asarray(bits, np.uint8), axis=1, count=FRAMES).astype(bool)


def _folder(shards: Path, number: int) -> Path:
    return shards / f"shard_{number:05d}"
