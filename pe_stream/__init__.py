"""pe_stream: listens, and tells what it hears. Labels are text prompts.

From Python, on a recording and live:

    import pe_stream

    for event in pe_stream.detect("yard.wav", ["a dog barking", "a siren"]):
        print(event.label, event.onset_s, event.offset_s)

    for event in pe_stream.listen("config.yaml"):
        print(event.to_json())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pe_stream.core.types import Event, Phase, Reason, SecondOpinion
from pe_stream.errors import ConfigError, PeStreamError, UnavailableError
from pe_stream.version import __version__

if TYPE_CHECKING:
    from pe_stream.api import detect, listen, opinion

__all__ = [
    "ConfigError",
    "Event",
    "PeStreamError",
    "Phase",
    "Reason",
    "SecondOpinion",
    "UnavailableError",
    "__version__",
    "detect",
    "listen",
    "opinion",
]


def __getattr__(name: str) -> Any:
    """Import `detect`, `listen` and `opinion` when first asked for: they bring torch along."""
    if name in {"detect", "listen", "opinion"}:
        from pe_stream import api

        globals()[name] = value = getattr(api, name)
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
