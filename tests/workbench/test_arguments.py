"""A command's arguments are declared once, in a dataclass."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from pe_stream.workbench.arguments import (
    add_command,
    config_option,
    flag,
    once,
    option,
    positional,
    switch,
)


@dataclass(frozen=True, slots=True)
class Options:
    """All kinds of arguments."""

    file: str = field(metadata=positional(metavar="FILE"))
    more: tuple[str, ...] = field(default=(), metadata=positional(nargs="*"))
    folds: tuple[str, ...] = field(default=(), metadata=option("--fold", nargs="+"))
    labels_from: tuple[str, ...] = field(default=(), metadata=option(action="append"))
    count: int = field(default=3, metadata=option(type=int))
    span: tuple[float, float] = field(
        default=(0.0, 1.0), metadata=option(nargs=2, type=float, metavar=("LOW", "HIGH"))
    )
    this: bool = field(default=False, metadata=option(group="one", action="store_true"))
    that: bool = field(default=False, metadata=option(group="one", action="store_true"))
    write: bool = field(default=False, metadata=switch("for good"))
    config: Path | None = field(default=None, metadata=config_option(action=once("take --against")))


def parsed(*arguments: str) -> Options:
    given: list[Options] = []

    def run(options: Options) -> int:
        given.append(options)
        return 7

    parser = argparse.ArgumentParser()
    add_command(parser.add_subparsers(), "do", Options, run, "a command")
    namespace = parser.parse_args(["do", *arguments])
    assert namespace.command(namespace) == 7
    return given[0]


def test_what_is_not_given_has_the_dataclass_s_default() -> None:
    assert parsed("a") == Options("a")


def test_what_is_given_arrives_as_the_field_s_type() -> None:
    everything = "a b c --fold 1 2 --labels-from x --labels-from y --count 5 --span 2 3 --write"
    assert parsed(*everything.split(), "--config", "c.yaml", "--that") == Options(
        "a",
        more=("b", "c"),
        folds=("1", "2"),
        labels_from=("x", "y"),
        count=5,
        span=(2.0, 3.0),
        that=True,
        write=True,
        config=Path("c.yaml"),
    )


def test_a_flag_is_named_like_its_field_unless_it_says_otherwise() -> None:
    flags = {each.name: flag(each) for each in fields(Options)}
    assert flags["file"] is None
    assert flags["folds"] == "--fold"
    assert flags["labels_from"] == "--labels-from"
    assert flags["config"] == "--config"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("", "required: FILE"),
        ("a --this --that", "not allowed with"),
        ("a -c x -c y", "given twice"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    wrong: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        parsed(*wrong.split())
    assert message in capsys.readouterr().err


def test_values_are_called_in_the_help_as_the_flag_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        parsed("--help")
    usage = capsys.readouterr().out
    for shown in ("--fold FOLD [FOLD ...]", "--labels-from LABELS-FROM", "--span LOW HIGH"):
        assert shown in " ".join(usage.split())
