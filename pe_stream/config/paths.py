"""Default paths of files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_dir, user_state_dir

from pe_stream.errors import UnavailableError

_APP = "pe-stream"


def state_folder() -> Path:
    """Default folder of databases: systemd's state directory, or the user's.

    A user without a home, as in a container, has /var/lib/pe-stream.
    """
    return _folder("STATE_DIRECTORY", user_state_dir, "/var/lib")


def cache_folder() -> Path:
    """Default folder of what can be made anew: systemd's cache directory, or the user's.

    A user without a home has /var/cache/pe-stream.
    """
    return _folder("CACHE_DIRECTORY", user_cache_dir, "/var/cache")


def name_temporary_folder() -> None:
    """See that Python knows a folder for temporary files, also on a machine that is read-only.

    Libraries ask for its name while they are imported. Where nothing at all can be written there
    is just a name, and whatever needs the folder says that it is not there.
    """
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        folders = (state_folder(), cache_folder(), Path("/dev/shm"))  # noqa: S108 - if it must be
        found = next((each for each in folders if os.access(each, os.W_OK)), None)
        if found is None:
            found = Path("/tmp")  # noqa: S108 - a mere name
            # torch makes its cache while it is imported: one that is there needs no making
            os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(found))
        tempfile.tempdir = os.environ["TMPDIR"] = str(found)


def require_current_folder() -> None:
    """Raise UnavailableError where there is no current folder: torch ends the process there."""
    try:
        Path.cwd()
    except OSError as error:
        raise UnavailableError(
            f"the folder in which this is started: {error.strerror}: change to another one"
        ) from None


def _folder(variable: str, of_user: Callable[[str], str], of_system: str) -> Path:
    given = os.environ.get(variable, "").partition(":")[0]  # systemd lists all of a unit
    if given:
        return Path(given)
    try:
        folder = of_user(_APP)
    except RuntimeError:  # newer platformdirs where there is no home; older give it back with `~`
        folder = ""
    return Path(folder) if Path(folder).is_absolute() else Path(of_system) / _APP
