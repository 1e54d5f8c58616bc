"""Peak rates of the device: matrix products and copies, as torch does them."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_BUDGET_S = 1.0


def measure(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """matmul_tflops in `dtype`, and copy_gb_per_s (bytes read and written)."""
    on_gpu = device.type == "cuda"
    side = 8192 if on_gpu else 2048
    a = torch.randn(side, side, device=device).to(dtype)
    b, product = a.T.contiguous(), torch.empty_like(a)
    values = torch.ones((1024 if on_gpu else 64) * 2**20 // 4, device=device)
    copied = torch.empty_like(values)
    with torch.inference_mode():
        product_s = _best_s(lambda: torch.matmul(a, b, out=product), device)
        copy_s = _best_s(lambda: copied.copy_(values), device)
    return {
        "matmul_tflops": 2 * side**3 / product_s / 1e12,
        "copy_gb_per_s": 2 * values.nbytes / copy_s / 1e9,
    }


def settle(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _best_s(work: Callable[[], object], device: torch.device) -> float:
    """The shortest time of `work`, over about a second of tries."""
    best_s, until_s = float("inf"), time.perf_counter() + _BUDGET_S
    work()
    settle(device)
    while time.perf_counter() < until_s:
        began_s = time.perf_counter()
        work()
        settle(device)
        best_s = min(best_s, time.perf_counter() - began_s)
    return best_s if best_s < float("inf") else _BUDGET_S
