"""What is known of a checkpoint from an earlier start: vectors of texts, sizes of its audio side.

With it, a start with the same prompts needs neither text tower nor tokenizer, nor transformers. A
record is made by whoever has loaded the whole checkpoint, and counts for the same content, device
and libraries alone. It is an .npz, whose parts have checksums; and what it says of the audio side
is tried: the module made of it has to hear what the checkpoint heard.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pe_stream.model.audio_side import AudioShape
from pe_stream.model.reading import first_line
from pe_stream.model.tokenizer import LONGEST

log = logging.getLogger(__name__)

MOST_TEXTS = 1000
"""Of a record: those asked for longest ago go."""

MOST_RECORDS = 8
"""Of the folder: those used longest ago go."""

_MOST_BYTES = 2**25
"""Of a file; 1000 texts of 1024 values have 4 MB."""

_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""How a record is opened: a link is refused, a pipe does not wait for a writer."""

_FORMAT = 1

Make = Callable[[Path, str, Sequence[str]], None]
"""Makes a record of the checkpoint in a folder, on a device, that has the texts; never raises."""


@dataclass(frozen=True, slots=True, eq=False)
class TextRecord:
    """What is known of a checkpoint.

    parameters: how many numbers all of it has. rows: by text, its embedding (D,) float32.
    heard: (1, frames, D) float32, what it makes of the test sound.
    """

    shape: AudioShape
    parameters: int
    rows: Mapping[str, NDArray[np.float32]]
    heard: NDArray[np.float32]

    def has(self, texts: Sequence[str]) -> bool:
        """Whether all of the texts are known."""
        return all(text in self.rows for text in texts)


class KnownTexts:
    """Records in a folder of the user's own. Where it cannot be used, nothing is known.

    key: of the checkpoint that a record is of; see `key_of`.
    """

    def __init__(self, folder: Path, make: Make | None = None) -> None:
        """folder: made when something is kept. make: called where a record lacks texts."""
        self._folder = folder
        self._make = make

    def record(
        self, folder: Path, key: str, device: torch.device, texts: Sequence[str]
    ) -> TextRecord | None:
        """The record that has all of the texts, of the checkpoint in `folder`, made if need be."""
        found = self.read(key, device)
        if found is not None and found.has(texts):
            return found
        if self._make is None or not 0 < len(texts) <= MOST_TEXTS or not self._usable():
            return None
        self._make(folder, str(device), texts)
        found = self.read(key, device)
        return found if found is not None and found.has(texts) else None

    def _usable(self) -> bool:
        """Whether a record could be kept; makes the folder."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            usable = False
        else:
            usable = os.access(self._folder, os.W_OK | os.X_OK)
        if not usable:
            log.info("%s cannot be written: texts are embedded at every start", self._folder)
        return usable

    def read(self, key: str, device: torch.device) -> TextRecord | None:
        """The record of a checkpoint on a device; a damaged one is logged, and counts as none."""
        path = self._path(key, device)
        try:
            with os.fdopen(os.open(path, _PLAIN), "rb") as file:
                record = _read(file, _made_for(key, device))
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001 - numpy and zipfile raise anything on damage
            self.refuse(key, device, first_line(error))
            return None
        if record is not None:
            with suppress(OSError):  # on a disk that is read-only
                os.utime(path)
        return record

    def refuse(self, key: str, device: torch.device, why: str) -> None:
        """Log that a record cannot be used, and remove it where that is possible."""
        path = self._path(key, device)
        log.warning("%s cannot be used, texts are embedded anew: %s", path, why)
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def keep(self, key: str, device: torch.device, record: TextRecord) -> None:
        """Keep a record, with what an older one knows of other texts. Raises OSError."""
        older = self.read(key, device)
        rows = dict(record.rows)
        for text, row in (older.rows if older else {}).items():
            if len(rows) < MOST_TEXTS:
                rows.setdefault(text, row)
        about = {
            "for": _made_for(key, device),
            "shape": record.shape.to_dict(),
            "parameters": record.parameters,
            "texts": list(rows),
        }
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")  # the owner's alone
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(
                    file,
                    allow_pickle=False,
                    about=np.frombuffer(json.dumps(about).encode(), np.uint8),
                    rows=np.stack([*rows.values()]),
                    heard=record.heard,
                )
            Path(name).replace(self._path(key, device))
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        kept = sorted(self._folder.glob("*.npz"), key=lambda each: each.stat().st_mtime)
        for old in kept[:-MOST_RECORDS]:
            old.unlink(missing_ok=True)

    def _path(self, key: str, device: torch.device) -> Path:
        name = hashlib.sha256(f"{key} {device.type}".encode()).hexdigest()[:32]
        return self._folder / f"{name}.npz"


def key_of(folder: Path, identity: str) -> str:
    """What the records of a checkpoint go by: another one after any of its files was written.

    Its identity alone would not do: of large weights it reads parts, and settings of the tokenizer
    it leaves out.
    """
    digest = hashlib.sha256(identity.encode())
    for file in sorted([*folder.glob("*.json"), *folder.glob("*.safetensors")]):
        with suppress(OSError):  # what is not there any more is told where it is read
            found = file.stat()
            said = f"{file.name} {found.st_size} {found.st_mtime_ns}\n"
            digest.update(said.encode(errors="replace"))
    return digest.hexdigest()


def _made_for(key: str, device: torch.device) -> list[object]:
    """What a record is for: with anything else, its vectors may be others in their last bits."""
    libraries = [f"{name} {version(name)}" for name in ("torch", "transformers", "tokenizers")]
    return [_FORMAT, key, device.type, "float32", *libraries]


def _read(file: BinaryIO, made_for: list[object]) -> TextRecord | None:
    """The record of a file; None where it is for other libraries. Raises on a damaged one."""
    found = os.fstat(file.fileno())
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ValueError("others can read or change it")
    if found.st_size > _MOST_BYTES:
        raise ValueError(f"it has {found.st_size} bytes")
    with np.load(file, allow_pickle=False) as saved:
        about: dict[str, Any] = json.loads(saved["about"].astype(np.uint8).tobytes())
        if about["for"] != made_for:
            return None
        rows, heard = saved["rows"], saved["heard"]
    shape, texts = AudioShape.from_dict(about["shape"]), about["texts"]
    if not isinstance(texts, list) or not 0 < len(texts) <= MOST_TEXTS:
        raise ValueError("it has no list of texts")
    if not all(type(text) is str and len(text) <= LONGEST for text in texts):
        raise ValueError("one of its texts is none")
    if rows.dtype != np.float32 or rows.shape != (len(texts), shape.outputs):
        raise ValueError("its vectors have another shape")
    if heard.dtype != np.float32 or heard.ndim != 3 or heard.shape[2] != shape.outputs:
        raise ValueError("what was heard has another shape")
    if not np.isfinite(rows).all() or not np.isfinite(heard).all():
        raise ValueError("its vectors are no numbers")
    parameters = about["parameters"]
    if type(parameters) is not int or parameters < 1:
        raise ValueError("it has no number of parameters")
    return TextRecord(shape, parameters, dict(zip(texts, rows, strict=True)), heard)


def row_tensors(record: TextRecord, device: torch.device) -> dict[str, Tensor]:
    """By text, its embedding (D,) on the device."""
    return {text: torch.tensor(row, device=device) for text, row in record.rows.items()}
