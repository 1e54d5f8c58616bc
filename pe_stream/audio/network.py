"""Live streams: RTSP, HTTP and whatever else FFmpeg's libraries fetch, and pipes on this machine.

FFmpeg's calls block, at worst for their whole time limit, and cannot be interrupted safely from
another thread. So they have a thread of their own, which hands chunks over; the iterator waits
on the hand-over only and can stop at any time, whatever the other thread is stuck in. All that a
sender has a say in happens on that thread, where it is counted and bounded: see `limits`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from pe_stream.audio.decode import Block, Decoder
from pe_stream.audio.limits import LiveLimits, TooCostlyError
from pe_stream.audio.numbering import Numbering
from pe_stream.audio.opening import open_network, open_pipe
from pe_stream.audio.pcm import Resampler, mix
from pe_stream.audio.received_queue import ArrivedAudio, ReceivedQueue
from pe_stream.audio.rtsp import RtspWays
from pe_stream.config.addresses import is_network, masked_url
from pe_stream.config.worker import Worker
from pe_stream.core.stream_clock import Arrival
from pe_stream.core.types import AudioChunk, Samples
from pe_stream.errors import UnavailableError

if TYPE_CHECKING:  # nothing of pictures is imported where none are wanted
    from pe_stream.audio.camera_pictures import CameraPictures

TIMEOUT_S = 10.0
"""For opening, and for every read (s)."""

_WAITING_S = 10.0
"""Audio that may wait to be taken (s). Then the receiver stops reading and the sender waits."""


class NetworkStream:
    """An iterator over the chunks of a stream, as they arrive: of an address, or out of a pipe.

    When the sound was made is for a `StreamClock` to say, and what of it is missing; a new segment
    begins there, and where the wall clock is set or the sample rate changes. Audio that comes at
    once, as at the beginning, is held until it shows how old it is: for half a second of silence on
    the line, or less. Reconnecting is the caller's part. What states its length is no live stream
    but a recording on a server: it is played in real time and ends the iteration as a file does.

    What comes faster than it plays, stored audio apart, is read at the speed at which it plays.

    channel: take this one (from 0) instead of the mean of all. first_sample: index of the first
    sample; at_s: when the one before it was made (monotonic), None where there is none.
    timeout_s: for opening, and for every read. other_hosts: see `open_network`. limits: what the
    source has left of them from its connections before; default: everything. track: the audio
    track, from 0, instead of the best one. ways: in which a camera is asked; what is known of them.
    pictures: where the picture that comes with the sound is kept; default: it is thrown away.

    describe: says, too, how a camera is asked, once it is heard.

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
        track: int | None = None,
        timeout_s: float = TIMEOUT_S,
        other_hosts: Collection[str] = (),
        limits: LiveLimits | None = None,
        ways: RtspWays | None = None,
        pictures: CameraPictures | None = None,
    ) -> None:
        self.describe = self._name = masked_url(url)
        self._url = url
        self._channel, self._track = channel, track
        self._again = at_s is not None
        self._ways = ways
        self._heard_s = 0.0
        self._timeout_s = timeout_s
        self._other_hosts = other_hosts
        self._limits = limits or LiveLimits()
        self._closed = threading.Event()
        self._numbering = Numbering(first_sample, at_s)
        self._chunks: deque[AudioChunk] = deque()
        self._ended: BaseException | None = None
        self._cpu_s = 0.0
        self._pictures = pictures
        self._beside = None if pictures is None else pictures.beside_sound()
        # Full where nobody takes: the receiver then waits.
        self._received = ReceivedQueue(_WAITING_S)
        Worker(f"receive {self._name}", self._receive, self._received.put).start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AudioChunk:
        while not self._chunks:
            if self._ended is not None:
                raise self._ended
            self._chunks.extend(self._next_chunks())
            if self._beside is not None:
                self._beside.place(self._numbering)
        chunk = self._chunks.popleft()
        if self._pictures is not None:
            self._pictures.hear(chunk.end, chunk.captured_s)
        return chunk

    def close(self) -> None:
        """End the iteration."""
        self._closed.set()
        self._received.close()

    def _next_chunks(self) -> list[AudioChunk]:
        """What can be numbered next, which may be nothing yet; at the end, `_ended` is set."""
        numbering = self._numbering
        try:
            received = self._received.get(numbering.due_s)
        except TimeoutError:
            return numbering.settle()
        except UnavailableError as error:
            self._ended = error
            return numbering.finish()
        if received is None:
            self._ended = StopIteration()
            return [] if self._closed.is_set() else numbering.finish()
        if received.arrival is None:
            numbering.rest(received.samples)
            return []
        return numbering.add(received.samples, received.arrival)

    def _receive(self) -> None:
        """Read until the stream ends or is closed; what else ends it is raised by the iterator."""
        self._cpu_s = time.thread_time()
        try:
            self._read()
        except UnavailableError:
            self._charge()  # a stream may be expensive and broken, too
            raise
        finally:
            if self._beside is not None:
                self._beside.end()
        self._received.put(None)

    def _read(self) -> None:
        if is_network(self._url):
            decoder = open_network(
                self._url,
                timeout_s=self._timeout_s,
                other_hosts=self._other_hosts,
                closed=self._closed,
                spend=self._spend,
                ways=self._ways,
                track=self._track,
                again=self._again,
                others=self._beside,
            )
        else:
            decoder = open_pipe(self._url, spend=self._spend, track=self._track)
        if decoder.way is not None:
            self.describe = f"{self._name} ({decoder.way})"
        if self._pictures is not None and self._ways is not None and self._ways.alone is not None:
            self._pictures.not_asked_for(self._ways.alone)
        try:
            self._hand_over(decoder)
        finally:
            if decoder.way is not None and self._ways is not None and not self._closed.is_set():
                self._ways.ended(decoder.way, self._heard_s)

    def _hand_over(self, decoder: Decoder) -> None:
        self._charge()
        for received in self._resampled(self._arrivals(decoder)):
            if not self._received.put(received):
                return
        if not decoder.recorded:
            raise UnavailableError(f"{self._name}: the stream ended")

    def _spend(self, _cpu_s: float = 0.0, _audio_s: float = 0.0) -> None:
        """Count the CPU time since it was last counted; raises TooCostlyError.

        All of it, not what decoding took alone, which is given. A picture has a thread and limits
        of its own.
        """
        before_s, self._cpu_s = self._cpu_s, time.thread_time()
        self._limits.spend_cpu(self._cpu_s - before_s)

    def _charge(self) -> None:
        """Likewise, outside of the decoder, which names the stream itself."""
        try:
            self._spend()
        except TooCostlyError as error:
            raise TooCostlyError(f"{self._name}: {error}") from None

    def _arrivals(self, decoder: Decoder) -> Iterator[tuple[Block, Arrival]]:
        """The blocks with the time at which they came, and no faster than they may."""
        due_s = time.monotonic()
        for block in decoder.blocks():
            if decoder.recorded:
                due_s += block.duration_s
                self._closed.wait(max(0.0, due_s - time.monotonic()))
            at_s, utc_ns = time.monotonic(), time.time_ns()
            self._heard_s += block.duration_s
            yield (
                block,
                Arrival(
                    block.duration_s,
                    at_s,
                    utc_ns,
                    block.time_s,
                    block.sent_s,
                    batch_s=decoder.batch_s,
                ),
            )
            ahead_s = self._limits.ahead_s(block.duration_s)
            if self._closed.wait(ahead_s) if ahead_s else self._closed.is_set():
                return

    def _resampled(self, arrivals: Iterable[tuple[Block, Arrival]]) -> Iterator[ArrivedAudio]:
        resampler: Resampler | None = None
        rate = 0.0
        for block, arrival in arrivals:
            broken = block.rate != rate
            if broken:
                if resampler is not None:
                    self._break()
                    yield ArrivedAudio(resampler.flush(), None)
                resampler, rate = Resampler(block.rate), block.rate
            assert resampler is not None  # noqa: S101 - the first block has a rate
            yield ArrivedAudio(resampler.feed(self._mix(block)), replace(arrival, broken=broken))
        if resampler is not None:
            yield ArrivedAudio(resampler.flush(), None)

    def _break(self) -> None:
        try:
            self._limits.spend_break()
        except TooCostlyError as error:
            raise TooCostlyError(f"{self._name}: {error}") from None

    def _mix(self, block: Block) -> Samples:
        if self._channel is not None and self._channel >= len(block.planes):
            raise UnavailableError(
                f"{self._name}: there is no channel {self._channel}; "
                f"it has {len(block.planes)}, counted from 0"
            )
        return mix(block.planes, self._channel).samples
