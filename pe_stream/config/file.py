"""Configuration files: finding one, YAML to settings with every error at once, and back."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sized
from difflib import get_close_matches
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from pe_stream.config import Settings, config_schema, references
from pe_stream.config.addresses import MASK, masked_text, masked_url
from pe_stream.config.redaction import hide, redacted
from pe_stream.config.references import References
from pe_stream.config.secrets import warn_of_others
from pe_stream.config.yaml_lines import Document, Keys, NotYamlError, Place, Problem, read
from pe_stream.errors import ConfigError

MAX_SIZE = 1 << 20
"""Largest file that is read (bytes), and longest text (characters)."""

MAX_PROBLEMS = 100
"""Problems told at once."""

PLACES = ("./config.yaml", "~/.config/pe-stream/config.yaml", "/etc/pe-stream/config.yaml")
"""Paths that are searched for a configuration, in this order, when none is given."""


def find() -> Path:
    """Return the first of PLACES that exists; raises ConfigError where none does."""
    for place in PLACES:
        path = os.path.expanduser(place)  # noqa: PTH111 - Path's fails where there is no home
        if os.path.exists(path):  # noqa: PTH110 - Path's fails on a closed folder
            return Path(path)
    raise ConfigError(
        f"no configuration in {', '.join(PLACES)}: copy the config.yaml that comes with "
        "pe_stream there, or name a file with -c"
    )


def load(path: Path) -> Settings:
    """Read settings from a file; raises ConfigError with a line for every problem."""
    return load_with_references(path)[0]


def load_with_references(path: Path) -> tuple[Settings, References]:
    """The same, and the references that the file has."""
    try:
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such file; copy the config.yaml that comes with pe_stream there"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text: save the file as UTF-8") from None
    settings, followed = parse_with_references(text, str(path), warn=True)
    if references.holds_secrets(settings, followed.written):
        warn_of_others("the configuration", path, found)
    return settings, followed


def parse(text: str, name: str = "config.yaml") -> Settings:
    """Make settings of YAML; `name` is the file's, for messages.

    References are followed: the result has what they stand for.

    Raises ConfigError. Its message has a line `FILE:LINE: key: what was found, what is allowed`
    for every problem, in the order of the file; secrets are not among what it quotes.

    Recordings of labels are taken from the folder that the file `name` is in.
    """
    return parse_with_references(text, name)[0]


def parse_with_references(
    text: str, name: str = "config.yaml", *, warn: bool = False
) -> tuple[Settings, References]:
    """The same, and the references. warn: of files with secrets that others may read or write."""
    if len(text) > MAX_SIZE:
        raise ConfigError(f"{name}: larger than {MAX_SIZE >> 20} MiB: this is no configuration")
    try:
        document = read(text)
    except NotYamlError as error:
        raise ConfigError(f"{name}:{error.line}:{error.column}: {error}") from None
    if document.data is None and not document.problems:
        raise ConfigError(f"{name}: empty: `sources` and `labels` are needed")
    found = references.followed(document, warn=warn)
    hide(found.secrets)
    problems = [*document.problems, *found.problems]
    try:
        settings = _validated(found)
    except ValidationError as error:
        problems += _problems(error, Document(found.data, document.places, problems), found)
    if problems:
        ordered = sorted(problems, key=lambda problem: problem.line)
        lines = [f"{name}:{p.line}: {_dotted(p.keys)}{p.message}" for p in ordered]
        more = [f"{name}: and more"] if len(lines) > MAX_PROBLEMS else []
        raise ConfigError("\n".join(lines[:MAX_PROBLEMS] + more))
    return _with_recordings_beside(settings, Path(name)), found


def _validated(found: References) -> Settings:
    """Settings of the data; a reference may also stand for a number or a switch."""
    try:
        return Settings.model_validate(found.data)
    except ValidationError as error:
        data = found.retyped(error.errors(include_url=False))
        if data is None:
            raise
    return Settings.model_validate(data)


def _with_recordings_beside(settings: Settings, file: Path) -> Settings:
    """The labels' recordings as paths that hold from any working directory."""
    if not any(label.examples for label in settings.labels.values()):
        return settings
    folder = file.resolve().parent
    labels = {
        name: label.model_copy(
            update={
                "examples": tuple(str(folder / path) for path in label.examples),
                "background": tuple(str(folder / path) for path in label.background),
            }
        )
        for name, label in settings.labels.items()
    }
    return settings.model_copy(update={"labels": labels})


