"""The text tower of a checkpoint: kept with it, or read when texts are to be embedded."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pe_stream.model.malloc import give_back_freed_memory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

IDLE_S = 60.0
"""A tower that nobody asked for so long is let go."""


@dataclass(frozen=True, slots=True, eq=False)
class TextSide:
    """What embeds texts. model: with `text_model`, `text_audio_head` and `config`."""

    model: Any
    tokenizer: PreTrainedTokenizerBase


class TextTower:
    """A text side that is there when it is asked for; safe to use from any thread."""

    def __init__(self, read: Callable[[], TextSide], kept: TextSide | None = None) -> None:
        """read: reads it, which takes seconds. kept: never let go, where it is there already."""
        self._read = read
        self._kept, self._side = kept is not None, kept
        self._turn = threading.Lock()
        self._used_s = 0.0

    def side(self) -> TextSide:
        """The text side. Raises what reading it raises."""
        with self._turn:
            if self._side is None:
                log.info("reading the text tower, for a text that is new")
                self._side = self._read()
            self._used_s = time.monotonic()
            return self._side

    def rest(self, now_s: float) -> None:
        """Let go of what is not kept and was not asked for since IDLE_S. now_s: monotonic.

        Never waits.
        """
        if self._kept or self._side is None or not self._turn.acquire(blocking=False):
            return
        try:
            if now_s - self._used_s < IDLE_S:
                return
            self._side = None
        finally:
            self._turn.release()
        give_back_freed_memory()
        log.info("the text tower is let go")
