"""Opening with FFmpeg's libraries (PyAV): a file or an address becomes a decoder.

Whoever made the file, or answers at the address, is not trusted: nothing but it is opened,
nothing is decoded but audio and, where somebody wants it, the picture, and what both cost is
counted. See `limits`, and `fetch` for HTTP.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import av
import av.error
from av.container import InputContainer

from pe_stream.audio.camera import RTSP, Camera
from pe_stream.audio.container_options import (
    common_options,
    formats_that_stay,
    picture_options,
)
from pe_stream.audio.decode import Decoder, OtherTracks, reason
from pe_stream.audio.fetch import Fetcher, HttpBody
from pe_stream.audio.hls import HlsTimes, WatchedBody
from pe_stream.audio.limits import PATIENCE, FileLimits, SilenceLimits
from pe_stream.audio.recording_file import RecordingFile
from pe_stream.audio.rtsp import RtspWays
from pe_stream.config.addresses import encoded_url, is_network, masked_url
from pe_stream.errors import RefusedError, UnavailableError

_PROTOCOLS = {
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,rtmp,tls,tcp",
    "rtmpe": "rtmpe,ffrtmpcrypt,tcp",
    "mmst": "mmst,tcp",
    "rtp": "rtp,udp",
    "srtp": "srtp,rtp,udp",
    "udp": "udp",
    "tcp": "tcp",
    "tls": "tls,tcp",
    "srt": "srt",
    "ftp": "ftp,tcp",
}
"""FFmpeg's protocols for each kind of address: what it says, and what carries that.

Those of HTTP are in `fetch`, those of RTSP in `rtsp`. Left out is what says it over HTTP (mmsh,
rtmpt, rtmpts, rtmpte): its redirects would lead anywhere.
"""

_PLAYLIST = b"#EXTM3U"

_PLAYLIST_HEAD = 32_768
"""Bytes of a playlist in which it shows whether it is HLS."""


def open_pipe(
    path: str, *, spend: Callable[[float, float], None], track: int | None = None
) -> Decoder:
    """What somebody writes into a pipe (FIFO), live, in any format that needs no seeking.

    spend, track: see `Decoder`. Raises UnavailableError, also where nobody writes in time.
    """
    decoder = open_file(path, spend=spend, track=track)
    decoder.recorded = False  # whatever a header says of its length
    return decoder


def open_file(
    path: str,
    part: tuple[int, int] | None = None,
    *,
    spend: Callable[[float, float], None] | None = None,
    track: int | None = None,
) -> Decoder:
    """A recording on disk. Raises UnavailableError naming the file and what is wrong with it.

    part: begin and end (bytes) of what is decoded, as if it were a file. spend: see `Decoder`;
    default: bounded by the file's own limits. track: the audio track to take, from 0, instead of
    the best one.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
    except OSError as error:
        if is_network(path):
            raise UnavailableError(
                f"{masked_url(path)}: this is an address, not a file: download it first; what it "
                "streams is for `sources` of a configuration"
            ) from None
        raise UnavailableError(f"{path}: {error.strerror}") from None
    if file.is_dir():
        raise UnavailableError(f"{path}: this is a folder, not a recording")
    if not os.access(file, os.R_OK):
        raise UnavailableError(f"{path}: no permission to read it")
    if file.is_file() and size == 0:
        raise UnavailableError(f"{path}: the file is empty")
    spend = spend or FileLimits().spend_cpu
    container = open_container(path, part, common_options(), spend)
    return Decoder(container, path, spend=spend, track=track)


def open_container(
    path: str,
    part: tuple[int, int] | None,
    options: dict[str, str],
    spend: Callable[[float, float], None],
) -> InputContainer:
    """What is in a file, by its own name; see `open_file`. options: for FFmpeg."""
    begun_s = time.thread_time()
    try:
        # As a file of ours FFmpeg opens nothing by a name, and takes "12:30.wav" for no protocol.
        recording = RecordingFile(path, part)
        container = av.open(recording, "r", options=options, io_open=_refuse_further_files)
        spend(time.thread_time() - begun_s, 0.0)
    except (av.error.InvalidDataError, av.error.EOFError):
        raise UnavailableError(f"{path}: this is no audio that FFmpeg can read") from None
    except (av.error.FFmpegError, UnicodeError, OSError) as error:
        raise UnavailableError(f"{path}: {reason(error)}") from None
    except UnavailableError as error:
        raise type(error)(f"{path}: {error}") from None
    return container


def open_network(
    url: str,
    *,
    timeout_s: float,
    other_hosts: Collection[str] = (),
    closed: threading.Event | None = None,
    spend: Callable[[float, float], None] = lambda _cpu_s, _audio_s: None,
    ways: RtspWays | None = None,
    track: int | None = None,
    again: bool = False,
    others: OtherTracks | None = None,
) -> Decoder:
    """A stream by its URL; `timeout_s` bounds opening, and every read after it.

    other_hosts: servers that an HTTP stream may lead to, besides its own: names or addresses, with
    a port or without. closed: set where nobody waits for it any more. spend, track, others: see
    `Decoder`. ways: in which a camera is asked, and what is known of them; default: all. again: it
    was heard before, so that of what a server has stored, what came meanwhile is wanted.

    Raises UnavailableError. Its message has the URL masked, and FFmpeg's own error, which has
    not, is kept out of the traceback.
    """
    name = masked_url(url)
    url = encoded_url(url)
    scheme = url.partition(":")[0].lower()
    with _explained(name, "audio"):
        if scheme in RTSP:
            ways = ways or RtspWays(secure=scheme == "rtsps")
            camera = Camera(url, name, timeout_s, closed, spend, track, others)
            decoder, way = ways.open(name, camera.open)
            decoder.way = way
            return decoder
        found = _open_anything(url, timeout_s, other_hosts, closed, common_options(), again=again)
    return Decoder(
        found.container,
        name,
        spend=spend,
        heard=found.heard,
        came=found.came,
        recorded=found.recorded,
        times=found.times,
        track=track,
        others=others,
    )


