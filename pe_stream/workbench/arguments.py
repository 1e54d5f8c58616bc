"""A command's arguments as a dataclass: each field is one argument, declared once.

    @dataclass(frozen=True, slots=True)
    class Options:
        files: tuple[str, ...] = field(metadata=positional(nargs="+", metavar="FILE"))
        threshold: float | None = field(default=None, metadata=option(type=threshold))

gives `FILE... --threshold THRESHOLD`. The order of the fields is that of the help. The default is
the dataclass's; argparse sees none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

_Options = TypeVar("_Options")

_ARGUMENT = "argument"
"""The key of a field's metadata."""

CONFIGS = "./config.yaml, ~/.config/pe-stream/, /etc/pe-stream/"
"""Paths that are searched for a configuration."""

WHEN = "2026-11-21T08:00Z, or 90m, 24h, 7d"
"""How a time is written."""


@dataclass(frozen=True, slots=True)
class _Argument:
    """A field's arguments for argparse."""

    flags: tuple[str, ...] | None
    """None: positional. Empty: an option with the field's name."""
    group: str | None
    """Arguments of one group exclude each other."""
    how: Mapping[str, Any]
    """For `add_argument`."""


def positional(**how: Any) -> Mapping[str, Any]:
    """Metadata of a field that is a positional argument; `how` is `add_argument`'s."""
    return {_ARGUMENT: _Argument(None, None, how)}


def option(*flags: str, group: str | None = None, **how: Any) -> Mapping[str, Any]:
    """Metadata of a field that is an option, by default with the field's name."""
    return {_ARGUMENT: _Argument(flags, group, how)}


def switch(text: str | None = None) -> Mapping[str, Any]:
    """Metadata of a field that is an option without a value, False by default."""
    return option(action="store_true", help=text)


def config_option(text: str = f"default: {CONFIGS}", **how: Any) -> Mapping[str, Any]:
    """Metadata of the field `config`, -c/--config."""
    return option("-c", "--config", type=Path, metavar="FILE", help=text, **how)


def flag(each: Field[Any]) -> str | None:
    """The long option that sets a field of such a dataclass; None for a positional argument."""
    argument = _argument(each)
    if argument.flags is None:
        return None
    return (argument.flags or (f"--{each.name.replace('_', '-')}",))[-1]


def add_command(
    commands: Any,
    name: str,
    options: Callable[..., _Options],
    run: Callable[[_Options], int],
    text: str,
) -> argparse.ArgumentParser:
    """Add a command to argparse's subparsers; the namespace's `command` runs it.

    options: the dataclass of its arguments, for `run`, which returns the exit code.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    known = fields(options)  # type: ignore[arg-type]  # a dataclass, which no type can say
    groups: dict[str, Any] = {}
    for each in known:
        group = _argument(each).group
        if group is not None and group not in groups:
            groups[group] = parser.add_mutually_exclusive_group()
        _add(parser if group is None else groups[group], each)

    def command(namespace: argparse.Namespace) -> int:
        given = {
            each.name: getattr(namespace, each.name) for each in known if each.name in namespace
        }
        return run(
            options(**{key: tuple(v) if isinstance(v, list) else v for key, v in given.items()})
        )

    parser.set_defaults(command=command)
    return parser


def _argument(each: Field[Any]) -> _Argument:
    argument: _Argument = each.metadata[_ARGUMENT]
    return argument


def _add(parser: Any, each: Field[Any]) -> None:
    argument = _argument(each)
    how = {"default": argparse.SUPPRESS, **argument.how}
    long = flag(each)
    if long is None:
        parser.add_argument(each.name, **how)
        return
    if "action" not in how or how["action"] == "append":
        how.setdefault("metavar", None if "choices" in how else long.lstrip("-").upper())
    parser.add_argument(*(argument.flags or (long,)), dest=each.name, **how)


def once(advice: str) -> type[argparse.Action]:
    """The action of an option that may be given once; `advice` completes the error."""

    class Once(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,  # noqa: ARG002 - argparse's signature
            namespace: argparse.Namespace,
            values: str | Sequence[Any] | None,
            option_string: str | None = None,  # noqa: ARG002 - argparse passes it
        ) -> None:
            if self.dest in namespace:
                raise argparse.ArgumentError(self, f"given twice; {advice}")
            setattr(namespace, self.dest, values)

    return Once
