"""Secrets that stand in files of their own."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from pe_stream.errors import ConfigError

log = logging.getLogger(__name__)


LONGEST = 1 << 16
"""Characters of a secret."""


def read_secret(key: str, path: Path) -> str:
    """The content of a file without its last line break; `key` is what names it, for messages.

    Warns where others may read or write it. Raises ConfigError where it cannot be read or holds
    nothing.
    """
    try:
        with path.open(encoding="utf-8") as file:
            warn_of_others(key, path, os.fstat(file.fileno()))
            secret = file.read(LONGEST + 1)
        if len(secret) > LONGEST:
            raise ConfigError(
                f"{key}: {path} has more than {LONGEST} characters: that is no secret"
            )
        secret = secret.removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} is not UTF-8 text") from None
    if not secret:
        what = key.rpartition(".")[2].removesuffix("_file")
        raise ConfigError(f"{key}: {path} is empty: put the {what} into it")
    return secret


def warn_of_others(key: str, path: Path, found: os.stat_result) -> None:
    """Log a warning where others than the file's owner can read it, or write it.

    key: what names the file. A group that may read it is somebody's intention: the service's.
    """
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
