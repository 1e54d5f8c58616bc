"""The pictures of live sources that have a `picture`: where they are kept, and who fetches them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from pe_stream.config import Settings, SourceSettings
from pe_stream.config.addresses import is_rtsp, is_secure_rtsp
from pe_stream.core.source_status import SourceStatus

if TYPE_CHECKING:  # imported where there are any
    from pe_stream.audio.camera_pictures import CameraPictures
    from pe_stream.audio.picture_stream import PictureStream

OWN_TIMEOUT_S = 10.0
"""Of a connection for the picture alone that is none of RTSP: opening, and every read (s)."""


class LivePictures:
    """Those of all sources; `of` and `added_to` are for any thread.

    of: by source. Where no source has a `picture`, nothing is imported or started.
    """

    def __init__(self, settings: Settings, on_failure: Callable[[BaseException], None]) -> None:
        """Prepare. on_failure: called with what ended a thread, if that was an error of ours."""
        self.of: dict[str, CameraPictures] = {}
        self._streams: list[PictureStream] = []
        for name, spec in settings.sources.items():
            if spec.picture is not None:
                self._add(name, spec, on_failure)

    def added_to(self, statuses: Mapping[str, SourceStatus]) -> Mapping[str, SourceStatus]:
        """How sources do, by name, with how their pictures do."""
        pictures = {name: each.status for name, each in self.of.items()}
        return dict(statuses) | {
            name: replace(status, picture=pictures[name])
            for name, status in statuses.items()
            if name in pictures
        }

    def start(self) -> None:
        """Begin to fetch those that do not come with the sound."""
        for each in self._streams:
            each.start()

    def stop(self) -> None:
        """Fetch no more; nothing is waited for."""
        for each in self._streams:
            each.stop()

    def _add(
        self, name: str, spec: SourceSettings, on_failure: Callable[[BaseException], None]
    ) -> None:
        from pe_stream.audio.camera_pictures import CameraPictures

        assert spec.picture is not None  # noqa: S101 - asked by the caller
        self.of[name] = CameraPictures(spec.picture)
        url = spec.picture.url
        if url is None:
            return
        from pe_stream.audio.picture_stream import PictureStream
        from pe_stream.audio.rtsp import RtspWays

        ways = None
        if is_rtsp(url):
            secure = is_secure_rtsp(url)
            ways = RtspWays(spec.rtsp.transport, "picture", secure=secure)
        self._streams.append(
            PictureStream(
                name,
                url,
                self.of[name],
                on_failure,
                timeout_s=spec.rtsp.timeout_s if ways else OWN_TIMEOUT_S,
                other_hosts=spec.other_hosts,
                ways=ways,
            )
        )
