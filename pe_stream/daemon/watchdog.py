"""What systemd is told, and whether the daemon deserves to be let live."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

from pe_stream.core.source_status import SourceStatus
from pe_stream.core.types import SAMPLE_RATE

STUCK_S = 20.0
"""A source that delivered this much audio (s) since its scores last advanced is stuck."""

ALIVE_S = 60.0
"""So long after it was last well, the daemon still counts as alive: systemd waits as long."""

SYSTEMD_S = 1.0
"""systemd gets so long (s) to take a message, where its queue is full."""


class Watchdog:
    """Looks whether every source advances; for one thread, but for `alive`."""

    def __init__(self) -> None:
        """Begin with no source."""
        self._progress: dict[str, tuple[tuple[int, int], int]] = {}
        self._well_s: float | None = None
        """When it was last well, by the monotonic clock."""

    @property
    def alive(self) -> bool:
        """Whether `check` has lately found that all is well; from any thread."""
        return self._well_s is not None and time.monotonic() - self._well_s < ALIVE_S

    def check(self, statuses: Mapping[str, SourceStatus]) -> bool:
        """Whether no source has delivered audio for long without its scores advancing.

        One whose scores are waited for, from an engine on another machine, advances too.

        systemd is told that the daemon lives where that is so.
        """
        stuck = False
        for source, status in statuses.items():
            seen, delivered = self._progress.get(source, ((-1, 0), 0))
            # An engine elsewhere that does not answer is no reason to start us again.
            advanced = (status.scored_frames, status.waits)
            if advanced != seen:
                self._progress[source] = (advanced, status.delivered)
            else:
                stuck = stuck or status.delivered - delivered > STUCK_S * SAMPLE_RATE
        if not stuck:
            self._well_s = time.monotonic()
            tell_systemd("WATCHDOG=1")
        return not stuck


def tell_systemd(state: str) -> None:
    """Tell systemd, where it started us: READY=1, STOPPING=1 and such (sd_notify(3)).

    From any thread. An error is nothing to stop for: systemd then acts as if nothing was said. The
    socket is kept, as there may be no descriptor for another when the watchdog is to be fed.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket: its name begins with a NUL
        address = f"\0{address[1:]}"
    with suppress(OSError):
        _to_systemd().sendto(state.encode(), address)


@cache
def _to_systemd() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.settimeout(SYSTEMD_S)
    return made
