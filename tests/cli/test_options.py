"""Arguments of the commands that have no package of their own."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from pe_stream.cli import options
from pe_stream.cli.main import _parser


@pytest.mark.parametrize(
    ("command", "argument", "values"),
    [
        (["detect", "a.wav"], "--format", get_args(options.DetectFormat)),
        (["replay"], "--format", get_args(options.ReplayFormat)),
        (["events"], "--format", get_args(options.EventsFormat)),
        (["events"], "--verdict", get_args(options.Verdict)),
        (["search", "kettle"], "--format", get_args(options.SearchFormat)),
        (["soundscapes", "a", "b"], "--scene", get_args(options.SceneName)),
    ],
)
def test_choices_are_those_of_the_field(
    command: list[str],
    argument: str,
    values: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for value in values:
        _parser().parse_args([*command, argument, value])
    with pytest.raises(SystemExit, match="2"):
        _parser().parse_args([*command, argument, "other"])
    assert "invalid choice: 'other'" in capsys.readouterr().err


def test_replay_has_one_configuration_of_now(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        _parser().parse_args(["replay", "-c", "a.yaml", "--config", "b.yaml"])
    assert "given twice; a second one is --against" in capsys.readouterr().err


def test_a_search_has_at_most_200_moments(capsys: pytest.CaptureFixture[str]) -> None:
    given = _parser().parse_args(["search", "kettle", "--limit", "200"])
    assert given.limit == 200
    with pytest.raises(SystemExit, match="2"):
        _parser().parse_args(["search", "kettle", "--limit", "201"])
    assert "'201' is not a number from 1 to 200" in capsys.readouterr().err


def test_defaults_are_those_of_the_command() -> None:
    made = options.SoundscapesOptions(Path("clips"), Path("out"))
    assert (made.count, made.seconds, made.part, made.scene) == (100, 30.0, (1, 1), "everyday")
