"""The moving picture among the tracks of a container, and whether it may be decoded."""

from __future__ import annotations

from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from pe_stream.audio.container_options import PICTURE_CODECS
from pe_stream.errors import UnavailableError

MOST_PIXELS = 8192 * 4352
"""Of a picture (8K). As colours they take three bytes each."""


class NoPictureError(UnavailableError):
    """There is no moving picture in it, or none that can be read."""


def moving_picture(container: InputContainer) -> VideoStream:
    """The largest moving picture, to be decoded on the caller's own thread.

    Raises NoPictureError where there is none, or none of a kind and size that is read.
    """
    cover = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [each for each in container.streams.video if not each.disposition & cover]
    # one of an unknown codec has no context, and so no size
    films = [each for each in streams if each.codec_context is not None]
    if not films:
        raise NoPictureError("it has no moving picture")
    stream = max(films, key=lambda each: each.width * each.height)
    found = stream.codec_context
    if found.name not in PICTURE_CODECS or found.width * found.height > MOST_PIXELS:
        what = f"{found.name}, {found.width} x {found.height}"
        raise NoPictureError(f"its picture ({what}) is of a kind that is not read")
    found.thread_count = 1  # the caller's own, whose CPU time is counted
    found.options = {"max_pixels": str(MOST_PIXELS)}
    return stream
