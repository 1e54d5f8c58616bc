"""Opening a camera over RTSP, in one of its ways."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import av
import av.error
from av.container import InputContainer

from pe_stream.audio.container_options import common_options, formats_that_stay, picture_options
from pe_stream.audio.decode import Decoder, NoTrackError, OtherTracks, reason
from pe_stream.audio.limits import SilenceLimits
from pe_stream.audio.rtsp import (
    FinalError,
    RefusedSoError,
    RtspWay,
    UnsupportedTransportError,
)
from pe_stream.config.addresses import PERCENT_ENCODE
from pe_stream.errors import RefusedError, UnavailableError

RTSP = {"rtsp": 554, "rtsps": 322}
"""Usual ports."""

_REFUSALS = (
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
    av.error.HTTPNotFoundError,
    av.error.HTTPTooManyRequestsError,
)
"""Answers that have nothing to do with the way in which the camera is asked."""

_NOBODY = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera at its address; see `open_network` for the rest."""

    url: str
    name: str
    timeout_s: float
    closed: threading.Event | None
    spend: Callable[[float, float], None] = lambda _cpu_s, _audio_s: None
    track: int | None = None
    others: OtherTracks | None = None

    def open(self, way: RtspWay) -> Decoder:
        """Its sound, once there is some. Raises UnavailableError, without the camera's name."""
        with self._explained():
            decoder = self._decoder(way)
            decoder.wait_for_sound()
        return decoder

    def open_picture(self, way: RtspWay) -> InputContainer:
        """Its picture; raises as `open`."""
        with self._explained():
            return self._container(way, picture_options())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what an error means for other ways."""
        try:
            yield
        except _REFUSALS as error:
            raise RefusedError(reason(error)) from None
        except av.error.HTTPClientError as error:
            raise RefusedSoError(reason(error)) from None
        except (av.error.FFmpegError, UnicodeError) as error:
            raise self._failure(error) from None
        except UnavailableError as error:
            kind = FinalError if isinstance(error, NoTrackError) else type(error)
            raise kind(str(error).removeprefix(f"{self.name}: ")) from None

    def _container(self, way: RtspWay, options: dict[str, str]) -> InputContainer:
        if self.closed is not None and self.closed.is_set():
            raise FinalError("it is no longer wanted")
        options |= way.options | {
            "protocol_whitelist": way.protocols,
            "format_whitelist": formats_that_stay(),
        }
        return av.open(self.url, options=options, timeout=(self.timeout_s, self.timeout_s))

    def _decoder(self, way: RtspWay) -> Decoder:
        container = self._container(way, common_options())
        silence = SilenceLimits(self.timeout_s, self.closed)
        return Decoder(
            container,
            self.name,
            spend=self.spend,
            heard=silence.heard,
            came=silence.spend,
            track=self.track,
            others=self.others,
        )

    def _failure(self, error: Exception) -> UnavailableError:
        """What it means for other ways that one has failed."""
        number = getattr(error, "errno", None)
        if number == errno.EINVAL and "@" in self.url:
            return FinalError(f"{reason(error)}; {PERCENT_ENCODE}")
        if number == errno.EPROTONOSUPPORT:
            return UnsupportedTransportError(reason(error))
        if number in _NOBODY or not self._answers():
            hint = f"; {PERCENT_ENCODE}" if "@" in urlsplit(self.url).path else ""
            return FinalError(f"{reason(error)}{hint}")
        return UnavailableError(reason(error))

    def _answers(self) -> bool:
        """Whether there is anybody who would take a connection."""
        parts = urlsplit(self.url)
        try:
            port = parts.port or RTSP[parts.scheme.lower()]
            socket.create_connection((parts.hostname or "", port), self.timeout_s).close()
        except (OSError, ValueError):
            return False
        return True
