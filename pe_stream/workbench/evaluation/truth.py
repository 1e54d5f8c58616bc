"""A manifest and a prompt set to what truly sounds where.

Events that soundscapes have from formulas are kept apart: training uses the same formulas, so what
is heard of them says little of real sounds.

Whether labels are strong (`onset_s` and `offset_s` filled) is decided for the whole manifest. A
clip with a weak label is taken to sound from its beginning to its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

from pe_stream.errors import UnavailableError
from pe_stream.workbench import manifest
from pe_stream.workbench.evaluation.promptset import Label
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.soundscapes.folder import is_made


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A span in seconds from the start of a file; `offset_s` may be inf."""

    onset_s: float
    offset_s: float

    def overlaps(self, other: Span) -> bool:
        """Whether the two share any time at all."""
        return self.onset_s < other.offset_s and other.onset_s < self.offset_s


@dataclass(frozen=True, slots=True)
class File:
    """True events of a file.

    true: by label, when it sounds; in order, none touching another.
    near: by label, when something sounds that is too near to it to be right or wrong.
    made: by label, when it sounds from a formula; in `near` too.
    empty: the manifest says that nothing sounds in it, of whatever label.
    """

    path: Path
    key: str
    true: Mapping[str, tuple[Span, ...]]
    near: Mapping[str, tuple[Span, ...]]
    empty: bool
    made: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)

    def of_made(self, labels: Collection[str] | None = None) -> File:
        """The same where what is made is true and what is real near, of these labels or all."""

        def chosen(label: str) -> bool:
            return labels is None or label in labels

        true = {label: spans for label, spans in self.true.items() if not chosen(label)}
        near = dict(self.near)
        for label in filter(chosen, self.true):
            near[label] = merged((*self.near.get(label, ()), *self.true[label]))
        made = {label: spans for label, spans in self.made.items() if chosen(label)}
        return replace(self, true=true | made, near=near)


@dataclass(frozen=True, slots=True)
class Truth:
    """Files and labels to evaluate.

    labels: names, in the order of the set. unknown: rows of the manifest left out, by label,
    because the set knows no such sound. doubles: rows left out because another data set has the
    same clip.
    """

    labels: tuple[str, ...]
    files: tuple[File, ...]
    strong: bool
    unknown: Mapping[str, int] = field(default_factory=dict)
    doubles: int = 0


def find(clips: Sequence[Clip], labels: Sequence[Label], order: Sequence[str] = ()) -> Truth:
    """What sounds in the files of `clips`; of doubles that of the data set first in `order`.

    A weak clip of a sound that no label knows is left out. Of strong labels only that event is:
    the file then is no empty one, but for every label nothing of it sounds there.

    Raises UnavailableError where nothing is left, or a row is wrong or ambiguous.
    """
    given, clips = len(clips), manifest.without_doubles(clips, order)
    strong = any(clip.onset_s is not None for clip in clips)
    known = {sound for label in labels for sound in (*label.sounds, *label.related)}
    unknown = Counter(c.label for c in clips if c.label and c.label not in known)
    kept = [c for c in clips if strong or not c.label or c.label in known]
    rows: dict[str, list[Clip]] = {}
    for clip in kept:
        rows.setdefault(clip.key, []).append(clip)
    files = tuple(_file(mine, labels, strong=strong) for mine in rows.values())
    if not any(file.true or file.made or file.empty for file in files):
        there = ", ".join(sorted({c.label for c in clips})[:5])
        raise UnavailableError(
            f"no clip is of any label in the set ({len(labels)} labels, such as"
            f" {labels[0].name!r}); the manifest has {there}"
        )
    names = tuple(label.name for label in labels)
    return Truth(names, files, strong, dict(unknown), given - len(clips))


def _file(rows: Sequence[Clip], labels: Sequence[Label], *, strong: bool) -> File:
    spans = [(row.label, _span(row, strong=strong), is_made(row.note)) for row in rows if row.label]
    if spans and len(spans) < len(rows):
        raise UnavailableError(f"{rows[0].key}: the manifest has it with and without a label")

    def of(sounds: Iterable[str], *, made: bool) -> Iterator[Span]:
        wanted = set(sounds)
        return (span for label, span, is_so in spans if label in wanted and is_so == made)

    true, near, made = {}, {}, {}
    for label in labels:
        true[label.name] = merged(of(label.sounds, made=False))
        made[label.name] = merged(of(label.sounds, made=True))
        related = (*of(label.related, made=False), *of(label.related, made=True))
        near[label.name] = merged((*related, *made[label.name]))
    return File(
        path=rows[0].path,
        key=rows[0].key,
        true=_there(true),
        near=_there(near),
        empty=not spans,
        made=_there(made),
    )


def _there(spans: Mapping[str, tuple[Span, ...]]) -> dict[str, tuple[Span, ...]]:
    return {label: own for label, own in spans.items() if own}


def _span(row: Clip, *, strong: bool) -> Span:
    if not strong:
        return Span(0.0, inf)
    if row.onset_s is None or row.offset_s is None:
        raise UnavailableError(
            f"{row.key}: {row.label!r} has no onset_s and offset_s, and other rows have:"
            " put weak and strong labels into separate manifests"
        )
    if not 0 <= row.onset_s < row.offset_s < inf:
        raise UnavailableError(
            f"{row.key}: {row.label!r} from {row.onset_s:g} to {row.offset_s:g} s is no event"
        )
    return Span(row.onset_s, row.offset_s)


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Spans in order, those that touch or overlap made one."""
    done: list[Span] = []
    for span in sorted(spans):
        if done and span.onset_s <= done[-1].offset_s:
            done[-1] = Span(done[-1].onset_s, max(done[-1].offset_s, span.offset_s))
        else:
            done.append(span)
    return tuple(done)
