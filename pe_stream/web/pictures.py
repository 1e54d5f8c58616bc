"""Spectrograms of clips, drawn when they are first asked for and kept beside them."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from fastapi import HTTPException

from pe_stream.audio import media
from pe_stream.audio.spectrogram import save_clip
from pe_stream.errors import UnavailableError

FINE_S = 60.0
"""Longer clips are drawn with fewer columns a second."""


class Pictures:
    """Draws one at a time: decoding a clip and drawing it takes a core."""

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()

    def of(self, clip: Path, length_s: float) -> Path:
        """The picture of a clip, about so long. Answers 404 or 503 where it cannot be made."""
        path = clip.with_suffix(".png")
        with self._lock:
            if path.exists():
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
