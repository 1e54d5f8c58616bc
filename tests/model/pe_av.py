"""Small PE-AV checkpoints made on the spot, and transformers' own models of them.

The weights depend on nothing but their names, so that other versions and timm's own tower get the
same. transformers makes the tower with timm; where that is missing, ours stands in for it: the
stored outputs of timm's (see `make_pe_av_reference`) are what ours is compared with.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from checkpoints import MAX_TOKENS, TOKEN_IDS, make_tokenizer
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PeAudioFeatureExtractor, PeAudioVideoConfig, PeAudioVideoModel
from transformers.models.timm_wrapper import TimmWrapperConfig

SIZE, OUTPUTS = 32, 24
"""Of the tower's pictures (pixels), and of what it makes of one."""

FRAME = 1920

TEXT: dict[str, Any] = {
    "model_type": "modernbert",
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": MAX_TOKENS,
    **TOKEN_IDS,
}
LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "rope_parameters": {"rope_type": "default", "rope_theta": 20_000},
}
AUDIO = LAYERS | {
    "model_type": "pe_audio_encoder",
    "dac_config": {
        "model_type": "dac",
        "encoder_hidden_size": 4,
        "downsampling_ratios": [2, 8, 10, 12],
        "codebook_dim": 8,
        "sampling_rate": 48_000,
    },
}
TOWER: dict[str, Any] = {
    "architecture": "vit_pe_core_tiny_patch16_384",
    "do_pooling": True,
    "global_pool": "map",
    "model_args": {
        "img_size": [SIZE, SIZE],
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
        "ref_feat_shape": [3, 3],
    },
}
PROCESSOR: dict[str, Any] = {
    "do_resize": True,
    "size": {"height": SIZE, "width": SIZE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "do_sample_frames": False,
}


def _shared(name: str) -> str:
    """The one name of a weight that has several in transformers 5.0, where parts share none."""
    name = re.sub(r"^(audio|video)_model\.(?=text_model\.)", "", name)
    return re.sub(
        r"^audio_video_encoder\.embedder\.(?=(audio|video)_encoder\.)", r"\1_model.", name
    )


def make_model() -> PeAudioVideoModel:
    """The model, in float64, with a tower of timm's where that is installed."""
    tower = TimmWrapperConfig(**TOWER | {"num_labels": OUTPUTS})
    video = LAYERS | {"model_type": "pe_video_encoder", "vision_config": tower}
    config = PeAudioVideoConfig(
        text_config=TEXT,
        audio_video_config=LAYERS | {"audio_config": AUDIO, "video_config": video},
    )
    model: Any = PeAudioVideoModel(config).eval()
    with torch.no_grad():
        for name, weight in sorted(dict(model.named_parameters()).items()):
            weight.copy_(_numbers(_shared(name), weight))
    made: PeAudioVideoModel = model.double()
    return made


def _numbers(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Numbers that matter to what comes out; norms and biases away from 1 and 0."""
    numbers = np.random.RandomState(zlib.crc32(name.encode()))  # the same in every version
    if name.endswith("logit_scale"):
        return torch.full_like(weight, 0.3)
    if name.endswith("logit_bias"):
        return torch.full_like(weight, -0.4)
    if weight.ndim > 1 and weight.shape[0] > 1:
        made = numbers.standard_normal(weight.shape) * weight[0].numel() ** -0.5
    else:
        made = numbers.uniform(0.5, 1.5, weight.shape)
    return torch.from_numpy(made)


def make_pe_av(folder: Path, **processor: object) -> Path:
    """Write a PE-AV checkpoint; `processor` overrides what it says of pictures."""
    with timm_stood_in_for():
        model: Any = make_model().float()
        model.save_pretrained(folder)
    _keep_one_of_each(folder / "model.safetensors")
    make_tokenizer().save_pretrained(folder)
    PeAudioFeatureExtractor().save_pretrained(folder)
    said = {
        "processor_class": "PeAudioVideoProcessor",
        "feature_extractor": json.loads((folder / "preprocessor_config.json").read_text("utf-8")),
        "video_processor": PROCESSOR | processor,
    }
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps(said), "utf-8")
    return folder


def _keep_one_of_each(stored: Path) -> None:
    """Shared weights are stored once, as in the published checkpoints."""
    weights = load_file(stored)
    once = {name: weight for name, weight in weights.items() if _shared(name) == name}
    save_file(once, stored, metadata={"format": "pt"})


@contextmanager
def timm_stood_in_for() -> Iterator[None]:
    """Have transformers make our tower where it would make timm's."""
    from pe_stream.model.geometry import tower_part
    from pe_stream.model.tower_shapes import TowerShape
    from pe_stream.model.vision_tower import VisionTower

    class Wrapper(nn.Module):
        def __init__(self, config: Any) -> None:
            super().__init__()
            found = tower_part(TOWER)
            shape = {key: getattr(found, key) for key in found.__slots__}
            self.timm_model = VisionTower(TowerShape(**shape | {"outputs": config.num_labels}))

        def forward(self, pixels: torch.Tensor) -> Any:
            return SimpleNamespace(logits=self.timm_model(pixels))

    from transformers.models.pe_video import modeling_pe_video

    # To write a configuration, transformers 5.0 compares it with a default one, which needs timm.
    alone = patch.object(PeAudioVideoConfig, "has_no_defaults_at_init", True, create=True)
    ours = SimpleNamespace(from_config=Wrapper)
    with alone, patch.object(modeling_pe_video, "AutoModelForImageClassification", ours):
        yield


def drop_final_norm(model: Any) -> None:
    """PE-AV's texts are embedded before it, whatever transformers does."""
    for part in (model, model.audio_model, model.video_model):
        part.text_model.final_norm = nn.Identity()


def sounds(frames: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Samples of so many frames."""
    return np.random.RandomState(frames).standard_normal(frames * FRAME).astype(np.float32) * 0.1


def pictures(count: int) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Pictures of odd sizes: wide, nearly square, upright."""
    numbers = np.random.RandomState(count)
    return [
        numbers.randint(0, 256, ((36, 64), (48, 50), (71, 33))[i % 3] + (3,)).astype(np.uint8)
        for i in range(count)
    ]
