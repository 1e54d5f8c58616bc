"""Types of the core's data, with units and shapes.

Time is an integer here: the *absolute sample index* of a source at 48 kHz. It never runs
backwards over the life of a source, also across breaks. UTC comes from the anchor of the
segment a sample belongs to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48_000
"""Samples per second of everything inside the core (Hz)."""

FRAME = 1920
"""Samples per frame (40 ms): the product of the codec's strides in every PE Audio checkpoint."""

FRAME_S = FRAME / SAMPLE_RATE
"""Length of a frame (s)."""

FRAME_NS = 1_000_000_000 * FRAME // SAMPLE_RATE
"""Length of a frame (ns), exactly."""

Samples = NDArray[np.float32]
"""Mono audio, shape (n,), float32, nominally in -1..1, every sample finite."""

FrameScores = NDArray[np.float32]
"""Scores in 0..1, shape (frames, labels), float32."""

FrameEmbeddings = NDArray[np.float16]
"""Frames in the space that texts are embedded in too, shape (frames, D), float16."""


class Phase(StrEnum):
    """Phase of an event's life."""

    START = "start"
    UPDATE = "update"
    END = "end"


class Reason(StrEnum):
    """Why an event was closed other than by its score falling."""

    GAP = "gap"
    RESTART = "restart"
    MAX_LENGTH = "max_length"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class AudioChunk:
    """A run of samples without a break inside.

    start: absolute sample index of `samples[0]`. Where it lies beyond the end of the chunk
        before, the samples between were lost.
    samples: (n,) float32 mono at 48 kHz; whoever receives the chunk may keep it.
    anchor_ns: UTC (ns since 1970) of `samples[0]` if and only if a new segment begins here:
        on the first chunk of a source and after every break.
    captured_s: when the last sample was captured, on the clock that scores are handed on by (s).
    mark: index of a sample, at or after the end, and its UTC (ns): the segment's clock goes through
        it. None: samples are counted on at 48 kHz.
    refiltered: whether the source's gain or filters are others than before, from here on.
    """

    start: int
    samples: Samples
    anchor_ns: int | None = None
    captured_s: float = 0.0
    mark: tuple[int, int] | None = None
    refiltered: bool = False

    @property
    def end(self) -> int:
        """Absolute index one past the last sample."""
        return self.start + len(self.samples)


@dataclass(frozen=True, slots=True)
class Window:
    """Audio to be scored.

    start: absolute sample index of its first frame, on the frame grid of its segment.
    samples: (before + frames * FRAME,) float32, 1 to `window` frames.
    last: no more audio of this segment will come.
    done: frames at its start whose scores nobody asks for: they are only what surrounds the rest.
    before: samples ahead of `start` that come along, whole frames, for an engine that has to begin
        anew; negative: so many of the window's first are left out, as the engine has heard them.
    """

    start: int
    samples: Samples
    last: bool = False
    done: int = 0
    before: int = 0

    @property
    def frames(self) -> int:
        """Number of frames, each FRAME samples."""
        return (len(self.samples) - self.before) // FRAME

    @property
    def begin(self) -> int:
        """Absolute index of the first of the samples that are there."""
        return self.start - self.before

    @property
    def end(self) -> int:
        """Absolute index one past the last sample."""
        return self.begin + len(self.samples)

    def since(self, sample: int) -> Window:
        """The same with audio from that absolute index on; no copy."""
        at = sample - self.begin
        return Window(self.start, self.samples[at:], self.last, self.done, self.before - at)


@dataclass(frozen=True, slots=True, eq=False)
class ScoreRun:
    """Scores of one label without a break.

    start_ns: UTC (ns since 1970) of the first frame's first sample.
    scores: (n,) float32 in 0..1.
    """

    start_ns: int
    scores: NDArray[np.float32]

    @property
    def end_ns(self) -> int:
        """UTC (ns since 1970) of the end of the last frame."""
        return self.start_ns + len(self.scores) * FRAME_NS


@dataclass(frozen=True, slots=True)
class Repetition:
    """At least `times` sounds of a label, `within` frames from the first onset to the last end.

    length: the shortest and the longest that one may be; gap: likewise from the end of one to the
    onset of the next. In frames, both included.
    """

    times: int
    within: int
    length: tuple[int, int] = (0, 1 << 40)
    gap: tuple[int, int] = (0, 1 << 40)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A tone that goes on and off by turns, over and over.

    beats_s: how long it is on, off, on ... (s); the last is the pause before it begins again.
    tolerance: by which part all of them may be longer or shorter. cycles: heard before it counts.
    """

    beats_s: tuple[float, ...]
    tolerance: float = 0.1
    cycles: int = 2

    @property
    def period_s(self) -> float:
        """Duration of a cycle, from onset to onset (s)."""
        return sum(self.beats_s)


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sound of the label, then an event of the label `then`.

    That begins after it, and at most `within` frames after its end.
    """

    then: str
    within: int


Pattern = Repetition | Rhythm | Sequence
"""A pattern that the sounds of a label must form to make an event."""


