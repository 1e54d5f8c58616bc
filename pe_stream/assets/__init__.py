"""Files shipped inside the package."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent

EMBEDDED = _FOLDER / "embedded"
"""The embedded checkpoint's folder; its README.md is the model card."""

EVERYDAY = _FOLDER / "everyday.yaml"
"""A configuration of everyday sounds, for use without one of one's own."""

DEMO_RECORDING = _FOLDER / "demo.opus"
"""A minute of a made-up house; `pe_stream.workbench.make_demo` makes it."""

DEMO_TRUTH = _FOLDER / "demo.csv"
"""What the demo recording holds: onset_s, offset_s, label, text."""

COMMON_SOUNDS = _FOLDER / "common_sounds.txt"
"""Sounds of houses and what is around them, a description a line; a list of our own."""

SOUND_WORDS = _FOLDER / "sound_words.txt"
"""Words that sounds are described with where `pe-stream train` teaches a text tower, one a line.

`make sound-words` makes it."""
