"""Which checkpoint scores are of, found without loading it."""

from __future__ import annotations

from typing import Any

import pytest

from pe_stream.config import Settings
from pe_stream.core.types import NO_CHECKPOINT
from pe_stream.errors import UnavailableError
from pe_stream.labels.fingerprint import look_up


def settings(**labels: Any) -> Settings:
    return Settings.model_validate({"model": {"checkpoint": "/nowhere/at/all"}, "labels": labels})


def test_no_checkpoint_is_looked_for_where_every_label_is_loud() -> None:
    """As none is loaded then: `calibrate` and `replay` do not need one either."""
    assert look_up(settings(bang={"loud": True})).identity == NO_CHECKPOINT
    with pytest.raises(UnavailableError, match="nowhere"):
        look_up(settings(bang={"loud": True}, dog={}))
