"""The factory: which kind of source a configuration means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from audio.recordings import write_wav
from stand_ins import ScriptedSource

from pe_stream.audio import portaudio
from pe_stream.audio.filtering import SoundFilter
from pe_stream.audio.microphone import Absent
from pe_stream.audio.network import NetworkStream
from pe_stream.audio.source import FilteredSource, open_source
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
    gain_db: float = 0.0
    highpass_hz: float | None = None
    lowpass_hz: float | None = None


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


def test_sound_is_filtered_as_the_settings_say(tmp_path: Path) -> None:
    samples = np.stack([np.full(9600, 0.125), np.full(9600, 0.25)], axis=1)
    path = str(write_wav(tmp_path / "a.wav", samples, 48_000))
    plain = open_source(Spec(url=path, channel=1))
    plain.close()
    source = open_source(Spec(url=path, channel=1, gain_db=-6.0206, lowpass_hz=500), first_sample=9)
    assert source.describe == f"{path} in real time, low-pass 500 Hz, gain -6.0206 dB"
    assert source.returns is plain.returns is False
    first = next(source)
    assert isinstance(first, AudioChunk)
    assert (first.start, first.anchor_ns is not None) == (9, True)
    assert first.samples == pytest.approx(0.125, abs=1e-4)
    source.close()
    assert list(source) == []


def test_filters_may_be_set_while_it_is_heard(tmp_path: Path) -> None:
    path = str(write_wav(tmp_path / "a.wav", np.full((9600, 1), 0.25), 48_000))
    sound_filter = SoundFilter("a", Spec())
    source = open_source(Spec(url=path), sound_filter=sound_filter)
    first = next(source)
    sound_filter.set(Spec(gain_db=6.0206))
    second = next(source)
    source.close()
    assert isinstance(first, AudioChunk)
    assert isinstance(second, AudioChunk)
    assert first.samples == pytest.approx(0.25, abs=1e-4)
    assert second.samples == pytest.approx(0.5, abs=1e-4)


def test_what_is_not_there_is_passed_on_with_filters() -> None:
    scripted = ScriptedSource().give(Absent("no microphone"), None)
    source = FilteredSource(scripted, SoundFilter("a", Spec(highpass_hz=100)))
    assert list(source) == [Absent("no microphone")]
    assert source.returns is scripted.returns
