"""`pe-stream devices`: the microphones of this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from pe_stream.audio.devices import list_devices
from pe_stream.cli.options import DevicesOptions


def run(options: DevicesOptions) -> int:
    """Print each with the id for the configuration; returns the exit code."""
    devices = list_devices()
    if not devices:
        print("pe-stream: this machine has no microphone", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(device) for device in devices], indent=2))
        return 0
    for device in devices:
        mark = "*" if device.default else " "
        print(
            f"{mark} {device.index:3d}  {device.id}  {device.name}  "
            f"({device.hostapi}, {device.channels} channels, {device.rate:g} Hz)"
        )
    return 0
