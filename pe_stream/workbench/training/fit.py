"""The training loop: batches made ahead, weights averaged, everything saved to go on from."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pe_stream.config.worker import Worker
from pe_stream.model.precision import fast_dtype
from pe_stream.workbench.training.group import Group

B = TypeVar("B")

SAVE_EVERY_S = 120.0
_AHEAD = 4
"""Batches made ahead of the step that needs them; then their maker waits."""

_STOP_S = 60.0
"""At the end, a batch that is being made is waited for so long."""


@dataclass(frozen=True)
class Plan:
    """How long and how fast one stage learns.

    steps: batches, of all processes together. rates: highest learning rate of each group of
    weights. decay: weight decay.
    average: decay of the moving average of the weights.
    bf16: whether products are computed so where the device does that natively; elsewhere it
        imitates it, thirty times slower than float32.
    hold: part of the steps after which the rate begins to fall; until then it stays highest.
    """

    steps: int
    rates: tuple[float, ...]
    decay: float = 0.05
    average: float = 0.999
    bf16: bool = True
    hold: float = 0.0


class Average:
    """The exponential moving average of weights, which generalises better than the last ones."""

    def __init__(self, weights: Sequence[nn.Parameter], decay: float) -> None:
        self._weights = list(weights)
        self._decay = decay
        self.steps = 0
        self.values = [weight.detach().clone() for weight in self._weights]

    def update(self, steps: int = 1) -> None:
        """Take the present weights in, `steps` after the last time."""
        self.steps += 1
        decay = min(self._decay**steps, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.values, [w.detach() for w in self._weights], 1 - decay)

    def write(self) -> None:
        """Make them the model's weights."""
        with torch.no_grad():
            for weight, value in zip(self._weights, self.values, strict=True):
                weight.copy_(value)


def fit(
    batch: Callable[[int], B],
    loss: Callable[[B], Tensor],
    groups: Sequence[Sequence[nn.Parameter]],
    plan: Plan,
    saved: Path,
    *,
    device: torch.device,
    report: Callable[[int, float], None],
    group: Group | None = None,
) -> None:
    """Minimise `loss` of batches over `groups` of weights, which end as their average.

    batch: makes the batch of a number, all of which are different. group: processes that call
    this with the same arguments; each takes batches of its own.
    saved: where the state is kept while this runs; if it is there, it is gone on from.
    report: called after each step with the number of the last batch it took, and the loss.
    """
    group = group or Group()
    weights = [weight for some in groups for weight in some]
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [{"params": list(g), "lr": r} for g, r in zip(groups, plan.rates, strict=True)],
        betas=(0.9, 0.98),
        weight_decay=plan.decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: _share(n * group.size, plan))
    average = Average(weights, plan.average)
    state = _State(saved, weights, optimizer, schedule, average, size=group.size)
    first = state.restore()
    last_saved = time.monotonic()

    steps = -(-plan.steps // group.size)

    def own(step: int) -> B:
        return batch(step * group.size + group.rank)

    bf16 = plan.bf16 and fast_dtype(device) is torch.bfloat16
    with _made_ahead(own, first, steps) as batches:
        for step, examples in enumerate(batches, first):
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                value = loss(examples)
            optimizer.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            last = step + 1 == steps
            if (step + 1) % group.every == 0 or last:
                group.average([*weights, *state.moments()])
                average.update(group.every)
                if group.first and (last or time.monotonic() - last_saved > SAVE_EVERY_S):
                    state.save(step + 1)
                    last_saved = time.monotonic()
            if group.first:
                report(min((step + 1) * group.size, plan.steps) - 1, value.item())
    average.write()
    for weight in weights:
        weight.requires_grad_(False)


def _share(step: int, plan: Plan) -> float:
    """Share of the learning rate: a linear start, then level, then half a cosine down to 2 %."""
    warmup = min(500, plan.steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    level = max(warmup, round(plan.hold * plan.steps))
    if step < level:
        return 1.0
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - level) / max(1, plan.steps - level)))


class _State:
    """State to resume from: weights, their average, the optimiser's moments, the step."""

    def __init__(
        self,
        path: Path,
        weights: Sequence[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LambdaLR,
        average: Average,
        *,
        size: int,
    ) -> None:
        """`size`: of the group, whose processes take a batch each in a step."""
        self._path = path
        self._weights = weights
        self._optimizer = optimizer
        self._schedule = schedule
        self._average = average
        self._size = size

    def save(self, step: int) -> None:
        state: dict[str, Any] = {
            "step": step,
            "size": self._size,
            "weights": [weight.detach() for weight in self._weights],
            "average": self._average.values,
            "averaged": self._average.steps,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }
        part = self._path.with_suffix(".part")
        torch.save(state, part)
        part.replace(self._path)

    def moments(self) -> list[Tensor]:
        """The optimiser's, of all weights that have had a gradient."""
        return [
            self._optimizer.state[weight][name]
            for weight in self._weights
            for name in ("exp_avg", "exp_avg_sq")
            if self._optimizer.state[weight]
        ]

    def restore(self) -> int:
        if not self._path.exists():
            return 0
        state = torch.load(self._path, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for weight, value in zip(self._weights, state["weights"], strict=True):
                weight.copy_(value)
            for kept, value in zip(self._average.values, state["average"], strict=True):
                kept.copy_(value)
        self._average.steps = state["averaged"]
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        # So many processes may be more or fewer than before: the batches seen stay the same.
        step = -(-state["step"] * state.get("size", self._size) // self._size)
        self._schedule.last_epoch = step
        return int(step)


@contextmanager
def _made_ahead(batch: Callable[[int], B], first: int, steps: int) -> Iterator[Iterator[B]]:
    """An iterator over `batch(first)` to `batch(steps - 1)`, made by a thread of their own."""
    ready: queue.Queue[B | BaseException] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def make() -> None:
        for step in range(first, steps):
            put(batch(step))
            if stopped.is_set():
                return

    def put(made: B | BaseException) -> None:
        while not stopped.is_set():
            with suppress(queue.Full):
                ready.put(made, timeout=0.2)
                return

    def take() -> Iterator[B]:
        for _ in range(first, steps):
            made = ready.get()
            if isinstance(made, BaseException):
                raise made
            yield made

    maker = Worker("batches", make, put)  # what ended it is raised where it is taken
    maker.start()
    try:
        yield take()
    finally:
        stopped.set()
        maker.join(_STOP_S)
