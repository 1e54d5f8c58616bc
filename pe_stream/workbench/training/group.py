"""Several processes that train one model: each on one thread, weights averaged now and then.

Threads that share the small products of a small model wait for each other at every one of them,
and on a machine with other work most of all. Processes that each take steps of their own and
average their weights every few dozen steps (local SGD; Stich, ICLR 2019) hardly wait at all.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.multiprocessing.spawn import ProcessContext, ProcessException, spawn

from pe_stream.config.worker import Worker

EVERY = 25
"""Steps between averages."""

_LONGEST = timedelta(days=2)
"""Longest wait of one process for another: one makes the mixtures while the others wait."""

_PARTING_S = 5.0
"""For a process that has hung up to end, and to say why."""


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

    meet: a file that no process holds. Raises what `work` raises here; where another process
    ends early, RuntimeError with what is known of why.
    """
    if size == 1:
        work(Group(), *arguments)
        return
    meet.unlink(missing_ok=True)
    threads = torch.get_num_threads()
    others = spawn(_other, (size, meet, work, arguments), nprocs=size - 1, join=False)
    try:
        _join(0, size, meet, lambda: all(process.is_alive() for process in others.processes))
        work(Group(0, size), *arguments)
        while not others.join():
            pass
    except (RuntimeError, ProcessException) as error:
        # Most likely somebody has hung up on us; the reason is in the other process.
        raise RuntimeError(_why(others, error)) from error
    finally:
        for process in others.processes:
            process.terminate()
            process.join()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)


def end_with_parent() -> None:
    """From now on, end this process, which another spawned, as soon as that one has ended.

    However it ended: one that is killed tells nobody, and signals may be ignored.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - for spawned processes only

    def watch() -> None:
        parent.join()
        os._exit(1)

    Worker("parent", watch, lambda _: os._exit(1)).start()


def _why(others: ProcessContext, error: Exception) -> str:
    try:
        others.join(timeout=_PARTING_S)
    except ProcessException as first:
        return str(first)
    return str(error)


def _other(index: int, size: int, meet: Path, work: Callable[..., None], arguments: Any) -> None:
    end_with_parent()
    _join(index + 1, size, meet, lambda: True)
    work(Group(index + 1, size), *arguments)
    torch.distributed.destroy_process_group()


def _join(rank: int, size: int, meet: Path, alive: Callable[[], bool]) -> None:
    """Wait until all are here, while `alive`; in torch's own wait nobody sees that one has died."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    store = torch.distributed.FileStore(  # type: ignore[attr-defined]
        str(meet.resolve()), size
    )
    store.set(f"here {rank}", "")
    while not store.check([f"here {other}" for other in range(size)]):
        if not alive():
            raise RuntimeError("a process ended before it began")
        time.sleep(0.05)
    torch.distributed.init_process_group(
        "gloo", store=store, rank=rank, world_size=size, timeout=_LONGEST
    )
