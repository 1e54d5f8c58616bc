"""The encoder from call to call; its numbers are in test_engine.py and test_second_opinion.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.encoder import Encoder


@pytest.fixture
def small(folders: dict[str, Path]) -> Checkpoint:
    """Of a test's own: an encoder changes where the weights are."""
    return load(str(folders["small"]), device="cpu", dtype="float32")


def encoder(checkpoint: Checkpoint) -> Encoder:
    return Encoder(checkpoint.model.audio_encoder, checkpoint.model.audio_head)


def features(checkpoint: Checkpoint, frames: int) -> Tensor:
    width = checkpoint.model.audio_encoder.embedder.bottleneck.out_channels
    return torch.randn(2, frames, width, generator=torch.Generator().manual_seed(frames))


@torch.inference_mode()
def test_lengths_may_alternate(small: Checkpoint) -> None:
    """What is kept for the length of the last call is not used for another."""
    used = encoder(small)
    for frames in (5, 9, 5, 5, 1, 9):
        given = features(small, frames)
        assert torch.equal(used(given), encoder(small)(given))


@torch.inference_mode()
def test_what_is_given_is_left_as_it_was(small: Checkpoint) -> None:
    used, given = encoder(small), features(small, 6)
    before = given.clone()
    first = used(given, 2)
    assert torch.equal(given, before)
    assert torch.equal(used(given, 2), first)
    whole = used(given)
    torch.testing.assert_close(first, whole[:, -2:], rtol=1e-4, atol=1e-5)


def test_weights_are_in_memory_once(small: Checkpoint) -> None:
    def held(module: torch.nn.Module) -> set[int]:
        large = (each for each in module.parameters() if each.dim() > 1)
        return {each.untyped_storage().data_ptr() for each in large}

    model = small.model.audio_encoder
    used = encoder(small)
    own = held(used.layers) | held(used.convolutions)
    layers: Any = used.layers
    heads = {each.head_weight.untyped_storage().data_ptr() for each in layers}
    assert (
        held(model.layers)
        | {
            block.project.weight.untyped_storage().data_ptr()
            for block in (
                model.patch_embedder.resnet_block.block1,
                model.patch_embedder.resnet_block.block2,
            )
        }
        == own - heads
    )
