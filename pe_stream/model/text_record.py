"""Makes the record of a checkpoint's texts; see `model.known_texts`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pe_stream.model.audio_side import AudioShape, AudioSide
from pe_stream.model.checkpoint import load
from pe_stream.model.files import identity
from pe_stream.model.known_texts import KnownTexts, TextRecord, key_of
from pe_stream.model.precision import sound_embedding
from pe_stream.model.prompts import embed
from pe_stream.model.weights import stored


def make_record(
    known: KnownTexts, folder: Path, device: str, threads: int | None, texts: Sequence[str]
) -> bool:
    """Keep a record that has the texts of the checkpoint in `folder`; whether it was possible.

    It is not where the audio side alone, in plain torch, does not hear to the last bit what the
    whole checkpoint hears. device, threads: as of `checkpoint.load`. Raises what that raises,
    ConfigError on a text that `prompts.embed` refuses, and OSError where nothing can be written.
    """
    key = key_of(folder, identity(folder))
    # clips: what is to be said of the checkpoint is said by whoever uses it.
    checkpoint = load(str(folder), device=device, dtype="float32", threads=threads, clips=True)
    shape = AudioShape.of(checkpoint.model.config)
    if shape is None:
        return False
    with stored(checkpoint.name, folder) as tensors:
        alone = AudioSide(shape, tensors).to(checkpoint.device)
    heard = sound_embedding(checkpoint.model)
    if not torch.equal(heard, sound_embedding(alone)):
        return False
    vectors = embed(checkpoint, texts).cpu().numpy()
    record = TextRecord(
        shape,
        checkpoint.parameters,
        dict(zip(texts, vectors, strict=True)),
        heard.cpu().numpy(),
    )
    if key_of(folder, identity(folder)) != key:
        return False  # it was written meanwhile
    known.keep(key, checkpoint.device, record)
    return True
