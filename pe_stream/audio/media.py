"""Recordings, read as fast as they can be decoded: files, and arrays from Python."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pe_stream.audio import ogg_links
from pe_stream.audio.decode import Block, Decoder
from pe_stream.audio.limits import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS
from pe_stream.audio.opening import open_file
from pe_stream.audio.pcm import CHUNK, Resampler, mix, regroup, to_float
from pe_stream.core.types import SAMPLE_RATE, AudioChunk, Samples
from pe_stream.core.utc import utc_ns
from pe_stream.core.words import visible
from pe_stream.errors import UnavailableError

log = logging.getLogger(__name__)

_HOLE_S = 0.015
"""Shorter steps between time stamps are rounding; a lost MP3, AAC or Opus packet is longer."""

_LONGEST_HOLE_S = 600.0
"""A longer step of the time stamps is a clock that was set again, not missing audio."""

_MOST_HOLES_S = 3600.0
"""Holes are filled as long as all together are no longer than this, or than the audio itself:
time stamps alone could make a day of a few bytes."""

_REST_S = 1.0
"""As much behind the end of a WAV file is no mere addition, such as tags."""

_STEP_BACK_S = 1.0
"""So is a step back by more than this; by less, it is jitter."""


_EARLIEST_NS = utc_ns(datetime(2, 1, 1, tzinfo=UTC))
_LATEST_NS = utc_ns(datetime(9999, 1, 1, tzinfo=UTC))
"""Years that leave room for the length of a recording in a calendar."""


class Recording:
    """An iterator over the chunks of something recorded: 48 kHz, mono, about 0.1 s each.

    Indices count from 0 at the start of the recording, which is one segment. Audio missing
    inside (damaged packets) is silence of the same length, so that later sounds keep their place.

    name: what errors call it.
    duration_s: length (s) as far as known beforehand.
    started_ns: UTC (ns since 1970) of the first sample.
    values, nonfinite: values read so far, over all channels taken, and how many of them were
        NaN, infinite or beyond all reason, and were taken as 0. Equal: there was nothing else.

    Iterating raises UnavailableError where there are no samples at all.
    """

    def __init__(
        self,
        name: str,
        blocks: Iterable[Block],
        *,
        channel: int | None,
        duration_s: float | None,
        started_ns: int,
        decoders: Sequence[Decoder] = (),
        clock: Sequence[tuple[float, float]] = (),
    ) -> None:
        self.name = name
        self.duration_s = duration_s
        self.started_ns = started_ns
        self.values = 0
        self.nonfinite = 0
        self._channel = channel
        self._decoders = decoders  # more may come with the blocks
        self._clock = clock  # likewise
        self._chunks = self._read(blocks)

    @property
    def damaged(self) -> int:
        """Packets that could not be decoded so far."""
        return sum(decoder.damaged for decoder in self._decoders)

    def time_of(self, position_s: float) -> float | None:
        """The container's clock (s) at that many seconds of the recording, as far as it was read.

        None where it has no time stamps.
        """
        before = [mark for mark in self._clock if mark[0] <= position_s] or self._clock[:1]
        return position_s - before[-1][0] + before[-1][1] if before else None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AudioChunk:
        return next(self._chunks)

    def _read(self, blocks: Iterable[Block]) -> Iterator[AudioChunk]:
        start = 0
        for samples in regroup(self._mono(blocks)):
            anchor_ns = self.started_ns if start == 0 else None
            yield AudioChunk(start, samples, anchor_ns, time.monotonic())
            start += len(samples)
        if not start:
            raise UnavailableError(f"{self.name}: its audio track is empty")

    def _mono(self, blocks: Iterable[Block]) -> Iterator[Samples]:
        rate = float(SAMPLE_RATE)
        resampler = Resampler(rate)
        for block in blocks:
            if block.rate != rate:
                yield resampler.flush()
                rate = block.rate
                resampler = Resampler(rate)
            yield resampler.feed(self._mix(block.planes))
        yield resampler.flush()

    def _mix(self, planes: NDArray[np.float32]) -> Samples:
        if self._channel is not None and self._channel >= len(planes):
            raise UnavailableError(
                f"{self.name}: there is no channel {self._channel}; "
                f"it has {len(planes)}, counted from 0"
            )
        mixed = mix(planes, self._channel)
        self.values += planes.size if self._channel is None else planes.shape[1]
        self.nonfinite += mixed.nonfinite
        return mixed.samples


def read(path: str, *, channel: int | None = None, track: int | None = None) -> Recording:
    """The recording in a file, of any format and rate that FFmpeg's libraries read.

    channel: take this one (from 0) instead of the mean of all. track: the audio track, from 0,
    instead of the best one. The recording is taken to start at its `creation_time` tag, else to
    have ended when the file was last changed.

    Raises UnavailableError naming the file: missing, a folder, not readable, not audio, without
    an audio track, empty.
    """
    parts = _links(path)
    decoder = open_file(path, parts[0] if parts else None, track=track)
    decoders = [decoder]
    clock: list[tuple[float, float]] = []
    return Recording(
        path,
        _chained(path, parts, decoders, track, clock),
        channel=channel,
        duration_s=None if parts else decoder.duration_s,
        started_ns=_started_ns(path, decoder),
        decoders=decoders,
        clock=clock,
    )


def from_array(
    samples: ArrayLike,
    sampling_rate: float,
    *,
    channel: int | None = None,
    started_ns: int | None = None,
) -> Recording:
    """The recording in an array: (n,) or (channels, n).

    dtype: float (nominally -1..1), or int16, int32 or uint8 PCM, which is scaled.
    sampling_rate: Hz. started_ns: UTC (ns since 1970) of the first sample, default now.

    Raises ValueError for another dtype, shape or rate, and for an array without samples.
    """
    array = np.asarray(samples)
    if array.dtype.kind != "f" and array.dtype not in (np.int16, np.int32, np.uint8):
        raise ValueError(f"samples are {array.dtype}: give float, int16, int32 or uint8 PCM")
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(f"samples have shape {array.shape}: give (n,) or (channels, n), n > 0")
    planes = np.atleast_2d(array)
    channels, length = planes.shape
    if channels > length:
        raise ValueError(f"samples have shape {array.shape}: (channels, n) is wanted; transpose it")
    if not LOWEST_RATE <= sampling_rate <= HIGHEST_RATE:
        raise ValueError(
            f"a sampling rate of {sampling_rate} Hz: give {LOWEST_RATE} to {HIGHEST_RATE}"
        )
    if channels > MOST_CHANNELS:
        raise ValueError(f"samples have {channels} channels: give at most {MOST_CHANNELS}")
    if channel is not None and not 0 <= channel < channels:
        raise ValueError(f"there is no channel {channel} in {channels}, counted from 0")
    return Recording(
        "array",
        _pieces(planes, sampling_rate),
        channel=channel,
        duration_s=length / sampling_rate,
        started_ns=time.time_ns() if started_ns is None else started_ns,
    )


def _links(path: str) -> list[tuple[int, int]]:
    """Parts of a file that are decoded one by one, none where it is one: a chain of Ogg streams."""
    if not Path(path).is_file():
        return []
    try:
        with Path(path).open("rb") as file:
            found = ogg_links.links(file)
    except OSError:  # which is told of where it is opened
        return []
    return found if len(found) > 1 else []


def _chained(
    path: str,
    parts: Sequence[tuple[int, int]],
    decoders: list[Decoder],
    track: int | None,
    clock: list[tuple[float, float]],
) -> Iterator[Block]:
    """The blocks of all parts; decoders: that of the first, to which those of the others come.

    clock: gets the marks of the first part; see `_without_holes`.
    """
    read_s = 0.0
    for block in _without_holes(path, decoders[0].blocks(), decoders[0].picture_start_s, clock):
        read_s += block.duration_s
        yield block
    _warn_of_rest(path, decoders[0], read_s)
    for part in parts[1:]:
        decoders.append(decoder := open_file(path, part, track=track))
        yield from _without_holes(path, decoder.blocks(), decoder.picture_start_s, [])


def _warn_of_rest(path: str, decoder: Decoder, read_s: float) -> None:
    """Tell where a WAV file is longer than its header says: recorders write into old files."""
    rate = decoder.stream.codec_context.bit_rate if decoder.container.format.name == "wav" else 0
    if not Path(path).is_file() or not rate:
        return
    with Path(path).open("rb") as file:
        head = file.read(12)
        size = file.seek(0, 2)
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return
    rest = size - 8 - int.from_bytes(head[4:8], "little")
    rest_s = min(rest * 8 / rate, size * 8 / rate - read_s)
    if rest_s >= _REST_S:
        said = visible(path), rest_s
        log.warning("%s: longer than its header says: the last %.1f s are not read", *said)


def _without_holes(
    name: str,
    blocks: Iterable[Block],
    picture_start_s: float | None,
    clock: list[tuple[float, float]],
) -> Iterator[Block]:
    """The blocks, with silence where time stamps say that audio is missing.

    Before the first block too, where a film's picture begins earlier than its sound. clock: gets a
    mark, seconds read and the time stamp there (s), at the beginning and wherever the time stamps
    jump. Raises UnavailableError where more is missing than can be.
    """
    due_s: float | None = None
    audio_s = holes_s = 0.0
    for block in blocks:
        if block.time_s is not None:
            if due_s is None:
                starts = [block.time_s, picture_start_s]
                due_s = min(start_s for start_s in starts if start_s is not None)
                clock.append((0.0, due_s))
            missing_s = block.time_s - due_s
            if _HOLE_S < missing_s <= _LONGEST_HOLE_S:
                holes_s += missing_s
                if holes_s > max(_MOST_HOLES_S, audio_s):
                    raise UnavailableError(
                        f"{name}: by its time stamps, {holes_s:.0f} s are missing among "
                        f"{audio_s:.0f} s of audio: they are damaged"
                    )
                yield from _silence(block, missing_s)
            if missing_s > _HOLE_S or missing_s < -_STEP_BACK_S:
                due_s = block.time_s
                clock.append((audio_s + holes_s, block.time_s))
        yield block
        audio_s += block.duration_s
        if due_s is not None:
            due_s += block.duration_s


def _silence(like: Block, duration_s: float) -> Iterator[Block]:
    rest = round(duration_s * like.rate)
    while rest > 0:
        count = min(rest, math.ceil(like.rate))
        yield Block(np.zeros((len(like.planes), count), np.float32), like.rate, None)
        rest -= count


def _pieces(planes: NDArray[Any], rate: float) -> Iterator[Block]:
    size = max(1, round(rate * CHUNK / SAMPLE_RATE))
    for start in range(0, planes.shape[1], size):
        yield Block(to_float(planes[:, start : start + size]), rate, None)


def _started_ns(path: str, decoder: Decoder) -> int:
    """When a recording began, as far as its file tells of a time that a calendar has."""
    for told_ns in (_created_ns(decoder), _modified_ns(path, decoder.duration_s)):
        if told_ns and _EARLIEST_NS <= told_ns <= _LATEST_NS:
            return told_ns
    log.warning("%s: its date cannot be used; taken as recorded now", visible(path))
    return time.time_ns()


def _created_ns(decoder: Decoder) -> int | None:
    text = decoder.container.metadata.get("creation_time")
    try:
        created = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    if created.tzinfo is None:
        created = created.replace(tzinfo=UTC)
    return round(created.timestamp() * 1e6) * 1000


def _modified_ns(path: str, duration_s: float | None) -> int | None:
    try:
        return Path(path).stat().st_mtime_ns - round((duration_s or 0) * 1e9)
    except OSError:  # it has been moved meanwhile, and is open
        return None
