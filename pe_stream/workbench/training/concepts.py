"""Texts that describe sounds: `phrases.yaml`, and the texts made from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from pe_stream.core.prompt_words import words_in

PHRASES = Path(__file__).with_name("phrases.yaml")

CLASSES = Path(__file__).with_name("audioset.yaml")
"""Phrasings of AudioSet's classes, the plainest first, by display name."""


@dataclass(frozen=True)
class Concept:
    """One sound.

    plain: the plainest prompt for it.
    phrasings: other ways to say it; `plain` and the name are among them.
    labels: labels of manifests that mean it.
    audioset: AudioSet classes (display names) whose presence means it.
    """

    name: str
    plain: str
    phrasings: tuple[str, ...]
    labels: tuple[str, ...] = ()
    audioset: tuple[str, ...] = ()


_TEMPLATES = (
    "the sound of {}",
    "{} in the distance",
    "{} nearby",
    "i hear {}",
    "{} in the background",
    "{} outside",
    "{} at night",
    "loud {}",
    "a recording of {}",
    "someone heard {}",
    "{} and then silence",
    "{} sounds",
)

_EMPTY_WORDS = frozenset(
    ["a", "an", "and", "at", "in", "is", "of", "on", "or", "someone", "the", "to", "with"]
)

_WORD_TEMPLATES = ("{}", "a {}", "the {}", "{} sound", "the sound of a {}", "someone {}")


def read(
    path: Path = PHRASES, without: Iterable[str] = (), most: int | None = None
) -> list[Concept]:
    """The concepts of a file like `phrases.yaml`.

    without: texts kept for evaluation; phrasings that say nearly the same are left out. most:
    phrasings of a concept, the first ones; all where None.
    """
    kept_out = [_content(text) for text in without]
    concepts = []
    for name, entry in _loaded(path).items():
        plain = entry["plain"]
        texts = dict.fromkeys([plain, name, *entry.get("phrasings", ())])
        new = (text for text in texts if _is_new(text, plain, kept_out))
        concepts.append(
            Concept(
                name=name,
                plain=plain,
                phrasings=tuple(islice(new, most)),
                labels=tuple(entry.get("labels", ())),
                audioset=tuple(entry.get("audioset", ())),
            )
        )
    return concepts


def class_phrasings(
    classes: Sequence[str], path: Path = CLASSES, most: int | None = None
) -> list[tuple[str, ...]]:
    """Of each of AudioSet's `classes` at most `most` phrasings; its name, where there are none."""
    known = _loaded(path)
    return [tuple(known.get(name) or [name.lower()])[:most] for name in classes]


def sound_words() -> list[str]:
    """Words of all texts that a text tower is taught sounds with, sorted."""
    texts = [text for concept in read() for text in concept.phrasings]
    texts += [text for name, some in _loaded(CLASSES).items() for text in (name, *some)]
    return sorted({word for text in (*texts, *_TEMPLATES) for word in words_in(text)})


def named(label: str) -> tuple[str, ...]:
    """The labels that one cell of a manifest has: itself and, where it has several, each."""
    parts = [part.strip() for part in label.split(";")]
    return (label, *parts) if len(parts) > 1 else (label,)


def held_out(concepts: Sequence[Concept]) -> dict[str, str]:
    """One phrasing of each concept with ten or more, to validate the text tower on, by name."""
    return {
        concept.name: concept.phrasings[7] for concept in concepts if len(concept.phrasings) >= 10
    }


def corpus(
    concepts: Sequence[Concept],
    phrasings: Sequence[str],
    words: Sequence[str],
    size: int,
    seed: int,
) -> list[str]:
    """About `size` texts to teach the text tower with, each once, without the held-out ones.

    The `phrasings` of concepts and classes; phrasings in templates ("... in the distance") and two
    at a time; and `words` of the language in general, alone, in templates and in pairs, so that
    the tower has met most of what people write.
    """
    import random

    rng = random.Random(seed)  # noqa: S311 - no secret
    kept_out = {_normal(text) for text in held_out(concepts).values()}
    phrasings = [text for text in phrasings if _normal(text) not in kept_out]
    texts = dict.fromkeys(phrasings)
    while len(texts) < size // 2:
        text = rng.choice(phrasings)
        if rng.random() < 0.8:
            text = rng.choice(_TEMPLATES).format(text)
        else:
            text = f"{text} {rng.choice(('and', 'with', 'over', 'not'))} {rng.choice(phrasings)}"
        if _normal(text) not in kept_out:
            texts[text] = None
    vocabulary = sorted({word for text in phrasings for word in _normal(text).split()})
    while len(texts) < size:
        first = rng.choice(words if rng.random() < 0.6 else vocabulary)
        second = rng.choice(words if rng.random() < 0.4 else vocabulary)
        pair = first if rng.random() < 0.3 else f"{first} {second}"
        text = rng.choice(_WORD_TEMPLATES).format(pair)
        if _normal(text) not in kept_out:
            texts[text] = None
    return list(texts)


def _loaded(path: Path) -> Any:
    """A large file, by the parser in C where there is one: five times as fast."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text("utf-8"), loader)  # noqa: S506 - both are safe loaders


def _is_new(text: str, plain: str, kept_out: Sequence[frozenset[str]]) -> bool:
    """Whether a phrasing shares less than half of its words with each text kept out.

    The plain prompt stays, whatever it shares: it is what the others are compared with.
    """
    words = _content(text)
    return text == plain or all(2 * len(words & kept) < len(words | kept) for kept in kept_out)


def _content(text: str) -> frozenset[str]:
    return frozenset(_normal(text).split()) - _EMPTY_WORDS


def _normal(text: str) -> str:
    return " ".join(text.lower().replace(",", " ").split())
