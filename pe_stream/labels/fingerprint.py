"""Fingerprints of everything that determines scores, found without loading the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pe_stream.config import LabelSettings, Settings
from pe_stream.core.types import NO_CHECKPOINT, Recommended
from pe_stream.errors import UnavailableError
from pe_stream.model import files

METHOD = 2
"""Changes whenever the same examples give other vectors."""


@dataclass(frozen=True, slots=True)
class CheckpointFacts:
    """A checkpoint as its files tell it: see `model.files.identity` and `read_recommended`."""

    identity: str
    recommended: Mapping[str, Recommended]


def look_up(settings: Settings) -> CheckpointFacts:
    """The configured checkpoint, found (a hub's: downloaded) and not loaded.

    None is looked for where every label is loud. Raises UnavailableError.
    """
    if all(label.loud is not None for label in settings.labels.values()):
        return CheckpointFacts(NO_CHECKPOINT, {})
    model = settings.model
    cache = Path(model.cache) if model.cache else None
    folder = files.find(model.checkpoint, model.revision, cache)
    recommended = files.read_recommended(model.checkpoint, folder)
    return CheckpointFacts(files.identity(folder), recommended)


def fingerprint(identity: str, label: LabelSettings) -> str:
    """Fingerprint of everything that determines a label's scores, 16 hexadecimal digits.

    The checkpoint, prompts, negatives, and what is in the examples and their background, or the
    level that the score is; besides, the least level. Their order does not matter, as they are
    averaged; nor do window, hop, lookahead and precision count: they change scores, but not what
    they mean. Raises UnavailableError on a recording that cannot be read.
    """
    made_by: list[object] = [identity, sorted(label.prompts), sorted(label.negatives)]
    if label.loud is not None:
        made_by = ["loud", label.loud.of, label.loud.above_db]
    if label.examples:
        made_by += [METHOD, sorted(set(map(digest, label.examples)))]
        made_by += [sorted(map(digest, label.background))]
    if label.least_db is not None:
        made_by += ["least_db", label.least_db]
    return hashlib.sha256(json.dumps(made_by).encode()).hexdigest()[:16]


def digest(path: str) -> str:
    """Hash of a file's content. Raises UnavailableError."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError as error:
        raise UnavailableError(f"{path}: {error.strerror}") from error
