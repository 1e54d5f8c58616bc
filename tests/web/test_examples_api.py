"""The clip of an event becomes an example of a label."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from mosquitto import Mosquitto, wait_until
from ports import free_port
from processes import Daemon, level_config
from sounds import noise, write_float_wav
from stand_ins import event
from timing import within
from web.houses import Standing, ask

from pe_stream.audio import encode, media
from pe_stream.core.clipper import ClipOutcome, Piece
from pe_stream.core.types import Phase, Samples
from pe_stream.errors import UnavailableError, UnfinishedError
from pe_stream.web import gate

SECOND = 48_000


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state"


def sound(loudest: float = 0.3, seed: int = 1) -> Samples:
    """A knock before, a second of a tone from the second second on, a knock after; some noise."""
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 0.0003, 4 * SECOND)
    samples[: SECOND // 10] += 0.3
    tone = np.sin(2 * np.pi * 2000 * np.arange(SECOND) / SECOND)
    samples[2 * SECOND : 3 * SECOND] += loudest * tone
    samples[-SECOND // 10 :] += 0.3
    return samples.astype(np.float32)


def told(house: Standing, samples: Samples, number: int = 1, **fields: Any) -> str:
    """An event with a clip; its onset is two seconds into it."""
    made = replace(event(number, Phase.END, 1.0, source="kitchen", label="dog"), **fields)
    # Its start first: only then a clip is expected.
    house.store.record(house.clips.named(replace(made, phase=Phase.START)), [])
    named = house.clips.named(made)
    house.store.record(named, [])
    house.clips.take([Piece(made.id, 0, samples, ClipOutcome.KEPT, 2 * SECOND)])
    wait_until(lambda: house.clips.find(named.to_dict()) is not None, "the clip")
    return made.id


def use(house: Standing, event_id: str, version: str | None = "", **body: Any) -> httpx.Response:
    """version: None is not told, "" is the present one."""
    headers = {} if version is None else {"if-match": f'"{version or house.file.version}"'}
    with house.client() as client:
        return client.post(f"api/v1/events/{event_id}/example", json=body, headers=headers)


def labels(house: Standing) -> dict[str, Any]:
    found = yaml.safe_load(house.file.path.read_text("utf-8"))["labels"]
    assert isinstance(found, dict)
    return found


def examples_in(state: Path) -> list[str]:
    return sorted(str(path.relative_to(state)) for path in state.rglob("*.flac"))


def test_a_label_learns_what_its_event_sounded_like(house: Standing, state: Path) -> None:
    first, second = told(house, sound()), told(house, sound(0.2, 2), 2)
    answer = use(house, first, label="dog")
    assert answer.status_code == 201, answer.text
    path = state / "examples" / "dog" / f"{first}.flac"
    assert answer.json()["label"]["examples"] == [str(path)]
    assert answer.json()["version"] == house.file.version
    assert "a kettle" in answer.json()["report"][1]
    kept = np.concatenate([chunk.samples for chunk in media.read(str(path))])
    # Half a second around the event, and none of the knocks beside it, louder though they are.
    assert len(kept) == pytest.approx(2 * SECOND, abs=0.1 * SECOND)
    assert np.abs(kept[: SECOND // 4]).max() < 0.01
    assert use(house, second, label="dog").is_success
    assert labels(house)["dog"] == {
        "prompts": ["a dog barking"],
        "threshold": 0.5,
        "examples": [f"state/examples/dog/{each}.flac" for each in (first, second)],
    }
    assert "# the neighbour's" in house.file.path.read_text("utf-8")


def test_a_new_label_is_made_of_it(house: Standing, state: Path) -> None:
    event_id = told(house, sound())
    answer = use(house, event_id, label="Oven Timer", prompts=[" an oven timer beeping "])
    assert answer.status_code == 201, answer.text
    path = f"examples/oven_timer/{event_id}.flac"
    assert examples_in(state) == [path]
    # From the folder of the configuration, if it is below that.
    expected = {"prompts": ["an oven timer beeping"], "examples": [f"state/{path}"]}
    assert labels(house)["Oven Timer"] == expected


def test_further_prompts_are_added(house: Standing) -> None:
    assert use(house, told(house, sound()), label="dog", prompts=["a puppy"]).is_success
    assert labels(house)["dog"]["prompts"] == ["a dog barking", "a puppy"]


def test_what_cannot_be_told_afterwards_is_said_instead(house: Standing) -> None:
    def broken(label: str) -> list[str]:
        raise UnavailableError(f"{label}: another example is gone")

    object.__setattr__(house.server._daemon, "report", broken)
    answer = use(house, told(house, sound()), label="dog")
    assert answer.status_code == 201
    assert answer.json()["report"] == ["dog: another example is gone"]


def test_no_sound_is_an_example_twice(house: Standing, state: Path) -> None:
    event_id = told(house, sound())
    assert use(house, event_id, label="dog").is_success
    again = use(house, event_id, label="dog")
    assert (again.status_code, "already" in again.json()["detail"]) == (422, True)
    assert examples_in(state) == [f"examples/dog/{event_id}.flac"]
    copy = use(house, told(house, sound(), 2), label="dog")
    assert copy.status_code == 422
    assert copy.json()["detail"].startswith("the clip: the same recording as ")
    assert use(house, event_id, label="knock").is_success  # of another label, why not


def test_what_a_file_changed_by_hand_names_is_not_deleted(house: Standing, state: Path) -> None:
    event_id = told(house, sound())
    before = house.settings
    assert use(house, event_id, label="dog").is_success
    house.settings = before  # a daemon that was not told yet
    answer = use(house, event_id, "0123456789abcdef", label="dog")
    assert answer.status_code == 412
    assert examples_in(state) == [f"examples/dog/{event_id}.flac"]


def test_a_clip_may_be_long_if_the_sound_is_not(house: Standing, state: Path) -> None:
    long = np.concatenate([sound(), np.zeros(70 * SECOND, np.float32)])
    assert use(house, told(house, long), label="dog").is_success
    assert len(examples_in(state)) == 1


@pytest.mark.parametrize(
    ("body", "version", "refused"),
    [
        ({"label": "dog"}, None, (428, "If-Match")),
        ({"label": "dog"}, "0123456789abcdef", (412, "changed by someone else")),
        ({"label": ""}, "", (422, "label")),
        ({"label": "x" * 101}, "", (422, "label")),
        ({"label": "cat", "prompts": [""]}, "", (422, "a prompt is empty")),
        ({"label": "dog", "colour": 1}, "", (422, "colour")),
        ({}, "", (422, "label")),
    ],
)
def test_what_is_refused_leaves_nothing(
    house: Standing,
    state: Path,
    body: dict[str, Any],
    version: str | None,
    refused: tuple[int, str],
) -> None:
    status, said = refused
    before = house.file.path.read_text("utf-8")
    answer = use(house, told(house, sound()), version, **body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]
    assert house.file.path.read_text("utf-8") == before
    assert examples_in(state) == []


def test_what_holds_no_sound_is_no_example(house: Standing, state: Path) -> None:
    answer = use(house, told(house, sound(0.0)), label="dog")
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("the clip: ")
    assert examples_in(state) == []


def test_without_a_clip_there_is_no_example(house: Standing) -> None:
    house.store.record(event(5, Phase.END), [])
    assert use(house, "id-0005", label="dog").status_code == 404
    assert use(house, "id-0009", label="dog").status_code == 404


def test_a_file_that_may_not_be_written_is_told(
    house: Standing, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = told(house, sound())
    state.write_text("a file in the way")
    answer = use(house, event_id, label="dog")
    assert (answer.status_code, "cannot be written" in answer.json()["detail"]) == (409, True)
    state.unlink()
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != house.file.path)
    answer = use(house, event_id, label="dog")
    assert (answer.status_code, "may not be written" in answer.json()["detail"]) == (409, True)
    assert examples_in(state) == []


def refusing(house: Standing, error: Exception) -> None:
    def change(edit: object, version: str) -> str:
        raise error

    object.__setattr__(house.server._daemon, "change", change)


def test_what_the_daemon_cannot_do_leaves_nothing(house: Standing, state: Path) -> None:
    event_id = told(house, sound())
    refusing(house, UnavailableError("labels.knock.examples: gone.wav: no such file"))
    assert use(house, event_id, label="hound").status_code == 503
    assert list((state / "examples").iterdir()) == []


def test_what_may_yet_be_done_keeps_its_sound(house: Standing, state: Path) -> None:
    event_id = told(house, sound())
    refusing(house, UnfinishedError("the daemon is busy; look whether it was done"))
    assert use(house, event_id, label="dog").status_code == 503
    assert examples_in(state) == [f"examples/dog/{event_id}.flac"]


def test_a_full_disk_spoils_no_example_that_was_there(
    house: Standing, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = told(house, sound())
    before = house.settings
    assert use(house, event_id, label="dog").is_success
    house.settings = before  # a daemon that was not told yet
    (path,) = state.rglob("*.flac")
    content = path.read_bytes()

    def full(path: Path, samples: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(encode, "write", full)
    assert use(house, event_id, label="dog").status_code == 409
    assert path.read_bytes() == content
    assert examples_in(state) == [f"examples/dog/{event_id}.flac"]


def test_nobody_waits_for_ever_for_the_one_before(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_id = told(house, sound())
    monkeypatch.setattr(gate, "PATIENCE_S", 0.05)
    with house.server.gate.turn():
        answer = use(house, event_id, label="dog")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert use(house, event_id, label="dog").is_success


@pytest.fixture
def daemon(tmp_path: Path, level: Path, broker: Mosquitto) -> Iterator[tuple[Daemon, str]]:
    """A real one, that hears bursts."""
    wav = write_float_wav(tmp_path / "sound.wav", noise((1.5, 0.0005), (0.6, 0.032), (1, 0.0005)))
    port = free_port()
    source = f"{{url: {wav}, loop: true}}"
    more = (
        f"clips: {{enabled: true, before_s: 1, after_s: 0.5}}\nweb: {{enabled: true, port: {port}}}"
    )
    with Daemon(tmp_path, level_config(level, broker.port, source, more)) as running:
        running.wait_for_log("page: ")
        yield running, f"http://127.0.0.1:{port}/api/v1/"


@pytest.mark.realtime
def test_the_daemon_goes_on_with_what_it_learned(daemon: tuple[Daemon, str]) -> None:
    running, api = daemon
    found: list[dict[str, Any]] = []

    def heard() -> bool:
        events = ask(f"{api}events").json()["events"]
        found[:] = [each for each in events if each["has_clip"] and each["phase"] == "end"]
        return bool(found)

    wait_until(heard, "an event with its clip", 60)
    headers = {"if-match": f'"{ask(f"{api}labels").json()["version"]}"'}
    answer = httpx.post(
        f"{api}events/{found[0]['id']}/example",
        json={"label": "burst", "prompts": ["a burst of noise"]},
        headers=headers,
        timeout=within(120),
    )
    assert answer.status_code == 201, answer.text
    (path,) = answer.json()["label"]["examples"]
    assert Path(path).is_file()
    assert answer.json()["label"]["now"].keys() == {"kitchen"}
    assert any("takes for itself" in line for line in answer.json()["report"])
    wait_until(lambda: "burst" in ask(f"{api}sources").json()["sources"][0]["labels"], "it listens")
    assert f"state/examples/burst/{found[0]['id']}.flac" in running.config.read_text("utf-8")
