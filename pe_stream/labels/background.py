"""Negatives of a label's examples: other sounds, embedded once."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pe_stream.assets import DEMO_RECORDING, DEMO_TRUTH
from pe_stream.audio import media, synthesis
from pe_stream.core.types import FRAME_S, SAMPLE_RATE, FrameEmbeddings, Samples
from pe_stream.errors import UnavailableError
from pe_stream.labels import examples
from pe_stream.labels.duplicate_audio import trace_of
from pe_stream.labels.examples import Embedder
from pe_stream.labels.fingerprint import METHOD, digest

log = logging.getLogger(__name__)

LONGEST_S = 3600.0
"""Longest part of a user's recording that is used; longer ones would only fill the disk."""

STEP = 10
"""Of each so many frames of such a recording, the loudest is kept as a hard negative."""

_WINDOW_S = 10.0
"""Audio that is embedded at once."""

_REST_S = 1.0
"""Less than this is not embedded by itself: it would be all edge."""

_PIECES = 24
"""Such a recording counts as so many of the package's at most: as all of them together."""

_SEED = 5
_SOUND_S, _NOISE_S = 3.0, 2.0


def made(embedder: Embedder) -> dict[str, FrameEmbeddings]:
    """The package's own, by what they are: (frames, D) each.

    Those of the demo recording and the room between them, one of each synthesised sound, and noise
    of four colours, loud and soft: two minutes, computed once for a checkpoint.
    """

    def compute() -> dict[str, NDArray[np.generic]]:
        log.info("embedding the background that examples are set against, once per checkpoint")
        synthesised = {name: embedder.embed(samples) for name, samples in _sounds()}
        return {**_of_demo(embedder), **synthesised}

    found = examples.cached(f"background{METHOD}-{embedder.checkpoint.identity}", compute)
    return {name: each.astype(np.float16) for name, each in found.items()}


def load(embedder: Embedder, path: str) -> FrameEmbeddings:
    """A recording of the user's own: the loudest of each STEP frames, (n, D), in their order.

    From the cache where its content was embedded before. Raises UnavailableError naming the file:
    unreadable, longer than LONGEST_S, or silent.
    """
    key = f"background{METHOD}-{digest(path)}-{embedder.checkpoint.identity}"
    found = examples.cached(key, lambda: {"loudest": _loudest(embedder, path)})
    return found["loudest"].astype(np.float16)


def pieces(loudest: FrameEmbeddings) -> list[FrameEmbeddings]:
    """Such a recording as it is learned from: (n, D) each, of 10 s or more if it is as long."""
    count = max(1, int(len(loudest) * STEP * FRAME_S / _WINDOW_S))
    return np.array_split(loudest, min(count, _PIECES))


def windows(path: str) -> Iterator[Samples]:
    """A recording of the user's own, (n,) samples at a time, with a bar on a terminal.

    Raises UnavailableError: unreadable, or longer than LONGEST_S.
    """
    recording = media.read(path)
    waiting: list[Samples] = []
    length = 0
    with tqdm(
        total=recording.duration_s, desc=Path(path).name, unit="s", disable=None, leave=False
    ) as progress:
        for chunk in recording:
            waiting.append(chunk.samples)
            length += len(chunk.samples)
            if chunk.start + len(chunk.samples) > LONGEST_S * SAMPLE_RATE:
                raise UnavailableError(f"{path}: longer than an hour: cut it to a part")
            if length >= (_WINDOW_S + _REST_S) * SAMPLE_RATE:
                window, rest = np.split(np.concatenate(waiting), [round(_WINDOW_S * SAMPLE_RATE)])
                yield window
                progress.update(_WINDOW_S)
                waiting, length = [rest], len(rest)
    if waiting:
        yield np.concatenate(waiting)


def look_over(path: str) -> Samples:
    """Its trace, by which it is known again. Raises UnavailableError as `load` does."""
    levels: list[NDArray[np.float64]] = []

    def noting_levels() -> Iterator[Samples]:
        for window in windows(path):
            levels.append(examples.levels_dbfs(window))
            yield window

    found = trace_of(noting_levels())
    examples.require_sound(np.concatenate(levels), path)
    return found


def _loudest(embedder: Embedder, path: str) -> FrameEmbeddings:
    log.info("embedding %s, once per checkpoint", path)
    kept: list[FrameEmbeddings] = []
    levels: list[NDArray[np.float64]] = []
    for window in windows(path):
        embeddings, level = embedder.embed(window), examples.levels_dbfs(window)
        starts = range(0, len(level), STEP)
        kept.append(embeddings[[start + level[start : start + STEP].argmax() for start in starts]])
        levels.append(level)
    examples.require_sound(np.concatenate(levels), path)
    return np.concatenate(kept)


def _of_demo(embedder: Embedder) -> dict[str, FrameEmbeddings]:
    """The demo recording's sounds; each counts as a recording, or all its speech would as one."""
    samples = np.concatenate([chunk.samples for chunk in media.read(str(DEMO_RECORDING))])
    demo = embedder.embed(samples)
    room = np.ones(len(demo), np.bool_)
    found = {}
    with DEMO_TRUTH.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            part = slice(*(round(float(row[key]) / FRAME_S) for key in ("onset_s", "offset_s")))
            found[row["text"].strip(" .").removesuffix(", no label's")] = demo[part]
            room[part] = False
    return found | {"what sounds leave in a room": demo[room]}


def _sounds() -> Iterator[tuple[str, Samples]]:
    rng = np.random.default_rng(_SEED)
    for name, make in synthesis.SOUNDS.items():
        yield name, make(rng)[: round(_SOUND_S * SAMPLE_RATE)] * np.float32(0.3)
    count = round(_NOISE_S * SAMPLE_RATE)
    for colour, slope in {"white": 0.0, "bright": 0.5, "pink": 1.0, "brown": 1.5}.items():
        yield f"{colour} noise", _noise(rng, count, slope, 0.1)
        yield f"soft {colour} noise", _noise(rng, count, slope, 0.001)


def _noise(rng: np.random.Generator, count: int, slope: float, rms: float) -> Samples:
    spectrum = np.fft.rfft(rng.normal(size=count))
    hertz = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 20.0)
    noise = np.fft.irfft(spectrum / hertz**slope, count)
    scaled: Samples = (noise * (rms / np.sqrt(np.mean(noise**2)))).astype(np.float32)
    return scaled
