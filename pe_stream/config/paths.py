"""Default paths of files."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_state_dir

from pe_stream.errors import UnavailableError


def state_folder() -> Path:
    """Default folder of databases: systemd's state directory, or the user's.

    Raises UnavailableError where the user has no home.
    """
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]  # systemd lists all of a unit
    folder = Path(given or user_state_dir("pe-stream"))
    if not folder.is_absolute() and folder.parts[:1] == ("~",):
        raise UnavailableError(
            "there is no folder to keep anything in, as this user has no home: set STATE_DIRECTORY "
            "to one, or `path` and `folder` of what is kept"
        )
    return folder
