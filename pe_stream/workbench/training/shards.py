"""Mixtures on disk with what a teacher made of them: made once, by several processes, read often.

A shard is a folder of arrays, complete or not there; so making goes on where it was interrupted.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pe_stream.errors import UnavailableError
from pe_stream.workbench.training import teachers
from pe_stream.workbench.training.composer import Composer
from pe_stream.workbench.training.frontend import CHANNELS
from pe_stream.workbench.training.group import end_with_parent
from pe_stream.workbench.training.mixture import FRAMES, MOST_SOUNDS, STEPS, Mixture
from pe_stream.workbench.training.recordings import DecodedClips
from pe_stream.workbench.training.teachers import Teacher

SIZE = 250
"""Mixtures in a shard; fewer, where fewer are wanted in all."""

HOP_FRAMES = 25
"""From one answer of the teacher to the next: 1 s, and of the answers a mixture has FRAMES / it."""

_HOP_S = 1.0
_LABELS = "labels.json"
_ARRAYS = ("outputs", "logits", "labels", "sounding", "heard", "single")


@dataclass(frozen=True, slots=True)
class Job:
    """Inputs of a process that makes mixtures. teacher: its folder."""

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
        self._size = len(self._arrays(0)["single"]) if self._folders else 0

    def __len__(self) -> int:
        return len(self._folders) * self._size

    def __getitem__(self, number: int) -> Stored:
        arrays, at = self._arrays(number // self._size), number % self._size
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
    """The shards that exist."""
    return Shards(job.shards, json.loads((job.shards / _LABELS).read_text("utf-8")))


def make(job: Job, count: int, processes: int, progress: Callable[[int], None]) -> None:
    """Make at least `count` mixtures; those that are there already are kept.

    Raises what a process that makes them raises, and UnavailableError where one is killed.
    """
    job.shards.mkdir(parents=True, exist_ok=True)
    maker = _Maker(job, min(SIZE, count))
    (job.shards / _LABELS).write_text(json.dumps(maker.labels), "utf-8")
    numbers = [
        number
        for number in range(-(-count // maker.size))
        if not _folder(job.shards, number).exists()
    ]
    if min(processes, len(numbers)) == 1:
        for done, number in enumerate(numbers, 1):
            maker.shard(number)
            progress(maker.size * done)
    elif numbers:
        for done in _made_by(processes, job, maker.size, numbers):
            progress(maker.size * done)


def _made_by(processes: int, job: Job, size: int, numbers: Sequence[int]) -> Iterator[int]:
    """Make shards in so many processes; says how many are done."""
    # Not multiprocessing.Pool, which waits for ever for what a killed process was to make.
    context = multiprocessing.get_context("spawn")
    workers = min(processes, len(numbers))
    with ProcessPoolExecutor(workers, context, _begin, (job, size)) as pool:
        making = [pool.submit(_make_shard, number) for number in numbers]
        try:
            for done, made in enumerate(as_completed(making), 1):
                made.result()
                yield done
        except BrokenProcessPool as error:
            raise UnavailableError(
                "a process that made mixtures has ended; is there memory enough?"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


class _Maker:
    """Makes shards of `size` mixtures."""

    def __init__(self, job: Job, size: int) -> None:
        self.size = size
        self._shards = job.shards
        self._composer = Composer(DecodedClips(job.recordings), job.seed, job.concept_of)
        self._teacher = teachers.load(job.teacher)
        self.labels = self._composer.labels

    def shard(self, number: int) -> None:
        """Make the shard of that number, whole or not at all."""
        index = {label: i for i, label in enumerate(self.labels)}
        rows: dict[str, list[NDArray[np.generic]]] = {name: [] for name in _ARRAYS}
        for at in range(number * self.size, (number + 1) * self.size):
            for name, row in _row(self._composer.mixture(at), index, self._teacher).items():
                rows[name].append(row)
        part = _folder(self._shards, number).with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name, made in rows.items():
            np.save(part / f"{name}.npy", np.stack(made))
        part.rename(_folder(self._shards, number))


_maker: _Maker | None = None
"""The maker of a process that makes shards."""


def _begin(job: Job, size: int) -> None:
    global _maker  # noqa: PLW0603 - a pool's processes have no other place to keep things
    end_with_parent()
    torch.set_num_threads(1)
    _maker = _Maker(job, size)


def _make_shard(number: int) -> None:
    assert _maker is not None  # noqa: S101 - the pool has called _begin
    _maker.shard(number)


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
