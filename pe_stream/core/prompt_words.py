"""Whether a prompt is in words that a text tower was taught sounds by. Pure.

A text tower places any text somewhere. How near that is to known sounds does not tell whether it
was a guess: of what it was taught, one phrasing in a hundred lies as far from all of them as what
was typed at random. So words are looked at, those that it was taught, and what makes another
language: its little words.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

_WORD = re.compile(r"[^\W\d_]+")

_EMPTY = frozenset(
    _WORD.findall(
        "a an and are as at be been by for from has have he her his i in into is it its my no not "
        "of off on onto or our out over s she someone somebody something that the their they this "
        "to up was we were when while with without you your being going"
    )
)
"""Words that say nothing about a sound."""

_LITTLE = {
    "German": "das dem der ein eine einem einen einer ist nicht und wird auf aus beim für ich im "
    "mit sich vom zu zum zur",
    "French": "au avec cette dans de des du est et la le les qu que qui se sur un une",
    "Spanish": "con de del el en es esta está la las lo los por que se su un una y",
    "Italian": "alla che con da degli dei del della delle dello dell di gli il la lo nel nella per "
    "si sul sulla sulle un una è",
    "Dutch": "bij dat de een en gaat het iemand naar niet op uit voor wordt zijn",
    "Portuguese": "ao com da de dos está na que se um uma à",
}
"""Little words of other languages, without those that are English, too."""

_SPOKEN_IN: dict[str, list[str]] = {}
for _language, _words in _LITTLE.items():
    for _word in _words.split():
        _SPOKEN_IN.setdefault(_word, []).append(_language)

_ENDINGS = ("ings", "ing", "ers", "ies", "ied", "ed", "er", "es", "ly", "s", "y", "e")
_STEM = 3
"""Letters that an ending leaves."""

_SHORTEST = 4
"""Letters of a word that may be a misspelt one: of shorter ones, most are some word's neighbour."""

_DRAWN_OUT = re.compile(r"(.)\1\1")
_REPEATED = re.compile(r"(.)\1+")

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class HintKind(Enum):
    """What is odd about a prompt."""

    LANGUAGE = "language"
    """Its words are those of another language."""

    WORDS = "words"
    """Most of its words are none that sounds were described with."""

    SPELLING = "spelling"
    """Two letters of a word are interchanged."""

    NO_WORDS = "no words"
    """There is nothing to read in it."""


@dataclass(frozen=True, slots=True)
class PromptHint:
    """A prompt that scores may say nothing about.

    words: those that were not taught, as in the prompt, in its order. language: which it seems to
    be, in English; None where that is not clear. meant: for each of `words` one that was taught and
    differs in a letter, or None.
    """

    prompt: str
    kind: HintKind
    words: tuple[str, ...] = ()
    language: str | None = None
    meant: tuple[str | None, ...] = ()

    def describe(self) -> str:
        """For people, in a line."""
        words = ", ".join(self.words)
        if self.kind is HintKind.NO_WORDS:
            return f"{self.prompt!r} has no words: describe the sound in English"
        if self.kind is HintKind.LANGUAGE:
            seems = (
                f"seems to be {self.language}" if self.language else "does not seem to be English"
            )
            return f"{self.prompt!r} {seems}: describe the sound in English"
        if self.kind is HintKind.SPELLING:
            return f"{self.prompt!r}: is {words} meant to be {self.meant[0]}?"
        meant = ", ".join(each for each in self.meant if each)
        return (
            f"{self.prompt!r}: the checkpoint was taught no sound in these words: {words}"
            f"{f' (is {meant} meant?)' if meant else ''}; say it in other English words"
        )


class SoundWords:
    """The words that sounds were described with, in lower case; also in other forms."""

    def __init__(self, words: Iterable[str]) -> None:
        """Take them."""
        self._words = frozenset(words)
        self._stems = frozenset(map(_stem, self._words))
        self._longest = max(map(len, self._words), default=0)
        self._short = frozenset(_REPEATED.sub(r"\1", word) for word in self._words)

    def knows(self, word: str) -> bool:
        """Whether it is one of them, with another ending, or drawn out: dogs, barked, woooof."""
        return (
            word in self._words
            or _stem(word) in self._stems
            or (_DRAWN_OUT.search(word) is not None and _REPEATED.sub(r"\1", word) in self._short)
        )

    def hint(self, prompt: str) -> PromptHint | None:
        """What is odd about a prompt; None where nothing is, or that cannot be told."""
        if not any(each.isalnum() for each in prompt):
            return PromptHint(prompt, HintKind.NO_WORDS)
        raw = [each for each in _WORD.findall(prompt) if len(each) > 1 or not each.isascii()]
        if any(each.islower() for each in prompt):  # abbreviations: MRI, EV
            raw = [each for each in raw if not each.isupper() or not each.isascii()]
        said = {each.lower(): each for each in reversed(raw) if each.lower() not in _EMPTY}
        content = dict(reversed(said.items()))
        strange = [word for word in content if not self.knows(word)]
        foreign = [word for word in content if word in _SPOKEN_IN and word not in strange]
        if strange and 2 * (len(strange) + len(foreign)) > len(content):
            return self._strange(prompt, [content[word] for word in strange])
        for word in strange:  # among words that are known
            swapped = sorted(self._words.intersection(_swapped(word)))
            if content[word].islower() and len(word) >= _SHORTEST and swapped:
                return PromptHint(prompt, HintKind.SPELLING, (word,), meant=(swapped[0],))
        return None

    def _strange(self, prompt: str, words: Sequence[str]) -> PromptHint:
        little = [word for word in _WORD.findall(prompt.lower()) if word in _SPOKEN_IN]
        spoken = Counter(language for word in little for language in _SPOKEN_IN[word])
        other_script = not any(map(_is_latin, "".join(words)))
        if spoken or other_script:
            first = spoken.most_common(2)
            clear = len(first) == 1 or (len(first) > 1 and first[0][1] > first[1][1])
            language = first[0][0] if clear else None
            return PromptHint(prompt, HintKind.LANGUAGE, tuple(words), language)
        meant = tuple(self._near(word.lower()) for word in words)
        return PromptHint(prompt, HintKind.WORDS, tuple(words), meant=meant)

    def _near(self, word: str) -> str | None:
        """A word that was taught, begins as this one, and differs in one letter."""
        if not _SHORTEST <= len(word) <= self._longest + 1:
            return None
        for near in (_swapped, _shorter, _longer, _changed):
            found = self._words.intersection(near(word))
            if alike := [each for each in found if each[0] == word[0]]:
                return min(alike)
        return None


def words_in(text: str) -> list[str]:
    """Words of a text, in lower case, as SoundWords takes them."""
    return _WORD.findall(text.lower())


def _is_latin(letter: str) -> bool:
    return ord(letter) < 0x250


def _stem(word: str) -> str:
    """Without one ending, and not with a letter twice at the end: barks, barked, barking."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > _STEM and word[-1] == word[-2] else word


def _swapped(word: str) -> Iterator[str]:
    for i in range(len(word) - 1):
        yield word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _shorter(word: str) -> Iterator[str]:
    for i in range(len(word)):
        yield word[:i] + word[i + 1 :]


def _longer(word: str) -> Iterator[str]:
    for i in range(len(word) + 1):
        for letter in _LETTERS:
            yield word[:i] + letter + word[i:]


def _changed(word: str) -> Iterator[str]:
    for i in range(len(word)):
        for letter in _LETTERS:
            yield word[:i] + letter + word[i + 1 :]
