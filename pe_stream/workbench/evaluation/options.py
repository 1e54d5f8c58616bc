"""What `pe-stream eval` was asked for, and the command line that asks for it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from pe_stream.workbench.evaluation.promptset import Name, Phrasing

STDOUT = "-"
"""`--json -`: JSON instead of the table."""


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """What the user asked for; see `pe-stream eval --help`."""

    folder: Path
    checkpoint: str | None = None
    set: Name = "everyday"
    prompts: Path | None = None
    phrasing: Phrasing = "plain"
    datasets: tuple[str, ...] = ()
    folds: tuple[str, ...] = ()
    threshold: float | None = None
    json: str | None = None
    plot: Path | None = None
    peer: Path | None = None
    threads: int | None = None
    hop_s: float | None = None
    calibration: int | None = None
    seed: int = 0


FLAGS = {
    "checkpoint": "--checkpoint",
    "set": "--set",
    "prompts": "--prompts",
    "phrasing": "--phrasing",
    "datasets": "--dataset",
    "folds": "--fold",
    "threshold": "--threshold",
    "json": "--json",
    "plot": "--plot",
    "peer": "--peer",
    "hop_s": "--hop",
    "threads": "--threads",
    "calibration": "--calibration",
    "seed": "--seed",
}
"""By field of EvalOptions."""


def command_line(options: EvalOptions) -> str:
    """What to type to a shell for these options; those left at their default are not in it."""
    usual = EvalOptions(options.folder)
    words = ["pe-stream", "eval", str(options.folder)]
    for field, flag in FLAGS.items():
        value = getattr(options, field)
        if value != getattr(usual, field):
            words += [flag, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)
