"""Secrets that stand in files of their own."""

from __future__ import annotations

import codecs
import logging
import os
import stat
from pathlib import Path

from pe_stream.core.words import has_control_characters
from pe_stream.errors import ConfigError

log = logging.getLogger(__name__)


LONGEST = 1 << 16
"""Characters of a secret."""

_GIVEN = (Path("/run/secrets"), Path("/var/run/secrets"))
"""Where a container's runtime puts secrets, with rights that are not ours to choose."""


def read_secret(key: str, path: Path, *, what: str | None = None, warn: bool = True) -> str:
    """The content of a file, which is one line; `key` is what names it, for messages.

    A byte order mark and ends of lines behind it are no part of it. what: what it holds, for
    messages too. warn: whether the log warns where others may read or write it. Raises ConfigError
    where it cannot be read, holds nothing, more than a line, or what is no text.
    """
    try:
        with path.open("rb") as file:
            if warn:
                warn_of_others(key, path, os.fstat(file.fileno()))
            content = file.read(4 * LONGEST + 1)
        secret = one_line(_decoded(content))
    except (OSError, ValueError) as error:  # NUL in a path
        reason = error.strerror if isinstance(error, OSError) else error
        if isinstance(error, UnicodeDecodeError):
            raise ConfigError(f"{key}: {path} is not UTF-8 text") from None
        raise ConfigError(f"{key}: cannot read {path}: {reason}") from None
    if len(secret) > LONGEST:
        raise ConfigError(f"{key}: {path} has more than {LONGEST} characters: that is no secret")
    if not secret:
        what = what or key.rpartition(".")[2].removesuffix("_file")
        raise ConfigError(f"{key}: {path} is empty: put the {what} into it")
    if "\n" in secret or "\r" in secret:
        raise ConfigError(f"{key}: {path} has more than one line: a secret is one")
    if has_control_characters(secret.replace("\t", "")):
        raise ConfigError(f"{key}: {path} is not one line of UTF-8 text: it has control characters")
    return secret


def one_line(text: str) -> str:
    """The text without ends of lines behind it, as editors and other systems leave them."""
    return text.rstrip("\r\n")


def _decoded(content: bytes) -> str:
    """Text of UTF-8, or of UTF-16 with its mark, as Windows writes it."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def warn_of_others(key: str, path: Path, found: os.stat_result) -> None:
    """Log a warning where others than the file's owner can read it, or write it.

    key: what names the file. A group that may read it is somebody's intention: the service's.
    """
    if any(path.is_relative_to(folder) for folder in _GIVEN):
        return
    said = []
    if found.st_mode & stat.S_IROTH:
        said.append("everybody on this machine may read")
    if found.st_mode & stat.S_IWOTH:
        said.append("everybody on this machine may write")
    elif found.st_mode & stat.S_IWGRP:
        said.append("its group may write")
    if found.st_uid not in (0, os.geteuid()):
        said.append(f"user {found.st_uid} owns")
    if said:
        log.warning("%s: %s holds a secret, and %s it: chmod 600", key, path, ", ".join(said))
