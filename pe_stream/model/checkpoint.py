"""A PE Audio checkpoint: found or downloaded, verified, loaded.

Everything a checkpoint folder can get wrong is an error here, never a warning: a daemon that
listens with half of its weights random would look healthy. Whoever made the folder is not trusted:
none of its code is run, and nothing is built that its files do not hold.

Where an earlier start has left what is known of it (`model.known_texts`), the audio side alone is
read, without transformers; the text tower then waits until a text comes that is new.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pe_stream.core.types import Recommended
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model.audio_side import AudioSide
from pe_stream.model.cores import default_threads
from pe_stream.model.files import (
    CLIP_KINDS,
    find,
    identity,
    kind_of,
    look_for_code,
    read_recommended,
    taught_by_us,
)
from pe_stream.model.known_texts import KnownTexts, TextRecord, key_of, row_tensors
from pe_stream.model.library_model import read_model
from pe_stream.model.malloc import keep_freed_memory
from pe_stream.model.precision import codec_dtype, cudnn_is_right, fast_dtype, sound_embedding
from pe_stream.model.reading import first_line, unavailable
from pe_stream.model.text_tower import TextSide, TextTower
from pe_stream.model.weights import stored

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

_CODEC = ("embedder.dac_encoder.", "embedder.bottleneck.")
"""Prefixes of the codec's weights in an audio encoder."""

_FURTHEST = 1e-3
"""What the audio side hears may be so far from what the whole checkpoint heard, in standard
deviations: with other numbers of threads, the last bits are others."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A loaded PE Audio model with its tokenizer.

    name: as configured; goes into events.
    model: in evaluation mode on `device`: a PeAudioFrameLevelModel, or an AudioSide. The audio
        encoder's weights are in `dtype`; text tower, heads, logit scale and bias stay in float32,
        and so does the codec, of which the engine makes its own.
    tower: for texts; that of `model` where it has one, else read when it is asked for.
    parameters: how many numbers the whole model has.
    codec_dtype, codec_cudnn: in what, and whether with cuDNN, the codec is to be computed.
    recommended: by label, from `thresholds.json` beside the weights; may be empty.
    identity: the same for the same content, whatever its name; see `files.identity`.
    words_known: whether it is known what words its text tower was taught; see `taught_by_us`.
    texts: embeddings (D,) of the texts embedded last; see `model.prompts`.
    """

    name: str
    model: Any
    tower: TextTower
    parameters: int
    device: torch.device
    dtype: torch.dtype
    codec_dtype: torch.dtype
    codec_cudnn: bool
    recommended: Mapping[str, Recommended]
    identity: str
    words_known: bool = False
    texts: dict[str, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the text tower. Raises UnavailableError where that is to be read, and cannot be."""
        return self.tower.side().tokenizer

    @property
    def width(self) -> int:
        """Number of values (D) of an embedding."""
        width: int = self.model.audio_head.proj.out_features
        return width

    def describe(self) -> str:
        """Name, size, device and precision in one line for people."""
        millions = self.parameters / 1e6
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
    known: KnownTexts | None = None,
    texts: Sequence[str] = (),
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
    known: where vectors of texts may be known from an earlier start. texts: that will be embedded:
        where all of them are known, the text tower is not read.

    Raises UnavailableError if the checkpoint or device is absent or unfit, ConfigError on an
    unknown dtype.
    """
    torch_device = resolve_device(device)
    torch_dtype = _resolve_dtype(dtype, torch_device)
    # A kernel waits for its slowest thread: with a thread on every core, whatever else runs there
    # slows each of the thousands of kernels of a window (45 times, seen on two busy cores).
    torch.set_num_threads(threads or default_threads())
    folder = find(name, revision, cache)
    look_for_code(name, folder)
    if not clips:
        _tell_untaught_frames(name, folder)
    recommended, own = read_recommended(name, folder), identity(folder)
    key = key_of(folder, own)
    record = known.record(folder, key, torch_device, texts) if known else None
    model: Any = None
    if known and record:
        model = _audio_side(name, folder, record, torch_device)
        if model is None:
            known.refuse(key, torch_device, "the checkpoint hears something else")
            record = None
    if model is None:
        side = read_model(name, folder)
        tower, model = TextTower(lambda: side, kept=side), side.model
    else:
        tower = TextTower(partial(_read_text_side, name, folder, key, torch_device))
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
        tower,
        record.parameters if record else sum(weight.numel() for weight in model.parameters()),
        torch_device,
        torch_dtype,
        of_codec,
        of_cudnn,
        recommended,
        own,
        taught_by_us(name, folder),
        row_tensors(record, torch_device) if record else {},
    )


def text_tower(checkpoint: Checkpoint, folder: Path) -> TextTower:
    """A checkpoint's text tower, not kept with it: read from its folder whenever it is asked for.

    Asking raises UnavailableError where the folder has another by now, or the device no room.
    """
    key = key_of(folder, checkpoint.identity)
    return TextTower(partial(_read_text_side, checkpoint.name, folder, key, checkpoint.device))


def _audio_side(
    name: str, folder: Path, record: TextRecord, device: torch.device
) -> AudioSide | None:
    """The audio side alone; None where it is not what the record is of."""
    try:
        with stored(name, folder) as tensors:
            model = AudioSide(record.shape, tensors).to(device)
        heard = sound_embedding(model).cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise _no_room(name, device) from error
    except (ValueError, RuntimeError, UnavailableError):
        log.debug("checkpoint %r: the audio side alone", name, exc_info=True)
        return None
    if heard.shape != record.heard.shape:
        return None
    furthest = float(np.abs(heard - record.heard).max())
    return model if furthest <= _FURTHEST * float(record.heard.std()) else None


def _read_text_side(name: str, folder: Path, key: str, device: torch.device) -> TextSide:
    """The text side of a checkpoint whose audio side is in use, and was read under `key`.

    Raises UnavailableError where the folder has another by now, or the device no room for it.
    """
    side = read_model(name, folder)
    if key_of(folder, identity(folder)) != key:
        raise unavailable(name, "it was changed since it was loaded: begin again")
    del side.model.audio_encoder, side.model.audio_head
    try:
        side.model.to(device)
    except torch.OutOfMemoryError as error:
        raise _no_room(name, device) from error
    return side


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


def _no_room(name: str, device: torch.device) -> UnavailableError:
    return unavailable(name, f"there is not enough memory on {device}")


def _move(name: str, model: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    try:
        # Only parameters are cast: the rotary frequencies are a buffer, and rounded to bfloat16
        # (8 bits) they would be off by half a radian at the end of a window of 10 s.
        for key, weight in model.get_submodule("audio_encoder").named_parameters():
            if not key.startswith(_CODEC):
                weight.data = weight.data.to(dtype)
        model.to(device)
    except torch.OutOfMemoryError as error:
        raise _no_room(name, device) from error
