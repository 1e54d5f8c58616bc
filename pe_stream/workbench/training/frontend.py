"""The codec, built by analysis instead of learned: log energies of 48 bands.

Learning a filterbank on raw samples by gradient takes days; its answer is known. So the weights
of the DAC encoder's first five blocks are written down: a low-pass, delays that only sort samples
into channels (a polyphase decomposition), and 48 complex band-pass filters on a mel scale, whose
output at 100 Hz enters the sixth block. That one and what follows take the logarithm of the bands'
energies (`pe_stream.workbench.training.logarithm`), so that the codec's features are `features` of
the filters' outputs, to about half a dB.

Everything before the sixth block is linear (the Snake activations have an alpha so small that they
pass the signal: x + sin^2(a x)/a = x + a x^2), so it equals one convolution of stride 480. That one
is fast enough to take hours of audio through in seconds, and gain, equalisation and mixing can be
done on its output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.workbench.training import logarithm

RATIOS = (3, 2, 4, 5, 4, 4)
"""Strides of the six blocks: 48 kHz to 16 kHz, then 8,000, 2,000, 400, 100 and 25 a second."""

BANDS = 48
"""Complex filters; each gives two real channels."""

CHANNELS = 2 * BANDS

HOP = math.prod(RATIOS[:5])
"""Samples (48 kHz) between outputs of the filterbank: 480, 10 ms."""

_PASS = 1e-4
"""Alpha of a Snake that lets the signal pass: second harmonic at -80 dB for full scale."""

_RATE = 16_000
"""Sample rate of the filters' input, after the low-pass (Hz)."""

_TAPS = 320
"""Length of a filter, 20 ms."""


def build(embedder: Any) -> None:
    """Write the front end into `embedder`: a DAC encoder of 6 channels with `RATIOS`, a bottleneck.

    All weights of both are set; those that no feature depends on are 0.
    """
    dac = embedder.dac_encoder
    with torch.no_grad():
        for block in (*dac.block, dac):
            for module in block.modules():
                if hasattr(module, "alpha"):
                    module.alpha.fill_(_PASS)
        for module in _convolutions(embedder):
            for weight in module.parameters():
                weight.zero_()
        _write_lowpass(dac, lowpass_stages())
        used = _write_delays(dac)
        kernels = filters().reshape(CHANNELS, 8, used)
        for channel, offset in enumerate(_offsets()):
            dac.block[4].conv1.weight[:CHANNELS, channel] = kernels[:, :, offset]
            dac.block[4].conv1.weight[CHANNELS:, channel] = -kernels[:, :, offset]
        logarithm.write(embedder, BANDS, RATIOS[5])


def filterbank(dac: Any, samples: Tensor) -> Tensor:
    """The filters' outputs by the model's own modules: (B, 1, n) to (B, 96, n / 480)."""
    hidden = dac.conv1(samples)
    for block in dac.block[:5]:
        hidden = block(hidden)
    used: Tensor = hidden[:, :CHANNELS] / logarithm.SCALE
    return used


def entering(outputs: Tensor) -> Tensor:
    """Input of the sixth block: (B, 96, n) outputs to (B, 192, n), with their negatives."""
    return torch.cat([outputs, -outputs], dim=1) * logarithm.SCALE


def kernel() -> tuple[Tensor, int]:
    """The front end as one convolution of stride 480: its (96, 1, taps) weights, left padding.

    `F.conv1d(F.pad(samples, (padding, padding)), weights, stride=480)` is `filterbank` but for the
    rounding and the Snakes' harmonics.
    """
    impulse = _impulse_response(lowpass_stages())
    bank = torch.zeros(CHANNELS, 3 * (_TAPS - 1) + 1, dtype=torch.float64)
    bank[:, ::3] = filters().double()
    weights = _convolve(bank, impulse)
    # Zero padding of the model's convolutions: 7 taps each, 1, 1, 3 and 9 samples apart; the
    # stride of 3; then, at a third of the rate, the stride of 4 over frames of 40.
    padding = 3 * (1 + 1 + 3 + 9) + 2 + 3 * 2 * 40
    return weights[:, None].float(), padding


def features_100hz(outputs: Tensor) -> Tensor:
    """Log energy of each band, standardised: (B, 96, n) filterbank outputs to (B, 48, n).

    About 0 for a band at -50 dBFS and 1 for each 15 dB above it; floor at -80 dBFS.
    """
    real, imaginary = outputs[:, 0::2], outputs[:, 1::2]
    energy = real.square() + imaginary.square()
    # Over three steps, as the energy of noise within one is little more than chance.
    padded = F.pad(energy, (1, 1), mode="replicate")
    energy = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
    return (10 * torch.log10(energy + 10**-8) + 50) / 15


def features(outputs: Tensor) -> Tensor:
    """Target features of the codec: (B, 96, 4 T) to (B, T, 192), four times 48 bands."""
    bands = features_100hz(outputs)
    batch, _, steps = bands.shape
    frames = steps // RATIOS[5]
    bands = bands[..., : frames * RATIOS[5]].reshape(batch, BANDS, frames, RATIOS[5])
    return bands.permute(0, 2, 3, 1).reshape(batch, frames, BANDS * RATIOS[5])


def centres_hz() -> np.ndarray[Any, np.dtype[np.float64]]:
    """The 48 centre frequencies (Hz), evenly spaced in mel from 75 to 7,450."""
    mel = np.linspace(2595 * np.log10(1 + 75 / 700), 2595 * np.log10(1 + 7450 / 700), BANDS)
    return np.asarray(700 * (10 ** (mel / 2595) - 1), np.float64)


