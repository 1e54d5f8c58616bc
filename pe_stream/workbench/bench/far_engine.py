"""One hop over the wire beside the same hop in this process: what an engine elsewhere costs.

The engine is offered on loopback by a server in this process, as `pe-stream engine serve` offers
it, and asked through the client's connection. Network and encryption are no part of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pe_stream.config import ModelSettings
from pe_stream.core.types import FRAME, FrameScores, Window
from pe_stream.core.windows import Framing
from pe_stream.errors import UnavailableError
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.serving.connection import EngineConnection
from pe_stream.serving.server import EngineServer, Serving, who_may_ask
from pe_stream.serving.wire import HearRequest, Item, LabelRows, pack_request, unpack_reply
from pe_stream.workbench.bench.figures import summary
from pe_stream.workbench.bench.hops import WARM
from pe_stream.workbench.bench.sources import noise

STREAMS = (1, 8)
"""Sources of a request."""

_TIMES = ("local_ms", "far_ms", "local_cpu_ms", "far_cpu_ms", "edge_cpu_ms")

_TIMEOUT_S = 30.0
_HOST = "127.0.0.1"


def measure(
    checkpoint: Checkpoint, engine: Engine, framing: Framing, runs: int
) -> list[dict[str, Any]]:
    """Figures for each of STREAMS, of `runs` hops. Raises UnavailableError without a port."""
    with _served(checkpoint, engine) as connection:
        return [
            _measure(checkpoint, engine, framing, connection, count=count, runs=runs)
            for count in STREAMS
        ]


def as_table(made: Sequence[dict[str, Any]], name: str) -> str:
    """Markdown."""
    lines = [
        f"**{name}**: one hop over HTTP on loopback, beside the same in this process\n",
        "| sources | here, p50 | over the wire, p50 | CPU more | of that here | up | down |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in made:
        here, far = each["local_ms"], each["far_ms"]
        lines.append(
            f"| {each['streams']} | {here['p50']:.2f} ms | {far['p50']:.2f} ms | "
            f"{each['more_cpu_ms']:.2f} ms | {each['edge_cpu_ms']['p50']:.2f} ms | "
            f"{each['bytes_up']} B | {each['bytes_down']} B |"
        )
    return "\n".join(lines)


@contextmanager
def _served(checkpoint: Checkpoint, engine: Engine) -> Iterator[EngineConnection]:
    """The engine on loopback, and the way to it."""
    failures: list[BaseException] = []
    serving = Serving(_HOST, 0, None, None, None, 64)
    server = EngineServer(serving, who_may_ask(serving), checkpoint, engine, failures.append)
    server.start()
    settings = ModelSettings(engine=(server.url,), engine_timeout_s=_TIMEOUT_S)
    connection = EngineConnection.factory(settings)("bench")
    try:
        yield connection
    finally:
        connection.close()
        server.stop()
    if failures:
        raise UnavailableError(f"the engine's server has ended: {failures[0]}")


def _measure(
    checkpoint: Checkpoint,
    engine: Engine,
    framing: Framing,
    connection: EngineConnection,
    *,
    count: int,
    runs: int,
) -> dict[str, Any]:
    labels = engine.labels
    rows = LabelRows(*(x.cpu().numpy() for x in (labels.rows, labels.suppresses, labels.offsets)))
    epoch, digest = secrets.token_hex(16), rows.digest()
    streams = [Stream() for _ in range(count)]
    hops = 1 + WARM + runs
    audio = np.round(noise((framing.window + hops * framing.hop) * FRAME) * 32768) / 32768
    times: dict[str, list[float]] = {name: [] for name in _TIMES}
    wants: int | None = None
    up = down = 0
    for hop in range(hops):
        start = hop * framing.hop * FRAME
        samples = audio[start : start + framing.window * FRAME].astype(np.float32)
        done = framing.window - framing.hop - framing.lookahead
        window = Window(start, samples, done=done)
        begun_s, cpu_s = time.perf_counter(), time.process_time()
        expected = engine.hear(streams, [window] * count)
        times["local_ms"].append(1000 * (time.perf_counter() - begun_s))
        times["local_cpu_ms"].append(1000 * (time.process_time() - cpu_s))

        begun_s, cpu_s, own_s = time.perf_counter(), time.process_time(), time.thread_time()
        sent = window if wants is None else window.since(wants)
        items = [Item(f"bench/{i}", epoch, sent) for i in range(count)]
        known = None if wants is not None else rows
        request = HearRequest(checkpoint.identity, digest, embed=False, rows=known, items=items)
        body = pack_request(request, wire=connection.route.coding)
        answer = connection.post("/v1/hear", body)
        reply = unpack_reply(answer, [sent] * count, rows.count, width=0)
        times["edge_cpu_ms"].append(1000 * (time.thread_time() - own_s))
        times["far_ms"].append(1000 * (time.perf_counter() - begun_s))
        times["far_cpu_ms"].append(1000 * (time.process_time() - cpu_s))
        up, down = len(body), len(answer)
        wants = _same(reply.items, expected)
    told = {name: summary(values[1 + WARM :]) for name, values in times.items()}
    more = {
        name: told[f"far_{name}"]["p50"] - told[f"local_{name}"]["p50"] for name in ("ms", "cpu_ms")
    }
    return {
        "streams": count,
        "wire": connection.route.coding,
        **told,
        "more_ms": more["ms"],
        "more_cpu_ms": more["cpu_ms"],
        "bytes_up": up,
        "bytes_down": down,
    }


def _same(items: Sequence[Any], expected: Sequence[FrameScores]) -> int:
    """From where on the engine wants sound; raises UnavailableError where it heard otherwise."""
    for item, scores in zip(items, expected, strict=True):
        if item is None or not np.allclose(item.scores, scores, atol=1e-2):
            raise UnavailableError("over the wire the engine hears something else")
    wants: int = items[0].wants
    return wants
