"""A trained model as a checkpoint folder that transformers and `pe-stream` load."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from pe_stream.core.types import FRAME, SAMPLE_RATE

THRESHOLDS = "thresholds.json"
"""Beside the weights: recommended thresholds by label."""


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write weights (fp16), configuration, tokenizer and feature extractor into `folder`."""
    # Thresholds that were fitted to other weights.
    (folder / THRESHOLDS).unlink(missing_ok=True)
    halved = copy.deepcopy(model).to(device="cpu", dtype=torch.float16)
    halved.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    extractor = {
        "feature_extractor_type": "PeAudioFeatureExtractor",
        "feature_size": 1,
        "hop_length": FRAME,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": SAMPLE_RATE,
    }
    text = json.dumps(extractor, indent=2) + "\n"
    (folder / "preprocessor_config.json").write_text(text, "utf-8")
