"""Recordings in bulk: how much faster `detect --fast` is, and how alike its events are.

`measure` starts this module as processes of its own (`python -m pe_stream.workbench.bench.bulk`),
each with a model, as `detect --jobs` does.
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from pe_stream.assets import DEMO_RECORDING, EVERYDAY
from pe_stream.audio import media
from pe_stream.config.file import load
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import PeStreamError, UnavailableError, UsageError
from pe_stream.model import checkpoint
from pe_stream.pipeline.bulk import Bulk
from pe_stream.pipeline.offline import detect
from pe_stream.pipeline.scorer import Scorer, prepare
from pe_stream.workbench.bench import report
from pe_stream.workbench.bench.figures import summary
from pe_stream.workbench.bench.options import BenchOptions
from pe_stream.workbench.bench.shapes import SIZES

log = logging.getLogger(__name__)

ALIKE_S = 0.08
"""Onsets and offsets of equal events are no further apart (s)."""

_ROUNDING_S = 0.001

Way = Literal["plain", "fast"]
FileEvent = tuple[int, str, float, float]
"""Number of the file, label, onset and offset (s)."""


@dataclass(frozen=True, slots=True)
class BulkJob:
    """What a process is to read. checkpoint, device, dtype, threads: as of the configuration."""

    files: list[str]
    checkpoint: str
    device: str
    dtype: str
    threads: int | None


@dataclass(frozen=True, slots=True)
class BulkRun:
    """All files read once: audio (s), the time it took and the processor's (s), and the events."""

    heard_s: float
    wall_s: float
    cpu_s: float
    events: list[FileEvent]


def measure_asked(options: BenchOptions, files: Sequence[str]) -> dict[str, Any]:
    """`measure` of these files, by default of the bundled one, and the machine.

    Raises UsageError on options that do not go with it, and as `measure`.
    """
    if options.size in SIZES:
        raise UsageError("--bulk needs a checkpoint that knows words: give --checkpoint")
    if options.plot is not None:
        raise UsageError("--bulk has no picture: leave out --plot")
    job = BulkJob(
        files=list(files) or [str(DEMO_RECORDING)],
        checkpoint=options.checkpoint or "embedded",
        device=options.device,
        dtype=options.dtype,
        threads=options.threads,
    )
    machine = report.machine(
        checkpoint.load(job.checkpoint, device=job.device, dtype=job.dtype, threads=job.threads)
    )
    log.info("recordings, %d times each way", options.runs)
    return {
        "machine": machine,
        "command": shlex.join(sys.argv),
        "bulk": measure(job, options.runs),
    }


def measure(job: BulkJob, runs: int) -> dict[str, Any]:
    """Read the files plainly, fast, and fast by two processes at once, in turns, `runs` times.

    Raises UnavailableError where a file or the checkpoint cannot be used.
    """
    plain: list[BulkRun] = []
    fast: list[BulkRun] = []
    both_s: list[float] = []
    with _Process(job) as one, _Process(job) as other:
        one.ready()
        other.ready()
        for _ in range(runs):
            plain.append(one.read("plain"))
            fast.append(one.read("fast"))
            one.ask("fast")
            other.ask("fast")
            both_s.append(max(one.answer().wall_s, other.answer().wall_s))
    heard_s = plain[0].heard_s
    cpu = [summary([run.cpu_s for run in way]) for way in (plain, fast)]
    wall = [summary([run.wall_s for run in way]) for way in (plain, fast)]
    jobs = summary([seconds / 2 for seconds in both_s])
    return {
        "files": len(job.files),
        "audio_s": heard_s,
        "runs": runs,
        "plain": {"cpu_s": cpu[0], "wall_s": wall[0]},
        "fast": {"cpu_s": cpu[1], "wall_s": wall[1]},
        "fast_jobs_2": {"wall_s_per_pass": jobs},
        "fast_to_plain_per_core": cpu[0]["median"] / cpu[1]["median"],
        "fast_to_plain": wall[0]["median"] / wall[1]["median"],
        "jobs_2_to_fast": wall[1]["median"] / jobs["median"],
        "hours_per_minute": {
            "plain": heard_s / 60 / wall[0]["median"],
            "fast": heard_s / 60 / wall[1]["median"],
            "fast_jobs_2": heard_s / 60 / jobs["median"],
        },
        "alike": alike(plain[0].events, fast[0].events),
    }


def alike(plain: Sequence[FileEvent], fast: Sequence[FileEvent]) -> dict[str, Any]:
    """How many events of one are in the other: equal, and with an equal onset.

    Shares are of the events of both: 1 where all are, 0 where none is. None without any event.
    """
    total = len(plain) + len(fast)

    def share(ends: slice) -> float | None:
        left = list(fast)
        for event in plain:
            for other in left:
                near = list(zip(event[2:], other[2:], strict=True))[ends]
                if event[:2] == other[:2] and all(
                    abs(a - b) <= ALIKE_S + _ROUNDING_S for a, b in near
                ):
                    left.remove(other)
                    break
        return 2 * (len(fast) - len(left)) / total if total else None

    return {
        "within_s": ALIKE_S,
        "events_plain": len(plain),
        "events_fast": len(fast),
        "equal": share(slice(0, 2)),
        "equal_onset": share(slice(0, 1)),
    }


