"""The logarithm of a band's energy, made of the codec's own Snakes and convolutions.

A Snake, x + sin^2(a x) / a, passes its input and bends it. A weighted sum of a few of them can bend
the line c, for c in 0..1, to about R c / (1 + (R - 1) c): R times as steep at 0, flat towards 1.
Where c = E / (E + X), with E the energy, that is E / (E + X / R): the same saturating curve, R
times further down. So from layer to layer the curve reaches down by 7 to 14 dB more, over seven
layers of Snakes from full scale to -80 dBFS. And the sum of saturating curves at levels evenly
spaced in dB is the logarithm: at any energy those of lower levels are full, those of higher ones
empty. So three of the four channels that a band has carry the newest curve, for the next Snakes to
bend, and the fourth carries the sum so far.

The first four layers have no biases, so that silence is exactly 0 in them: they make it some ten
thousand times steeper, and the rounding of a bias too. All numbers are in `logarithm.yaml`, as fp16
holds them; `python -m pe_stream.workbench.training.fit_logarithm` finds them.

How a band b of B uses the sixth block of the DAC encoder (4 B channels at 100 Hz):

    input       real and imaginary part of the filter's output, and both negated
    unit 1      snake1 squares: those of a part and of its negative leave 2 sin^2(a x) / a, about
                2 a x^2; conv1 adds the parts, and three steps by 1/4, 1/2 and 1/4, to the energy;
                snake2 of four channels is the first layer; conv2 adds it to the input, which is
                so small (`SCALE`) that it does not matter there
    unit 2, 3   two layers each, by the middle taps only
    the end     snake1; the strided convolution to two channels for each of the four steps; their
                Snakes; and their sum, a feature
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

SCALE = 2.0**-15
"""Scale of the filters' outputs at the input of the sixth block."""

WIDTH = 4
"""Channels of a band, in the sixth block."""

FILE = Path(__file__).with_name("logarithm.yaml")

SQUARE = 1.0
"""Alpha of the Snakes that square, for outputs of scale 1.

A square is sin^2(a x) / a^2. So no input, however loud, makes an energy of more than 2 / a^2 = 2,
up to which the logarithm is fitted. The energy of a sine at -10 dBFS is 0.1 dB too low, and that of
one at full scale 1 dB.
"""


@dataclass(frozen=True)
class Logarithm:
    """Weights and slopes of a band's channels.

    From E, the energy: p = E / 2; s = first p; s += unit(s), twice; y = the end of s.
    alpha: (4,) of the Snakes before and after a unit's convolution; into, out: its weights (to,
    from); bias: (to,).
    """

    first_alpha: Tensor
    first_out: Tensor
    first_bias: Tensor
    second_alpha_in: Tensor
    second_into: Tensor
    second_alpha: Tensor
    second_out: Tensor
    second_bias: Tensor
    third_alpha_in: Tensor
    third_into: Tensor
    third_into_bias: Tensor
    third_alpha: Tensor
    third_out: Tensor
    third_bias: Tensor
    last_alpha_in: Tensor
    last_into: Tensor
    last_into_bias: Tensor
    last_alpha: Tensor
    last_out: Tensor
    last_bias: Tensor

    def __call__(self, energy: Tensor) -> Tensor:
        """Features of energies (n,): about (10 log10(E + 1e-8) + 50) / 15."""
        half = energy[:, None] / 2
        state = snake(half, self.first_alpha) @ self.first_out.T + self.first_bias
        inner = snake(state, self.second_alpha_in) @ self.second_into.T
        state = state + snake(inner, self.second_alpha) @ self.second_out.T + self.second_bias
        inner = snake(state, self.third_alpha_in) @ self.third_into.T + self.third_into_bias
        state = state + snake(inner, self.third_alpha) @ self.third_out.T + self.third_bias
        inner = snake(state, self.last_alpha_in) @ self.last_into.T + self.last_into_bias
        return snake(inner, self.last_alpha) @ self.last_out + self.last_bias


def snake(x: Tensor, alpha: Tensor) -> Tensor:
    """The codec's activation: x + sin^2(alpha x) / alpha."""
    return x + torch.sin(alpha * x) ** 2 / alpha


@functools.cache
def read() -> Logarithm:
    """The logarithm as it was written down, in float64."""
    kept: Mapping[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
    return Logarithm(
        *(torch.tensor(kept[each.name], dtype=torch.float64) for each in fields(Logarithm))
    )


def write(embedder: Any, bands: int, steps: int) -> None:
    """Write the logarithm of each of `bands` into the sixth block of a codec, and what follows.

    steps: the block's stride. Features are in the order of `frontend.features`. All other weights
    of these layers are to be 0 before.
    """
    kept = read()
    dac = embedder.dac_encoder
    block = dac.block[5]
    first, second, third = block.res_unit1, block.res_unit2, block.res_unit3
    # Channels of band b: 2 b, 2 b + 1, and the same again for the negatives.
    own = torch.arange(2 * bands).reshape(bands, 2)
    own = torch.cat([own, own + 2 * bands], 1)
    first.snake1.alpha.fill_(SQUARE / SCALE)
    # The four squares' sum is E times 2 SQUARE SCALE; taps of fp16 make it E / 2.
    for tap, part in ((2, 0.25), (3, 0.5), (4, 0.25)):
        ones = torch.full((WIDTH, WIDTH), part / (4 * SQUARE * SCALE))
        _set(first.conv1.weight[..., tap], own, own, ones)
    _end_of_unit(first, own, kept.first_alpha, kept.first_out, kept.first_bias)
    _set(second.conv1.weight[..., 3], own, own, kept.second_into)
    _bend(second.snake1, own, kept.second_alpha_in)
    _end_of_unit(second, own, kept.second_alpha, kept.second_out, kept.second_bias)
    _set(third.conv1.weight[..., 3], own, own, kept.third_into)
    _add(third.conv1.bias, own, kept.third_into_bias)
    _bend(third.snake1, own, kept.third_alpha_in)
    _end_of_unit(third, own, kept.third_alpha, kept.third_out, kept.third_bias)
    _bend(block.snake1, own, kept.last_alpha_in)
    width = bands * steps
    for step in range(steps):
        features = step * bands + torch.arange(bands)
        pairs = torch.stack([features, width + features], 1)
        _set(block.conv1.weight[..., steps // 2 + step], pairs, own, kept.last_into)
        _add(block.conv1.bias, pairs, kept.last_into_bias)
        _bend(dac.snake1, pairs, kept.last_alpha)
        _set(dac.conv2.weight[..., 1], features[:, None], pairs, kept.last_out[None])
        _add(dac.conv2.bias, features[:, None], kept.last_bias)
    each = torch.arange(width)[:, None]
    _set(embedder.bottleneck.weight[..., 0], each, each, torch.ones(1, 1))


def _end_of_unit(unit: Any, own: Tensor, alpha: Tensor, out: Tensor, bias: Tensor) -> None:
    _bend(unit.snake2, own, alpha)
    _set(unit.conv2.weight[..., 0], own, own, out)
    _add(unit.conv2.bias, own, bias)


def _bend(snake1d: Any, channels: Tensor, alpha: Tensor) -> None:
    snake1d.alpha[0, channels, 0] = alpha.to(snake1d.alpha)


def _set(weight: Tensor, to: Tensor, source: Tensor, values: Tensor) -> None:
    """For each band the same `values` (m, n): to channels (bands, m), from `source` (bands, n)."""
    weight[to[:, :, None], source[:, None]] = values.to(weight)


def _add(bias: Tensor, to: Tensor, values: Tensor) -> None:
    bias[to] = values.to(bias)
