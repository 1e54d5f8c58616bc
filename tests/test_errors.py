"""Errors that the user can mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from pe_stream.errors import UnavailableError, writing


def test_a_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no folder" / "figures.json"
    with (
        pytest.raises(UnavailableError, match=r"figures\.json: cannot be written: No such file"),
        writing(path),
    ):
        path.write_text("{}")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError), writing(tmp_path):
        raise KeyError