def effective(settings: Settings, followed: References | None = None) -> str:
    """Settings as YAML: all keys with their values, in the contract's order, secrets masked.

    followed: the file's references; what has some is shown as it is written.
    """
    shown = settings.model_dump(mode="json", by_alias=True)
    for key in ("sources", "notifications"):  # of some of their keys one alone may be given
        shown[key] = {
            name: section.model_dump(mode="json", by_alias=True, exclude_none=True)
            for name, section in getattr(settings, key).items()
        }
    for label in shown["labels"].values():  # one that is loud has no prompts, nor may have any
        if not label["prompts"]:
            del label["prompts"]
    for keys, text in (followed.written if followed else {}).items():
        _show(shown, keys, text)
    return yaml.safe_dump(_masked(shown), sort_keys=False, allow_unicode=True, width=100)


def _show(shown: Any, keys: Keys, text: str) -> None:
    """Put a text in its place, or the list of it that it stands for; masks stay."""
    key: Any
    for key in keys[:-1]:
        if not isinstance(shown, dict | list):  # a short form
            return
        shown = shown[key]
    if not references.SECRET_KEYS & {*keys}:
        there = shown[keys[-1]]
        shown[keys[-1]] = [text] if isinstance(there, list) else text


def _masked(shown: Any) -> Any:
    """The same with every text that is an address, or looks like one, masked; prompts stay."""
    if isinstance(shown, dict):
        return {
            key: value if key in {"prompts", "not"} else _masked(value)
            for key, value in shown.items()
        }
    if isinstance(shown, list):
        return [_masked(value) for value in shown]
    return masked_url(shown) if isinstance(shown, str) else shown


_SECTION = "a section of keys and values"
_ALLOWED = {
    "bool_type": "true or false",
    "dict_type": _SECTION,
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "model_type": _SECTION,
    "string_too_long": "text of at most {max_length} characters",
    "string_type": "text",
    "tuple_type": "a list",
}
"""What pydantic's types of errors say is allowed."""


def _problems(error: ValidationError, document: Document, found: References) -> Iterator[Problem]:
    """What is wrong with the values, as far as nobody has complained of them already."""
    told = {problem.keys for problem in document.problems}
    for details in islice(error.errors(include_url=False), MAX_PROBLEMS + 1):
        # pydantic marks errors of a key itself so.
        keys = tuple(key for key in details["loc"] if key != "[key]")
        # A list counts as short where its items are wrong; these have errors of their own.
        follows = details["type"] == "too_short" and details["input"]
        if keys not in told and not follows:
            if details["input"] == found.values.get(keys, document):
                details["input"] = found.written[keys]
            message = redacted(_message(keys, details, document))
            for place, value in found.values.items():  # also of what is inside
                if place[: len(keys)] == keys:
                    message = message.replace(repr(value), repr(found.written[place]))
            yield Problem(_line(keys, document.places), keys, message)


def _line(keys: Keys, places: Mapping[Keys, Place]) -> int:
    """Line of a value, or of the innermost section around one that is not there."""
    while keys not in places:
        keys = keys[:-1]
    return places[keys].line


def _message(keys: Keys, details: ErrorDetails, document: Document) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(keys)
    if kind == "missing":
        return "not given, and needed"
    if kind == "too_long":
        return f"{_count(details['input'], context)}, should be at most {context['max_length']}"
    if kind in ("too_short", "string_too_short"):
        return "empty: give at least one" if kind == "too_short" else "empty: remove it, or fill it"
    if kind in _ALLOWED:
        allowed = "should be " + _ALLOWED[kind].format(**context)
    elif details["msg"].startswith("Value error, Input "):
        allowed = details["msg"].removeprefix("Value error, Input ")
    else:
        message = details["msg"].removeprefix("Value error, ")
        return message + _suggestion(details["input"], context.get("known", "").split(", "))
    if kind == "string_type" and isinstance(details["input"], int | float):
        allowed += ": put it in quotes"
    if kind == "literal_error":
        allowed += _suggestion(details["input"], context["expected"].split("'")[1::2])
    return f"found {_found(keys, details, document.places)}, {allowed}"


