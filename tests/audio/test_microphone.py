"""A real (virtual) microphone: PulseAudio's null sink, recorded through PortAudio."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import virtual_microphone
from audio.recordings import write_wav
from virtual_microphone import VirtualMicrophone

from pe_stream.audio import microphone, portaudio
from pe_stream.audio.devices import list_devices
from pe_stream.audio.microphone import Microphone
from pe_stream.core.types import AudioChunk
from pe_stream.errors import UnavailableError


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    if absent := virtual_microphone.missing():
        pytest.skip(absent)
    with virtual_microphone.virtual_microphone() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def opened(virtual: VirtualMicrophone) -> Iterator[Microphone]:
    recording = Microphone("default", first_sample=7000)
    yield recording
    recording.close()


def hear_tone(recording: Microphone, virtual: VirtualMicrophone, folder: Path) -> list[AudioChunk]:
    """Play 1 s of 1 kHz at half of full scale; everything heard until it is over.

    Silence around it, since PulseAudio cuts the first moments of what begins to play.
    """
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    tone = np.pad(tone, 14_400)
    path = write_wav(folder / "tone.wav", tone, 48_000)
    chunks = [next(recording)]
    player = virtual.play(path)
    loud = 0
    deadline = time.monotonic() + 15
    while loud < 40_000 or np.abs(chunks[-1].samples).max() > 0.1:
        assert time.monotonic() < deadline, "the tone was not heard"
        chunks.append(next(recording))
        loud += int(np.count_nonzero(np.abs(chunks[-1].samples) > 0.01))
    assert player.wait(10) == 0
    return chunks


def check_tone(chunks: list[AudioChunk]) -> None:
    """The tone has its level, its pitch and its length, and no sample is missing."""
    samples = np.concatenate([chunk.samples for chunk in chunks])
    loud = np.flatnonzero(np.abs(samples) > 0.1)
    tone = samples[loud[0] : loud[-1]]
    assert len(tone) == pytest.approx(48_000, abs=200)
    assert np.abs(tone).max() == pytest.approx(0.5, abs=0.02)
    spectrum = np.abs(np.fft.rfft(tone * np.hanning(len(tone))))
    assert np.argmax(spectrum) * 48_000 / len(tone) == pytest.approx(1000, abs=2)
    assert chunks[0].anchor_ns is not None
    for before, after in pairwise(chunks):
        assert (after.start, after.anchor_ns) == (before.end, None)


def test_what_is_played_is_heard_at_the_right_time(
    opened: Microphone, virtual: VirtualMicrophone, tmp_path: Path
) -> None:
    asked_ns = time.time_ns()
    chunks = hear_tone(opened, virtual, tmp_path)
    assert opened.describe == "microphone 'default' (alsa:default)"
    check_tone(chunks)
    assert chunks[0].start == 7000
    assert chunks[0].anchor_ns is not None
    assert chunks[0].anchor_ns == pytest.approx(asked_ns, abs=5e9)
    end_ns = chunks[0].anchor_ns + (chunks[-1].end - 7000) * 1e9 / 48_000
    captured_ns = time.time_ns() - (time.monotonic() - chunks[-1].captured_s) * 1e9
    assert end_ns == pytest.approx(captured_ns, abs=8e7)


def test_a_device_that_cannot_do_48_khz_is_resampled(
    virtual: VirtualMicrophone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really_open = portaudio.open_input

    def only_its_own(device: int, *, rate: float, **others: Any) -> Any:
        if rate == 48_000:
            raise portaudio.load().PortAudioError("Invalid sample rate", -9997)
        return really_open(device, rate=rate, **others)

    monkeypatch.setattr(portaudio, "open_input", only_its_own)
    recording = Microphone("pulse")
    assert recording._rate == 44_100
    check_tone(hear_tone(recording, virtual, tmp_path))
    recording.close()


def test_unplugging_is_noticed_and_plugging_in_again_is_seen(
    opened: Microphone, virtual: VirtualMicrophone
) -> None:
    assert any(device.default for device in list_devices())
    next(opened)
    virtual.unplug()
    began_s = time.monotonic()
    with pytest.raises(UnavailableError, match=r"'default' \(alsa:default\) is gone"):
        for _ in opened:
            pass
    assert time.monotonic() - began_s < 3
    assert list(opened) == []
    with pytest.raises(UnavailableError, match=r"microphone 'default'.*cannot be opened"):
        Microphone("default")
    virtual.plug_in()
    again = Microphone("default")
    assert next(again).anchor_ns is not None
    again.close()


@pytest.mark.usefixtures("virtual")
def test_audio_nobody_fetches_is_a_gap_not_a_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "_MOST_BLOCKS", 10)
    recording = Microphone("default")
    first = next(recording)
    resume_s = first.captured_s + 2.0
    while time.monotonic() < resume_s:
        time.sleep(0.02)
    after = next(chunk for chunk in recording if chunk.anchor_ns is not None)
    recording.close()
    assert after.start - first.start > 48_000
    assert after.anchor_ns is not None
    assert first.anchor_ns is not None
    elapsed_ns = after.anchor_ns - first.anchor_ns
    assert elapsed_ns == pytest.approx((after.start - first.start) * 1e9 / 48_000, abs=1e8)


def test_closing_from_another_thread_ends_it_at_once(opened: Microphone) -> None:
    next(opened)
    threading.Timer(0.2, opened.close).start()
    for _ in opened:
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 0.5
    opened.close()


@pytest.mark.usefixtures("virtual")
def test_a_channel_or_device_it_has_not() -> None:
    with pytest.raises(UnavailableError, match="no channel 99; it has 32, counted from 0"):
        Microphone("pulse", channel=99)
    with pytest.raises(UnavailableError, match=r"did you mean 'pulse'.*`pe-stream devices`"):
        Microphone("puls3")


def test_the_virtual_microphone_leaves_nothing_behind(virtual: VirtualMicrophone) -> None:
    folder = Path(virtual.environment["XDG_RUNTIME_DIR"])
    assert folder.is_relative_to(os.environ.get("TMPDIR", "/tmp"))
    assert virtual.environment["PULSE_SERVER"] == f"unix:{folder}/socket"
