"""The daemon: start, main loop, stop, and the signals between.

Read `Daemon.run` from top to bottom; `running` has the parts and who is told of what. The threads
are listed in the architecture page.
"""

from __future__ import annotations

import logging
import math
import resource
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from pe_stream.config import Settings, local_time
from pe_stream.config.edit import ConfigFile
from pe_stream.config.local_time import LocalTime
from pe_stream.daemon.resources import raise_descriptor_limit
from pe_stream.daemon.running import RunContext, Running
from pe_stream.daemon.watchdog import tell_systemd
from pe_stream.errors import PeStreamError
from pe_stream.outputs.notifications import Notifications
from pe_stream.pipeline.scorer import prepare

log = logging.getLogger(__name__)

TURN_S = 0.25
"""The main loop looks at its flags this often (s)."""

TICK_S = 1.0
"""Watchdog and health are seen to this often (s)."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Two that end it, and one that reloads the configuration."""


class Daemon:
    """One run of the daemon under one configuration.

    reload: reads the configuration again; raises ConfigError where it is wrong.
    config: the file it is in, where the page may edit it.
    """

    def __init__(
        self, settings: Settings, reload: Callable[[], Settings], config: Path | None = None
    ) -> None:
        """Check what can be checked before the model is loaded; see Notifications."""
        settings.require_sources()
        self._settings = settings
        self._reload = reload
        self._file = None if config is None else ConfigFile(config)
        self._version = self._file.version if self._file else ""
        self._signals: list[int] = []
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._failed = False
        self._local = LocalTime(settings.location)
        self._notifications = Notifications(
            settings.notifications,
            self._local,
            after_s=settings.clips.after_s,
            on_failure=self.died,
        )

    def run(self, seconds: float | None = None) -> int:
        """Run until a signal, the end of every source, or a fault; returns the exit code.

        seconds: listen no longer than that. On the main thread. Raises ConfigError and
        UnavailableError where it cannot start, and what `ended` was told. A fault of ours, also one
        during the stop, is logged and makes the exit code 1.
        """
        # A dump would hold passwords, and what was heard.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        raise_descriptor_limit()
        with ExitStack() as stack:
            stack.callback(_obey_signals, {each: signal.getsignal(each) for each in SIGNALS})
            stack.callback(self._notifications.stop)
            given = self._load()
            # Not before, so that loading can be broken off; until all else has stopped, as a second
            # signal would end us in the middle of that.
            _obey_signals(dict.fromkeys(SIGNALS, self._note))
            running = Running(stack, given)
            running.listen()
            tell_systemd("READY=1")
            until_s = math.inf if seconds is None else time.monotonic() + seconds
            code = self._loop(running, until_s)
            running.tell_health(math.inf)  # where it ended
            tell_systemd("STOPPING=1")
        # Only now, as the stop is part of the run.
        if self._failed:
            return 1
        if code == 0 and self._error is not None:
            raise self._error
        return code

    def ended(self, error: PeStreamError | BrokenPipeError | None) -> None:
        """Note that every source has ended, or that nobody reads our output; from any thread.

        error: what the user can mend, for `run` to raise; None where all is well.
        """
        self._error = self._error or error
        self._over.set()

    def died(self, error: BaseException) -> None:
        """Log what ended a thread, and end the daemon with exit code 1; on that thread."""
        log.critical("the thread %s has died", threading.current_thread().name, exc_info=error)
        self.failed(error)

    def failed(self, _error: BaseException) -> None:
        """End the daemon with exit code 1 for what was logged already; from any thread."""
        self._failed = True
        self._over.set()

    def _load(self) -> RunContext:
        settings, at = self._settings, local_time.now()
        scorer = prepare(
            settings.model,
            settings.labels,
            streams=len(settings.sources),
            holds=partial(self._local.holds, at=at),
            embed=settings.search.enabled,
            lasting=True,
        )
        return RunContext(
            settings,
            scorer,
            self._local,
            at,
            self._notifications,
            self._file,
            self._version,
            self._reload,
            self.ended,
            self.died,
            self.failed,
        )

    def _note(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _loop(self, running: Running, until_s: float) -> int:
        next_tick_s = time.monotonic()
        while not self._over.wait(TURN_S):
            while self._signals:
                number = self._signals.pop(0)
                if number != signal.SIGHUP:
                    log.info("stopping on %s", signal.Signals(number).name)
                    return 128 + number
                running.labels.reload()
            now_s = time.monotonic()
            if now_s >= until_s:
                return 0
            if now_s >= next_tick_s:
                next_tick_s = now_s + TICK_S
                running.tick(now_s)
        if self._error is None and not self._failed:
            log.info("every source has ended")
        return 0


def _obey_signals(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
