"""What pydantic found wrong, as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def in_words(errors: Iterable[Mapping[str, Any]], skipped: int = 0) -> str:
    """A line each: the key, and what is wrong with it. skipped: parts of a key that name no key."""
    return "\n".join(
        ": ".join(
            part
            for part in (
                ".".join(str(part) for part in each["loc"][skipped:]),
                str(each["msg"]).removeprefix("Value error, "),
            )
            if part
        )
        for each in errors
    )
