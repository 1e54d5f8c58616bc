"""`pe-stream bench`: throughput, latency and memory on this machine, to figures and a table."""

from __future__ import annotations

import json
import logging
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from pydantic import ValidationError

from pe_stream.config import ModelSettings
from pe_stream.config.paths import cache_folder
from pe_stream.core.types import FRAME_S
from pe_stream.core.windows import Framing
from pe_stream.errors import UsageError, writing
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.model.checkpoint import Checkpoint, load, resolve_device
from pe_stream.model.compiled import use_cache
from pe_stream.model.engine import Engine
from pe_stream.model.precision import fast_dtype
from pe_stream.pipeline.scorer import Scorer
from pe_stream.workbench.bench import (
    bulk,
    far_engine,
    flops,
    hops,
    latency,
    live,
    opinions,
    plain,
    random_weights,
    report,
    rivals,
    roof,
    start,
    upkeep,
)
from pe_stream.workbench.bench.checks import refuse_clashes, refuse_unwritable
from pe_stream.workbench.bench.figures import ratio, summary
from pe_stream.workbench.bench.options import EMBEDDED, STDOUT, BenchOptions
from pe_stream.workbench.bench.shapes import CHEAP, SIZES
from pe_stream.workbench.bench.sources import rules

log = logging.getLogger(__name__)

_BATCH = 8
_GROWTH_RUNS = 3
_OVERHEAD_S = 1800.0
_MEMORY_RUNS = 4
"""The hour at full speed may take so many times what a live run takes."""


def run(options: BenchOptions) -> int:
    """Print the figures; returns the exit code.

    Raises UsageError on lengths that do not go together, UnavailableError without the checkpoint
    or device.
    """
    settings = _settings(options)
    refuse_clashes(options)
    refuse_unwritable(options)
    if options.start:
        with _terminable(), _folder(options) as name:
            made = start.measure(name, options.threads)
        table = start.as_table(made)
    elif options.second_opinion:
        with _terminable():
            made = opinions.measure(options)
        table = opinions.as_table(made)
    elif options.bulk is not None:
        with _terminable():
            made = bulk.measure_asked(options, options.bulk)
        table = bulk.as_table(made)
    else:
        with _terminable(), _checkpoint(options) as checkpoint:
            told = _far if options.engine else _beside_rivals if options.rivals else _all
            made, table = told(options, settings, checkpoint)
    text = json.dumps(made, indent=2, ensure_ascii=False)
    print(text if options.json == STDOUT else table)
    if options.json not in (None, STDOUT):
        path = Path(str(options.json))
        with writing(path):
            path.write_text(text + "\n", "utf-8")
    if options.plot:
        from pe_stream.workbench.bench import picture

        with writing(options.plot):
            picture.save(options.plot, made)
    return 0


def _all(
    options: BenchOptions, settings: ModelSettings, checkpoint: Checkpoint
) -> tuple[dict[str, Any], str]:
    made = measure(options, settings, checkpoint)
    return made, report.as_table(made)


def _far(
    options: BenchOptions, settings: ModelSettings, checkpoint: Checkpoint
) -> tuple[dict[str, Any], str]:
    """What an engine on another machine costs, and the same as a table."""
    framing = _framing(settings)
    engine = Engine(checkpoint, random_weights.labels(checkpoint, options.labels))
    log.info("one hop, here and over the wire")
    found = far_engine.measure(checkpoint, engine, framing, 4 * options.runs)
    made = _head(options, checkpoint, framing) | {"far_engine": found}
    return made, far_engine.as_table(found, made["model"]["description"])


def _beside_rivals(
    options: BenchOptions, settings: ModelSettings, checkpoint: Checkpoint
) -> tuple[dict[str, Any], str]:
    """What a hop takes on a busy machine, and the same as a table."""
    framing = _framing(settings)
    engine = Engine(checkpoint, random_weights.labels(checkpoint, options.labels))
    follow = options.threads is None and checkpoint.device.type == "cpu"
    found = rivals.measure(engine, framing, rivals.LONGEST * options.seconds, follow=follow)
    made = _head(options, checkpoint, framing) | {"rivals": found}
    return made, rivals.as_table(found, made["model"]["description"])


