"""How the audio side is computed: in bfloat16 where it is fast, with cuDNN; where that is true."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.core.types import FRAME
from pe_stream.model.codec_layers import convolving, lean
from pe_stream.model.encoder import Encoder

log = logging.getLogger(__name__)

LEAST_COSINE = 0.999
"""Between the embeddings of any frame, with the codec in bfloat16 and in float32."""

_FRAMES = 25
_ROWS = 4
"""Parts of the test sound."""

_FURTHEST = {torch.float32: 1e-2, torch.bfloat16: 0.2}
"""Features with cuDNN may be so far from those without it, in standard deviations."""


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if `device` multiplies in it natively, else float32."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        fast = any(known.get(name, False) for name in ("avx512_bf16", "amx_tile", "bf16"))
    return torch.bfloat16 if fast else torch.float32


@torch.inference_mode()
def codec_dtype(model: Any, dtype: torch.dtype) -> torch.dtype:
    """`dtype`, if a codec computing in it leaves the frames' embeddings as they are, else float32.

    The numbers of a codec may be such that bfloat16 keeps too little of them: those of the
    embedded one are. Asked of the checkpoint itself, on a test sound.
    """
    exact = lean(model.audio_encoder.embedder)
    encoder = Encoder(model.audio_encoder, model.audio_head)
    sound = _sound().to(model.device)
    expected = sound_embedding(model)
    with convolving(cudnn=False):
        found = encoder(exact.to(dtype)(sound))
    least = float(F.cosine_similarity(found, expected, dim=-1).min())
    log.debug("codec in %s: cosine %.5f", dtype, least)
    return dtype if least >= LEAST_COSINE else torch.float32


@torch.inference_mode()
def sound_embedding(model: Any) -> Tensor:
    """(1, frames, E): what the model makes of a test sound of a second, its codec in float32."""
    with convolving(cudnn=False):
        embedding: Tensor = Encoder(model.audio_encoder, model.audio_head)(
            lean(model.audio_encoder.embedder)(_sound().to(model.device))
        )
    return embedding


@torch.inference_mode()
def cudnn_is_right(model: Any, dtype: torch.dtype) -> bool:
    """Whether a codec in `dtype` gives the same features with cuDNN as without it.

    With some of its versions and GPUs, it does not. Without cuDNN it is right, but slow. On the CPU
    they are the same.
    """
    layers = lean(model.audio_encoder.embedder).to(dtype)
    sound = _sound().to(model.device)
    few = sound.view(_ROWS, -1)
    many = few[:, few.shape[1] // 2 :].repeat(16, 1)
    for rows in (sound, few, many):
        try:
            with convolving(cudnn=False):
                expected = layers(rows).float()
            with convolving(cudnn=True):
                found = layers(rows).float()
        except RuntimeError as error:
            log.warning("cuDNN is not used: %s", error)
            return False
        furthest = float((found - expected).abs().max() / expected.std())
        log.debug("codec with cuDNN: off by %.1g of the features' spread", furthest)
        if not furthest < _FURTHEST[dtype]:
            log.warning("cuDNN is not used, which is slower: it gives wrong results here")
            return False
    return True


def _sound() -> Tensor:
    """(1, samples): a second each of rising noise, a falling sweep, clicks, and a buzzing tone."""
    generator = torch.Generator().manual_seed(0)
    count = _FRAMES * FRAME
    level = torch.logspace(-4, -0.5, count)
    noise = 0.3 * level * torch.randn(count, generator=generator)
    sweep = 0.5 * torch.sin(torch.logspace(0.4, -2.5, count).cumsum(0))
    clicks = torch.zeros(count)
    clicks[:: count // 7] = 0.8
    buzz = 0.03 * torch.sign(torch.sin(torch.arange(count) * 0.026)) * level.flip(0).sqrt()
    return torch.cat([noise, sweep, clicks, buzz])[None]
