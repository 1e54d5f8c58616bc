"""Find the numbers of the logarithm made of Snakes, and write them down.

    python -m pe_stream.workbench.training.fit_logarithm

It takes minutes, and writes `logarithm.yaml` for `pe_stream.workbench.training.logarithm`. Layer
after layer is fitted to its saturating curve; then all of them together, by
Levenberg and Marquardt's method, to the logarithm; then groups of weights are rounded to fp16 one
after the other, and what is not rounded yet makes up for each.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.workbench.training.levenberg_marquardt import levenberg
from pe_stream.workbench.training.logarithm import FILE, Logarithm, snake

log = logging.getLogger(__name__)

RATIOS = (16.0, 9.0, 16.0, 9.0, 20.0, 14.0, 4.0)
"""How much further down each layer's curve reaches than the one before, as energy."""

QUIETEST, LOUDEST = 3e-10, 2.0
"""Energies to fit for: a full-scale sine has 1, the features' floor is 1e-8.

2 is what squares made of sines reach at most (`logarithm.SQUARE`): beyond the range of the fit, the
sum of Snakes is no logarithm but rises by powers of ten.
"""

STEPS = 320
"""Steps of the fit of all layers together."""

_LOUDER = 16.0
"""Gain of the next unit's curve over the one before it in the same channel."""

_KEPT = ("second_alpha_in", "third_alpha_in")
"""Snakes whose fourth channel, the sum so far, is passed; as it is, and not changed."""

_PASS = 1e-3
_NAMES = tuple(field.name for field in fields(Logarithm))


