"""Scores to calibrate on that are made now: of recordings, and of the sources as they sound.

They are kept as the daemon keeps its own, so that what was broken off goes on where it was.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pe_stream.audio import media
from pe_stream.config import HistorySettings, Settings
from pe_stream.core.detector import Heard
from pe_stream.core.listener import Listener
from pe_stream.core.types import FRAME, FRAME_NS, FRAME_S, AudioChunk, FrameScores, ScoreRun
from pe_stream.errors import UnavailableError, UsageError
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.offline import detect
from pe_stream.pipeline.openers import openers
from pe_stream.pipeline.scorer import Scorer, live_engine
from pe_stream.storage import scores as scores_module
from pe_stream.workbench.calibration.gather import Material

log = logging.getLogger(__name__)

FRESH_S = 7 * 86_400.0
"""Listening that was broken off is gone on with for so long."""

_EVER = (0, 2**62)
_TICK_S = 0.5


def recordings(
    labels: Sequence[str],
    files: Sequence[str],
    state: Path,
    scorer: Scorer,
) -> dict[str, Material]:
    """Scores of recordings, by the pipeline of `detect`; what `state` has is not heard again.

    All files are one long recording of one place. A file that cannot be used is an error.
    """
    kept = _opened(state, scorer)
    try:
        for file in files:
            _hear(file, scorer, kept)
    finally:
        kept.stop()
    _require_kept(kept)
    found = {name: Material(scorer.framing.hop) for name in labels}
    for name, material in found.items():
        key = scorer.labels.keys[name]
        runs: list[ScoreRun] = []
        for file in files:
            runs += scores_module.read_runs(state, track(file, scorer), name, *_EVER, key=key)
        material.add("the recordings", runs)
    return found


def listened(
    settings: Settings,
    labels: Sequence[str],
    sources: Sequence[str],
    *,
    seconds: float,
    state: Path,
    scorer: Scorer,
) -> dict[str, Material]:
    """Scores of the configured sources as they sound, for so long; `state` counts towards it.

    Raises UsageError where nothing is to be heard, UnavailableError where a source cannot be
    opened, or what ended the listening.
    """
    since_ns = time.time_ns() - round(FRESH_S * 1e9)
    wanted = {source: [n for n in labels if settings.hears(source, n)] for source in sources}
    wanted = {source: names for source, names in wanted.items() if names}
    pairs = [(source, name) for source, names in wanted.items() for name in names]
    if not pairs:
        raise UsageError("none of these sources listens for any of these labels")
    chosen = settings.model_copy(update={"sources": {n: settings.sources[n] for n in wanted}})
    kept = _opened(state, scorer)
    try:
        before_s = min(
            sum(len(run.scores) for run in kept.runs(source, name, *_from(since_ns))) * FRAME_S
            for source, name in pairs
        )
        if before_s:
            log.info("%.2g h were listened to already: %s", before_s / 3600, state)
        if before_s < seconds:
            _Listening(chosen, scorer, kept, wanted).run(seconds, before_s)
    finally:
        kept.stop()
    _require_kept(kept)
    found = {name: Material(scorer.framing.hop) for name in labels}
    for source, name in pairs:
        key = scorer.labels.keys[name]
        runs = scores_module.read_runs(state, source, name, *_from(since_ns), key=key)
        lack = None if runs else "nothing was heard of it"
        found[name].add(source, runs, lack)
    return found


def scores_of(file: str, scorer: Scorer) -> FrameScores:
    """Scores (frames, labels) of a short recording; raises UnavailableError."""
    found: list[FrameScores] = []
    for _ in detect(media.read(file), scorer, node="calibrate", on_scores=found.append):
        pass
    return np.concatenate(found)


def forget(state: Path) -> None:
    """Begin again; raises UnavailableError where that may not be."""
    try:
        for ending in ("", "-wal", "-shm"):
            Path(f"{state}{ending}").unlink(missing_ok=True)
    except OSError as error:
        raise UnavailableError(f"{state}: {error.strerror}") from error


def track(file: str, scorer: Scorer) -> str:
    """What tells a recording from any other, and what hears it: new labels listen to it again.

    A recording is told by where it is, its size, and when it was written.
    """
    path = Path(file)
    try:
        stat = path.stat()
    except OSError as error:
        raise UnavailableError(f"{file}: {error.strerror}") from error
    by = sorted(scorer.labels.keys.items())
    made_of = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {by}"
    return hashlib.sha256(made_of.encode()).hexdigest()[:32]


def _opened(state: Path, scorer: Scorer) -> scores_module.ScoreStore:
    kept = scores_module.ScoreStore(HistorySettings(path=str(state), keep_days=36_500))
    kept.start()
    if kept.unavailable_reason is not None:
        kept.stop()
        raise UnavailableError(f"{state}: {kept.unavailable_reason}")
    kept.relabel(scorer.labels.keys)
    return kept


def _require_kept(kept: scores_module.ScoreStore) -> None:
    if kept.lost:
        raise UnavailableError(
            f"{kept.lost} minutes of scores were lost: {kept.unavailable_reason}"
        )


def _hear(file: str, scorer: Scorer, kept: scores_module.ScoreStore) -> None:
    """Add a recording's scores to what is kept of it."""
    recording, source = media.read(file), track(file, scorer)
    names = list(scorer.labels.keys)
    there = min(_beginning(kept.runs(source, name, *_EVER)) for name in names)
    with tqdm(
        total=recording.duration_s,
        initial=round(there * FRAME_S),
        unit="s",
        unit_scale=True,
        desc=Path(file).name,
        disable=None,  # unless stderr is a terminal
        leave=False,
    ) as progress:
        if recording.duration_s and there * FRAME_S >= recording.duration_s - FRAME_S:
            return
        # What comes before a frame has a say in its score.
        skipped = max(0, there - scorer.framing.window)
        at = skipped

        def keep(scores: FrameScores) -> None:
            nonlocal at
            new = scores[max(0, there - at) :]
            if len(new):
                kept.add(source, names, names, (at + len(scores) - len(new)) * FRAME_NS, new)
            at += len(scores)
            progress.update(len(new) * FRAME_S)

        rest: Any = _Rest(recording, skipped * FRAME)
        try:
            for _ in detect(rest, scorer, node="calibrate", on_scores=keep):
                pass
        except UnavailableError:
            if not there:  # else it is only the rest that is silent
                raise


