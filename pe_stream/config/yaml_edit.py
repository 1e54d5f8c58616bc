"""Changes to YAML text that touch only what they change: the rest stays to the byte, comments too.

(A round trip through ruamel.yaml was tried: with an entry that is removed it drops the comment
about the next one, and it re-indents what it does not change.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_STEP = 2
_UNPRINTABLE = re.compile("[\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")


class NotEditableError(ValueError):
    """The text is such that the change cannot be made without touching anything else."""


class Editor:
    """YAML text, and changes to its mappings; each is made at once."""

    def __init__(self, text: str) -> None:
        """Take text that is YAML."""
        self.text = text

    def put(self, path: tuple[str, ...], value: Any) -> None:
        """Set the key that is last in `path`, of the mapping that the others lead to.

        A key that is new comes behind the last one. Raises NotEditableError.
        """
        section, key = self._mapping(path[:-1]), path[-1]
        if section is None:  # `speech:` alone
            self._fill(path[:-1], key, value)
        elif (found := _find(section, key)) is None:
            self._append(section, key, value)
        else:
            self._set(section, *found, value)

    def remove(self, path: tuple[str, ...]) -> None:
        """Take a key out of its mapping, if it is there. Raises NotEditableError."""
        section = self._mapping(path[:-1])
        found = None if section is None else _find(section, path[-1])
        if section is None or found is None:
            return
        if len(section.value) == 1:
            self._set_empty(path[:-1], section)
        elif section.flow_style:
            self._cut_flow(section, found[0])
        else:
            self._cut_lines(*found)

    def _mapping(self, path: tuple[str, ...]) -> MappingNode | None:
        """The mapping at a path; None where there is only a key without a value."""
        node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        after = 0
        for name in path:
            found = _find(node, name) if isinstance(node, MappingNode) else None
            if found is None:
                raise NotEditableError(f"there is no {'.'.join(path)}")
            after, node = found[0].end_mark.index, found[1]
            if node.start_mark.index < after:
                raise NotEditableError(f"{'.'.join(path)} stands elsewhere (an alias, `*`)")
        if isinstance(node, MappingNode):
            return node
        if node is not None and node.value in ("", "~", "null"):
            return None
        raise NotEditableError(f"{'.'.join(path) or 'the file'} is no section")

    def _set(self, section: MappingNode, key: Node, value: Node, wanted: Any) -> None:
        if value.start_mark.index < key.end_mark.index:
            raise NotEditableError(f"{key.value} stands elsewhere (an alias, `*`)")
        colon = self._colon(key, missing=key.end_mark.index)
        end = max(self._end(value), colon)
        said, newline, _ = self.text[colon:end].partition("\n")
        written = self._written(section, wanted)
        if newline and said.lstrip().startswith("#"):  # between the key and a value below it
            own, newline, rest = written.partition("\n")
            written = f"{own}  {said.strip()}{newline}{rest}"
        space = "" if written.startswith("\n") else " "
        self._replace(colon, end, ("" if colon > key.end_mark.index else ":") + space + written)

    def _append(self, section: MappingNode, key: str, value: Any) -> None:
        written = self._written(section, value)
        entry = f"{_plain(key)}:{written if written.startswith(chr(10)) else f' {written}'}"
        if section.flow_style:
            if section.value:
                at = self._end(section.value[-1][1]) or section.value[-1][0].end_mark.index
                self._replace(at, at, f", {entry}")
            else:
                at = section.start_mark.index + 1
                self._replace(at, at, entry)
            return
        indent = section.start_mark.column
        self._insert_line(self._last(section), f"{' ' * indent}{entry}")

    def _fill(self, path: tuple[str, ...], key: str, value: Any) -> None:
        parent = self._mapping(path[:-1])
        found = None if parent is None else _find(parent, path[-1])
        if parent is None or found is None:
            raise NotEditableError(f"there is no {'.'.join(path)}")
        name, empty = found
        if parent.flow_style:
            start, end = name.end_mark.index, max(self._end(empty), name.end_mark.index)
            end = max(end, self._colon(name, missing=end))
            self._replace(start, end, f": {{{_plain(key)}: {_flow(value)}}}")
            return
        colon = self._colon(name)
        if self._end(empty) > colon:  # `~` or `null` in words
            self._replace(colon, self._end(empty), "")
        indent = " " * (parent.start_mark.column + _STEP)
        written = _block(value, len(indent))
        space = "" if written.startswith("\n") else " "
        self._insert_line(colon, f"{indent}{_plain(key)}:{space}{written}")

    def _set_empty(self, path: tuple[str, ...], section: MappingNode) -> None:
        if section.flow_style:
            self._replace(section.start_mark.index, self._end(section), "{}")
        elif not path:
            raise NotEditableError("nothing would be left")
        else:
            self._cut_lines(*section.value[0])

    def _cut_flow(self, section: MappingNode, key: Node) -> None:
        keys = [name for name, _ in section.value]
        place = keys.index(key)
        if place + 1 < len(keys):
            self._replace(key.start_mark.index, keys[place + 1].start_mark.index, "")
        else:
            name, value = section.value[place - 1]
            own = section.value[place][1]
            start = max(self._end(value), name.end_mark.index)
            self._replace(start, max(self._end(own), key.end_mark.index), "")

    def _cut_lines(self, key: Node, value: Node) -> None:
        last = max(self._end(value), self._colon(key))
        start = self.text.rindex("\n", 0, key.start_mark.index) + 1 if key.start_mark.line else 0
        end = self.text.find("\n", last)
        self._replace(start, len(self.text) if end < 0 else end + 1, "")

    def _last(self, section: MappingNode) -> int:
        """Index of the end of a mapping's last value."""
        key, value = section.value[-1]
        return max(self._end(value), self._colon(key))

    def _colon(self, key: Node, *, missing: int | None = None) -> int:
        """Behind the colon of a key; in flow style there may be none."""
        at = key.end_mark.index
        rest = self.text[at:].lstrip()
        if not rest.startswith(":"):
            if missing is None:
                raise NotEditableError(f"{key.value} has no colon behind it")
            return missing
        return len(self.text) - len(rest) + 1

    def _written(self, section: MappingNode, value: Any) -> str:
        indent = section.start_mark.column
        return _flow(value) if section.flow_style else _block(value, indent)

    def _end(self, node: Node) -> int:
        """Index of the end of a value; the parser's mark of a block's end lies behind comments."""
        if isinstance(node, MappingNode) and not node.flow_style and node.value:
            return self._last(node)
        if isinstance(node, SequenceNode) and not node.flow_style and node.value:
            return self._end(node.value[-1])
        end = int(node.end_mark.index)
        if isinstance(node, ScalarNode) and node.style in ("|", ">"):
            head, *lines = self.text[node.start_mark.index : end].rstrip().split("\n")
            indent = min((_indent(line) for line in lines[:1]), default=0)
            while lines and (not lines[-1].strip() or _indent(lines[-1]) < indent):
                lines.pop()
            end = node.start_mark.index + len("\n".join([head, *lines]))
        return end

    def _insert_line(self, after: int, line: str) -> None:
        """Put a line behind the one on which `after` is."""
        end = self.text.find("\n", after)
        if end < 0:
            self.text += f"\n{line}\n"
        else:
            self._replace(end + 1, end + 1, f"{line}\n")

    def _replace(self, start: int, end: int, by: str) -> None:
        self.text = self.text[:start] + by + self.text[end:]


