"""Ways in which a camera is asked for its sound over RTSP, and what is known of them.

Most cameras send their sound alone, within the RTSP connection. Some refuse that connection for
sound, some send nothing, or hang up, unless their picture is wanted too. Where it is, all is asked
for with every connection, and sound alone only for one at a time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from pe_stream.audio.limits import TooCostlyError
from pe_stream.errors import RefusedError, UnavailableError

log = logging.getLogger(__name__)

Transport = Literal["auto", "tcp", "udp", "http"]
Streams = Literal["auto", "audio", "all", "picture"]

_TRANSPORTS: dict[Transport, tuple[Transport, ...]] = {"auto": ("tcp", "udp")}
_STREAMS: dict[Streams, tuple[Streams, ...]] = {"auto": ("audio", "all")}
_MEDIA: dict[Streams, str] = {"audio": "audio", "all": "audio+video", "picture": "video"}
_WORDS: dict[Streams, str] = {
    "audio": "audio alone",
    "all": "the whole stream",
    "picture": "the picture alone",
}

SHORT_S = 30.0
"""A connection that brought less sound (s) may have ended because of how it was asked for."""

_SHORT_ROW = 2
"""After so many of them in a row, another way is tried."""

_ANALYSED_US = 1_500_000
"""Sound and picture that FFmpeg looks into for what it is (µs)."""

_PROTOCOLS = {"tcp": "tcp,tls", "udp": "rtp,udp,tcp", "http": "http,https,tcp,tls"}

Opened = TypeVar("Opened")


class UnsupportedTransportError(UnavailableError):
    """The camera does not send over this transport."""


class RefusedSoError(RefusedError):
    """The camera refuses to be asked this way, and may not mind another one."""


class FinalError(UnavailableError):
    """Whatever way is taken, it ends so: nobody is there, or there is no sound."""


class RtspSpec(Protocol):
    """Settings of an RTSP source."""

    @property
    def transport(self) -> Transport:
        """What carries the sound."""

    @property
    def streams(self) -> Streams:
        """What the camera is asked for."""

    @property
    def timeout_s(self) -> float:
        """Of opening, and of every read."""

    @property
    def track(self) -> int | None:
        """Which of the audio tracks, from 0; None: the one that FFmpeg takes for the best."""


@dataclass(frozen=True, slots=True)
class RtspWay:
    """One way to ask a camera."""

    transport: Transport
    streams: Streams

    def __str__(self) -> str:
        return f"{_WORDS[self.streams]} over {self.transport.upper()}"

    @property
    def options(self) -> dict[str, str]:
        """For FFmpeg's demuxer."""
        return {
            "rtsp_transport": self.transport,
            "allowed_media_types": _MEDIA[self.streams],
            "analyzeduration": str(_ANALYSED_US),
        }

    @property
    def protocols(self) -> str:
        """Of FFmpeg's that it takes."""
        return _PROTOCOLS[self.transport]


class RtspWays:
    """What is known of one camera, over all its connections; used by one connection at a time.

    alone: why the latest connection is one for sound alone, in words, where its picture is wanted;
    None where it brings that, or nobody wants it.
    """

    def __init__(
        self,
        transport: Transport = "auto",
        streams: Streams = "auto",
        *,
        secure: bool = False,
        pictures: bool = False,
    ) -> None:
        """Begin with what is usual. secure: `rtsps`, which goes over TCP alone.

        pictures: they are wanted with the sound. Every connection then begins with asking for all;
        audio alone is asked for where that fails, for this connection only, or once where all has
        brought nothing but short connections.
        """
        self.alone: str | None = None
        transports = ("tcp",) if secure else _TRANSPORTS.get(transport, (transport,))
        asked = _STREAMS.get(streams, (streams,))
        order = asked[::-1] if pictures else asked
        self._ways = [RtspWay(each, what) for each in transports for what in order]
        self._longest_s: dict[RtspWay, float] = {}
        self._short = 0
        self._told = False
        self._pictures = pictures
        self._begun: set[RtspWay] = set()  # with pictures: since the last good connection

    def open(self, name: str, attempt: Callable[[RtspWay], Opened]) -> tuple[Opened, RtspWay]:
        """The first way that brings sound, and what `attempt` made of it.

        name: of the stream, for the log. attempt: returns once there is sound; raises
        UnavailableError. Its RefusedError, FinalError and TooCostlyError, and the failure of the
        only way, are raised as they are; else an UnavailableError names what every way came to, a
        RefusedError where each was refused.
        """
        failures: dict[RtspWay, UnavailableError] = {}
        refused: set[Transport] = set()
        for way in tuple(self._ways):
            if way.transport in refused:
                continue
            try:
                opened = attempt(way)
            except UnavailableError as error:
                final = isinstance(error, RefusedError) and not isinstance(error, RefusedSoError)
                if final or isinstance(error, FinalError | TooCostlyError):
                    raise
                failures[way] = error
                if isinstance(error, UnsupportedTransportError):
                    refused.add(way.transport)
                if len(self._ways) == 1:
                    raise
                if not self._told:
                    log.info("%s: %s: %s; trying another way", name, way, error)
            else:
                self._worked(way, failures)
                self._told = False
                return opened, way
        self._told = True
        every = all(isinstance(error, RefusedSoError) for error in failures.values())
        kind = RefusedError if every else UnavailableError
        raise kind("; ".join(f"{way}: {error}" for way, error in failures.items()))

    def ended(self, way: RtspWay, heard_s: float) -> None:
        """A connection over this way is over, which brought so much sound (s)."""
        self._longest_s[way] = max(heard_s, self._longest_s.get(way, 0.0))
        self._short = 0 if heard_s >= SHORT_S else self._short + 1
        if not self._short:
            self._begun.clear()
        if self._short < _SHORT_ROW:
            return
        self._short = 0
        if self._pictures:
            self._begun.add(way)
            self._prefer(self._next_of_all(way))
            return
        others = [each for each in self._ways if each not in self._longest_s]
        best = max(self._longest_s, key=lambda each: self._longest_s[each])
        self._prefer(others[0] if others else best)

    def _worked(self, way: RtspWay, failures: Mapping[RtspWay, UnavailableError]) -> None:
        """Keep in mind that a way has brought sound, after those that failed."""
        if not self._pictures:
            self._prefer(way)
            return
        self.alone = None
        if way.streams == "audio":
            wanted = [
                f"{each} failed: {error}"
                for each, error in failures.items()
                if each.streams != "audio"
            ]
            why = ", ".join(wanted) or f"{_WORDS['all']} broke off again and again"
            self.alone = f"its sound alone was asked for, as {why}"
        self._ways.sort(key=lambda each: (each.transport != way.transport, each.streams == "audio"))

    def _next_of_all(self, way: RtspWay) -> RtspWay:
        """What to begin with after short connections over this way, where pictures are wanted.

        All, over a transport that was not begun with; else audio alone, which is for once, and
        nothing new where it may not be asked for.
        """
        for each in self._ways:
            if each.streams != "audio" and each not in self._begun:
                self._begun.add(each)
                return each
        self._begun.clear()
        return RtspWay(way.transport, "audio")

    def _prefer(self, way: RtspWay) -> None:
        """Begin with this one from now on."""
        self._ways.sort(key=lambda each: each != way)
