"""Hours of a house to what every label scores in them, and when it truly sounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from pe_stream.audio import media
from pe_stream.core.types import SAMPLE_RATE, FrameScores, ScoreRun
from pe_stream.pipeline.offline import detect
from pe_stream.pipeline.scorer import Scorer
from pe_stream.workbench import manifest
from pe_stream.workbench.calibration.propose import without
from pe_stream.workbench.evaluation.promptset import Label
from pe_stream.workbench.evaluation.thresholds import LabelHour, Span
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.soundscapes import hours as soundscapes
from pe_stream.workbench.soundscapes.scene import SceneEvent, Soundscape
from pe_stream.workbench.soundscapes.sources import AMBIENCES

_MARGIN_NS = 10**9
"""Around a true event, what is heard of it may be heard still."""

_APART_NS = 3600 * 10**9
"""Distance from scene to scene: none continues another."""


@dataclass(frozen=True, slots=True)
class ScoredScene:
    """What sounds in a soundscape, and its scores (frames, labels)."""

    background: str
    events: tuple[SceneEvent, ...]
    scores: FrameScores


def made(clips: Sequence[Clip], folds: Sequence[str], count: int, seed: int) -> soundscapes.Hours:
    """Hours of the clips of these folds, with the ambiences of any; raises UnavailableError."""
    chosen = manifest.without_doubles(manifest.of_folds(clips, folds))
    sounds = [clip for clip in chosen if clip.label and clip.dataset != AMBIENCES]
    ambiences = [clip for clip in clips if clip.dataset == AMBIENCES]
    return soundscapes.Hours(sounds, ambiences, count, seed)


def score(hours: soundscapes.Hours, count: int, scorer: Scorer) -> list[list[ScoredScene]]:
    """The scenes of every hour by the pipeline of `detect`; raises UnavailableError."""
    total = count * soundscapes.SCENES
    with tqdm(total=total, unit="scene", disable=None, leave=False) as progress:

        def scored(hour: int) -> Iterator[ScoredScene]:
            for soundscape in hours.scenes(hour):
                scores = _scores(soundscape, scorer)
                yield ScoredScene(soundscape.background, soundscape.events, scores)
                progress.update()

        return [list(scored(hour)) for hour in range(count)]


def heard(scenes: Sequence[ScoredScene], label: Label, column: int) -> LabelHour:
    """A label's hours, without the scenes whose background may contain it."""
    near = {*label.sounds, *label.related}
    background: list[ScoreRun] = []
    sounding: list[tuple[ScoreRun, tuple[Span, ...]]] = []
    for number, scene in enumerate(scenes):
        if scene.background in near:
            continue
        run = ScoreRun(number * _APART_NS, np.ascontiguousarray(scene.scores[:, column]))
        of_near = _spans(scene, near, run.start_ns)
        around = [(begin - _MARGIN_NS, end + _MARGIN_NS) for begin, end in of_near]
        background += without([run], around)
        true = _spans(scene, set(label.sounds), run.start_ns)
        if true:
            sounding.append((run, true))
    return LabelHour(tuple(background), tuple(sounding))


def _spans(scene: ScoredScene, sounds: set[str], start_ns: int) -> tuple[Span, ...]:
    return tuple(
        (start_ns + round(event.onset_s * 1e9), start_ns + round(event.offset_s * 1e9))
        for event in scene.events
        if event.label in sounds
    )


def _scores(soundscape: Soundscape, scorer: Scorer) -> FrameScores:
    scores: list[FrameScores] = []
    recording = media.from_array(soundscape.samples, SAMPLE_RATE)
    for _ in detect(recording, scorer, node="eval", on_scores=scores.append):
        pass
    return np.concatenate(scores)
