"""The factory: which kind of source a configuration means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from audio.recordings import write_wav

from pe_stream.audio import open_source, portaudio
from pe_stream.audio.microphone import Absent
from pe_stream.audio.network import NetworkStream
from pe_stream.config.sources import RtspSettings
from pe_stream.core.types import AudioChunk
from pe_stream.errors import ConfigError, UnavailableError


@dataclass
class Spec:
    microphone: str | int | None = None
    url: str | None = None
    loop: bool = False
    other_hosts: tuple[str, ...] = ()
    channel: int | None = None
    track: int | None = None
    rtsp: RtspSettings = field(default_factory=RtspSettings)


def test_a_file_is_played_with_all_that_is_asked_for(tmp_path: Path) -> None:
    samples = np.stack([np.zeros(4800), np.full(4800, 0.25)], axis=1)
    path = str(write_wav(tmp_path / "a.wav", samples, 48_000))
    source = open_source(Spec(url=path, loop=True, channel=1), first_sample=9)
    assert source.describe == f"{path} in real time, repeated"
    first, second = next(source), next(source)
    source.close()
    assert isinstance(first, AudioChunk)
    assert isinstance(second, AudioChunk)
    assert (first.start, second.start) == (9, 4809)
    assert second.samples == pytest.approx(0.25, abs=1e-4)


def test_an_address_is_a_stream_that_fails_only_once_it_is_listened_to() -> None:
    source = open_source(Spec(url="http://user:secret@127.0.0.1:1/"), first_sample=9)
    assert isinstance(source, NetworkStream)
    assert source.describe == "http://********@127.0.0.1:1/"
    with pytest.raises(UnavailableError, match="Connection refused"):
        next(source)


def test_a_microphone_is_looked_for() -> None:
    try:
        portaudio.load()
    except UnavailableError as absent:
        pytest.skip(str(absent))
    for name in ("the one in the shed", 9999):
        source = open_source(Spec(microphone=name))
        item = next(iter(source))
        source.close()
        assert isinstance(item, Absent)
        assert f"microphone {name!r}" in item.reason
    first = open_source(Spec(microphone=0))  # the first one, not the lack of one
    first.close()
    assert first.describe == "microphone 0"


def test_neither_is_refused() -> None:
    with pytest.raises(ConfigError, match="either `microphone` or `url`"):
        open_source(Spec())
