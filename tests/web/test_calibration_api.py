"""Calibration from the page: the command's figures, one job at a time, applied as any change."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from mosquitto import wait_until
from processes import pe_stream
from web.houses import Standing, standing

from pe_stream.core.utc import utc_text
from pe_stream.daemon import calibrations
from pe_stream.errors import UnavailableError
from pe_stream.web.calibration_view import CalibrationOrder

pytestmark = pytest.mark.heavy

ADDRESS = "api/v1/calibration"


def done(client: httpx.Client) -> dict[str, Any]:
    """What there is once nothing runs."""
    wait_until(lambda: client.get(ADDRESS).json()["phase"] != "running", "the end", 120)
    told: dict[str, Any] = client.get(ADDRESS).json()
    return told


def calibrated(client: httpx.Client, **wanted: Any) -> dict[str, Any]:
    began = client.post(ADDRESS, json=wanted)
    assert began.status_code == 202, began.text
    assert began.json()["phase"] == "running"
    return done(client)


def test_the_figures_are_those_of_the_command(day: Standing) -> None:
    with day.client() as client:
        assert client.get(ADDRESS).json()["phase"] == "none"
        told = calibrated(client, false_alarms=2.0, since="25h")
    assert (told["phase"], told["error"]) == ("done", None)
    dog, knock = told["suggestions"]
    assert (dog["label"], dog["threshold_now"], dog["lack"]) == ("dog", 0.5, None)
    assert dog["low"] < dog["rate"] < dog["high"]
    assert dog["hours"] == pytest.approx(24, abs=0.01)
    assert not dog["changed"]
    assert "of sound say too little about 2 false alarms a day" in knock["lack"]
    assert knock["threshold"] is None
    # The command, as the page tells it:
    name, *arguments = shlex.split(told["command"])
    assert name == "pe-stream"
    command = pe_stream(*arguments, "--json")
    figures = json.loads(command.stdout)
    assert figures["labels"] == [
        {key: value for key, value in each.items() if key != "changed"}
        for each in told["suggestions"]
    ]
    assert figures["notes"] == told["notes"]
    assert figures["version"] == told["version"] == day.file.version
    line = pe_stream(*arguments).stdout.splitlines()[0]
    assert line.startswith(f"dog  0.5 -> {dog['threshold']:g}: ")


def test_a_suggestion_is_put_in_force_as_any_change(day: Standing) -> None:
    with day.client() as client:
        told = calibrated(client, labels=["dog"])
        (dog,) = told["suggestions"]
        changed = client.patch(
            "api/v1/labels/dog",
            json={"threshold": dog["threshold"]},
            headers={"if-match": f'"{told["version"]}"'},
        )
        assert changed.status_code == 200, changed.text
        assert f"threshold: {dog['threshold']:g}" in day.file.path.read_text("utf-8")
        # The threshold alone makes no other label of it; words do.
        after = client.get(ADDRESS).json()
        assert after["version"] == changed.json()["version"] != told["version"]
        assert not after["suggestions"][0]["changed"]
        stale = client.patch(
            "api/v1/labels/dog",
            json={"threshold": 0.9},
            headers={"if-match": f'"{told["version"]}"'},
        )
        assert stale.status_code == 412
        client.patch(
            "api/v1/labels/dog",
            json={"prompts": ["a dog howling"]},
            headers={"if-match": f'"{after["version"]}"'},
        )
        assert client.get(ADDRESS).json()["suggestions"][0]["changed"]


def test_an_off_threshold_is_suggested_where_the_label_has_one(day: Standing) -> None:
    with day.client() as client:
        assert calibrated(client, labels=["dog"])["suggestions"][0]["off_threshold"] is None
        client.patch(
            "api/v1/labels/dog",
            json={"off_threshold": 0.25},
            headers={"if-match": f'"{day.file.version}"'},
        )
        (dog,) = calibrated(client, labels=["dog"])["suggestions"]
    assert dog["off_threshold"] == pytest.approx(dog["threshold"] / 2, abs=0.002)


def test_a_removed_label_is_told_as_another(day: Standing) -> None:
    with day.client() as client:
        calibrated(client, labels=["dog"])
        client.request(
            "DELETE",
            "api/v1/labels/dog",
            json={},
            headers={"if-match": f'"{day.file.version}"'},
        )
        assert client.get(ADDRESS).json()["suggestions"][0]["changed"]


def test_one_at_a_time_and_cancelled(day: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = slow(monkeypatch)
    with day.client() as client:
        first = client.post(ADDRESS, json={})
        assert first.status_code == 202
        second = client.post(ADDRESS, json={})
        assert (second.status_code, second.json()["detail"]) == (
            409,
            "a calibration is running already: cancel it, or wait for it",
        )
        wait_until(lambda: len(begun) == 1, "the process")
        wait_until(lambda: niceness(begun[0].pid) == calibrations.NICENESS, "its priority")
        told = client.request("DELETE", ADDRESS, json={}).json()
        assert (told["phase"], told["suggestions"], told["error"]) == ("cancelled", [], None)
        wait_until(lambda: begun[0].poll() is not None, "the end of the process")
        # What ends late does not tell of another.
        monkeypatch.undo()
        assert calibrated(client, labels=["dog"])["phase"] == "done"
        assert client.request("DELETE", ADDRESS, json={}).json()["phase"] == "done"


def niceness(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def test_a_stop_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = slow(monkeypatch)
    with standing(tmp_path) as there, there.client() as client:
        assert client.post(ADDRESS, json={}).status_code == 202
        wait_until(lambda: len(begun) == 1, "the process")
    assert begun[0].poll() is not None
    assert "calibration" not in [thread.name for thread in threading.enumerate()]


def test_what_takes_too_long_is_ended(day: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = slow(monkeypatch)
    monkeypatch.setattr(calibrations, "LONGEST_S", 0.1)
    with day.client() as client:
        assert client.post(ADDRESS, json={}).status_code == 202
        told = done(client)  # it may be by the time of the answer
    assert told["phase"] == "failed"
    assert told["error"].startswith("it took longer than 0.00167 minutes: take less time, or")
    assert begun[0].poll() is not None


@pytest.mark.parametrize(
    ("wanted", "status", "detail"),
    [
        ({"labels": ["cat"]}, 404, "there is no label 'cat'"),
        ({"sources": ["attic"]}, 404, "there is no source 'attic'"),
        ({"since": "1h", "until": "2h"}, 422, "until is not after since"),
        ({"since": "40d"}, 422, "that is more than 31 days"),
        ({"since": "soon"}, 422, "since"),
        ({"false_alarms": 0}, 422, "false_alarms"),
        ({"false_alarms": 1e9}, 422, "false_alarms"),
        ({"listen": 3}, 422, "listen"),
    ],
)
def test_what_cannot_be_asked(
    house: Standing, wanted: dict[str, Any], status: int, detail: str
) -> None:
    with house.client() as client:
        told = client.post(ADDRESS, json=wanted)
        assert told.status_code == status
        assert detail in told.json()["detail"]
        assert client.get(ADDRESS).json()["phase"] == "none"


def test_too_little_is_told_by_label(day: Standing) -> None:
    with day.client() as client:
        told = calibrated(client, labels=["knock"])
        assert told["phase"] == "done"
        assert "say too little" in told["suggestions"][0]["lack"]
        since = utc_text(datetime.now(UTC) - timedelta(days=9))
        told = calibrated(client, labels=["dog"], since=since, until="8d")
    assert told["suggestions"][0]["lack"] == "no scores of that time are stored"


def test_what_the_command_says_is_the_reason(tmp_path: Path) -> None:
    with standing(tmp_path) as there, there.client() as client:
        there.history.stop()
        (tmp_path / "scores.db").unlink()
        told = calibrated(client)
        assert told["phase"] == "failed"
        assert "no scores are stored there" in told["error"]


def test_a_file_that_is_not_in_force_is_not_calibrated(day: Standing) -> None:
    day.version = day.file.version
    with day.file.path.open("a") as file:
        file.write("# by hand\n")
    with day.client() as client:
        told = calibrated(client)
    assert told["phase"] == "failed"
    assert "was changed meanwhile, or is not in force yet" in told["error"]


def test_without_scores_or_a_file_there_is_no_calibration(house: Standing) -> None:
    settings = house.settings.history.model_copy(update={"enabled": False})
    house.settings = house.settings.model_copy(update={"history": settings})
    with house.client() as client:
        assert (
            client.get(ADDRESS).json()["reason"] == "no scores are kept: history.enabled is false"
        )
        told = client.post(ADDRESS, json={})
    assert (told.status_code, told.json()["detail"]) == (
        409,
        "no scores are kept: history.enabled is false",
    )
    alone = calibrations.Calibrations(None, lambda: house.settings, lambda: "", print)
    assert alone.unavailable_reason == "the labels are not in a file"
    with pytest.raises(UnavailableError, match="not in a file"):
        alone.start(CalibrationOrder(1.0, "", ""))


def test_nothing_is_begun_after_the_stop(house: Standing) -> None:
    file = house.file
    made = calibrations.Calibrations(file, lambda: house.settings, lambda: file.version, print)
    made.stop()
    assert not made.start(CalibrationOrder(1.0, "", ""))
    assert made.state().phase == "none"


def test_it_needs_what_other_changes_need(house: Standing) -> None:
    elsewhere = {"origin": "https://elsewhere.example"}
    with house.client() as client:
        assert client.post(ADDRESS, json={}, headers=elsewhere).status_code == 403
        assert client.delete(ADDRESS, headers=elsewhere).status_code == 403
        form = client.post(ADDRESS, content="{}", headers={"content-type": "text/plain"})
        assert form.status_code == 415
        assert client.get(ADDRESS).json()["phase"] == "none"


def test_strangers_are_refused(tmp_path: Path) -> None:
    with standing(tmp_path, f", token: {'a' * 32}") as there, there.client() as client:
        for method in ("GET", "POST", "DELETE"):
            assert client.request(method, ADDRESS, json={}).status_code == 401, method


def slow(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let processes stand still instead; returns those begun."""
    begun: list[Any] = []
    real = subprocess.Popen

    def still(_command: list[str], **options: Any) -> Any:
        begun.append(real(["sleep", "600"], **options))
        return begun[-1]

    monkeypatch.setattr(subprocess, "Popen", still)
    return begun
