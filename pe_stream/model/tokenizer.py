"""A checkpoint's tokenizer: made of tokenizer.json alone, by parts whose cost is bounded.

A tokenizer is a program of small parts, and some of them let whoever wrote it choose what a text
costs: a regular expression may take for ever (and the library then panics), replacements may make
of one letter a gigabyte. What ModernBERT's and BERT's have needs none of these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pe_stream.model.reading import read_json, refusing, unavailable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILE, _CONFIG = "tokenizer.json", "tokenizer_config.json"

MOST_BYTES = 2**24
"""Largest tokenizer.json (16 MiB); that of ModernBERT has 3.6 MB."""

LONGEST = 10_000
"""Characters of a text."""

_PARTS = {
    "normalizer": {
        "BertNormalizer",
        "ByteLevel",
        "Lowercase",
        "NFC",
        "NFD",
        "NFKC",
        "NFKD",
        "Nmt",
        "Prepend",
        "Replace",
        "Strip",
        "StripAccents",
    },
    "pre_tokenizer": {
        "BertPreTokenizer",
        "ByteLevel",
        "CharDelimiterSplit",
        "Digits",
        "Metaspace",
        "Punctuation",
        "Split",
        "UnicodeScripts",
        "Whitespace",
        "WhitespaceSplit",
    },
    "post_processor": {"BertProcessing", "ByteLevel", "RobertaProcessing", "TemplateProcessing"},
    "model": {"BPE", "Unigram", "WordLevel", "WordPiece"},
}
"""Kinds of parts that are taken; whatever else is refused."""

_REPEATED = {"Replace", "Split"}
"""Kinds of which there may be several: neither makes a text longer."""

_MOST_PARTS = 64
_LONGEST_PREFIX = 100

_TOKENS = ("bos", "cls", "eos", "mask", "pad", "sep", "unk")


def load_tokenizer(name: str, folder: Path) -> PreTrainedTokenizerBase:
    """Make the tokenizer; raises UnavailableError where it is absent, damaged or too costly."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    found = read_json(name, folder, FILE, MOST_BYTES)
    with refusing(name, "its tokenizer cannot be read"):
        _check(found)
        # What was looked at, not the file: of a key that comes twice, others may see the other.
        tokenizer = Tokenizer.from_str(json.dumps(found))
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **_settings(name, folder))


def tokenize(
    name: str, tokenizer: PreTrainedTokenizerBase, text: str, vocabulary: int
) -> list[int]:
    """Token ids of a text of at most LONGEST characters, with the special tokens around it.

    vocabulary: how many tokens the model knows. Raises UnavailableError where the tokenizer fails,
    or gives a token that the model does not have.
    """
    with refusing(name, f"its tokenizer fails on {text[:50]!a}"):
        ids: list[int] = tokenizer(text, truncation=False, verbose=False)["input_ids"]
    if not ids:
        raise unavailable(name, f"its tokenizer makes nothing of {text[:50]!a}")
    if not 0 <= min(ids) <= max(ids) < vocabulary:
        raise unavailable(
            name, f"its tokenizer gives token {max(ids)}, and the model has {vocabulary}"
        )
    return ids


def _settings(name: str, folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json adds: the special tokens' names, and the longest text."""
    if not (folder / _CONFIG).exists():
        return {}
    found = read_json(name, folder, _CONFIG, MOST_BYTES)
    kept: dict[str, Any] = {}
    for key in (f"{each}_token" for each in _TOKENS):
        token = found.get(key)
        token = token.get("content") if isinstance(token, Mapping) else token
        if isinstance(token, str):
            kept[key] = token
    longest = found.get("model_max_length")
    if longest is not None:
        if isinstance(longest, bool) or not isinstance(longest, int | float) or not longest >= 1:
            raise ValueError(f"model_max_length is not a number from 1 in {_CONFIG}")
        kept["model_max_length"] = longest
    names = found.get("model_input_names")
    if isinstance(names, list) and all(isinstance(each, str) for each in names):
        kept["model_input_names"] = names
    return kept


def _check(found: Mapping[str, Any]) -> None:
    """Raise ValueError on a part of another kind, or one whose cost has no bound."""
    for place, known in _PARTS.items():
        seen: list[str] = []
        for part in _flat(found.get(place)):
            kind = part.get("type") or _kind_of_model(part)
            if kind not in known or (kind in seen and kind not in _REPEATED):
                raise ValueError(f"its {place} has {ascii(kind)[:100]}, or has it twice")
            seen.append(kind)
            if len(seen) > _MOST_PARTS:
                raise ValueError(f"its {place} has more than {_MOST_PARTS} parts")
            _check_cost(place, part)


def _flat(part: object) -> Iterator[Mapping[str, Any]]:
    """The parts of a sequence of them, and of sequences in it."""
    waiting = [part] if part is not None else []
    while waiting:
        each = waiting.pop(0)
        if not isinstance(each, Mapping):
            raise ValueError("a part of it is no JSON object")  # noqa: TRY004 - told as the others
        if each.get("type") == "Sequence":
            inner = [some for key in _SEQUENCES for some in each.get(key) or ()]
            waiting = inner + waiting
            if len(waiting) > _MOST_PARTS:
                raise ValueError(f"a sequence of it has more than {_MOST_PARTS} parts")
        else:
            yield each


_SEQUENCES = ("normalizers", "pretokenizers", "processors")
"""What the parts of a sequence stand under."""


def _kind_of_model(part: Mapping[str, Any]) -> str:
    """Old files do not say which model it is."""
    return "BPE" if "merges" in part else "WordPiece"


def _check_cost(place: str, part: Mapping[str, Any]) -> None:
    pattern = part.get("pattern")
    if isinstance(pattern, Mapping) and set(pattern) != {"String"}:
        raise ValueError(f"its {place} has a regular expression, whose cost has no bound")
    if isinstance(pattern, Mapping):
        old, new = pattern["String"], part.get("content", "")
        if not isinstance(old, str) or not isinstance(new, str) or len(new) > len(old):
            raise ValueError(f"its {place} replaces a text by a longer one")
    if len(str(part.get("prepend", ""))) > _LONGEST_PREFIX:
        raise ValueError(f"its {place} puts too much before a text")
    template = part.get("single", ())
    if isinstance(template, list) and (
        len(template) > _MOST_PARTS or sum("Sequence" in each for each in template) > 1
    ):
        raise ValueError(f"its {place} repeats a text")
    for token in _values(part.get("special_tokens")):
        if isinstance(token, Mapping) and len(token.get("ids", ())) > _MOST_PARTS:
            raise ValueError(f"its {place} puts too much around a text")


def _values(found: object) -> list[Any]:
    return list(found.values()) if isinstance(found, Mapping) else []
