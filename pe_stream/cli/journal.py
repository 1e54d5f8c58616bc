"""What of a batch is done already, kept in a file, so that a batch that was broken off goes on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

from pe_stream.errors import UsageError, writing

_KIND = "pe_stream detect"


class Journal:
    """The files that are done: a line of JSON each, behind one that says what was done to them.

    A file that has changed since (its size, or the time of its last change) is not done any more.
    """

    def __init__(self, path: Path, of: Mapping[str, Any]) -> None:
        """Open it, or begin one. of: all that the results depend on besides the files.

        Raises UsageError where the file is another, or of something else; UnavailableError where
        it cannot be read or written.
        """
        self._path = path
        self._done: set[str] = set()
        self._found: dict[str, str] = {}  # the files as they were before they were read
        said = json.dumps(of, sort_keys=True, default=str)
        head = {"journal": _KIND, "of": hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()}
        with writing(path):
            try:
                self._file: BinaryIO = path.open("r+b")
            except FileNotFoundError:
                self._file = path.open("x+b")
            try:
                self._read(head)
            except BaseException:
                self._file.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def begun(self) -> bool:
        """Whether anything was done before."""
        return bool(self._done)

    def has(self, file: str) -> bool:
        """Whether the file is done, as it is now."""
        try:
            self._found[file] = _entry(file)
        except OSError:  # it is told of when it is its turn
            return False
        return self._found[file] in self._done

    def add(self, file: str) -> None:
        """A file is done, as it was when `has` was asked, and its results are written.

        One that was not there then is read again the next time. Raises UnavailableError.
        """
        if (entry := self._found.get(file)) is not None:
            with writing(self._path):
                self._put(entry)

    def _read(self, head: dict[str, str]) -> None:
        content = self._file.read()
        whole = content.rfind(b"\n") + 1  # what was being written when it broke off is left out
        lines = content[:whole].decode("utf-8", "replace").splitlines()
        if not lines:
            if content and not json.dumps(head).encode().startswith(content):
                raise UsageError(f"{self._path}: this is not a file that --resume has made")
            self._file.seek(0)
            self._file.truncate()
            self._put(json.dumps(head))
            return
        try:
            known = json.loads(lines[0])
        except ValueError:
            known = None
        if not isinstance(known, dict) or known.get("journal") != _KIND:
            raise UsageError(f"{self._path}: this is not a file that --resume has made")
        if known != head:
            raise UsageError(
                f"{self._path}: it is of other labels or options: name another file, or delete it"
            )
        self._done = set(lines[1:])
        self._file.seek(whole)
        self._file.truncate()

    def _put(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _entry(file: str) -> str:
    found = Path(file).stat()
    entry = {
        "file": os.path.abspath(file),  # noqa: PTH100 - Path's keeps `..`
        "bytes": found.st_size,
        "changed_ns": found.st_mtime_ns,
    }
    return json.dumps(entry)
