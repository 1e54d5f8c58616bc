"""Stable ids from a made-up machine, and what a configured name finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pe_stream.audio import portaudio
from pe_stream.audio.devices import InputDevice, find, list_devices
from pe_stream.errors import UnavailableError

CARDS = """ 0 [PCH            ]: HDA-Intel - HDA Intel PCH
                      HDA Intel PCH at 0xf7d10000 irq 31
 1 [Yeti           ]: USB-Audio - Blue Yeti
                      Blue Microphones at usb-0000:00:14.0-2, full speed
12 [Webcam         ]: USB-Audio - Webcam
                      A webcam at usb-0000:00:14.0-3, full speed
"""

HOSTAPIS = [
    {"name": "ALSA", "default_input_device": -1},
    {"name": "JACK Audio Connection Kit", "default_input_device": 4},
]


def described(name: str, hostapi: int = 0, channels: int = 2) -> dict[str, object]:
    return {
        "name": name,
        "hostapi": hostapi,
        "max_input_channels": channels,
        "default_samplerate": 44_100.0,
    }


@pytest.fixture
def devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[InputDevice]:
    (tmp_path / "proc/asound").mkdir(parents=True)
    (tmp_path / "proc/asound/cards").write_text(CARDS)
    for folder, name, card in (
        ("by-path", "pci-0000:00:14.0-usb-0:2:1.0", 1),
        ("by-path", "pci-0000:00:14.0-usb-0:3:1.0", 12),
        ("by-id", "usb-Blue_Yeti_797-00", 1),
    ):
        link = tmp_path / "dev/snd" / folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../controlC{card}")
    found = [
        described("HDA Intel PCH: ALC887 (hw:0,0)"),
        described("HDA Intel PCH: HDMI (hw:0,3)", channels=0),
        described("Blue Yeti: USB Audio (hw:1,0)"),
        described("Webcam: USB Audio (hw:12,0)"),
        described("system", 1),
        described("pulse"),
    ]
    monkeypatch.setattr(portaudio, "query", lambda: (found, HOSTAPIS))
    return list_devices(root=tmp_path)


def test_ids_come_from_serial_then_port_then_card_then_name(devices: list[InputDevice]) -> None:
    assert [(d.index, d.id) for d in devices] == [
        (0, "alsa:PCH,0"),
        (2, "alsa:usb-Blue_Yeti_797-00,0"),
        (3, "alsa:pci-0000:00:14.0-usb-0:3:1.0,0"),
        (4, "jack-audio-connection-kit:system"),
        (5, "alsa:pulse"),
    ]
    assert [d.index for d in devices if d.default] == [4]


@pytest.mark.usefixtures("devices")
def test_a_machine_that_tells_nothing_of_its_cards(tmp_path: Path) -> None:
    assert [d.id for d in list_devices(root=tmp_path / "nothing")][:2] == [
        "alsa:HDA Intel PCH: ALC887 (hw:0,0)",
        "alsa:Blue Yeti: USB Audio (hw:1,0)",
    ]


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (3, 3),
        ("default", 4),
        ("alsa:usb-Blue_Yeti_797-00,0", 2),
        ("pulse", 5),
        ("blue yeti", 2),
    ],
)
def test_a_device_is_found_by_whatever_means_it(
    devices: list[InputDevice], wanted: str | int, index: int
) -> None:
    assert find(wanted, devices).index == index


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (1, r"microphone 1 is not there; `pe-stream devices` lists what is"),
        ("plse", r"'plse' is not there \(did you mean 'pulse'.*\?\); `pe-stream"),
        (
            "usb audio",
            r"any of 'Blue Yeti.*' \(alsa:usb-Blue_Yeti_797-00,0\), 'Webcam.*give its id",
        ),
    ],
)
def test_what_is_not_there_or_not_one_is_explained(
    devices: list[InputDevice], wanted: str | int, message: str
) -> None:
    with pytest.raises(UnavailableError, match=message):
        find(wanted, devices)


def test_without_any_microphone() -> None:
    with pytest.raises(UnavailableError, match="'default': this machine has no microphone"):
        find("default", [])


def test_an_exact_name_wins_over_a_part_of_others() -> None:
    many = [
        InputDevice(i, f"alsa:{name}", name, "ALSA", 1, 48_000.0, default=False)
        for i, name in enumerate(("mic", "mic 2"))
    ]
    assert find("mic", many).index == 0
