"""`pe-stream check` of a source: whether it is heard, and, of a camera, seen."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future

from pe_stream.audio.microphone import Absent
from pe_stream.audio.source import Source
from pe_stream.config import Settings
from pe_stream.config.redaction import redacted
from pe_stream.config.worker import Worker
from pe_stream.core.ledger import Account, Ledger
from pe_stream.core.picture_ring import PictureStatus
from pe_stream.core.types import SAMPLE_RATE, AudioChunk
from pe_stream.errors import UnavailableError
from pe_stream.pipeline.live_pictures import LivePictures
from pe_stream.pipeline.openers import openers

LISTEN_S = 1.5
"""How much of each source is listened to (s)."""

OPEN_S = 10.0
"""A source that is not open by then is told as one that cannot be opened."""

LOOK_S = 12.0
"""How long a picture is waited for (s)."""


def check_source(settings: Settings, name: str) -> str:
    """Listen to a source, and look where it has a `picture`; raises UnavailableError.

    That there is no picture is told, and no failure: the sound is what counts.
    """
    only = settings.model_copy(update={"sources": {name: settings.sources[name]}})
    pictures = LivePictures(only, lambda _: None)
    pictures.start()
    try:
        return _heard(only, name, pictures)
    finally:
        pictures.stop()


def _heard(settings: Settings, name: str, pictures: LivePictures) -> str:
    spec = settings.sources[name]
    ledger, heard = Ledger(), 0
    source = _opened(settings, name, pictures)
    seen, until_s = pictures.of.get(name), time.monotonic() + LOOK_S
    status: PictureStatus | None = None
    try:
        for chunk in _present(source):
            if heard < LISTEN_S * SAMPLE_RATE:
                ledger.hear(chunk.samples)
                heard += len(chunk.samples)
                continue
            status = None if seen is None else seen.status
            known = status is None or (status.reason is None and status.fps is not None)
            if known or time.monotonic() > until_s:
                break
    except UnavailableError:
        if heard < LISTEN_S * SAMPLE_RATE:
            raise
    finally:
        source.close()
    ledger.settle()
    account = ledger.account
    picture = "" if status is None else _picture(status)
    if account.flat == heard:
        if spec.microphone is None:
            return f"{source.describe}: only silence in the first {LISTEN_S:g} s{picture}"
        raise UnavailableError(
            f"{source.describe}: delivers one single value: muted, or not a microphone?"
        )
    return f"{source.describe}: {_level(account, spec.gain_db)}{picture}"


def _present(source: Source) -> Iterator[AudioChunk]:
    """Its chunks; raises UnavailableError where nothing comes."""
    for item in source:
        if isinstance(item, Absent):
            raise UnavailableError(item.reason)
        yield item


def _level(account: Account, gain_db: float) -> str:
    level = "silent" if account.level_dbfs is None else f"{account.level_dbfs} dBFS"
    clipped = f", {account.clipped} samples clipped" if account.clipped else ""
    if clipped and gain_db > 0:
        clipped += f": is gain_db {gain_db:g} too much?"
    return f"level {level}{clipped}"


def _picture(status: PictureStatus) -> str:
    if status.reason is not None:
        return f"; warning: no picture: {redacted(status.reason)}"
    rate = "" if status.fps is None else f", {status.fps:g} pictures a second"
    return f"; picture: {status.codec}, {status.width} x {status.height}{rate}"


def _opened(settings: Settings, name: str, pictures: LivePictures) -> Source:
    """The source; raises UnavailableError where it takes too long."""
    opening: Future[Source] = Future()
    open_first = openers(settings, pictures=pictures.of)[name]

    def attempt() -> None:
        try:
            opening.set_result(open_first(0, None))
        except BaseException as error:  # noqa: BLE001 - handed on
            opening.set_exception(error)

    Worker("opening", attempt, lambda _: None).start()
    try:
        return opening.result(OPEN_S)
    except TimeoutError:
        raise UnavailableError(f"not open within {OPEN_S:g} s") from None
