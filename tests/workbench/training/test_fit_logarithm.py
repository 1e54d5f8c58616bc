"""The fit of the logarithm made of Snakes: it gets nearer, ends in fp16, and is read back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from pe_stream.workbench.training import fit_logarithm, logarithm
from pe_stream.workbench.training.logarithm import Logarithm

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module", autouse=True)
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def guess() -> Logarithm:
    return fit_logarithm.first_guess(1)  # not every guess is a good one: the command tries three


def test_the_first_guess_is_a_logarithm_already(guess: Logarithm) -> None:
    energy = torch.logspace(-8, 0, 9)
    made = guess(energy)
    assert (made.diff() > 0).all(), "the louder, the more"
    assert fit_logarithm.error_db(guess) < 5


def test_fitting_brings_it_nearer_and_ends_in_fp16(guess: Logarithm) -> None:
    made = fit_logarithm.fitted(guess, 1, steps=100, settle=1)
    assert fit_logarithm.error_db(made) < 0.7
    numbers = fit_logarithm.flat(made)
    assert torch.equal(numbers, numbers.half().double())


def test_the_command_writes_down_what_is_read(
    guess: Logarithm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The best of the guesses; here they are not fitted, which takes minutes."""
    kept = fit_logarithm.like(fit_logarithm.flat(guess).half().double(), guess)
    worse = fit_logarithm.like(fit_logarithm.flat(kept) * 1.5, guess)
    monkeypatch.setattr(fit_logarithm, "first_guess", lambda seed: kept if seed == 1 else worse)
    monkeypatch.setattr(fit_logarithm, "fitted", lambda guess, *_, **__: guess)
    file = tmp_path / "logarithm.yaml"
    monkeypatch.setattr(fit_logarithm, "FILE", file)
    monkeypatch.setattr(logarithm, "FILE", file)
    with caplog.at_level(logging.INFO):
        assert fit_logarithm.main() == 0
    assert "logarithm.yaml" in caplog.text
    logarithm.read.cache_clear()
    read = logarithm.read()
    logarithm.read.cache_clear()
    for field in fields(read):
        assert torch.equal(getattr(read, field.name), getattr(kept, field.name)), field.name


def test_numbers_keep_their_places(guess: Logarithm) -> None:
    numbers = torch.arange(len(fit_logarithm.flat(guess)), dtype=torch.float64)
    assert torch.equal(fit_logarithm.flat(fit_logarithm.like(numbers, guess)), numbers)