def _head(options: BenchOptions, checkpoint: Checkpoint, framing: Framing) -> dict[str, Any]:
    """What all figures begin with."""
    return {
        "ratio_to_plain": None,
        "live_streams": None,
        "p99_latency_ms": None,
        "machine": report.machine(checkpoint),
        "command": shlex.join(sys.argv),
        "model": _model(options, checkpoint, framing),
    }


def _framing(settings: ModelSettings) -> Framing:
    return Framing(settings.window_frames, settings.hop_frames, settings.lookahead_frames)


def measure(
    options: BenchOptions, settings: ModelSettings, checkpoint: Checkpoint
) -> dict[str, Any]:
    """Measure everything, one thing after another."""
    framing = _framing(settings)
    made = _head(options, checkpoint, framing) | {
        "settings": {
            "window_s": settings.window_s,
            "hop_s": settings.hop_s,
            "lookahead_s": settings.lookahead_s,
            "labels": options.labels,
            "compile": options.compile,
            "seconds": options.seconds,
            "runs": options.runs,
        },
    }
    engine = Engine(checkpoint, random_weights.labels(checkpoint, options.labels))
    if options.compile:
        log.info("compiling")
        use_cache(cache_folder() / "compiled")
        engine.warm(framing, engine.most_together)
        engine.warm(Framing(framing.window, latency.HOP, latency.LOOKAHEAD), 1)
    names = engine.labels.names
    made |= _against_plain(options, checkpoint, engine, framing)
    log.info("ratio to plain: %.1f; now the stages", made["ratio_to_plain"])
    made["stages_ms"] = hops.stages_ms(engine, checkpoint, framing, 1, 4 * options.runs)
    made["roof"] = _roof(options, checkpoint, engine, framing, made)
    log.info("growth with streams, labels, window")
    made["growth"] = hops.growth(engine, checkpoint, framing, min(options.runs, _GROWTH_RUNS))
    log.info("streams live, in real time")
    limit = options.streams or live.MOST
    lived = live.most(engine, framing, names, options.seconds, limit=limit)
    made["live"] = {"limit": limit, "runs": [one.figures() for one in lived]}
    made["live_streams"] = lived[-1].streams if lived and lived[-1].sustained else 0
    log.info("live streams: %d; now from sound to MQTT", made["live_streams"])
    scorer = Scorer(checkpoint, engine, framing, PreparedLabels(engine.labels, tuple(rules(names))))
    made["latency"] = latency.measure(scorer, options.seconds)
    made["p99_latency_ms"] = made["latency"]["latency_ms"]["p99"]
    log.info("latency: %.0f ms; now memory and processor time", made["p99_latency_ms"])
    made["memory"] = upkeep.memory_per_stream(engine, framing, names) | _memory(options, framing)
    made["overhead"] = upkeep.overhead(framing, options.labels, _OVERHEAD_S)
    return made


def _against_plain(
    options: BenchOptions, checkpoint: Checkpoint, engine: Engine, framing: Framing
) -> dict[str, Any]:
    """The plain call, the engine, and the plain call with a tuned allocator."""
    audio: Any = checkpoint.model.config.audio_config
    job = plain.TimingJob(
        audio=audio.to_dict(),
        text_width=checkpoint.width,
        window=framing.window,
        labels=options.labels,
        runs=options.runs,
        threads=torch.get_num_threads(),
        device=str(checkpoint.device),
    )
    log.info("the plain call, %d times in a process of its own", options.runs)
    default = plain.measure(job, tuned=False)
    times_s = hops.times_s(engine, framing, 1, 4 * options.runs)
    log.info("the plain call again, with the allocator tuned")
    tuned = plain.measure(job, tuned=True)
    told = {"default": ratio(default.times_s, times_s), "tuned": ratio(tuned.times_s, times_s)}
    return {
        "ratio_to_plain": told["default"]["median"],
        "ratio": told | {"tuned_with": plain.TUNED},
        "plain": summary(default.times_s) | {"peak_mb": default.peak_mb},
        "plain_tuned": summary(tuned.times_s) | {"peak_mb": tuned.peak_mb},
        "engine": summary(times_s),
    }


