"""Small PE Audio checkpoints made on the spot: the real ones' shapes scaled down, random weights.

Real sizes (hidden/layers/heads/intermediate): small 768/12/6/2048, base 1024/16/8/2752, large
1792/28/14/4800, all with heads of 128, a codec 64 wide and a ModernBERT text tower of 22 layers.
Here widths are divided by 16 and the text tower has 4 layers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    PeAudioConfig,
    PeAudioFeatureExtractor,
    PeAudioFrameLevelModel,
    PreTrainedTokenizerFast,
)

Size = Literal["small", "base", "large"]

SIZES: dict[Size, dict[str, int]] = {
    "small": {"hidden_size": 48, "num_hidden_layers": 12, "num_attention_heads": 6},
    "base": {"hidden_size": 64, "num_hidden_layers": 16, "num_attention_heads": 8},
    "large": {"hidden_size": 112, "num_hidden_layers": 28, "num_attention_heads": 14},
}

MAX_TOKENS = 64

TOKEN_IDS = {
    "pad_token_id": 0,
    "cls_token_id": 1,
    "sep_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Of the tokenizer that `make_tokenizer` makes."""


def make_checkpoint(folder: Path, size: Size = "small", **codec: object) -> Path:
    """Write a checkpoint of scaled-down `size` to `folder`; `codec` overrides its DAC config."""
    make_model(size, **codec).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    PeAudioFeatureExtractor().save_pretrained(folder)
    return folder


def make_model(size: Size = "small", **codec: object) -> PeAudioFrameLevelModel:
    """Build a scaled-down model with reproducible random weights that matter to its output."""
    shape = SIZES[size]
    config = PeAudioConfig(
        text_config={
            "model_type": "modernbert",
            "vocab_size": 320,
            "hidden_size": 64,
            "intermediate_size": 164,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "max_position_embeddings": MAX_TOKENS,
            **TOKEN_IDS,
        },
        audio_config={
            "model_type": "pe_audio_encoder",
            **shape,
            "intermediate_size": shape["hidden_size"] * 8 // 3,
            "head_dim": 8,
            "dac_config": {
                "model_type": "dac",
                "encoder_hidden_size": 4,
                "downsampling_ratios": [2, 8, 10, 12],
                "codebook_dim": 8,
                "sampling_rate": 48_000,
                **codec,
            },
        },
    )
    model: PeAudioFrameLevelModel = PeAudioFrameLevelModel(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1 and weight.shape[0] > 1:
                weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
            else:
                # Norms and biases away from 1 and 0, so that leaving one out would show.
                weight.uniform_(0.5, 1.5, generator=generator)
        model.text_audio_logit_scale.fill_(0.1)
        model.text_audio_logit_bias.fill_(-1.0)
    return model


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on a few words, with [CLS] and [SEP] around each text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["[PAD]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        ["a dog barking", "a dog barking on television", "speech", "a door bell rings"],
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=MAX_TOKENS,
    )
