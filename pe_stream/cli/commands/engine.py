"""`pe-stream engine`: an engine for daemons on other machines."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

from pe_stream.cli.commands import engine_queries
from pe_stream.cli.engine_options import EngineAction, EngineOptions
from pe_stream.config.paths import cache_folder
from pe_stream.core.windows import Framing
from pe_stream.daemon.resources import raise_descriptor_limit
from pe_stream.daemon.watchdog import tell_systemd
from pe_stream.model.checkpoint import load
from pe_stream.model.compiled import use_cache
from pe_stream.model.engine import Engine
from pe_stream.model.no_model import no_words
from pe_stream.serving.server import EngineServer, Serving, who_may_ask

log = logging.getLogger(__name__)

FRAMING = Framing(window=250, hop=12, lookahead=12)
"""What is compiled for: the configuration's defaults."""


def run(options: EngineOptions) -> int:
    """Do what is asked; returns the exit code. Raises ConfigError, UnavailableError, UsageError."""
    return ACTIONS[options.action](options)


def serve(options: EngineOptions) -> int:
    """Serve until a signal; returns the exit code. Raises ConfigError, UnavailableError."""
    raise_descriptor_limit()
    over = threading.Event()
    signals: list[int] = []
    failed: list[BaseException] = []

    def note(number: int, _: FrameType | None) -> None:
        signals.append(number)
        over.set()

    def died(error: BaseException) -> None:
        log.critical("the thread %s has died", threading.current_thread().name, exc_info=error)
        failed.append(error)
        over.set()

    serving = Serving(
        options.host,
        options.port,
        options.tokens,
        options.certificate,
        options.key,
        options.streams,
    )
    tokens = who_may_ask(serving)
    checkpoint = load(options.checkpoint, device=options.device, dtype=options.dtype)
    engine = Engine(checkpoint, no_words(checkpoint))
    engine.build()
    if options.compile:
        log.info("compiling the model: minutes the first time, seconds later")
        use_cache(cache_folder() / "compiled")
        engine.warm(FRAMING, options.streams)
    server = EngineServer(serving, tokens, checkpoint, engine, died)
    before = {each: signal.signal(each, note) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.start()
        log.info("engine: %s: %s", server.url, checkpoint.describe())
        tell_systemd("READY=1")
        over.wait()
        tell_systemd("STOPPING=1")
        server.stop()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if failed:
        return 1
    log.info("stopping on %s", signal.Signals(signals[0]).name)
    return 128 + signals[0]


ACTIONS: dict[EngineAction, Callable[[EngineOptions], int]] = {
    "serve": serve,
    "config": engine_queries.config,
    "environment": engine_queries.tell_environment,
    "status": engine_queries.status,
    "load": engine_queries.load,
}
