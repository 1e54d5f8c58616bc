"""`pe-stream check`: does everything the daemon needs work? One line each on stdout."""

from __future__ import annotations

import errno
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np

from pe_stream.cli.commands.check_opinion import check_opinions
from pe_stream.cli.commands.check_source import check_source
from pe_stream.config import (
    LabelSettings,
    MetricsSettings,
    ModelSettings,
    Settings,
    WebSettings,
)
from pe_stream.config.edit import ConfigFile
from pe_stream.config.file import load
from pe_stream.config.redaction import redacted
from pe_stream.core.types import FRAME, Recommended, Samples, Window
from pe_stream.core.words import visible
from pe_stream.errors import ConfigError, PeStreamError, UnavailableError, not_installed
from pe_stream.labels.learn import lesson
from pe_stream.labels.overlaps import overlaps
from pe_stream.labels.prompt_hints import PromptHints
from pe_stream.model.codec import Stream
from pe_stream.model.no_model import NoCheckpoint
from pe_stream.outputs import mqtt, notifications
from pe_stream.outputs.mqtt.embedded_broker import EmbeddedBroker
from pe_stream.pipeline.scorer import Scorer, prepare
from pe_stream.serving.connection import EngineConnection
from pe_stream.serving.heads import VERSION
from pe_stream.storage import clips, embeddings, events, scores

ANSWER_S = 2.0
"""Whoever has our port gets this long to say who it is."""

MOST_BYTES = 2**20
"""Bytes of the answer that are read."""

HARDLY_EVER = 0.95
"""Thresholds above this, as a checkpoint may recommend them, are hardly ever reached."""

HARDLY_HEARS = 0.05
"""A label of which the checkpoint finds less than this, by its own account, is warned of."""

MOST_FALSE_ALARMS = 0.5
"""And one that raises more of them an hour on background."""


def run(path: Path) -> int:
    """Check the configuration at `path` and what it names; returns the exit code.

    What fails does not keep the rest from being checked; a wrong configuration does.
    """
    try:
        settings = load(path)
        settings.require_sources()
    except ConfigError as error:
        _line("config", error)
        return error.exit_code
    _line("config", f"{path}: sources: {len(settings.sources)}, labels: {len(settings.labels)}")
    scorers: list[Scorer] = []
    checks: list[tuple[str, Callable[[], str]]] = [("model", partial(_model, settings, scorers))]
    if settings.model.remote:
        checks.append(("engine", partial(_engine, settings.model, scorers)))
    checks.append(("labels", partial(_labels, settings.labels, scorers)))
    if settings.second_opinion is not None:
        opinions = partial(check_opinions, settings, settings.second_opinion)
        checks.append(("second opinion", opinions))
    checks += [
        (f"source {name}", partial(check_source, settings, name)) for name in settings.sources
    ]
    checks.append(("broker", partial(_broker, settings)))
    checks += [(what, partial(_folder, folder)) for what, folder in _folders(settings)]
    for name, each in settings.notifications.items():
        checks.append((f"notification {name}", partial(notifications.describe, name, each)))
    if settings.web.enabled:
        checks.append(("page", partial(_page, settings.web, path)))
    if settings.metrics.enabled:
        checks.append(("metrics", partial(_metrics, settings.metrics)))
    return max([_check(what, check) for what, check in checks])


