"""`pe-stream check` of second opinions: whether they can be given, and what they cost here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pe_stream.config import Settings
from pe_stream.config.second_opinion import SecondOpinionSettings, texts_of
from pe_stream.core.opinion_requests import EventExcerpt
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.errors import UnavailableError
from pe_stream.pipeline.opinion_process import LEAST_NICENESS, OpinionProcess

LONGEST_S = 600.0
"""An opinion that takes longer is of no use, and not waited for (s)."""


def check_opinions(settings: Settings, second: SecondOpinionSettings) -> str:
    """Have an opinion given by a process as the daemon's; raises UnavailableError.

    It has its share of a busy machine, as someone waits for it.
    """
    texts = {name: texts_of(label) for name, label in settings.asked_labels.items()}
    if not texts:
        raise UnavailableError("no label that has words is asked about: see second_opinion.labels")
    seconds = second.before_s + second.after_s
    numbers = np.random.default_rng(0)
    noise = numbers.normal(0, 0.01, round(seconds * SAMPLE_RATE))
    excerpt = EventExcerpt("", next(iter(texts)), noise.astype(np.float32), (0.0, seconds))
    wanted = any(source.picture is not None for source in settings.sources.values())
    process = OpinionProcess(second, texts, LEAST_NICENESS, sees=wanted)
    try:
        process.load()
        process.opinion_on(excerpt, LONGEST_S)  # the first allocates
        count = second.pictures if process.sees else 0
        excerpt = replace(excerpt, pictures=tuple(_pictures(numbers, count)))
        begun_s = time.monotonic()
        process.opinion_on(excerpt, LONGEST_S)
        took_s = time.monotonic() - begun_s
    finally:
        process.close()
    cost = process.cost
    looked_at = f" and {count} pictures" if count else ""
    told = (
        f"{second.checkpoint}: {cost.on_disk / 1e9:.2g} GB on disk, {cost.memory / 1e9:.2g} GB of "
        f"memory; an opinion on {seconds:g} s of sound{looked_at} takes {took_s:.2g} s "
        "(uncalibrated)"
    )
    if wanted and not count:
        told += "; warning: it hears and does not see: `picture` of sources is of no use"
    if took_s > second.wait_s:
        told += f"; warning: longer than wait_s ({second.wait_s:g}): each will be given up"
    return told


def _pictures(numbers: np.random.Generator, count: int) -> Iterator[bytes]:
    """Pictures, each another one, as the tower sees each once."""
    from pe_stream.audio.still import encode_rgb  # nothing of pictures where there are none

    for _ in range(count):
        yield encode_rgb(numbers.integers(0, 256, (360, 640, 3), np.uint8))
