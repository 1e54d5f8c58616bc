"""Recipes: the data of a training and its duration."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pe_stream.errors import UnavailableError
from pe_stream.workbench import manifest
from pe_stream.workbench.evaluation import promptset
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training.concepts import Concept, named

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """The data of a training and its duration in steps.

    folds: of the manifest; everything where empty. every_licence: also clips that are not marked
    redistributable. mixtures: of 10 s, made and asked about once. frames: in a step. phrasings: of
    a concept or class, at most; all where None. corpus: texts that the tower is taught, besides the
    phrasings. start: a checkpoint to go on from, instead of random weights: with its encoder, and
    where its text tower is of the same shape, with that too.
    """

    folds: tuple[str, ...] = ()
    every_licence: bool = False
    mixtures: int = 24_000
    frames: int = 1000
    phrasings: int | None = None
    ideal_steps: int = 200_000
    corpus: int = 150_000
    text_steps: int = 12_000
    joint_steps: int = 40_000
    seed: int = 0
    start: str | None = None


def clips_for(recipe: Recipe, folders: Sequence[Path]) -> list[Clip]:
    """The clips of the folders' manifests to train on.

    Raises UnavailableError where there is no manifest, or none of its clips may be used.
    """
    clips: list[Clip] = []
    for data in folders:
        some = manifest.without_doubles(manifest.read(data))
        if not recipe.every_licence:
            some = [clip for clip in some if clip.redistributable]
        clips += some
    clips = manifest.of_folds(clips, recipe.folds)
    if not clips:
        raise UnavailableError(
            f"{', '.join(map(str, folders))}: none of these clips is marked redistributable; "
            "--every-licence takes the others too"
        )
    return clips


def of_concepts(clips: Sequence[Clip], known: Sequence[Concept]) -> list[Clip]:
    """Those of `clips` whose label is a concept's; the others are named in the log.

    Raises UnavailableError where none is left.
    """
    labels = {label for concept in known for label in concept.labels}
    strange = Counter(clip.label for clip in clips if not labels.intersection(named(clip.label)))
    if strange:
        most = ", ".join(f"{label!r} ({count})" for label, count in strange.most_common(5))
        log.warning("%d clips left out: phrases.yaml has no such label: %s", strange.total(), most)
    if strange.total() == len(clips):
        raise UnavailableError("no clip has a label that phrases.yaml knows")
    return [clip for clip in clips if clip.label not in strange]


def unseen_phrasings() -> list[str]:
    """The phrasings that evaluation keeps for itself."""
    sets = [*promptset.shipped("everyday"), *promptset.shipped("esc50")]
    return [phrasing for label in sets for phrasing in label.unseen]
