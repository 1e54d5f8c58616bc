"""Prompt sets: labels, the words that describe them, and the sounds of a manifest that they are.

A set is a YAML mapping of labels:

    dog_bark:
      sounds: [dog, puppy bark]        # labels of the manifest that are this; default: the name
      related: [wolf howl]             # too near: neither right nor a false alarm
      plain: a dog barking             # the prompt
      unseen: [puppy yapping, ...]     # other words for it
      yamnet: [Dog, Bark]              # AudioSet classes; a peer's score is their maximum
      mn04: [Dog, Bark, Yip]           # the same for mn04; default: those of yamnet
      see: [a dog]                     # what is in view, for second opinions; default: the prompt
    siren: an emergency siren          # in short, where sounds is [siren]
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pe_stream.config.yaml_lines import Document, Keys, NotYamlError, read
from pe_stream.errors import ConfigError, UsageError
from pe_stream.workbench.evaluation.options import Phrasing, SetName

SHIPPED = Path(__file__).parent / "prompts.yaml"
"""The sets that come with the package, by name."""

_LISTS = ("sounds", "related", "unseen", "yamnet", "mn04", "see")
_KEYS = (*_LISTS, "plain")


@dataclass(frozen=True, slots=True)
class Label:
    """A sound to listen for; see the module's description."""

    name: str
    plain: str
    sounds: tuple[str, ...]
    related: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    yamnet: tuple[str, ...] = ()
    mn04: tuple[str, ...] = ()
    see: tuple[str, ...] = ()

    def prompts(self, phrasing: Phrasing) -> tuple[str, ...]:
        """The words to embed; raises UsageError where the label has none of that phrasing."""
        if phrasing == "plain":
            return (self.plain,)
        if phrasing == "unseen" and self.unseen:
            return self.unseen
        if isinstance(phrasing, int) and phrasing <= len(self.unseen):
            return (self.unseen[phrasing - 1],)
        raise UsageError(
            f"--phrasing {phrasing}: the label {self.name!r} has {len(self.unseen)} phrasings"
            " under `unseen`"
        )


def shipped(name: SetName) -> tuple[Label, ...]:
    """The labels of a set that comes with the package."""
    return _labels(SHIPPED, (name,))


def from_file(path: Path) -> tuple[Label, ...]:
    """The labels of a user's set; raises ConfigError naming file, line and key of all mistakes."""
    return _labels(path, ())


def _labels(path: Path, keys: Keys) -> tuple[Label, ...]:
    document = _document(path)
    data = document.data
    for key in keys:
        data = data[key]
    reader = _Reader(document)
    labels = reader.labels(data, keys)
    problems = [(p.line, p.keys, p.message) for p in document.problems] + reader.problems
    if problems:
        lines = [
            f"{path}:{line}: {'.'.join(map(str, at))}: {message}"
            for line, at, message in sorted(problems)
        ]
        raise ConfigError("\n".join(lines))
    return labels


def _document(path: Path) -> Document:
    try:
        return read(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text: save the file as UTF-8") from None
    except NotYamlError as error:
        raise ConfigError(f"{path}:{error.line}:{error.column}: {error}") from None


class _Reader:
    """Makes labels of a document's data, and notes (line, keys, message) of every mistake."""

    def __init__(self, document: Document) -> None:
        self._places = document.places
        self.problems: list[tuple[int, Keys, str]] = []

    def labels(self, data: Any, keys: Keys) -> tuple[Label, ...]:
        if not isinstance(data, dict) or not data:
            self._problem(keys, "labels and their prompts belong here: `siren: a siren wailing`")
            return ()
        return tuple(self._label(name, entry, (*keys, name)) for name, entry in data.items())

    def _label(self, name: str, entry: Any, keys: Keys) -> Label:
        if isinstance(entry, str):
            entry = {"plain": entry}
        if not isinstance(entry, dict):
            self._problem(keys, f"a prompt belongs here, or keys: {', '.join(_KEYS)}")
            return Label(name, name, (name,))
        for key in entry:
            if key not in _KEYS:
                near = get_close_matches(key, _KEYS, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                self._problem((*keys, key), f"unknown key{hint}; keys here: {', '.join(_KEYS)}")
        plain = entry.get("plain", name)
        if not isinstance(plain, str) or not plain.strip():
            self._problem((*keys, "plain"), "should be the sound in words")
        lists = {key: self._texts(entry[key], (*keys, key)) for key in _LISTS if key in entry}
        if not lists.setdefault("sounds", (name,)):
            self._problem((*keys, "sounds"), "empty: give at least one label of the manifest")
        return Label(name, plain, **lists)

    def _texts(self, value: Any, keys: Keys) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(text, str) and text for text in value):
            return tuple(value)
        self._problem(keys, "should be a list of texts")
        return ("?",)

    def _problem(self, keys: Keys, message: str) -> None:
        at = keys
        while at not in self._places:
            if not at:
                self.problems.append((1, keys, message))
                return
            at = at[:-1]
        self.problems.append((self._places[at].line, keys, message))
