"""Microphones there are, and which of them a configuration means.

A device's index changes when another is plugged in, and its name says `hw:1,0` with a card
number that changes too. So each gets an id that stays: on Linux from the USB serial number or
the port (udev's links in /dev/snd), else from the card's own id, elsewhere from its name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pe_stream.audio import portaudio
from pe_stream.errors import UnavailableError


@dataclass(frozen=True, slots=True)
class InputDevice:
    """A microphone.

    index: PortAudio's, good until the next start. id: stays, for the configuration. name: as
    the system calls it. hostapi: ALSA, Core Audio and the like. channels: at most. rate: its
    own (Hz). default: whether `microphone: default` means it.
    """

    index: int
    id: str
    name: str
    hostapi: str
    channels: int
    rate: float
    default: bool


def list_devices(*, root: Path = Path("/")) -> list[InputDevice]:
    """Everything that sound can be recorded from. Raises UnavailableError without PortAudio.

    root: where /proc/asound and /dev/snd are looked for.
    """
    devices, hostapis = portaudio.query()
    cards = _alsa_cards(root)
    defaults = [api["default_input_device"] for api in hostapis]
    default = next((index for index in defaults if index >= 0), -1)  # as PortAudio chooses
    return [
        InputDevice(
            index=index,
            id=_stable_id(device["name"], hostapis[device["hostapi"]]["name"], cards),
            name=device["name"],
            hostapi=hostapis[device["hostapi"]]["name"],
            channels=device["max_input_channels"],
            rate=device["default_samplerate"],
            default=index == default,
        )
        for index, device in enumerate(devices)
        if device["max_input_channels"] > 0
    ]


def find(wanted: str | int, devices: Sequence[InputDevice]) -> InputDevice:
    """The device that `wanted` means: its index, "default", its id, its name, or a part of it.

    Raises UnavailableError with the names that come near, or with all that match.
    """
    if not devices:
        raise UnavailableError(f"microphone {wanted!r}: this machine has no microphone")
    for matches in _matches(wanted, devices):
        if len(matches) == 1:
            return matches[0]
        if matches:
            found = ", ".join(f"{d.name!r} ({d.id})" for d in matches)
            raise UnavailableError(f"microphone {wanted!r} could be any of {found}: give its id")
    raise UnavailableError(
        f"microphone {wanted!r} is not there{_nearest(str(wanted), devices)}; "
        "`pe-stream devices` lists what is"
    )


def _matches(wanted: str | int, devices: Sequence[InputDevice]) -> list[list[InputDevice]]:
    """What each way of meaning a device finds, the most exact way first."""
    if isinstance(wanted, int):
        return [[d for d in devices if d.index == wanted]]
    if wanted == "default":
        return [[d for d in devices if d.default]]
    return [
        [d for d in devices if d.id == wanted],
        [d for d in devices if d.name == wanted],
        [d for d in devices if wanted.casefold() in d.name.casefold()],
    ]


def _nearest(wanted: str, devices: Sequence[InputDevice]) -> str:
    names = [name for d in devices for name in (d.name, d.id)]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.4)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def _stable_id(name: str, hostapi: str, cards: dict[int, str]) -> str:
    api = hostapi.lower().replace(" ", "-")
    hardware = re.search(r"\(hw:(\d+),(\d+)\)", name)
    if hardware and (card := cards.get(int(hardware[1]))):
        return f"{api}:{card},{hardware[2]}"
    return f"{api}:{name}"


def _alsa_cards(root: Path) -> dict[int, str]:
    """Card number -> what it is called whatever its number: by USB serial, by port, by ALSA id."""
    cards: dict[int, str] = {}
    listing = root / "proc/asound/cards"
    if listing.is_file():
        found = re.findall(r"^ *(\d+) \[(\S+) *\]:", listing.read_text("utf-8"), re.MULTILINE)
        cards |= {int(number): name for number, name in found}
    for folder in ("by-path", "by-id"):
        for link in sorted((root / "dev/snd" / folder).glob("*")):
            if control := re.fullmatch(r"controlC(\d+)", link.readlink().name):
                cards[int(control[1])] = link.name
    return cards
