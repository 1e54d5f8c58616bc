"""The codec's layers as the engine runs them: the same features, without what cannot change them.

A checkpoint's codec may hold channels and residual units that no feature depends on: the embedded
one is built by analysis and uses few of its weights. From the last layer back, only the channels
that some live channel reads are kept, and of their kernels only the taps that are used. Where every
weight is in use, all of them are.

Snake writes in place, and convolutions are over channels-last images of height 1, for which the
CPU's kernels are faster than for 1-D ones.

The layers are divided where the sampling rate falls, so that a stream can go on from the middle of
them (`pe_stream.model.codec`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn


def lean(embedder: Any) -> Layers:
    """`embedder`'s DAC encoder and bottleneck.

    The weights are copies: of the device and type that they have now.
    """
    dac = embedder.dac_encoder
    live = torch.arange(embedder.bottleneck.out_channels)
    layers: list[nn.Module] = []
    blocks: list[CodecBlock] = []

    def convolution(conv: nn.Conv1d) -> None:
        nonlocal live
        read = _read(conv, live)
        layers.append(_convolution(conv, live, read))
        live = read

    convolution(embedder.bottleneck)
    convolution(dac.conv2)
    layers.append(_Snake(dac.snake1, live))
    for block in reversed(dac.block):
        blocks.append(CodecBlock(layers[::-1]))
        layers.clear()
        convolution(block.conv1)
        layers.append(_Snake(block.snake1, live))
        for unit in (block.res_unit3, block.res_unit2, block.res_unit1):
            if unit.conv2.weight[live].any() or unit.conv2.bias[live].any():
                kept = _Residual(unit, live)
                layers.append(kept)
                live = kept.read
    layers.append(_convolution(dac.conv1, live, torch.zeros(1, dtype=torch.long)))
    blocks.append(CodecBlock(layers[::-1]))
    return Layers(blocks[::-1])


@contextmanager
def convolving(*, cudnn: bool) -> Iterator[None]:
    """For whatever runs a codec. Wrong results were seen with cuDNN, so the model turns it off."""
    with torch.backends.cudnn.flags(enabled=cudnn, allow_tf32=False):
        yield


class Layers(nn.Module):
    """The codec: (B, samples) to features (B, samples / FRAME, D)."""

    def __init__(self, blocks: list[CodecBlock]) -> None:
        super().__init__()
        self.blocks = cast("list[CodecBlock]", nn.ModuleList(blocks))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and of the features."""
        return next(self.parameters()).dtype

    def image(self, samples: Tensor) -> Tensor:
        """Samples (B, n) as the first block takes them: (B, 1, 1, n)."""
        image = samples[:, None, None].to(self.dtype)
        return image.contiguous(memory_format=torch.channels_last)

    def forward(self, samples: Tensor) -> Tensor:
        """Features of whole stretches of audio."""
        image = self.image(samples)
        for block in self.blocks:
            image = block(image)
        return image[:, :, 0].transpose(1, 2)


class CodecBlock(nn.Module):
    """Layers up to where the rate falls: images (B, C, 1, n) to (B, D, 1, n / stride).

    Output j depends on the inputs stride * j - before .. stride * j + after.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.stride = math.prod(made.stride[1] for made in layers if isinstance(made, nn.Conv2d))
        self.before = self.after = 0
        for layer in reversed(layers):
            self.before, self.after = _sees(layer, self.before, self.after)
        self.before, self.after = max(0, self.before), max(0, self.after)

    def forward(self, image: Tensor) -> Tensor:
        """May overwrite its input."""
        made: Tensor = self.layers(image)
        return made


def _sees(layer: nn.Module, before: int, after: int) -> tuple[int, int]:
    """How far one sees at a layer's input who sees so far at its output.

    From the strides, dilations, paddings, and the kernel taps that are not zero (the embedded
    checkpoint uses few of them).
    """
    if isinstance(layer, _Residual):
        inner = _sees(layer.conv1, *_sees(layer.conv2, before, after))
        return max(before, inner[0]), max(after, inner[1])
    if not isinstance(layer, nn.Conv2d):
        return before, after
    used = _used_taps(layer.weight)
    stride, dilation, padding = layer.stride[1], layer.dilation[1], int(layer.padding[1])
    first, last = used[0] * dilation - padding, used[-1] * dilation - padding
    return before * stride - first, after * stride + last


class _Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, of channels `kept`. Overwrites its input."""

    alpha: Tensor
    inverse: Tensor

    def __init__(self, snake: Any, kept: Tensor) -> None:
        super().__init__()
        alpha = snake.alpha.detach()[0, kept, 0].view(1, -1, 1, 1)
        self.register_buffer("alpha", alpha)
        self.register_buffer("inverse", (alpha + 1e-9).reciprocal())

    def forward(self, image: Tensor) -> Tensor:
        return image.add_((image * self.alpha).sin_().square_().mul_(self.inverse))


