"""The log on stderr: what comes again and again is told once a second, with a count.

Whoever reaches one of our ports can have a line written for each thing that they send: the log
would be full of it, and the disk. What counts as one cause: the logger, the level, and the text but
for numbers in it (ports, counts; in what pe_stream itself tells, not those in names). Lines of one
message that differ in more, as they name a source or a client, pass up to BURST at once, and then
one a second, too. What pe_stream itself tells at level INFO and below is what was heard: of it,
only a line that is the same throughout is counted.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import TextIO

from pe_stream.config.redaction import redacted

BURST = 100
"""Lines of one message that differ in their arguments, which may follow each other at once."""

MOST_CAUSES = 2000
"""Causes that are remembered; a new one takes the place of the one that came longest ago."""

_DIGITS = re.compile(r"\d+")
_NUMBERS = re.compile(r"(?<![\w-])\d+(?![\w-])")
"""Digits of their own; those of a name (`cam1`) tell one source from another."""

_LONGEST = 500


class _Allowance:
    """Lets lines of one cause pass: some at once, and then one a second."""

    __slots__ = ("_at_s", "_burst", "_tokens", "last", "left_out")

    def __init__(self, burst: int, now_s: float) -> None:
        self._burst, self._tokens, self._at_s = burst, float(burst), now_s
        self.left_out, self.last = 0, ""

    def take(self, now_s: float) -> bool:
        """Whether a line may pass now."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now_s - self._at_s))
        self._at_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def leave_out(self, line: str) -> None:
        """Count a line that does not pass."""
        self.left_out, self.last = self.left_out + 1, line

    def told(self) -> str:
        """The last line that was left out, and how many others; then none are."""
        first, end, rest = self.last.partition("\n")
        if self.left_out > 1:
            first += f" (and {self.left_out - 1} more like it)"
        self.left_out, self.last = 0, ""
        return first + end + rest


def log_to_stderr(level: int) -> None:
    """Have what is logged told on stderr: of pe_stream from `level`, of others from WARNING."""
    # systemd adds time and host itself
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        handlers=[LimitedHandler(sys.stderr)],
        level=logging.WARNING,
        format=f"{stamp}%(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("pe_stream").setLevel(level)


class LimitedHandler(logging.StreamHandler[TextIO]):
    """Writes records; of one cause one a second, which says how many others were left out.

    Secrets that came into the configuration by references are shown as these.

    What was left out last is told with the record that comes next, of whatever cause, or as the
    handler is closed. Any thread may log; logging's lock is held. clock: monotonic time (s).
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        """Write to `stream`."""
        super().__init__(stream)
        self._clock = clock
        self._allowances: OrderedDict[Hashable, _Allowance] = OrderedDict()
        self._waiting: dict[int, _Allowance] = {}  # those with lines left out, by identity

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it."""
        try:
            now_s = self._clock()
            self._tell(now_s)
            line = redacted(self.format(record))
            stopped = next((each for each in self._of(record, now_s) if not each.take(now_s)), None)
            if stopped is None:
                self._write(line)
            else:
                stopped.leave_out(line)
                self._waiting[id(stopped)] = stopped
        except RecursionError:
            raise
        except Exception:  # noqa: BLE001 - as logging does: it must not end what is logged
            self.handleError(record)

    def close(self) -> None:
        """Tell what was left out."""
        self.acquire()
        try:
            with suppress(OSError, ValueError):  # nobody reads it any more
                self._tell(None)
        finally:
            self.release()
        super().close()

    def _of(self, record: logging.LogRecord, now_s: float) -> list[_Allowance]:
        """What has to let the record pass."""
        error = record.exc_info[0] if record.exc_info else None
        origin = (record.name, record.levelno, error)
        said = record.getMessage()[:_LONGEST]
        ours = record.name.partition(".")[0] == "pe_stream"
        if ours and record.levelno <= logging.INFO:
            return [self._allowance((*origin, said), 1, now_s)]
        varying = _NUMBERS if ours else _DIGITS
        cause = self._allowance((*origin, varying.sub("#", said)), 1, now_s)
        if not record.args:
            return [cause]
        return [cause, self._allowance((*origin, "message", str(record.msg)), BURST, now_s)]

    def _allowance(self, key: Hashable, burst: int, now_s: float) -> _Allowance:
        found = self._allowances.get(key)
        if found is None:
            found = self._allowances[key] = _Allowance(burst, now_s)
            if len(self._allowances) > MOST_CAUSES:
                self._allowances.popitem(last=False)  # what it left out is still told
        self._allowances.move_to_end(key)
        return found

    def _tell(self, now_s: float | None) -> None:
        """Tell of what was left out where a line may pass again; None: of all."""
        for name, allowance in list(self._waiting.items()):
            if now_s is None or allowance.take(now_s):
                del self._waiting[name]
                self._write(allowance.told())

    def _write(self, line: str) -> None:
        self.stream.write(line + self.terminator)
        self.flush()
