"""Without the extra `plot`, what draws says in one line what to install, before any work."""

from __future__ import annotations

import sys

import pytest

from pe_stream.cli.main import main


@pytest.mark.parametrize(
    "command",
    [
        ["detect", "a.wav", "--plot", "pictures"],
        ["calibrate", "--plot", "pictures"],
        ["eval", "scenes", "--plot", "pictures"],
        ["bench", "--plot", "bench.png"],
    ],
    ids=lambda command: command[0],
)
def test_what_draws_names_the_extra_that_is_missing(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(command) == 69
    told = "pe-stream: matplotlib is not installed: pip install 'pe-stream[plot]'\n"
    assert capsys.readouterr() == ("", told)
