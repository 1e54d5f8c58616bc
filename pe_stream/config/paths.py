"""Default paths of files."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_state_dir


def state_folder() -> Path:
    """Default folder of databases: systemd's state directory, or the user's."""
    return Path(os.environ.get("STATE_DIRECTORY") or user_state_dir("pe-stream"))
