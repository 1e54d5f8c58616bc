"""Checkpoints of the published sizes with random weights: time does not depend on the values.

The text tower is left out but for a stub of its width, and label embeddings are random.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import PeAudioFrameLevelModel
from transformers.utils import logging

from pe_stream.assets import EMBEDDED
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.workbench.bench.shapes import Shape, audio_config, config

_STORED = torch.bfloat16  # half the disk of float32, and random weights lose nothing


@contextmanager
def folder(shape: Shape) -> Iterator[Path]:
    """Write a checkpoint to a temporary folder, for the same loader as any other."""
    with TemporaryDirectory(prefix="pe-stream-bench-") as name:
        torch.manual_seed(0)
        model = PeAudioFrameLevelModel(config(audio_config(shape), shape.text_width))
        for weight in model.parameters():
            weight.data = weight.data.to(_STORED)
        _save(model, name)
        del model
        for file in EMBEDDED.glob("tokenizer*.json"):
            shutil.copy(file, name)
        yield Path(name)


def _save(model: PeAudioFrameLevelModel, name: str) -> None:
    """Without a progress bar for what takes a moment."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(name)
    finally:
        if bars:
            logging.enable_progress_bar()


def labels(checkpoint: Checkpoint, count: int) -> LabelEmbeddings:
    """`count` labels with random embeddings."""
    width = checkpoint.width
    generator = torch.Generator().manual_seed(0)
    return LabelEmbeddings(
        names=tuple(f"label_{i}" for i in range(count)),
        rows=torch.randn(count, width, generator=generator).to(checkpoint.device),
        suppresses=torch.empty(0, dtype=torch.int64, device=checkpoint.device),
        offsets=torch.zeros(count, device=checkpoint.device),
    )
