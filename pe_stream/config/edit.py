"""Changes to labels in the configuration file: comments stay, what was there before is kept beside.

A change is made to the text that its author saw (`version`), so that of two editors the second is
told, and only what the daemon would take is written.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from yaml import YAMLError

from pe_stream.config import Settings
from pe_stream.config.file import MAX_SIZE, parse, parse_with_references
from pe_stream.config.paths import state_folder
from pe_stream.config.yaml_edit import Editor, NotEditableError
from pe_stream.errors import ConfigError, PeStreamError

KEPT = 40
"""So many of the files that were before are kept, as NAME.STAMP.bak."""

_NO_OTHER_FILE = {errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS}
"""Errors where no other file can take the configuration's place, as where it alone is mounted."""


class ConflictError(PeStreamError):
    """The file is not what the author of the change saw."""


class NotWritableError(PeStreamError):
    """The file cannot be written."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What becomes of a label: the keys to set (None: back to the default), or its removal.

    create: whether the label is to be new; else it has to be there.
    """

    label: str
    keys: Mapping[str, Any] | None
    create: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A file as it will be, and what it means."""

    text: str
    settings: Settings
    version: str
    """Version of the file that the draft changes."""


class ConfigFile:
    """One configuration file; used by one thread at a time, but for `unavailable_reason`."""

    def __init__(self, path: Path) -> None:
        """Take the path; links are followed, so that it is their target that changes."""
        self.path = path.resolve()

    @property
    def version(self) -> str:
        """What tells this text from any other. Raises NotWritableError where there is none."""
        return _version(self._read())

    @property
    def unavailable_reason(self) -> str | None:
        """Why it cannot be changed, in words; None where it can."""
        if not self.path.exists():
            return f"{self.path} is gone"
        if not os.access(self.path, os.W_OK):
            return f"{self.path} may not be written by this service"
        if not any(os.access(folder, os.W_OK) for folder in self._folders_of_copies()):
            return f"{self.path.parent} may not be written by this service"
        return None

    def draft(self, edit: Edit, version: str) -> Draft:
        """Make the change without writing it.

        Raises ConflictError, NotWritableError, or ConfigError with all that is wrong with it.
        """
        if self.unavailable_reason is not None:
            raise NotWritableError(self.unavailable_reason)
        before = self._read()
        if _version(before) != version:
            parse(before, str(self.path))  # else nobody could load what is there
            raise self._conflict()
        text = edited(before, edit, str(self.path))
        return Draft(text, parse(text, str(self.path)), version)

    def write(self, draft: Draft) -> str:
        """Put the draft in the file's place at once, keep the old one; returns the new version.

        Where no other file can take its place, as where it alone is mounted, it is written into.

        Raises ConflictError where the file has changed since, NotWritableError.
        """
        before = self._read()
        if _version(before) != draft.version:
            raise self._conflict()
        try:
            if before != draft.text:
                self._replace(before.encode(), draft.text.encode())
        except OSError as error:
            raise NotWritableError(f"{self.path} cannot be written: {error.strerror}") from error
        return _version(draft.text)

    def _conflict(self) -> ConflictError:
        return ConflictError(
            f"{self.path.name} was changed by someone else meanwhile: load it again"
        )

    def _folders_of_copies(self) -> Iterator[Path]:
        """Where what was before may be kept: beside the file, else in the state folder.

        The latter only for a file that is mounted alone, as into a container.
        """
        yield self.path.parent
        if not _is_mounted(self.path):
            return
        with contextlib.suppress(OSError):
            folder = state_folder()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            yield folder

    def _replace(self, before: bytes, after: bytes) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        folder = next(each for each in self._folders_of_copies() if os.access(each, os.W_OK))
        copy = folder / f"{self.path.name}.{stamp}.bak"
        self._put(before, copy)
        try:
            if folder != self.path.parent:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
            self._put(after, self.path)
        except OSError as error:
            if error.errno not in _NO_OTHER_FILE:
                copy.unlink(missing_ok=True)
                raise
            self._put_in_place(before, after)
        with contextlib.suppress(OSError):  # it is written, whatever becomes of the old ones
            for path in sorted(folder.glob(f"{self.path.name}.*Z.bak"))[:-KEPT]:
                path.unlink(missing_ok=True)

    def _put(self, content: bytes, path: Path) -> None:
        """Write a file whole or not at all, with the owner and rights of the configuration."""
        stat = self.path.stat()
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{self.path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(PermissionError):
                os.chown(name, stat.st_uid, stat.st_gid)
            Path(name).chmod(stat.st_mode & 0o777)
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _put_in_place(self, before: bytes, after: bytes) -> None:
        """Write into the file itself, whose copy is kept already, or leave it as it was."""
        with self.path.open("r+b", buffering=0) as file:
            try:
                _overwrite(file, after)
            except OSError:
                with contextlib.suppress(OSError):  # as much of it as there was has a place
                    _overwrite(file, before)
                raise

    def _read(self) -> str:
        try:
            content = self.path.read_bytes()[: MAX_SIZE + 1]
            return content.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise NotWritableError(f"{self.path} cannot be read: {error}") from error


def _is_mounted(path: Path) -> bool:
    """Whether the file itself is a mount, and not only a folder that it is in."""
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes()
    except OSError:
        return False
    name = re.sub(rb"[ \t\n\\]", lambda found: b"\\%03o" % found[0][0], os.fsencode(path))
    return any(line.split(b" ")[4:5] == [name] for line in mounts.splitlines())


def _overwrite(file: FileIO, content: bytes) -> None:
    file.seek(0)
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    file.truncate()
    os.fsync(file.fileno())


def edited(text: str, edit: Edit, name: str = "config.yaml") -> str:
    """The text with the change made, all else as it was, comments too.

    References stay as they are written where what they stand for stays, and no other text becomes
    one: whoever edits a label cannot read our environment and files by it.

    Raises ConfigError where the text is not right as it is, where the label to change is not there
    or the one to make is, and where the change cannot be made without touching anything else.
    """
    before, followed = parse_with_references(text, name)
    if (edit.label in before.labels) == edit.create:
        known = "there is one already" if edit.create else "there is none"
        raise ConfigError(f"labels.{edit.label}: {known} in {name}")
    editor = Editor(text)
    label = ("labels", edit.label)
    keys = edit.keys
    if keys is not None:
        keys = {
            key: followed.as_written((*label, key), value)
            for key, value in keys.items()
            if not ((*label, key) in followed.written and value == _in_force(before, edit, key))
        }
    try:
        if keys is None:
            editor.remove(label)
        elif edit.create:
            editor.put(label, {key: value for key, value in keys.items() if value is not None})
        for key, value in () if keys is None or edit.create else keys.items():
            if value is None:
                editor.remove((*label, key))
            else:
                editor.put((*label, key), value)
    except (NotEditableError, YAMLError) as error:
        raise ConfigError(f"{name} cannot be edited from here: {error}") from error
    _require_nothing_else(before, parse(editor.text, name), edit, name)
    return editor.text


def _in_force(settings: Settings, edit: Edit, key: str) -> Any:
    """What the key of the label has now."""
    value = settings.labels[edit.label].model_dump(by_alias=True).get(key)
    return list(value) if isinstance(value, tuple) else value


def _require_nothing_else(before: Settings, after: Settings, edit: Edit, name: str) -> None:
    """No label but this one, and nothing but labels, means another thing than before."""
    same = before.model_copy(update={"labels": {}}) == after.model_copy(update={"labels": {}})
    others = [
        {key: value for key, value in settings.labels.items() if key != edit.label}
        for settings in (before, after)
    ]
    if not same or others[0] != others[1]:
        raise ConfigError(
            f"{name} cannot be edited from here: labels.{edit.label} is shared with other parts "
            "(an alias, `*`)"
        )


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
