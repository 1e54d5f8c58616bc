from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from web.houses import Standing, standing


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Standing]:
    with standing(tmp_path) as there:
        yield there
