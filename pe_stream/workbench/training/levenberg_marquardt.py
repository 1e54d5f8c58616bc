"""Levenberg and Marquardt's method, for sums of few weights over points drawn again and again."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, vmap

Sample = Callable[[], tuple[Tensor, Tensor]]
"""Draws points (n,), and what is wanted there (n,)."""


def levenberg(
    function: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor,
    free: Tensor,
    sample: Sample,
    *,
    steps: int,
    decay: float = 0.0,
) -> tuple[Tensor, float]:
    """Fit the `free` ones (indices) of `weights` (n,); returns all of them, and the error (RMS).

    function: of weights and one point, a number. sample: points and what is wanted there; drawn
    again every ten steps, so that nothing is fitted between them. decay: of the first third of
    `free`, as a penalty.
    """
    values, slopes = vmap(function, (None, 0)), vmap(grad(function), (None, 0))
    penalty = torch.zeros(len(free)).double()
    penalty[: len(free) // 3] = decay**2
    damping, cost = 1e-2, math.inf
    for step in range(steps):
        if step % 10 == 0:
            points, wanted = sample()
        error = values(weights, points) - wanted
        slope = slopes(weights, points)[:, free]
        cost = float(error.square().mean() + (penalty * weights[free].square()).sum())
        curvature = slope.T @ slope / len(points) + penalty.diag()
        downhill = slope.T @ error / len(points) + penalty * weights[free]
        scale = (curvature.diag() + 1e-14).rsqrt()
        curvature = curvature * scale[:, None] * scale
        for _ in range(7):
            damped = curvature + damping * torch.eye(len(free))
            tried = weights.clone()
            tried[free] -= scale * torch.linalg.solve(damped, scale * downhill)
            error = values(tried, points) - wanted
            found = float(error.square().mean() + (penalty * tried[free].square()).sum())
            if found < cost:
                weights, damping, cost = tried, max(damping / 3, 1e-10), found
                break
            damping = min(4 * damping, 1e8)
        else:
            if len(free) < 20:  # a layer by itself: no better one is near
                break
    return weights, math.sqrt(cost)
