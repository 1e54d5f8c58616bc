"""The analytic half of the codec: what is written into the weights does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.workbench.training import encoder, frontend, shape


@pytest.fixture(scope="module")
def model() -> Any:
    model = shape.new_model(0).eval()
    for weight in model.parameters():
        weight.requires_grad_(False)
    frontend.build(model.audio_encoder.embedder.dac_encoder)
    return model


@pytest.fixture(scope="module")
def dac(model: Any) -> Any:
    return model.audio_encoder.embedder.dac_encoder


def sine(hz: float, seconds: float = 1.0) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hz * torch.arange(round(48_000 * seconds)) / 48_000)[None, None]


def test_one_convolution_equals_the_five_blocks(dac: Any) -> None:
    samples = 0.1 * torch.randn(1, 1, 48_000, generator=torch.Generator().manual_seed(1))
    blocks = frontend.filterbank(dac, samples)
    weights, padding = frontend.kernel()
    right = weights.shape[-1] - padding
    once = F.conv1d(F.pad(samples, (padding, right)), weights, stride=frontend.HOP)
    inside = slice(3, 97)  # the blocks pad with zeros between their convolutions, too
    error = (blocks[..., inside] - once[..., inside]).abs().max() / blocks.abs().max()
    assert error < 5e-4


@pytest.mark.parametrize("hz", [120.0, 440.0, 1000.0, 3100.0, 6000.0])
def test_a_sine_is_loudest_in_the_band_of_its_frequency(dac: Any, hz: float) -> None:
    energy = frontend.features_100hz(frontend.filterbank(dac, sine(hz)))[0, :, 50]
    centre = frontend.centres_hz()[int(energy.argmax())]
    assert centre == pytest.approx(hz, rel=0.12, abs=60)


def test_a_feature_rises_by_one_every_15_db(dac: Any) -> None:
    loud = frontend.features_100hz(frontend.filterbank(dac, 0.1 * sine(1000)))[0, :, 50].max()
    soft = frontend.features_100hz(frontend.filterbank(dac, 0.01 * sine(1000)))[0, :, 50].max()
    assert float(loud - soft) == pytest.approx(20 / 15, abs=0.02)


def test_above_the_low_pass_little_is_left(dac: Any) -> None:
    below = frontend.filterbank(dac, sine(5000))[..., 20:80].square().sum(1).mean()
    above = frontend.filterbank(dac, sine(11_000))[..., 20:80].square().sum(1).mean()
    assert 10 * torch.log10(above / below) < -25


def test_a_click_is_heard_where_it_is(dac: Any) -> None:
    samples = torch.zeros(1, 1, 48_000)
    samples[..., 24_000] = 1.0
    energy = frontend.filterbank(dac, samples).square().sum(1)[0]
    assert int(energy.argmax()) in (49, 50)  # 10 ms steps; a filter lasts two
    assert float(energy[:46].max()) == 0
    assert float(energy[54:].max()) == 0


def test_squared_sines_follow_the_energy(dac: Any) -> None:
    """Energy channels at the lowest gain double where the amplitude is 1.41 times as large."""
    block = dac.block[5]

    def lowest(amplitude: float) -> float:
        outputs = frontend.filterbank(dac, amplitude * sine(440))
        hidden = block.res_unit1(torch.cat([outputs, torch.zeros_like(outputs)], dim=1))
        rows = slice(frontend.CHANNELS, frontend.CHANNELS + 32)
        return float(hidden[0, rows, 20:80].mean(1).max())

    assert lowest(0.002 * 2**0.5) / lowest(0.002) == pytest.approx(2, rel=0.02)


def test_the_features_of_training_are_those_of_the_model(model: Any) -> None:
    """`read_out` after `filterbank` is the codec; `encode` after it is the model's own forward."""
    samples = 0.1 * torch.randn(1, 1, 2 * 48_000, generator=torch.Generator().manual_seed(2))
    embedder = model.audio_encoder.embedder
    with torch.no_grad():
        codec = embedder.bottleneck(embedder.dac_encoder(samples)).transpose(1, 2)
        features = encoder.read_out(model, frontend.filterbank(embedder.dac_encoder, samples))
        assert torch.allclose(features, codec, atol=1e-4)
        ours = encoder.encode(model, codec)
        theirs = model.get_audio_embeds(samples)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_rotation_is_that_of_transformers(model: Any) -> None:
    from transformers.models.pe_audio import modeling_pe_audio

    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 2, 3, 10, 64, generator=generator)
    angles = torch.randn(1, 10, 32, generator=generator).repeat(1, 1, 2)
    plain: Any = modeling_pe_audio.apply_rotary_pos_emb
    slow = plain(query, key, angles.cos(), angles.sin())
    with encoder.fast_attention(model.audio_encoder):
        changed: Any = modeling_pe_audio.apply_rotary_pos_emb
        fast = changed(query, key, angles.cos(), angles.sin())
    assert modeling_pe_audio.apply_rotary_pos_emb is plain
    for ours, theirs in zip(fast, slow, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_checkpoint_fits_in_20_mb(model: Any) -> None:
    assert 2 * sum(weight.numel() for weight in model.parameters()) <= 20e6


def test_filters_have_the_bands_they_are_for() -> None:
    spectrum = np.abs(np.fft.rfft(frontend.filters().numpy()[0::2], 4096))
    peaks = spectrum.argmax(1) * 16_000 / 4096
    assert np.all(np.abs(peaks - frontend.centres_hz()) < 0.08 * frontend.centres_hz() + 60)
