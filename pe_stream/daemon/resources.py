"""What the system gives a process: file descriptors and threads, and whether any are left."""

from __future__ import annotations

import logging
import resource
import threading

from pe_stream.outputs.shortage import descriptors_short, shortage

log = logging.getLogger(__name__)


def raise_descriptor_limit() -> None:
    """Allow as many open file descriptors as we may; systemd's default is 1024 of 524,288."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # macOS allows less than it says
            log.debug("the limit of file descriptors stays at %d: %s", soft, error)


class Resources:
    """Looks whether descriptors and threads are left; `check` is of one thread.

    shortage: what there is too little of, in words; None where all is well. What needs it is tried
    again meanwhile, by whoever needs it.
    """

    def __init__(self) -> None:
        """Begin with enough."""
        self.shortage: str | None = None

    def check(self) -> None:
        """Look; what changes is logged."""
        found = descriptors_short() or _threads_short()
        if found != self.shortage:
            if found is None:
                log.warning("there are file descriptors and threads again")
            else:
                log.error("%s: what needs one waits, and is tried again", found)
        self.shortage = found


def _threads_short() -> str | None:
    probe = threading.Thread(target=_nothing, name="probe", daemon=True)
    try:
        probe.start()
    except RuntimeError as error:
        return shortage(error) or str(error)
    probe.join()
    return None


def _nothing() -> None:
    pass
