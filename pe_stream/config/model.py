"""Settings of the model: the checkpoint, where it runs, how often it listens."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)

from pe_stream.config.addresses import is_loopback, masked_text
from pe_stream.config.values import (
    CheckpointName,
    Device,
    GridSeconds,
    PathText,
    PositiveGridSeconds,
    Section,
    Text,
    frames,
    listed,
)

_DISTINCT = Field(json_schema_extra={"uniqueItems": True})

_ENGINE = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}/?", re.IGNORECASE)


def _engines(given: tuple[str, ...]) -> tuple[str, ...]:
    if given == ("local",):
        return given
    for each in given:
        if not _ENGINE.fullmatch(each) or not 0 < int(each.rstrip("/").rpartition(":")[2]) < 65536:
            shown = masked_text(each)
            raise ValueError(
                f"{shown!r} is no address of an engine: `local`, or as https://gpu-box:8770, "
                "without a path"
            )
    return tuple(each.rstrip("/") for each in given)


EngineAddresses = Annotated[
    tuple[str, ...],
    Field(strict=False, min_length=1, max_length=16),
    AfterValidator(_engines),
    BeforeValidator(
        listed,
        json_schema_input_type=str
        | Annotated[list[str], Field(min_length=1, max_length=16), _DISTINCT],
    ),
]
"""Where engines are; a single text is taken for a list of one."""


class ModelSettings(Section):
    """What hears, and how often."""

    checkpoint: CheckpointName = "embedded"
    """`embedded`, the name of a PE Audio checkpoint on the Hugging Face hub, or a folder."""

    revision: Text | None = None
    """Branch, tag or commit of a checkpoint from the hub; a commit pins it."""

    cache: PathText | None = None
    """Folder for downloaded checkpoints; default: where Hugging Face's libraries keep them."""

    device: Device = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format; `auto` is bfloat16 where it is fast, else float32."""

    window_s: PositiveGridSeconds = 10.0
    """Seconds of sound the model sees at once; a whole multiple of 0.04."""

    hop_s: Annotated[PositiveGridSeconds, Field(validate_default=True)] = 0.48
    """Seconds between two scorings; a whole multiple of 0.04, at most `window_s`."""

    lookahead_s: Annotated[GridSeconds, Field(validate_default=True)] = 0.48
    """Seconds of sound the model sees after a frame before its score is final; a whole
    multiple of 0.04; with `hop_s` at most `window_s`."""

    exact: bool = False
    """Whether a window's first frames see zeros before them, as in the model's own call on the
    window, instead of the sound that was there; to compare scores with transformers' own."""

    compile: bool = False
    """Whether to compile the model for the lengths of every hop before listening: a few percent
    faster on a CPU, much on a GPU; takes minutes the first time, and a C++ compiler."""

    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads of the model; default: of live sources, as many as others leave cores free; of
    recordings, half of the cores that the process may use."""

    engine: EngineAddresses = Field(default=("local",), json_schema_extra={"default": "local"})
    """`local`, or where an engine of the same checkpoint is (`pe-stream engine serve`): an address
    such as https://gpu-box:8770, or a list of them, of which the next is taken where one fails."""

    engine_token_file: PathText | None = None
    """File whose content is the token for the engine."""

    engine_ca: PathText | None = None
    """File of certificate authorities to trust (PEM); default: the system's."""

    engine_wire: Literal["auto", "pcm16", "flac", "f32", "opus"] = "auto"
    """How sound is sent: `flac` and `pcm16` are 16 bits without loss, `f32` is as it was computed,
    `opus` a seventh of FLAC, with loss; `auto` is `pcm16` on this machine, else `flac`."""

    engine_timeout_s: Annotated[float, Field(ge=0.1, le=30)] = 2.0
    """Seconds without an answer after which the newest sound is sent instead."""

    engine_lane: Annotated[int, Field(ge=1, le=64)] = 16
    """Sources that are asked for together, over one connection."""

    engine_insecure: Annotated[bool, Field(validate_default=True)] = False
    """Whether sound may be sent to other machines over http, where everybody on the way can listen
    in."""

    @property
    def remote(self) -> bool:
        """Whether live sources are scored elsewhere."""
        return self.engine != ("local",)

    @property
    def engine_addresses(self) -> tuple[str, ...]:
        """Of engines elsewhere; none where the engine is this process's."""
        return self.engine if self.remote else ()

    @property
    def window_frames(self) -> int:
        """Length of the window (frames of 40 ms)."""
        return int(frames(self.window_s))

    @property
    def hop_frames(self) -> int:
        """Distance between two scorings (frames of 40 ms)."""
        return int(frames(self.hop_s))

    @property
    def lookahead_frames(self) -> int:
        """Right context before a score is final (frames of 40 ms)."""
        return int(frames(self.lookahead_s))

    @field_validator("revision")
    @classmethod
    def _revision_of_a_hub_checkpoint(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("checkpoint") == "embedded":
            raise ValueError("the embedded checkpoint has no revisions: remove it, or name another")
        return value

    @field_validator("hop_s", "lookahead_s")
    @classmethod
    def _fits_the_window(cls, value: float, info: ValidationInfo) -> float:
        window, hop = info.data.get("window_s"), info.data.get("hop_s")
        if window is not None and value > window:
            raise ValueError(f"Input should be at most window_s ({window:g})")
        if window is not None and hop is not None and frames(hop + value) > frames(window):
            raise ValueError(
                f"hop_s ({hop:g}) and lookahead_s ({value:g}) together are more than "
                f"window_s ({window:g})"
            )
        return value

    @field_validator("engine_insecure")
    @classmethod
    def _encrypted_to_others(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's signature
        for each in info.data.get("engine", ()):
            host = urlsplit(each).hostname or ""
            if each.lower().startswith("http:") and not is_loopback(host) and not value:
                raise ValueError(
                    f"to {each} everybody on the way can listen in: take https, or say "
                    "engine_insecure: true"
                )
        return value

    @field_validator("engine")
    @classmethod
    def _as_the_engine_hears(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value != ("local",) and info.data.get("exact"):
            raise ValueError("exact is for the engine of this process: remove one of them")
        return value
