"""The loop: it learns, averages, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pe_stream.workbench.training.fit import Average, Plan, fit

CPU = torch.device("cpu")


class Line:
    """y = 3 x to be learned; remembers which batches it was given."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.weight = nn.Parameter(torch.zeros(1))
        self.losses: list[float] = []
        self.steps: list[int] = []
        self._stop_at = stop_at

    def batch(self, number: int) -> Tensor:
        return torch.randn(8, generator=torch.Generator().manual_seed(number))

    def loss(self, x: Tensor) -> Tensor:
        return (self.weight * x - 3 * x).square().mean()

    def report(self, step: int, loss: float) -> None:
        self.steps.append(step)
        self.losses.append(loss)
        if step == self._stop_at:
            raise KeyboardInterrupt

    def fit(self, saved: Path, plan: Plan) -> None:
        fit(self.batch, self.loss, [[self.weight]], plan, saved, device=CPU, report=self.report)


PLAN = Plan(steps=60, rates=(0.3,), decay=0.0, average=0.9, bf16=False)


def test_it_learns(tmp_path: Path) -> None:
    line = Line()
    line.fit(tmp_path / "state.pt", PLAN)
    assert line.weight.item() == pytest.approx(3, abs=0.2)
    assert line.steps == list(range(60))
    assert not line.weight.requires_grad


def test_interrupted_and_resumed_it_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pe_stream.workbench.training.fit.SAVE_EVERY_S", 0.0)
    whole = Line()
    whole.fit(tmp_path / "whole.pt", PLAN)
    first = Line(stop_at=25)
    with pytest.raises(KeyboardInterrupt):
        first.fit(tmp_path / "state.pt", PLAN)
    second = Line()
    second.fit(tmp_path / "state.pt", PLAN)
    assert second.steps[0] == 25  # the step that was interrupted was not saved
    assert second.losses[-1] == whole.losses[-1]
    assert second.weight.item() == whole.weight.item()


def test_an_error_in_making_a_batch_ends_the_training(tmp_path: Path) -> None:
    line = Line()

    def broken(number: int) -> Tensor:
        if number == 7:
            raise ValueError("no such sound")
        return line.batch(number)

    with pytest.raises(ValueError, match="no such sound"):
        fit(
            broken,
            line.loss,
            [[line.weight]],
            PLAN,
            tmp_path / "s.pt",
            device=CPU,
            report=line.report,
        )
    assert line.steps == list(range(7))


def test_the_average_lags_and_is_written_back() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average = Average([weight], 0.5)
    for value in (1.0, 1.0, 4.0):
        weight.data.fill_(value)
        average.update()
    # decays 2/11, 3/12, 4/13
    expected = 0.0
    for decay, value in ((2 / 11, 1.0), (3 / 12, 1.0), (4 / 13, 4.0)):
        expected = decay * expected + (1 - decay) * value
    average.write()
    assert weight.item() == pytest.approx(expected)
