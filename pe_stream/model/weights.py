"""Weights of a checkpoint: safetensors files of its own folder, looked at before any is read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from pe_stream.model.reading import read_json, refusing, size_of, unavailable

MOST_BYTES = 2**36
"""Largest file of weights (64 GiB). The largest published checkpoint has 6 GB."""

MOST_PARAMETERS = 4 * 10**9
"""Of a model. The largest published one has 1.46 thousand million."""

_MOST_HEADER = 2**24
"""Longest header of a file (bytes), which names its tensors; 0.1 MB for some 900."""

_MOST_FILES = 256
_MOST_INDEX = 2**24
_NAME = re.compile(r"\w[\w.-]{0,200}\.safetensors")
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_UNUSED = 1.5
"""The model may have so many times the numbers that are stored: some parts are never used."""


@contextmanager
def stored(name: str, folder: Path) -> Iterator[dict[str, Any]]:
    """All tensors that are stored, by key: slices, of which nothing is read yet.

    They hold until the block ends. Raises UnavailableError where there are none, or a file is
    damaged, too large, or elsewhere than in the folder.
    """
    with ExitStack() as opened:
        tensors: dict[str, Any] = {}
        for file in _files(name, folder):
            _look(name, folder / file)
            with refusing(name, f"its weights cannot be read: {file}"):
                content: Any = opened.enter_context(safe_open(folder / file, framework="pt"))
                tensors |= {key: content.get_slice(key) for key in content.keys()}  # noqa: SIM118 - no mapping
        yield tensors


def check_size(name: str, parameters: int, tensors: Mapping[str, Any]) -> None:
    """Raise UnavailableError where a model is far larger than what is stored of it, or than any.

    parameters: how many numbers its configuration asks for.
    """
    numbers = sum(math.prod(each.get_shape()) for each in tensors.values())
    if parameters > MOST_PARAMETERS:
        raise unavailable(
            name,
            f"its config.json asks for {parameters} numbers, more than {MOST_PARAMETERS}",
        )
    if parameters > _UNUSED * numbers:
        raise unavailable(
            name,
            f"its weights cannot be read (its config.json asks for {parameters} numbers, "
            f"its safetensors files have {numbers})",
        )


def _files(name: str, folder: Path) -> list[str]:
    """Names of the files with weights: the one, or those that the index names."""
    if (folder / _WHOLE).exists() or not (folder / _INDEX).exists():
        return [_WHOLE]
    places = read_json(name, folder, _INDEX, _MOST_INDEX).get("weight_map")
    files = set(places.values()) if isinstance(places, dict) and _words(places) else set()
    if not 0 < len(files) <= _MOST_FILES:
        raise unavailable(name, f"its {_INDEX} names no files of weights, or too many")
    wrong = next((file for file in sorted(files) if _NAME.fullmatch(file) is None), None)
    if wrong is not None:
        raise unavailable(name, f"its {_INDEX} names {wrong[:100]!a}, which is no file beside it")
    return sorted(files)


def _words(places: Mapping[str, object]) -> bool:
    return all(isinstance(file, str) for file in places.values())


def _look(name: str, file: Path) -> None:
    """Raise UnavailableError where the header is longer than any that names tensors."""
    if not file.exists():
        raise unavailable(
            name, f"its weights cannot be read (there is no {file.name} in {file.parent})"
        )
    size = size_of(name, file, MOST_BYTES)
    with refusing(name, f"its weights cannot be read: {file.name}"), file.open("rb") as content:
        header = int.from_bytes(content.read(8), "little")
    if header > min(_MOST_HEADER, size):
        raise unavailable(
            name, f"its weights cannot be read ({file.name} says its header has {header} bytes)"
        )
