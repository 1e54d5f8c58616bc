"""A module compiled for the shapes that come every hop; all others run as it is."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


class Compiled(nn.Module):
    """`module`, faster for inputs of the shapes, and the numbers beside, that `warm` was given."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._fast: dict[tuple[torch.Size, *tuple[int, ...]], Callable[..., Tensor]] = {}

    def warm(self, example: Tensor, *numbers: int) -> bool:
        """Compile for the shape of `example` and these numbers; whether it could be.

        Takes tens of seconds, or one where an earlier process has left the result in the cache.
        """
        # With CUDA graphs: a small batch is a thousand launches otherwise.
        mode = "reduce-overhead" if example.is_cuda else "default"
        fast = torch.compile(self.module, dynamic=False, mode=mode)
        try:
            for _ in range(3):  # a graph is recorded on the second call
                fast(example, *numbers)
        # Without a C++ compiler, with one that fails, on a shape it does not know: any error.
        except Exception as error:  # noqa: BLE001
            log.warning("not compiled, which is slower: %s", str(error).strip().splitlines()[0])
            return False
        self._fast[example.shape, *numbers] = fast
        return True

    def forward(self, x: Tensor, *numbers: int) -> Tensor:
        """The module's output."""
        fast = self._fast.get((x.shape, *numbers))
        if fast is None:
            made: Tensor = self.module(x, *numbers)
            return made
        out = fast(x, *numbers)
        # A CUDA graph writes its next output to the same place.
        return out.clone() if out.is_cuda else out


def use_cache(folder: Path) -> None:
    """Keep what is compiled in `folder`, unless the environment names another."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
