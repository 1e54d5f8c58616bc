"""The model as transformers ships it, on the whole window, in a process of its own.

`measure` starts this module as that process (`python -m pe_stream.workbench.bench.plain`), so that
neither the engine's allocator settings nor its memory pools help or hinder the plain call. The
weights are random there: only shapes matter to the time.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import PeAudioFrameLevelModel

from pe_stream.core.types import FRAME
from pe_stream.errors import UnavailableError
from pe_stream.workbench.bench.shapes import config

TUNED = (
    "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4294967296:glibc.malloc.top_pad=67108864"
)
"""Allocator settings (GLIBC_TUNABLES) that keep freed memory: tensors of 123 MB fault once."""

_ALLOCATOR = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Environment variables, by their beginnings, that change the allocator."""


@dataclass(frozen=True, slots=True)
class TimingJob:
    """Job of the timing process: `runs` runs after one that does not count.

    audio: the audio encoder's configuration; window: frames.
    """

    audio: dict[str, Any]
    text_width: int
    window: int
    labels: int
    runs: int
    threads: int
    device: str


@dataclass(frozen=True, slots=True)
class Plain:
    """times_s: one for each run; peak_mb: the most memory the process held."""

    times_s: list[float]
    peak_mb: float


def measure(job: TimingJob, *, tuned: bool) -> Plain:
    """Time the plain call, in float32; raises UnavailableError where it cannot be run.

    tuned: with TUNED instead of the C library's own allocator settings.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith(_ALLOCATOR)}
    if tuned:
        environment["GLIBC_TUNABLES"] = TUNED
    done = subprocess.run(
        [sys.executable, "-m", "pe_stream.workbench.bench.plain"],
        input=json.dumps(asdict(job)),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UnavailableError(f"the plain call could not be run: {said[-1]}")
    return Plain(**json.loads(done.stdout.splitlines()[-1]))


def run(job: TimingJob) -> Plain:
    """Time it in this process."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    model = PeAudioFrameLevelModel(config(job.audio, job.text_width)).eval().to(job.device)
    labels = torch.randn(job.labels, job.text_width, device=job.device)
    times_s = []
    with torch.inference_mode():
        for _ in range(job.runs + 1):
            samples = torch.randn(1, 1, job.window * FRAME)
            began_s = time.perf_counter()
            states = model.audio_encoder(input_values=samples.to(job.device)).last_hidden_state
            logits = model.audio_head(states) @ labels.T * model.text_audio_logit_scale
            (logits + model.text_audio_logit_bias).sigmoid().cpu()
            times_s.append(time.perf_counter() - began_s)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Plain(times_s[1:], peak / (2**20 if sys.platform == "darwin" else 2**10))


if __name__ == "__main__":
    print(json.dumps(asdict(run(TimingJob(**json.load(sys.stdin))))))
