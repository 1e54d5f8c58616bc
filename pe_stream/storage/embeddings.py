"""Embeddings of the last days: pooled as they come, written each minute.

    add (scoring thread)  ->  rows of a source  ->  the waiting pieces  ->  this thread: write

No audio is in it, and none can be made of it. A kill costs what is in memory: up to a minute of
each source.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pe_stream.config import SearchSettings
from pe_stream.core.detector import Heard
from pe_stream.core.listener import Listener
from pe_stream.core.messages import slug
from pe_stream.core.pooling import Pool, Rows
from pe_stream.core.store_status import StoreStatus
from pe_stream.core.types import FrameEmbeddings
from pe_stream.storage.embedding_files import (
    EmbeddingFiles,
    EmbeddingRows,
    Made,
    default_folder,
    stored,
)
from pe_stream.storage.write_queue import WriteQueue

CHUNK = 150
"""Rows that are written together: a minute."""

_LONGEST_NAME = 200


def folder_of(settings: SearchSettings) -> Path:
    """Folder of embeddings under these settings."""
    return Path(settings.folder) if settings.folder else default_folder()


@dataclass(slots=True)
class _Gathered:
    """Frames of a source that make no row yet, and rows that make no chunk yet."""

    pool: Pool = field(default_factory=Pool)
    rows: list[Rows] = field(default_factory=list)


class EmbeddingStore(Listener):
    """Keeps embeddings and gives them back; safe to use from any thread."""

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
        self.enabled = settings.enabled
        self._folder = folder_of(settings)
        self._store = EmbeddingFiles(
            self._folder, keep_days=settings.keep_days, max_gb=settings.max_gb, clock=clock
        )
        self._identity = self._checkpoint = ""
        self._lock = threading.Lock()
        self._gathered: dict[str, _Gathered] = {}
        self._queue = WriteQueue[EmbeddingRows](
            "embeddings", "minutes of what was heard", lambda piece: piece.rows.nbytes, on_failure
        )

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be written at present, in words; None while it can."""
        return self._queue.unavailable_reason

    @property
    def lost(self) -> int:
        """Chunks (of up to a minute of a source) that could not be kept."""
        return self._queue.lost

    def status(self) -> StoreStatus:
        """How it does."""
        return StoreStatus(self.unavailable_reason, self.lost)

    def start(self, identity: str, checkpoint: str) -> None:
        """Begin to write what a checkpoint hears; does not fail: see `unavailable_reason`.

        identity: as `Checkpoint.identity`. checkpoint: its name, for people.
        """
        self._identity, self._checkpoint = identity, checkpoint[:_LONGEST_NAME]
        if self.enabled:
            self._queue.start(self._store, self._store.keep)

    def stop(self) -> None:
        """Write all there is, for a while; what the disk does not take then is lost."""
        with self._lock:
            for source, gathered in self._gathered.items():
                gathered.rows += gathered.pool.flush()
                self._close(source, gathered)
        self._queue.stop()

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:  # noqa: ARG002 - a part of the protocol
        """Keep the embeddings of the frames."""
        if heard.embeddings is not None:
            self.add(source, heard.start_ns, heard.embeddings)

    def add(self, source: str, start_ns: int, embeddings: FrameEmbeddings) -> None:
        """Take the next final frames (n, D) of a source. Never waits for the disk.

        start_ns: UTC of the first; a break is where it does not follow on.
        """
        if not self.enabled:
            return
        with self._lock:
            gathered = self._gathered.setdefault(source, _Gathered())
            for rows in gathered.pool.add(start_ns, embeddings):
                if gathered.rows and gathered.rows[0].dtype != rows.dtype:
                    self._close(source, gathered)
                gathered.rows.append(rows)
                if len(gathered.rows) == CHUNK:
                    self._close(source, gathered)

    def pieces(
        self, since_ns: int, until_ns: int, source: str | None = None
    ) -> Iterator[EmbeddingRows]:
        """Rows that begin in since_ns..until_ns (UTC), also unwritten ones; some may come twice.

        source: as configured, or as in topics; None is all. Raises UnavailableError where the
        folder cannot be read.
        """
        with self._lock:
            held = self._queue.waiting
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
                yield EmbeddingRows(piece.made, piece.rows[wanted])
        yield from stored(self._folder, since_ns, until_ns, source=source)

    def _piece(self, source: str, gathered: _Gathered) -> EmbeddingRows:
        rows = np.concatenate(gathered.rows)
        width = rows.dtype["code"].shape[0]
        return EmbeddingRows(Made(source, self._identity, self._checkpoint, width), rows)

    def _close(self, source: str, gathered: _Gathered) -> None:
        """Have what was gathered of a source written."""
        if not gathered.rows:
            return
        piece = self._piece(source, gathered)
        gathered.rows = []
        self._queue.put(piece)