@dataclass(frozen=True)
class SaturatingCurve:
    """A weighted sum of Snakes. out, alpha, shift: (n,); offset: its value at 0."""

    out: Tensor
    alpha: Tensor
    shift: Tensor
    offset: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The sum at each x (...)."""
        bent = snake(x[..., None] + self.shift, self.alpha) - snake(self.shift, self.alpha)
        return (bent * self.out).sum(-1) + self.offset

    @property
    def bias(self) -> Tensor:
        """Constant to add to the sum of Snakes of x + shift."""
        return self.offset - snake(self.shift, self.alpha) @ self.out


def curve(
    x: Tensor, wanted: Tensor, count: int, generator: torch.Generator, *, shifts: bool
) -> SaturatingCurve:
    """The best of several of `count` Snakes for `wanted` (n,) at `x` (n,).

    shifts: whether Snakes may be shifted; else the curve is exactly 0 at 0.
    """

    def made(weights: Tensor) -> SaturatingCurve:
        out, alpha, shift = weights[:-1].reshape(3, count)
        return SaturatingCurve(out, alpha, shift, weights[-1])

    def value(weights: Tensor, point: Tensor) -> Tensor:
        return made(weights)(point[0]) * point[1]

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    heavier = 0.15 / wanted.clamp(0.05, 0.15)  # the slope at 0 is the next layers' level
    points, aim = torch.stack([x, heavier], 1), wanted * heavier
    decay = 1e-4 * float(x.max() / wanted.max())
    best, least = torch.zeros(0), math.inf
    for _ in range(12):
        alpha = (draw(0, 1.9) * torch.arange(1, count + 1) + 0.15) / x.max()
        alpha = torch.where(draw(0, 3) < 2, -alpha, alpha)
        shift = draw(-math.pi, math.pi) / (2 * alpha) if shifts else torch.zeros(count)
        weights = torch.cat([draw(-4, 4), alpha, shift, torch.zeros(1)])
        free = torch.arange(3 * count + 1 if shifts else 2 * count)
        weights, error = levenberg(
            value, weights, free, lambda: (points, aim), steps=70, decay=decay
        )
        if error < least:
            best, least = weights, error
    log.info("%d Snakes: error %.3f of the curve's height", count, least)
    return made(best)


def first_guess(seed: int) -> Logarithm:
    """Layer by layer: three channels carry the newest curve, the fourth the sum so far."""
    generator = torch.Generator().manual_seed(seed)
    energy = torch.logspace(-9, math.log10(LOUDEST), 400)
    levels = torch.tensor([1.0, *RATIOS]).cumprod(0).reciprocal()

    def saturating(layer: int) -> Tensor:
        return energy / (energy + levels[layer])

    def so_far(layer: int) -> Tensor:
        return torch.log(energy + levels[layer])

    def next_curve(x: Tensor, layer: int, count: int) -> SaturatingCurve:
        # The rounding of a bias in the first layers would drown what is quiet.
        return curve(x, saturating(layer), count, generator, shifts=layer > 4)

    passed = torch.tensor([_PASS])
    made = next_curve(energy / 2, 1, 4)
    bent = snake(energy[:, None] / 2, made.alpha)
    total, offset = _least_squares(bent, so_far(1))
    first = made.alpha, torch.stack([made.out] * 3 + [total]), _fourth(offset)
    state = bent @ first[1].T + first[2]

    into = next_curve(state[:, 0], 2, 3)
    second_in = torch.cat([into.alpha, passed])
    seen = snake(state, second_in)[:, :3] @ into.out
    made = next_curve(seen, 3, 4)
    bent = snake(seen[:, None], made.alpha)
    total, offset = _least_squares(bent, so_far(3) - state[:, 3])
    second = made.alpha, torch.stack([_LOUDER * made.out] * 3 + [total]), _fourth(offset)
    second_into = _padded(into.out.expand(4, 3))
    state = state + bent @ second[1].T + second[2]

    loud = state[:, 0] / _LOUDER
    into = next_curve(loud, 4, 3)
    third_in = torch.cat([into.alpha / _LOUDER, passed])
    seen = snake(state, third_in)[:, :3] @ into.out / _LOUDER
    made = next_curve(seen, 5, 4)
    bent = snake(seen[:, None] + made.shift, made.alpha)
    total, offset = _least_squares(bent, so_far(5) - state[:, 3])
    louder = _LOUDER**2
    newest = bent @ made.out + made.bias
    last = next_curve(state[:, 0] / louder + newest, 6, 3)
    third_bias = louder * (last.shift + made.bias)
    third = (
        made.alpha,
        torch.stack([louder * made.out] * 3 + [total]),
        torch.cat([third_bias, offset[None]]),
    )
    third_into, third_into_bias = _padded(into.out.expand(4, 3) / _LOUDER), made.shift
    state = state + bent @ third[1].T + third[2]

    last_in = torch.cat([last.alpha / louder, passed])
    bent = snake(state, last_in)
    seen = last(state[:, 0] / louder - last.shift[0])
    ends = next_curve(seen, 7, 1)
    part, constant = _least_squares(bent[:, :3] / louder, seen)
    part = part / louder
    last_into = torch.stack([torch.cat([part, passed]), torch.cat([part, torch.ones(1)])])
    last_bias = torch.stack([constant + ends.shift[0], constant])
    last_alpha = torch.cat([ends.alpha, torch.tensor([0.02])])
    inner = snake(bent @ last_into.T + last_bias, last_alpha)
    last_out, offset = _least_squares(inner, _wanted(energy))
    return Logarithm(
        *first, second_in, second_into, *second,
        third_in, third_into, third_into_bias, *third,
        last_in, last_into, last_bias, last_alpha, last_out, offset[None],
    )  # fmt: skip


def _least_squares(columns: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (n,) and constant for `wanted`; small ones, which fp16 rounds little."""
    rows = torch.cat([columns, torch.ones(len(columns), 1)], 1)
    ridge = 4e-8 * torch.eye(rows.shape[1])
    ridge[-1, -1] = 0
    count = len(rows)
    solution = torch.linalg.solve(rows.T @ rows / count + ridge, rows.T @ wanted / count)
    return solution[:-1], solution[-1]


def _fourth(value: Tensor) -> Tensor:
    return F.pad(value[None], (3, 0))


def _padded(rows: Tensor) -> Tensor:
    return F.pad(rows, (0, 1))  # nothing from the fourth channel


def _wanted(energy: Tensor) -> Tensor:
    return (10 * torch.log10(energy + 1e-8) + 50) / 15