def _folders(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Where something is kept."""
    if settings.store.enabled:
        yield "store", events.path_of(settings.store).parent
    if settings.history.enabled:
        yield "history", scores.path_of(settings.history).parent
    if settings.search.enabled:
        yield "search", embeddings.folder_of(settings.search)
    if settings.clips.enabled:
        yield "clips", clips.folder_of(settings.clips)


def _check(what: str, check: Callable[[], str]) -> int:
    try:
        _line(what, check())
    except PeStreamError as error:
        _line(what, error)
        return error.exit_code
    return 0


def _line(what: str, outcome: str | PeStreamError) -> None:
    verdict = "FAILED" if isinstance(outcome, PeStreamError) else "ok"
    print(redacted(f"{verdict:7}{what}: {outcome}"), flush=True)


def _model(settings: Settings, scorers: list[Scorer]) -> str:
    """Try what hears, and leave it in `scorers`."""
    scorer = prepare(
        settings.model.model_copy(update={"compile": False}),
        settings.labels,
        embed=settings.search.enabled,
    )
    scorers.append(scorer)
    if settings.model.remote and not isinstance(scorer.checkpoint, NoCheckpoint):
        return f"{scorer.checkpoint.describe()}; live sources are scored by the engine"
    framing = scorer.framing
    noise = np.random.default_rng(0).normal(0, 0.01, (framing.window + 2 * framing.hop) * FRAME)
    audio: Samples = noise.astype(np.float32)
    stream, begun_s = Stream(), 0.0
    for hop in range(3):  # the first has everything to compute, the second allocates
        begun_s = time.monotonic()
        start = hop * framing.hop * FRAME
        samples = audio[start : start + framing.window * FRAME]
        done = framing.window - framing.hop - framing.lookahead
        scorer.engine.hear([stream], [Window(start, samples, done=done)])
    rtf = (time.monotonic() - begun_s) / settings.model.hop_s
    verdict = "keeps up" if rtf * len(settings.sources) < 1 else "falls behind: stretches the hop"
    return f"{scorer.checkpoint.describe()}; a hop takes {rtf:.2f} of its time, {verdict}"


def _engine(settings: ModelSettings, scorers: Sequence[Scorer]) -> str:
    """Whether each engine elsewhere takes the token, and has the same checkpoint."""
    if not scorers:
        raise UnavailableError("not compared: there is no model")
    own = scorers[0].checkpoint
    if isinstance(own, NoCheckpoint):
        return "not asked: every label is loud"
    told = []
    for address in settings.engine_addresses:
        only = settings.model_copy(update={"engine": (address,)})
        connection = EngineConnection.factory(only)("check")
        try:
            about = connection.get("/v1/about")
        finally:
            connection.close()
        if about.get("version") != VERSION:
            raise UnavailableError(
                f"{address}: it is of another version of pe_stream "
                f"({visible(str(about.get('pe_stream')))}), and speaks otherwise"
            )
        if about.get("identity") != own.identity:
            raise UnavailableError(
                f"{address}: the checkpoint there is {visible(str(about.get('checkpoint')))}, and "
                "not the same: model.checkpoint has to be"
            )
        told.append(f"{address}: {visible(str(about.get('describe')))}")
    return "; ".join(told)


def _labels(labels: Mapping[str, LabelSettings], scorers: Sequence[Scorer]) -> str:
    """Which labels are nearly the same to the model, and the like: warnings, no failure."""
    if not scorers:
        raise UnavailableError("not compared: there is no model")
    scorer = scorers[0]
    alike = [overlap.describe() for overlap in overlaps(scorer.labels.embeddings)]
    told = [f"warning: {pair}" for pair in alike] or ["no two are nearly the same"]
    told += ["`pe-stream prompts` tells more"] if alike else []
    for name, label in labels.items():
        if label.examples:
            repeated = lesson(scorer.loaded, name, label).repeated
            told += [f"warning: {each}" for each in repeated]
    odd = PromptHints(words_known=scorer.checkpoint.words_known)
    for name, hints in odd.of_labels(labels).items():
        told += [f"warning: {name}: {hint.describe()}" for hint in hints]
    told += _weak(labels, scorer.checkpoint.recommended)
    deaf = [rule.name for rule in scorer.labels.rules if rule.threshold > HARDLY_EVER]
    if deaf:
        names = ", ".join(deaf)
        told.append(
            f"warning: set a threshold, at {HARDLY_EVER} and above hardly any score: {names}"
        )
    return "; ".join(told)


def _weak(labels: Mapping[str, LabelSettings], recommended: Mapping[str, Recommended]) -> list[str]:
    """Labels that the checkpoint detects poorly at its recommended thresholds."""
    told = []
    for name, label in labels.items():
        known = recommended.get(name)
        if known is None or label.threshold is not None or label.loud is not None:
            continue
        if known.recall is not None and known.recall < HARDLY_HEARS:
            told.append(
                f"warning: {name}: at its recommended threshold the checkpoint finds"
                f" {known.recall:.0%} of such sounds in scenes; examples may help"
            )
        false_alarms = known.false_alarms_per_hour
        if false_alarms is not None and false_alarms > MOST_FALSE_ALARMS:
            told.append(
                f"warning: {name}: at its recommended threshold the checkpoint raises"
                f" {false_alarms:g} false alarms an hour on background"
            )
    return told


def _folder(folder: Path) -> str:
    """Whether files can be written there, of a daemon that may be running."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UnavailableError(f"{folder} cannot be written: {error.strerror}") from error
    return f"{folder} can be written"


def _page(settings: WebSettings, path: Path) -> str:
    try:
        from pe_stream.web.passwords import Authenticator
    except ImportError as error:
        raise not_installed(error.name, "web") from error
    Authenticator(settings)
    said = _port("web", settings.host, settings.port, f"{settings.prefix}/")
    unavailable_reason = ConfigFile(path).unavailable_reason
    return (
        f"{said}; labels can be edited"
        if unavailable_reason is None
        else f"{said}; {unavailable_reason}"
    )


def _metrics(settings: MetricsSettings) -> str:
    return _port("metrics", settings.host, settings.port, "/metrics")


def _port(section: str, host: str, port: int, path: str) -> str:
    """Whether it is free, or a pe-stream that runs, probably the one in question, answers there."""
    where = f"{host}:{port}"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _ours(host, port, path):
            return f"a pe-stream that runs is at {where}"
        raise UnavailableError(
            f"cannot listen on {where}: {error.strerror or error}; set {section}.host and "
            f"{section}.port"
        ) from error
    return f"{where} is free"


def _ours(host: str, port: int, path: str) -> bool:
    connection = HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        return b"pe_stream" in connection.getresponse().read(MOST_BYTES)
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _broker(settings: Settings) -> str:
    """Whether the broker takes what the daemon will say, and lets it hear what it needs."""
    port = settings.mqtt.port
    if settings.mqtt.embedded:
        broker = EmbeddedBroker(port)
        try:
            broker.start()
        except UnavailableError as error:
            raise UnavailableError(f"{error}, unless a pe-stream that runs has it") from error
        broker.stop()
        return f"embedded, on port {port}"
    notes = mqtt.try_out(settings)
    return "; ".join([f"{settings.mqtt.host}:{port} accepts us, and what is published", *notes])
