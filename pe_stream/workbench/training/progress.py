"""Progress of the stages of a training, in the log."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)


class Progress:
    """Says how far a stage is, twice a minute, with the mean loss since it last did."""

    def __init__(self, stage: str, steps: int | None) -> None:
        self._stage = stage
        self._steps = steps
        self._sum = 0.0
        self._count = 0
        self._last = time.monotonic()

    def __call__(self, step: int, loss: float) -> None:
        """Take the number of the batch that was learned from, and its loss."""
        self._sum += loss
        self._count += 1
        if time.monotonic() - self._last < 30 and step + 1 != self._steps:
            return
        of = f" of {self._steps}" if self._steps else ""
        each = (time.monotonic() - self._last) / self._count
        mean = self._sum / self._count
        log.info("%s: %d%s, loss %.4f, %.2f s each", self._stage, step + 1, of, mean, each)
        self._sum, self._count, self._last = 0.0, 0, time.monotonic()
