"""Scaled-down checkpoints, written once a run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from checkpoints import SIZES, make_checkpoint
from made_once import made_once

from pe_stream.assets import EMBEDDED
from pe_stream.model.checkpoint import Checkpoint, load


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoint folders: the scaled-down sizes by name, and "embedded". Not to be changed."""

    def make(root: Path) -> None:
        for size in SIZES:
            make_checkpoint(root / size, size)

    root = made_once(tmp_path_factory, "checkpoints", make)
    return {size: root / size for size in SIZES} | {"embedded": EMBEDDED}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """Copy the small checkpoint to a folder of the test's own."""
    return Path(shutil.copytree(folders["small"], tmp_path / "checkpoint"))


@pytest.fixture(scope="session")
def small(folders: dict[str, Path]) -> Checkpoint:
    return load(str(folders["small"]), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def embedded() -> Checkpoint:
    return load("embedded", device="cpu")