def filters() -> Tensor:
    """Impulse responses at 16 kHz: (96, 320), real and imaginary parts in turn.

    Hann windows of 20 ms (so about 90 Hz wide) at the centre frequencies. Where the mel spacing is
    wider than that, the frequency sweeps over it within the window, which widens the band.
    """
    centres = centres_hz()
    spacing = np.gradient(centres)
    seconds = (np.arange(_TAPS) - (_TAPS - 1) / 2) / _RATE
    length_s = _TAPS / _RATE
    window = 0.5 + 0.5 * np.cos(2 * np.pi * seconds / length_s)
    rows = []
    for centre, width in zip(centres, spacing, strict=True):
        sweep = max(0.0, width - 90.0)
        phase = 2 * np.pi * centre * seconds + np.pi * sweep / length_s * seconds**2
        response = window * np.exp(1j * phase) * 2 / window.sum() * np.sqrt(1 + sweep / 100)
        rows += [response.real, response.imag]
    return torch.tensor(np.stack(rows), dtype=torch.float32)


@functools.cache
def lowpass_stages() -> tuple[Tensor, ...]:
    """The low-pass as what the first convolutions can hold: taps of five short filters.

    In turn: 7 taps; three residual stages (1 + filter of 7 taps, 1, 3 and 9 samples apart); 6 taps,
    of which every third output is kept. Fitted to pass below 7.2 kHz and stop above 8.7 kHz.
    """
    frequency = torch.linspace(0, math.pi, 600, dtype=torch.float64)
    hz = frequency / math.pi * 24_000
    passed, stopped = hz < 7200, hz > 8700
    generator = torch.Generator().manual_seed(0)
    stages = [torch.zeros(taps, dtype=torch.float64) for taps in (7, 7, 7, 7, 6)]
    stages[0][3] = 1.0
    stages[4][2:4] = 0.5
    for stage in stages:
        noise = torch.randn(len(stage), generator=generator, dtype=torch.float64)
        stage.add_(0.02 * noise).requires_grad_()
    optimizer = torch.optim.Adam(stages, lr=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 2500)
    with torch.enable_grad():
        for _ in range(2500):
            response = _response(stages, frequency)
            leak = response[stopped].abs()
            loss = (response[passed] - 1).abs().square().mean()
            loss = loss + 30 * leak.square().mean() + 0.3 * leak.max().square()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return tuple(stage.detach().float() for stage in stages)


def _response(stages: Sequence[Tensor], frequency: Tensor) -> Tensor:
    """Complex gain at `frequency` (radians a sample), without the delay of the centre."""

    def gain(taps: Tensor, dilation: int = 1) -> Tensor:
        position = dilation * (torch.arange(len(taps)) - (len(taps) - 1) / 2)
        return (taps * torch.exp(-1j * frequency[:, None] * position)).sum(1)

    first, near, middle, far, last = stages
    residuals = (1 + gain(near)) * (1 + gain(middle, 3)) * (1 + gain(far, 9))
    return gain(first) * residuals * gain(last)


def _impulse_response(stages: Sequence[Tensor]) -> Tensor:
    """The low-pass as one filter at 48 kHz, in the order of conv1d's weights."""
    first, near, middle, far, last = (stage.double() for stage in stages)
    out = first
    for taps, dilation in ((near, 1), (middle, 3), (far, 9)):
        spread = torch.zeros(6 * dilation + 1, dtype=torch.float64)
        spread[::dilation] = taps
        spread[3 * dilation] += 1
        out = _convolve(out, spread)
    return _convolve(out, last)


def _convolve(left: Tensor, right: Tensor) -> Tensor:
    """The convolution of each row of `left` (..., n) with `right` (m,): (..., n + m - 1)."""
    rows = left.reshape(-1, 1, left.shape[-1])
    out = F.conv1d(rows, right.flip(0)[None, None], padding=len(right) - 1)
    return out.reshape(*left.shape[:-1], -1)


def _convolutions(module: nn.Module) -> list[nn.Conv1d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv1d)]


def _write_lowpass(dac: Any, stages: Sequence[Tensor]) -> None:
    first, near, middle, far, last = stages
    dac.conv1.weight[0, 0] = first
    block = dac.block[0]
    units = (block.res_unit1, block.res_unit2, block.res_unit3)
    for taps, unit in zip((near, middle, far), units, strict=True):
        unit.conv1.weight[0, 0] = taps
        unit.conv2.weight[0, 0, 0] = 1
    block.conv1.weight[0, 0] = last


def _write_delays(dac: Any) -> int:
    """Blocks 2 to 4: channel c, sample n s + j goes to channel c s + j, sample n.

    Together they scale it by `logarithm.SCALE`. Returns how many channels are used in the end.
    """
    used = 1
    for index, weight in ((1, 2.0**-5), (2, 2.0**-5), (3, logarithm.SCALE * 2**10)):
        stride = RATIOS[index]
        for channel in range(used):
            for phase in range(stride):
                tap = math.ceil(stride / 2) + phase
                dac.block[index].conv1.weight[channel * stride + phase, channel, tap] = weight
        used *= stride
    return used


def _offsets() -> list[int]:
    """For each channel after the delays, the sample (16 kHz) of its frame of 40 that it carries."""
    offsets, span = [0], 1
    for stride in RATIOS[1:4]:
        offsets = [offset + span * phase for offset in offsets for phase in range(stride)]
        span *= stride
    return offsets
