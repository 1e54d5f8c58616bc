"""Settings to labels ready for use: their words embedded, their examples learned, their rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pe_stream.config import LabelSettings
from pe_stream.core.hours import WeeklySpan
from pe_stream.core.types import LabelRule
from pe_stream.core.words import has_control_characters
from pe_stream.errors import ConfigError
from pe_stream.labels.fingerprint import fingerprint
from pe_stream.labels.learn import teach
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.no_model import NoCheckpoint, no_words, with_columns
from pe_stream.model.prompts import LabelEmbeddings, LabelPrompts, embed_labels


@dataclass(frozen=True, slots=True)
class PreparedLabels:
    """Labels ready for use: what the engine multiplies with, and when a score makes an event.

    rules: one for each column of the engine, in its order.
    keys: by label, a fingerprint of what makes its scores: only scores of the same can be compared.
    """

    embeddings: LabelEmbeddings
    rules: tuple[LabelRule, ...]
    keys: Mapping[str, str] = field(default_factory=dict)

    def rules_of(self, source: str, hears: Callable[[str, str], bool]) -> list[LabelRule]:
        """One rule a column; labels that the source does not listen for are switched off."""
        return [
            rule if hears(source, rule.name) else replace(rule, enabled=False)
            for rule in self.rules
        ]


Holds = Callable[[WeeklySpan], bool]
"""Whether it is the time of a span."""


def never(_: WeeklySpan) -> bool:
    """No schedule counts, as for files: they have no local time."""
    return False


def labels_from_prompts(
    prompts: Sequence[str], threshold: float | None = None
) -> dict[str, LabelSettings]:
    """Each text a label of its own, in the order given.

    Raises ConfigError on a text that is empty, given twice, or has control characters.
    """
    for text in prompts:
        if not text.strip():
            raise ConfigError("a prompt is empty; describe the sound in words")
        if has_control_characters(text):
            raise ConfigError(f"the prompt {text!r} has a control character: words only")
        if prompts.count(text) > 1:
            raise ConfigError(f"the prompt {text!r} is given more than once")
    return {text: LabelSettings(prompts=(text,), threshold=threshold) for text in prompts}


def prepare_labels(
    checkpoint: Checkpoint | NoCheckpoint,
    labels: Mapping[str, LabelSettings],
    holds: Holds = never,
) -> PreparedLabels:
    """Embed the labels' prompts, learn from their examples and settle their thresholds.

    Raises ConfigError, also where a label needs a model and there is none, and UnavailableError
    naming an example that cannot be used.
    """
    recommended = checkpoint.recommended
    rules = (label.rule(name, recommended.get(name), holds) for name, label in labels.items())
    words = label_prompts(labels)
    if isinstance(checkpoint, NoCheckpoint):
        embeddings = checkpoint.columns(labels, needed_for=words)
    else:
        embedded = embed_labels(checkpoint, words) if words else no_words(checkpoint)
        embeddings = with_columns(teach(checkpoint, embedded, labels), labels)
    keys = {name: fingerprint(checkpoint.identity, label) for name, label in labels.items()}
    return PreparedLabels(embeddings, tuple(rules), keys)


def label_prompts(labels: Mapping[str, LabelSettings]) -> dict[str, LabelPrompts]:
    """The prompts of each label that a model hears: of all but those that are loud."""
    return {
        name: LabelPrompts(tuple(label.prompts), tuple(label.negatives))
        for name, label in labels.items()
        if label.loud is None
    }
