"""The figures as a Markdown table, and the machine they are of."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from pe_stream.model import cores
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.version import __version__

_CPUINFO = Path("/proc/cpuinfo")


def machine(checkpoint: Checkpoint) -> dict[str, Any]:
    """The machine and versions that the figures depend on."""
    device = checkpoint.device
    return {
        "cpu": _cpu_model(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "usable_cores": cores.available(),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "dtype": str(checkpoint.dtype).removeprefix("torch."),
        "codec_dtype": str(checkpoint.codec_dtype).removeprefix("torch."),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "pe_stream": __version__,
    }


def as_table(made: dict[str, Any]) -> str:
    """Markdown, for the README."""
    machine_, settings = made["machine"], made["settings"]
    where = machine_["gpu"] or machine_["cpu"]
    live, latency, memory = made["live"], made["latency"], made["memory"]
    stages = ", ".join(f"{name} {value:.1f}" for name, value in made["stages_ms"].items())
    tuned = made["ratio"]["tuned"]
    rows = [
        ("plain call, per hop", _spread(made["plain"], "s", 1)),
        ("engine, per hop", _spread(made["engine"], "ms", 1000)),
        ("ratio to plain", _ratio(made["ratio"]["default"])),
        ("ratio to plain, allocator tuned", _ratio(tuned)),
        ("stages (ms)", stages),
        (f"live streams at a hop of {settings['hop_s']:g} s", str(made["live_streams"])),
    ]
    if live["runs"]:
        last = live["runs"][-1]["scoring_ms"]
        times = f"{last['p50']:.0f} / {last['p95']:.0f} / {last['p99']:.0f} ms"
        rows.append(("scoring time then, p50 / p95 / p99", times))
    told = latency["latency_ms"]
    roof = made["roof"]
    rows += [
        (
            f"sound to MQTT at a hop of {latency['hop_s']:g} s, p50 / p99",
            f"{told['p50']:.0f} / {told['p99']:.0f} ms ({latency['events']} events)",
        ),
        ("memory of a stream", f"{memory['device_mb'] + memory['audio_mb']:.2f} MB"),
        (
            f"memory growth in {memory['simulated_s'] / 60:.0f} simulated minutes",
            f"{memory['growth_percent']:.1f} %",
        ),
        (
            "one source without the model",
            f"{made['overhead']['percent_of_a_core']:.2f} % of a core",
        ),
        (
            "roof: matrix product, copy",
            f"{roof['matmul_tflops']:.2f} TFLOP/s, {roof['copy_gb_per_s']:.1f} GB/s",
        ),
        (
            "encoder's share of the roof, 1 stream / batch",
            f"{roof['encoder_percent']:.0f} / {roof['encoder_batch_percent']:.0f} %",
        ),
    ]
    head = (
        f"**{made['model']['description']}**; {where}, {machine_['threads']} of "
        f"{machine_['cores']} cores, window {settings['window_s']:g} s, "
        f"{settings['labels']} labels\n"
    )
    return "\n".join(
        [head, "| what | measured |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
    )


def _spread(told: dict[str, Any], unit: str, scale: float) -> str:
    low, middle, high = (scale * told[key] for key in ("p10", "median", "p90"))
    return f"{middle:.3g} {unit} ({low:.3g} to {high:.3g}, {told['n']} runs)"


def _ratio(told: dict[str, Any]) -> str:
    return f"{told['median']:.1f} ({told['low']:.1f} to {told['high']:.1f})"


def _cpu_model() -> str:
    if _CPUINFO.exists():
        for line in _CPUINFO.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
