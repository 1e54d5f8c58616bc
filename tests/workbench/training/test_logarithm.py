"""The logarithm made of Snakes: near the true one, in numbers that fp16 holds."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from pe_stream.workbench.training import logarithm


def spread(low_dbfs: float, high_dbfs: float) -> Tensor:
    """Energies, finely sampled: sines between the points of a coarse grid would not be seen."""
    return torch.logspace(low_dbfs / 10, high_dbfs / 10, 20_000, dtype=torch.float64)


@pytest.mark.parametrize("dbfs", range(-100, 0, 10))
def test_it_is_near_the_true_one_at_every_level(dbfs: int) -> None:
    energy = spread(dbfs, dbfs + 10)
    error_db = 15 * logarithm.read()(energy) - 50 - 10 * torch.log10(energy + 1e-8)
    assert error_db.square().mean().sqrt() < 0.65
    assert error_db.abs().max() < 1.5


def test_fp16_holds_all_of_it() -> None:
    kept = logarithm.read()
    for field in fields(kept):
        values = getattr(kept, field.name)
        assert torch.equal(values, values.half().double()), field.name
        # Nothing is so small that fp16 becomes coarse.
        assert (values[values != 0].abs() > 2.0**-14).all(), field.name


def test_float32_is_enough_for_it() -> None:
    kept = logarithm.read()
    single = logarithm.Logarithm(*(getattr(kept, field.name).float() for field in fields(kept)))
    energy = spread(-100, 0)
    assert (15 * (single(energy.float()) - kept(energy))).abs().max() < 0.1
