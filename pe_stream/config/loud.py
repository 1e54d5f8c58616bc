"""Settings of a label that is a loud sound, whatever it is: the level makes its score."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from pe_stream.config.values import Section
from pe_stream.core.types import Loud

ABOVE_DB = 20.0
"""Ten times the background's amplitude: a slammed door, no voice across the room."""

LeastDb = Annotated[float, Field(ge=-90, le=0)]
"""A level in dBFS, from the last bit of 16 to full scale."""


class LoudSettings(Section):
    """How loud a sound must be."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {
                    "properties": {
                        "of": {"const": "background"},
                        "above_db": {"exclusiveMinimum": 0},
                    }
                },
                {
                    "properties": {"of": {"const": "full_scale"}, "above_db": {"maximum": 0}},
                    "required": ["of", "above_db"],
                },
            ]
        }
    )

    above_db: Annotated[float, Field(ge=-90, le=90)] = ABOVE_DB
    """dB over the background level; with `of: full_scale` a level in dBFS, which is negative."""

    of: Literal["background", "full_scale"] = "background"
    """`background`: what the room's level exceeds nine tenths of the time (L90), over the last five
    minutes; `full_scale`: the greatest level there is."""

    @model_validator(mode="after")
    def _a_level_there_is(self) -> Self:
        if self.of == "full_scale" and self.above_db > 0:
            raise ValueError(
                f"nothing is {self.above_db:g} dB above full scale: with it, above_db is a level "
                "in dBFS, such as -20"
            )
        if self.of == "background" and self.above_db <= 0:
            raise ValueError(
                f"{self.above_db:g} dB above the background is always heard: above_db must be "
                "more than 0, or `of: full_scale`"
            )
        return self

    @property
    def core(self) -> Loud:
        """The same for the core."""
        return Loud(self.above_db, self.of == "background")


def _as_section(value: object) -> Any:
    return {True: LoudSettings(), False: None}[value] if isinstance(value, bool) else value


LoudKey = Annotated[
    LoudSettings | None,
    BeforeValidator(_as_section, json_schema_input_type=bool | LoudSettings | None),
]
"""How loud a sound must be; true is with the defaults, false is not by its level alone."""
