"""The arguments of `pe-stream engine`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pe_stream.workbench import argument_types as types
from pe_stream.workbench.arguments import option, positional, switch

EngineAction = Literal["serve", "config", "environment", "status", "load"]


Proxies = Literal["EveryNode", "HeadOnly"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Arguments of `engine`."""

    action: EngineAction = field(
        metadata=positional(
            choices=get_args(EngineAction),
            help="serve: score for daemons that have it as engine; config, environment: what a "
            "cluster of Ray is told; status: what an engine does; load: give one on this machine "
            "something to do",
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
    replicas: int = field(
        default=1,
        metadata=option(
            type=types.between(1, 10_000), metavar="N", help="config: engines; default: 1"
        ),
    )
    gpus: int = field(
        default=1,
        metadata=option(type=types.between(0, 8), metavar="N", help="config: of each; default: 1"),
    )
    proxies: Proxies = field(
        default="EveryNode",
        metadata=option(choices=get_args(Proxies), help="config: where ways in are"),
    )
    url: str = field(
        default="http://127.0.0.1:8770", metadata=option(help="status, load: the engine's address")
    )
    token_file: Path | None = field(
        default=None,
        metadata=option(type=Path, metavar="FILE", help="status, load: holds the token"),
    )
    ca: Path | None = field(
        default=None,
        metadata=option(type=Path, metavar="FILE", help="status: authorities to trust (PEM)"),
    )
    sources: int = field(
        default=16,
        metadata=option(type=types.between(1, 2000), metavar="N", help="load: default: 16"),
    )
    seconds: int = field(
        default=10,
        metadata=option(type=types.between(1, 600), metavar="S", help="load: default: 10"),
    )
