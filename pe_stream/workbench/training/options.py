"""Arguments of `pe-stream train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pe_stream.workbench import argument_types as types
from pe_stream.workbench.arguments import option, positional, switch


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Arguments of `train`; see `pe-stream train --help`."""

    data: Path = field(metadata=positional(type=Path, metavar="FOLDER", help="with a manifest.csv"))
    out: Path = field(
        metadata=positional(type=Path, metavar="OUT", help="the checkpoint; also to go on in")
    )
    folds: tuple[str, ...] = field(
        default=(), metadata=option("--fold", nargs="+", metavar="F", help="only of these")
    )
    every_licence: bool = field(
        default=False, metadata=switch("also clips not marked redistributable")
    )
    more: tuple[Path, ...] = field(
        default=(),
        metadata=option(
            type=Path,
            action="append",
            metavar="FOLDER",
            help="more clips, with a manifest of their own; may be repeated",
        ),
    )
    recipe: str | None = field(
        default=None,
        metadata=option(
            metavar="FILE",
            help="YAML: steps, sizes, seed; or embedded: that of the checkpoint that comes "
            "with this",
        ),
    )
    teacher: Path | None = field(
        default=None,
        metadata=option(
            type=Path,
            metavar="FOLDER",
            help="mn04 (mn04_as.onnx, audioset_classes.csv), or YAMNet (yamnet.tflite, "
            "yamnet_class_map.csv), to imitate what it hears in mixtures",
        ),
    )
    calibrate: Path | None = field(
        default=None,
        metadata=option(
            type=Path, metavar="FOLDER", help="soundscapes to fit scores and thresholds"
        ),
    )
    device: str = field(default="auto", metadata=option(help="auto, cpu or cuda"))
    threads: int | None = field(
        default=None, metadata=option(type=types.between(1, 1024), metavar="N", help="of the CPU")
    )