class _Residual(nn.Module):
    """A residual unit whose output has only the channels `live`.

    read: the channels that it needs of its input. inner, live: where those of its first
    convolution, and those of its output, are among them; None where they are all.
    """

    inner: Tensor | None
    live: Tensor | None

    def __init__(self, unit: Any, live: Tensor) -> None:
        super().__init__()
        middle = _read(unit.conv2, live)
        inner = _read(unit.conv1, middle)
        self.read = torch.cat([live, inner]).unique()
        self.snake1 = _Snake(unit.snake1, inner)
        self.conv1 = _convolution(unit.conv1, middle, inner)
        self.snake2 = _Snake(unit.snake2, middle)
        self.conv2 = _convolution(unit.conv2, live, middle)
        self.register_buffer("inner", _places(inner, self.read), persistent=False)
        self.register_buffer("live", _places(live, self.read), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        inner = image.clone() if self.inner is None else image[:, self.inner]
        kept = image if self.live is None else image[:, self.live]
        added: Tensor = self.conv2(self.snake2(self.conv1(self.snake1(inner))))
        return added.add_(kept)


def _read(conv: nn.Conv1d, live: Tensor) -> Tensor:
    """The input channels that the output channels `live` depend on; at least one."""
    read = conv.weight.detach()[live].abs().amax(dim=(0, 2)).nonzero().flatten().cpu()
    return read if len(read) else torch.zeros(1, dtype=torch.long)


def _places(some: Tensor, every: Tensor) -> Tensor | None:
    """Indices of the sorted channels `some` in `every`; None where they are all of them."""
    return None if len(some) == len(every) else torch.searchsorted(every, some)


def _convolution(conv: nn.Conv1d, live: Tensor, read: Tensor) -> nn.Conv2d:
    """The convolution from channels `read` to channels `live`, as an image of height 1.

    Without the outer taps that are 0 on both sides.
    """
    weight = conv.weight.detach()[live][:, read]
    taps, dilation, padding = conv.kernel_size[0], conv.dilation[0], int(conv.padding[0])
    used = _used_taps(weight)
    spare = min(used[0], taps - 1 - used[-1], padding // dilation)
    made = nn.Conv2d(
        len(read),
        len(live),
        (1, taps - 2 * spare),
        stride=(1, conv.stride[0]),
        padding=(0, padding - spare * dilation),
        dilation=(1, dilation),
        device="meta",
    )
    kept = weight[:, :, None, spare : taps - spare]
    made.weight = nn.Parameter(
        kept.contiguous(memory_format=torch.channels_last), requires_grad=False
    )
    assert conv.bias is not None  # noqa: S101 - DAC's convolutions have one
    made.bias = nn.Parameter(conv.bias.detach()[live], requires_grad=False)
    return made


def _used_taps(weight: Tensor) -> list[int]:
    """The last dimension's indices where any weight is not 0; the first where all are."""
    used = weight.detach().abs().flatten(0, -2).amax(0).nonzero().flatten()
    return used.tolist() or [0]
