"""The latest pictures of a camera, in memory alone, among the samples of its sound."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Protocol

from av.container import InputContainer
from av.packet import Packet

from pe_stream.audio.limits import PictureLimits
from pe_stream.audio.numbering import Numbering
from pe_stream.audio.picture_decoder import PictureDecoder, TakenPicture
from pe_stream.audio.picture_thread import PictureThread
from pe_stream.core.picture_clock import ArrivalClock
from pe_stream.core.picture_ring import FROZEN_S, CameraPicture, PictureRing, PictureStatus
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.errors import UnavailableError

log = logging.getLogger(__name__)

MOST_BYTES = 48 * 2**20
"""Of one camera's pictures: half a minute at five a second, of 300 kB each."""

LATE_S = 10.0
"""No picture for so long (s), or for three that there should be, is told."""

LATE_KEY_S = 30.0
"""The same of those that stand for themselves."""

_FINISH_S = 0.2
"""At the end of a connection, pictures that have come may take so long (s): another one waits."""


class PictureSpec(Protocol):
    """Settings of a camera's picture."""

    @property
    def fps(self) -> float:
        """Pictures that are kept a second."""

    @property
    def url(self) -> str | None:
        """An address of its own; None: it comes with the sound."""

    @property
    def keep_s(self) -> float:
        """Seconds of which pictures are kept."""

    @property
    def keyframes(self) -> bool:
        """Whether only pictures that stand for themselves are decoded."""


class CameraPictures:
    """The pictures of one source, over all its connections; safe to use from any thread."""

    def __init__(self, spec: PictureSpec) -> None:
        """Begin with none. Where spec.url is set, a `PictureStream` fills them."""
        self._spec = spec
        self._limits = PictureLimits()
        self._lock = threading.Lock()  # guards what follows
        self._ring = PictureRing(round(spec.keep_s * SAMPLE_RATE), MOST_BYTES)
        self._clock = ArrivalClock()
        self._decoder: PictureDecoder | None = None
        self._reason: str | None = "there is no connection yet"
        self._alone: str | None = None
        self._frozen = False
        self._kept = self._damaged = 0
        self._kept_s = time.monotonic()

    @property
    def status(self) -> PictureStatus:
        """How it does."""
        with self._lock:
            decoder, kept, damaged = self._decoder, self._kept, self._damaged
            alone = self._alone
            reason, frozen, late_s = self._reason, self._frozen, time.monotonic() - self._kept_s
        if decoder is None:
            return PictureStatus(reason, kept=kept, damaged=damaged)
        most_s = LATE_KEY_S if self._spec.keyframes else max(LATE_S, 3 / self._spec.fps)
        reason = alone or decoder.reason
        if reason is None and frozen:
            reason = f"it has stood still for {FROZEN_S:g} s, to the last bit"
        elif reason is None and late_s > most_s:
            reason = f"none has come for {most_s:g} s"
        width, height = decoder.size or (None, None)
        damaged += decoder.damaged
        return PictureStatus(reason, decoder.codec, width, height, decoder.fps, kept, damaged)

    @property
    def limits(self) -> PictureLimits:
        """What they have left, for the one thread that decodes."""
        return self._limits

    def between(self, begin: int, end: int) -> list[CameraPicture]:
        """The pictures of the absolute samples `begin` up to `end`, in their order."""
        with self._lock:
            return self._ring.between(begin, end)

    def beside_sound(self) -> BesideSound | None:
        """Who fills them from a connection that brings the sound; None where another one does."""
        return BesideSound(self) if self._spec.url is None else None

    def begin(self, container: InputContainer) -> PictureDecoder:
        """A connection has begun; what decodes its picture."""
        spec = self._spec
        decoder = PictureDecoder(container, self._limits, spec.fps, keyframes=spec.keyframes)
        with self._lock:
            self._let_go("")
            self._decoder = decoder
        return decoder

    def not_asked_for(self, reason: str) -> None:
        """The connection that has begun is one without picture, and why."""
        with self._lock:
            self._alone = reason

    def ended(self, decoder: PictureDecoder | None, reason: str) -> None:
        """A connection is over, or could not be had, and why; not where another one has begun."""
        with self._lock:
            if self._decoder is decoder:
                self._let_go(reason)

    def hear(self, end: int, captured_s: float) -> None:
        """Sound has come up to a sample (exclusive), which was made then (monotonic)."""
        with self._lock:
            self._clock.hear(end, captured_s)

    def add(self, sample: int, jpeg: bytes) -> None:
        """Keep a picture, made with that sample."""
        with self._lock:
            self._frozen = not self._ring.add(CameraPicture(sample, jpeg))
            self._kept += not self._frozen
            self._kept_s = time.monotonic()

    def add_arrived(self, picture: TakenPicture) -> None:
        """Keep a picture that came with no sound, at its time (monotonic)."""
        with self._lock:
            sample = self._clock.sample(picture.time_s)
        if sample is not None:
            self.add(sample, picture.jpeg)

    def _let_go(self, reason: str) -> None:
        if self._decoder is not None:
            self._damaged += self._decoder.damaged
        self._decoder, self._reason, self._alone = None, reason, None


class BesideSound:
    """The picture that comes in one connection with the sound.

    `begin`, `hear`, `take` and `end` are of the thread that decodes the sound, see
    `decode.OtherTracks`, and nothing but `end` takes long; `place` is of the one that numbers
    samples.
    """

    def __init__(self, pictures: CameraPictures) -> None:
        """Fill these."""
        self._pictures = pictures
        self._decoder: PictureDecoder | None = None
        self._thread: PictureThread | None = None

    def begin(self, container: InputContainer) -> None:
        """A container is open."""
        if self._thread is not None:
            self._thread.leave()
        self._thread = None
        self._decoder = decoder = self._pictures.begin(container)
        if decoder.codec is None:
            return

        def failed(error: BaseException) -> None:
            # Whatever a picture has done, sound goes on; it is told, and looked into.
            log.error("the picture is given up until the next connection", exc_info=error)
            self._pictures.ended(decoder, f"it failed: {error!r}")

        try:
            self._thread = PictureThread(decoder, failed)
        except UnavailableError as error:
            self._pictures.ended(decoder, str(error))

    def hear(self, heard_s: float, stamp_s: float | None) -> None:
        """So much sound has come."""
        if self._thread is not None:
            self._thread.hear(heard_s, stamp_s)

    def take(self, packet: Packet[Any]) -> None:
        """What came beside it."""
        if self._thread is not None:
            self._thread.take(packet)

    def place(self, numbering: Numbering) -> None:
        """Keep what waits, as far as its sound is numbered."""
        taken = () if self._thread is None else self._thread.taken
        while taken:
            position = round(taken[0].time_s * SAMPLE_RATE)
            if position >= numbering.numbered:
                return
            picture = taken.popleft()
            sample = numbering.sample_at(position)
            if sample is not None:
                self._pictures.add(sample, picture.jpeg)

    def end(self) -> None:
        """No more comes."""
        if self._thread is not None:
            self._thread.finish(_FINISH_S)
            self._thread.leave()
        self._pictures.ended(self._decoder, "there is no connection")
