"""The analytic half of the codec: what is written into the weights does what it says."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.assets import DEMO_RECORDING
from pe_stream.audio import media
from pe_stream.core.types import FRAME, Window
from pe_stream.model.codec import Codec, Stream
from pe_stream.model.codec_layers import lean
from pe_stream.workbench.training import codec_error, encoder, frontend, shape


@pytest.fixture(scope="module")
def model() -> Any:
    model = shape.new_model(0).eval()
    for weight in model.parameters():
        weight.requires_grad_(False)
    frontend.build(model.audio_encoder.embedder)
    return model


@pytest.fixture(scope="module")
def dac(model: Any) -> Any:
    return model.audio_encoder.embedder.dac_encoder


@pytest.fixture(scope="module")
def rounded(model: Any) -> Any:
    """The embedder as a checkpoint holds it, in fp16, and as it is computed, in float32."""
    return copy.deepcopy(model.audio_encoder.embedder).half().float()


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


def tones(seconds: float) -> torch.Tensor:
    return torch.stack([sine(hz, seconds) for hz in (130.0, 440.0, 1234.5, 3100.0)]).sum(0)


def noise(seconds: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(1, 1, round(48_000 * seconds), generator=generator)


def recorded(seconds: float) -> torch.Tensor:
    """The demo's made-up house, its loudest sample at full scale."""
    chunks = [chunk.samples for chunk in media.read(str(DEMO_RECORDING))]
    samples = np.concatenate(chunks)[: round(48_000 * seconds)]
    return torch.from_numpy(samples / np.abs(samples).max())[None, None]


@pytest.mark.parametrize("sound", [tones, noise, recorded])
@pytest.mark.parametrize("dbfs", [-80, -60, -40, -20, -10])
def test_the_codec_tells_log_energies(rounded: Any, sound: Any, dbfs: float) -> None:
    """Squared sines at three gains, which were used before, are off by several dB."""
    error = codec_error.error_db(rounded, 10 ** (dbfs / 20) * sound(4.0)[0])
    assert error.square().mean().sqrt() < 0.6
    assert error.mean().abs() < 0.55
    assert error.abs().max() < 4


def test_silence_and_overload_are_finite_features(rounded: Any) -> None:
    silence = rounded.bottleneck(rounded.dac_encoder(torch.zeros(1, 1, 48_000)))
    assert torch.allclose(silence, torch.tensor(-2.0), atol=0.05)
    for loud in (sine(440), noise(1.0).sign(), 20 * noise(1.0)):
        features = rounded.bottleneck(rounded.dac_encoder(loud))
        assert torch.isfinite(features).all()
        assert features.abs().max() < 5


def test_the_engine_leaves_out_what_the_front_end_does_not_use(model: Any) -> None:
    embedder = copy.deepcopy(model.audio_encoder.embedder).double()
    layers = lean(embedder)
    convolutions = [part for part in layers.modules() if isinstance(part, torch.nn.Conv2d)]
    # Of block 5, units 2 and 3 and what follows have one tap, two, or the four of the steps.
    assert [part.kernel_size[1] for part in convolutions[-8:]] == [1, 1, 1, 1, 1, 4, 1, 1]
    used = sum(weight.numel() for weight in layers.parameters())
    every = [*embedder.dac_encoder.parameters(), *embedder.bottleneck.parameters()]
    assert used < 0.35 * sum(weight.numel() for weight in every)


def test_the_engine_streams_what_the_plain_call_gives(model: Any) -> None:
    """In float64: the logarithm is ten million times as steep at silence as at full scale."""
    embedder = copy.deepcopy(model.audio_encoder.embedder).double()
    level = torch.logspace(-5, -0.5, 60 * FRAME)
    audio = (level * noise(60 * FRAME / 48_000)[0, 0]).numpy()
    samples = torch.from_numpy(audio).double()[None, None]
    expected = embedder.bottleneck(embedder.dac_encoder(samples))[0].T
    codec, stream = Codec(embedder), Stream()
    with torch.inference_mode():
        for end in (20, 32, 44, 60):
            window = Window(0, audio[: end * FRAME])
            (found,) = codec.hear([stream], [window])
    assert (found - expected).abs().max() < 1e-9 * expected.std()


def test_the_features_of_training_are_those_of_the_model(model: Any) -> None:
    """`read_out` after `filterbank` is the codec; `encode` after it is the model's own forward.

    Also where training computes in bfloat16.
    """
    samples = 0.1 * torch.randn(1, 1, 2 * 48_000, generator=torch.Generator().manual_seed(2))
    embedder = model.audio_encoder.embedder
    with torch.no_grad():
        codec = embedder.bottleneck(embedder.dac_encoder(samples)).transpose(1, 2)
        outputs = frontend.filterbank(embedder.dac_encoder, samples)
        assert torch.allclose(encoder.read_out(model, outputs), codec, atol=1e-3)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.allclose(encoder.read_out(model, outputs), codec, atol=1e-3)
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
