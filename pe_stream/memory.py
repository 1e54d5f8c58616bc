"""What was heard in the last days, as embeddings: pooled as it comes, written each minute.

    add (scoring thread)  ->  rows of a source  ->  the waiting pieces  ->  this thread: write

No audio is in it, and none can be made of it. A kill costs what is in memory: up to a minute of
each source.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pe_stream.config import SearchSettings
from pe_stream.core.messages import slug
from pe_stream.core.pooling import Pool, Rows
from pe_stream.core.types import FrameEmbeddings
from pe_stream.memory_store import RETRY_S, Made, MemoryStore, Piece, default_folder, stored

log = logging.getLogger(__name__)

CHUNK = 150
"""Rows that are written together: a minute."""

MOST_BYTES = 32 * 2**20
"""Rows that may wait to be written: hours of one source."""

STOP_S = 2.0
"""At a stop, rows get this long to be written."""

_LONGEST_NAME = 200
_TIDY_S = 3600.0
_WARNING_S = 600.0


def folder_of(settings: SearchSettings) -> Path:
    """Where these settings have it."""
    return Path(settings.folder) if settings.folder else default_folder()


@dataclass(slots=True)
class _Gathered:
    """Of a source: frames that are no row yet, and rows that are no chunk yet."""

    pool: Pool = field(default_factory=Pool)
    rows: list[Rows] = field(default_factory=list)


class Memory:
    """Keeps embeddings and gives them back; safe to use from any thread.

    lost: chunks (of up to a minute of a source) that could not be kept.
    """

    def __init__(
        self,
        settings: SearchSettings,
        *,
        clock: Callable[[], float] = time.time,
        on_failure: Callable[[BaseException], None] = lambda _: None,
    ) -> None:
        """Prepare; nothing is written before `start`.

        clock: UTC (s) that ages are counted from. on_failure: called with what ended the thread, if
        that was an error of ours.
        """
        self.lost = 0
        self.enabled = settings.enabled
        self._folder = folder_of(settings)
        self._store = MemoryStore(
            self._folder, keep_days=settings.keep_days, max_gb=settings.max_gb, clock=clock
        )
        self._on_failure = on_failure
        self._identity = self._checkpoint = ""
        self._changed = threading.Condition()
        self._stopping = False
        self._gathered: dict[str, _Gathered] = {}
        # Full (MOST_BYTES) when the disk stands still or refuses: what comes then is lost.
        self._waiting: deque[Piece] = deque()
        self._bytes = 0
        self._next_warning_s = 0.0
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written at present, in words; None while it can."""
        return self._store.trouble

    def start(self, identity: str, checkpoint: str) -> None:
        """Begin to write what a checkpoint hears; does not fail: see `trouble`.

        identity: as `Checkpoint.identity`. checkpoint: its name, for people.
        """
        self._identity, self._checkpoint = identity, checkpoint[:_LONGEST_NAME]
        if self.enabled:
            self._thread.start()

    def stop(self) -> None:
        """Write all there is, for a while; what the disk does not take then is lost."""
        with self._changed:
            for source, gathered in self._gathered.items():
                gathered.rows += gathered.pool.flush()
                self._close(source, gathered)
            self._stopping = True
            self._changed.notify()
        if not self._thread.ident:
            return
        self._thread.join(STOP_S)
        if self._thread.is_alive():
            log.warning("%d minutes of what was heard could not be written", len(self._waiting))
        else:
            self._store.close()

    def add(self, source: str, start_ns: int, embeddings: FrameEmbeddings) -> None:
        """Take the next final frames (n, D) of a source. Never waits for the disk.

        start_ns: UTC of the first; a break is where it does not follow on.
        """
        if not self.enabled:
            return
        with self._changed:
            gathered = self._gathered.setdefault(source, _Gathered())
            for rows in gathered.pool.add(start_ns, embeddings):
                if gathered.rows and gathered.rows[0].dtype != rows.dtype:
                    self._close(source, gathered)
                gathered.rows.append(rows)
                if len(gathered.rows) == CHUNK:
                    self._close(source, gathered)

    def pieces(self, since_ns: int, until_ns: int, source: str | None = None) -> Iterator[Piece]:
        """Rows that begin in since_ns..until_ns (UTC), also unwritten ones; some may come twice.

        source: as configured, or as in topics; None is all. Raises UnavailableError where the
        folder cannot be read.
        """
        with self._changed:
            held = list(self._waiting)
            held += [
                self._piece(name, gathered)
                for name, gathered in self._gathered.items()
                if gathered.rows
            ]
        # After memory: what was written between the two is there twice, and nothing is left out.
        for piece in held:
            starts_ns = piece.rows["start_ns"]
            wanted = (starts_ns >= since_ns) & (starts_ns < until_ns)
            if source in (None, piece.made.source) or slug(str(source)) == slug(piece.made.source):
                yield Piece(piece.made, piece.rows[wanted])
        yield from stored(self._folder, since_ns, until_ns, source=source)

    def _piece(self, source: str, gathered: _Gathered) -> Piece:
        rows = np.concatenate(gathered.rows)
        width = rows.dtype["code"].shape[0]
        return Piece(Made(source, self._identity, self._checkpoint, width), rows)

    def _close(self, source: str, gathered: _Gathered) -> None:
        """Have what was gathered of a source written."""
        if not gathered.rows:
            return
        piece = self._piece(source, gathered)
        gathered.rows = []
        if self._bytes + piece.rows.nbytes > MOST_BYTES:
            self._lose(1)
            return
        self._bytes += piece.rows.nbytes
        self._waiting.append(piece)
        self._changed.notify()

    def _lose(self, count: int) -> None:
        self.lost += count
        now_s = time.monotonic()
        if now_s >= self._next_warning_s:
            self._next_warning_s = now_s + _WARNING_S
            why = self.trouble or "writing falls behind"
            log.warning("%d minutes of what was heard so far are lost: %s", self.lost, why)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - whatever ends this thread ends the daemon
            self._on_failure(error)

    def _work(self) -> None:
        self._store.forget()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping, _TIDY_S)
                if not self._waiting and self._stopping:
                    return
                piece = self._waiting[0] if self._waiting else None
            if piece is None:
                self._store.forget()
                continue
            done = self._store.keep(piece)
            with self._changed:
                if done:
                    self._bytes -= piece.rows.nbytes
                    self._waiting.popleft()
                elif self._stopping:
                    self._lose(len(self._waiting))
                    return
                else:
                    self._changed.wait_for(lambda: self._stopping, RETRY_S)
