"""A process that records one microphone for another: what `microphone` starts, and `start` is.

PortAudio looks for devices once, when it is initialised, and again only by taking away all that is
open. In a process for each microphone, looking again disturbs no other, and a driver that hangs or
crashes takes nobody along. For as long as its standard input is open, it looks for the microphone,
records it, and looks for it again when it is gone.

There is one for each microphone, so it imports little: half of its memory was the configuration and
FFmpeg's libraries, of which it has no need.

What it writes to its standard output are messages (`core.pipe_messages`). OPENED: a JSON object,
`describe` and `rate` (Hz). ABSENT: why nothing can be heard, again and again until something can.
SOUND: `SOUND_HEAD`, then float32 samples (n, channels).
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_stream.audio import devices, portaudio
from pe_stream.core.pipe_messages import message
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.errors import UnavailableError

BLOCK_S = 0.04
"""Audio per callback (s)."""

MOST_BLOCKS = 250
"""Blocks that may wait (10 s). When more do, they are dropped and a new segment begins."""

SILENT_S = 1.8
"""A stream that calls back no more for this long (s) is dead."""

START_S = 6.0
"""The first call may take this long (s): PulseAudio's first recording took 2 s to begin."""

LOOK_S = 1.0
"""A microphone that is not there is looked for this often (s)."""

SOUND_HEAD = struct.Struct("<dq?H")
"""Header of a block: its end, monotonic (s) and UTC (ns); whether a gap precedes it; channels."""

OPENED, ABSENT, SOUND = b"O", b"A", b"S"

_SETTLING = 8
"""Blocks from whose times the time of the first is taken: the first often comes late."""


@dataclass(frozen=True, slots=True)
class _Captured:
    """Samples (n, channels) of a callback, and the time of the call: monotonic (s), UTC (ns).

    The time of the call, and not PortAudio's `inputBufferAdcTime`: that was off by up to 0.6 s,
    and moving, with PulseAudio, where calls came within 50 ms of the sound.
    """

    frames: NDArray[np.float32]
    at_s: float
    utc_ns: int
    after_gap: bool


class _SharedMicrophone:
    """An open microphone; iterate over its blocks. Raises UnavailableError, also while iterating.

    channel: the one that is wanted, from 0; None is all.
    """

    def __init__(self, device: str | int, channel: int | None) -> None:
        found = devices.find(device, devices.list_devices())
        self.describe = f"microphone {found.name!r} ({found.id})"
        self.rate = float(SAMPLE_RATE)
        # Bounded by the callback: what finds it full is dropped and marks a gap.
        self._captured: queue.SimpleQueue[_Captured | None] = queue.SimpleQueue()
        self._gap = False
        self._stream: Any = self._open(found, channel)

    def close(self) -> None:
        """Let the device go."""
        self._stream.close(ignore_errors=True)

    def __iter__(self) -> Iterator[_Captured]:
        blocks = self._blocks()
        first = list(itertools.islice(blocks, _SETTLING))
        late_s = max(first[0].at_s + i * BLOCK_S - block.at_s for i, block in enumerate(first))
        first[0] = replace(
            first[0], at_s=first[0].at_s - late_s, utc_ns=first[0].utc_ns - round(late_s * 1e9)
        )
        yield from first
        yield from blocks

    def _blocks(self) -> Iterator[_Captured]:
        patience_s = START_S
        while True:
            try:
                captured = self._captured.get(timeout=patience_s)
            except queue.Empty:
                captured = None
            if captured is None:
                raise UnavailableError(f"{self.describe} is gone: it delivers no more sound")
            yield captured
            patience_s = SILENT_S

    def _open(self, device: devices.InputDevice, channel: int | None) -> Any:
        channels = _channels(device, channel)
        refused = None
        for rate in dict.fromkeys((float(SAMPLE_RATE), device.rate)):
            self.rate = rate
            try:
                return portaudio.open_input(
                    device.index,
                    channels=channels,
                    rate=rate,
                    blocksize=round(rate * BLOCK_S),
                    callback=self._receive,
                    finished=lambda: self._captured.put(None),
                )
            except portaudio.load().PortAudioError as error:
                refused = error
        raise UnavailableError(
            f"{self.describe} cannot be opened: {refused}; is something else using it?"
        ) from refused

    def _receive(self, indata: NDArray[np.float32], _count: int, _time: Any, status: Any) -> None:
        """PortAudio's callback, on its thread: copy and hand over, nothing else."""
        if self._captured.qsize() >= MOST_BLOCKS:
            self._gap = True
            return
        after_gap, self._gap = self._gap or status.input_overflow, False
        self._captured.put(_Captured(indata.copy(), time.monotonic(), time.time_ns(), after_gap))


def _channels(device: devices.InputDevice, channel: int | None) -> int:
    """How many channels to open."""
    if channel is not None and channel >= device.channels:
        raise UnavailableError(
            f"microphone {device.name!r} has no channel {channel}; "
            f"it has {device.channels}, counted from 0"
        )
    if device.hostapi == "ALSA" and "(hw:" not in device.name:
        # A plugin, such as a sound server's: it claims up to 128 channels and mixes as asked.
        return 1 if channel is None else channel + 1
    return device.channels


def start() -> None:
    """Be that process."""
    _quieten_libraries()
    # Whoever ends a whole service signals us too; we end with our standard input.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # No Worker: what ends it ends this process, and there is nobody to report to.
    threading.Thread(target=_end_with_input, name="standard input", daemon=True).start()
    device, channel = map(json.loads, sys.argv[1:])
    _record(device, channel)


def _record(device: str | int, channel: int | None) -> None:
    """Look for the microphone and record it, for ever."""
    while True:
        recording = None
        try:
            recording = _SharedMicrophone(device, channel)
            said = json.dumps({"describe": recording.describe, "rate": recording.rate})
            _tell(OPENED, said.encode())
            for captured in recording:
                head = SOUND_HEAD.pack(
                    captured.at_s, captured.utc_ns, captured.after_gap, captured.frames.shape[1]
                )
                _tell(SOUND, head, captured.frames.tobytes())
        except UnavailableError as error:
            _tell(ABSENT, str(error).encode())  # before closing, which may hang
            if recording is not None:
                recording.close()
        time.sleep(LOOK_S)


def _tell(kind: bytes, *body: bytes) -> None:
    try:
        sys.stdout.buffer.write(message(kind, *body))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(0)


def _end_with_input() -> None:
    """Whoever started us has closed our standard input, or is dead."""
    while os.read(0, 1024):  # not through sys.stdin, whose lock Python wants at its end
        pass
    os._exit(0)


def _quieten_libraries() -> None:
    """ALSA writes dozens of lines to file 2 each time devices are looked for; Python goes on to."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a file number is wanted
        os.dup2(nothing.fileno(), 2)
