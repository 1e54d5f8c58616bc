"""What can go wrong that its user can mend, and the exit code each kind ends with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


class PeStreamError(Exception):
    """One clear line for the user; `exit_code` is what the command ends with.

    The message names the thing (file, key, device, host) and what would mend it.
    """

    exit_code = 1


class UsageError(PeStreamError):
    """The command was called with arguments that cannot go together."""

    exit_code = 2


class ConfigError(PeStreamError):
    """The configuration is wrong: sysexits' EX_CONFIG. The unit does not restart on it."""

    exit_code = 78


class UnavailableError(PeStreamError):
    """Something needed is not there: a device, a file, a checkpoint, a broker (EX_UNAVAILABLE)."""

    exit_code = 69


class OutputError(PeStreamError):
    """The results cannot be written: stdout is closed, or its disk is full (EX_UNAVAILABLE)."""

    exit_code = 69


class UnfinishedError(UnavailableError):
    """It was not done in time, and may yet be done."""


class RefusedError(UnavailableError):
    """It is there, and will not have us: a wrong password, a path that it does not know."""


def not_installed(module: str | None, extra: str) -> UnavailableError:
    """To raise where a module of one of the package's extras is missing."""
    return UnavailableError(f"{module} is not installed: pip install 'pe-stream[{extra}]'")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise UnavailableError for an OSError that comes up while `path` is written."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be written: {error.strerror}") from error


def require_plot() -> None:
    """Raise UnavailableError where nothing can be drawn; before the long run, not after it."""
    if find_spec("matplotlib") is None:
        raise not_installed("matplotlib", "plot")
