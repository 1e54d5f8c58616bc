"""What the daemon imports before it is asked for anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = ("matplotlib", "scipy", "transformers", "fastapi", "uvicorn", "apprise", "httpx")
"""Needed by few commands, by an extra, or once a checkpoint is loaded."""


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """Modules in a fresh interpreter that has imported the daemon."""
    program = "import sys, pe_stream.daemon; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, encoding="utf-8"
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("library", LATER)
def test_libraries_wait_until_they_are_needed(library: str, imported: set[str]) -> None:
    assert library not in imported
