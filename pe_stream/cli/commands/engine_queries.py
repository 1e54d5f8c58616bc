"""What `pe-stream engine` tells a cluster, asks an engine, and gives it to do."""

from __future__ import annotations

import threading
import time
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from pe_stream.cli.engine_options import EngineOptions
from pe_stream.config import ModelSettings
from pe_stream.config.addresses import is_loopback
from pe_stream.core.types import FRAME, FRAME_S, Samples, Window
from pe_stream.core.windows import Framing
from pe_stream.core.words import visible
from pe_stream.errors import UnavailableError, UsageError
from pe_stream.model.live_engine import Asked
from pe_stream.model.prompts import LabelEmbeddings, label_embeddings
from pe_stream.serving.client import remote_engine
from pe_stream.serving.connection import EngineConnection, settings_for
from pe_stream.serving.route import EngineAway
from pe_stream.serving.serve_config import ReplicaSettings, configuration, environment

SESSIONS = 32
"""Sessions that are asked under: each goes to one of a cluster's engines."""

LABELS = 12

_FRAMING = Framing(window=250, hop=12, lookahead=12)
_HOP_S = _FRAMING.hop * FRAME_S


def config(options: EngineOptions) -> int:
    """Print what `serve deploy` is given. Raises ConfigError where anybody might ask."""
    replica = ReplicaSettings(
        checkpoint=options.checkpoint,
        device=options.device,
        dtype=options.dtype,  # type: ignore[arg-type]  # one of them, as the arguments are checked
        tokens=None if options.tokens is None else str(options.tokens.absolute()),
        streams=options.streams,
    )
    print(
        configuration(
            replica,
            host=options.host,
            port=options.port,
            replicas=options.replicas,
            gpus=options.gpus,
            proxies=options.proxies,
        ),
        end="",
    )
    return 0


def tell_environment(_: EngineOptions) -> int:
    """Print what every process of Ray has to have in its environment, for a shell."""
    print(environment())
    return 0


def status(options: EngineOptions) -> int:
    """Print a line for each engine behind the address.

    Raises UnavailableError where one gives no answer, once those that do are told.
    """
    connect = EngineConnection.factory(_settings(options))
    found: dict[str, dict[str, Any]] = {}
    failures: dict[str, EngineAway] = {}
    for number in range(SESSIONS):
        connection = connect(f"status-{number}")
        try:
            about = connection.get("/v1/about")
        except EngineAway as error:
            failures[str(error)] = error
            continue
        finally:
            connection.close()
        found[visible(str(about.get("replica")))] = about
    for name, about in sorted(found.items()):
        work = about.get("work")
        done = work if isinstance(work, dict) else {}
        times = ", ".join(f"{part} {done.get(f'batch_{part}_ms')} ms" for part in ("p50", "p99"))
        told = (
            f"{name}: {about.get('describe')}: {about.get('streams')} streams, "
            f"{done.get('windows')} windows, batches {times}, {done.get('wanted_whole')} wanted "
            f"whole, {done.get('refused')} refused"
        )
        print(visible(told))
    for away in failures.values():  # of some sessions; which replica they would have had is unknown
        raise away
    return 0


def load(options: EngineOptions) -> int:
    """Have sources scored in real time, and tell how long that took.

    Raises UsageError where the engine is on another machine, UnavailableError where it does not
    answer at all.
    """
    if not is_loopback(urlsplit(options.url).hostname or ""):
        raise UsageError(f"load: {options.url} is on another machine, which others may need")
    settings = _settings(options)
    connection = EngineConnection.factory(settings)("load")
    try:
        about = connection.get("/v1/about")
    finally:
        connection.close()
    width = about.get("width")
    if not isinstance(width, int) or not 0 < width < 1 << 14:
        raise UnavailableError(f"{options.url}: it is of another version of pe_stream")
    waits_s, failed = _load(options, settings, str(about.get("identity")), _labels(width))
    if not waits_s:
        raise UnavailableError(f"{options.url}: nothing was answered; {failed} windows were not")
    p50, p99 = np.percentile(waits_s, (50, 99))
    print(
        f"{options.sources} sources, {options.seconds} s: {len(waits_s)} windows answered, "
        f"{failed} not; after {1000 * p50:.0f} ms (p50), {1000 * p99:.0f} ms (p99), "
        f"{1000 * max(waits_s):.0f} ms at most"
    )
    return 0


def _load(
    options: EngineOptions, settings: ModelSettings, identity: str, labels: LabelEmbeddings
) -> tuple[list[float], int]:
    """Waits (s) of windows that were answered, from when they were due; and how many were not."""
    failures: list[BaseException] = []
    arrived = threading.Event()
    engine = remote_engine(settings, identity, labels, "load", failures.append)
    engine.arrived = arrived.set
    streams = {f"{i}": engine.stream(f"{i}") for i in range(options.sources)}
    window = _FRAMING.window * FRAME
    noise = np.random.default_rng(0).integers(-3000, 3000, window)
    sound: Samples = np.tile((noise / 32768).astype(np.float32), 2)
    asked_at, heard_to = dict.fromkeys(streams, -1), dict.fromkeys(streams, -1)
    waits_s: list[float] = []
    failed = 0
    begun_s = time.monotonic()
    try:
        while (elapsed_s := time.monotonic() - begun_s) < options.seconds and not failures:
            hop = int(elapsed_s / _HOP_S)
            start = hop * _FRAMING.hop * FRAME
            due = []
            for name, stream in streams.items():
                if asked_at[name] < hop and engine.takes(stream):
                    new = (hop - heard_to[name]) * _FRAMING.hop + _FRAMING.lookahead
                    done = max(0, _FRAMING.window - new)
                    samples = sound[start % window :][:window]
                    due.append(Asked(name, stream, Window(start, samples, done=done)))
                    asked_at[name] = hop
            if due:
                engine.ask(due, embed=False)
            arrived.wait((hop + 1) * _HOP_S - elapsed_s)
            arrived.clear()
            for came in engine.answers():
                late_s = time.monotonic() - begun_s
                for each in came.asked:
                    if came.found is None:
                        failed += came.reason is not None
                        asked_at[each.source] = -1
                    else:
                        waits_s.append(late_s - asked_at[each.source] * _HOP_S)
                        heard_to[each.source] = asked_at[each.source]
    finally:
        engine.close()
    if failures:
        raise failures[0]
    return waits_s, failed


def _labels(width: int) -> LabelEmbeddings:
    rows = np.random.default_rng(1).standard_normal((LABELS, width)).astype(np.float32)
    nothing = np.zeros(0, np.int64), np.zeros(LABELS, np.float32)
    return label_embeddings(rows, *nothing, "cpu")


def _settings(options: EngineOptions) -> ModelSettings:
    return settings_for(options.url, options.token_file, options.ca)
