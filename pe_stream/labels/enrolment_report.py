"""A report on a label with examples: its scores, and the sounds that it confuses with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from pe_stream.config import LabelSettings
from pe_stream.core.types import FRAME_S, FrameEmbeddings
from pe_stream.labels import background, examples
from pe_stream.labels.examples import Embedder, Example
from pe_stream.labels.learn import Lesson, lesson, teach, words_of
from pe_stream.labels.overlaps import overlaps
from pe_stream.labels.prepare import label_prompts
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.few_shot import FewShotLabel, Space, learn, left_out, space_of
from pe_stream.model.prompts import LabelEmbeddings, embed_labels

MOST = 5
"""So many of what comes nearest are told."""


def report(checkpoint: Checkpoint, labels: Mapping[str, LabelSettings], name: str) -> Iterator[str]:
    """Lines on the label `name`, which has examples. A score is the highest of a sound's frames.

    Raises UnavailableError on an example that cannot be read.
    """
    words = embed_labels(checkpoint, label_prompts(labels))
    taught = teach(checkpoint, words, labels)
    embedder = Embedder(checkpoint)
    space, mine = space_of(checkpoint), lesson(checkpoint, name, labels[name])
    alone = FewShotLabel(words_of(words, name))
    learned = learn(alone.row, mine.sounds, mine.against, space)
    threshold = labels[name].rule(name, checkpoint.recommended.get(name)).threshold
    yield from _of_examples(mine, alone, learned, space=space, threshold=threshold)
    yield f"what the examples sound like to the other labels, beside {name}:"
    yield from _nearest(_others_on(mine.examples, taught, name, space)) or [
        "  there are no other labels"
    ]
    own = {
        f"{Path(each.name).name} of {label}": _peak(space, each.sound, learned)
        for label, settings in labels.items()
        if label != name
        for each in (examples.load(embedder, path) for path in settings.examples)
    }
    own |= dict(_of_background(embedder, labels[name].background, learned, space))
    if own:
        yield f"what {name} takes for itself of your other recordings:"
        yield from _nearest(own)
    yield f"what {name} takes for itself of common sounds:"
    known = background.made(embedder)
    yield from _nearest({what: _peak(space, each, learned) for what, each in known.items()})
    for pair in overlaps(taught):
        if name in (pair.first, pair.second):
            yield f"  {pair.describe()}"


def _of_examples(
    lesson: Lesson, alone: FewShotLabel, learned: FewShotLabel, *, space: Space, threshold: float
) -> Iterator[str]:
    mine = lesson.examples
    without = left_out(alone.row, lesson.sounds, lesson.against, space)
    yield "example             active   by words   left out   with all"
    for each, scores in zip(mine, without, strict=True):
        length = f"{each.active.sum() * FRAME_S:.1f} of {len(each.active) * FRAME_S:.1f} s"
        by_words, now = (_peak(space, each.sound, vector) for vector in (alone, learned))
        # Of one alone nothing is left that could teach.
        told = f"{scores.max():8.2f}" if len(mine) > 1 else "       -"
        below = "  below the threshold" if len(mine) > 1 and scores.max() < threshold else ""
        yield (
            f"{_short(each.name):14} {length:>12}   {by_words:8.2f}   {told}   {now:8.2f}{below}"
        )
    yield from lesson.repeated


def _short(path: str) -> str:
    """Its name, or the end of it: ids of events begin alike."""
    name = Path(path).name
    return name if len(name) <= 14 else f"…{name[-13:]}"


def _of_background(
    embedder: Embedder, paths: Sequence[str], learned: FewShotLabel, space: Space
) -> Iterator[tuple[str, float]]:
    """The moment of each recording that comes nearest, and its score."""
    for path in paths:
        scores = space.scores(background.load(embedder, path), learned)
        minutes, seconds = divmod(int(scores.argmax() * background.STEP * FRAME_S), 60)
        yield f"your background {Path(path).name} at {minutes}:{seconds:02}", float(scores.max())


def _others_on(
    mine: Sequence[Example], labels: LabelEmbeddings, name: str, space: Space
) -> dict[str, float]:
    """The mean over the examples of what each other label scores them."""
    found = {}
    for column, other in enumerate(labels.names):
        if other != name:
            vector = FewShotLabel(words_of(labels, other), labels.offsets[column].item())
            found[other] = float(np.mean([_peak(space, each.sound, vector) for each in mine]))
    return found


def _nearest(scores: Mapping[str, float]) -> list[str]:
    highest = sorted(scores, key=lambda what: -scores[what])[:MOST]
    return [f"  {scores[what]:.2f}  {what}" for what in highest]


def _peak(space: Space, frames: FrameEmbeddings, vector: FewShotLabel) -> float:
    return float(space.scores(frames, vector).max())
