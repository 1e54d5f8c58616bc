"""A module compiled for the shapes that come every hop; all others run as it is."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pe_stream.model.reading import first_line

log = logging.getLogger(__name__)


class Compiled(nn.Module):
    """`module`, faster for inputs of the shape, and what is beside it, that `warm` was given.

    Tensors beside it have shapes that follow from the input's shape and the numbers.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._fast: dict[tuple[torch.Size, *tuple[int, ...]], Callable[..., Any]] = {}

    def warm(self, example: Tensor, *beside: int | Tensor) -> bool:
        """Compile for the shapes of `example` and the others, and the numbers; whether it could be.

        Takes tens of seconds, or one where an earlier process has left the result in the cache.
        """
        # Torch's own CUDA graphs belong to the thread that recorded them, which is not the one that
        # scores; ours do not.
        fast = torch.compile(self.module, dynamic=False)
        try:
            with _any_number_of_shapes(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # complex numbers are left as they are: we know
                fast(example, *beside)
                if example.is_cuda:
                    fast = _recorded(fast, example, *beside)
        # Without a C++ compiler, with one that fails, on a shape it does not know: any error.
        except Exception as error:  # noqa: BLE001
            log.warning("not compiled, which is slower: %s", first_line(error))
            return False
        self._fast[_key(example, beside)] = fast
        return True

    def forward(self, x: Tensor, *beside: int | Tensor) -> Any:
        """The module's output."""
        return self._fast.get(_key(x, beside), self.module)(x, *beside)


def _recorded(run: Callable[..., Any], *given: int | Tensor) -> Callable[..., Any]:
    """`run` as a CUDA graph: launched at once instead of kernel by kernel.

    Raises RuntimeError where the graph does not compute what `run` does.
    """
    own = [each.clone() if isinstance(each, Tensor) else each for each in given]
    device = next(each.device for each in own if isinstance(each, Tensor))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device), torch.cuda.graph(graph):
        made = run(*own)

    def replay(*given: int | Tensor) -> Any:
        for to, value in zip(own, given, strict=True):
            if isinstance(to, Tensor) and isinstance(value, Tensor):
                to.copy_(value)
        with torch.cuda.device(device):
            graph.replay()
        # Copies: the next replay overwrites what it made.
        return made.clone() if isinstance(made, Tensor) else tuple(each.clone() for each in made)

    noise = [0.1 * torch.randn_like(each) if isinstance(each, Tensor) else each for each in given]
    found, expected = replay(*noise), run(*noise)
    if not isinstance(found, Tensor):
        found, expected = found[0], expected[0]
    if not (found - expected).float().abs().max() < 0.1 * expected.float().std():
        raise RuntimeError("the recorded graph computes something else")
    return replay


def _key(x: Tensor, beside: tuple[int | Tensor, ...]) -> tuple[torch.Size, *tuple[int, ...]]:
    return x.shape, *(each for each in beside if isinstance(each, int))


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
