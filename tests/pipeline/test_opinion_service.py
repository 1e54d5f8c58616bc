"""Opinions by a process of its own: what is asked is answered or given up, whatever becomes of it.

`OPINIONS=500 pytest tests/pipeline/test_opinion_service.py -k growth` asks for more of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from checkpoints import make_checkpoint
from forked import ForkedProgram
from mosquitto import wait_until
from timing import within

from pe_stream.audio.still import encode_rgb, from_jpeg
from pe_stream.config import LabelSettings, SecondOpinionSettings
from pe_stream.config.second_opinion import texts_of
from pe_stream.core.opinion import OpinionTexts
from pe_stream.core.opinion_requests import EventExcerpt
from pe_stream.core.opinion_vectors import OpinionVectors
from pe_stream.core.types import FRAME, Samples, SecondOpinion
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model.second_opinion import load_opinion_model
from pe_stream.pipeline import opinion_process, opinion_service
from pe_stream.pipeline.opinion_process import LEAST_NICENESS, OpinionProcess
from pe_stream.pipeline.opinion_service import OpinionService

OPINIONS = int(os.environ.get("OPINIONS", "30"))

DOG = {"dog": LabelSettings(prompts=("a dog barking", "a bark"))}

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]


LOADED_S = 60.0
"""Importing torch and transformers takes seconds on an idle machine."""


HOUR_S = 3600.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after a failure are short; an end is waited for, however busy the machine is."""
    monkeypatch.setattr(opinion_service, "LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(opinion_service, "_TURN_S", 0.05)
    monkeypatch.setattr(opinion_service, "STOP_S", within(60))
    monkeypatch.setattr(opinion_process, "KILL_S", within(30))


class Clock:
    """The service's clock, which may be put on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(opinion_service, "time", made)
    return made


@pytest.fixture
def forked_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that gives opinions need not import torch."""
    program = SimpleNamespace(**vars(subprocess) | {"Popen": ForkedProgram})
    monkeypatch.setattr(opinion_process, "subprocess", program)


forked = pytest.mark.usefixtures("forked_process")


@dataclass
class Asked:
    """A service, what it has told, and its processes."""

    labels: Mapping[str, LabelSettings]
    made: OpinionService = field(init=False)
    told: list[tuple[str, SecondOpinion | None]] = field(default_factory=list)
    kept: list[tuple[str, OpinionVectors]] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    may_load: threading.Event = field(default_factory=threading.Event)
    processes: list[OpinionProcess] = field(default_factory=list)

    def ask(
        self,
        name: str,
        seconds: float = 1.0,
        label: str = "dog",
        pictures: tuple[bytes, ...] = (),
    ) -> EventExcerpt:
        samples, span_s = noise(round(seconds * 48_000)), (2.0, 2.0 + seconds)
        asked = EventExcerpt(name, label, samples, span_s, pictures)
        self.made.ask(asked)
        return asked

    def has_told(self, *names: str) -> None:
        wait_until(
            lambda: [name for name, _ in self.told] == [*names], f"{names} are told", LOADED_S
        )

    def is_at_work(self) -> None:
        """Wait until the process is asked what it has not answered."""
        wait_until(lambda: self.made._asked_s is not None, "it is at work", LOADED_S)

    def loads(self, count: int = 1) -> int:
        """Wait until a process is there, the nth, and loaded; its id."""
        wait_until(lambda: len(self.processes) == count, "a process", LOADED_S)
        wait_until(lambda: self.made.status.reason is None, "it is loaded", LOADED_S)
        return self.processes[-1]._process.pid


ServiceOf = Callable[..., AbstractContextManager[Asked]]
"""Makes a service with a checkpoint and keys of its settings."""


def noise(count: int) -> Samples:
    return np.random.default_rng(count).normal(0, 0.1, count).astype(np.float32)


@pytest.fixture
def service_of(monkeypatch: pytest.MonkeyPatch) -> ServiceOf:
    @contextmanager
    def service(
        checkpoint: Path, *, sees: bool = False, held: bool = False, **keys: Any
    ) -> Iterator[Asked]:
        """held: nothing is loaded before `may_load` is set."""
        around = Asked(DOG)
        if not held:
            around.may_load.set()

        class Noted(OpinionProcess):
            """Has its share of a busy machine."""

            def __init__(
                self,
                settings: SecondOpinionSettings,
                texts: Mapping[str, OpinionTexts],
                *,
                sees: bool,
            ) -> None:
                super().__init__(settings, texts, LEAST_NICENESS, sees=sees)
                around.processes.append(self)

            def load(self) -> None:
                around.may_load.wait()
                super().load()

        monkeypatch.setattr(opinion_service, "OpinionProcess", Noted)
        given: dict[str, Any] = {"wait_s": HOUR_S, **keys}  # loading counts, too
        settings = SecondOpinionSettings(checkpoint=str(checkpoint), device="cpu", **given)
        around.made = OpinionService(
            settings,
            lambda: around.labels,
            lambda *told: around.told.append(told),
            around.failed.append,
            lambda *kept: around.kept.append(kept),
            sees=sees,
        )
        around.made.start()
        try:
            yield around
        finally:
            around.may_load.set()
            around.made.stop()
        assert not around.made._worker.running
        assert all(each.ended for each in around.processes)
        assert around.failed == []

    return service


def alive(pid: int) -> bool:
    """Whether it runs, and is no mere remainder."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("given", "niceness"), [((), 19), ((LEAST_NICENESS,), os.nice(0))], ids=["rest", "share"]
)
def test_it_has_what_nobody_else_wants_or_its_share(
    pe_av: Path, given: tuple[int, ...], niceness: int
) -> None:
    settings = SecondOpinionSettings(checkpoint=str(pe_av), device="cpu")
    process = OpinionProcess(settings, {}, *given)
    pid = process._process.pid
    try:
        if not given:  # its first line: what comes later, it may never get to on a busy machine
            wait_until(
                lambda: os.getpriority(os.PRIO_PROCESS, pid) == niceness, "it is niced", LOADED_S
            )
            return
        # As one thread reads what comes to it, the program is past its first lines.
        wait_until(lambda: len(list(Path(f"/proc/{pid}/task").iterdir())) > 1, "it runs", LOADED_S)
        assert os.getpriority(os.PRIO_PROCESS, pid) == niceness
    finally:
        process.close()


def test_what_is_asked_is_answered(service_of: ServiceOf, pe_av: Path) -> None:
    with service_of(pe_av, held=True) as service:
        assert service.made.status.reason == f"loading {pe_av}"
        service.may_load.set()
        asked = service.ask("a", 1.01)
        service.has_told("a")
        status = service.made.status
    opinion = service.told[0][1]
    assert opinion is not None
    assert (opinion.checkpoint, opinion.span_s, opinion.pictures) == (str(pe_av), (2.0, 3.01), 0)
    assert (opinion.picture, opinion.both, opinion.together) == (None, None, None)
    texts = texts_of(DOG["dog"])
    model = load_opinion_model(str(pe_av), texts.every, device="cpu", threads=1)
    whole = np.pad(asked.samples, (0, -len(asked.samples) % FRAME))
    assert opinion.sound == pytest.approx(model.judge(model.embed(whole), texts).sound, abs=1e-4)
    assert opinion.sound is not None
    assert 0 < opinion.sound < 1
    assert (status.asked, status.answered, status.given_up, status.restarts) == (1, 1, 0, 0)
    assert status.seconds >= opinion.took_ms / 1000 > 0
    ((event_id, kept),) = service.kept
    own = model.kept(model.embed(whole))
    assert (event_id, kept.checkpoint, kept.identity) == ("a", own.checkpoint, own.identity)
    assert list(kept.vectors) == ["sound"]
    assert kept.vectors["sound"].dtype == np.float16
    assert kept.vectors["sound"] == pytest.approx(own.vectors["sound"], abs=1e-3)


def test_texts_are_embedded_to_search_by(
    service_of: ServiceOf, pe_av: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the checkpoint here; one that cannot be used costs nothing."""
    with service_of(pe_av, held=True) as service:
        with pytest.raises(UnavailableError, match="at present: loading "):
            service.made.probe("a kettle")
        service.may_load.set()
        pid = service.loads()
        monkeypatch.setattr(opinion_service, "TEXT_S", LOADED_S)
        found = service.made.probe("a kettle")
        with pytest.raises(ConfigError, match="is too long for checkpoint"):
            service.made.probe("word " * 60)
        with pytest.raises(ConfigError, match="a prompt is empty"):
            service.made.probe(" ")
        # While it is at something else, a bounded number waits, and none for ever.
        monkeypatch.setattr(opinion_service, "TEXT_S", 0.2)
        monkeypatch.setattr(opinion_service, "MOST_TEXTS", 1)
        os.kill(pid, signal.SIGSTOP)
        with until_taken(service), pytest.raises(UnavailableError, match=NOT_READ):
            service.made.probe("a bell")  # it is at this one
        with pytest.raises(UnavailableError, match=NOT_READ):
            service.made.probe("a bell")
        monkeypatch.setattr(opinion_service, "TEXT_S", LOADED_S)
        refused: list[UnavailableError] = []

        def asks() -> None:
            try:
                service.made.probe("a horn")
            except UnavailableError as error:
                refused.append(error)

        asking = threading.Thread(target=asks)
        asking.start()
        wait_until(lambda: len(service.made._texts) == 1, "it waits")
        with pytest.raises(UnavailableError, match="too many texts wait"):
            service.made.probe("a bell")
        os.kill(pid, signal.SIGKILL)
        asking.join(within(LOADED_S))
        assert [str(each) for each in refused] == ["the process of second opinions has ended"]
        service.loads(2)
        assert service.made.status.restarts == 1
    model = load_opinion_model(str(pe_av), ["a kettle"], device="cpu", threads=1)
    own = model.probe("a kettle")
    assert found.identity == own.identity
    assert found.biases == own.biases
    assert list(found.rows) == ["sound", "picture", "both"]
    for kind, row in found.rows.items():
        assert row == pytest.approx(own.rows[kind], abs=1e-5)


NOT_READ = r"has not read the text in 0\.2 s"
IS_LATE = "its process has not answered within second_opinion.wait_s"


@contextmanager
def until_taken(service: Asked) -> Iterator[None]:
    """The time that a text has begins once the service's thread has taken it, to have it read."""

    class Taken(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            wait_until(
                lambda: all(each is not self for _, each in list(service.made._texts)),
                "it is taken",
                LOADED_S,
            )
            return super().result(timeout)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(opinion_service, "Future", Taken)
        yield


@forked
def test_a_process_that_hangs_on_a_text_is_told_and_begun_again(
    service_of: ServiceOf, pe_av: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opinion_service, "TEXT_S", 0.2)
    with service_of(pe_av, wait_s=1.0) as service:
        pid = service.loads()
        os.kill(pid, signal.SIGSTOP)
        with until_taken(service), pytest.raises(UnavailableError, match=NOT_READ):
            service.made.probe("a bell")
        wait_until(lambda: service.made.status.reason == IS_LATE, "it is told")
        os.kill(pid, signal.SIGCONT)
        assert service.loads() == pid, "it goes on"
        monkeypatch.setattr(opinion_service, "HUNG_TEXT_S", 0.3)
        os.kill(pid, signal.SIGSTOP)
        with until_taken(service), pytest.raises(UnavailableError, match=f"{NOT_READ}|hangs"):
            service.made.probe("a bell")
        assert service.loads(2) != pid


def jpegs(*numbers: int) -> tuple[bytes, ...]:
    """Pictures of coarse noise, each another one."""
    made = [np.random.default_rng(each).integers(0, 256, (9, 16, 3), np.uint8) for each in numbers]
    return tuple(encode_rgb(np.kron(each, np.ones((8, 8, 1), np.uint8))) for each in made)


def test_what_was_seen_meanwhile_is_looked_at(service_of: ServiceOf, pe_av: Path) -> None:
    with service_of(pe_av, sees=True) as service:
        asked = service.ask("a", 2.0, pictures=jpegs(1, 2, 3, 2))
        service.has_told("a")
        service.ask("b", 2.0)
        service.has_told("a", "b")
    (_, seen), (_, unseen) = service.told
    assert seen is not None
    assert unseen is not None
    assert (seen.pictures, unseen.pictures) == (4, 0)
    texts = texts_of(DOG["dog"])
    model = load_opinion_model(str(pe_av), texts.every, device="cpu", threads=1)
    squares = [model.square(from_jpeg(each), each) for each in asked.pictures]
    scores = model.judge(model.embed(asked.samples, squares), texts)
    for name in ("sound", "picture", "both", "together"):
        assert getattr(seen, name) == pytest.approx(getattr(scores, name), abs=1e-4), name
    assert (unseen.picture, unseen.both, unseen.together) == (None, None, None)
    assert unseen.sound == seen.sound


def test_a_checkpoint_that_only_hears_is_shown_nothing(
    service_of: ServiceOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_checkpoint(tmp_path / "ears")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["architectures"] = ["PeAudioModel"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with service_of(folder, sees=True) as service:
        service.ask("a", pictures=jpegs(1, 2))
        service.has_told("a")
    (_, opinion) = service.told[0]
    assert opinion is not None
    assert (opinion.picture, opinion.pictures) == (None, 0)
    assert "hears and does not see: pictures are of no use" in caplog.text


@forked
def test_a_killed_process_costs_one_opinion_at_most(service_of: ServiceOf, pe_av: Path) -> None:
    with service_of(pe_av) as service:
        pid = service.loads()
        os.kill(pid, signal.SIGSTOP)  # so that it is at work on it
        service.ask("a")
        service.is_at_work()
        service.ask("b")
        os.kill(pid, signal.SIGKILL)
        service.has_told("a", "b")
        assert service.loads(2) != pid
        (_, first), (_, second) = service.told
        assert first is None
        assert second is not None
        status = service.made.status
        assert (status.asked, status.answered, status.given_up, status.restarts) == (2, 1, 1, 1)
        # One that dies while nothing is asked is begun again, too.
        os.kill(service.loads(2), signal.SIGKILL)
        wait_until(lambda: len(service.processes) == 3, "another", LOADED_S)
        assert service.made.status.given_up == 1


@forked
def test_one_that_hangs_is_ended(
    service_of: ServiceOf, pe_av: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opinion_service, "HUNG_S", 1.0 - HOUR_S)  # a second after it is asked
    with service_of(pe_av, wait_s=HOUR_S) as service:
        pid = service.loads()
        os.kill(pid, signal.SIGSTOP)
        service.ask("a", 8.0)  # more than a pipe holds
        service.has_told("a")
        assert service.told[0][1] is None
        wait_until(lambda: not alive(pid), "it is gone")
        wait_until(lambda: len(service.processes) == 2, "another", LOADED_S)


@forked
def test_what_comes_too_late_is_given_up(
    service_of: ServiceOf, pe_av: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with service_of(pe_av, wait_s=HOUR_S) as service:
        pid = service.loads()
        os.kill(pid, signal.SIGSTOP)
        service.ask("a")
        service.is_at_work()
        clock.ahead_s += HOUR_S + 1
        os.kill(pid, signal.SIGCONT)
        service.has_told("a")
        assert service.told[0][1] is None
        assert service.made.status.given_up == 1
        assert service.loads() == pid, "it did not fail"
    assert "longer than second_opinion.wait_s (3600)" in caplog.text


@forked
def test_a_process_that_takes_too_long_is_said_meanwhile(
    service_of: ServiceOf, pe_av: Path, clock: Clock
) -> None:
    with service_of(pe_av, wait_s=HOUR_S) as service:
        pid = service.loads()
        os.kill(pid, signal.SIGSTOP)
        service.ask("a", 8.0)
        service.is_at_work()
        assert service.made.status.reason is None
        clock.ahead_s += HOUR_S + 1
        assert service.made.status.reason == IS_LATE
        service.ask("b")  # is not late yet
        assert service.told == []
        clock.ahead_s += HOUR_S + 1
        service.ask("c")
        service.has_told("b")  # whatever the process does
        os.kill(pid, signal.SIGCONT)
        wait_until(lambda: service.made.status.reason is None, "it goes on", LOADED_S)


NO_OPINION = b'{"opinion": 3, "memory": 1, "kinds": ["sound"]}\n12'


@pytest.mark.parametrize("said", [b"no json", b"{}", b"[1]", b'{"kinds": []}', NO_OPINION])
@forked
def test_a_process_that_is_not_understood_costs_one_opinion(
    service_of: ServiceOf, pe_av: Path, monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    answer = OpinionProcess._answer

    def garbled(process: OpinionProcess, wanted: bytes, until_s: float) -> bytes:
        found = answer(process, wanted, until_s)
        return said if wanted == opinion_process.OPINION else found

    with service_of(pe_av) as service:
        service.loads()
        monkeypatch.setattr(OpinionProcess, "_answer", garbled)
        service.ask("a")
        service.has_told("a")
        assert service.told == [("a", None)]
        monkeypatch.setattr(OpinionProcess, "_answer", answer)
        service.loads(2)
        service.ask("b")
        service.has_told("a", "b")
        assert service.told[1][1] is not None


@forked
def test_many_at_once_are_bounded(service_of: ServiceOf, tmp_path: Path) -> None:
    """Whatever the process does: here it cannot load."""
    with service_of(tmp_path) as service:
        for number in range(opinion_service.MOST_WAITING + 3):
            service.ask(f"{number}", 0.04)
        assert service.told == [("0", None), ("1", None), ("2", None)]


@forked
def test_a_checkpoint_that_cannot_be_loaded_is_said(
    service_of: ServiceOf, level: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And tried again: the hub may be away while a house starts."""
    with service_of(level) as service:
        wait_until(lambda: service.made.status.restarts > 0, "another try", LOADED_S)
        status = service.made.status
        assert status.reason is not None
        assert status.reason.startswith(f"checkpoint '{level}'")
        assert "give a PE-AV checkpoint" in status.reason
    assert f"no second opinions at present: {status.reason}" in caplog.text
    assert "Traceback" not in caplog.text


@forked
def test_other_labels_are_asked_about(service_of: ServiceOf, pe_av: Path) -> None:
    with service_of(pe_av) as service:
        service.loads()
        service.labels = {"dog": DOG["dog"].model_copy(update={"threshold": 0.7})}
        service.ask("a")
        service.has_told("a")
        assert len(service.processes) == 1, "its words are the same"
        service.labels = {"cat": LabelSettings(prompts=("a cat",))}
        service.loads(2)
        service.ask("b", label="cat")
        service.ask("c", label="dog")  # it has just gone
        wait_until(lambda: len(service.told) == 3, "both are seen to", LOADED_S)
        told = dict(service.told)
        assert told["b"] is not None
        assert told["c"] is None
        assert service.made.status.restarts == 0


def test_no_growth(service_of: ServiceOf, pe_av: Path) -> None:
    with service_of(pe_av) as service:
        pid = service.loads()
        used = []
        for number in range(OPINIONS):
            service.ask(f"{number}", 8.0)
            service.has_told(*map(str, range(number + 1)))
            pages = Path(f"/proc/{pid}/statm").read_text("utf-8").split()[1]
            used.append(int(pages) * os.sysconf("SC_PAGE_SIZE"))
        assert all(opinion is not None for _, opinion in service.told)
        assert service.loads() == pid
    # What is freed is kept: the heap takes another step now and then; with something kept of each
    # opinion, one after the other.
    most = list(accumulate(used, max))[OPINIONS // 2 :]
    assert sum(after > before for before, after in pairwise(most)) <= 2, used
    assert most[-1] - most[0] < 32 * 2**20, used


def test_it_ends_with_who_has_started_it(pe_av: Path) -> None:
    program = f"""
import os
from pe_stream.config import SecondOpinionSettings
from pe_stream.pipeline.opinion_process import OpinionProcess
settings = SecondOpinionSettings(checkpoint={str(pe_av)!r}, device="cpu")
process = OpinionProcess(settings, {{}}, {LEAST_NICENESS})
process.load()
print(process._process.pid, flush=True)
os._exit(1)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=False, timeout=within(120)
    )
    pid = int(done.stdout)
    wait_until(lambda: not alive(pid), "it has ended")


@forked
def test_a_stop_waits_for_no_loading(service_of: ServiceOf, pe_av: Path) -> None:
    with service_of(pe_av) as service:
        wait_until(lambda: len(service.processes) == 1, "a process", LOADED_S)
        os.kill(service.processes[0]._process.pid, signal.SIGSTOP)  # so that loading goes on
        begun_s = time.monotonic()
    assert time.monotonic() - begun_s < within(2.0)


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch, pe_av: Path) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", none)
    with pytest.raises(UnavailableError, match=r"no process can be started: .*unavailable"):
        OpinionProcess(SecondOpinionSettings(checkpoint=str(pe_av)), {})
