"""Secrets that stand in files of their own."""

from __future__ import annotations

from pathlib import Path

from pe_stream.errors import ConfigError


def read_secret(key: str, path: Path) -> str:
    """The content of a file without its last line break; `key` is what names it, for messages.

    Raises ConfigError where it cannot be read or holds nothing.
    """
    try:
        secret = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: {path} is not UTF-8 text") from None
    if not secret:
        what = key.rpartition(".")[2].removesuffix("_file")
        raise ConfigError(f"{key}: {path} is empty: put the {what} into it")
    return secret
