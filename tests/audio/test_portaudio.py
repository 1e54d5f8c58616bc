"""PortAudio's library may be missing or broken; all but microphones then works."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import virtual_microphone
from timing import within

from pe_stream.audio import portaudio
from pe_stream.errors import UnavailableError


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_library(_: str) -> None:
        raise OSError("PortAudio library not found")

    monkeypatch.setattr(importlib, "import_module", no_library)
    with pytest.raises(UnavailableError, match=r"apt install libportaudio2.*brew install port"):
        portaudio.query()


def test_a_broken_sound_configuration_is_reported(tmp_path: Path) -> None:
    (tmp_path / "asound.conf").write_text("pcm.broken {{{ type\n")
    program = "from pe_stream.audio import portaudio\ntry: portaudio.query()\n"
    program += "except Exception as error: print(type(error).__name__, error)"
    environment = {"ALSA_CONFIG_PATH": str(tmp_path / "asound.conf")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=within(60)
    )
    if "libportaudio2" in done.stdout:
        pytest.skip("PortAudio is missing: apt install libportaudio2")
    if not done.stdout:
        pytest.skip("this PortAudio makes nothing of ALSA's configuration")
    assert done.stdout.startswith("UnavailableError PortAudio does not work: ")


@pytest.mark.realtime
def test_what_is_plugged_in_later_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def names() -> list[str]:
        return [device["name"] for device in portaudio.query()[0]]

    if absent := virtual_microphone.missing():
        pytest.skip(absent)
    with virtual_microphone.virtual_microphone() as virtual:
        for name, value in virtual.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PULSE_SERVER", "unix:/nowhere")
        assert "pulse" not in names()
        monkeypatch.setenv("PULSE_SERVER", virtual.environment["PULSE_SERVER"])
        assert "pulse" in names()


def test_files_and_streams_do_not_load_it() -> None:
    program = "import sys, pe_stream.audio; sys.exit('sounddevice' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=within(60))
    assert done.returncode == 0
