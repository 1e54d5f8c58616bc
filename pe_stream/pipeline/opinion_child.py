"""The process that gives second opinions on live sound, from within: see `opinion_process`.

It ends with its standard input.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import os
import queue
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pe_stream.core.opinion import OpinionTexts
from pe_stream.core.pipe_messages import MessageReader, message
from pe_stream.core.types import FRAME
from pe_stream.errors import ConfigError, PeStreamError
from pe_stream.model.second_opinion import OpinionModel, SquarePicture, load_opinion_model
from pe_stream.pipeline.opinion_process import (
    ASK,
    FAILED,
    LOG,
    OPINION,
    PROBE,
    READY,
    REFUSED,
    put_together,
)

_MOST_AT_ONCE = 1 << 20
_REST_S = 5.0


def start(out: BinaryIO) -> None:
    """Be that process. out: the pipe to the parent."""
    # Whoever ends a whole service signals us too; we end with our standard input.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with suppress(OSError):  # where memory runs out, it is the first to go
        Path("/proc/self/oom_score_adj").write_text("1000", "utf-8")
    messages: queue.SimpleQueue[tuple[bytes, bytes]] = queue.SimpleQueue()  # one at a time is asked
    # No Worker: what ends it ends this process, and there is nobody to report to.
    threading.Thread(target=_read, args=(messages,), name="standard input", daemon=True).start()
    logging.basicConfig(handlers=[_ToParent(out)], level=logging.WARNING, force=True)
    _, setup = messages.get()
    try:
        giver = _OpinionGiver(json.loads(setup))
    except PeStreamError as error:
        _tell(out, FAILED, str(error).encode())
        sys.exit(error.exit_code)
    _tell(out, READY, json.dumps(giver.about()).encode())
    while True:
        with suppress(queue.Empty):
            kind, asked = messages.get(timeout=_REST_S)
            if kind == ASK:
                _tell(out, OPINION, giver.of(asked))
            else:
                _tell(out, *giver.compared(json.loads(asked)))
        giver.rest()


class _OpinionGiver:
    """A loaded checkpoint, and the texts that it is asked about."""

    def __init__(self, setup: dict[str, Any]) -> None:
        """Load it. Raises UnavailableError and ConfigError, as `load_opinion_model`."""
        told = setup.pop("texts")
        self._texts = {label: OpinionTexts(*map(tuple, texts)) for label, texts in told.items()}
        cache, sees = setup.pop("cache"), setup.pop("sees")
        self._model: OpinionModel = load_opinion_model(
            setup.pop("checkpoint"),
            [text for each in self._texts.values() for text in each.every],
            cache=None if cache is None else Path(cache),
            **setup,
        )
        self._sees = sees and self._model.sees
        if self._sees:
            self._model.see()  # read now, which is no part of what an opinion takes

    def about(self) -> dict[str, Any]:
        """What was loaded."""
        return {
            "bytes_on_disk": self._model.bytes_on_disk,
            "memory": _memory(),
            "sees": self._sees,
            "identity": self._model.identity,
        }

    def of(self, asked: bytes) -> bytes:
        """The answer to a request."""
        head, _, body = asked.partition(b"\n")
        about = json.loads(head)
        ends = [*itertools.accumulate(about["sizes"])]
        sound, *jpegs = (body[begin:end] for begin, end in itertools.pairwise([0, *ends]))
        begin_s, end_s = about["span_s"]
        begun_s = time.monotonic()
        samples = np.frombuffer(sound, np.float32)
        samples = np.pad(samples, (0, -len(samples) % FRAME))
        pictures = [self._square(each) for each in jpegs]
        clip = self._model.embed(samples, pictures)
        scores = self._model.judge(clip, self._texts[about["label"]])
        took_s = time.monotonic() - begun_s
        opinion = scores.opinion(len(pictures), (begin_s, end_s), self._model.name, took_s)
        told = {"opinion": opinion.to_dict(), "memory": _memory()}
        return put_together(told, self._model.kept(clip).vectors)

    def compared(self, text: str) -> tuple[bytes, bytes]:
        """The answer to a text to search by: its kind and body."""
        try:
            probe = self._model.probe(text)
        except ConfigError as error:
            return REFUSED, str(error).encode()
        except PeStreamError as error:
            return FAILED, str(error).encode()
        return PROBE, put_together({"biases": probe.biases}, probe.rows)

    def rest(self) -> None:
        """Let go of what is not needed any more."""
        self._model.rest(time.monotonic())

    def _square(self, jpeg: bytes) -> SquarePicture:
        """A picture as the model takes it; one that was asked about before costs nothing again."""
        from pe_stream.audio.still import from_jpeg

        return self._model.square(from_jpeg(jpeg), hashlib.sha256(jpeg).digest())


class _ToParent(logging.Handler):
    """Has what is logged here told there."""

    def __init__(self, out: BinaryIO) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        told = {"level": record.levelno, "said": record.getMessage()}
        _tell(self._out, LOG, json.dumps(told).encode())


def _tell(out: BinaryIO, kind: bytes, body: bytes) -> None:
    try:
        out.write(message(kind, body))
        out.flush()
    except BrokenPipeError:
        os._exit(0)


def _read(messages: queue.SimpleQueue[tuple[bytes, bytes]]) -> None:
    reader = MessageReader()
    while more := os.read(0, _MOST_AT_ONCE):  # not through sys.stdin: Python wants its lock
        for each in reader.feed(more):
            messages.put(each)
    os._exit(0)


def _memory() -> int:
    """The most memory that was in use so far (bytes)."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        told = next(line for line in lines if line.startswith("VmHWM:"))
        return 1024 * int(told.split()[1])
    # Elsewhere. On Linux this would begin with what whoever has started us had.
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
