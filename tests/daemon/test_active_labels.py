"""Labels are changed beside the scoring; see test_service and tests/web for the whole way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from mosquitto import wait_until
from sounds import noise
from stand_ins import LevelEngine, ScriptedSource, chunk, scorer
from timing import within

from pe_stream.audio.filtering import SoundFilter
from pe_stream.config import LocationSettings, Settings, local_time
from pe_stream.config.edit import ConfigFile, ConflictError, Edit
from pe_stream.config.file import load, parse
from pe_stream.config.local_time import LocalTime
from pe_stream.core.listener import Listener
from pe_stream.core.types import LabelRule
from pe_stream.daemon import active_labels
from pe_stream.daemon.active_labels import ActiveLabels
from pe_stream.errors import ConfigError, UnavailableError, UnfinishedError
from pe_stream.labels import enrol
from pe_stream.labels.prepare import PreparedLabels
from pe_stream.outputs.mqtt import SetCommand
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.openers import filters_of, refilter

CONFIG = (
    "sources: {a: {microphone: default}}\nlabels: {dog: {threshold: 0.5}, cat: {threshold: 0.5}}\n"
)


@dataclass
class Desk:
    """Labelling on a real file, and a scoring that can be held; its labels need no model."""

    path: Path
    config: str = CONFIG
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    read_on: threading.Event = field(default_factory=threading.Event)
    reading: threading.Event = field(default_factory=threading.Event)
    failures: list[BaseException] = field(default_factory=list)
    filters: dict[str, SoundFilter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.go_on.set()
        self.read_on.set()
        self.path.write_text(self.config, "utf-8")
        self.file = ConfigFile(self.path)
        self.source = ScriptedSource()
        settings = load(self.path)
        self.filters.update(filters_of(settings))
        heard = scorer(rules_of(settings), before=self._before)
        checkpoint = SimpleNamespace(name="level", recommended={}, words_known=True)
        heard = type(heard)(cast("Any", checkpoint), heard.engine, heard.framing, heard.labels)
        self.live = Live(
            {"a": lambda _first, _at_s: self.source},
            heard,
            Listener(),
            node="n",
            hears=settings.hears,
            ended=lambda _: None,
            failed=self.failures.append,
        )
        self.active_labels = ActiveLabels(
            settings,
            heard,
            self.live,
            LocalTime(LocationSettings()),
            local_time.now(),
            file=self.file,
            version=self.file.version,
            read=self._read,
            on_failure=self.failures.append,
            refilter=partial(refilter, self.filters),
        )

    def hold(self) -> None:
        """Let a scoring begin that goes on until `go_on` is set."""
        self.go_on.clear()
        self.begun.clear()
        self.source.give(chunk(0, 20, 0.1, anchor_ns=0))
        assert self.begun.wait(within(10))

    @property
    def text(self) -> str:
        return self.path.read_text("utf-8")

    @property
    def thresholds(self) -> dict[str, float]:
        """In force."""
        return {rule.name: rule.threshold for rule in self.live.rules["a"]}

    def change(self, threshold: float, label: str = "dog") -> str:
        return self.active_labels.edit(Edit(label, {"threshold": threshold}), self.file.version)

    def _before(self) -> None:
        self.begun.set()
        self.go_on.wait(within(20))

    def _read(self) -> Settings:
        self.reading.set()
        assert self.read_on.wait(within(20))
        return load(self.path)


def rules_of(settings: Settings) -> list[LabelRule]:
    return [label.rule(name) for name, label in settings.labels.items()]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    def prepared(_checkpoint: object, labels: Any, _holds: object) -> PreparedLabels:
        rules = [label.rule(name) for name, label in labels.items()]
        return PreparedLabels(cast("Any", LevelEngine([*labels]).labels), tuple(rules))

    monkeypatch.setattr(active_labels, "prepare_labels", prepared)
    made = Desk(tmp_path / "config.yaml")
    made.live.open()
    made.live.start()
    try:
        yield made
    finally:
        made.go_on.set()
        made.read_on.set()
        made.live.stop()
    assert made.failures == []


def test_an_edit_is_in_force_when_it_is_acknowledged(desk: Desk) -> None:
    assert desk.change(0.7) == desk.file.version == desk.active_labels.version
    assert desk.thresholds == {"dog": 0.7, "cat": 0.5}
    assert "dog: {threshold: 0.7}" in desk.text


def test_odd_prompts_are_told_of_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Desk(tmp_path / "config.yaml", CONFIG.replace("dog: {", "Hundegebell: {"))
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "labels.Hundegebell: 'Hundegebell': the checkpoint was taught no sound" in caplog.text


def test_odd_prompts_are_told_of_at_reloads_once(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> list[str]:
        return [each.getMessage() for each in caplog.records if "seems to be" in each.getMessage()]

    for number, prompt in enumerate(["ein Hund bellt", "ein Hund bellt", "een hond blaft"]):
        text = CONFIG.replace("dog: {", f"dog: {{prompts: [{prompt}, a dog barking], ")
        desk.path.write_text(f"{text}# {number}\n", "utf-8")
        desk.active_labels.reload()
        wait_until(lambda: desk.active_labels.version == desk.file.version, "a reload")
    wait_until(lambda: len(told()) == 2, "what is told")
    assert "labels.dog: 'ein Hund bellt' seems to be German" in told()[0]
    assert "Dutch" in told()[1]
    assert "German" not in told()[1]


def test_what_scoring_does_not_take_is_refused_and_not_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, version = desk.text, desk.file.version
    desk.hold()
    for number in range(1, 201):
        desk.active_labels.set("a", "dog", SetCommand(threshold=number / 400))
        desk.active_labels.set("a", "cat", SetCommand(threshold=number / 800))
    with monkeypatch.context() as hasty:
        hasty.setattr(active_labels, "ADOPT_S", 0.2)
        with pytest.raises(UnavailableError, match="stands still; the change was not") as refused:
            desk.change(0.7)
    assert not isinstance(refused.value, UnfinishedError)
    assert (desk.text, desk.active_labels.version) == (before, version)
    assert list(desk.path.parent.glob("*.bak")) == []
    desk.go_on.set()
    desk.live.ready(10)
    assert desk.thresholds == {"dog": 0.5, "cat": 0.25}, "what was set last over MQTT"
    desk.change(0.7)
    assert desk.thresholds == {"dog": 0.7, "cat": 0.25}


def test_an_example_stays_where_its_label_does_and_goes_where_it_does_not(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many changes wait: what the file names is there, what it does not name is not."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    sound = enrol.ExampleAudio("id-1", noise((0.5, 0.001), (0.5, 0.2)).astype(np.float32))

    def use() -> str:
        return enrol.enroll(
            desk.file,
            "dog",
            desk.active_labels.settings.labels["dog"],
            sound,
            prompts=(),
            change=lambda edit: desk.active_labels.edit(edit, desk.file.version),
        )

    desk.hold()
    for number in range(1, 201):
        desk.active_labels.set("a", "dog", SetCommand(threshold=number / 400))
    with monkeypatch.context() as hasty:
        hasty.setattr(active_labels, "ADOPT_S", 0.2)
        with pytest.raises(UnavailableError):
            use()
    assert list(tmp_path.rglob("*.flac")) == []
    assert "flac" not in desk.text
    desk.go_on.set()
    use()
    (path,) = load(desk.path).labels["dog"].examples
    assert (desk.path.parent / path).is_file()


def test_what_is_saved_and_not_in_force_in_time_is_not_acknowledged(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(active_labels, "ADOPT_S", 0.2)
    write = ConfigFile.write

    def then_hold(file: ConfigFile, draft: Any) -> str:
        desk.hold()  # a scoring that takes long begins just then
        return write(file, draft)

    monkeypatch.setattr(ConfigFile, "write", then_hold)
    with pytest.raises(UnfinishedError, match=r"config.yaml is saved"):
        desk.change(0.7)
    assert "threshold: 0.7" in desk.text
    assert desk.thresholds["dog"] == 0.5
    desk.go_on.set()
    desk.live.ready(10)
    assert desk.thresholds["dog"] == 0.7


def test_an_edit_waits_for_no_reload_for_long(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    before = desk.text
    desk.read_on.clear()
    desk.active_labels.reload()
    assert desk.reading.wait(within(10))
    with ThreadPoolExecutor() as pool:
        with monkeypatch.context() as hasty:
            hasty.setattr(active_labels, "TURN_S", 0.1)
            edit = pool.submit(desk.change, 0.7)
            with pytest.raises(UnavailableError, match="just being changed or reloaded"):
                edit.result(within(10))
        assert desk.text == before
        desk.read_on.set()
        wait_until(lambda: "reloaded: 2 labels" in caplog.text, "the reload")
        desk.change(0.7)
    assert desk.thresholds["dog"] == 0.7


def test_reloads_wait_for_scoring_and_one_change_waits_at_most(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    desk.hold()
    for threshold in (0.6, 0.7, 0.8):
        desk.path.write_text(CONFIG.replace("0.5", str(threshold)), "utf-8")
        for _ in range(20):
            desk.active_labels.reload()
            assert desk.reading.wait(within(10))  # the first is under way
            time.sleep(0.001)
        assert len(desk.live._mailbox._waiting) <= 1
    desk.go_on.set()
    wait_until(lambda: desk.live.rules["a"][0].threshold == 0.8, "the last of them")
    wait_until(lambda: caplog.text.count("reloaded: 2 labels") == 2, "the first, and one for all")


def reload_with(desk: Desk, text: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Returns what of it needs a restart."""
    caplog.clear()
    desk.path.write_text(text, "utf-8")
    with caplog.at_level(logging.INFO):
        desk.active_labels.reload()
        wait_until(lambda: "reloaded: 2 labels" in caplog.text, "the reload")
    told = [record.getMessage() for record in caplog.records]
    return [each.split()[0] for each in told if "needs a restart" in each]


