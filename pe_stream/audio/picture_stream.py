"""A camera's picture in a connection of its own, such as its small stream.

Its clock is not the sound's: a picture lies where it came, which is right to about half a second.
Whoever answers at the address is not trusted: all that reading takes is counted, beside what
decoding does, and it is read no faster than it plays. Where it takes too much, the connection is
given up: what would have piled up in it by the end of the pause is old.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection
from contextlib import closing
from typing import Any

import av.error
from av.packet import Packet

from pe_stream.audio.camera_pictures import CameraPictures
from pe_stream.audio.decode import reason
from pe_stream.audio.feed import COSTLY_FIRST_S, COSTLY_S
from pe_stream.audio.limits import LiveLimits, TooCostlyError
from pe_stream.audio.opening import OpenedStream, open_picture
from pe_stream.audio.rtsp import RtspWays
from pe_stream.config.addresses import masked_url
from pe_stream.config.redaction import redacted
from pe_stream.config.worker import Worker
from pe_stream.core.backoff import delay_s
from pe_stream.errors import UnavailableError

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0
"""The longest pause before a picture that was lost is asked for again (s)."""

GOOD_S = 30.0
"""A connection that lasts so long (s) was a good one."""

NO_LIVE_STREAM = "it has an end, as a recording or a single picture has, and is no live stream"
"""Why a recording is refused."""

_LEAST_STEP_S, _MOST_STEP_S = 1 / 120, 10.0
"""What a picture may have moved on by (s), whatever its stamp says."""

_WITHOUT_STAMPS = {"h264", "hevc", "m4v", "mjpeg", "mjpeg_2000", "mpjpeg"}
"""FFmpeg's formats whose stamps are its own, at 25 pictures a second."""

_LOOK_S = 1.0
"""So often (s) it is looked whether enough is left again."""


class _RestError(UnavailableError):
    """Nothing is left to decode with at present."""


class PictureStream:
    """Keeps the pictures of an address, connecting again whenever that breaks.

    on_failure: called with what ended its thread, if that was an error of ours.
    """

    def __init__(
        self,
        name: str,
        url: str,
        pictures: CameraPictures,
        on_failure: Callable[[BaseException], None],
        *,
        timeout_s: float,
        other_hosts: Collection[str] = (),
        ways: RtspWays | None = None,
    ) -> None:
        """Prepare. name: of the source; the rest as of `open_picture`, and `CameraPictures`."""
        self._name, self._url, self._pictures = name, url, pictures
        self._timeout_s, self._other_hosts, self._ways = timeout_s, other_hosts, ways
        self._pace = LiveLimits()
        self._counted_s = 0.0
        self._stamp_s: float | None = None
        self._closed = threading.Event()
        self._worker = Worker(f"picture {name}", self._work, on_failure)

    def start(self) -> None:
        """Begin."""
        self._worker.start()

    def stop(self) -> None:
        """End; a read under way is left to its time limit."""
        self._closed.set()

    def _work(self) -> None:
        failed, said = 0, ""
        while not self._closed.is_set():
            begun_s = time.monotonic()
            longest_s, first_s, rested = LONGEST_PAUSE_S, 1.0, False
            try:
                self._read()
                why = f"{masked_url(self._url)}: the stream ended"
            except TooCostlyError as error:
                why, longest_s, first_s = str(error), COSTLY_S, COSTLY_FIRST_S
            except _RestError as error:
                why, rested = str(error), True
            except UnavailableError as error:
                why = str(error)
            except Exception as error:
                # Whatever a picture has done, everything else goes on; it is looked into.
                log.exception("%s: its picture", self._name)
                why = f"it failed: {error!r}"
            if self._closed.is_set():
                return
            self._pictures.ended(None, redacted(why))
            if why != said:
                log.warning("%s: no picture: %s; trying again", self._name, why)
            said = why
            if self._rests() or rested:
                continue
            failed = 1 if time.monotonic() - begun_s > GOOD_S else failed + 1
            chance = random.random()  # noqa: S311 - no secret is made of it
            self._closed.wait(delay_s(failed, longest_s, chance, first_s=first_s))

    def _rests(self) -> bool:
        """Whether nothing was left to decode with; returns once there is, or when closed."""
        rested = False
        while self._too_costly() is not None and not self._closed.wait(_LOOK_S):
            rested = True
        return rested

    def _too_costly(self) -> str | None:
        return self._pictures.limits.reason(time.monotonic())

    def _read(self) -> None:
        """Keep pictures until the connection ends; raises UnavailableError where that is amiss."""
        self._counted_s = time.thread_time()
        try:
            opened = open_picture(
                self._url,
                timeout_s=self._timeout_s,
                other_hosts=self._other_hosts,
                closed=self._closed,
                ways=self._ways,
            )
        finally:
            self._count()
        with closing(opened):
            try:
                self._keep(opened)
            except av.error.FFmpegError as error:
                raise UnavailableError(f"{masked_url(self._url)}: {reason(error)}") from None
            except UnavailableError as error:
                raise type(error)(f"{masked_url(self._url)}: {error}") from None

    def _keep(self, opened: OpenedStream) -> None:
        """Likewise; raises FFmpeg's errors too, and leaves out the address."""
        if opened.recorded:
            raise TooCostlyError(NO_LIVE_STREAM)
        pictures = self._pictures
        decoder = pictures.begin(opened.container)
        try:
            if decoder.codec is None:
                raise UnavailableError(decoder.reason)
            self._stamp_s = None
            for packet in opened.container.demux():
                opened.came(packet.size)
                self._count()
                if self._closed.is_set():
                    return
                if (why := self._too_costly()) is not None:
                    raise _RestError(why)
                if not decoder.owns(packet):
                    continue
                for frame in decoder.frames(packet):
                    if (taken := decoder.taken(frame, time.monotonic())) is not None:
                        pictures.add_arrived(taken)
                self._counted_s = time.thread_time()  # the decoder has counted that
                self._closed.wait(self._ahead_s(opened, packet))
                opened.heard()
            opened.heard()  # raises what FFmpeg did not pass on
        finally:
            pictures.ended(decoder, f"{masked_url(self._url)}: the stream ended")

    def _count(self) -> None:
        """Count the CPU time since it was last counted."""
        before_s, self._counted_s = self._counted_s, time.thread_time()
        self._pictures.limits.spend(self._counted_s - before_s, time.monotonic())

    def _ahead_s(self, opened: OpenedStream, packet: Packet[Any]) -> float:
        """How long (s) to wait after this packet of the picture, before more of it is read."""
        before_s, self._stamp_s = self._stamp_s, self._stamp(opened, packet)
        step_s = _LEAST_STEP_S
        if before_s is not None and self._stamp_s is not None:
            step_s = min(max(self._stamp_s - before_s, _LEAST_STEP_S), _MOST_STEP_S)
        return self._pace.ahead_s(step_s)

    @staticmethod
    def _stamp(opened: OpenedStream, packet: Packet[Any]) -> float | None:
        if opened.container.format.name in _WITHOUT_STAMPS or packet.dts is None:
            return None
        return float(packet.dts * packet.time_base)
