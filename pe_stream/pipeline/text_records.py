"""Vectors of prompts from start to start, so that a daemon needs no text tower.

What is not known yet is made by a process of its own: the memory that the text tower and
transformers take is gone with it.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pe_stream.config import PASSWORD_VARIABLE
from pe_stream.config.child_process import python
from pe_stream.config.paths import cache_folder
from pe_stream.errors import PeStreamError
from pe_stream.model.known_texts import KnownTexts
from pe_stream.model.text_record import make_record

log = logging.getLogger(__name__)

_LONGEST_S = 900.0
"""The text tower of a large checkpoint takes minutes on a small machine."""

_MODELLING = "transformers.models.pe_audio.modeling_pe_audio"
"""What takes the memory."""


def known_texts(threads: int | None, *, make: bool) -> KnownTexts:
    """What is known in the cache folder. make: whether what is not is made, and kept.

    threads: as of `checkpoint.load`.
    """
    return KnownTexts(_folder(), partial(_make, threads) if make else None)


def main() -> None:
    """In the process that makes a record: what to make comes on standard input."""
    folder, device, threads, texts = json.load(sys.stdin)
    made = make_record(KnownTexts(_folder()), Path(folder), device, threads, texts)
    sys.exit(0 if made else 1)


def _folder() -> Path:
    return cache_folder() / "texts"


def _make(threads: int | None, folder: Path, device: str, texts: Sequence[str]) -> None:
    log.info("embedding %d prompts, once per checkpoint", len(set(texts)))
    texts = list(dict.fromkeys(texts))
    if _MODELLING in sys.modules:  # the memory is spent
        with suppress(PeStreamError, OSError):  # told by whoever loads the checkpoint now
            make_record(KnownTexts(_folder()), folder, device, threads, texts)
        return
    try:
        made = subprocess.run(
            python(f"from {__name__} import main; main()"),
            input=json.dumps([str(folder.resolve()), device, threads, texts]),
            text=True,
            capture_output=True,
            timeout=_LONGEST_S,
            env={k: v for k, v in os.environ.items() if k != PASSWORD_VARIABLE},
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("prompts are embedded here: %s", error)
        return
    # An error is told by whoever loads the checkpoint now; else its audio side is of another kind.
    if made.returncode:
        log.info("no vectors of prompts can be kept of this checkpoint: it is loaded whole")
        log.debug("the process that makes them: %s", made.stderr)
