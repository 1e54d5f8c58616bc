"""Makes pe_av_reference.npz: what transformers, timm and torchvision make of the small PE-AV model.

The tests run without timm and torchvision, so what those compute is stored. Run it with
transformers 5.24.0 in an environment of its own, which needs neither pe_stream nor its other
dependencies:

    python3 -m venv /tmp/timm
    /tmp/timm/bin/pip install torch==2.14.1 torchvision==0.29.1 timm transformers==5.24.0
    PYTHONPATH=tests /tmp/timm/bin/python tests/model/make_pe_av_reference.py

With `large`, it makes nothing, and compares our vision tower with timm's at the published size.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from model.pe_av import PROCESSOR, drop_final_norm, make_model, pictures, sounds
from transformers import PeVideoVideoProcessor
from transformers.models.timm_wrapper import TimmWrapperConfig, TimmWrapperForImageClassification

REFERENCE = Path(__file__).with_name("pe_av_reference.npz")

CLIPS = [(count, frames) for count in (1, 3, 16, 40) for frames in (1, 50, 250)]
"""Pictures, and frames of sound."""

IDS = [[1, 70, 80, 2], [1, 90, 2]]
"""Tokens of two texts."""


@torch.no_grad()
def make() -> dict[str, np.ndarray[Any, Any]]:
    """By name: the tower's outputs, the processor's pictures, and the logits of every clip."""
    model: Any = make_model().float().double()  # numbers as they are stored
    drop_final_norm(model)
    processor: Any = PeVideoVideoProcessor(**PROCESSOR)
    made: dict[str, np.ndarray[Any, Any]] = {}
    pixels = {}
    for count in {count for count, _ in CLIPS}:
        each: list[Any] = [processor(p[None], return_tensors="pt") for p in pictures(count)]
        pixels[count] = torch.cat([p["pixel_values_videos"][0] for p in each])
    made["pixels"] = pixels[3].numpy()
    tower = model.video_model.video_encoder.embedder.vision_model
    made["tower"] = tower(pixels[3].double()).logits.numpy()
    for count, frames in CLIPS:
        rows = []
        for ids in IDS:
            told = model(
                input_ids=torch.tensor([ids]),
                input_values=torch.from_numpy(sounds(frames)).double()[None, None],
                pixel_values_videos=pixels[count].double()[None],
            )
            names = ("audio_text", "video_text", "audio_video_text", "audio_video")
            rows.append([float(told[f"logits_{name}"]) for name in names])
        made[f"logits {count} {frames}"] = np.array(rows)
    return made


@torch.no_grad()
def compare_at_the_published_size() -> None:
    """Print how far our tower is from timm's, in float32, with random weights."""
    from pe_stream.model.tower_shapes import TOWERS
    from pe_stream.model.vision_tower import VisionTower

    name = "vit_pe_core_large_patch14_336"
    torch.manual_seed(0)
    given: dict[str, Any] = {"architecture": name, "num_labels": 1024, "global_pool": "map"}
    config = TimmWrapperConfig(**given)
    theirs = TimmWrapperForImageClassification(config).eval()
    for key, weight in theirs.named_parameters():  # as trained ones: no norm or latent is trivial
        if weight.ndim == 1 or "token" in key or "embed" in key or "latent" in key:
            weight.add_(0.1 * torch.randn_like(weight))
    ours = VisionTower(TOWERS[name]).eval()
    ours.load_state_dict(theirs.timm_model.state_dict(), strict=True)
    seen = torch.randn(2, 3, 336, 336)
    expected, found = theirs(seen).logits, ours(seen)
    print(f"largest output {expected.abs().max():.3g}, off by {(found - expected).abs().max():.3g}")
    small = torch.nn.functional.normalize
    off = (small(found, dim=-1) - small(expected, dim=-1)).abs().max()
    print(f"normalised, as the model takes them: off by {off:.3g}")


if __name__ == "__main__":
    torch.set_num_threads(2)
    if "large" in sys.argv:
        compare_at_the_published_size()
    else:
        made: dict[str, Any] = make()
        np.savez_compressed(REFERENCE, **made)
