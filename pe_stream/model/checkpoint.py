"""A PE Audio checkpoint: found or downloaded, verified, loaded.

Everything a checkpoint folder can get wrong is an error here, never a warning: a daemon that
listens with half of its weights random would look healthy. Whoever made the folder is not trusted:
none of its code is run, and nothing is built that its files do not hold.

transformers takes seconds to import, so it is imported where a checkpoint is loaded: what is wrong
with a configuration or a database is told before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pe_stream.core.types import Recommended
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model.cores import default_threads
from pe_stream.model.files import (
    CLIP_KINDS,
    find,
    identity,
    kind_of,
    look_for_code,
    read_config,
    read_recommended,
    taught_by_us,
)
from pe_stream.model.malloc import keep_freed_memory
from pe_stream.model.precision import codec_dtype, cudnn_is_right, fast_dtype, sound_embedding
from pe_stream.model.reading import first_line, refusing, require_transformers, unavailable
from pe_stream.model.tokenizer import load_tokenizer, tokenize
from pe_stream.model.weights import check_size, stored

if TYPE_CHECKING:
    from transformers import PeAudioConfig, PeAudioFrameLevelModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

_AUDIO_VISUAL_KEYS = {
    r"^audio_model\.": "",
    r"^video_model\.text_model\.": "text_model.",
    r"^audio_video_encoder\.embedder\.audio_encoder\.": "audio_encoder.",
}
"""Where PeAudioVideoModel keeps the weights of PeAudioFrameLevelModel. Its text tower and audio
encoder are shared between several places, and a checkpoint stores them under one or more."""

_UNUSED_WEIGHTS = ("text_model.final_norm.", "text_model.pooler.")
"""Text tower weights that PE Audio's text embedding never touches; a checkpoint may lack them."""

_CODEC = ("embedder.dac_encoder.", "embedder.bottleneck.")
"""Prefixes of the codec's weights in an audio encoder."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A loaded PE Audio model with its tokenizer.

    name: as configured; goes into events.
    model: in evaluation mode on `device`. The audio encoder's weights are in `dtype`; text tower,
        heads, logit scale and bias stay in float32, and so does the codec, of which the engine
        makes its own. A text tower with a final norm has it replaced by the identity: PE Audio
        takes the state before it.
    codec_dtype, codec_cudnn: in what, and whether with cuDNN, the codec is to be computed.
    recommended: by label, from `thresholds.json` beside the weights; may be empty.
    identity: the same for the same content, whatever its name; see `files.identity`.
    words_known: whether it is known what words its text tower was taught; see `taught_by_us`.
    texts: embeddings (D,) of the texts embedded last; see `model.prompts`.
    """

    name: str
    model: PeAudioFrameLevelModel
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    dtype: torch.dtype
    codec_dtype: torch.dtype
    codec_cudnn: bool
    recommended: Mapping[str, Recommended]
    identity: str
    words_known: bool = False
    texts: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def describe(self) -> str:
        """Name, size, device and precision in one line for people."""
        millions = sum(weight.numel() for weight in self.model.parameters()) / 1e6
        size = f"{millions:.1f}" if millions < 10 else f"{millions:.0f}"
        return f"{self.name} ({size} M parameters) on {self.device}, {_dtype_name(self.dtype)}"


def load(
    name: str,
    *,
    revision: str | None = None,
    cache: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
    clips: bool = False,
) -> Checkpoint:
    """Load `name`: "embedded", a folder, or a hub id such as "facebook/pe-a-frame-small".

    PeAudioFrameLevelModel, PeAudioModel (same weights) and PeAudioVideoModel checkpoints (of which
    the audio part is read) are understood. The first use of a hub id downloads it, with a progress
    bar on a terminal; later uses do without the hub if it cannot be reached.

    revision: branch, tag or commit of a hub checkpoint; it has no meaning for the others.
    cache: folder for downloads; the hub client's own by default.
    device: "auto" (CUDA if there is one, else the CPU) or a torch device.
    dtype: of the audio encoder: "float32", "bfloat16" or "auto" (bfloat16 where the device
        multiplies in it, for the codec only if that leaves the frames' embeddings as they are).
    threads: CPU threads torch uses in the whole process; by default half of those it may use.
    clips: whether it is for whole stretches of sound; else a checkpoint whose frames were never
        taught to go with texts is warned about.

    Raises UnavailableError if the checkpoint or device is absent or unfit, ConfigError on an
    unknown dtype.
    """
    torch_device = resolve_device(device)
    torch_dtype = _resolve_dtype(dtype, torch_device)
    # A kernel waits for its slowest thread: with a thread on every core, whatever else runs there
    # slows each of the thousands of kernels of a window (45 times, seen on two busy cores).
    torch.set_num_threads(threads or default_threads())
    folder = find(name, revision, cache)
    require_transformers()
    look_for_code(name, folder)
    if not clips:
        _tell_untaught_frames(name, folder)
    with _quiet_transformers():
        config = read_config(name, folder)
        model = _load_model(name, folder, config)
        tokenizer = load_tokenizer(name, folder)
        recommended = read_recommended(name, folder)
        _drop_final_norm(model)
        _try(name, model, tokenizer)
    _move(name, model, torch_device, torch_dtype)
    of_codec = codec_dtype(model, torch_dtype) if torch_dtype != torch.float32 else torch_dtype
    if dtype != "auto" and of_codec != torch_dtype:
        log.warning(
            "checkpoint %r: its codec loses quiet sounds in %s; with dtype auto it is computed in "
            "float32",
            name,
            dtype,
        )
        of_codec = torch_dtype
    of_cudnn = torch_device.type == "cuda" and cudnn_is_right(model, of_codec)
    keep_freed_memory()  # not before: what loading took is given back
    return Checkpoint(
        name,
        model,
        tokenizer,
        torch_device,
        torch_dtype,
        of_codec,
        of_cudnn,
        recommended,
        identity(folder),
        taught_by_us(name, folder),
    )


def _tell_untaught_frames(name: str, folder: Path) -> None:
    kind = kind_of(name, folder)
    if kind in CLIP_KINDS:
        log.warning(
            "checkpoint %r is a %s: it was taught what a whole clip is like, not what each moment "
            "of it is; for events take a frame-level one, such as facebook/pe-a-frame-small",
            name,
            kind,
        )


def resolve_device(device: str) -> torch.device:
    """The device of that name, "auto" for CUDA if there is one; raises UnavailableError."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        probe = torch.zeros(1, device=device)
        probe.cpu()  # fails on "meta", which torch can name but not compute on
    except (RuntimeError, AssertionError) as error:
        raise UnavailableError(
            f"device {device!r} is not available ({first_line(error)}); "
            '"device: auto" takes what there is'
        ) from error
    return probe.device


def _resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return fast_dtype(device)
    if dtype not in _DTYPES:
        raise ConfigError(f"dtype {dtype!r} is unknown; use auto, {' or '.join(_DTYPES)}")
    return _DTYPES[dtype]


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
                key_mapping=_AUDIO_VISUAL_KEYS,
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


def _move(name: str, model: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    try:
        # Only parameters are cast: the rotary frequencies are a buffer, and rounded to bfloat16
        # (8 bits) they would be off by half a radian at the end of a window of 10 s.
        for key, weight in model.get_submodule("audio_encoder").named_parameters():
            if not key.startswith(_CODEC):
                weight.data = weight.data.to(dtype)
        model.to(device)
    except torch.OutOfMemoryError as error:
        raise unavailable(name, f"there is not enough memory on {device}") from error
