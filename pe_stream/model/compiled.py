"""A module compiled for the shapes that come every hop; all others run as it is."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from pe_stream.model.files import first_line

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
        # Not with CUDA graphs: those belong to the thread that recorded them, which is not the one
        # that scores.
        fast = torch.compile(self.module, dynamic=False)
        try:
            with _any_number_of_shapes(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # complex numbers are left as they are: we know
                fast(example, *numbers)
        # Without a C++ compiler, with one that fails, on a shape it does not know: any error.
        except Exception as error:  # noqa: BLE001
            log.warning("not compiled, which is slower: %s", first_line(error))
            return False
        self._fast[example.shape, *numbers] = fast
        return True

    def forward(self, x: Tensor, *numbers: int) -> Tensor:
        """The module's output."""
        fast = self._fast.get((x.shape, *numbers))
        if fast is None:
            made: Tensor = self.module(x, *numbers)
            return made
        return fast(x, *numbers)


@contextmanager
def _any_number_of_shapes() -> Iterator[None]:
    """Torch gives up, in silence, after eight shapes of one module."""
    from torch._dynamo import config

    name = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    with config.patch({name: 1000}):
        yield


def use_cache(folder: Path) -> None:
    """Keep what is compiled in `folder`, unless the environment names another."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