def as_table(made: dict[str, Any]) -> str:
    """Markdown of what `measure` made, and of the machine."""
    bulk, where = made["bulk"], made["machine"]
    alike_, hours = bulk["alike"], bulk["hours_per_minute"]
    rows = [
        ("detect: processor time", f"{bulk['plain']['cpu_s']['median']:.2f} s"),
        ("detect --fast: processor time", f"{bulk['fast']['cpu_s']['median']:.2f} s"),
        ("audio per core, --fast to plain", f"{bulk['fast_to_plain_per_core']:.1f}"),
        ("audio per time, --fast to plain", f"{bulk['fast_to_plain']:.1f}"),
        ("audio per time, --fast --jobs 2 to --fast", f"{bulk['jobs_2_to_fast']:.2f}"),
        ("hours of audio a minute", " / ".join(f"{rate:.2g}" for rate in hours.values())),
        ("events, plain / --fast", f"{alike_['events_plain']} / {alike_['events_fast']}"),
        ("equal within 80 ms, onset and offset / onset", _shares(alike_)),
    ]
    head = (
        f"**{bulk['files']} files, {bulk['audio_s'] / 60:.1f} min**; {where['cpu']}, "
        f"{where['cores']} cores, load {where['load_before']:.1f}, medians of {bulk['runs']} runs\n"
    )
    return "\n".join(
        [head, "| what | measured |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
    )


def _shares(told: dict[str, Any]) -> str:
    shares = (told["equal"], told["equal_onset"])
    return " / ".join("-" if share is None else f"{100 * share:.0f} %" for share in shares)


class _Process:
    """A process with a model; a context manager."""

    def __init__(self, job: BulkJob) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pe_stream.workbench.bench.bulk"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(json.dumps(asdict(job)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.communicate()

    def ready(self) -> None:
        self._heard()

    def read(self, way: Way) -> BulkRun:
        self.ask(way)
        return self.answer()

    def ask(self, way: Way) -> None:
        self._say(way)

    def answer(self) -> BulkRun:
        told = json.loads(self._heard())
        return BulkRun(**told | {"events": [tuple(event) for event in told["events"]]})

    def _say(self, line: str) -> None:
        assert self._child.stdin is not None  # noqa: S101 - it is a pipe
        try:
            print(line, file=self._child.stdin, flush=True)
        except BrokenPipeError:
            raise self._ended() from None

    def _heard(self) -> str:
        assert self._child.stdout is not None  # noqa: S101 - it is a pipe
        line = self._child.stdout.readline()
        if not line:
            raise self._ended()
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "error":
            raise UnavailableError(rest)
        return rest

    def _ended(self) -> UnavailableError:
        return UnavailableError("a process that was to read the recordings has ended")


def _serve() -> None:
    """What the process does: get ready, then read all files for each line that it is told."""
    job = BulkJob(**json.loads(sys.stdin.readline()))
    try:
        scorer = _scorer(job)
        print("ok ready", flush=True)
        for line in sys.stdin:
            run = _read(job.files, scorer, fast=line.strip() == "fast")
            print("ok", json.dumps(asdict(run)), flush=True)
    except PeStreamError as error:
        print("error", " ".join(str(error).split()), flush=True)


def _scorer(job: BulkJob) -> Scorer:
    settings = load(EVERYDAY)
    keys = ("checkpoint", "device", "dtype", "threads")
    model = settings.model.model_copy(update={key: getattr(job, key) for key in keys})
    return prepare(model, settings.labels)


def _read(files: Sequence[str], scorer: Scorer, *, fast: bool) -> BulkRun:
    heard = 0
    events: list[FileEvent] = []

    def listen(samples: Samples) -> None:
        nonlocal heard
        heard += len(samples)

    began_s, cpu_s = time.monotonic(), time.process_time()
    if fast:
        quick = replace(scorer, framing=scorer.framing.in_bulk())
        opens = [partial(media.read, file) for file in files]
        with Bulk(opens, quick, node="bench") as bulk:
            for number in range(len(files)):
                found = bulk.events(bulk.open(), on_audio=listen)
                events += [(number, e.label, e.onset_s, e.offset_s or 0.0) for e in found]
    else:
        for number, file in enumerate(files):
            found = detect(media.read(file), scorer, node="bench", on_audio=listen)
            events += [(number, e.label, e.onset_s, e.offset_s or 0.0) for e in found]
    return BulkRun(
        heard / SAMPLE_RATE, time.monotonic() - began_s, time.process_time() - cpu_s, events
    )


if __name__ == "__main__":
    _serve()
