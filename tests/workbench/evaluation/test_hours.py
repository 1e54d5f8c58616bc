"""Scenes to what counts of a label: its background, and the scenes in which it sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pe_stream.errors import UnavailableError
from pe_stream.workbench.evaluation.hours import ScoredScene, heard, made
from pe_stream.workbench.evaluation.promptset import Label
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.soundscapes.scene import SceneEvent

DOG = Label("dog_bark", "a dog barking", sounds=("dog",), related=("wolf howl", "kennel"))
FRAMES = 750


def scene(background: str, *events: tuple[str, float, float]) -> ScoredScene:
    """30 s; the score of the second column is the number of the frame."""
    truth = tuple(
        SceneEvent(n, round(a * 48_000), round(b * 48_000), 0.0, None) for n, a, b in events
    )
    scores = np.stack([np.zeros(FRAMES), np.arange(FRAMES)], axis=1).astype(np.float32)
    return ScoredScene(background, truth, scores)


def test_its_own_sounds_and_those_near_are_no_background() -> None:
    scenes = [
        scene("rain", ("dog", 10.0, 12.0), ("cow", 20.0, 22.0)),
        scene("rain", ("wolf howl", 0.2, 3.0)),
        scene("kennel", ("dog", 1.0, 2.0)),
        scene("rain"),
    ]
    found = heard(scenes, DOG, 1)
    pieces = [(run.scores[0], run.scores[-1] + 1) for run in found.background]
    assert pieces == [(0, 225), (325, 750), (100, 750), (0, 750)]  # a second around, too
    ((run, spans),) = found.scenes
    assert len(run.scores) == FRAMES
    assert [(a - run.start_ns, b - run.start_ns) for a, b in spans] == [(10 * 10**9, 12 * 10**9)]
    assert found.true == 1


def test_no_scene_goes_on_where_another_ended() -> None:
    background = heard([scene("rain"), scene("rain")], DOG, 0).background
    assert background[1].start_ns - background[0].end_ns > 60 * 10**9


def clip(dataset: str, label: str, fold: str, number: int = 0) -> Clip:
    name = f"{label}{number}"
    return Clip(Path(name), name, label, fold=fold, dataset=dataset, recording=name)


def test_hours_are_of_the_folds_asked_for() -> None:
    clips = [clip("a", "dog", "1"), clip("a", "cow", "2"), clip("background", "rain", "2")]
    with pytest.raises(UnavailableError, match="1 recordings are too few for 2 hours"):
        made(clips, ("1",), 2, 0)
    with pytest.raises(UnavailableError, match="no clip of fold 9"):
        made(clips, ("9",), 2, 0)
    made(clips, (), 2, 0)
    with pytest.raises(UnavailableError, match="2 recordings are too few"):
        made(clips, (), 3, 0)  # the ambience is not one
