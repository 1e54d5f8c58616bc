"""A camera's picture in a connection of its own, such as its small stream.

Its clock is not the sound's: a picture lies where it came, which is right to about half a second.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection

import av.error

from pe_stream.audio.camera_pictures import CameraPictures
from pe_stream.audio.decode import reason
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
            try:
                self._read()
                why = f"{masked_url(self._url)}: the stream ended"
            except UnavailableError as error:
                why = str(error)
            except Exception as error:
                # Whatever a picture has done, everything else goes on; it is looked into.
                log.exception("%s: its picture", self._name)
                why = f"it failed: {error!r}"
            if self._closed.is_set():
                return
            self._pictures.ended(None, redacted(why))
            failed = 1 if time.monotonic() - begun_s > GOOD_S else failed + 1
            if why != said:
                log.warning("%s: no picture: %s; trying again", self._name, why)
            said = why
            chance = random.random()  # noqa: S311 - no secret is made of it
            self._closed.wait(delay_s(failed, LONGEST_PAUSE_S, chance))

    def _read(self) -> None:
        """Keep pictures until the connection ends; raises UnavailableError where that is amiss."""
        opened = open_picture(
            self._url,
            timeout_s=self._timeout_s,
            other_hosts=self._other_hosts,
            closed=self._closed,
            ways=self._ways,
        )
        with opened.container:
            self._keep(opened)

    def _keep(self, opened: OpenedStream) -> None:
        pictures = self._pictures
        decoder = pictures.begin(opened.container)
        if decoder.codec is None:
            pictures.ended(decoder, "")
            raise UnavailableError(f"{masked_url(self._url)}: {decoder.reason}")
        try:
            for packet in opened.container.demux():
                opened.came(packet.size)
                if self._closed.is_set():
                    return
                if not decoder.owns(packet):
                    continue
                opened.heard()
                for frame in decoder.frames(packet):
                    if (taken := decoder.taken(frame, time.monotonic())) is not None:
                        pictures.add_arrived(taken)
        except av.error.FFmpegError as error:
            raise UnavailableError(f"{masked_url(self._url)}: {reason(error)}") from None
        finally:
            pictures.ended(decoder, f"{masked_url(self._url)}: the stream ended")
