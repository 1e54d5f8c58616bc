"""The audio of events on disk: FOLDER/SOURCE/LABEL/ONSET-ID.flac.

One thread writes, from a bounded queue, so that a slow disk holds up nobody: what finds the queue
full loses its clip, never an event. A clip has its name once it is complete and may be kept; until
then it is a hidden file, which the next start removes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from platformdirs import user_state_dir

from pe_stream.audio.encode import Encoder
from pe_stream.config import ClipSettings
from pe_stream.core.clipper import ClipRule, Fate, Piece
from pe_stream.core.messages import slug
from pe_stream.core.types import SAMPLE_RATE, Event, Phase

log = logging.getLogger(__name__)

MOST_PIECES = 2000
"""Pieces of audio that may wait to be written: about a quarter of an hour of one clip."""

STOP_S = 2.0
"""At a stop, clips get this long to be written."""

_TIDY_S = 600.0
_PART = ".part"


def default_folder() -> Path:
    """Where clips are if nobody says otherwise: beside the events."""
    return Path(os.environ.get("STATE_DIRECTORY") or user_state_dir("pe-stream")) / "clips"


def rule(settings: ClipSettings) -> ClipRule | None:
    """What is cut out; None where nothing is."""
    if not settings.enabled:
        return None
    return ClipRule(
        before=round(settings.before_s * SAMPLE_RATE),
        after=round(settings.after_s * SAMPLE_RATE),
        labels=None if settings.labels is None else frozenset(settings.labels),
        never_when=frozenset(settings.never_when),
    )


class Clips:
    """Writes clips, and deletes the old ones; safe to use from any thread.

    lost: clips that could not be written.
    """

    def __init__(self, settings: ClipSettings) -> None:
        """Prepare; nothing is written before `start`."""
        self.lost = 0
        self._settings = settings
        self._rule = rule(settings)
        self._folder = Path(settings.folder) if settings.folder else default_folder()
        self._queue: queue.Queue[Piece | None] = queue.Queue(MOST_PIECES)
        self._paths: dict[str, Path] = {}
        self._open: dict[str, Encoder] = {}
        self._spoilt: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        if self._rule is not None:
            self._thread.start()

    def stop(self) -> None:
        """Write what has come, for a while; what is not complete then is no clip."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=STOP_S)
            self._thread.join(STOP_S)

    def named(self, event: Event) -> Event:
        """The event with the place of its clip, if it gets one. Every phase has the same."""
        if self._rule is None or not self._rule.wants(event.label):
            return event
        path = self._path(event)
        if event.phase is Phase.START:
            self._paths[event.id] = path
        url = self._settings.url
        if url is None:
            return replace(event, clip=str(path.absolute()))
        relative = path.relative_to(self._folder).as_posix()
        return replace(event, clip=f"{url.rstrip('/')}/{relative}")

    def take(self, pieces: Sequence[Piece]) -> None:
        """Take audio of clips. Never waits."""
        for piece in pieces:
            if piece.id in self._spoilt:
                if piece.fate is not Fate.OPEN:
                    self._spoilt.discard(piece.id)
                continue
            try:
                self._queue.put_nowait(piece)
            except queue.Full:
                self._lose(piece.id, "writing falls behind")

    def _path(self, event: Event) -> Path:
        onset = event.onset.replace("-", "").replace(":", "")
        name = f"{onset}-{event.id}.{self._settings.format}"
        return self._folder / slug(event.source) / slug(event.label) / name

    def _run(self) -> None:
        for left in self._files(hidden=True):
            left.unlink(missing_ok=True)
        tidy_s = 0.0
        while True:
            if time.monotonic() >= tidy_s:
                self._tidy()
                tidy_s = time.monotonic() + _TIDY_S
            try:
                piece = self._queue.get(timeout=_TIDY_S)
            except queue.Empty:
                continue
            if piece is None:
                break
            try:
                self._write(piece)
            except OSError as error:
                self._lose(piece.id, str(error))
        for clip in list(self._open):
            self._forget(clip)

    def _write(self, piece: Piece) -> None:
        path = self._paths.get(piece.id)
        if path is None or piece.id in self._spoilt:
            self._forget(piece.id)
            return
        if piece.id not in self._open:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open[piece.id] = Encoder(_part(path), self._settings.format)
        self._open[piece.id].write(piece.samples)
        if piece.fate is Fate.KEPT:
            self._open.pop(piece.id).close()
            _part(path).replace(path)
            self._paths.pop(piece.id)
        elif piece.fate is Fate.WITHHELD:
            self._forget(piece.id)

    def _forget(self, clip: str) -> None:
        """Leave nothing of it."""
        if (encoder := self._open.pop(clip, None)) is not None:
            with contextlib.suppress(OSError):
                encoder.close()
        if (path := self._paths.pop(clip, None)) is not None:
            with contextlib.suppress(OSError):
                _part(path).unlink(missing_ok=True)

    def _lose(self, clip: str, why: str) -> None:
        self.lost += 1
        self._spoilt.add(clip)
        log.error("a clip is lost: %s", why)
        if threading.current_thread() is self._thread:
            self._forget(clip)

    def _files(self, *, hidden: bool) -> Iterator[Path]:
        """All clips, or what a run that was killed has left of some."""
        pattern = f"*/*/.*{_PART}" if hidden else f"*/*/[!.]*.{self._settings.format}"
        with contextlib.suppress(OSError):
            yield from self._folder.glob(pattern)

    def _tidy(self) -> None:
        """Delete what is too old, and the oldest of what is too much."""
        settings, now_s = self._settings, time.time()
        days_of = {slug(label): days for label, days in settings.keep_days_of.items()}
        kept = []
        for path in self._files(hidden=False):
            with contextlib.suppress(OSError):
                stat = path.stat()
                days = days_of.get(path.parent.name, settings.keep_days)
                if stat.st_mtime < now_s - days * 86_400:
                    path.unlink()
                else:
                    kept.append((stat.st_mtime, stat.st_size, path))
        too_much = sum(size for _, size, _ in kept) - settings.max_gb * 1e9
        for _, size, path in sorted(kept):
            if too_much <= 0:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                too_much -= size


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PART}")
