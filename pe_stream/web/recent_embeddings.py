"""The last minute of every source as frame embeddings, to try any text on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pe_stream.core.detector import Heard
from pe_stream.core.listener import Listener
from pe_stream.core.timebase import follows
from pe_stream.core.types import FRAME_NS, FrameEmbeddings

KEPT_S = 60
"""Seconds that are kept of a source: about a megabyte with the small checkpoints."""


@dataclass(slots=True)
class _EmbeddingRun:
    """Frames without a break, from `start_ns` (UTC) on."""

    start_ns: int
    pieces: deque[FrameEmbeddings] = field(default_factory=deque)
    frames: int = 0


class RecentEmbeddings(Listener):
    """Safe to use from any thread."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lock = threading.Lock()
        self._runs: dict[str, _EmbeddingRun] = {}

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:  # noqa: ARG002 - a part of the protocol
        """Take the embeddings of the frames."""
        if heard.embeddings is not None:
            self.add(source, heard.start_ns, heard.embeddings)

    def add(self, source: str, start_ns: int, embeddings: FrameEmbeddings) -> None:
        """Take the next frames (n, D) of a source; a break forgets what was before it."""
        with self._lock:
            run = self._runs.get(source)
            if run is None or not follows(
                run.start_ns + run.frames * FRAME_NS, start_ns, len(run.pieces[-1])
            ):
                run = self._runs[source] = _EmbeddingRun(start_ns)
            run.start_ns = start_ns - run.frames * FRAME_NS
            run.pieces.append(embeddings)
            run.frames += len(embeddings)
            most = KEPT_S * 1_000_000_000 // FRAME_NS
            while run.frames - len(run.pieces[0]) >= most:
                gone = len(run.pieces.popleft())
                run.frames -= gone
                run.start_ns += gone * FRAME_NS

    def last(self, source: str) -> tuple[int, FrameEmbeddings] | None:
        """UTC (ns) of the first frame, and all frames (n, D); None where nothing was heard yet."""
        with self._lock:
            run = self._runs.get(source)
            if run is None or not run.frames:
                return None
            most = KEPT_S * 1_000_000_000 // FRAME_NS
            frames = np.concatenate(list(run.pieces))[-most:]
            return run.start_ns + (run.frames - len(frames)) * FRAME_NS, frames