def _roof(
    options: BenchOptions,
    checkpoint: Checkpoint,
    engine: Engine,
    framing: Framing,
    made: dict[str, Any],
) -> dict[str, float]:
    """The device's peak rates, and the encoder's part of them, alone and in a batch."""
    batch = hops.stages_ms(engine, checkpoint, framing, _BATCH, options.runs)
    audio = checkpoint.model.config.audio_config
    flop = flops.encoder(audio, framing.window, framing.hop + framing.lookahead)
    told = roof.measure(checkpoint.device, checkpoint.dtype)
    alone = hops.encoder_tflops(made["stages_ms"], flop)
    together = hops.encoder_tflops(batch, _BATCH * flop)
    return told | {
        "encoder_tflops": alone,
        "encoder_percent": 100 * alone / told["matmul_tflops"],
        "batch": _BATCH,
        "encoder_batch_tflops": together,
        "encoder_batch_percent": 100 * together / told["matmul_tflops"],
    }


def _memory(options: BenchOptions, framing: Framing) -> dict[str, Any]:
    """An hour at full speed, with a model that is cheap and goes through the same code."""
    with random_weights.folder(CHEAP) as folder:
        cheap = load(
            str(folder),
            device=options.device,
            dtype=options.dtype,
            threads=torch.get_num_threads(),
        )
    engine = Engine(cheap, random_weights.labels(cheap, options.labels))
    limit_s = _MEMORY_RUNS * options.seconds
    return upkeep.memory_over_time(engine, framing, engine.labels.names, limit_s=limit_s)


def _model(options: BenchOptions, checkpoint: Checkpoint, framing: Framing) -> dict[str, Any]:
    audio: Any = checkpoint.model.config.audio_config
    name = options.checkpoint or options.size or EMBEDDED
    rest = checkpoint.describe().removeprefix(checkpoint.name)
    made_up = name in SIZES and not options.checkpoint
    return {
        "name": name,
        "random_weights": made_up,
        "description": f"{name}{', random weights' if made_up else ''}{rest}",
        "codec_gflop_per_window": flops.codec(audio.dac_config, framing.window) / 1e9,
        "encoder_gflop_per_window": flops.encoder(audio, framing.window) / 1e9,
        "encoder_gflop_per_hop": flops.encoder(
            audio, framing.window, framing.hop + framing.lookahead
        )
        / 1e9,
    }


@contextmanager
def _folder(options: BenchOptions) -> Iterator[str]:
    """The checkpoint that was asked for, as a configuration names it; a size is made."""
    if options.checkpoint is None and options.size in SIZES:
        log.info("random weights of size %s", options.size)
        with random_weights.folder(SIZES[options.size]) as folder:
            yield str(folder)
    else:
        yield options.checkpoint or EMBEDDED


@contextmanager
def _checkpoint(options: BenchOptions) -> Iterator[Checkpoint]:
    """Load what was asked for; a size has random weights."""
    dtype = options.dtype
    if options.checkpoint is None and options.size in SIZES and dtype == "auto":
        # Random weights cannot tell whether trained ones bear rounding.
        dtype = str(fast_dtype(resolve_device(options.device))).removeprefix("torch.")
    with _folder(options) as name:
        yield load(name, device=options.device, dtype=dtype, threads=options.threads)


def _settings(options: BenchOptions) -> ModelSettings:
    """Check the lengths as those of a configuration are, and that of the latency's window."""
    spare_s = round(options.window_s - options.hop_s, 6)
    lookahead_s = max(0.0, min(ModelSettings().lookahead_s, spare_s))
    try:
        settings = ModelSettings(
            window_s=options.window_s, hop_s=options.hop_s, lookahead_s=lookahead_s
        )
    except ValidationError as error:
        reasons = "; ".join(detail["msg"] for detail in error.errors())
        raise UsageError(
            f"--window {options.window_s:g}, --hop {options.hop_s:g}: {reasons}"
        ) from error
    least = latency.HOP + latency.LOOKAHEAD
    if settings.window_frames < least:
        raise UsageError(
            f"--window {options.window_s:g}: at least {least * FRAME_S:g} s are needed"
        )
    return settings


@contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM an ordinary end, so that processes and threads of ours are ended with us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
