"""Live streams: RTSP, HTTP and whatever else FFmpeg's libraries fetch, and pipes on this machine.

FFmpeg's calls block, at worst for their whole time limit, and cannot be interrupted safely from
another thread. So they have a thread of their own, which hands chunks over; the iterator waits
on the hand-over only and can stop at any time, whatever the other thread is stuck in. All that a
sender has a say in happens on that thread, where it is counted and bounded: see `limits`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from pe_stream.audio.chunk_queue import ChunkQueue
from pe_stream.audio.decode import Block, Decoder
from pe_stream.audio.limits import LiveLimits, TooCostlyError
from pe_stream.audio.numbering import Numbering
from pe_stream.audio.opening import open_network, open_pipe
from pe_stream.audio.pcm import Resampler, mix
from pe_stream.config.addresses import is_network, masked_url
from pe_stream.config.worker import Worker
from pe_stream.core.types import AudioChunk, Samples
from pe_stream.errors import UnavailableError

_WAITING_S = 10.0
"""Audio that may wait to be taken (s). Then the receiver stops reading and the sender waits."""

_GAP_S = 0.2
"""A larger step between time stamps is missing audio, or a sender that began again."""

_CLOCK_SET_S = 0.5
"""A larger change (s) between UTC and the monotonic clock: the wall clock was set."""


@dataclass(frozen=True, slots=True)
class _TimedBlock:
    """A block and when it came: monotonic (s) and UTC (ns), both for its end."""

    block: Block
    at_s: float
    utc_ns: int


class NetworkStream:
    """An iterator over the chunks of a stream, as they arrive: of an address, or out of a pipe.

    A stream is one segment, anchored at the arrival of its first block. Where time stamps jump by
    more than 0.2 s or the wall clock is set, a new one begins; so it does after a burst of stored
    audio at the start, which came faster than it was recorded. Reconnecting is the caller's part.
    What states its length is no live stream but a recording on a server: it is played in real
    time and ends the iteration as a file does.

    What comes faster than it plays, stored audio apart, is read at the speed at which it plays.

    channel: take this one (from 0) instead of the mean of all. first_sample: index of the first
    sample; at_s: when that would have come (monotonic), None for whenever it does. timeout_s: for
    opening, and for every read. other_hosts: see `open_network`. limits: what the source has left
    of them from its connections before; default: everything.

    `close` ends the iteration at once, from any thread; a read under way then is left to its
    time limit on a thread of its own. Iterating raises UnavailableError, with the URL masked, when
    a live stream cannot be opened, fails, falls silent or ends, and TooCostlyError where it costs
    more than it may.
    """

    returns = True

    def __init__(
        self,
        url: str,
        *,
        channel: int | None = None,
        first_sample: int = 0,
        at_s: float | None = None,
        timeout_s: float = 10.0,
        other_hosts: Collection[str] = (),
        limits: LiveLimits | None = None,
    ) -> None:
        self.describe = masked_url(url)
        self._url = url
        self._channel = channel
        self._timeout_s = timeout_s
        self._other_hosts = other_hosts
        self._limits = limits or LiveLimits()
        self._closed = threading.Event()
        self._numbering = Numbering(first_sample, at_s)
        self._cpu_s = 0.0
        # Full where nobody takes: the receiver then waits.
        self._received = ChunkQueue(_WAITING_S)
        Worker(f"receive {self.describe}", self._receive, self._received.put).start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AudioChunk:
        chunk = self._received.get()
        if chunk is None:
            raise StopIteration
        return chunk

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()
        self._received.close()

    def _receive(self) -> None:
        """Read until the stream ends or is closed; what else ends it is raised by the iterator."""
        self._cpu_s = time.thread_time()
        try:
            self._read()
        except UnavailableError:
            self._charge()  # a stream may be expensive and broken, too
            raise

    def _read(self) -> None:
        if is_network(self._url):
            decoder = open_network(
                self._url,
                timeout_s=self._timeout_s,
                other_hosts=self._other_hosts,
                closed=self._closed,
                spend=self._spend,
            )
        else:
            decoder = open_pipe(self._url, spend=self._spend)
        self._charge()
        for chunk in self._chunks(self._arrivals(decoder)):
            if not self._received.put(chunk):
                return
        ended = UnavailableError(f"{self.describe}: the stream ended")
        self._received.put(None if decoder.recorded else ended)

    def _spend(self, _cpu_s: float = 0.0, _audio_s: float = 0.0) -> None:
        """Count the CPU time since it was last counted; raises TooCostlyError.

        All of it, not what decoding took alone, which is given.
        """
        before_s, self._cpu_s = self._cpu_s, time.thread_time()
        self._limits.spend_cpu(self._cpu_s - before_s)

    def _charge(self) -> None:
        """Likewise, outside of the decoder, which names the stream itself."""
        try:
            self._spend()
        except TooCostlyError as error:
            raise TooCostlyError(f"{self.describe}: {error}") from None

    def _arrivals(self, decoder: Decoder) -> Iterator[_TimedBlock]:
        """The blocks with the time at which they came, and no faster than they may."""
        due_s = time.monotonic()
        for block in decoder.blocks():
            if decoder.recorded:
                due_s += block.duration_s
                self._closed.wait(max(0.0, due_s - time.monotonic()))
            at_s, utc_ns = time.monotonic(), time.time_ns()
            yield _TimedBlock(block, at_s - block.rest_s, utc_ns - round(block.rest_s * 1e9))
            ahead_s = self._limits.ahead_s(block.duration_s)
            if self._closed.wait(ahead_s) if ahead_s else self._closed.is_set():
                return

    def _chunks(self, arrivals: Iterable[_TimedBlock]) -> Iterator[AudioChunk]:
        numbering, continuity = self._numbering, _Continuity()
        resampler: Resampler | None = None
        before_s = 0.0
        for received in arrivals:
            block = received.block
            begin_ns = received.utc_ns - round(block.duration_s * 1e9)
            # A server sends what it has stored at once; that is over when a block takes its time.
            burst = received.at_s - before_s < block.duration_s / 2
            before_s = received.at_s
            mistimed = numbering.begun and not burst and numbering.ahead(begin_ns)
            broken = continuity.broken_by(received)
            if broken or mistimed or resampler is None:
                if broken and resampler is not None:  # the pace bounds the other ones
                    self._break()
                if resampler is not None and len(rest := resampler.flush()):
                    yield numbering.chunk(rest, received.at_s - block.duration_s)
                resampler = Resampler(block.rate)
                numbering.begin(
                    received.at_s - block.duration_s,
                    begin_ns,
                    lost=True,
                )
            samples = resampler.feed(self._mix(block))
            if len(samples):
                yield numbering.chunk(samples, received.at_s)
        if resampler is not None and len(rest := resampler.flush()):
            yield numbering.chunk(rest, time.monotonic())

    def _break(self) -> None:
        try:
            self._limits.spend_break()
        except TooCostlyError as error:
            raise TooCostlyError(f"{self.describe}: {error}") from None

    def _mix(self, block: Block) -> Samples:
        if self._channel is not None and self._channel >= len(block.planes):
            raise UnavailableError(
                f"{self.describe}: there is no channel {self._channel}; "
                f"it has {len(block.planes)}, counted from 0"
            )
        return mix(block.planes, self._channel).samples


class _Continuity:
    """Notices where a block does not go on from the one before."""

    def __init__(self) -> None:
        self._rate = 0.0
        self._due_s: float | None = None
        self._clock_s = 0.0

    def broken_by(self, received: _TimedBlock) -> bool:
        """Whether a new segment begins with this block: the first does."""
        block = received.block
        clock_s = received.utc_ns / 1e9 - received.at_s
        jumped = (
            block.time_s is not None
            and self._due_s is not None
            and abs(block.time_s - self._due_s) > _GAP_S
        )
        broken = block.rate != self._rate or jumped or abs(clock_s - self._clock_s) > _CLOCK_SET_S
        if broken:
            self._rate, self._clock_s = block.rate, clock_s
        self._due_s = None if block.time_s is None else block.time_s + block.duration_s
        return broken
