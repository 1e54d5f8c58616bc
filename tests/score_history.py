"""Stored scores that a test makes up, as a daemon would have stored them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from stand_ins import eventually

from pe_stream.config import HistorySettings
from pe_stream.config.file import load
from pe_stream.core.types import FRAME_NS
from pe_stream.labels.fingerprint import fingerprint, look_up
from pe_stream.storage.scores import ScoreStore

Track = NDArray[np.float32]

HOUR = 90_000
"""Frames in an hour."""


def keep(
    config: Path,
    tracks: Mapping[tuple[str, str], Track],
    *,
    end_ns: int,
    keys: Mapping[str, str] | None = None,
) -> None:
    """Store scores, by source and label, that end at that time (UTC), where `config` has them.

    keys: what made them; else what the configuration would.
    """
    settings = load(config)
    assert settings.history.path is not None
    made_by = look_up(settings).identity
    own = {name: fingerprint(made_by, label) for name, label in settings.labels.items()}
    history = ScoreStore(HistorySettings(path=settings.history.path))
    history.relabel(own | dict(keys or {}))
    history.start()
    try:
        for (source, label), scores in tracks.items():
            start_ns = end_ns - len(scores) * FRAME_NS
            history.add(source, [label], [label], start_ns, scores[:, None])
        assert eventually(lambda: not history._queue.waiting, 60)
    finally:
        history.stop()
    assert not history.lost


def background(hours: float, a_day: float, seed: int = 0) -> Track:
    """Scores of a room: near 0.02, and so many peaks a day, exponential in the logit above it.

    A peak of logit -2 + x comes exp(-x) times as often as one of -2; each lasts ten frames.
    """
    rng = np.random.default_rng(seed)
    frames = round(hours * HOUR)
    logits = rng.normal(-4, 0.2, frames)
    count = rng.poisson(a_day * hours / 24)
    for at in rng.choice(frames // 50, count, replace=False):
        logits[50 * at + 20 : 50 * at + 30] = -2 + rng.exponential(1.0)
    scores: Track = (1 / (1 + np.exp(-logits))).astype(np.float32)
    return scores
