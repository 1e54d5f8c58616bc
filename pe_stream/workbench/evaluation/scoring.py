"""Files to scores, each read once, by the pipeline of `pe-stream detect`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pe_stream.audio import media
from pe_stream.core.smoothing import smoothed
from pe_stream.core.types import SAMPLE_RATE, FrameScores, LabelRule, Samples
from pe_stream.errors import UnavailableError
from pe_stream.pipeline.offline import detect
from pe_stream.pipeline.scorer import Scorer
from pe_stream.workbench.evaluation.truth import File, Span, Truth


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of a file by a system.

    frames: (frames, labels), one for every 40 ms.
    steps: (steps, labels): as the system makes them, for scores of whole clips. Ours makes a
        score a frame, peers one a window or one for the clip.
    """

    frames: FrameScores
    steps: FrameScores


class Peer(Protocol):
    """Another system that hears the same audio."""

    deaf: frozenset[str]
    """Labels that it has no class for."""

    def hear(self, samples: Samples, count: int) -> Scored:
        """Scores of (n,) samples at 48 kHz, over `count` frames."""


@dataclass(frozen=True, slots=True)
class System:
    """An evaluated system: its scores of every file, in their order.

    rules: how the tracker makes events of them, in the order of the columns.
    deaf: labels that it has no class for; their scores are all 0.
    """

    name: str
    rules: tuple[LabelRule, ...]
    scored: list[Scored] = field(default_factory=list)
    deaf: frozenset[str] = frozenset()

    def frames(self, scored: Scored, column: int) -> NDArray[np.floating]:
        """A label's scores of a file as its threshold is compared with them, (frames,)."""
        scores, smooth = scored.frames[:, column], self.rules[column].smooth
        return smoothed(scores, smooth) if smooth > 1 else scores


@dataclass(frozen=True, slots=True)
class Sounds:
    """The files that were evaluated, their lengths (s) beside them, and the names of the others."""

    files: tuple[File, ...]
    durations_s: tuple[float, ...]
    unreadable: tuple[str, ...]

    def of_made(self, labels: Collection[str] | None = None) -> Sounds:
        """The same files, judged by what is made of these labels, or of all; see `File.of_made`."""
        return replace(self, files=tuple(file.of_made(labels) for file in self.files))

    @property
    def made(self) -> tuple[str, ...]:
        """The labels of which something is made."""
        return tuple(dict.fromkeys(label for file in self.files for label in file.made))

    @property
    def hours(self) -> float:
        """Length of all files together."""
        return sum(self.durations_s) / 3600

    @property
    def empty_hours(self) -> float:
        """Length of those in which nothing sounds."""
        both = zip(self.files, self.durations_s, strict=True)
        return sum(duration_s for file, duration_s in both if file.empty) / 3600


def score(
    truth: Truth, scorer: Scorer, ours: System, peers: Sequence[tuple[Peer, System]] = ()
) -> Sounds:
    """Fill `ours` (and the peers' systems) with the scores of every file that can be read.

    A file that cannot be read, or that ends before an event that the manifest has in it, is named
    on stderr and left out. Raises UnavailableError where none is left.
    """
    files: list[File] = []
    durations_s: list[float] = []
    unreadable: list[str] = []
    with tqdm(
        total=len(truth.files),
        unit="file",
        disable=None,  # unless stderr is a terminal
        leave=False,
    ) as progress:
        for file in truth.files:
            try:
                frames, samples = _hear(file, scorer)
                duration_s = len(samples) / SAMPLE_RATE
                cut = _cut(file, duration_s)
            except UnavailableError as error:
                with progress.external_write_mode(file=sys.stderr):
                    print(f"pe-stream: left out: {error}", file=sys.stderr)
                unreadable.append(file.key)
                continue
            finally:
                progress.update()
            ours.scored.append(Scored(frames, frames))
            for peer, system in peers:
                system.scored.append(peer.hear(samples, len(frames)))
            durations_s.append(duration_s)
            files.append(cut)
    if not files:
        raise UnavailableError("none of the files can be evaluated")
    return Sounds(tuple(files), tuple(durations_s), tuple(unreadable))


def _hear(file: File, scorer: Scorer) -> tuple[FrameScores, Samples]:
    """Scores (frames, labels) and audio (n,) at 48 kHz of a file."""
    samples: list[Samples] = []
    scores: list[FrameScores] = []
    recording = media.read(str(file.path))
    for _ in detect(
        recording, scorer, node="eval", on_audio=samples.append, on_scores=scores.append
    ):
        pass  # the tracker's events are made again from the scores, at many thresholds
    return np.concatenate(scores), np.concatenate(samples)


def _cut(file: File, duration_s: float) -> File:
    """The file with its spans ending where its audio does."""

    def cut(spans: Sequence[Span]) -> tuple[Span, ...]:
        for span in spans:
            if span.onset_s >= duration_s:
                raise UnavailableError(
                    f"{file.path}: the manifest has an event at {span.onset_s:g} s,"
                    f" and the file ends at {duration_s:.2f} s"
                )
        return tuple(Span(s.onset_s, min(s.offset_s, duration_s)) for s in spans)

    return File(
        file.path,
        file.key,
        {label: cut(spans) for label, spans in file.true.items()},
        {label: cut(spans) for label, spans in file.near.items()},
        file.empty,
        {label: cut(spans) for label, spans in file.made.items()},
    )