def test_a_reload_sets_gain_and_filters(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    labels = "labels: {dog: {threshold: 0.5}, cat: {threshold: 0.5}}\n"
    one = f"sources: {{a: {{microphone: default, gain_db: 6, highpass_hz: 90}}}}\n{labels}"
    assert reload_with(desk, one, caplog) == []
    assert "a: the sound is now taken with high-pass 90 Hz, gain +6 dB" in caplog.text
    assert str(desk.filters["a"]) == "high-pass 90 Hz, gain +6 dB"
    assert desk.active_labels.settings.sources["a"].gain_db == 6
    # what else is in a source needs a restart, and the rest is taken all the same
    other = f"sources: {{a: {{microphone: 3, gain_db: 1}}, b: {{microphone: 4}}}}\n{labels}"
    assert reload_with(desk, other, caplog) == ["sources"]
    assert str(desk.filters["a"]) == "gain +1 dB"
    spec = desk.active_labels.settings.sources["a"]
    assert (spec.microphone, spec.gain_db, spec.highpass_hz) == ("default", 1, None)
    # an edit of a label on the page finds them as they are in the file
    desk.path.write_text(one, "utf-8")
    desk.change(0.7)
    assert str(desk.filters["a"]) == "high-pass 90 Hz, gain +6 dB"


def test_a_reload_that_is_refused_leaves_filters(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.path.write_text(CONFIG.replace("default", "default, gain_db: 99"), "utf-8")
    desk.active_labels.reload()
    wait_until(lambda: "not reloaded" in caplog.text, "it is refused")
    assert "gain_db" in caplog.text
    assert str(desk.filters["a"]) == ""


def test_a_reload_says_whether_one_may_listen(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    assert reload_with(desk, f"{CONFIG}web: {{listen: false}}\n", caplog) == []
    assert not desk.active_labels.settings.web.listen
    assert reload_with(desk, f"{CONFIG}web: {{port: 1000}}\n", caplog) == ["web"]
    web = desk.active_labels.settings.web
    assert (web.listen, web.port) == (True, 8765)


def test_what_was_saved_by_hand_comes_into_force_where_an_edit_is_told_of_it(desk: Desk) -> None:
    version = desk.file.version
    desk.path.write_text(CONFIG.replace("dog: {threshold: 0.5}", "dog: {threshold: 0.3}"), "utf-8")
    with pytest.raises(ConflictError):
        desk.active_labels.edit(Edit("dog", {"threshold": 0.7}), version)
    desk.live.ready(10)
    assert desk.thresholds["dog"] == 0.3
    assert desk.active_labels.version == desk.file.version


SETTINGS = parse("sources: {a: {microphone: default}}\nlabels: {dog: }")


class Reader:
    """Reads the configuration as slowly as examples are embedded, and finds it wrong."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.error: Exception = ConfigError("labels.dog: no")
        self.times = 0

    def __call__(self) -> Settings:
        self.times += 1
        self.begun.release()
        assert self.go_on.acquire(timeout=within(30))
        raise self.error


def reloading(reader: Reader, failures: list[BaseException]) -> ActiveLabels:
    heard = SimpleNamespace(checkpoint=SimpleNamespace(recommended={}, words_known=False))
    return ActiveLabels(
        SETTINGS,
        cast("Any", heard),
        cast("Any", None),
        LocalTime(LocationSettings()),
        local_time.now(),
        file=None,
        version="",
        read=reader,
        on_failure=failures.append,
    )


def test_a_reload_holds_nobody_up_and_many_are_two(caplog: pytest.LogCaptureFixture) -> None:
    reader = Reader()
    labels = reloading(reader, [])
    labels.reload()
    assert reader.begun.acquire(timeout=within(30))
    for _ in range(5):  # returns, though the first is not done
        labels.reload()
    reader.go_on.release(2)
    wait_until(lambda: caplog.text.count("not reloaded") == 2, "two")
    assert reader.times == 2
    labels.reload()
    reader.go_on.release()
    wait_until(lambda: caplog.text.count("not reloaded") == 3, "another")


def test_a_fault_of_ours_is_told() -> None:
    reader, failures = Reader(), list[BaseException]()
    reader.error = ZeroDivisionError("a fault")
    reader.go_on.release()
    reloading(reader, failures).reload()
    wait_until(lambda: failures == [reader.error], "the fault")
