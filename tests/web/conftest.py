from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from score_history import background, keep
from web.houses import CONFIG, Standing, standing


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Standing]:
    with standing(tmp_path) as there:
        yield there


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Standing]:
    """A house with a day of scores at two sources."""
    config = tmp_path / "config.yaml"
    config.write_text(f"{CONFIG}history: {{path: {tmp_path}/scores.db}}\n", "utf-8")
    tracks = {
        ("kitchen", "dog"): background(24, 400),
        ("porch", "dog"): background(24, 300, seed=1),
        ("kitchen", "knock"): background(0.02, 100, seed=2),
    }
    keep(config, tracks, end_ns=time.time_ns() - 60 * 10**9)
    with standing(tmp_path) as there:
        yield there
