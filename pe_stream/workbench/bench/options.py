"""What `pe-stream bench` was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pe_stream.workbench import argument_types as types
from pe_stream.workbench.arguments import option, switch

EMBEDDED = "embedded"

STDOUT = "-"
"""`--json -`: JSON instead of the table."""


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """Arguments of `bench`; see `pe-stream bench --help`.

    bulk: files to read, none for the bundled one; None: everything else is measured.
    streams: no more than so many are tried; None: as many as there is room for.
    seconds: length of each run in real time. runs: of the plain call; the engine has four times
    as many.
    """

    size: str | None = field(
        default=None,
        metadata=option(
            group="what",
            choices=("small", "base", "large", "embedded"),
            help="a published size with random weights, without a download; default: embedded",
        ),
    )
    checkpoint: str | None = field(
        default=None,
        metadata=option(group="what", metavar="X", help="embedded, a hub id, or a folder"),
    )
    bulk: tuple[str, ...] | None = field(
        default=None,
        metadata=option(
            nargs="*",
            metavar="FILE",
            help="only how fast recordings are read: detect, --fast, --jobs 2, and how alike their "
            "events are; default: the recording that comes with the package",
        ),
    )
    second_opinion: bool = field(
        default=False,
        metadata=switch(
            "instead of all else: what a second opinion costs, by random weights of --size "
            "(default small), or by --checkpoint"
        ),
    )
    streams: int | None = field(
        default=None,
        metadata=option(type=types.between(1, 4096), metavar="N", help="try no more than N live"),
    )
    hop_s: float = field(
        default=0.48, metadata=option("--hop", type=types.span, metavar="S", help="default 0.48")
    )
    window_s: float = field(
        default=10.0, metadata=option("--window", type=types.span, metavar="S", help="default 10")
    )
    labels: int = field(
        default=20, metadata=option(type=types.between(1, 1024), metavar="N", help="default 20")
    )
    seconds: float = field(
        default=5.0,
        metadata=option(type=types.span, metavar="S", help="of each run in real time; default 5"),
    )
    threads: int | None = field(
        default=None, metadata=option(type=types.between(1, 1024), metavar="N", help="of the CPU")
    )
    device: str = field(default="auto", metadata=option(help="auto, cpu, cuda or cuda:N"))
    dtype: str = field(default="auto", metadata=option(choices=("auto", "float32", "bfloat16")))
    compile: bool = field(default=False, metadata=switch("compile the model first; takes minutes"))
    engine: bool = field(
        default=False,
        metadata=switch(
            "only what an engine on another machine costs: a hop over HTTP on loopback"
        ),
    )
    rivals: bool = field(
        default=False,
        metadata=switch(
            "only a hop beside 0, 1, 2 and 4 busy processes a core; each 4 times --seconds at most"
        ),
    )
    json: str | None = field(
        default=None, metadata=option(metavar="FILE", help="all figures; - instead of the table")
    )
    plot: Path | None = field(
        default=None, metadata=option(type=Path, metavar="FILE", help="write a PNG")
    )
    start: bool = field(
        default=False,
        metadata=switch("only how a daemon starts: time and memory, step by step, to READY"),
    )
    runs: int = field(
        default=5,
        metadata=option(
            type=types.between(1, 1024), metavar="N", help="of the plain call; default 5"
        ),
    )
