"""The engine on an NVIDIA GPU against the same engine on the CPU. `make test-gpu` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pe_stream.core.types import FRAME, Window
from pe_stream.core.windows import Framing
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.prompts import LabelPrompts, embed_labels

pytestmark = pytest.mark.gpu

FRAMING = Framing(window=50, hop=12, lookahead=6)


def engine(checkpoint: Checkpoint) -> Engine:
    return Engine(checkpoint, embed_labels(checkpoint, {"speech": LabelPrompts(("speech",))}))


def windows() -> Iterator[Window]:
    audio = np.random.default_rng(0).normal(0, 0.1, 120 * FRAME).astype(np.float32)
    for start in range(0, 61, FRAMING.hop):
        yield Window(start * FRAME, audio[start * FRAME : (start + 50) * FRAME], done=32)


@pytest.mark.parametrize("name", ["small", "embedded"])
@pytest.mark.parametrize("count", [1, 100])
def test_it_scores_as_the_cpu_does(name: str, count: int, folders: dict[str, Path]) -> None:
    folder = str(folders[name])
    on_gpu = engine(load(folder, device="cuda", dtype="float32"))
    on_cpu = engine(load(folder, device="cpu", dtype="float32"))
    streams, single = [Stream() for _ in range(count)], Stream()
    for window in windows():
        found = on_gpu.logits(streams, [window] * count)
        [expected] = on_cpu.logits([single], [window])
        assert max(np.abs(each - expected).max() for each in found) < 1e-2 * expected.std()


def test_recorded_as_a_graph_it_scores_the_same(folders: dict[str, Path]) -> None:
    """Also where several batches of one shape follow each other."""
    checkpoint = load(str(folders["small"]), device="cuda", dtype="float32")
    plain, fast = engine(checkpoint), engine(checkpoint)
    fast.warm(FRAMING, 100)
    assert fast._encoder._fast
    assert fast._codec._fast._fast
    streams = [Stream() for _ in range(100)], [Stream() for _ in range(100)]
    for window in windows():
        expected = plain.logits(streams[0], [window] * 100)
        found = fast.logits(streams[1], [window] * 100)
        worst = max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True))
        assert worst < 1e-2 * np.std(expected)


def test_bfloat16_keeps_the_embeddings(folders: dict[str, Path]) -> None:
    checkpoint = load(str(folders["small"]), device="cuda")
    assert checkpoint.dtype == torch.bfloat16
    found = engine(checkpoint).logits([Stream()], [next(windows())])[0]
    exact = engine(load(str(folders["small"]), device="cuda", dtype="float32"))
    expected = exact.logits([Stream()], [next(windows())])[0]
    assert np.corrcoef(found[:, 0], expected[:, 0])[0, 1] > 0.99
