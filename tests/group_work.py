"""What the processes of a group do in tests: spawned, they import it by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from pe_stream.workbench.training import fit as fitting
from pe_stream.workbench.training.fit import Plan, fit
from pe_stream.workbench.training.group import Group


def average(group: Group, out: Path) -> None:
    """Average two tensors of different shapes and types, and keep what came out."""
    tensors = [
        torch.full((2, 3), float(group.rank)),
        torch.arange(4, dtype=torch.float64) * (1 + group.rank),
    ]
    group.average(tensors)
    group.wait()
    torch.save({"tensors": tensors, "threads": torch.get_num_threads()}, out / f"{group.rank}.pt")


def wait_for_one_that_dies(group: Group, how: str) -> None:
    """The second process ends; the first waits for it."""
    if group.rank == 1:
        if how == "raises":
            raise ValueError("the second gave up")
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return  # "leaves"
    group.wait()
    group.average([torch.zeros(1)])


def stay(group: Group, out: Path) -> None:
    """Say who is here, and stay until somebody ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as below a shell in the background
    (out / f"{group.rank}.pid").write_text(str(os.getpid()), "utf-8")
    time.sleep(600)


class DiesOnArrival:
    """An argument that ends the process it is sent to before any work begins."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return os._exit, (3,)


def nothing(group: Group, *_: object) -> None:
    """No work."""


def fail_here(group: Group) -> None:
    """The first process fails while the second waits."""
    if group.first:
        raise KeyError("mine")
    group.wait()


def straight_line(group: Group, out: Path, steps: int, stop_at: int | None) -> None:
    """Learn y = 3 x in 50 steps of both; keep weight, batches seen and states saved."""
    fitting.SAVE_EVERY_S = 0.0
    weight = nn.Parameter(torch.zeros(1))
    seen: list[int] = []
    saved: list[int] = []
    whole = fitting._State.save

    def save(self: fitting._State, step: int) -> None:
        saved.append(step)
        whole(self, step)
        if step == stop_at:
            # A shell that starts jobs in the background has the signal ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), signal.SIGINT)

    fitting._State.save = save  # type: ignore[method-assign]

    def batch(number: int) -> Tensor:
        seen.append(number)
        return torch.randn(8, generator=torch.Generator().manual_seed(number))

    def loss(x: Tensor) -> Tensor:
        return (weight * x - 3 * x).square().mean()

    plan = Plan(steps=steps, rates=(0.1,), decay=0.0, average=0.9, bf16=False)
    cpu = torch.device("cpu")
    try:
        fit(
            batch,
            loss,
            [[weight]],
            plan,
            out / "state.pt",
            device=cpu,
            report=lambda *_: None,
            group=group,
        )
    finally:
        fitting._State.save = whole  # type: ignore[method-assign]
        fitting.SAVE_EVERY_S = 120.0
    torch.save({"weight": weight.detach(), "seen": seen, "saved": saved}, out / f"{group.rank}.pt")
