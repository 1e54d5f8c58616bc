"""Several processes that train one model: each on one thread, weights averaged now and then.

Threads that share the small products of a small model wait for each other at every one of them,
and on a machine with other work most of all. Processes that each take steps of their own and
average their weights every few dozen steps (local SGD; Stich, ICLR 2019) hardly wait at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.multiprocessing.spawn import spawn

EVERY = 25
"""Steps between averages."""

_LONGEST = timedelta(days=2)
"""That one process waits for another: one makes the mixtures while the others wait."""


class Group:
    """Processes `rank` 0 to `size` - 1, this one among them."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and tells of progress."""
        return self.rank == 0

    @property
    def every(self) -> int:
        """Steps between averages."""
        return EVERY if self.size > 1 else 1

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all processes."""
        if self.size == 1:
            return
        with torch.no_grad():
            flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
            torch.distributed.all_reduce(flat)
            flat /= self.size
            for tensor, part in zip(
                tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True
            ):
                tensor.copy_(part.reshape(tensor.shape))

    def wait(self) -> None:
        """Until all have come here."""
        if self.size > 1:
            torch.distributed.barrier()


def run(size: int, meet: Path, work: Callable[..., None], *arguments: Any) -> None:
    """Call `work(group, *arguments)` in `size` processes, this one for the first of them.

    meet: a file that none has made yet. Raises what `work` raises here; where another process
    ends early, RuntimeError.
    """
    if size == 1:
        work(Group(), *arguments)
        return
    meet.unlink(missing_ok=True)
    others = spawn(_other, (size, meet, work, arguments), nprocs=size - 1, join=False)
    try:
        _join(0, size, meet)
        work(Group(0, size), *arguments)
        while not others.join():
            pass
    finally:
        for process in others.processes:
            process.terminate()
        torch.distributed.destroy_process_group()


def _other(index: int, size: int, meet: Path, work: Callable[..., None], arguments: Any) -> None:
    _join(index + 1, size, meet)
    work(Group(index + 1, size), *arguments)
    torch.distributed.destroy_process_group()


def _join(rank: int, size: int, meet: Path) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{meet.resolve()}", rank=rank, world_size=size, timeout=_LONGEST
    )
