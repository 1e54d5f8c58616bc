"""Checkpoints of the published sizes with random weights: time does not depend on the values.

The text tower is left out but for a stub of its width, and label embeddings are random.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import PeAudioFrameLevelModel, PeAudioModel
from transformers.utils import logging

from pe_stream.assets import EMBEDDED
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.model.sight import Sight, SightConfig, stored_name
from pe_stream.workbench.bench.shapes import (
    FUSION_LAYERS,
    VECTOR,
    VIDEO_LAYERS,
    Shape,
    audio_config,
    config,
)

_SPREAD = 0.02
"""Of random numbers, as models begin with."""

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


@contextmanager
def pe_av_folder(shape: Shape, tower: Mapping[str, Any]) -> Iterator[Path]:
    """Likewise of a PE-AV checkpoint. tower: what describes its vision tower."""
    audio = audio_config(shape)
    like = {key: value for key, value in audio.items() if key not in ("dac_config", "model_type")}
    video = like | {"model_type": "pe_video_encoder", "num_hidden_layers": VIDEO_LAYERS}
    joint = like | {
        "num_hidden_layers": FUSION_LAYERS,
        "audio_config": audio,
        "video_config": video | {"vision_config": dict(tower)},
    }
    heard: Any = config(audio, shape.text_width)
    said = {
        "model_type": "pe_audio_video",
        "text_config": heard.text_config.to_dict(),
        "audio_video_config": joint,
    }
    with TemporaryDirectory(prefix="pe-stream-bench-") as name:
        folder = Path(name)
        torch.manual_seed(0)
        (folder / "config.json").write_text(json.dumps(said), "utf-8")
        for file in EMBEDDED.glob("tokenizer*.json"):
            shutil.copy(file, folder)
        weights = {
            key if key.startswith("text_model.") else f"audio_model.{key}": weight.to(_STORED)
            for key, weight in PeAudioModel(heard).state_dict().items()
        }
        seen = SightConfig(name, folder, VECTOR)
        with torch.device("meta"):
            sight = Sight(seen, shape.hidden, shape.text_width)
        for key, weight in sight.named_parameters():
            weights[stored_name(key)] = torch.randn(weight.shape, dtype=_STORED) * _SPREAD
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        del weights
        yield folder


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
