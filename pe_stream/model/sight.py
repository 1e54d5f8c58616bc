"""The seeing half of a PE-AV checkpoint: pictures, and pictures with sound, to vectors.

What `PeVideoModel` and the encoder of sound and picture in `PeAudioVideoModel` compute. Of the
files, only what is needed for that is read, and nothing is built that they do not hold.
transformers' own classes cannot be used: they make the tower with timm, which is not installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.model.encoder import Encoder
from pe_stream.model.geometry import fusion_part, tower_part, video_part
from pe_stream.model.preprocessing import normalise, read_format
from pe_stream.model.reading import read_json, refusing, unavailable
from pe_stream.model.vision_tower import VisionTower
from pe_stream.model.weights import check_size, stored

_VIDEO = ("video_model.video_encoder.", "audio_video_encoder.embedder.video_encoder.")
"""Where the video encoder may lie: two places share it, and it is stored under one or both."""

_TOWER = "embedder.vision_model.timm_model."

_TOGETHER = {"cpu": 4, "cuda": 16}
"""Pictures that go through the tower in one call."""


class ContrastiveHead(nn.Module):
    """What makes a vector of a state, to be compared with others: (..., in) to (..., out)."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, 1e-6)
        self.proj = nn.Linear(width, out, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        """Embed states; they are taken in the head's own type."""
        normed = self.layer_norm(states.to(self.layer_norm.weight.dtype))
        return F.linear(normed, self.proj.weight)


class Logits(nn.Module):
    """Product of two vectors to a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.empty(1))
        self.logit_bias = nn.Parameter(torch.empty(1))

    def forward(self, vectors: Tensor, others: Tensor) -> Tensor:
        """(n, E) and (m, E) to (n, m)."""
        return vectors @ others.T * self.logit_scale + self.logit_bias


class TextHeads(nn.Module):
    """Of the seeing half, what texts are compared with kept vectors by: as of Sight."""

    def __init__(self, width: int) -> None:
        """Build on torch's default device, without numbers. width: of a text's state."""
        super().__init__()
        self.text_head = ContrastiveHead(width, width)
        self.of_text = Logits()
        self.text_both_head = ContrastiveHead(width, width)
        self.of_both = Logits()


class Sight(nn.Module):
    """Sees; single-threaded. form: how pictures are handed to it.

    of_text, of_both: logits of a text by picture, and by sound and picture. of_sound: of a sound
    and a picture. text_head, text_both_head: embed a text's state for the first two.
    """

    def __init__(self, config: SightConfig, sound_width: int, width: int) -> None:
        """Build on torch's default device, without numbers. width: of a text's state."""
        super().__init__()
        video, fusion = config.video.hidden_size, config.fusion.hidden_size
        self.form = config.form
        self.tower = VisionTower(config.tower)
        self.proj = nn.Linear(config.tower.outputs, video, bias=False)
        self.video_encoder = _transformer(config.video)
        self.head = ContrastiveHead(video, width)
        self.text_head = ContrastiveHead(width, width)
        self.of_text = Logits()
        self.video_proj = nn.Conv1d(video, sound_width, 1)
        self.video_norm = nn.LayerNorm(sound_width)
        # Of what is joined, the picture has the sound's width here too.
        self.join = nn.Linear(sound_width + video, fusion)
        self.fusion_encoder = _transformer(config.fusion)
        self.both_head = ContrastiveHead(fusion, width)
        self.text_both_head = ContrastiveHead(width, width)
        self.of_both, self.of_sound = Logits(), Logits()

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.proj.weight.device

    @torch.inference_mode()
    def features(self, squares: Sequence[Tensor]) -> Tensor:
        """What is computed of each picture by itself: (T, 3, size, size) uint8 to (T, outputs)."""
        most = _TOGETHER.get(self.device.type, _TOGETHER["cpu"])
        made = [
            self.tower(normalise(squares[i : i + most], self.form).to(self.device))
            for i in range(0, len(squares), most)
        ]
        return torch.cat(made)

    @torch.inference_mode()
    def look(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Of a clip's pictures: the vector (E,) of all, and the states (T, width) of each."""
        unit = F.normalize(features, dim=-1)
        projected = F.linear(unit.to(self.proj.weight.dtype), self.proj.weight)
        states = self._video.states(projected[None])[0]
        vector: Tensor = self.head(states[0])
        return vector, states[1:]

    @torch.inference_mode()
    def watch(self, sound: Tensor, pictures: Tensor) -> Tensor:
        """The vector (E,) of sound, the states (frames, width) of a clip, and its pictures'."""
        weight = self.video_proj.weight
        seen = F.linear(pictures.to(weight.dtype), weight[:, :, 0], self.video_proj.bias)
        if len(seen) != len(sound):
            seen = F.interpolate(seen.T[None], size=len(sound), mode="nearest")[0].T
        seen = self.video_norm(seen.to(self.video_norm.weight.dtype))
        both = torch.cat([sound.to(seen.dtype), seen], dim=-1)
        joined = F.linear(both.to(self.join.weight.dtype), self.join.weight, self.join.bias)
        vector: Tensor = self.both_head(self._fusion.states(joined[None])[0, 0])
        return vector

    def settle(self) -> None:
        """Begin to use the numbers that it was given."""
        self._video = Encoder(self.video_encoder, self.head)
        self._fusion = Encoder(self.fusion_encoder, self.both_head)


class SightConfig:
    """Of config.json, what the seeing half is built by."""

    def __init__(self, name: str, folder: Path, outputs: int) -> None:
        """outputs: width of what the tower makes, as its weights have it."""
        from transformers import PeAudioEncoderConfig

        found = read_json(name, folder, "config.json")
        with refusing(name, "its config.json describes no PE-AV model"):
            fusion = found["audio_video_config"]
            video = fusion["video_config"]
            self.tower = replace(tower_part(video["vision_config"]), outputs=outputs)
            self.video = _as_audio(video_part(video), PeAudioEncoderConfig)
            self.fusion = _as_audio(fusion_part(fusion), PeAudioEncoderConfig)
        self.form = read_format(name, folder, self.tower.size)


def _as_audio(part: Mapping[str, Any], kind: Any) -> Any:
    """The configuration of an audio encoder whose transformer is the same.

    Its codec has the features that the other has; it is not kept.
    """
    codec = {
        "model_type": "dac",
        "encoder_hidden_size": 1,
        "downsampling_ratios": [1],
        "codebook_dim": part.get("hidden_size", kind().hidden_size),
    }
    return kind(**{**part, "model_type": "pe_audio_encoder", "dac_config": codec})


def _transformer(config: Any) -> nn.Module:
    """The transformer of an encoder, under the names that it has in a checkpoint."""
    from transformers import PeAudioEncoder

    encoder: Any = PeAudioEncoder(config)
    del encoder.embedder.dac_encoder, encoder.embedder.bottleneck
    # Its rotations are computed, not stored.
    with torch.device("cpu"):
        encoder.rotary_emb = type(encoder.rotary_emb)(config)
    made: nn.Module = encoder
    return made


@dataclass(frozen=True, slots=True)
class SightFiles:
    """Where the seeing half of a checkpoint is read, and what it goes with.

    sound_width: of the audio encoder's states; text_width: of a text's.
    """

    name: str
    folder: Path
    sound_width: int
    text_width: int

    def check(self) -> None:
        """Raise UnavailableError where it is not there whole; none of its numbers is read."""
        with stored(self.name, self.folder) as tensors:
            self._built(tensors)

    def load(self, device: torch.device, dtype: torch.dtype) -> Sight:
        """Read it. dtype: of large products; the rest is in float32, or in float64 if it is that.

        Raises UnavailableError as `checkpoint.load`.
        """
        with stored(self.name, self.folder) as tensors:
            sight = self._built(tensors)
            self._fill(sight, tensors, device, dtype)
        sight.settle()
        return sight

    def load_text_heads(self, device: torch.device, dtype: torch.dtype) -> TextHeads:
        """Read what texts need of it, and no more; as `load`."""
        with stored(self.name, self.folder) as tensors:
            with torch.device("meta"):
                heads = TextHeads(self.text_width)
            _compare(self.name, dict(heads.named_parameters()), _named(tensors))
            self._fill(heads, tensors, device, dtype)
        return heads

    def _fill(
        self,
        module: nn.Module,
        tensors: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Give a module its numbers, all of which are stored."""
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        named = _named(tensors)
        with refusing(self.name, "its weights cannot be read"):
            state = {
                key: named[key][...].to(device, _type(key, dtype, wide), copy=True)
                for key, _ in module.named_parameters()
            }
            module.load_state_dict(state, strict=True, assign=True)
            module.to(device)
        strange = [key for key, each in state.items() if not bool(each.isfinite().all())]
        if strange:
            raise unavailable(self.name, f"{strange[0]} of its weights has what is no number")
        for weight in module.parameters():
            weight.requires_grad = False
        module.eval()

    def _built(self, tensors: Mapping[str, Any]) -> Sight:
        """As the configuration has it, without numbers: there is one stored for each."""
        named = _named(tensors)
        head = named.get("tower.head.weight")
        if head is None:
            raise unavailable(self.name, "its weights lack those of a vision tower")
        config = SightConfig(self.name, self.folder, head.get_shape()[0])
        with refusing(self.name, "its config.json describes no PE-AV model"), torch.device("meta"):
            sight = Sight(config, self.sound_width, self.text_width)
        parameters = dict(sight.named_parameters())
        check_size(self.name, sum(each.numel() for each in parameters.values()), tensors)
        _compare(self.name, parameters, named)
        return sight


_TOKENS = ("cls_token", "pos_embed", "latent")
_LARGE = ("video_encoder.", "fusion_encoder.", "proj.", "video_proj.", "join.")


def _type(key: str, dtype: torch.dtype, wide: torch.dtype) -> torch.dtype:
    """Norms, tokens and positions of the tower stay wide, and so do heads."""
    if key.startswith("tower."):
        return wide if "norm" in key or key.endswith(_TOKENS) else dtype
    return dtype if key.startswith(_LARGE) else wide


_NAMES = {
    "video_model.video_head.": "head.",
    "video_model.text_video_head.": "text_head.",
    "video_model.text_video_": "of_text.",
    "audio_video_encoder.embedder.video_proj.": "video_proj.",
    "audio_video_encoder.embedder.video_norm.": "video_norm.",
    "audio_video_encoder.embedder.concat_modality_proj.": "join.",
    "audio_video_encoder.": "fusion_encoder.",
    "audio_video_head.": "both_head.",
    "text_audio_video_head.": "text_both_head.",
    "text_audio_video_": "of_both.",
    "audio_video_": "of_sound.",
}
"""A checkpoint's names, and ours; the first that fits counts."""


def _named(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """What is stored, under our names; what is none of ours keeps its own."""
    return {_our_name(key): tensor for key, tensor in tensors.items()}


def _our_name(key: str) -> str:
    for place in _VIDEO:
        if key.startswith(place):
            rest = key.removeprefix(place)
            if rest.startswith(_TOWER):
                return f"tower.{rest.removeprefix(_TOWER)}"
            if rest.startswith("embedder.proj."):
                return rest.removeprefix("embedder.")
            return f"video_encoder.{rest}"
    for theirs, ours in _NAMES.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def stored_name(key: str) -> str:
    """The name in a checkpoint of one of Sight's parameters."""
    if key.startswith("tower."):
        return f"{_VIDEO[0]}{_TOWER}{key.removeprefix('tower.')}"
    if key.startswith("proj."):
        return f"{_VIDEO[0]}embedder.{key}"
    if key.startswith("video_encoder."):
        return f"{_VIDEO[0]}{key.removeprefix('video_encoder.')}"
    theirs, ours = next(pair for pair in _NAMES.items() if key.startswith(pair[1]))
    return theirs + key.removeprefix(ours)


def _compare(name: str, wanted: Mapping[str, Tensor], found: Mapping[str, Any]) -> None:
    """Raise UnavailableError where a tensor is missing, or has another shape."""
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise unavailable(name, f"its weights lack {missing[0]} ({len(missing)} missing in all)")
    for key, parameter in wanted.items():
        shape = list(found[key].get_shape())
        if shape != list(parameter.shape):
            raise unavailable(
                name,
                f"its weights do not fit its config.json: {key} is {shape}, "
                f"not {list(parameter.shape)}",
            )