def _count(given: object, context: Mapping[str, Any]) -> str:
    """How many there are: pydantic stops counting at the first that is too many."""
    count = len(given) if isinstance(given, Sized) else context["actual_length"]
    return f"found {count} of them"


def _found(keys: Keys, details: ErrorDetails, places: Mapping[Keys, Place]) -> str:
    """What stands in the file, in short, without secrets."""
    value = details["input"]
    if _is_secret(keys):
        return "what is not text"
    if isinstance(value, str):
        # Where a section belongs, a missing space makes text of `password:...`.
        return "text" if details["type"] in ("model_type", "dict_type") else _short(value)
    if keys not in places:
        return f"{value} (the default)"
    if value is None or isinstance(value, dict | list):
        return {"dict": "a section of keys", "list": "a list"}.get(type(value).__name__, "nothing")
    written = str(places[keys].text)[:_LONG]
    if isinstance(value, bool) and written.lower() not in ("true", "false"):
        return f"{written}, which YAML reads as {str(value).lower()}"
    return written


def _is_secret(keys: Keys) -> bool:
    of_notification = keys[:1] == ("notifications",) and keys[2:3]
    secrets = {"apprise", "webhook", "secret", "headers"}
    return keys[-1:] == ("password",) or bool(of_notification and keys[2] in secrets)


_LONG = 60
_SECRETS = re.compile(r"(password|apprise|webhook|secret|authorization):", re.IGNORECASE)
"""Without a space after the colon, what follows is part of the key."""


def _short(text: str) -> str:
    _, at, after = text.rpartition("@")
    shown = repr(f"{MASK}@{after}" if at else masked_url(text))
    return shown if len(shown) <= _LONG else f"{shown[:_LONG]}...'"


def _unknown_key(keys: Keys) -> str:
    allowed = _keys_at(keys[:-1])
    suggestion = _suggestion(keys[-1], allowed)
    return f"unknown key{suggestion}; keys here: {', '.join(allowed)}"


def _keys_at(keys: Keys) -> list[str]:
    """Keys that JSON Schema has for the section at `keys`."""
    schema = _schema()
    at: Any = schema
    for key, following in zip(keys, (*keys[1:], ""), strict=False):
        if isinstance(key, int):
            at = at["items"]
        else:
            at = at.get("properties", {}).get(key) or at["additionalProperties"]
        # A section that may also be left empty, or be `true`, has its keys in one of its forms.
        forms = at.get("anyOf", [at])
        kind = "array" if isinstance(following, int) else "object"
        at = next(form for form in forms if "$ref" in form or form.get("type") == kind)
        if "$ref" in at:
            at = schema["$defs"][at["$ref"].rpartition("/")[2]]
    return list(at["properties"])


@cache
def _schema() -> dict[str, Any]:
    return config_schema()


def _suggestion(found: object, known: list[str]) -> str:
    close = get_close_matches(str(found)[:_LONG].lower(), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _dotted(keys: Keys) -> str:
    """Keys as one writes them, then a colon; nothing for the whole document."""
    dotted = ""
    for key in keys:
        if isinstance(key, int):
            dotted += f"[{key}]"
        else:
            secret = _SECRETS.match(key) or (_is_secret(keys) and ":" in key)
            plain = f"{key.partition(':')[0]}..." if secret else key
            safe = plain.isprintable() and len(plain) <= _LONG and masked_text(plain) == plain
            shown = plain if safe else _short(plain)
            dotted += f".{shown}" if dotted else shown
    return f"{dotted}: " if dotted else ""
