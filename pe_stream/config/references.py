"""References in the texts of a configuration: `${NAME}` and `${file:/path}`.

`${NAME}` is the environment variable, `${file:/path}` the content of a file, whose path may itself
have `${NAME}` in it. Any other `$` is itself. Before a `{`, `$$` is a `$`: `$${` is no reference.

Within the user and password of an address (`rtsp://USER:PASSWORD@HOST`) a value is taken as it is
and percent-encoded; elsewhere it is put in as it is.
"""

from __future__ import annotations

import copy
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from pydantic import BaseModel, SecretStr

from pe_stream.config.addresses import is_network, masked_text
from pe_stream.config.secrets import one_line, read_secret
from pe_stream.config.yaml_lines import Document, Keys, Problem
from pe_stream.core.words import has_control_characters
from pe_stream.errors import ConfigError

log = logging.getLogger(__name__)

_BEGIN = re.compile(r"\$+\{")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = "file:"
_BRACED = re.compile(r"(?<!\$)\{([A-Z][A-Z0-9_]{2,})\}")

_HOLE = "\0"
"""Stands for a reference where only the text around it counts: no YAML has it."""

SECRET_KEYS = {"apprise", "headers", "password", "password_hash", "secret", "token", "webhook"}
"""Keys of texts that nobody is shown; so is a source's `url`, and what has a scheme."""

_LITERAL = " (a ${ that means itself is written $${)"


@dataclass(frozen=True, slots=True)
class _Reference:
    """What stands between `${` and `}`; one of `name` and `path` is given."""

    written: str
    name: str | None = None
    path: tuple[str | _Reference, ...] = ()


_Parts = tuple[str | _Reference, ...]

Written = Mapping[Keys, str]
"""Texts that have references, as the file has them, by their keys."""


