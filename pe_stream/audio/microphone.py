"""Live microphones through PortAudio."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pe_stream.audio import devices, portaudio
from pe_stream.audio.pcm import Resampler, mix
from pe_stream.audio.timeline import Timeline
from pe_stream.core.types import SAMPLE_RATE, AudioChunk
from pe_stream.errors import UnavailableError

_BLOCK_S = 0.04
"""Audio per callback (s)."""

_MOST_BLOCKS = 250
"""Blocks that may wait (10 s). When more do, they are dropped and a new segment begins."""

_SILENT_S = 2.0
"""A stream that calls back no more for this long (s) is dead."""

_START_S = 6.0
"""The first call may take this long (s): PulseAudio's first recording took 2 s to begin."""


_SETTLING = 8
"""Blocks from whose times the time of the first is taken: the first often comes late."""


@dataclass(frozen=True, slots=True)
class _Captured:
    """What a callback brought: (n, channels), and when it was called: monotonic (s), UTC (ns).

    The time of the call, and not PortAudio's `inputBufferAdcTime`: that was off by up to 0.6 s,
    and moving, with PulseAudio, where calls came within 50 ms of the sound.
    """

    frames: NDArray[np.float32]
    at_s: float
    utc_ns: int
    after_gap: bool


class Microphone:
    """An iterator over the chunks of a microphone, about 40 ms each, from its opening on.

    device: as `pe_stream.audio.devices.find` takes it. channel: take this one (from 0) instead
    of the mean of all. first_sample: index of the first sample. Where samples were lost, the next
    chunk begins a new segment, further on by what the clock says is missing.

    `close` ends the iteration at once, from any thread. Raises UnavailableError if the device is
    not there or cannot be opened and, while iterating, when it goes away.
    """

    returns = True

    def __init__(
        self, device: str | int, *, channel: int | None = None, first_sample: int = 0
    ) -> None:
        found = devices.find(device, devices.list_devices())
        self.describe = f"microphone {found.name!r} ({found.id})"
        self._channel = channel
        # Bounded by the callback: what finds it full is dropped and marks a gap.
        self._captured: queue.SimpleQueue[_Captured | None] = queue.SimpleQueue()
        self._gap = False
        self._patience_s = _START_S
        self._closed = threading.Event()
        self._closing = threading.Lock()
        self._rate = float(SAMPLE_RATE)
        self._stream: Any = self._open(found)
        self._chunks = self._listen(first_sample)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AudioChunk:
        return next(self._chunks)

    def close(self) -> None:
        """Let the device go and end the iteration. Closing twice is no error."""
        with self._closing:
            if self._closed.is_set():
                return
            self._closed.set()
        self._captured.put(None)
        portaudio.close_input(self._stream)

    def _open(self, device: devices.Device) -> Any:
        channels = _channels(device, self._channel)
        refused = None
        for rate in dict.fromkeys((float(SAMPLE_RATE), device.rate)):
            self._rate = rate
            try:
                return portaudio.open_input(
                    device.index,
                    channels=channels,
                    rate=rate,
                    blocksize=round(rate * _BLOCK_S),
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
        if self._captured.qsize() >= _MOST_BLOCKS:
            self._gap = True
            return
        after_gap, self._gap = self._gap or status.input_overflow, False
        self._captured.put(_Captured(indata.copy(), time.monotonic(), time.time_ns(), after_gap))

    def _listen(self, first_sample: int) -> Iterator[AudioChunk]:
        timeline = Timeline(first_sample)
        resampler = Resampler(self._rate)
        block_ns = round(_BLOCK_S * 1e9)
        for captured in _settled(iter(self._next_captured, None)):
            strayed = timeline.begun and timeline.strayed(captured.utc_ns - block_ns)
            if captured.after_gap or strayed or not timeline.begun:
                if len(rest := resampler.flush()):
                    yield timeline.chunk(rest, captured.at_s - _BLOCK_S)
                resampler = Resampler(self._rate)
                timeline.begin(
                    captured.at_s - _BLOCK_S,
                    captured.utc_ns - block_ns,
                    lost=captured.after_gap,
                )
            samples = resampler.feed(mix(captured.frames.T, self._channel).samples)
            if len(samples):
                yield timeline.chunk(samples, captured.at_s)

    def _next_captured(self) -> _Captured | None:
        """What the callback brought next, None after `close`."""
        try:
            captured = self._captured.get(timeout=self._patience_s)
        except queue.Empty:
            captured = None
        if self._closed.is_set():
            return None
        if captured is None:
            self.close()
            raise UnavailableError(f"{self.describe} is gone: it delivers no more sound")
        self._patience_s = _SILENT_S
        return captured


def _settled(blocks: Iterator[_Captured]) -> Iterator[_Captured]:
    """The blocks, the first one timed by the promptest of the first few."""
    first = list(itertools.islice(blocks, _SETTLING))
    if first:
        late_s = max(first[0].at_s + i * _BLOCK_S - block.at_s for i, block in enumerate(first))
        first[0] = replace(
            first[0],
            at_s=first[0].at_s - late_s,
            utc_ns=first[0].utc_ns - round(late_s * 1e9),
        )
    yield from first
    yield from blocks


def _channels(device: devices.Device, channel: int | None) -> int:
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
