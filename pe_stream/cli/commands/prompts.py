"""`pe-stream prompts`: which labels overlap, which words agree, what is near, what says nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pe_stream.assets import COMMON_SOUNDS
from pe_stream.cli.options import PromptsOptions
from pe_stream.config import LabelSettings
from pe_stream.config.file import find, load
from pe_stream.core.types import FrameEmbeddings
from pe_stream.errors import ConfigError, UsageError
from pe_stream.labels import examples, learn
from pe_stream.labels.background import made
from pe_stream.labels.examples import Embedder
from pe_stream.labels.overlaps import NEARLY_SAME, cosines, overlaps
from pe_stream.labels.prepare import label_prompts
from pe_stream.labels.prompt_hints import PromptHints
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.few_shot import FewShotLabel, Space, space_of
from pe_stream.model.prompts import LabelEmbeddings, embed, embed_labels
from pe_stream.pipeline.scorer import configured_checkpoint

NEAR = 0.5
"""Cosine from which labels, and common sounds, are told as near.

Of vectors without the mean of all common sounds': a checkpoint may give all texts a part in common.
"""

MOST = 5
"""So many near common sounds and words of a label are told."""

_ODD = 0.8
"""A prompt whose cosine to each of the label's others is lower says something else."""


_MOVES = 0.01
"""Words that move no score by as much are told with --json alone."""


_Rows = Mapping[str, NDArray[np.float64]]
"""Vectors (D,) of texts."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two labels: the cosine of their vectors (see NEAR), and how their scores go together.

    correlation: of their logits over the frames of the background and the clips.
    """

    first: str
    second: str
    cosine: float
    correlation: float
    nearly_same: bool


@dataclass(frozen=True, slots=True)
class Phrasing:
    """One prompt of a label.

    agreement: cosine to the nearest of the label's others, None without others. background: its
        highest score on the background's sounds. clips: the highest on each clip, by name.
    """

    label: str
    prompt: str
    agreement: float | None
    background: float
    clips: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Word:
    """The effect of a word of a prompt: the highest score of a clip with it, and without."""

    label: str
    prompt: str
    word: str
    clip: str
    score: float
    without: float


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A common sound that lies near a label; its cosine. As a `not` it keeps the two apart."""

    label: str
    sound: str
    cosine: float


@dataclass(frozen=True, slots=True)
class OddPrompt:
    """A prompt, or a `not`, that the scores may say nothing about; see `core.prompt_words`.

    kind: of its HintKind. meant: beside `words`, null where there is no guess. hint: in a sentence.
    """

    label: str
    prompt: str
    kind: str
    words: tuple[str, ...]
    language: str | None
    meant: tuple[str | None, ...]
    hint: str


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings about a configuration's prompts."""

    overlaps: tuple[Pair, ...]
    phrasings: tuple[Phrasing, ...]
    words: tuple[Word, ...]
    neighbours: tuple[Neighbour, ...]
    odd: tuple[OddPrompt, ...]


