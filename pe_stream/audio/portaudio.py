"""The one place that touches PortAudio (sounddevice), which needs a system library.

PortAudio looks for devices once, when it is initialised. To see what was plugged in later it
must be initialised again, which takes away open streams: whoever has one open must not ask.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pe_stream.errors import UnavailableError


def load() -> ModuleType:
    """Import sounddevice. Raises UnavailableError where PortAudio's library is not installed."""
    try:
        return importlib.import_module("sounddevice")
    except OSError:
        raise UnavailableError(
            "microphones need PortAudio's library: `apt install libportaudio2` on Debian and "
            "Ubuntu, `brew install portaudio` on macOS"
        ) from None
    except Exception as error:  # PortAudioError is in what cannot be imported
        raise UnavailableError(f"PortAudio does not work: {error}") from error


def query() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Devices and host interfaces as sounddevice describes them, as they are now."""
    sounddevice = load()
    try:
        sounddevice._terminate()  # noqa: SLF001 - sounddevice's documented way to look again
        sounddevice._initialize()  # noqa: SLF001
        return list(sounddevice.query_devices()), list(sounddevice.query_hostapis())
    except sounddevice.PortAudioError as error:
        raise UnavailableError(f"PortAudio does not work: {error}") from error


def open_input(
    device: int,
    *,
    channels: int,
    rate: float,
    blocksize: int,
    callback: Callable[..., None],
    finished: Callable[[], None],
) -> Any:
    """A running float32 input stream. Raises sounddevice.PortAudioError."""
    sounddevice = load()
    stream = sounddevice.InputStream(
        device=device,
        channels=channels,
        samplerate=rate,
        blocksize=blocksize,
        dtype="float32",
        callback=callback,
        finished_callback=finished,
    )
    try:
        stream.start()
    except sounddevice.PortAudioError:
        stream.close()
        raise
    return stream
