"""PE-AV on a stretch of sound and picture: what it is like, against words.

The logits of `PeAudioModel`, `PeVideoModel` and `PeAudioVideoModel`, computed by parts: texts once,
each picture once, and of the checkpoint only the parts that are asked for. Where nothing is seen,
the audio encoder is all that is in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pe_stream.core.opinion import OpinionTexts, spread
from pe_stream.core.opinion_vectors import (
    STORED,
    VECTOR_KINDS,
    OpinionProbe,
    OpinionVectors,
    VectorKind,
)
from pe_stream.core.types import Samples, SecondOpinion, Window
from pe_stream.errors import UnavailableError
from pe_stream.model.checkpoint import Checkpoint, load, text_tower
from pe_stream.model.codec import Codec, Stream
from pe_stream.model.encoder import Encoder
from pe_stream.model.files import CLIP_KINDS, find, kind_of
from pe_stream.model.preprocessing import Rgb, squeeze
from pe_stream.model.prompts import text_states
from pe_stream.model.reading import OFFER, unavailable
from pe_stream.model.sight import Sight, SightFiles, TextHeads

_MOST_FEATURES = 2000
"""Pictures whose features are kept (4 kB each)."""


@dataclass(frozen=True, slots=True, eq=False)
class SquarePicture:
    """A picture as it is kept. pixels: (3, size, size) uint8. key: what no other picture has."""

    key: Hashable
    pixels: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ClipVectors:
    """What is known of a stretch of sound and picture: vectors (E,); None of what there was not."""

    sound: Tensor | None
    picture: Tensor | None
    both: Tensor | None


@dataclass(frozen=True, slots=True)
class OpinionScores:
    """As of a SecondOpinion."""

    sound: float | None
    picture: float | None
    both: float | None
    together: float | None

    def opinion(
        self, pictures: int, span_s: tuple[float, float], checkpoint: str, took_s: float
    ) -> SecondOpinion:
        """The second opinion that they are; all else as of one, but how long it took (s)."""
        return SecondOpinion(
            sound=_rounded(self.sound),
            picture=_rounded(self.picture),
            both=_rounded(self.both),
            together=_rounded(self.together),
            pictures=pictures,
            span_s=span_s,
            checkpoint=checkpoint,
            took_ms=round(1000 * took_s),
        )


class OpinionModel:
    """Gives opinions; single-threaded. name: of the checkpoint, as it was asked for.

    identity: as of Checkpoint. bytes_on_disk: of its weights.
    """

    def __init__(self, checkpoint: Checkpoint, folder: Path, texts: Iterable[str]) -> None:
        """Embed every text that will be asked about; the text tower is not kept.

        Raises ConfigError as `prompts.embed`, UnavailableError where half of it cannot be used.
        """
        self.name = checkpoint.name
        self.bytes_on_disk = sum(each.stat().st_size for each in folder.glob("*.safetensors"))
        self._device, self._dtype = checkpoint.device, checkpoint.dtype
        self.identity = checkpoint.identity
        # For texts that are new later: the model's own text tower is let go.
        self._later = replace(checkpoint, model=None, tower=text_tower(checkpoint, folder))
        self._states = text_states(checkpoint, list(dict.fromkeys(texts)))
        model: Any = checkpoint.model
        self._text_head, self._head = model.text_audio_head, model.audio_head
        self._scale, self._bias = model.text_audio_logit_scale, model.text_audio_logit_bias
        with torch.inference_mode():
            self._codec = Codec(
                model.audio_encoder.embedder,
                dtype=checkpoint.codec_dtype,
                cudnn=checkpoint.codec_cudnn,
            )
            self._encoder = Encoder(model.audio_encoder, model.audio_head)
        widths = self._head.layer_norm.weight.shape[0], model.config.text_config.hidden_size
        self._files = SightFiles(self.name, folder, *widths)
        self.sees = kind_of(self.name, folder) == "PeAudioVideoModel"
        if self.sees:
            self._files.check()
        self._sight: Sight | None = None
        self._text_heads: TextHeads | None = None
        self._features: OrderedDict[Hashable, Tensor] = OrderedDict()

    def see(self) -> Sight:
        """The seeing half, which is read when it is first asked for. Raises UnavailableError."""
        if self._sight is None:
            with _of_opinion():
                self._sight = self._files.load(self._device, self._dtype)
        return self._sight

    def square(self, picture: Rgb, key: Hashable) -> SquarePicture:
        """A picture (height, width, 3) as it is handed to `embed`. Raises UnavailableError."""
        return SquarePicture(key, squeeze(picture, self.see().form.size))

    @torch.inference_mode()
    def embed(self, samples: Samples | None, pictures: Sequence[SquarePicture] = ()) -> ClipVectors:
        """What a stretch is like. samples: whole frames at 48 kHz; pictures: of it, in order.

        Raises ValueError where there is neither, or no whole frame.
        """
        if samples is None and not pictures:
            raise ValueError("there is nothing to hear, and nothing to see")
        sound = picture = both = heard = None
        if samples is not None:
            (features,) = self._codec.hear([Stream()], [Window(0, samples)])
            states = self._encoder.states(features[None])[0]
            sound, heard = self._head(states[0]), states[1:]
        if pictures:
            sight = self.see()
            features = self._features_of(pictures, sight)
            places = spread(len(pictures), sight.form.pictures or len(pictures))
            picture, seen = sight.look(features[places])
            both = None if heard is None else sight.watch(heard, seen)
        return ClipVectors(sound, picture, both)

    @torch.inference_mode()
    def judge(self, clip: ClipVectors, texts: OpinionTexts) -> OpinionScores:
        """How well a stretch goes with texts, all of which it was made with."""
        sound = picture = both = together = None
        if clip.sound is not None and texts.heard:
            rows = self._rows(self._text_head, texts.heard, texts.negatives)
            sound = _score(clip.sound @ rows.T * self._scale + self._bias)
        if clip.picture is not None and texts.seen:
            rows = self._rows(self.see().text_head, texts.seen, texts.negatives)
            picture = _score(self.see().of_text(clip.picture[None], rows)[0])
        if clip.both is not None and texts.heard:
            rows = self._rows(self.see().text_both_head, texts.heard, texts.negatives)
            both = _score(self.see().of_both(clip.both[None], rows)[0])
        if clip.sound is not None and clip.picture is not None:
            together = _score(self.see().of_sound(clip.sound[None], clip.picture[None])[0])
        return OpinionScores(sound, picture, both, together)

    def kept(self, clip: ClipVectors) -> OpinionVectors:
        """The vectors as they are kept, so that they can be searched."""
        of = {kind: getattr(clip, kind) for kind in VECTOR_KINDS}
        vectors = {
            kind: vector.float().cpu().numpy().astype(STORED)
            for kind, vector in of.items()
            if vector is not None
        }
        return OpinionVectors(self.name, self.identity, vectors)

    @torch.inference_mode()
    def probe(self, text: str) -> OpinionProbe:
        """A text to search kept vectors by: their scores are those of `judge`.

        A text that is new has the text tower read, which takes seconds; see `rest`. Raises
        ConfigError as `prompts.embed`, UnavailableError where the checkpoint was changed meanwhile.
        """
        state = self._states.get(text)
        if state is None:
            with _of_opinion():
                state = text_states(self._later, [text])[text]
        compared: dict[VectorKind, tuple[Any, Tensor, Tensor]] = {
            "sound": (self._text_head, self._scale, self._bias)
        }
        if self.sees:
            heads = self._heads()
            for_picture, for_both = heads.of_text, heads.of_both
            compared |= {
                "picture": (heads.text_head, for_picture.logit_scale, for_picture.logit_bias),
                "both": (heads.text_both_head, for_both.logit_scale, for_both.logit_bias),
            }
        rows = {
            kind: (head(state) * scale).float().cpu().numpy()
            for kind, (head, scale, _) in compared.items()
        }
        biases = {kind: float(bias) for kind, (_, _, bias) in compared.items()}
        return OpinionProbe(self.identity, rows, biases)

    def rest(self, now_s: float) -> None:
        """Let go of a text tower that was read for a text, after a while. now_s: monotonic."""
        self._later.tower.rest(now_s)

    def _heads(self) -> Sight | TextHeads:
        """What texts are compared by, of the seeing half: all of it may not be needed."""
        if self._sight is not None:
            return self._sight
        if self._text_heads is None:
            with _of_opinion():
                self._text_heads = self._files.load_text_heads(self._device, self._dtype)
        return self._text_heads

    def _features_of(self, pictures: Sequence[SquarePicture], sight: Sight) -> Tensor:
        """Features (T, outputs); the tower sees each picture once, as long as they are kept."""
        new = {each.key: each.pixels for each in pictures if each.key not in self._features}
        if new:
            self._features.update(zip(new, sight.features([*new.values()]), strict=True))
        for each in pictures:
            self._features.move_to_end(each.key)
        found = torch.stack([self._features[each.key] for each in pictures])
        while len(self._features) > _MOST_FEATURES:
            self._features.popitem(last=False)
        return found

    def _rows(self, head: Any, texts: Sequence[str], negatives: Sequence[str]) -> Tensor:
        """(1 + negatives, E): the mean of the texts' embeddings, then each negative's."""
        embedded = head(torch.stack([self._states[text] for text in (*texts, *negatives)]))
        own, others = embedded.split([len(texts), len(negatives)])
        return torch.cat([own.mean(dim=0, keepdim=True), others])


def load_opinion_model(
    name: str,
    texts: Iterable[str],
    *,
    revision: str | None = None,
    cache: Path | None = None,
    device: str = "auto",
    dtype: str = "auto",
    threads: int | None = None,
) -> OpinionModel:
    """Load a PE-AV checkpoint, or a PeAudioModel, which hears and does not see.

    texts: all that will be asked about. Otherwise as `checkpoint.load`, and raises as that, and as
    OpinionModel.
    """
    with _of_opinion():
        folder = find(name, revision, cache)
        kind = kind_of(name, folder)
        if kind not in CLIP_KINDS:
            raise unavailable(
                name,
                f"it is a {kind}, which was never taught what a whole stretch of sound is like; "
                "give a PE-AV checkpoint, such as facebook/pe-av-small-16-frame",
            )
        checkpoint = load(
            name,
            revision=revision,
            cache=cache,
            device=device,
            dtype=dtype,
            threads=threads,
            clips=True,
        )
        return OpinionModel(checkpoint, folder, texts)


@contextmanager
def _of_opinion() -> Iterator[None]:
    """Errors say what it is for, and offer no other checkpoint: the embedded one has no opinion."""
    try:
        yield
    except UnavailableError as error:
        raise type(error)(f"second opinion: {str(error).removesuffix(OFFER)}") from error


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 4)


def _score(logits: Tensor) -> float:
    """Of the first logit: 0 where another is higher, or it is no number; as of the engine."""
    own, others = logits[0], logits[1:]
    if not bool(own.isfinite()) or bool((others > own).any()):
        return 0.0
    return float(own.sigmoid())
