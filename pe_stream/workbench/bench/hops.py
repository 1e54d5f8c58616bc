"""Time of the engine per hop: in all, by stage, and as streams, labels and windows grow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice

import torch

from pe_stream.core.types import FRAME, FRAME_S, Samples, Window
from pe_stream.core.windows import Framing
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.workbench.bench.figures import summary
from pe_stream.workbench.bench.random_weights import labels
from pe_stream.workbench.bench.roof import settle
from pe_stream.workbench.bench.sources import noise

WARM = 3
"""Hops that do not count."""

STAGES = ("codec", "encoder", "head", "rest")
"""head: labels and scores; rest: what is around all that."""

STREAMS = (1, 2, 4, 8)
LABELS = (1, 20, 100, 500)
WINDOWS_S = (2.5, 5.0, 10.0, 20.0)


def times_s(engine: Engine, framing: Framing, count: int, runs: int) -> list[float]:
    """Times of `runs` calls, each of which scores the next hop of `count` streams together."""
    return list(islice(endless_s(engine, framing, count, runs), runs))


def endless_s(
    engine: Engine,
    framing: Framing,
    count: int,
    period: int,
    before: Callable[[], None] = lambda: None,
) -> Iterator[float]:
    """As `times_s`, one call after the other without end. before: called before each.

    period: hops after which the sound is the same again, heard anew.
    """
    hops = WARM + period
    audio = noise((framing.window + hops * framing.hop) * FRAME)
    while True:
        streams = [Stream() for _ in range(count)]
        for hop in range(-1, hops):
            window = _window(audio, (hop + 1) * framing.hop * FRAME, framing)
            before()
            begun_s = time.perf_counter()
            engine.hear(streams, [window] * count)
            taken_s = time.perf_counter() - begun_s
            if hop >= WARM:
                yield taken_s


def _window(audio: Samples, start: int, framing: Framing) -> Window:
    """As the detector asks for it, once it is under way."""
    samples = audio[start : start + framing.window * FRAME]
    return Window(start, samples, done=framing.window - framing.hop - framing.lookahead)


class Stopwatch:
    """Adds up where time goes; one stage at a time, and waits for the device at each change."""

    def __init__(self, device: torch.device) -> None:
        self.spent_s = dict.fromkeys(STAGES, 0.0)
        self._device = device
        self._stage: str | None = None
        self._since_s = 0.0

    def enter(self, stage: str | None) -> None:
        """Count the time from now on as that stage's."""
        settle(self._device)
        now_s = time.perf_counter()
        if self._stage is not None:
            self.spent_s[self._stage] += now_s - self._since_s
        self._stage, self._since_s = stage, now_s


def stages_ms(
    engine: Engine, checkpoint: Checkpoint, framing: Framing, count: int, runs: int
) -> dict[str, float]:
    """Median time (ms) of each stage of a call that scores a hop of `count` streams.

    Stages are timed one after another, so on a GPU they add up to more than a call takes.
    """
    calls: list[dict[str, float]] = []
    before = engine.stage
    audio = noise((framing.window + (WARM + runs) * framing.hop) * FRAME)
    streams = [Stream() for _ in range(count)]
    for hop in range(1 + WARM + runs):
        start = hop * framing.hop * FRAME
        window = _window(audio, start, framing)
        watch = Stopwatch(checkpoint.device)
        engine.stage = watch.enter
        watch.enter("rest")
        engine.hear(streams, [window] * count)
        watch.enter(None)
        calls.append(watch.spent_s)
    engine.stage = before
    counted = calls[1 + WARM :]
    return {stage: 1000 * summary([call[stage] for call in counted])["median"] for stage in STAGES}


def growth(
    engine: Engine, checkpoint: Checkpoint, framing: Framing, runs: int
) -> dict[str, dict[str, float]]:
    """Median time of a call (ms) over numbers of streams and labels, and lengths of the window."""

    def median_ms(framing: Framing, count: int) -> float:
        return 1000 * summary(times_s(engine, framing, count, runs))["median"]

    streams = {str(count): median_ms(framing, count) for count in STREAMS}
    windows = {}
    for window_s in WINDOWS_S:
        frames = round(window_s / FRAME_S)
        if frames >= framing.hop + framing.lookahead:
            resized = Framing(frames, framing.hop, framing.lookahead)
            windows[f"{window_s:g}"] = median_ms(resized, 1)
    before = engine.labels
    try:
        by_labels = {}
        for count in LABELS:
            engine.labels = labels(checkpoint, count)
            by_labels[str(count)] = median_ms(framing, 1)
    finally:
        engine.labels = before
    return {"streams": streams, "labels": by_labels, "window_s": windows}


def encoder_tflops(stages: Mapping[str, float], flop: int) -> float:
    """Rate of the encoder: `flop` operations in the time of its stage."""
    return flop / (stages["encoder"] / 1000) / 1e12
