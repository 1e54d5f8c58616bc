"""The process that gives second opinions (`pipeline.opinion_child`), as whoever starts it sees it.

Messages (`core.pipe_messages`) go both ways. To it SETUP, a JSON object: what to load, and the
texts of all labels; ASK: a line of JSON, `label`, `span_s` and `sizes`, then float32 samples and
JPEGs, each of which has its size there (bytes); and TEXT, in JSON: a text to search by. From it
LOG, a JSON object: what is logged there; READY, a JSON object, once it is loaded; for each ASK
OPINION: a line of JSON, then the vectors as they are to be kept; for each TEXT PROBE: a line of
JSON, then float32 vectors, or REFUSED, what is wrong with the text. Instead of READY and PROBE may
come FAILED: why it is of no use.
"""

from __future__ import annotations

import json
import logging
import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pe_stream.config import PASSWORD_VARIABLE, SecondOpinionSettings
from pe_stream.config.child_process import python
from pe_stream.core.opinion import OpinionTexts
from pe_stream.core.opinion_requests import EventExcerpt
from pe_stream.core.opinion_vectors import (
    STORED,
    OpinionProbe,
    OpinionVectors,
    VectorKind,
    pack,
    unpack,
)
from pe_stream.core.pipe_messages import MessageReader, message
from pe_stream.core.types import SecondOpinion
from pe_stream.errors import ConfigError, UnavailableError

log = logging.getLogger(__name__)

SETUP, ASK, TEXT = b"S", b"A", b"T"
READY, OPINION, FAILED, LOG = b"R", b"O", b"F", b"L"
PROBE, REFUSED = b"P", b"N"

LOAD_S = 6 * 3600.0
"""Loading takes no longer than this (s): the largest checkpoint is a download of 9 GB."""

KILL_S = 5.0
"""How long a killed process may take to die: on a busy machine it gets hardly any time for it."""

LEAST_NICENESS, MOST_NICENESS = 0, 19
"""It has its share of a busy machine, or what nobody else wants."""

_PROGRAM = """import contextlib, os
with contextlib.suppress(OSError):  # not allowed here
    os.nice(int(sys.argv[1]))  # before any library starts a thread
out = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # libraries may print, already when they are imported
from pe_stream.pipeline.opinion_child import start
start(out)
"""
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_MOST_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class OpinionCost:
    """What opinions cost so far, in bytes: of weights on disk, and the most memory in use."""

    on_disk: int
    memory: int