@dataclass(frozen=True, slots=True)
class References:
    """A document with values in the place of references.

    data: as the document's. problems: those that could not be followed; there `data` has the text
    as it is written. written: texts with references, as they are written. values: what became of
    them. secrets: what is to be hidden, and what to show instead.
    """

    data: Any
    problems: list[Problem] = field(default_factory=list)
    written: dict[Keys, str] = field(default_factory=dict)
    values: dict[Keys, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    def as_written(self, keys: Keys, value: Any) -> Any:
        """What to write at `keys` for a value that was made of what is in force there.

        A text of it that came by a reference becomes the reference again; any other is written so
        that nothing in it is one.
        """
        back = {
            form: self.written[place]
            for place, text in self.values.items()
            if place[: len(keys)] == keys
            for form in (text, text.strip())
        }
        return _rewritten(value, lambda text: back.get(text) or literal(text))

    def retyped(self, errors: Sequence[Mapping[str, Any]]) -> Any:
        """The data with numbers and switches where these errors of pydantic's want them.

        None where no reference was meant by any.
        """
        data, found = copy.deepcopy(self.data), False
        for error in errors:
            keys = tuple(error["loc"])
            if error["type"] not in _WANTED or keys not in self.values:
                continue
            number = _scalar(self.values[keys])
            if type(number) in _WANTED[error["type"]]:
                at = data
                for key in keys[:-1]:
                    at = at[key]
                at[keys[-1]], found = number, True
        return data if found else None


_WANTED: dict[str, tuple[type, ...]] = {
    "bool_type": (bool,),
    "float_type": (int, float),
    "int_type": (int,),
    "model_type": (bool,),  # `tls: true` for a section of defaults
}


def followed(document: Document, *, warn: bool) -> References:
    """Read what the references of a document name.

    warn: whether the log warns of files that others may read or write.
    """
    found = References(copy.deepcopy(document.data), list(_of_names(document)))
    for keys, text in _texts(document.data, ()):
        if not keys:
            continue
        line = document.places[keys].line
        if warn and keys[0] != "labels":
            _warn_of_braces(keys, text, line)
        if "${" not in text:
            continue
        try:
            parts = _parts(text)
            values = [
                _value(part, warn=warn) if isinstance(part, _Reference) else part for part in parts
            ]
        except ValueError as error:
            found.problems.append(Problem(line, keys, str(error)))
            continue
        value = _joined(parts, values)
        _put(found, keys, value)
        if any(isinstance(part, _Reference) for part in parts):
            found.written[keys], found.values[keys] = text, value
            if _is_secret(keys, text):
                found.secrets.update(_hidden(text, value, parts, values))
    return found


def _rewritten(value: Any, text_of: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return text_of(value)
    if isinstance(value, Mapping):
        return {key: _rewritten(each, text_of) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rewritten(each, text_of) for each in value]
    return value


def literal(text: str) -> str:
    """A text as it is written so that nothing in it is a reference."""
    return _BEGIN.sub(lambda run: "$" * (2 * len(run[0]) - 2) + "{", text)


def holds_secrets(value: object, written: Written, keys: Keys = ()) -> bool:
    """Whether a password, token or address with one is written in the configuration itself.

    value: the settings, or what they have at `keys`.
    """
    if isinstance(value, SecretStr):
        return keys not in written
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return any(holds_secrets(getattr(value, key), written, (*keys, key)) for key in fields)
    if isinstance(value, Mapping):
        return any(holds_secrets(each, written, (*keys, key)) for key, each in value.items())
    if not isinstance(value, str) or not is_network(value):
        return False
    if keys in written:  # the user alone is no secret
        own = "".join(part for part in _parts(written[keys]) if isinstance(part, str))
        return re.match(r"[^/?#]*://[^/?#@:]*:[^/?#@]+@", own) is not None
    return masked_text(value) != value


def _texts(data: object, keys: Keys) -> Iterator[tuple[Keys, str]]:
    if isinstance(data, str):
        yield keys, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _texts(value, (*keys, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _texts(value, (*keys, index))


def _of_names(document: Document) -> Iterator[Problem]:
    for keys, place in document.places.items():
        if keys and isinstance(keys[-1], str) and "${" in keys[-1]:
            yield Problem(place.line, keys, "a name is shown to everybody: ${...} is for values")


def _warn_of_braces(keys: Keys, text: str, line: int) -> None:
    """Others' configurations have variables in braces alone."""
    for name in _BRACED.findall(text):
        key = ".".join(map(str, keys))
        log.warning(
            "line %d: %s: {%s} is text; ${%s} is the environment variable", line, key, name, name
        )


def _parts(text: str) -> _Parts:
    """Split a text. Raises ValueError, whose message says what is wrong."""
    parts: list[str | _Reference] = []
    at = 0
    while (begin := _BEGIN.search(text, at)) is not None:
        dollars = begin.end() - begin.start() - 1
        parts.append(text[at : begin.start()] + "$" * (dollars // 2))
        if dollars % 2:
            end = _closing(text, begin.end())
            parts.append(_reference(text[begin.end() : end]))
            at = end + 1
        else:
            parts.append("{")
            at = begin.end()
    parts.append(text[at:])
    return tuple(part for part in parts if part != "")


def _closing(text: str, at: int) -> int:
    """Index of the brace that ends what begins at `at`."""
    depth = 1
    for mark in re.finditer(r"\$\{|\}", text[at:]):
        depth += 1 if mark[0] == "${" else -1
        if not depth:
            return at + mark.start()
    raise ValueError(f"a ${{ without its }}{_LITERAL}")


def _reference(inside: str) -> _Reference:
    written = f"${{{inside}}}"
    if inside.startswith(_FILE):
        path = _parts(inside.removeprefix(_FILE))
        if not path or any(isinstance(each, _Reference) and each.path for each in path):
            raise ValueError(f"{written} names no file: ${{file:/path}}")
        return _Reference(written, path=path)
    if _NAME.fullmatch(inside) is None:
        raise ValueError(
            f"{written[:60]} is no reference: ${{NAME}} is an environment variable, "
            f"${{file:/path}} the content of a file{_LITERAL}"
        )
    return _Reference(written, name=inside)


def _value(reference: _Reference, *, warn: bool) -> str:
    """What it stands for. Raises ValueError."""
    if reference.name is not None:
        return _variable(reference.name)
    path = "".join(
        _value(part, warn=warn) if isinstance(part, _Reference) else part for part in reference.path
    )
    try:
        file = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's fails where there is no home
        return read_secret(reference.written, file, what="secret", warn=warn)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def _variable(name: str) -> str:
    given = os.environ.get(name)
    if given is None:
        raise ValueError(f"the environment variable {name} is not set{_LITERAL}")
    value = one_line(given)
    if not value:
        raise ValueError(f"the environment variable {name} is set, but empty")
    if has_control_characters(value) or value.encode("utf-8", "replace").decode() != value:
        raise ValueError(f"the environment variable {name} is not one line of UTF-8 text")
    return value


@dataclass(frozen=True, slots=True)
class _Address:
    """Where the parts of a text stand in it, as an address; nowhere, where it is none."""

    user_info: frozenset[int]
    host: frozenset[int]
    lone: bool
    """Whether one reference is all of user and password."""


def _address(parts: _Parts) -> _Address:
    text, offsets = "", []
    for part in parts:
        offsets.append(len(text))
        text += _HOLE if isinstance(part, _Reference) else part
    found = re.match(r"[^/?#@:]*://(?:(?P<user>[^/?#]*)@)?(?P<host>[^/?#@]*)", text)

    def within(group: str) -> frozenset[int]:
        begin, end = found.span(group) if found else (0, 0)
        return frozenset(place for place, at in enumerate(offsets) if begin <= at < end)

    return _Address(within("user"), within("host"), found is not None and found["user"] == _HOLE)


def _joined(parts: _Parts, values: Sequence[str]) -> str:
    address = _address(parts)
    joined = ""
    for place, (part, value) in enumerate(zip(parts, values, strict=True)):
        if not isinstance(part, _Reference) or place not in address.user_info:
            joined += value
        elif address.lone:
            joined += ":".join(quote(each, safe=_SAFE) for each in value.split(":", 1))
        else:
            joined += quote(value, safe=_SAFE)
    return joined


_SAFE = "!$&'()*+,;="
"""What user and password may have besides letters, digits and `-._~` (RFC 3986)."""


def _is_secret(keys: Keys, text: str) -> bool:
    if keys[:1] == ("labels",):
        return False
    of_source = keys[:1] == ("sources",) and keys[-1] == "url"
    return of_source or "://" in text or bool(SECRET_KEYS & {*keys[2:], keys[-1]})


def _hidden(
    text: str, value: str, parts: _Parts, values: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """The whole, and each reference that names no host, with what is shown instead."""
    yield value, text
    host = _address(parts).host
    for place, (part, each) in enumerate(zip(parts, values, strict=True)):
        if isinstance(part, _Reference) and place not in host:
            yield each, part.written


def _put(found: References, keys: Keys, value: str) -> None:
    at = found.data
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value


def _scalar(text: str) -> Any:
    """What YAML reads a plain text as."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return None
