"""The process whose steps `bench --start` tells: the daemon's own, as far as the first hop.

What it imports at its top is part of the first step, so that is little.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any


def used(proc: Path, pid: int | str) -> tuple[float, float]:
    """Processor time (s), with that of children that have ended, and memory (MB) of a process."""
    fields = (proc / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    pages = int((proc / str(pid) / "statm").read_text().split()[1])
    ticks = sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK"), pages * resource.getpagesize() / 2**20


def main() -> None:
    """Take the steps and print them. Arguments: the configuration, and when this began (UTC, s)."""
    steps: list[dict[str, Any]] = []
    since = [0.0, float(sys.argv[2])]

    def done(step: str) -> None:
        spent_s, memory_mb = used(Path("/proc"), "self")
        now = [spent_s, time.time()]
        cpu_s, wall_s = (one - other for one, other in zip(now, since, strict=True))
        steps.append({"step": step, "cpu_s": cpu_s, "wall_s": wall_s, "resident_mb": memory_mb})
        since[:] = now

    done("Python, numpy")
    importlib.import_module("torch")
    done("torch")
    from pe_stream.config.file import load

    settings = load(Path(sys.argv[1]))
    done("configuration")
    from pe_stream.pipeline.scorer import prepare

    done("what hears: modules")
    scorer = prepare(settings.model, settings.labels, lasting=True)
    done("what hears: checkpoint and labels")
    import numpy as np

    from pe_stream.core.types import FRAME, Window
    from pe_stream.model.codec import Stream

    silence = np.zeros(settings.model.hop_frames * FRAME, np.float32)
    scorer.engine.hear([Stream()], [Window(0, silence)])
    done("first hop")
    print(json.dumps(steps))


if __name__ == "__main__":
    main()
