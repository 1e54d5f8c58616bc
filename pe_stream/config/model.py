"""Settings of the model: the checkpoint, where it runs, how often it listens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from pe_stream.config.addresses import is_misspelt, is_network
from pe_stream.config.values import (
    Device,
    GridSeconds,
    PathText,
    PositiveGridSeconds,
    Section,
    Text,
    frames,
)


class ModelSettings(Section):
    """What hears, and how often."""

    checkpoint: PathText = "embedded"
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
    """CPU threads of the model; default: half of the cores, so that others can run beside."""

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

    @field_validator("checkpoint")
    @classmethod
    def _no_address(cls, value: str) -> str:
        if is_network(value) or is_misspelt(value):
            raise ValueError(
                "an address: give the checkpoint's name on the hub (OWNER/NAME), or a folder"
            )
        return value
