"""A checkpoint as transformers has it: read whole, looked over and tried.

transformers takes seconds to import, so it is imported where a checkpoint is read: what is wrong
with a configuration or a database is told before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pe_stream.model.audio_side import AUDIO_VISUAL_KEYS
from pe_stream.model.files import read_config
from pe_stream.model.precision import sound_embedding
from pe_stream.model.reading import refusing, require_transformers, unavailable
from pe_stream.model.text_tower import TextSide
from pe_stream.model.tokenizer import load_tokenizer, tokenize
from pe_stream.model.weights import check_size, stored

if TYPE_CHECKING:
    from transformers import PeAudioConfig, PeAudioFrameLevelModel, PreTrainedTokenizerBase

_UNUSED_WEIGHTS = ("text_model.final_norm.", "text_model.pooler.")
"""Text tower weights that PE Audio's text embedding never touches; a checkpoint may lack them."""


def read_model(name: str, folder: Path) -> TextSide:
    """Read a checkpoint's model, in float32 on the CPU and in evaluation mode, and its tokenizer.

    A text tower with a final norm has it replaced by the identity: PE Audio takes the state before
    it. Raises UnavailableError where either is absent, damaged or unfit.
    """
    require_transformers()
    with _quiet_transformers():
        config = read_config(name, folder)
        model = _load_model(name, folder, config)
        tokenizer = load_tokenizer(name, folder)
        _drop_final_norm(model)
        _try(name, model, tokenizer)
    return TextSide(model, tokenizer)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Silence transformers' own report on loading: what matters in it is raised as an error."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _load_model(name: str, folder: Path, config: PeAudioConfig) -> PeAudioFrameLevelModel:
    from transformers import PeAudioFrameLevelModel

    with stored(name, folder) as tensors:
        with refusing(name, "its config.json describes no PE Audio model"), torch.device("meta"):
            parameters = list(PeAudioFrameLevelModel(config).parameters())
        check_size(name, sum(each.numel() for each in parameters), tensors)
        with refusing(name, "its weights cannot be read"):
            # In float32 whatever the stored type: the text tower runs in it. The folder itself is
            # not named: transformers would look in it for adapters, quantisation and more.
            loaded: Any = PeAudioFrameLevelModel.from_pretrained(
                None,
                config=config,
                state_dict=tensors,
                dtype=torch.float32,
                key_mapping=AUDIO_VISUAL_KEYS,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    model: PeAudioFrameLevelModel = loaded[0]
    absent = loaded[1]["missing_keys"]
    missing = sorted(key for key in absent if not key.startswith(_UNUSED_WEIGHTS))
    if missing:
        raise unavailable(name, f"its weights lack {missing[0]} ({len(missing)} missing in all)")
    for weight in model.parameters():
        weight.requires_grad = False
    return model


def _try(name: str, model: PeAudioFrameLevelModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise UnavailableError where the model cannot hear a sound and read a word."""
    text_config: Any = model.config.text_config
    with refusing(name, "it cannot be run"), torch.inference_mode():
        ids = tokenize(name, tokenizer, "a sound", text_config.vocab_size)
        states = model.text_model(input_ids=torch.tensor([ids])).last_hidden_state
        text = model.text_audio_head(states[:, 0])
        scale, bias = model.text_audio_logit_scale, model.text_audio_logit_bias
        logits = sound_embedding(model) @ text.T * scale + bias
    if not bool(logits.isfinite().all()):
        raise unavailable(name, "its scores are no numbers")


def _drop_final_norm(model: PeAudioFrameLevelModel) -> None:
    """Make the text tower's last state the one before ModernBERT's final norm.

    That is what Meta trained on (`hidden_states[22]` of a 28-layer tower). transformers 5.0
    returns it as `hidden_states[-1]`, later versions return the state after the norm there; with
    the norm gone, every version's states and its own forward agree with Meta's.
    """
    if hasattr(model.text_model, "final_norm"):
        model.text_model.final_norm = torch.nn.Identity()
