"""Hints at prompts that are not English, or in words no sound was described with.

PE Audio was taught in English. In which words is known of the embedded checkpoint and of those of
`pe-stream train`; with others, only what is not English is hinted at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache

from pe_stream.assets import SOUND_WORDS
from pe_stream.config import LabelSettings
from pe_stream.core.prompt_words import HintKind, PromptHint, SoundWords

_OF_ANY = frozenset({HintKind.LANGUAGE, HintKind.NO_WORDS})
"""What is odd whatever words were taught."""


class PromptHints:
    """Hints for one checkpoint; tells each once. Of one thread at a time, but for `of`."""

    def __init__(self, *, words_known: bool) -> None:
        """Prepare. words_known: of the checkpoint; see `Checkpoint`."""
        self._words_known = words_known
        self._told: set[tuple[str, str]] = set()

    def of(self, prompts: Iterable[str]) -> list[PromptHint]:
        """What is odd about each of these, in order; from any thread."""
        words = _sound_words()
        found = [hint for prompt in dict.fromkeys(prompts) if (hint := words.hint(prompt))]
        return [hint for hint in found if self._words_known or hint.kind in _OF_ANY]

    def of_labels(self, labels: Mapping[str, LabelSettings]) -> dict[str, list[PromptHint]]:
        """The same of prompts and negatives, by label; without labels that there are none of."""
        found = {name: self.of([*each.prompts, *each.negatives]) for name, each in labels.items()}
        return {name: hints for name, hints in found.items() if hints}

    def untold(self, labels: Mapping[str, LabelSettings]) -> Iterator[tuple[str, str]]:
        """The labels with hints that were not yet told of them, and these in a line."""
        for name, hints in self.of_labels(labels).items():
            new = [hint for hint in hints if (name, hint.prompt) not in self._told]
            self._told.update((name, hint.prompt) for hint in new)
            if new:
                yield name, "; ".join(hint.describe() for hint in new)


@cache
def _sound_words() -> SoundWords:
    return SoundWords(SOUND_WORDS.read_text("utf-8").split())
