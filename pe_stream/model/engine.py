"""Windows of audio to frame scores: codec features, each computed once, then the encoder.

It computes the logits of `PeAudioFrameLevelModel.forward`, with the text half of that done once
and the codec's half done once per sample (`pe_stream.model.codec`). What is global, the encoder,
runs over every window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pe_stream.core.types import FRAME, FrameEmbeddings, FrameScores, Samples, Window
from pe_stream.core.windows import Framing
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.codec import Codec, Stream, batch_sizes, batches, most_together
from pe_stream.model.compiled import Compiled
from pe_stream.model.encoder import Encoder
from pe_stream.model.prompts import LabelEmbeddings


class Engine:
    """Scores windows for the labels it was given.

    labels: in the order of the columns; may be set to others between two calls.
    stage: told what begins: "codec", "encoder", "head" (labels and scores), "rest".
    """

    def __init__(
        self, checkpoint: Checkpoint, labels: LabelEmbeddings, *, exact: bool = False
    ) -> None:
        """Take what `embed_labels` made of the labels with the same checkpoint.

        exact: whether the first frames of every window see zeros before them, as in the model's
            own call, though there was audio; by default they see the audio.
        """
        self._checkpoint, self._exact = checkpoint, exact
        self.labels = labels
        self.stage: Callable[[str], None] = lambda _: None

    # Made where they are needed first: where another machine scores, they may never be.

    @cached_property
    def _codec(self) -> Codec:
        with torch.inference_mode():
            return Codec(
                self._checkpoint.model.audio_encoder.embedder,
                dtype=self._checkpoint.codec_dtype,
                cudnn=self._checkpoint.codec_cudnn,
                exact=self._exact,
            )

    @cached_property
    def _encoder(self) -> Compiled:
        model = self._checkpoint.model
        with torch.inference_mode():
            return Compiled(Encoder(model.audio_encoder, model.audio_head))

    def build(self) -> None:
        """Make what is not made yet, so that the first window takes no longer than others."""
        _ = self._codec, self._encoder

    @property
    def most_together(self) -> int:
        """How many windows are best scored in one call; more only come later."""
        return most_together(self._checkpoint.device)

    @property
    def width(self) -> int:
        """Number of values (D) of an embedding."""
        return self._checkpoint.width

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._checkpoint.device

    @property
    def context(self) -> int:
        """Frames ahead of a window that it depends on, where a stream has to begin anew."""
        return self._codec.context

    def wants(self, stream: Stream) -> int:
        """Absolute index of the first sample that the stream's next window has to hold."""
        return self._codec.wants(stream)

    def follows(self, stream: Stream, window: Window) -> bool:
        """Whether the window goes on from what the stream has heard, and holds what is missing."""
        return self._codec.follows(stream, window)

    @torch.inference_mode()
    def warm(self, framing: Framing, streams: int) -> None:
        """Compile for what comes every hop of up to so many streams.

        Takes a minute or more the first time; later it is read from a cache.
        """
        streams = min(streams, self.most_together)
        self._codec.warm(framing, streams)
        width = self._checkpoint.model.audio_encoder.embedder.bottleneck.out_channels
        for count in batch_sizes(framing.window, streams, self._checkpoint.device):
            shape = (count, framing.window, width)
            example = torch.zeros(shape, device=self._checkpoint.device, dtype=self._codec.dtype)
            if not self._encoder.warm(example, framing.hop + framing.lookahead):
                return

    def hear(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[FrameScores]:
        """Score the next window of each of `streams`: a list of (frames, labels).

        Frames that a window has done are left out. A stream may come several times, with windows
        that follow each other.
        In a frame where one of a label's negatives scores higher than the label, the label's
        score is 0; so is a score whose logit is not a finite number.

        Raises ValueError on a window that is not one or more whole frames, or whose beginning is
        left out though the stream has not heard it.
        """
        return [scores for scores, _ in self.hear_and_embed(streams, windows, embed=False)]

    @torch.inference_mode()
    def hear_and_embed(
        self, streams: Sequence[Stream], windows: Sequence[Window], *, embed: bool = True
    ) -> list[tuple[FrameScores, FrameEmbeddings | None]]:
        """As `hear`, with the frames' embeddings (frames, D), which any text can be compared to.

        embed: whether they are wanted; None without.
        """
        return self.hear_labelled(streams, windows, [self.labels] * len(windows), embed=embed)

    @torch.inference_mode()
    def hear_labelled(
        self,
        streams: Sequence[Stream],
        windows: Sequence[Window],
        labels: Sequence[LabelEmbeddings],
        *,
        embed: bool,
    ) -> list[tuple[FrameScores, FrameEmbeddings | None]]:
        """As `hear_and_embed`, each window for labels of its own."""
        if not windows:
            return []
        encoded = self._encode(streams, windows)
        self.stage("head")
        of_labels: dict[int, list[int]] = {}
        for i, each in enumerate(labels):
            of_labels.setdefault(id(each), []).append(i)
        found: dict[int, tuple[FrameScores, FrameEmbeddings | None]] = {}
        for group in of_labels.values():
            # One copy from the device for all of them.
            frames = torch.cat([encoded[i] for i in group])
            own = labels[group[0]]
            scores = _scores(self._logits(frames, own), own).cpu().numpy()
            kept = frames.half().cpu().numpy() if embed else None
            ends = np.cumsum([len(encoded[i]) for i in group])[:-1]
            split = [None] * len(group) if kept is None else np.split(kept, ends)
            found.update(zip(group, zip(np.split(scores, ends), split, strict=True), strict=True))
        self.stage("rest")
        return [found[i] for i in range(len(windows))]

    def score(self, windows: Sequence[Samples]) -> list[FrameScores]:
        """Score windows (n,) that have nothing to do with each other; otherwise as `hear`."""
        return self.hear([Stream() for _ in windows], [Window(0, window) for window in windows])

    @torch.inference_mode()
    def logits(
        self, streams: Sequence[Stream], windows: Sequence[Window]
    ) -> list[NDArray[np.float32]]:
        """Return what the sigmoid would be taken of, unsuppressed; otherwise as `hear`."""
        labels = self.labels
        count = len(labels.names)
        encoded = self._encode(streams, windows)
        return [self._logits(frames, labels)[:, :count].cpu().numpy() for frames in encoded]

    def _logits(self, frames: Tensor, labels: LabelEmbeddings) -> Tensor:
        """Return (frames, labels + negatives) of embeddings (frames, D)."""
        model = self._checkpoint.model
        scaled = frames @ labels.rows.T * model.text_audio_logit_scale
        logits: Tensor = scaled + model.text_audio_logit_bias + labels.offsets
        return logits

    @torch.inference_mode()
    def _encode(self, streams: Sequence[Stream], windows: Sequence[Window]) -> list[Tensor]:
        """Return the embeddings of each window's frames: (frames, D) float32."""
        for window in windows:
            shape = window.samples.shape
            own = shape[0] - window.before if len(shape) == 1 else 0
            if own < FRAME or own % FRAME:
                raise ValueError(f"a window is whole frames of {FRAME} samples, not {shape}")
        self.stage("codec")
        features = self._codec.hear(streams, windows)
        embedded: dict[int, Tensor] = {}
        for batch in batches([(w.frames, w.done) for w in windows], self._checkpoint.device):
            self.stage("encoder")
            wanted = windows[batch[0]].frames - windows[batch[0]].done
            frames = self._encoder(torch.stack([features[i] for i in batch]), wanted)
            embedded.update(zip(batch, frames, strict=True))
        self.stage("rest")
        return [embedded[i] for i in range(len(windows))]


def _scores(logits: Tensor, labels: LabelEmbeddings) -> Tensor:
    """Turn logits (frames, labels + negatives) into scores (frames, labels)."""
    count = len(labels.names)
    own, negative = logits[:, :count], logits[:, count:]
    strongest = torch.full_like(own, -torch.inf).scatter_reduce(
        1, labels.suppresses.expand_as(negative), negative, "amax"
    )
    heard = own.isfinite() & ~(strongest > own)
    return torch.where(heard, own.sigmoid(), 0.0)
