"""How far the codec's features are from those it approximates, by kind of sound and level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.audio import media
from pe_stream.audio.pcm import CHUNK
from pe_stream.core.types import FRAME, SAMPLE_RATE
from pe_stream.model.checkpoint import load
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training import frontend

LEVELS_DBFS = range(-80, 0, 10)
"""RMS of what is heard."""

_TONES_HZ = (130.0, 440.0, 1234.5, 3100.0, 6100.0)

_SECONDS = 4
_CLIPS = 16


@torch.inference_mode()
def measured(folder: Path, clips: Sequence[Clip]) -> dict[str, list[float]]:
    """RMS errors (dB) of the checkpoint in `folder` at `LEVELS_DBFS`: of tones, noise, and `clips`.

    Of the clips a few are heard, the same ones every time; none that is silent or short.
    """
    checkpoint = load(str(folder), device="cpu", dtype="float32", threads=torch.get_num_threads())
    embedder = checkpoint.model.audio_encoder.embedder
    seconds = torch.arange(_SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    tones = torch.stack([torch.sin(2 * torch.pi * hz * seconds) for hz in _TONES_HZ]).sum(0)
    noise = torch.randn(len(seconds), generator=torch.Generator().manual_seed(0))
    kinds = {"tones": [tones], "noise": [noise], "clips": [*_heard(clips)]}
    made = {}
    for kind, sounds in kinds.items():
        levelled = [sound / sound.square().mean().sqrt() for sound in sounds]
        if levelled:
            made[kind] = [_rms_db(embedder, levelled, level) for level in LEVELS_DBFS]
    return made


def error_db(embedder: Any, samples: Tensor) -> Tensor:
    """Errors of the features of samples (B, n), without those of the ends: (B, T, 192)."""
    weights, padding = frontend.kernel()
    padded = F.pad(samples[:, None], (padding, weights.shape[-1] - padding))
    wanted = frontend.features(F.conv1d(padded, weights, stride=frontend.HOP))
    found = embedder.bottleneck(embedder.dac_encoder(samples[:, None])).transpose(1, 2)
    error: Tensor = 15 * (found - wanted)[:, 2:-2]
    return error


def as_table(errors: Mapping[str, Sequence[float]]) -> str:
    """For the card; empty where nothing was measured."""
    if not errors:
        return ""
    means = ", ".join(
        f"{kind} {np.sqrt(np.mean(np.square(values))):.2f}" for kind, values in errors.items()
    )
    first, last = LEVELS_DBFS[0], LEVELS_DBFS[-1]
    worst = max(max(values) for values in errors.values())
    return (
        f"From {first} to {last} dBFS they are off by (dB, RMS): {means}; at the level where that "
        f"is most, {worst:.2f}."
    )


def _rms_db(embedder: Any, sounds: Sequence[Tensor], level_dbfs: int) -> float:
    gain = 10 ** (level_dbfs / 20)
    errors = [error_db(embedder, gain * sound[None]).flatten() for sound in sounds]
    return round(float(torch.cat(errors).square().mean().sqrt()), 3)


def _heard(clips: Sequence[Clip]) -> Iterator[Tensor]:
    """The beginnings of some of the clips, (n,), whole frames."""
    for clip in clips[:: max(1, len(clips) // _CLIPS)][:_CLIPS]:
        chunks = islice(media.read(str(clip.path)), _SECONDS * SAMPLE_RATE // CHUNK)
        samples = np.concatenate([chunk.samples for chunk in chunks])
        usable = len(samples) // FRAME * FRAME
        if usable >= SAMPLE_RATE // 2 and samples[:usable].any():
            yield torch.from_numpy(samples[:usable].copy())
