"""A module compiled for some shapes: the same values, and a way on where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pe_stream.core.types import FRAME, Window
from pe_stream.core.windows import Framing
from pe_stream.model import compiled
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.codec import Stream
from pe_stream.model.compiled import Compiled
from pe_stream.model.engine import Engine
from pe_stream.model.prompts import LabelPrompts, embed_labels

pytestmark = pytest.mark.heavy


class Last(nn.Module):
    """The sines of the last `count` columns."""

    def forward(self, x: Tensor, count: int) -> Tensor:
        return x[:, -count:].sin() * 2 + 1


def test_warmed_shapes_run_compiled_and_others_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[torch.Size] = []

    def compile_(module: nn.Module, **options: Any) -> Any:
        assert options["dynamic"] is False

        def fast(x: Tensor, *numbers: int) -> Any:
            runs.append(x.shape)
            return module(x, *numbers)

        return fast

    monkeypatch.setattr(torch, "compile", compile_)
    module = Compiled(Last())
    assert module.warm(torch.zeros(2, 5), 3)
    runs.clear()
    x = torch.randn(2, 5)
    assert torch.equal(module(x, 3), Last()(x, 3))
    assert runs == [(2, 5)]
    assert module(x, 2).shape == (2, 2)
    assert module(torch.randn(1, 5), 3).shape == (1, 3)
    assert runs == [(2, 5)]


def test_without_a_compiler_it_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> Any:
        def fails(*_: object) -> None:
            raise RuntimeError("no C++ compiler\nand much more")

        return fails

    monkeypatch.setattr(torch, "compile", broken)
    module = Compiled(Last())
    assert not module.warm(torch.zeros(2, 5), 3)
    assert "not compiled, which is slower: no C++ compiler" in caplog.text
    assert "much more" not in caplog.text
    assert module(torch.zeros(2, 5), 3).shape == (2, 3)


@pytest.mark.timeout(400)  # the compiler has a C++ compiler make each kernel
def test_a_compiled_engine_scores_the_same(small: Checkpoint, tmp_path: Path) -> None:
    """With the real compiler, on the shapes of every hop."""
    labels = embed_labels(small, {"speech": LabelPrompts(("speech",))})
    plain, fast = Engine(small, labels), Engine(small, labels)
    framing = Framing(window=20, hop=2, lookahead=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is put back afterwards
        patch.delenv("TORCHINDUCTOR_CACHE_DIR")
        compiled.use_cache(tmp_path)
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
        fast.warm(framing, 1)
    assert any(tmp_path.rglob("*.so"))
    ran = [count_runs(part) for part in (fast._codec._fast, fast._encoder)]
    audio = np.random.default_rng(0).normal(0, 0.1, 26 * FRAME).astype(np.float32)
    streams = Stream(), Stream()
    for start in (0, 2, 4):
        window = Window(start * FRAME, audio[start * FRAME : (start + 20) * FRAME], done=17)
        [expected] = plain.logits([streams[0]], [window])
        [found] = fast.logits([streams[1]], [window])
        assert found.shape == (3, 1)
        assert abs(found - expected).max() < 1e-3 * expected.std()
    # The codec of the second and third window, the encoder of all.
    assert [len(each) for each in ran] == [2, 3]


def count_runs(module: Compiled) -> list[int]:
    """Grows with every call that runs compiled."""
    ran: list[int] = []
    for key, fast in module._fast.items():

        def counted(*given: Any, fast: Any = fast) -> Any:
            ran.append(1)
            return fast(*given)

        module._fast[key] = counted
    return ran


FAULTS = """
import resource, threading, torch
from pe_stream.model.malloc import keep_freed_memory
assert keep_freed_memory()
torch.set_num_threads(1)
faults = []
def work():
    for _ in range(30):
        torch.zeros(30_000_000).add_(1)  # 120 MB
        faults.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt)
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(faults[-1] - faults[-6])
"""


def test_freed_memory_is_kept_in_every_thread() -> None:
    """Tensors of 120 MB, one after another, take no page from the kernel after the first ones."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 1000  # of 30,000 pages each
