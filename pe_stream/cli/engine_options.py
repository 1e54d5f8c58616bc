"""The arguments of `pe-stream engine`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pe_stream.workbench import argument_types as types
from pe_stream.workbench.arguments import option, positional, switch

EngineAction = Literal["serve"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Arguments of `engine`."""

    action: EngineAction = field(
        metadata=positional(
            choices=get_args(EngineAction), help="serve: score for daemons that have it as engine"
        )
    )
    checkpoint: str = field(
        default="embedded", metadata=option(metavar="X", help="embedded, a hub id, or a folder")
    )
    device: str = field(default="auto", metadata=option(help="auto, cpu, cuda or cuda:N"))
    dtype: str = field(
        default="auto",
        metadata=option(choices=("auto", "float32", "bfloat16"), help="number format"),
    )
    compile: bool = field(default=False, metadata=switch("compile the model first: minutes, once"))
    host: str = field(default="127.0.0.1", metadata=option(help="default: this machine alone"))
    port: int = field(
        default=8770, metadata=option(type=types.between(1, 65535), help="default: 8770")
    )
    tokens: Path | None = field(
        default=None,
        metadata=option(type=Path, metavar="FILE", help="lines of TENANT TOKEN: who may ask"),
    )
    certificate: Path | None = field(
        default=None, metadata=option(type=Path, metavar="FILE", help="PEM, for TLS")
    )
    key: Path | None = field(
        default=None, metadata=option(type=Path, metavar="FILE", help="its private key")
    )
    streams: int = field(
        default=1024,
        metadata=option(type=types.between(1, 100_000), metavar="N", help="most; default: 1024"),
    )
