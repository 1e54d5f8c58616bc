"""The latest pictures of a camera, by absolute sample index; pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pe_stream.core.types import SAMPLE_RATE

FROZEN_S = 10.0
"""A picture that is the same to the last bit for longer (s) is none: a camera sees noise."""


@dataclass(frozen=True, slots=True, eq=False)
class CameraPicture:
    """A picture. sample: absolute index of the sound's sample that was made with it."""

    sample: int
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class PictureStatus:
    """How the picture of a source does.

    reason: why none comes at present, in words; None while pictures come. codec, width, height
    (pixels): of the latest picture, as the camera sends it; fps: that the camera sends, where it
    is known; a None while nothing is known. kept: pictures that were kept, and damaged: packets
    that could not be decoded, since the start.
    """

    reason: str | None
    codec: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    kept: int = 0
    damaged: int = 0


class PictureRing:
    """Pictures in the order of their samples, so far back as is asked for."""

    def __init__(self, keep: int, most_bytes: int) -> None:
        """keep: samples, up to the latest picture, of which there are pictures.

        most_bytes: of all pictures together.
        """
        self._keep, self._most_bytes = keep, most_bytes
        self._pictures: deque[CameraPicture] = deque()
        self._bytes = 0
        self._same: CameraPicture | None = None  # the first of those that are like the latest

    def add(self, picture: CameraPicture) -> bool:
        """Keep a picture, unless it is not after the latest; returns whether it is news.

        One that is the same for FROZEN_S is none, and so are those of that time but the first:
        what was to be seen is not known.
        """
        pictures = self._pictures
        if pictures and picture.sample <= pictures[-1].sample:
            return True
        if self._same is None or self._same.jpeg != picture.jpeg:
            self._same = picture
        elif picture.sample - self._same.sample > FROZEN_S * SAMPLE_RATE:
            while pictures and pictures[-1].sample > self._same.sample:
                self._bytes -= len(pictures.pop().jpeg)
            return False
        pictures.append(picture)
        self._bytes += len(picture.jpeg)
        oldest = picture.sample - self._keep
        while pictures and (pictures[0].sample < oldest or self._bytes > self._most_bytes):
            self._bytes -= len(pictures.popleft().jpeg)
        return True

    def between(self, begin: int, end: int) -> list[CameraPicture]:
        """The pictures of the samples `begin` up to `end`, in their order."""
        return [each for each in self._pictures if begin <= each.sample < end]
