"""Codec features of a stream, each computed once: only what is new goes through the codec.

The codec is convolutional, so a frame's features depend on a bounded stretch of samples. Windows
overlap; what the last window's final features cover is kept, and only the new frames are computed,
with as much audio before them as they can see (`context`). The newest frames of a window cannot see
far enough ahead yet (`provisional`); they are computed again in the next window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pe_stream.core.types import FRAME, Window
from pe_stream.core.windows import Framing
from pe_stream.model.compiled import Compiled
from pe_stream.model.lean import as_in_the_model, lean


@dataclass(slots=True, eq=False)
class Stream:
    """What is kept of one stream between its windows; a new one for every stream.

    start: absolute sample index of the first frame of `features`. features: (frames, D), of the
    last window. final: how many of them no later audio can change.
    """

    start: int = 0
    features: Tensor | None = None
    final: int = 0

    def known(self, window: Window) -> int:
        """How many frames at the start of `window` have final features here."""
        offset, rest = divmod(window.start - self.start, FRAME)
        if self.features is None or rest or not 0 <= offset < self.final:
            return 0
        return min(self.final - offset, window.frames)


class Codec:
    """A checkpoint's DAC encoder and bottleneck.

    context: frames before a frame that it can see, in part at least; as many at the start of a
        chunk of audio depend on the zeros before it.
    provisional: frames at the end of a chunk that depend on the zeros after it.
    exact: whether a window's first frames see zeros before them, as in the model's own call on
        the window, instead of the audio that truly was there.
    """

    def __init__(
        self, embedder: Any, *, dtype: torch.dtype | None = None, exact: bool = False
    ) -> None:
        """Take an embedder's weights; dtype: to compute in, by default the weights' own."""
        self._device = embedder.bottleneck.weight.device
        self._layers = Compiled(lean(embedder).to(dtype))
        self._exact = exact
        before, after = reach(embedder)
        self.context = math.ceil(before / FRAME)
        self.provisional = math.ceil((after + 1) / FRAME) - 1

    @property
    def dtype(self) -> torch.dtype:
        """Of the features."""
        return next(self._layers.parameters()).dtype

    def features(self, samples: Tensor) -> Tensor:
        """Features of whole stretches of audio: (B, n) samples to (B, n / FRAME, D)."""
        with as_in_the_model():
            features: Tensor = self._layers(samples)
        return features

    def warm(self, framing: Framing, streams: int) -> None:
        """Compile for what comes every hop of up to so many streams."""
        lengths = {min(self.context + framing.hop + self.provisional, framing.window)}
        if self._exact:
            lengths.add(min(2 * self.context, framing.window))
        for length in lengths:
            for count in batch_sizes(length, streams, self._device):
                example = torch.zeros(count, length * FRAME, device=self._device)
                with as_in_the_model():
                    if not self._layers.warm(example):
                        return

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[Tensor]:
        """Features (frames, D) of each window of each stream; the streams remember them.

        Raises ValueError on a window that is not one or more whole frames.
        """
        known = [stream.known(window) for stream, window in zip(streams, windows, strict=True)]
        # Without anything new (the end of a stream) the provisional frames stay as they are.
        firsts = [max(0, count - self.context) for count in known]
        chunks = [
            window.samples[first * FRAME :] for window, first in zip(windows, firsts, strict=True)
        ]
        edges: list[Any] = []
        if self._exact:
            edges = [window.samples[: 2 * self.context * FRAME] for window in windows]
        computed = self._each([*chunks, *edges])
        made = []
        for i, (stream, window) in enumerate(zip(streams, windows, strict=True)):
            features = computed[i][known[i] - firsts[i] :]
            if stream.features is not None and known[i]:
                offset = (window.start - stream.start) // FRAME
                features = torch.cat([stream.features[offset : offset + known[i]], features])
            stream.start, stream.features = window.start, features
            stream.final = max(0, window.frames - self.provisional)
            if self._exact:
                edge = computed[len(windows) + i][: self.context]
                features = torch.cat([edge, features[len(edge) :]])
            made.append(features)
        return made

    def _each(self, chunks: Sequence[Any]) -> list[Tensor]:
        """Features of chunks of several lengths; those of one length are computed together.

        Never mixed: zero padding changes the last frames of the shorter chunk.
        """
        out: dict[int, Tensor] = {}
        for batch in batches([(len(chunk) // FRAME,) for chunk in chunks], self._device):
            rows = torch.stack([torch.from_numpy(chunks[i]) for i in batch])
            if self._device.type == "cuda":
                rows = rows.pin_memory()  # so that the copy does not wait for the GPU
            features = self.features(rows.to(self._device, non_blocking=True))
            out.update(zip(batch, features, strict=True))
        return [out[i] for i in range(len(chunks))]


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Of a batch: rows, and frames in all of them."""

    rows: int
    frames: int


_BOUNDS = {"cpu": _Bounds(8, 1000), "cuda": _Bounds(64, 16_000)}
"""A full-size codec holds several tensors of 123 MB for 250 frames (64 channels of float32)."""


def largest_batch(device: torch.device) -> int:
    """How many streams are computed together at most."""
    return _BOUNDS.get(device.type, _BOUNDS["cpu"]).rows


def batches(shapes: Sequence[tuple[int, ...]], device: torch.device) -> list[list[int]]:
    """Indices of equal `shapes` (frames first) together, in powers of two, so that they recur."""
    bounds = _BOUNDS.get(device.type, _BOUNDS["cpu"])
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(i)
    made = []
    for shape, same in by_shape.items():
        most = max(1, min(bounds.rows, bounds.frames // max(1, shape[0])))
        while same:
            size = 2 ** (min(most, len(same)).bit_length() - 1)
            made.append(same[:size])
            same = same[size:]  # noqa: PLW2901 - what is left
    return made


def batch_sizes(frames: int, streams: int, device: torch.device) -> list[int]:
    """Sizes of the batches in which `frames` of up to so many streams come."""
    made = {len(batch) for n in range(1, streams + 1) for batch in batches([(frames,)] * n, device)}
    return sorted(made)


def reach(embedder: Any) -> tuple[int, int]:
    """How far a frame's features see: samples before the frame's first, and after it.

    From the convolutions' own strides, dilations, paddings, and the kernel taps that are not zero
    (the embedded checkpoint uses few of them), last layer first.
    """
    before, after = _through(0, 0, embedder.bottleneck)
    encoder = embedder.dac_encoder
    before, after = _through(before, after, encoder.conv2)
    for block in reversed(encoder.block):
        before, after = _through(before, after, block.conv1)
        for unit in (block.res_unit3, block.res_unit2, block.res_unit1):
            if unit.conv1.weight.any() and unit.conv2.weight.any():
                inner = _through(*_through(before, after, unit.conv2), unit.conv1)
                before, after = max(before, inner[0]), max(after, inner[1])
    return _through(before, after, encoder.conv1)


def _through(before: int, after: int, layer: nn.Conv1d) -> tuple[int, int]:
    """The reach at a convolution's input, of the reach at its output."""
    used = layer.weight.detach().abs().amax(dim=(0, 1)).nonzero().flatten().tolist() or [0]
    stride, dilation = layer.stride[0], layer.dilation[0]
    padding = 0 if isinstance(layer.padding, str) else int(layer.padding[0])
    first, last = used[0] * dilation - padding, used[-1] * dilation - padding
    return before * stride - first, after * stride + last
