"""The protocol of a source of sound, and the protocol of its settings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from pe_stream.audio.filtering import FilterSpec, SoundFilter
from pe_stream.audio.limits import LiveLimits
from pe_stream.audio.microphone import Absent, Microphone
from pe_stream.audio.network import TIMEOUT_S, NetworkStream
from pe_stream.audio.playback import Playback
from pe_stream.audio.recording_file import is_pipe
from pe_stream.audio.rtsp import RtspSpec, RtspWays
from pe_stream.config.addresses import is_network, is_rtsp, is_secure_rtsp
from pe_stream.core.types import AudioChunk
from pe_stream.errors import ConfigError

if TYPE_CHECKING:  # nothing of pictures is imported where none are wanted
    from pe_stream.audio.camera_pictures import CameraPictures


class SourceSpec(FilterSpec, Protocol):
    """Settings of a source of sound: `microphone` or `url`, exactly one of them."""

    @property
    def microphone(self) -> str | int | None:
        """Name, stable id or index of a microphone."""

    @property
    def url(self) -> str | None:
        """Address of a stream, or path of a file."""

    @property
    def loop(self) -> bool:
        """Whether a file is repeated for ever."""

    @property
    def other_hosts(self) -> Sequence[str]:
        """Servers that a stream may lead to, besides its own."""

    @property
    def channel(self) -> int | None:
        """The one channel to take, from 0; None is the mean of all."""

    @property
    def track(self) -> int | None:
        """The audio track of a file or stream, from 0; None is the best one."""

    @property
    def rtsp(self) -> RtspSpec:
        """How a camera is asked."""


class Source(Protocol):
    """A live iterator over chunks: 48 kHz, mono, indices that only grow.

    It ends (StopIteration) where there is nothing more to come: at the end of a file, or after
    `close`. It yields Absent where nothing comes at present, and raises UnavailableError where the
    source is lost; a new one may then be opened.
    """

    @property
    def describe(self) -> str:
        """One line for the log, without secrets; may change."""

    @property
    def returns(self) -> bool:
        """Whether what was lost may come back; a file that cannot be read on does not."""

    def __iter__(self) -> Iterator[AudioChunk | Absent]: ...

    def __next__(self) -> AudioChunk | Absent: ...

    def close(self) -> None:
        """End the iteration within 0.2 s; may be called from any thread, and again."""


class FilteredSource:
    """A source whose sound is as it was set."""

    def __init__(self, source: Source, sound_filter: SoundFilter) -> None:
        self._source, self._filter = source, sound_filter

    @property
    def describe(self) -> str:
        """What the source is, and what is done to its sound."""
        done = str(self._filter)
        return f"{self._source.describe}, {done}" if done else self._source.describe

    @property
    def returns(self) -> bool:
        """As of the source."""
        return self._source.returns

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AudioChunk | Absent:
        item = next(self._source)
        return item if isinstance(item, Absent) else self._filter.apply(item)

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._source.close()


def open_source(
    spec: SourceSpec,
    *,
    first_sample: int = 0,
    at_s: float | None = None,
    limits: LiveLimits | None = None,
    ways: RtspWays | None = None,
    sound_filter: SoundFilter | None = None,
    pictures: CameraPictures | None = None,
) -> Source:
    """The source that `spec` describes; its first sample gets the index `first_sample`.

    at_s: when the sample before `first_sample` was made (monotonic), for a source that is opened
    again: the index advances by what has been lost since. limits, ways: what a stream has left of
    them, and what is known of a camera, over all its connections. sound_filter: filters and gain,
    which may be set otherwise later; by default they are as the settings say. pictures: where those
    of a stream are kept; default: none are decoded. Raises UnavailableError for a file that cannot
    be read; what may be absent raises it while iterating.
    """
    source = _open(spec, first_sample, at_s, limits, ways, pictures=pictures)
    if sound_filter is None:
        sound_filter = SoundFilter(source.describe, spec)
        if not str(sound_filter):
            return source
    return FilteredSource(source, sound_filter)


def _open(
    spec: SourceSpec,
    first_sample: int,
    at_s: float | None,
    limits: LiveLimits | None,
    ways: RtspWays | None,
    *,
    pictures: CameraPictures | None,
) -> Source:
    if spec.microphone is not None:
        return Microphone(
            spec.microphone, channel=spec.channel, first_sample=first_sample, at_s=at_s
        )
    if spec.url is None:
        raise ConfigError("a source needs either `microphone` or `url`")
    if not is_network(spec.url) and not is_pipe(spec.url):
        return Playback(
            spec.url,
            loop=spec.loop,
            channel=spec.channel,
            track=spec.track,
            first_sample=first_sample,
        )
    camera = is_rtsp(spec.url)
    return NetworkStream(
        spec.url,
        channel=spec.channel,
        track=spec.rtsp.track if camera else spec.track,
        timeout_s=spec.rtsp.timeout_s if camera else TIMEOUT_S,
        first_sample=first_sample,
        at_s=at_s,
        other_hosts=spec.other_hosts,
        limits=limits,
        ways=ways or (ways_of(spec) if camera else None),
        pictures=pictures,
    )


def ways_of(spec: SourceSpec, *, pictures: bool = False) -> RtspWays:
    """Nothing known of a camera yet, but how it may be asked.

    pictures: they are wanted in the same connection.
    """
    secure = spec.url is not None and is_secure_rtsp(spec.url)
    return RtspWays(spec.rtsp.transport, spec.rtsp.streams, secure=secure, pictures=pictures)
