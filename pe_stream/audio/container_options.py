"""What FFmpeg's libraries may do with whatever a container holds."""

from __future__ import annotations

from functools import cache

import av

from pe_stream.audio.limits import bound_allocations

_LEAD_ELSEWHERE = {"concat", "dash", "hls", "imf", "lavfi", "sdp"}
"""Formats that name further addresses, which only HTTP can have looked at."""

_VORBIS = {"vorbis", "libvorbis"}
"""Decoders that make tables of hundreds of megabytes of a header of a few kilobytes. FFmpeg would
open one for every track, to look into it. The headers say enough without; ours is opened later."""

PICTURE_CODECS = frozenset(
    {
        *("av1", "libdav1d", "libaom-av1"),
        *("ffv1", "h263", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4"),
        *("msmpeg4v2", "msmpeg4", "prores", "rawvideo", "theora", "vc1", "vp8", "vp9"),
        *("wmv1", "wmv2", "wmv3"),
    }
)
"""FFmpeg's decoders of moving pictures that are used: what cameras, telephones and films have."""

MOST_STREAMS = 64
"""Tracks, of sound or not, in one container."""


def common_options() -> dict[str, str]:
    """Options against whatever a container may hold: it opens nothing, and shows no pictures."""
    bound_allocations()
    return {
        "protocol_whitelist": "none",
        "codec_whitelist": _probed_codecs(),
        "max_streams": str(MOST_STREAMS),
    }


@cache
def _probed_codecs() -> str:
    """FFmpeg's decoders of audio, for a look into tracks: nothing else in them is ever decoded."""
    return ",".join(filter(_decodes_audio, sorted(av.codecs_available - _VORBIS)))


def _decodes_audio(codec: str) -> bool:
    try:
        return av.Codec(codec, "r").type == "audio"
    except ValueError:  # it only encodes
        return False


def picture_options() -> dict[str, str]:
    """Likewise, where the moving picture is what is wanted, and no sound."""
    return common_options() | {"codec_whitelist": ",".join(sorted(PICTURE_CODECS))}


@cache
def formats_that_stay() -> str:
    """FFmpeg's formats but those that name further addresses."""
    return ",".join(sorted(av.formats_available - _LEAD_ELSEWHERE))
