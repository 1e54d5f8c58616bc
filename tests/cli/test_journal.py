"""What of a batch is done, as the files were when they were read."""

from __future__ import annotations

from pathlib import Path

import pytest

from pe_stream.cli.journal import Journal


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    return path


def done(folder: Path, file: Path) -> bool:
    with Journal(folder / "done.jsonl", {}) as journal:
        return journal.has(str(file))


def test_a_file_that_goes_away_while_it_is_read_keeps_no_other_from_being_noted(
    tmp_path: Path, file: Path
) -> None:
    other = tmp_path / "b.wav"
    other.touch()
    with Journal(tmp_path / "done.jsonl", {}) as journal:
        assert [journal.has(str(each)) for each in (file, other)] == [False, False]
        file.unlink()
        journal.add(str(file))
        journal.add(str(other))
    assert done(tmp_path, other)


def test_a_file_that_changes_while_it_is_read_is_not_done(tmp_path: Path, file: Path) -> None:
    with Journal(tmp_path / "done.jsonl", {}) as journal:
        assert not journal.has(str(file))
        file.write_bytes(b"more sound")
        journal.add(str(file))
    assert not done(tmp_path, file)


def test_a_file_that_came_late_is_not_done(tmp_path: Path, file: Path) -> None:
    content = file.read_bytes()
    file.unlink()
    with Journal(tmp_path / "done.jsonl", {}) as journal:
        assert not journal.has(str(file))
        file.write_bytes(content)
        journal.add(str(file))
    assert not done(tmp_path, file)