def open_picture(
    url: str,
    *,
    timeout_s: float,
    other_hosts: Collection[str] = (),
    closed: threading.Event | None = None,
    ways: RtspWays | None = None,
) -> OpenedStream:
    """The picture of a stream; as `open_network`, and raises as that.

    `recorded` is what has an end, but for RTSP, where a server sends at its own pace.
    """
    name = masked_url(url)
    url = encoded_url(url)
    scheme = url.partition(":")[0].lower()
    with _explained(name, "picture"):
        if scheme in RTSP:
            ways = ways or RtspWays(streams="picture", secure=scheme == "rtsps")
            camera = Camera(url, name, timeout_s, closed)
            container, _ = ways.open(name, camera.open_picture)
            silence = SilenceLimits(timeout_s, closed, "picture")
            return OpenedStream(container, silence.heard, silence.spend)
        options = picture_options()
        found = _open_anything(url, timeout_s, other_hosts, closed, options, what="picture")
        return replace(found, recorded=found.recorded or bool(found.container.duration))


@dataclass(frozen=True, slots=True)
class OpenedStream:
    """What is at an address. heard, came, recorded, times: see `Decoder`; body: where it is in."""

    container: InputContainer
    heard: Callable[[], None] = lambda: None
    came: Callable[[int], None] = lambda _size: None
    recorded: bool = False
    times: HlsTimes | None = None
    body: HttpBody | None = None

    def close(self) -> None:
        """Hang up now, not when all that refers to it is gone."""
        self.container.close()
        if self.body is not None:
            self.body.close()


@contextmanager
def _explained(name: str, what: str) -> Iterator[None]:
    """Raise what went wrong as an UnavailableError about `name`. what: is looked for there."""
    try:
        yield
    except av.error.HTTPClientError as error:  # of RTSP too
        raise RefusedError(f"{name}: {reason(error)}") from None
    except av.error.InvalidDataError:
        raise UnavailableError(
            f"{name}: this is no {what} that FFmpeg can read; of a page, or a list of addresses "
            "(.m3u, .pls), give the address in it"
        ) from None
    except (av.error.FFmpegError, UnicodeError) as error:
        raise UnavailableError(f"{name}: {reason(error)}") from None
    except UnavailableError as error:
        raise type(error)(f"{name}: {error}") from None


def _open_anything(
    url: str,
    timeout_s: float,
    other_hosts: Collection[str],
    closed: threading.Event | None,
    options: dict[str, str],
    *,
    what: str = "audio",
    again: bool = False,
) -> OpenedStream:
    """What is at an address, but a camera's. options: for FFmpeg. what: is waited for."""
    scheme = url.partition(":")[0].lower()
    if scheme in {"http", "https"}:
        hosts = other_hosts
        fetcher = Fetcher(url, timeout_s=timeout_s, other_hosts=hosts, closed=closed, what=what)
        times = HlsTimes()
        return _open_http(fetcher, timeout_s, times, options, again=again)
    silence = SilenceLimits(timeout_s, closed, what)
    container = _open_other(url, scheme, timeout_s, options)
    return OpenedStream(container, silence.heard, silence.spend)


def _open_http(
    fetcher: Fetcher, timeout_s: float, times: HlsTimes, options: dict[str, str], *, again: bool
) -> OpenedStream:
    """What is at the fetcher's address."""
    limits = (PATIENCE * timeout_s, PATIENCE * timeout_s)
    body = fetcher.main()
    playlist = _is_playlist(body)
    options |= {
        # Every address is opened by `nested` then, none on a connection that is kept.
        "http_persistent": "0",
        "http_multiple": "0",
        # Segments before the last are of no use, unless they fill a gap.
        "live_start_index": "-3" if again else "-1",
    }
    if not playlist:
        body.allow_seeking()
    try:
        container = av.open(
            WatchedBody(body, times, body.name) if playlist else body,
            "r",
            format="hls" if playlist else None,  # whatever the address is called
            options=options,
            timeout=limits,
            io_open=times.watching(fetcher.nested),
        )
    except av.error.FFmpegError:
        if fetcher.error is not None:  # which FFmpeg did not pass on
            raise fetcher.error from None
        raise
    recorded = not playlist and body.length > 0
    return OpenedStream(container, fetcher.heard, fetcher.check, recorded, times, body)


def _is_playlist(body: HttpBody) -> bool:
    """Whether that is HLS, not a mere list of addresses, in however small pieces it comes."""
    beginning = body.peek(1)
    while beginning[: len(_PLAYLIST)] == _PLAYLIST[: len(beginning)]:
        if b"\n#EXT-X-" in beginning:
            return True
        known = len(beginning)
        beginning = body.peek(known + 1)
        if not known < len(beginning) < _PLAYLIST_HEAD:
            break
    return False


def _open_other(url: str, scheme: str, timeout_s: float, options: dict[str, str]) -> InputContainer:
    protocols = _PROTOCOLS.get(scheme)
    if protocols is None:
        kinds = ", ".join(sorted({"http", "https", *RTSP, *_PROTOCOLS}))
        raise UnavailableError(f"addresses of the kind {scheme}:// are not taken; {kinds} are")
    options |= {"protocol_whitelist": protocols, "format_whitelist": formats_that_stay()}
    return av.open(url, options=options, timeout=(timeout_s, timeout_s))


def _refuse_further_files(url: str, _flags: int, _options: object) -> NoReturn:
    raise UnavailableError(f"it leads to {masked_url(url)}: nothing but the file is read")