def _find(section: Node | None, key: str) -> tuple[Node, Node] | None:
    pairs = section.value if isinstance(section, MappingNode) else []
    return next(((name, value) for name, value in pairs if name.value == key), None)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _plain(key: str) -> str:
    """A key as it is, where YAML reads it as it is."""
    try:
        same = yaml.safe_load(f"{key}: 1") == {key: 1} and yaml.safe_load(f"{{{key}: 1}}") == {
            key: 1
        }
    except yaml.YAMLError:
        same = False
    return key if same else _written(key)


def _flow(value: Any) -> str:
    """On one line. Text is in quotes: YAML 1.1 takes `no` for false and 22:00 for a number."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_plain(key)}: {_flow(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flow, value))}]"
    return _written(value)


def _written(value: Any) -> str:
    """A scalar; what YAML does not allow in a text is escaped."""
    return _UNPRINTABLE.sub(
        lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False)
    )


def _block(value: Any, indent: int) -> str:
    """As `_flow`, but each section of a list has a line, and so has each key of a section."""
    space = " " * (indent + _STEP)
    if isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        return "".join(f"\n{space}- {_flow(each)}" for each in value)
    if isinstance(value, Mapping) and value:
        lines = []
        for key, each in value.items():
            written = _block(each, indent + _STEP)
            lines.append(
                f"\n{space}{_plain(key)}:{'' if written.startswith(chr(10)) else ' '}{written}"
            )
        return "".join(lines)
    return _flow(value)
