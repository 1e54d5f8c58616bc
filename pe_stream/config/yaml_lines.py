"""YAML text to plain data, together with the line that every value stands on.

Less than all of YAML: keys are text and none is given twice; no merge keys, no tags; aliases
are followed. A time of day like 22:00 is text, as in YAML 1.2, and no number in base 60. Size and
depth are bounded, so that no file explodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.reader import ReaderError

MAX_NODES = 100_000
"""Values in a document, an alias counted as all that it stands for."""

MAX_DEPTH = 20
"""Levels of nesting."""

Keys = tuple[str | int, ...]
"""Path of a value: keys of mappings and indices of lists, from the top."""


class NotYamlError(ValueError):
    """The text is not YAML, or too much of it. `line` and `column` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        """Take what is wrong, and where."""
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Place:
    """Position of a value in the file.

    line: counted from 1; of a value in a mapping, the line of its key.
    text: a scalar as it is written, without quotes; None for lists and mappings.
    """

    line: int
    text: str | None


@dataclass(frozen=True, slots=True)
class Problem:
    """An error in the value at `keys`, on `line` (counted from 1)."""

    line: int
    keys: Keys
    message: str


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed configuration file.

    data: made of dict, list, str, int, float, bool and None.
    places: of every value in `data`.
    problems: what was left out of `data`, or put there as text, because it cannot be meant.
    """

    data: Any = None
    places: dict[Keys, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read(text: str) -> Document:
    """Read the one document in `text`; where there is none its data is None.

    Raises NotYamlError, whose message never quotes values: they may be secrets.
    """
    try:
        composer = _BoundedComposer(text)
        root = composer.get_single_node()
    except ReaderError as error:
        before = text[: error.position]
        raise NotYamlError(
            f"the character U+{ord(text[error.position]):04X} is not allowed in YAML",
            before.count("\n") + 1,
            error.position - before.rfind("\n"),
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error) from None
    if root is None:
        return Document()
    builder = _Builder(composer)
    data = builder.build(root, (), root)
    return Document(data, builder.places, builder.problems)


_TAG = "tag:yaml.org,2002:"
# YAML 1.1 has a type for dates and one for a lone `=`; here both are text.
_TEXT = (f"{_TAG}str", f"{_TAG}timestamp", f"{_TAG}value")
_FOREIGN = "a tag (!), anchor (&) or alias (*) that means nothing here: put such text in quotes"
_TAGGED = f"{_FOREIGN}; ${{NAME}} is an environment variable, ${{file:/path}} a file's content"

_BASES = "YAML reads this as a number in base 60 or 8: put text in quotes, write numbers plainly"
_CLOCK = re.compile(r"[0-9]{1,2}:[0-9]{2}")
_KINDS = {"null": "nothing", "bool": "true or false", "int": "a number", "float": "a number"}


class _BoundedComposer(yaml.SafeLoader):
    """Composes nodes within bounds: PyYAML recurses once for every level."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = 0
        self._depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self._nodes += 1
        self._depth += 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call] # typed in part
        _within_bounds(self._nodes, self._depth, mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _Builder:
    """Makes data of nodes; notes places and problems on the way."""

    def __init__(self, composer: _BoundedComposer) -> None:
        self._composer = composer
        self.places: dict[Keys, Place] = {}
        self.problems: list[Problem] = []

    def build(self, node: Node, keys: Keys, head: Node) -> Any:
        """Return the data of `node`; `head` is the node whose line is told for it."""
        _within_bounds(len(self.places), len(keys), head.start_mark)
        line = head.start_mark.line + 1
        self.places[keys] = Place(line, node.value if isinstance(node, ScalarNode) else None)
        if isinstance(node, MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, keys)
        if isinstance(node, SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.build(item, (*keys, i), item) for i, item in enumerate(node.value)]
        if isinstance(node, ScalarNode):
            return self._scalar(node, keys, line)
        self._problem(line, keys, _TAGGED if node.tag.startswith("!") else _FOREIGN)
        return None

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, keys)
            if key is None:
                continue
            if key in data:
                first = self.places[*keys, key].line
                again = f"given twice, first on line {first}: remove one of the two"
                self._problem(key_node.start_mark.line + 1, (*keys, key), again)
            else:
                data[key] = self.build(value_node, (*keys, key), key_node)
        return data

    def _key(self, node: Node, keys: Keys) -> str | None:
        """Return the key as text; None where there is no sense in going on with it."""
        line = node.start_mark.line + 1
        if not isinstance(node, ScalarNode):
            self._problem(line, keys, "a key cannot be a list or a mapping")
        elif node.tag == f"{_TAG}merge":
            self._problem(line, keys, "merge keys (<<) are not supported: write them out")
        elif node.tag in _TEXT:
            return self._text(node.value, keys, line)
        elif not node.value:
            self._problem(line, keys, "a key is missing before the colon")
        else:
            kind = _KINDS.get(node.tag.removeprefix(_TAG), "something else")
            hint = f'YAML reads this key as {kind}: write "{node.value}", in quotes'
            self._problem(line, (*keys, node.value), hint)
            return str(node.value)
        return None

    def _scalar(self, node: ScalarNode, keys: Keys, line: int) -> str | float | bool | None:
        if node.tag in _TEXT or _CLOCK.fullmatch(node.value):
            return self._text(node.value, keys, line)
        kind = node.tag.removeprefix(_TAG)
        if kind not in _KINDS:
            self._problem(line, keys, _TAGGED if kind.startswith("!") else _FOREIGN)
        elif kind in ("int", "float") and re.fullmatch(r"[-+]?0[0-7_]+|.*:.*", node.value):
            self._problem(line, keys, _BASES)
        elif kind != "null":
            return self._number(node, kind, keys, line)
        return None

    def _number(self, node: ScalarNode, kind: str, keys: Keys, line: int) -> float | bool | None:
        """Return a number or truth value; a tag can claim one where there is none."""
        try:
            number: float | bool = getattr(self._composer, f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError, IndexError):
            self._problem(line, keys, "not a number, whatever its tag or its beginning says")
            return None
        return number

    def _text(self, text: str, keys: Keys, line: int) -> str:
        """Return `text` as it can be encoded: an escape can spell half a character."""
        sound = text.encode("utf-8", "replace").decode()
        if sound != text:
            self._problem(line, keys, "an escape (\\u) here makes no character")
        return sound

    def _problem(self, line: int, keys: Keys, message: str) -> None:
        self.problems.append(Problem(line, keys, message))


def _within_bounds(nodes: int, depth: int, mark: yaml.Mark) -> None:
    if nodes > MAX_NODES:
        message = f"more than {MAX_NODES} values, with aliases written out"
    elif depth > MAX_DEPTH:
        message = f"nested more than {MAX_DEPTH} levels deep"
    else:
        return
    raise NotYamlError(message, mark.line + 1, mark.column + 1)


def _not_yaml(error: yaml.MarkedYAMLError) -> NotYamlError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or error.context or "not YAML"
    # Of these messages PyYAML makes a quotation of the text.
    if any(word in problem for word in ("alias", "anchor", "tag")):
        problem = _FOREIGN
    elif "'\\t'" in problem:
        problem = "a tab: indent with spaces"
    elif "mapping values are not allowed" in problem:
        problem = "a second `:` on this line, or wrong indentation: text with `: ` needs quotes"
    return NotYamlError(problem, line, column)
