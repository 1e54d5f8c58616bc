"""The loop: it learns, averages, and goes on where it was."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import forked
import group_work
import pytest
import torch
from torch import Tensor, nn

from pe_stream.workbench.training import fit as fitting
from pe_stream.workbench.training import group
from pe_stream.workbench.training.fit import Average, Plan, fit
from pe_stream.workbench.training.group import Group, run

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
    state = torch.load(tmp_path / "state.pt")
    assert line.weight.item() == state["average"][0].item()
    assert line.weight.item() != state["weights"][0].item()


@pytest.mark.parametrize(
    ("asked", "native", "computed"),
    [
        (True, torch.bfloat16, torch.bfloat16),
        (True, torch.float32, torch.float32),
        (False, torch.bfloat16, torch.float32),
    ],
)
def test_products_are_in_bfloat16_where_asked_for_and_native(
    *,
    asked: bool,
    native: torch.dtype,
    computed: torch.dtype,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "fast_dtype", lambda _: native)
    weight = nn.Parameter(torch.zeros(4, 4))
    products: list[torch.dtype] = []

    def loss(x: Tensor) -> Tensor:
        product = x @ weight
        products.append(product.dtype)
        return product.float().square().mean()

    plan = Plan(steps=2, rates=(0.1,), bf16=asked)
    batch = torch.ones(2, 4)
    fit(
        lambda _: batch,
        loss,
        [[weight]],
        plan,
        tmp_path / "state.pt",
        device=CPU,
        report=lambda *_: None,
    )
    assert products == [computed] * 2


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
    assert second.steps[0] == 26  # what was told of was saved before
    assert second.losses[-1] == whole.losses[-1]
    assert second.weight.item() == whole.weight.item()


def test_stopped_between_two_states_it_takes_the_same_steps_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Line()
    whole.fit(tmp_path / "whole.pt", PLAN)
    saved: list[int] = []
    save = fitting._State.save

    def once(state: fitting._State, step: int) -> None:
        if step == 10:
            saved.append(step)
            save(state, step)

    monkeypatch.setattr(fitting, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(fitting._State, "save", once)
    with pytest.raises(KeyboardInterrupt):
        Line(stop_at=25).fit(tmp_path / "state.pt", PLAN)
    assert saved == [10]
    monkeypatch.setattr(fitting._State, "save", save)
    second = Line()
    second.fit(tmp_path / "state.pt", PLAN)
    assert second.steps == list(range(10, 60))
    assert second.losses == whole.losses[10:]
    assert second.weight.item() == whole.weight.item()


def test_stopped_after_its_last_step_it_ends_the_same(tmp_path: Path) -> None:
    whole, again = Line(), Line()
    whole.fit(tmp_path / "state.pt", PLAN)
    again.fit(tmp_path / "state.pt", PLAN)
    assert again.steps == []
    assert again.weight.item() == whole.weight.item()


def test_a_state_half_written_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save

    def full(state: object, path: Path) -> None:
        save({}, path)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        Line().fit(tmp_path / "state.pt", PLAN)
    assert not (tmp_path / "state.pt").exists()


def test_the_rate_rises_holds_and_falls() -> None:
    plan = Plan(steps=1000, rates=(1.0,), hold=0.5)
    shares = [fitting._share(step, plan) for step in range(1000)]
    assert shares[0] == 0.01
    assert shares[:101] == pytest.approx([(step + 1) / 100 for step in range(100)] + [1.0])
    assert set(shares[100:501]) == {1.0}
    assert all(b < a for a, b in itertools.pairwise(shares[501:]))
    assert shares[750] == pytest.approx(0.02 + 0.49)
    assert shares[-1] == pytest.approx(0.02, abs=1e-4)
    without = Plan(steps=1000, rates=(1.0,))
    assert fitting._share(101, without) < 1
    assert fitting._share(550, without) == pytest.approx(0.51)
    long = Plan(steps=100_000, rates=(1.0,))
    assert fitting._share(499, long) == 1.0  # 500 steps of warming up are enough
    assert fitting._share(0, Plan(steps=1, rates=(1.0,))) > 0


def test_each_group_of_weights_has_its_own_rate(tmp_path: Path) -> None:
    slow, fast, fixed = (nn.Parameter(torch.zeros(1)) for _ in range(3))

    def loss(_: int) -> Tensor:
        return (slow - 1).square().sum() + (fast - 1).square().sum() + 0 * fixed.sum()

    fit(
        lambda number: number,
        loss,
        [[slow], [fast, fixed]],
        Plan(steps=5, rates=(1e-4, 1e-1), decay=0.0, bf16=False),
        tmp_path / "state.pt",
        device=CPU,
        report=lambda *_: None,
    )
    assert 0 < slow.item() < 1e-3
    assert fast.item() > 1e-2
    assert fixed.item() == 0


def together(folder: Path, steps: int = 110, stop_at: int | None = None) -> list[dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    run(2, folder / "meet", group_work.straight_line, folder, steps, stop_at)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_two_processes_take_their_own_batches_and_end_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "spawn", forked.spawn)
    whole = together(tmp_path / "whole")
    first, second = whole
    assert first["seen"] == list(range(0, 110, 2))
    assert second["seen"] == list(range(1, 110, 2))
    assert torch.equal(first["weight"], second["weight"])
    assert first["weight"].item() == pytest.approx(3, abs=0.3)
    # Only the first saves: when weights have just been averaged, and at the end.
    assert first["saved"] == [25, 50, 55]
    assert second["saved"] == []
    with pytest.raises(KeyboardInterrupt):
        together(tmp_path / "stopped", stop_at=25)
    resumed = together(tmp_path / "stopped")
    assert resumed[0]["seen"] == list(range(50, 110, 2))
    assert resumed[1]["seen"] == list(range(51, 110, 2))
    assert torch.equal(resumed[0]["weight"], first["weight"])
    assert torch.equal(resumed[1]["weight"], first["weight"])


@pytest.mark.parametrize(("before", "after", "seen"), [(1, 3, [9, 12, 15]), (2, 1, [16, 17])])
def test_more_or_fewer_processes_go_on_with_the_batches_not_yet_seen(
    before: int, after: int, seen: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight steps of `before` processes, then `after`, of 18 batches in all; the first of them."""
    monkeypatch.setattr(fitting, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(Group, "average", lambda *_: None)
    monkeypatch.setattr("pe_stream.workbench.training.group.EVERY", 1)
    rates: list[float] = []
    told: list[int] = []

    class Noted(torch.optim.AdamW):
        def step(self, *given: Any, **more: Any) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(*given, **more)

    monkeypatch.setattr(torch.optim, "AdamW", Noted)
    plan = Plan(steps=18, rates=(0.3,), decay=0.0, bf16=False)

    def go_on(size: int, stop_at: int | None) -> list[int]:
        line, taken = Line(stop_at), []
        told[:] = []
        line.steps = told

        def batch(number: int) -> Tensor:
            taken.append(number)
            return line.batch(number)

        fit(
            batch,
            line.loss,
            [[line.weight]],
            plan,
            tmp_path / "state.pt",
            device=CPU,
            report=line.report,
            group=Group(0, size),
        )
        return taken

    with pytest.raises(KeyboardInterrupt):
        go_on(before, 8 * before - 1)
    rates.clear()
    assert go_on(after, None) == seen
    assert told == [number + after - 1 for number in seen]
    # The first is still what was saved with the state.
    shares = [fitting._share(number, plan) for number in (8 * before, *seen[1:])]
    assert rates == pytest.approx([0.3 * share for share in shares])


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


def test_an_average_taken_every_some_steps_forgets_as_fast() -> None:
    weight = nn.Parameter(torch.zeros(1))
    average = Average([weight], 0.5)
    average.steps = 10**6  # long after its beginning
    weight.data.fill_(1.0)
    average.update(3)
    average.write()
    assert weight.item() == pytest.approx(1 - 0.5**3, abs=1e-4)