def _beginning(runs: Sequence[ScoreRun]) -> int:
    """Frames that there are without a break from the start on."""
    return len(runs[0].scores) if runs and runs[0].start_ns == 0 else 0


class _Rest:
    """A recording from sample `skipped` on, as if it began there."""

    def __init__(self, recording: media.Recording, skipped: int) -> None:
        self._recording, self._skipped = recording, skipped
        self.name = recording.name

    @property
    def values(self) -> int:
        return self._recording.values

    @property
    def nonfinite(self) -> int:
        return self._recording.nonfinite

    def __iter__(self) -> Iterator[AudioChunk]:
        begun = False
        for chunk in self._recording:
            if chunk.end <= self._skipped:
                continue
            first = max(0, self._skipped - chunk.start)
            yield replace(
                chunk,
                start=chunk.start + first - self._skipped,
                samples=chunk.samples[first:],
                anchor_ns=None if begun else 0,
            )
            begun = True


class _Listening(Listener):
    """Live sources whose scores are kept; events are made again, at many thresholds."""

    def __init__(
        self,
        settings: Settings,
        scorer: Scorer,
        kept: scores_module.ScoreStore,
        wanted: Mapping[str, Sequence[str]],
    ) -> None:
        self._kept, self._wanted = kept, wanted
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._live = Live(
            openers(settings),
            scorer,
            self,
            node=settings.node,
            hears=settings.hears,
            ended=self._end,
            failed=self._end,
            engine=live_engine(settings.model, scorer, settings.node, self._end),
        )

    def run(self, seconds: float, before_s: float) -> None:
        """Listen until there are so many seconds, or all sources have ended."""
        try:
            self._live.open()
            self._live.start()
            begun_s = time.monotonic()
            with tqdm(
                total=round(seconds),
                initial=round(before_s),
                unit="s",
                unit_scale=True,
                desc="listening",
                disable=None,
            ) as progress:
                while (left_s := begun_s + seconds - before_s - time.monotonic()) > 0:
                    if self._over.wait(min(_TICK_S, left_s)):
                        break
                    progress.n = round(seconds - left_s)
                    progress.refresh()
        finally:
            self._live.stop()
        if self._error is not None:
            raise self._error

    def scores(self, source: str, names: Sequence[str], heard: Heard) -> None:
        """Keep them."""
        self._kept.add(source, names, self._wanted[source], heard.start_ns, heard.scores)

    def _end(self, error: BaseException | None) -> None:
        """There is nothing more to hear."""
        self._error = self._error or error
        self._over.set()


def _from(since_ns: int) -> tuple[int, int]:
    return since_ns, _EVER[1]
