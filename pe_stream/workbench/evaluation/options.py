"""Arguments of `pe-stream eval`, and the command line that gives them."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from pe_stream.workbench import argument_types as types
from pe_stream.workbench.arguments import CONFIGS, config_option, flag, option, positional

STDOUT = "-"
"""`--json -`: JSON instead of the table."""

SetName = Literal["everyday", "esc50"]
Phrasing: TypeAlias = Literal["plain", "unseen"] | int
"""`plain`; `unseen`: all other words of a label, their embeddings averaged; N: the Nth of them."""


@dataclass(frozen=True, slots=True)
class EvalOptions:
    """Arguments of `eval`; see `pe-stream eval --help`."""

    folder: Path | None = field(
        default=None,
        metadata=positional(
            nargs="?",
            default=None,  # argparse would make a Path of what stands for none
            type=Path,
            metavar="FOLDER",
            help="with a manifest.csv; without it, --second-opinion is on marked events",
        ),
    )
    checkpoint: str | None = field(
        default=None, metadata=option(help="embedded, a hub id, or a folder")
    )
    set: SetName = field(
        default="everyday", metadata=option(group="labels", choices=get_args(SetName))
    )
    prompts: Path | None = field(
        default=None,
        metadata=option(group="labels", type=Path, metavar="FILE", help="labels of your own: YAML"),
    )
    phrasing: Phrasing = field(
        default="plain",
        metadata=option(
            type=types.phrasing,
            metavar="plain|unseen|N",
            help="the prompt; all other words for it, averaged; or the Nth of these",
        ),
    )
    datasets: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "--dataset",
            nargs="+",
            metavar="NAME",
            help="only of these; a clip that several have is taken from the first",
        ),
    )
    folds: tuple[str, ...] = field(
        default=(), metadata=option("--fold", nargs="+", metavar="F", help="only of these")
    )
    threshold: float | None = field(
        default=None, metadata=option(type=types.threshold, help="for every label and system")
    )
    json: str | None = field(
        default=None, metadata=option(metavar="FILE", help="all figures; - instead of the table")
    )
    plot: Path | None = field(
        default=None,
        metadata=option(type=Path, metavar="FOLDER", help="write curves and scores"),
    )
    peer: Path | None = field(
        default=None,
        metadata=option(
            type=Path, metavar="FOLDER", help="with yamnet.tflite, mn04_as.onnx or both"
        ),
    )
    hop_s: float | None = field(
        default=None,
        metadata=option(
            "--hop",
            type=float,
            metavar="SECONDS",
            help="between scorings; more than the default 0.48 is faster, and less like live",
        ),
    )
    threads: int | None = field(
        default=None, metadata=option(type=types.between(1, 1024), metavar="N", help="of the CPU")
    )
    calibration: int | None = field(
        default=None,
        metadata=option(
            type=types.between(2, 24),
            metavar="HOURS",
            help="instead: mix so many hours (2 to 24) from the clips, calibrate thresholds in "
            "each, and judge them in the others",
        ),
    )
    seed: int = field(default=0, metadata=option(type=types.seed, help="of these hours; default 0"))
    second_opinion: str | None = field(
        default=None,
        metadata=option(
            metavar="CHECKPOINT",
            help="whether a PE-AV checkpoint tells right events from false ones",
        ),
    )
    config: Path | None = field(
        default=None, metadata=config_option(f"whose marked events; default: {CONFIGS}")
    )


def given_beside(options: EvalOptions, known: Collection[str]) -> list[str]:
    """The options, as on the command line, that are given and not among the fields `known`."""
    return [
        flag(each) or each.name
        for each in fields(options)
        if each.name not in known and getattr(options, each.name) != each.default
    ]


def command_line(options: EvalOptions) -> str:
    """The shell command for these options; those left at their default are not in it."""
    words = ["pe-stream", "eval", *([] if options.folder is None else [str(options.folder)])]
    for each in fields(options):
        long, value = flag(each), getattr(options, each.name)
        if long is not None and value != each.default:
            words += [long, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)
