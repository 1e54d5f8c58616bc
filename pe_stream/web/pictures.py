"""Spectrograms of clips, drawn when they are first asked for and kept beside them."""

from __future__ import annotations

import contextlib
from pathlib import Path

from fastapi import HTTPException

from pe_stream.audio import media
from pe_stream.audio.spectrogram import save_clip
from pe_stream.errors import UnavailableError
from pe_stream.web.gate import Gate

FINE_S = 60.0
"""Longer clips are drawn with fewer columns a second."""


def picture(clip: Path, length_s: float, gate: Gate) -> Path:
    """The picture of a clip, about so long; one at a time, as it takes a core for half a second.

    Answers 404 or 503 where it cannot be made, and 503 where its turn does not come: see Gate.
    """
    path = clip.with_suffix(".png")
    if path.exists():
        return path
    with gate.turn():
        if path.exists():  # whoever was before has asked for the same
            return path
        part = path.with_name(f".{path.name}.part")
        try:
            save_clip(part, media.read(str(clip)), fine=length_s < FINE_S)
            part.replace(path)
        except UnavailableError as error:
            raise HTTPException(404, str(error)) from None
        except OSError as error:
            raise HTTPException(503, f"the picture cannot be kept: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    return path