class OpinionProcess:
    """One such process; for one thread, but for `kill`.

    sees: whether pictures are of use to it; known once it is loaded.
    """

    def __init__(
        self,
        settings: SecondOpinionSettings,
        texts: Mapping[str, OpinionTexts],
        niceness: int = MOST_NICENESS,
        *,
        sees: bool = False,
    ) -> None:
        """Start it. texts: by label, what will be asked about. sees: whether with pictures.

        Raises UnavailableError.
        """
        kept = {k: v for k, v in os.environ.items() if k != PASSWORD_VARIABLE}
        threads = {"OMP_NUM_THREADS": str(settings.threads)}
        try:
            self._process = subprocess.Popen(
                python(_PROGRAM, str(niceness)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                process_group=0,  # the terminal's Ctrl-C is for us
                env={**kept, **_ONE_THREAD, **threads},
            )
        except OSError as error:
            raise UnavailableError(f"no process can be started: {error}") from error
        assert self._process.stdin is not None  # noqa: S101 - we asked for pipes
        assert self._process.stdout is not None  # noqa: S101
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)
        self._reader = MessageReader()
        self._setup = settings.model_dump(
            include={"checkpoint", "revision", "cache", "device", "dtype", "threads"}
        ) | {"texts": {label: [t.heard, t.seen, t.negatives] for label, t in texts.items()}}
        self._setup["sees"] = sees
        self.sees = False
        self.cost = OpinionCost(0, 0)
        self._identity = ""

    def load(self) -> None:
        """Return once it is loaded; raises UnavailableError where that cannot be."""
        until_s = time.monotonic() + LOAD_S
        self._send(SETUP, json.dumps(self._setup).encode(), until_s=until_s)
        with _understanding():
            told = json.loads(self._answer(READY, until_s))
            self.sees = bool(told["sees"])
            self.cost = OpinionCost(told["bytes_on_disk"], told["memory"])
            self._identity = told["identity"]

    def opinion_on(
        self, excerpt: EventExcerpt, patience_s: float
    ) -> tuple[SecondOpinion, OpinionVectors]:
        """The opinion on what was heard, and what is kept of it.

        Raises UnavailableError where there is none in time; the process is of no use after that.
        """
        until_s = time.monotonic() + patience_s
        pictures = excerpt.pictures if self.sees else ()
        sizes = [len(each) for each in (excerpt.samples.tobytes(), *pictures)]
        asked = {"label": excerpt.label, "span_s": excerpt.span_s, "sizes": sizes}
        head = json.dumps(asked).encode() + b"\n"
        self._send(ASK, head, excerpt.samples.tobytes(), *pictures, until_s=until_s)
        with _understanding():
            told, vectors = _taken_apart(self._answer(OPINION, until_s), STORED)
            self.cost = OpinionCost(self.cost.on_disk, told["memory"])
            opinion = SecondOpinion.from_dict(told["opinion"])
            return opinion, OpinionVectors(opinion.checkpoint, self._identity, vectors)

    def probe(self, text: str, patience_s: float) -> OpinionProbe:
        """A text to search by; raises ConfigError on one that cannot be, else as `opinion_on`."""
        until_s = time.monotonic() + patience_s
        self._send(TEXT, json.dumps(text).encode(), until_s=until_s)
        with _understanding():
            told, rows = _taken_apart(self._answer(PROBE, until_s), np.dtype(np.float32))
            return OpinionProbe(self._identity, rows, told["biases"])

    @property
    def ended(self) -> bool:
        """Whether it has died."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it; whoever waits for it hears of that. From any thread, and as often as you like."""
        self._process.kill()

    def close(self) -> None:
        """End it, and let go of it."""
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_S)
        self._to.close()
        self._from.close()

    def _send(self, kind: bytes, *body: bytes, until_s: float) -> None:
        left = memoryview(message(kind, *body))
        while left:
            self._wait(self._to.fileno(), select.POLLOUT, until_s)
            try:
                left = left[os.write(self._to.fileno(), left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._died() from None

    def _answer(self, wanted: bytes, until_s: float) -> bytes:
        """The body of the next message of that kind."""
        while True:
            self._wait(self._from.fileno(), select.POLLIN, until_s)
            more = os.read(self._from.fileno(), _MOST_AT_ONCE)
            if not more:
                raise self._died()
            for kind, body in self._reader.feed(more):
                if kind == LOG:
                    _log(json.loads(body))
                elif kind == FAILED:
                    raise UnavailableError(body.decode().removeprefix("second opinion: "))
                elif kind == REFUSED:
                    raise ConfigError(body.decode())
                elif kind == wanted:
                    return body

    def _wait(self, pipe: int, what: int, until_s: float) -> None:
        waiting = select.poll()  # `select` fails on file numbers from 1024 on
        waiting.register(pipe, what)
        if not waiting.poll(1000 * max(0.0, until_s - time.monotonic())):
            raise UnavailableError("its process hangs")

    def _died(self) -> UnavailableError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_S)
        return UnavailableError(f"its process has died ({self._process.returncode})")


def put_together(head: Mapping[str, Any], vectors: Mapping[VectorKind, NDArray[Any]]) -> bytes:
    """The body of a message: a line of JSON, then vectors."""
    kinds, packed = pack(vectors)
    return json.dumps({**head, "kinds": kinds}).encode() + b"\n" + packed


def _taken_apart(
    body: bytes, number: np.dtype[Any]
) -> tuple[dict[str, Any], dict[VectorKind, NDArray[Any]]]:
    head, _, packed = body.partition(b"\n")
    told = json.loads(head)
    return told, unpack(told["kinds"], packed, number)


@contextmanager
def _understanding() -> Iterator[None]:
    """Raise UnavailableError where what came is not what was meant to come."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UnavailableError(f"its process is not understood: {error!r}") from error


def _log(told: dict[str, Any]) -> None:
    log.log(told["level"], "second opinion: %s", told["said"])
