"""Ways to damage a copy of a checkpoint, and what its refusal looks like."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pe_stream.errors import UnavailableError

Change = Callable[[Path], object]
"""Changes a checkpoint folder; what it returns is of no interest."""


@contextmanager
def refused(name: str, message: str) -> Iterator[None]:
    """Expect an UnavailableError: one line that names the checkpoint, says why, offers another."""
    with pytest.raises(UnavailableError, match=message) as error:
        yield
    text = str(error.value)
    assert text.startswith(f"checkpoint {name!r}: ")
    assert text.endswith('"checkpoint: embedded" needs no download')
    assert text.isprintable()  # and so one line
    assert len(text) < 1000


def remove(file: str) -> Change:
    return lambda folder: (folder / file).unlink()


def write(file: str, text: str) -> Change:
    return lambda folder: (folder / file).write_text(text)


def edit(file: str, change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the content of a JSON file."""

    def apply(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        change(content)
        (folder / file).write_text(json.dumps(content))

    return apply


def edit_codec(**changes: object) -> Change:
    """Change the codec's configuration."""
    return edit("config.json", lambda c: c["audio_config"]["dac_config"].update(changes))


def edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    """Change the dictionary of weights."""

    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def both(first: Change, second: Change) -> Change:
    return lambda folder: (first(folder), second(folder))
