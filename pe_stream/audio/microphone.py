"""Live microphones, each recorded by a process of its own (`pe_stream.audio.capture`)."""

from __future__ import annotations

import json
import math
import os
import select
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np

from pe_stream.audio import capture
from pe_stream.audio.numbering import Numbering
from pe_stream.audio.pcm import Resampler, mix
from pe_stream.config import PASSWORD_VARIABLE
from pe_stream.config.child_process import python
from pe_stream.core.pipe_messages import MessageReader
from pe_stream.core.stream_clock import Arrival
from pe_stream.core.types import SAMPLE_RATE, AudioChunk
from pe_stream.errors import UnavailableError

_HUNG_S = 15.0
"""A recording process that says nothing for so long hangs: longer than an opening takes."""

_MOST_AT_ONCE = 1 << 20

_POLL_S = 0.2
"""How long `close` may take to be noticed."""

_KILL_S = 0.5
"""How long a killed process may take to die; one stuck in its driver is left to the system."""


@dataclass(frozen=True, slots=True)
class Absent:
    """What a source yields when it is not there; it goes on by itself when it is back.

    reason: in words.
    """

    reason: str


class Microphone:
    """An iterator over the chunks of a microphone, about 40 ms each, from its opening on.

    device: as `pe_stream.audio.devices.find` takes it. channel: take this one (from 0) instead
    of the mean of all. first_sample: index of the first sample; at_s: when the one before it was
    captured (monotonic), None where there is none. Where samples were lost, the next chunk begins a
    new segment, further on by what the clock says is missing; a sound card that runs fast or slow
    is followed.

    While the microphone is not there, cannot be opened or delivers nothing, it yields Absent about
    once a second. `close` ends the iteration within 0.2 s, from any thread. Raises UnavailableError
    when the recording process cannot be started, hangs or dies; a new one may then be tried.
    """

    returns = True

    def __init__(
        self,
        device: str | int,
        *,
        channel: int | None = None,
        first_sample: int = 0,
        at_s: float | None = None,
    ) -> None:
        self.describe = f"microphone {device!r}"
        self._channel = channel
        self._closed = threading.Event()
        self._closing, self._reading = threading.Lock(), threading.Lock()
        self._patience_s = _HUNG_S
        self._opened_s = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command(device, channel),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                process_group=0,  # the terminal's Ctrl-C is for us
                env={k: v for k, v in os.environ.items() if k != PASSWORD_VARIABLE},
            )
        except OSError as error:
            raise UnavailableError(f"{self.describe}: no process to record it: {error}") from error
        self._chunks = self._listen(Numbering(first_sample, at_s))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AudioChunk | Absent:
        return next(self._chunks)

    def close(self) -> None:
        """Let the device go and end the iteration. Closing twice is no error."""
        self._closed.set()
        with self._closing:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_KILL_S)
            with self._reading:
                for pipe in (self._process.stdin, self._process.stdout):
                    assert pipe is not None  # noqa: S101 - we asked for pipes
                    pipe.close()

    def _listen(self, numbering: Numbering) -> Iterator[AudioChunk | Absent]:
        resampler: Resampler | None = None
        rate = float(SAMPLE_RATE)
        for kind, body in self._messages():
            self._patience_s = _HUNG_S
            if kind == capture.OPENED:
                opened = json.loads(body)
                self.describe, rate = opened["describe"], opened["rate"]
                continue
            if kind == capture.ABSENT:
                numbering.waits(self._opened_s)
                if resampler is not None:
                    numbering.rest(resampler.flush())
                    yield from numbering.finish()
                resampler = None
                yield Absent(body.decode())
                continue
            self._patience_s = capture.SILENT_S + 1.0
            at_s, utc_ns, after_gap, channels = capture.SOUND_HEAD.unpack_from(body)
            frames = np.frombuffer(body, np.float32, offset=capture.SOUND_HEAD.size)
            frames = frames.reshape(-1, channels)
            broken = resampler is None or after_gap
            if resampler is not None and after_gap:
                numbering.rest(resampler.flush())
            if resampler is None or after_gap:
                resampler = Resampler(rate)
            samples = resampler.feed(mix(frames.T, self._channel).samples)
            arrival = Arrival(len(frames) / rate, at_s, utc_ns, broken=broken)
            yield from numbering.add(samples, arrival)

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Messages of the recording process, as (kind, body), until `close`."""
        reader = MessageReader()
        while more := self._read():
            yield from reader.feed(more)

    def _read(self) -> bytes:
        """The next bytes, none after `close`. Raises UnavailableError.

        Patience is a number of looks: where the whole machine has paused, no time was given.
        """
        pipe = self._process.stdout
        assert pipe is not None  # noqa: S101 - we asked for pipes
        looks = math.ceil(self._patience_s / _POLL_S)
        more: bytes | None = None
        while more is None and looks:
            looks -= 1
            with self._reading:
                if self._closed.is_set():
                    return b""
                waiting = select.poll()  # `select` fails on file numbers from 1024 on
                waiting.register(pipe, select.POLLIN)
                if waiting.poll(1000 * _POLL_S):
                    more = pipe.read(_MOST_AT_ONCE)
        if self._closed.is_set():
            return b""
        if not more:
            self.close()
            how = "hangs" if more is None else f"has died ({self._process.returncode})"
            raise UnavailableError(f"{self.describe}: the process that records it {how}")
        return more


def command(device: str | int, channel: int | None) -> list[str]:
    """What starts the process that records. device, channel: as a Microphone takes them."""
    program = f"from {capture.__name__} import start; start()"
    return python(program, json.dumps(device), json.dumps(channel))
