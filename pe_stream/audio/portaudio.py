"""The one place that touches PortAudio (sounddevice), which needs a system library.

PortAudio looks for devices once, when it is initialised. To see what was plugged in later it
must be initialised anew, which would take away open streams: so that is done only while there
are none. A lock keeps the two apart.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pe_stream.errors import UnavailableError

_lock = threading.Lock()
_open_streams = 0


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
    """Devices and host interfaces as sounddevice describes them, as fresh as can be."""
    sounddevice = load()
    with _lock:
        try:
            if not _open_streams:
                sounddevice._terminate()  # noqa: SLF001 - sounddevice's documented way to rescan
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
    global _open_streams  # noqa: PLW0603 - PortAudio itself is global
    sounddevice = load()
    with _lock:
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
        _open_streams += 1
        return stream


def close_input(stream: Any) -> None:
    """Close what `open_input` returned, once; what is still in flight is dropped."""
    global _open_streams  # noqa: PLW0603
    with _lock:
        stream.close(ignore_errors=True)
        _open_streams -= 1