def flat(made: Logarithm) -> Tensor:
    """All numbers, in their order."""
    return torch.cat([getattr(made, name).flatten() for name in _NAMES])


def like(weights: Tensor, shapes: Logarithm) -> Logarithm:
    """The inverse of `flat`."""
    sizes = [getattr(shapes, name).shape for name in _NAMES]
    parts = weights.split([size.numel() for size in sizes])
    return Logarithm(*(part.reshape(size) for part, size in zip(parts, sizes, strict=True)))


def error_db(made: Logarithm) -> float:
    """RMS error over all levels."""
    energy = torch.logspace(math.log10(QUIETEST), math.log10(LOUDEST), 5001)
    return 15 * float((made(energy) - _wanted(energy)).square().mean().sqrt())


def fitted(guess: Logarithm, seed: int, *, steps: int, settle: int) -> Logarithm:
    """All layers together, then rounded to fp16 group by group, with `settle` steps after each."""
    generator = torch.Generator().manual_seed(seed)

    def sample() -> tuple[Tensor, Tensor]:
        even = (torch.arange(600) + torch.rand(600, generator=generator)) / 600
        energy = QUIETEST * (LOUDEST / QUIETEST) ** even
        return energy, _wanted(energy)

    def value(weights: Tensor, energy: Tensor) -> Tensor:
        return like(weights, guess)(energy[None])[0]

    weights = flat(guess)
    numbered = like(torch.arange(len(weights)), guess)
    kept = {int(getattr(numbered, name)[3]) for name in _KEPT}
    # What is 0 stays so: the first layers' biases, and the sum so far where curves are bent.
    free = {i for i in range(len(weights)) if weights[i] != 0 and i not in kept}
    weights, _ = levenberg(value, weights, torch.tensor(sorted(free)), sample, steps=steps)
    log.info("all together: %.3f dB", error_db(like(weights, guess)))
    for group in _groups(numbered):
        if not weights[group].any():
            continue
        free -= set(group.tolist())
        best, least = weights, math.inf
        for rounded in _ways(weights[group]):
            tried = weights.clone()
            tried[group] = rounded
            if free:
                left = torch.tensor(sorted(free))
                tried, _ = levenberg(value, tried, left, sample, steps=settle)
            if (found := error_db(like(tried, guess))) < least:
                best, least = tried, found
        weights = best
        log.info("%d left to round: %.3f dB", len(free), least)
    return like(weights, guess)


def _groups(numbered: Logarithm) -> Iterator[Tensor]:
    """Indices to round together, first layers first; biases, which matter most, one by one."""
    sums: list[Tensor] = []
    for name in _NAMES:
        index = getattr(numbered, name)
        if name in {"first_out", "second_out", "third_out"}:
            sums.append(index[3])
            index = index[:3]
        elif name in {"first_bias", "second_bias", "third_bias"}:
            sums.append(index[3:])
            index = index[:3]
        if name == "last_alpha_in":
            yield torch.cat(sums)
        yield from index.split(1) if "bias" in name else (index.flatten(),)


def _ways(values: Tensor) -> Sequence[Tensor]:
    """`values` in fp16; of a single one, both neighbours."""
    near = values.half()
    if values.numel() > 1:
        return [near.double()]
    towards = torch.where(near.double() > values, -math.inf, math.inf).half()
    return [near.double(), torch.nextafter(near, towards).double()]


def written(made: Logarithm) -> str:
    """As YAML: a line for each row of numbers."""
    lines = ["# Written by `python -m pe_stream.workbench.training.fit_logarithm`."]
    for name in _NAMES:
        rows = getattr(made, name).tolist()
        if isinstance(rows[0], list):
            lines += [f"{name}:", *(f"  - {json.dumps(row)}" for row in rows)]
        else:
            lines.append(f"{name}: {json.dumps(rows)}")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Fit from a few first guesses, and write the best down."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_default_dtype(torch.float64)
    made = (fitted(first_guess(seed), seed, steps=STEPS, settle=25) for seed in range(3))
    best = min(made, key=error_db)
    FILE.write_text(written(best), "utf-8")
    log.info("%s: %.3f dB", FILE, error_db(best))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
