"""What is fast is used only where it is true: cuDNN. (bfloat16: test_checkpoint.py.)"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.codec_layers import Layers
from pe_stream.model.precision import cudnn_is_right

Faulty = Callable[[Callable[[Tensor], None]], None]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Faulty:
    """Make a codec do something to its features while cuDNN is on."""
    on = [True]  # torch without CUDA does not keep it

    @contextmanager
    def flags(*, enabled: bool, allow_tf32: bool) -> Iterator[None]:
        assert not allow_tf32
        on[:] = [enabled]
        yield
        on[:] = [True]

    right = Layers.forward

    def faulty(change: Callable[[Tensor], None]) -> None:
        def forward(self: Layers, samples: Tensor) -> Tensor:
            made = right(self, samples)
            if on[0]:
                change(made)
            return made

        monkeypatch.setattr(torch.backends.cudnn, "flags", flags)
        monkeypatch.setattr(Layers, "forward", forward)

    return faulty


@pytest.mark.heavy  # products in bfloat16 take long where the processor has none
@pytest.mark.parametrize(
    ("wrong", "dtype"),
    [
        (0.0, torch.float32),
        (0.0, torch.bfloat16),
        (1e-5, torch.float32),  # in bfloat16 it is rounded off
        (0.5, torch.float32),
        (0.5, torch.bfloat16),
    ],
)
def test_cudnn_is_trusted_where_it_agrees(
    small: Checkpoint,
    faulty: Faulty,
    caplog: pytest.LogCaptureFixture,
    dtype: torch.dtype,
    wrong: float,
) -> None:
    def change(features: Tensor) -> None:
        features[0, -1, 0] += wrong * features.std()

    faulty(change)
    trusted = wrong < 0.1
    assert cudnn_is_right(small.model, dtype) is trusted
    assert ("wrong results" in caplog.text) is not trusted


def test_a_cudnn_that_fails_is_not_used(
    small: Checkpoint, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Tensor) -> None:
        raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED")

    faulty(fail)
    assert not cudnn_is_right(small.model, torch.float32)
    assert "cuDNN is not used: CUDNN_STATUS_NOT_SUPPORTED" in caplog.text
