"""What a second opinion costs: processor time, memory, and disk, in a process of its own.

`measure` starts this module as that process (`python -m pe_stream.workbench.bench.opinions`), so
that the memory is that of an opinion alone. Sound and pictures are random: only sizes matter.
"""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pe_stream.core.opinion import OpinionTexts
from pe_stream.core.types import FRAME, SAMPLE_RATE
from pe_stream.errors import UnavailableError
from pe_stream.model.checkpoint import resolve_device
from pe_stream.model.precision import fast_dtype
from pe_stream.model.second_opinion import OpinionModel, load_opinion_model
from pe_stream.workbench.bench import random_weights
from pe_stream.workbench.bench.options import BenchOptions
from pe_stream.workbench.bench.shapes import SIZES, TOWER

SECONDS, PICTURES = 8.0, 8
"""What an opinion is on by default."""

_DEFAULT = "small"
_PICTURE = (720, 1280, 3)
_TEXTS = OpinionTexts(("a dog barking",), ("a dog",), ("a cat",))


@dataclass(frozen=True, slots=True)
class OpinionJob:
    """Job of the process: so many runs after one that does not count."""

    checkpoint: str
    device: str
    dtype: str
    threads: int
    runs: int


def measure(options: BenchOptions) -> dict[str, Any]:
    """The figures; raises UnavailableError where the checkpoint cannot be used."""
    with _checkpoint(options) as (name, dtype):
        threads = options.threads or 1
        job = OpinionJob(name, options.device, dtype, threads, options.runs)
        done = subprocess.run(
            [sys.executable, "-m", "pe_stream.workbench.bench.opinions"],
            input=json.dumps(asdict(job)),
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            check=False,
        )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UnavailableError(f"no second opinion could be given: {said[-1]}")
    return {
        "command": shlex.join(sys.argv),
        "model": options.checkpoint or f"{options.size or _DEFAULT}, random weights",
        "seconds": SECONDS,
        "threads": threads,
        **json.loads(done.stdout.splitlines()[-1]),
    }


def as_table(made: dict[str, Any]) -> str:
    """Markdown."""
    rows = [
        ("weights on disk", f"{made['disk_mb']:.0f} MB"),
        ("memory once loaded, sound alone", f"{made['loaded_mb']:.0f} MB"),
    ]
    for key in ("sound", "pictures"):
        if (told := made[key]) is not None:
            of = f", {told['count']} pictures" if told["count"] else " of sound"
            time_s = f"{told['cpu_s']:.2f} CPU-s, {told['wall_s']:.2f} s"
            rows.append((f"an opinion on {made['seconds']:g} s{of}", time_s))
            rows.append(("most memory by then", f"{told['peak_mb']:.0f} MB"))
    head = f"**Second opinion, {made['model']}**; {made['dtype']} on {made['device']}, "
    head += f"threads: {made['threads']}\n"
    return "\n".join(
        [head, "| what | measured |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
    )


def run(job: OpinionJob) -> dict[str, Any]:
    """Measure in this process."""
    model = load_opinion_model(
        job.checkpoint, _TEXTS.every, device=job.device, dtype=job.dtype, threads=job.threads
    )
    loaded_mb = _peak_mb()
    chance = np.random.default_rng(0)
    sound = chance.normal(0, 0.1, round(SECONDS * SAMPLE_RATE) // FRAME * FRAME)
    samples = sound.astype(np.float32)
    picture = chance.integers(0, 256, _PICTURE, np.uint8)

    def hear(_: int) -> None:
        model.judge(model.embed(samples), _TEXTS)

    def look(number: int) -> None:
        shown = [model.square(picture, (number, i)) for i in range(PICTURES)]  # new ones each time
        model.judge(model.embed(samples, shown), _TEXTS)

    return {
        "device": job.device,
        "dtype": job.dtype,
        "disk_mb": model.bytes_on_disk / 1e6,
        "loaded_mb": loaded_mb,
        "sound": _timed(hear, job.runs, 0),
        "pictures": _seen(model, look, job.runs),
    }


def _seen(model: OpinionModel, look: Callable[[int], None], runs: int) -> dict[str, Any] | None:
    if not model.sees:
        return None
    model.see()
    return _timed(look, runs, PICTURES)


def _timed(give: Callable[[int], None], runs: int, count: int) -> dict[str, Any]:
    """Medians of `runs`."""
    spent, took = [], []
    for number in range(runs + 1):
        cpu_s, wall_s = time.process_time(), time.monotonic()
        give(number)
        spent.append(time.process_time() - cpu_s)
        took.append(time.monotonic() - wall_s)
    return {
        "count": count,
        "cpu_s": float(np.median(spent[1:])),
        "wall_s": float(np.median(took[1:])),
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


@contextmanager
def _checkpoint(options: BenchOptions) -> Iterator[tuple[str, str]]:
    """Name and number format of what was asked for; a size is made, with random weights."""
    if options.checkpoint is not None:
        yield options.checkpoint, options.dtype
        return
    dtype = options.dtype
    if dtype == "auto":  # random weights cannot tell whether trained ones bear rounding
        dtype = str(fast_dtype(resolve_device(options.device))).removeprefix("torch.")
    with random_weights.pe_av_folder(SIZES[options.size or _DEFAULT], TOWER) as folder:
        yield str(folder), dtype


if __name__ == "__main__":
    print(json.dumps(run(OpinionJob(**json.load(sys.stdin)))))
