"""Commands on a `set` topic."""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass
from typing import Any

from pe_stream.core.types import LEAST_THRESHOLD, MOST_THRESHOLD

PAYLOAD_LIMIT = 4096
"""Longest payload of a `set` message (bytes)."""

ALLOWED = (
    f'{{"threshold": {LEAST_THRESHOLD:f} to {MOST_THRESHOLD:f}, "enabled": true or false}}, '
    "one of them or both"
)


@dataclass(frozen=True, slots=True)
class SetCommand:
    """Change of a label; None leaves as it is."""

    threshold: float | None = None
    enabled: bool | None = None


def parse_set(payload: bytes) -> SetCommand:
    """Read the payload of a `set` message; raises ValueError saying what is wrong with it."""
    if len(payload) > PAYLOAD_LIMIT:
        raise ValueError(f"{len(payload)} bytes, more than {PAYLOAD_LIMIT}")
    said = _json_object(payload)
    unknown = sorted(said.keys() - {"threshold", "enabled"})
    if unknown:
        raise ValueError(f"unknown key {reprlib.repr(unknown[0])}")
    if not said:
        raise ValueError("nothing to set")
    threshold, enabled = said.get("threshold"), said.get("enabled")
    # bool is an int to Python; `in` tells a null, which is neither, from an absent key.
    if "threshold" in said and (
        isinstance(threshold, bool) or not isinstance(threshold, int | float)
    ):
        raise ValueError(f"threshold is {reprlib.repr(threshold)}, not a number")
    if threshold is not None and not LEAST_THRESHOLD <= threshold <= MOST_THRESHOLD:
        shown = reprlib.repr(threshold)
        raise ValueError(f"threshold {shown} is not {LEAST_THRESHOLD:f} to {MOST_THRESHOLD:f}")
    if "enabled" in said and not isinstance(enabled, bool):
        raise ValueError(f"enabled is {reprlib.repr(enabled)}, not true or false")
    return SetCommand(threshold, enabled)


def _json_object(payload: bytes) -> dict[str, Any]:
    try:
        said = json.loads(payload.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON") from error
    if not isinstance(said, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a wrong value, told as all others
    return said
