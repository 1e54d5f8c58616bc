"""The clips to train on, decoded once into one file that several processes read at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pe_stream.audio import media
from pe_stream.audio.activity import active
from pe_stream.audio.pcm import CHUNK
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.manifest import Clip

LONGEST_S = 40.0
"""Longer clips are cut: they are backgrounds, which do not change much."""


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A decoded clip: where its samples lie in the file, and what sounds in it.

    label: as the manifest has it; several, where they are separated by ";".
    start, count: samples (48 kHz) in the file. spans: (start, end) of what is not quiet, in
    samples from the clip's own start.
    """

    label: str
    start: int
    count: int
    spans: tuple[tuple[int, int], ...]

    @property
    def sounding(self) -> float:
        """The part of it that is not quiet, 0..1."""
        return sum(end - start for start, end in self.spans) / max(1, self.count)


class DecodedClips:
    """Decoded clips in `folder`: `samples.f16` and `recordings.json`. Silent clips are left out."""

    def __init__(self, folder: Path) -> None:
        rows = json.loads((folder / "recordings.json").read_text("utf-8"))
        self.all = tuple(
            DecodedClip(row["label"], row["start"], row["count"], tuple(map(tuple, row["spans"])))
            for row in rows
        )
        self._samples: NDArray[np.float16] = np.memmap(folder / "samples.f16", np.float16, mode="r")

    def read(self, recording: DecodedClip) -> Samples:
        """Its samples, (n,) float32 at 48 kHz."""
        part = self._samples[recording.start : recording.start + recording.count]
        return part.astype(np.float32)


def decode(clips: Sequence[Clip], folder: Path, progress: Callable[[int], None]) -> DecodedClips:
    """Decode `clips` into `folder`, unless that was done before.

    Raises UnavailableError where a clip cannot be read, or all are silent.
    """
    index = folder / "recordings.json"
    if not index.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made: list[DecodedClip] = []
        start = 0
        with (folder / "samples.f16").open("wb") as file:
            for number, clip in enumerate(clips):
                samples = _samples(clip.path)
                spans = tuple(active(samples))
                if spans:
                    file.write(samples.astype(np.float16).tobytes())
                    made.append(DecodedClip(clip.label, start, len(samples), spans))
                    start += len(samples)
                progress(number)
        if not made:
            raise UnavailableError("nothing is to be heard in any of the clips")
        part = index.with_suffix(".part")
        part.write_text(json.dumps([asdict(recording) for recording in made]), "utf-8")
        part.replace(index)
    return DecodedClips(folder)


def _samples(path: Path) -> Samples:
    """The first LONGEST_S of a file; the rest is not decoded."""
    longest = round(LONGEST_S * SAMPLE_RATE)
    chunks = islice(media.read(str(path)), -(-longest // CHUNK))
    return np.concatenate([chunk.samples for chunk in chunks])[:longest]
