"""What FFmpeg's libraries may do with whatever a container holds."""

from __future__ import annotations

from functools import cache

import av

from pe_stream.audio.limits import bound_allocations

_LEAD_ELSEWHERE = {"concat", "dash", "hls", "imf", "lavfi", "sdp"}
"""Formats that name further addresses, which only HTTP can have looked at."""


_VORBIS = {"vorbis", "libvorbis"}
"""Decoders that make tables of hundreds of megabytes of a header of a few kilobytes. FFmpeg opens
one for every track to look into it, and another one is ours. Where it may not, it looks longer, and
finds less; ours is opened all the same."""

_VORBIS_TRACKS = 2
"""So many tracks there may be where one is Vorbis: sound, and a picture."""


def common_options(beginning: bytes = b"") -> dict[str, str]:
    """Options against whatever a container may hold: it opens nothing, and shows no pictures.

    beginning: of the container, as far as it is known: what Vorbis there is, FFmpeg looks into only
    where that shows it.
    """
    bound_allocations()
    vorbis = b"\x01vorbis" in beginning or b"A_VORBIS" in beginning
    return {
        "protocol_whitelist": "none",
        "codec_whitelist": _audio_codecs(vorbis=vorbis),
        "max_streams": str(_VORBIS_TRACKS if vorbis else 64),
    }


@cache
def _audio_codecs(*, vorbis: bool) -> str:
    """FFmpeg's decoders of audio: nothing else in a container is ever decoded."""
    codecs = av.codecs_available if vorbis else av.codecs_available - _VORBIS
    return ",".join(filter(_decodes_audio, sorted(codecs)))


def _decodes_audio(codec: str) -> bool:
    try:
        return av.Codec(codec, "r").type == "audio"
    except ValueError:  # it only encodes
        return False


@cache
def formats_that_stay() -> str:
    """FFmpeg's formats but those that name further addresses."""
    return ",".join(sorted(av.formats_available - _LEAD_ELSEWHERE))
