"""Codec features of a stream, each computed once: only what is new goes through the codec.

The codec is convolutional, so whatever it computes depends on a bounded stretch of samples. Each of
its blocks goes on from where it was: the outputs that no later audio can change were handed on to
the next block then; only the others are computed, and of a block's input is kept what these depend
on. So nothing is computed twice but the ends: in all blocks, the newest outputs cannot see far
enough ahead yet. They are `provisional`, and computed again with the audio that follows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pe_stream.core.types import FRAME, Samples, Window
from pe_stream.core.windows import Framing
from pe_stream.model.codec_layers import Layers, convolving, lean
from pe_stream.model.compiled import Compiled


@dataclass(slots=True, eq=False)
class Stream:
    """State of one stream between its windows; a new one for every stream.

    begun: absolute sample index where the codec began: before it, it sees zeros.
    heard: frames since then. inputs: what each block but the first needs again of its input.
    start: absolute sample index of the first frame of `features`: (frames, D), of the last window.
    """

    begun: int = 0
    heard: int = 0
    inputs: tuple[Tensor, ...] = ()
    start: int = 0
    features: Tensor | None = None


class Codec:
    """A checkpoint's DAC encoder and bottleneck.

    receptive_field: samples that a frame sees before its first, and after it.
    context: frames at the start of a stretch of audio that depend on the zeros before it.
    provisional: frames at the end of a stretch that depend on the zeros after it.
    exact: whether a window's first frames see zeros before them, as in the model's own call on
        the window, instead of the audio that truly was there.
    """

    def __init__(
        self,
        embedder: Any,
        *,
        dtype: torch.dtype | None = None,
        cudnn: bool = False,
        exact: bool = False,
    ) -> None:
        """Take an embedder's weights; dtype: to compute in, by default the weights' own.

        cudnn: whether to trust cuDNN; see `pe_stream.model.precision`.
        """
        self._device = embedder.bottleneck.weight.device
        self._stateful = _StatefulCodec(lean(embedder).to(dtype))
        self._fast = Compiled(self._stateful)
        self._cudnn, self._exact = cudnn, exact
        self.receptive_field = before, after = self._stateful.receptive_field
        self.context = math.ceil(before / FRAME)
        self.provisional = math.ceil((after + 1) / FRAME) - 1

    @property
    def dtype(self) -> torch.dtype:
        """Type of the features."""
        return self._stateful.layers.dtype

    def warm(self, framing: Framing, streams: int) -> None:
        """Compile for what comes every hop of up to so many streams."""
        frames_seen = self._stateful.steady_after
        inputs = self._run(torch.zeros(1, frames_seen * FRAME, device=self._device), 0)[1:]
        samples = (frames_seen + framing.hop) * FRAME - self._stateful.plan(frames_seen)[0].begin
        for count in batch_sizes(framing.hop, streams, self._device):
            example = torch.zeros(count, samples, device=self._device)
            kept = [each.expand(count, -1, -1, -1) for each in inputs]
            with convolving(cudnn=self._cudnn):
                if not self._fast.warm(
                    example, frames_seen, *(_as_images(list(each)) for each in kept)
                ):
                    return

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[Tensor]:
        """Features (frames, D) of each window of each stream; the streams remember them.

        A stream may come several times: its windows follow each other. Raises ValueError on a
        window that is not one or more whole frames.
        """
        found: dict[int, Tensor] = {}
        for turn in _turns(streams):
            made = self._hear([streams[i] for i in turn], [windows[i] for i in turn])
            found.update(zip(turn, made, strict=True))
        return [found[i] for i in range(len(windows))]

    def _hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[Tensor]:
        """The same of streams that are not the same."""
        for stream, window in zip(streams, windows, strict=True):
            if not self.follows(stream, window):
                if window.before < 0:
                    raise ValueError("a window whose beginning is left out, and was not heard")
                stream.begun, stream.heard, stream.inputs = window.begin, 0, ()
                stream.start, stream.features = window.begin, None
        self._go_on(streams, windows)
        features = [stream.features for stream in streams if stream.features is not None]
        return self._with_edges(windows, features) if self._exact else features

    def wants(self, stream: Stream) -> int:
        """Absolute index of the first sample that the stream's next window has to hold."""
        return stream.begun + self._stateful.plan(stream.heard)[0].begin

    def follows(self, stream: Stream, window: Window) -> bool:
        """Whether the window goes on from what the stream has heard, and holds what is missing."""
        offset, rest = divmod(window.start - stream.start, FRAME)
        if stream.features is None or rest or offset < 0:
            return False
        heard = self._end(stream, window) >= stream.heard
        return heard and window.begin <= self.wants(stream)

    def _end(self, stream: Stream, window: Window) -> int:
        """Frames since the stream's beginning, at the end of the window."""
        return (window.start - stream.begun) // FRAME + window.frames

    def _go_on(self, streams: Sequence[Stream], windows: Sequence[Window]) -> None:
        """Compute what the windows have beyond what the streams have heard.

        Never streams of different lengths together: zero padding changes the last frames of the
        shorter one.
        """
        new = [self._end(s, w) - s.heard for s, w in zip(streams, windows, strict=True)]
        ages = [min(stream.heard, self._stateful.steady_after) for stream in streams]
        for batch in batches(list(zip(new, ages, strict=True)), self._device):
            frames_seen = ages[batch[0]]
            if new[batch[0]]:
                rows = [windows[i].since(self.wants(streams[i])).samples for i in batch]
                inputs = zip(*(streams[i].inputs for i in batch), strict=True)
                made = self._run(self._samples(rows), frames_seen, *map(_as_images, inputs))
            else:  # the end of a stream: what was provisional stays as it is
                made = ()
            for row, i in enumerate(batch):
                self._keep(streams[i], windows[i], [each[row] for each in made])

    def _keep(self, stream: Stream, window: Window, made: Sequence[Tensor]) -> None:
        """Remember the features of the window, and what was made beside them."""
        features = stream.features
        offset = (window.start - stream.start) // FRAME
        if made:
            final = (
                self._stateful.plan(stream.heard)[-1].final - (stream.start - stream.begun) // FRAME
            )
            fresh = made[0][max(0, -final) :]
            features = fresh if features is None else torch.cat([features[: max(0, final)], fresh])
            stream.inputs = tuple(made[1:])
        assert features is not None  # noqa: S101 - a stream without any hears at least a frame
        stream.heard = self._end(stream, window)
        # A copy: what it was cut from is larger, and shared with other streams.
        stream.start, stream.features = window.start, features[offset:].clone()

    def _with_edges(self, windows: Sequence[Window], features: list[Tensor]) -> list[Tensor]:
        """The features as they are where zeros came before each window."""
        made = []
        for window, inner in zip(windows, features, strict=True):
            own = window.samples[window.before :]
            rows = self._samples([own[: (self.context + self.provisional) * FRAME]])
            edge = self._run(rows, 0)[0][0, : self.context]
            made.append(torch.cat([edge, inner[len(edge) :]]))
        return made

    def _samples(self, rows: Sequence[Samples]) -> Tensor:
        stacked = torch.from_numpy(np.stack(rows))
        if self._device.type == "cuda":
            stacked = stacked.pin_memory()  # so that the copy does not wait for the GPU
        return stacked.to(self._device, non_blocking=True)

    def _run(self, samples: Tensor, frames_seen: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        with convolving(cudnn=self._cudnn):
            made: tuple[Tensor, ...] = self._fast(samples, frames_seen, *inputs)
        return made


class _Position(NamedTuple):
    """Position of a block, counted from the stream's beginning.

    begin: first of its inputs that is needed again. final: outputs that no later audio can change.
    """

    begin: int
    final: int


class _StatefulCodec(nn.Module):
    """The codec for the next audio of streams of one age, the frames heard so far.

    receptive_field: as a Codec's. steady_after: the age from which on all is as at this age.
    """

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers
        before = after = 0
        for block in reversed(layers.blocks):
            before = before * block.stride + block.before
            after = after * block.stride + block.after
        self.receptive_field = before, after
        self.steady_after = 0
        while not all(place.begin > 0 for place in self.plan(self.steady_after)):
            self.steady_after += 1

    def plan(self, frames_seen: int) -> list[_Position]:
        """Position of each block."""
        made = []
        given = frames_seen * FRAME
        for block in self.layers.blocks:
            final = (given - 1 - block.after) // block.stride + 1
            final = max(0, min(final, given // block.stride))
            begin = max(0, final - math.ceil(block.before / block.stride)) * block.stride
            made.append(_Position(begin, final))
            given = final
        return made

    def forward(self, samples: Tensor, frames_seen: int, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Features, and the inputs of the later blocks for the next time.

        samples: (B, n), from the first block's `begin` on. inputs: (B, C, 1, k) of each later
        block, from its `begin` to what was final of the block before; none at age 0. Features:
        (B, frames, D), from the first that was not final on.
        """
        places = self.plan(frames_seen)
        after = self.plan((places[0].begin + samples.shape[1]) // FRAME)
        image = self.layers.image(samples)
        kept = []
        for i, block in enumerate(self.layers.blocks):
            begin = places[i].begin
            if i:
                if frames_seen:
                    image = torch.cat([inputs[i - 1], image], 3)
                image = image.contiguous(memory_format=torch.channels_last)
                again = image[..., after[i].begin - begin : after[i - 1].final - begin]
                kept.append(again.clone(memory_format=torch.channels_last))
            image = block(image)[..., places[i].final - begin // block.stride :]
        return image[:, :, 0].transpose(1, 2), *kept


def _turns(streams: Sequence[Stream]) -> list[list[int]]:
    """Indices of `streams`, those of one and the same one after the other."""
    turns: list[list[int]] = []
    seen: Counter[Stream] = Counter()
    for i, stream in enumerate(streams):
        if seen[stream] == len(turns):
            turns.append([])
        turns[seen[stream]].append(i)
        seen[stream] += 1
    return turns


def _as_images(rows: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(rows)).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """rows: of a batch. frames: in all rows of one. together: streams scored in one call.

    The batches of a call follow each other without waiting for results.
    """

    rows: int
    frames: int
    together: int


_BOUNDS = {"cpu": _Bounds(8, 1000, 8), "cuda": _Bounds(64, 16_000, 512)}
"""A full-size codec holds several tensors of 123 MB for 250 frames (64 channels of float32)."""


def most_together(device: torch.device) -> int:
    """How many streams are best scored in one call."""
    return _BOUNDS.get(device.type, _BOUNDS["cpu"]).together


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