def run(options: PromptsOptions) -> int:
    """Print the findings; returns the exit code."""
    for clip in options.clips:
        if options.clips.count(clip) > 1:
            raise UsageError(f"{clip} is given more than once")
    settings = load(options.config or find())
    labels = {name: label for name, label in settings.labels.items() if label.loud is None}
    if not labels:
        raise ConfigError("no label has prompts: every one is loud")
    checkpoint = configured_checkpoint(settings.model)
    embedder = Embedder(checkpoint)
    clips = {clip: examples.load(embedder, clip).embeddings for clip in options.clips}
    found = examine(checkpoint, labels, clips)
    if options.json:
        print(json.dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        for line in _lines(found):
            print(line)
    return 0


def examine(
    checkpoint: Checkpoint,
    labels: Mapping[str, LabelSettings],
    clips: Mapping[str, FrameEmbeddings],
) -> Findings:
    """Look at the labels' prompts; clips: (frames, D) by name. Raises ConfigError."""
    embeddings = embed_labels(checkpoint, label_prompts(labels))
    taught = learn.teach(checkpoint, embeddings, labels)
    background = made(Embedder(checkpoint))
    space = space_of(checkpoint)
    heard = np.concatenate([*background.values(), *clips.values()])
    sounds = COMMON_SOUNDS.read_text("utf-8").splitlines()
    common = dict(zip(sounds, _rows(checkpoint, sounds), strict=True))
    return Findings(
        tuple(_pairs(taught, space, heard, common)),
        tuple(_phrasings(checkpoint, labels, space, background, clips)),
        tuple(_words(checkpoint, labels, space, clips)),
        tuple(_neighbours(checkpoint, labels, embeddings, common)),
        tuple(_odd(PromptHints(words_known=checkpoint.words_known), labels)),
    )


def _pairs(
    labels: LabelEmbeddings, space: Space, heard: FrameEmbeddings, common: _Rows
) -> Iterator[Pair]:
    columns = [space.logits(heard, FewShotLabel(learn.words_of(labels, n))) for n in labels.names]
    nearly_same = {(pair.first, pair.second) for pair in overlaps(labels)}
    for pair in overlaps(labels, least=NEAR, centre=_centre(common)):
        first, second = (columns[labels.names.index(n)] for n in (pair.first, pair.second))
        yield Pair(
            pair.first,
            pair.second,
            round(pair.cosine, 4),
            round(_correlation(first, second), 4),
            (pair.first, pair.second) in nearly_same,
        )


def _phrasings(
    checkpoint: Checkpoint,
    labels: Mapping[str, LabelSettings],
    space: Space,
    background: Mapping[str, FrameEmbeddings],
    clips: Mapping[str, FrameEmbeddings],
) -> Iterator[Phrasing]:
    other = np.concatenate(list(background.values()))
    for name, label in labels.items():
        rows = _rows(checkpoint, label.prompts)
        for number, prompt in enumerate(label.prompts):
            rest = np.delete(rows, number, axis=0)
            to_rest = cosines(rows[number : number + 1], rest)[0]
            agreement = round(float(to_rest.max()), 4) if len(rest) else None
            yield Phrasing(
                name,
                prompt,
                agreement,
                _peak(space, other, rows[number]),
                {clip: _peak(space, frames, rows[number]) for clip, frames in clips.items()},
            )


def _words(
    checkpoint: Checkpoint,
    labels: Mapping[str, LabelSettings],
    space: Space,
    clips: Mapping[str, FrameEmbeddings],
) -> Iterator[Word]:
    for name, label in labels.items():
        found: list[Word] = []
        for prompt in label.prompts if clips else ():
            shorter = _without_a_word(prompt)
            rows = _rows(checkpoint, [prompt, *(text for _, text in shorter)])
            for clip, frames in clips.items():
                score = _peak(space, frames, rows[0])
                for (word, _), row in zip(shorter, rows[1:], strict=True):
                    without = _peak(space, frames, row)
                    found.append(Word(name, prompt, word, clip, score, without))
        found.sort(key=lambda each: -abs(each.score - each.without))
        yield from found[:MOST]


def _without_a_word(prompt: str) -> list[tuple[str, str]]:
    """Each word, and the prompt without it; none of a prompt of one word."""
    words = list(re.finditer(r"\w[\w'-]*", prompt))
    if len(words) < 2:
        return []
    without = [(w.group(), f"{prompt[: w.start()]} {prompt[w.end() :]}") for w in words]
    return [(word, " ".join(text.split())) for word, text in without]


def _neighbours(
    checkpoint: Checkpoint,
    labels: Mapping[str, LabelSettings],
    embeddings: LabelEmbeddings,
    common: _Rows,
) -> Iterator[Neighbour]:
    """Common sounds near a label that are not the label itself in other words."""
    rows, centre = np.stack(list(common.values())), _centre(common)
    for name, label in labels.items():
        words = learn.words_of(embeddings, name)[np.newaxis]
        near = cosines(words - centre, rows - centre)[0]
        own = cosines(_rows(checkpoint, label.prompts), rows).max(axis=0)
        told = [
            Neighbour(name, sound, round(float(cosine), 4))
            for sound, cosine, same in zip(common, near, own, strict=True)
            if cosine >= NEAR and same < NEARLY_SAME and sound not in label.negatives
        ]
        yield from sorted(told, key=lambda each: -each.cosine)[:MOST]


def _odd(hints: PromptHints, labels: Mapping[str, LabelSettings]) -> Iterator[OddPrompt]:
    for name, found in hints.of_labels(labels).items():
        for each in found:
            yield OddPrompt(
                name,
                each.prompt,
                each.kind.value,
                each.words,
                each.language,
                each.meant,
                each.describe(),
            )


def _centre(common: _Rows) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.mean(list(common.values()), axis=0)
    return mean


def _rows(checkpoint: Checkpoint, texts: Sequence[str]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = embed(checkpoint, texts).double().cpu().numpy()
    return rows


def _peak(space: Space, frames: FrameEmbeddings, row: NDArray[np.float64]) -> float:
    return round(float(space.scores(frames, FewShotLabel(row)).max()), 4)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's; 0 where one of them never changes."""
    if first.std() == 0 or second.std() == 0:
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def _lines(found: Findings) -> Iterator[str]:
    yield "labels that overlap (cosine of their vectors, correlation of their scores)"
    for pair in found.overlaps:
        mark = "  nearly the same" if pair.nearly_same else ""
        yield f"  {pair.cosine:.2f}  {pair.correlation:5.2f}  {pair.first}, {pair.second}{mark}"
    if not found.overlaps:
        yield "  none"
    yield from _phrasing_lines(found.phrasings)
    words = [word for word in found.words if abs(word.score - word.without) >= _MOVES]
    if words:
        yield "words that move a clip's score most (with, without)"
        for word in words:
            yield (
                f"  {word.score:.2f}  {word.without:.2f}  {word.label}: {word.word!r} in "
                f"{word.prompt!r}, {word.clip}"
            )
    yield "common sounds that lie near a label (put one under `not` where it is mistaken for it)"
    for near in found.neighbours:
        yield f"  {near.cosine:.2f}  {near.label}: {near.sound}"
    if not found.neighbours:
        yield "  none"
    yield "prompts that may say nothing to the checkpoint"
    for odd in found.odd:
        yield f"  {odd.label}: {odd.hint}"
    if not found.odd:
        yield "  none"


def _phrasing_lines(phrasings: Sequence[Phrasing]) -> Iterator[str]:
    yield "phrasings (cosine to the nearest of the label's others, highest score on the background)"
    for each in phrasings:
        agreement = "   -" if each.agreement is None else f"{each.agreement:.2f}"
        odd = each.agreement is not None and each.agreement < _ODD
        mark = "  says something else than the others" if odd else ""
        yield f"  {agreement}  {each.background:.2f}  {each.label}: {each.prompt!r}{mark}"
        for clip, score in each.clips.items():
            yield f"        {score:.2f}  {clip}"
