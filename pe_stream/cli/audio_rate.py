"""How much audio is heard in a minute, for a progress bar."""

from __future__ import annotations

import time
from typing import Any

from tqdm import tqdm


class AudioRate:
    """Hours of audio heard a minute, on average since it was made."""

    def __init__(self) -> None:
        """The time begins to count."""
        self.heard_s = 0.0
        self._began_s = time.monotonic()

    def add(self, seconds: float, bar: tqdm[Any]) -> None:
        """So much more was heard, which stands behind the bar from its next update on."""
        self.heard_s += seconds
        bar.set_postfix_str(str(self), refresh=False)

    def __str__(self) -> str:
        elapsed_s = max(1e-9, time.monotonic() - self._began_s)
        hours = self.heard_s / 60 / elapsed_s  # s/s times 60 / 3600
        return f"{hours:.{0 if hours >= 10 else 1}f} h of audio/min"