@dataclass(frozen=True, slots=True)
class Follow:
    """How a threshold follows what a room sounds like; see `pe_stream.core.adaptive_threshold`.

    quantile: of the scores of the last `minutes`; margin: by which the threshold is above it, in
    units of the logit. highest: beyond which it never goes.
    """

    quantile: float = 0.999
    margin: float = 0.5
    minutes: int = 60
    highest: float = 0.95


@dataclass(frozen=True, slots=True)
class Loud:
    """A label whose score is the level alone; see `pe_stream.core.frame_levels`.

    above_db: the level (dB) at which the score is 0.5: over the background's, or over full scale.
    """

    above_db: float
    over_background: bool = True


@dataclass(frozen=True, slots=True)
class LabelRule:
    """When scores of a label make an event. Durations in frames of 40 ms.

    An event starts with a frame at or above `threshold`; its onset is taken back to where the
    score rose to `off_threshold`. Gaps below `off_threshold` shorter than `min_off` are bridged;
    what is shorter than `min_on` is no event; what reaches `max_length` is closed there; no
    event begins within `cooldown` of the end of the one before. smooth: what is compared is the
    mean of the scores of so many frames, an odd number, around each; see `smoothing`. as_set: the
    thresholds as they were set, where a command has put another in force; None: they are in force.
    loud, least_db: what its scores are by the level of the sound; None: they are the model's alone.
    """

    name: str
    threshold: float
    off_threshold: float
    min_on: int = 0
    min_off: int = 0
    max_length: int = 1500
    cooldown: int = 0
    update_every: int = 25
    enabled: bool = True
    pattern: Pattern | None = None
    follow: Follow | None = None
    smooth: int = 1
    as_set: tuple[float, float] | None = None
    loud: Loud | None = None
    least_db: float | None = None

    @property
    def smooth_s(self) -> float:
        """Over how long the mean is (s); 0: scores are compared as they are."""
        return round(self.smooth * FRAME_S, 3) if self.smooth > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Recommended:
    """A checkpoint's recommendation for a label: a threshold, and seconds of smoothing (s).

    off_threshold: goes with `threshold`; None: in the usual proportion to it. recall: part of such
    sounds that it finds in scenes with them. false_alarms_per_hour: that it raises on background
    alone. None where nobody measured.
    """

    threshold: float
    smooth_s: float = 0.0
    recall: float | None = None
    false_alarms_per_hour: float | None = None
    off_threshold: float | None = None


LEAST_THRESHOLD, MOST_THRESHOLD = 1e-6, 0.999999
"""Thresholds that a command may set: scores nearer to 0 or 1 say nothing more."""

SMOOTHEST_S = 2.0
"""Longest mean of scores (s)."""

NO_CHECKPOINT = "none"
"""The checkpoint of events where every label is loud, and no model is loaded."""

EVENT_SCHEMA = 1
"""Version of the event contract; fields are only ever added."""


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """What PE-AV makes of a stretch of sound and picture: scores in 0..1, not calibrated.

    sound, picture, both: how well the sound, the picture, and both at once go with the label's
    words; together: how well the sound goes with the picture, whatever the words. None: there was
    no picture, or no sound, or the label has no words. pictures: how many of them were looked at.
    span_s: the stretch, from its first to its last second, counted as the event's `onset_s`.
    took_ms: to make it (ms).
    """

    sound: float | None
    picture: float | None
    both: float | None
    together: float | None
    pictures: int
    span_s: tuple[float, float]
    checkpoint: str
    took_ms: int

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON object, keys in the contract's order."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"span_s": [*self.span_s]}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> SecondOpinion:
        """From what `to_dict` made, in a later version too; raises LookupError or ValueError."""
        known = {f.name: told[f.name] for f in fields(cls)}
        begin_s, end_s = told["span_s"]
        return cls(**known | {"span_s": (begin_s, end_s)})


@dataclass(frozen=True, slots=True)
class Event:
    """A sound heard, in one phase of its life; all phases share `id`.

    The fields, their names and their order are the contract (schema 1; `pe-stream schema
    event`). `*_s` count seconds from the start of the source's segment (of the file, for
    files); `onset` and `offset` are UTC. `latency_ms`: from the end of the audio that made the
    start decidable to the moment the event was handed over.
    """

    id: str
    phase: Phase
    node: str
    source: str
    label: str
    onset: str
    onset_s: float
    offset: str | None
    offset_s: float | None
    duration_s: float
    peak: float
    peak_s: float
    mean: float
    threshold: float
    latency_ms: float
    late: bool
    reason: Reason | None
    checkpoint: str
    clip: str | None = None
    second_opinion: SecondOpinion | None = None

    def to_dict(self) -> dict[str, Any]:
        """The event as the contract's JSON object, keys in the contract's order."""
        told = {"schema": EVENT_SCHEMA} | {f.name: getattr(self, f.name) for f in fields(self)}
        if self.second_opinion is not None:
            told["second_opinion"] = self.second_opinion.to_dict()
        return told

    def to_json(self) -> str:
        """The event as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)
