"""The audio of events on disk: FOLDER/SOURCE/LABEL/ONSET-ID.flac.

One thread writes, from a bounded queue, so that a slow disk holds up nobody: what finds the queue
full loses its clip, never an event. A clip has its name once it is complete and may be kept; until
then it is a hidden file, which the next start removes. Files of other names are never touched, and
a folder that another daemon uses is left to it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from pe_stream.audio.encode import AudioWriter, read_tags
from pe_stream.config import ClipSettings
from pe_stream.config.paths import state_folder
from pe_stream.config.worker import Worker
from pe_stream.core.clipper import ClipOutcome, ClipRule, Piece
from pe_stream.core.messages import slug
from pe_stream.core.types import SAMPLE_RATE, Event, Phase
from pe_stream.errors import UnavailableError
from pe_stream.storage.locks import hold, make_private

log = logging.getLogger(__name__)

MOST_PIECES = 2000
"""Pieces of audio that may wait to be written: about a quarter of an hour of one clip."""

STOP_S = 2.0
"""At a stop, clips get this long to be written."""

_TIDY_S = 600.0
_PART = ".part"
_BEFORE = "PE_STREAM_BEFORE_S"
"""Tag of a clip: seconds from its beginning to the onset of the event."""

_CLIP = re.compile(r"\d{8}T\d{6}\.\d{3}Z-[\w-]+\.(flac|opus)")
_HIDDEN = re.compile(rf"\.{_CLIP.pattern.replace('opus', 'opus|png')}\{_PART}")
"""Names that we give."""


def default_folder() -> Path:
    """Default folder of clips: beside the events."""
    return state_folder() / "clips"


def claim(folder: Path) -> IO[str]:
    """Make the folder and be the only daemon that writes there, until what is returned is closed.

    Raises UnavailableError.
    """
    try:
        make_private(folder)
        lock = hold(folder / ".lock")
    except OSError as error:
        raise UnavailableError(
            f"clips.folder {folder} cannot be written: {error.strerror}"
        ) from error
    if lock is None:
        raise UnavailableError(
            f"another pe-stream writes clips to {folder}: set another clips.folder"
        )
    return lock


def folder_of(settings: ClipSettings) -> Path:
    """Folder of clips under these settings."""
    return Path(settings.folder) if settings.folder else default_folder()


def rule(settings: ClipSettings) -> ClipRule | None:
    """Rule of the clips to cut; None where none are."""
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

    kept, withheld, lost: how many were complete, were not to be kept, could not be written.
    """

    def __init__(
        self,
        settings: ClipSettings,
        on_failure: Callable[[BaseException], None] = lambda _: None,
        on_done: Callable[[str, Path | None], None] = lambda _id, _path: None,
        judged: Callable[[], Collection[str] | None] = tuple,
    ) -> None:
        """Prepare; nothing is written before `start`.

        on_failure: called with what ended the thread, if that was an error of ours. on_done: told
        of every clip that was named, once, on the thread or in `stop`: the event's id, and the
        file, or None where none is kept. judged: ids of events whose clips are kept for good; None
        while that cannot be told.
        """
        self.kept = self.withheld = self.lost = 0
        self._on_done = on_done
        self._judged = judged
        self._lock: IO[str] | None = None
        self._bytes = 0.0
        self._settings = settings
        self._rule = rule(settings)
        self._folder = folder_of(settings)
        self._queue: queue.Queue[Piece | None] = queue.Queue(MOST_PIECES)
        self._paths: dict[str, Path] = {}
        self._open: dict[str, AudioWriter] = {}
        self._spoilt: set[str] = set()
        self._given_up: deque[str] = deque()  # what the thread has still to forget
        self._worker = Worker("clips", self._work, on_failure)

    def counts(self) -> dict[str, int]:
        """How many clips had which fate; on any thread."""
        return {"kept": self.kept, "withheld": self.withheld, "lost": self.lost}

    def start(self) -> None:
        """Begin to write, if the folder can be written and is nobody else's; on the main thread."""
        if self._rule is None:
            return
        try:
            self._lock = claim(self._folder)
        except UnavailableError as error:
            log.error("no clips are kept: %s", error)  # noqa: TRY400 - expected; its message is enough
            self._rule = None
            return
        self._worker.start()

    def stop(self) -> None:
        """Write what has come, for a while; what is not complete then is no clip.

        On the main thread, once nothing more is named or taken.
        """
        if self._worker.running:
            deadline_s = time.monotonic() + STOP_S
            with contextlib.suppress(queue.Full):
                self._queue.put(None, timeout=STOP_S)
            self._worker.join(max(0.0, deadline_s - time.monotonic()))
        for clip in list(self._paths):  # what was not complete, or not begun
            if self._paths.pop(clip, None) is not None:
                self._on_done(clip, None)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def named(self, event: Event) -> Event:
        """The event with the place of its clip, if it gets one. Every phase has the same.

        Once it is known to be lost, none has it any more. On the scoring thread.
        """
        if self._rule is None or not self._rule.wants(event.label):
            return event
        path = self._path(event)
        if event.phase is Phase.START:
            self._paths[event.id] = path
        elif event.id in self._spoilt or event.id not in self._paths:
            return event
        url = self._settings.url
        if url is None:
            return replace(event, clip=str(path.absolute()))
        relative = path.relative_to(self._folder).as_posix()
        return replace(event, clip=f"{url.rstrip('/')}/{relative}")

    def take(self, pieces: Sequence[Piece]) -> None:
        """Take audio of clips; on the scoring thread. Never waits."""
        for piece in pieces:
            if piece.id in self._spoilt:
                if piece.fate is not ClipOutcome.OPEN:
                    self._spoilt.discard(piece.id)
                continue
            try:
                self._queue.put_nowait(piece)
            except queue.Full:
                self._lose(piece, "writing falls behind")
                self._given_up.append(piece.id)

    def find(self, event: Mapping[str, Any]) -> Path | None:
        """The clip of a stored event, if there is one, of whatever format; on any thread."""
        for form in ("flac", "opus"):
            path = self._place(event["source"], event["label"], event["onset"], event["id"], form)
            if path.is_file():
                return path
        return None

    def has(self, event: Mapping[str, Any]) -> bool:
        """Whether the clip that a stored event tells of is there; on any thread."""
        return self.find(event) is not None or Path(event["clip"]).is_file()

    @property
    def used(self) -> bool:
        """Whether clips were ever written to the folder: not where its disk is not mounted."""
        with contextlib.suppress(OSError):
            return any(path.is_dir() for path in self._folder.iterdir())
        return False

    def before_s(self, clip: Path) -> float:
        """Seconds from the beginning of a clip to the onset of its event; on any thread."""
        with contextlib.suppress(OSError, ValueError):
            return float(read_tags(clip).get(_BEFORE, self._settings.before_s))
        return self._settings.before_s

    def _path(self, event: Event) -> Path:
        form = self._settings.format
        return self._place(event.source, event.label, event.onset, event.id, form)

    def _place(self, source: str, label: str, onset: str, event_id: str, form: str) -> Path:
        when = onset.replace("-", "").replace(":", "")
        return self._folder / slug(source) / slug(label) / f"{when}-{event_id}.{form}"

    def _work(self) -> None:
        for left in self._files(hidden=True):
            with contextlib.suppress(OSError):
                left.unlink()
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
                self._lose(piece, str(error))
                self._forget(piece.id)
            while self._given_up:
                self._forget(self._given_up.popleft())
        for clip in list(self._open):
            self._forget(clip)

    def _write(self, piece: Piece) -> None:
        path = self._paths.get(piece.id)
        if path is None:  # it was lost
            return
        if piece.id not in self._open:
            for folder in (path.parent.parent, path.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            before_s = (piece.onset - piece.start) / SAMPLE_RATE
            tags = {_BEFORE: f"{before_s:.6f}"}
            self._open[piece.id] = AudioWriter(_part(path), self._settings.format, tags)
        self._open[piece.id].write(piece.samples)
        if piece.fate is ClipOutcome.KEPT:
            self._open.pop(piece.id).close()
            _part(path).replace(path)
            self.kept += 1
            self._bytes += path.stat().st_size
            if self._paths.pop(piece.id, None) is not None:
                self._on_done(piece.id, path)
            if self._bytes > self._settings.max_gb * 1e9:
                self._tidy()
        elif piece.fate is ClipOutcome.WITHHELD:
            self._forget(piece.id)
            self.withheld += 1

    def _forget(self, clip: str) -> None:
        """Leave nothing of it."""
        if (encoder := self._open.pop(clip, None)) is not None:
            with contextlib.suppress(OSError):
                encoder.close()
        if (path := self._paths.pop(clip, None)) is not None:
            with contextlib.suppress(OSError):
                _part(path).unlink(missing_ok=True)
            self._on_done(clip, None)

    def _lose(self, piece: Piece, why: str) -> None:
        self.lost += 1
        if piece.fate is ClipOutcome.OPEN:  # more of it will come
            self._spoilt.add(piece.id)
        log.error("a clip is lost: %s", why)

    def _files(self, *, hidden: bool) -> Iterator[Path]:
        """All clips, or what a run that was killed has left of some."""
        with contextlib.suppress(OSError):
            for path in self._folder.glob("*/*/*"):
                if (_HIDDEN if hidden else _CLIP).fullmatch(path.name):
                    yield path

    def _tidy(self) -> None:
        """Delete what is too old, and the oldest of what is too much."""
        settings, now_s = self._settings, time.time()
        judged = self._judged()
        if judged is None:  # one of them might be deleted
            return
        judged = frozenset(judged)
        days_of = {slug(label): days for label, days in settings.keep_days_of.items()}
        kept = []
        for path in self._files(hidden=False):
            with contextlib.suppress(OSError):
                if path.stem.partition("-")[2] in judged:
                    continue
                stat = path.stat()
                days = days_of.get(path.parent.name, settings.keep_days)
                if stat.st_mtime < now_s - days * 86_400:
                    _delete(path)
                else:
                    kept.append((stat.st_mtime, stat.st_size + _picture_size(path), path))
        for picture in self._folder.glob("*/*/*.png"):
            if _CLIP.fullmatch(f"{picture.stem}.flac") and not any(
                picture.with_suffix(f".{form}").exists() for form in ("flac", "opus")
            ):
                with contextlib.suppress(OSError):
                    picture.unlink()
        self._bytes = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if self._bytes <= settings.max_gb * 1e9:
                break
            with contextlib.suppress(OSError):
                _delete(path)
                self._bytes -= size


def _delete(clip: Path) -> None:
    """A clip and the picture of it."""
    clip.unlink()
    clip.with_suffix(".png").unlink(missing_ok=True)


def _picture_size(clip: Path) -> int:
    try:
        return clip.with_suffix(".png").stat().st_size
    except OSError:
        return 0


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}{_PART}")
