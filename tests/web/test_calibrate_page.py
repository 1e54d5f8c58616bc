"""Calibration in a real browser: started, looked at, applied, and not over another's head."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from mosquitto import wait_until
from playwright.sync_api import Browser, Page, expect
from timing import within
from web.browser import browser, page
from web.houses import Standing

from pe_stream.config.edit import ConfigFile

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


def calibrate(opened: Page, *, label: str | None = None) -> None:
    if label is not None:
        opened.get_by_test_id("calibrate-label").select_option(label)
    opened.get_by_test_id("calibrate").click()
    told = opened.get_by_test_id("calibration-told")
    expect(told).to_contain_text("Calibrated", timeout=within(120_000))


def threshold(house: Standing) -> float:
    found = house.settings.labels["dog"].threshold
    assert found is not None
    return found


def test_a_suggestion_is_made_and_applied(chromium: Browser, day: Standing) -> None:
    with page(chromium, f"{day.url}#/label/dog") as opened:
        opened.get_by_test_id("calibrate-one").click()
        expect(opened.get_by_test_id("calibrate-label")).to_have_value("dog")
        opened.get_by_test_id("calibrate-label").select_option("")
        opened.get_by_test_id("false-alarms").fill("5")
        calibrate(opened)
        dog, knock = opened.get_by_test_id("suggestion").all()
        words = re.search(
            r"Threshold 0.5 \u2192 ([\d.]+): ([\d.]+) false alarms a day \([\d.]+ to [\d.]+\)",
            dog.inner_text(),
        )
        assert words is not None, dog.inner_text()
        assert float(words[2]) == pytest.approx(5, abs=1.2)
        expect(dog).to_contain_text("From 24.0 h of sound")
        expect(knock).to_contain_text("No suggestion: ")
        expect(knock.get_by_test_id("apply")).to_have_count(0)
        serious = [
            each
            for each in Axe().run(opened).response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert not serious
        dog.get_by_test_id("apply").click()
        expect(dog.get_by_test_id("apply")).to_have_text("In force")
        assert threshold(day) == float(words[1])
        # It is still there for whoever comes later.
        opened.reload()
        expect(opened.get_by_test_id("suggestion").first).to_contain_text("In force")


def test_nobody_elses_change_is_overruled(chromium: Browser, day: Standing) -> None:
    with page(chromium, f"{day.url}#/calibrate") as opened:
        calibrate(opened, label="dog")
        # Somebody edits by hand, and the page is not told of it.
        file = ConfigFile(day.file.path)
        text = file.path.read_text("utf-8")
        file.path.write_text(text.replace("a dog barking", "a dog howling"), "utf-8")
        opened.get_by_test_id("apply").click()
        problem = opened.get_by_test_id("calibration-problem")
        expect(problem).to_contain_text("was changed elsewhere meanwhile")
        assert "threshold: 0.5" in file.path.read_text("utf-8")
        # And now it is: what was calibrated is another sound.
        day.load()
        expect(opened.get_by_test_id("suggestion")).to_contain_text("changed since")
        expect(opened.get_by_test_id("apply")).to_be_disabled()


def test_what_cannot_be_written_is_not_applied(
    chromium: Browser, day: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = property(lambda file: f"{file.path} may not be written by this service")
    monkeypatch.setattr(ConfigFile, "unavailable_reason", reason)
    with page(chromium, f"{day.url}#/calibrate") as opened:
        expect(opened.get_by_test_id("read-only")).to_contain_text("may not be written")
        calibrate(opened, label="dog")
        expect(opened.get_by_test_id("apply")).to_be_disabled()


def standing_still(monkeypatch: pytest.MonkeyPatch, while_there: Path) -> None:
    """Let processes do nothing for as long as a file is there."""
    real = subprocess.Popen
    waiting = 'while [ -e "$0" ]; do sleep 0.05; done; exec "$@"'

    def begin(command: list[str], **options: Any) -> Any:
        return real(["sh", "-c", waiting, str(while_there), *command], **options)

    monkeypatch.setattr(subprocess, "Popen", begin)


def test_it_is_cancelled_and_goes_on_without_the_page(
    chromium: Browser, day: Standing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standing_still(monkeypatch, still := tmp_path / "still")
    still.touch()
    with page(chromium, f"{day.url}#/calibrate") as opened:
        opened.get_by_test_id("calibrate").click()
        expect(opened.get_by_test_id("calibration-told")).to_contain_text("Calibrating since")
        expect(opened.get_by_test_id("calibrate")).to_be_disabled()
        opened.goto(f"{day.url}#/labels")
        opened.get_by_test_id("calibrate-all").click()
        expect(opened.get_by_test_id("calibration-told")).to_contain_text("Calibrat")
        still.unlink()
        with day.client() as client:
            wait_until(lambda: "done" in client.get("api/v1/calibration").text, "the end", 120)
        expect(opened.get_by_test_id("suggestion")).to_have_count(2)
        still.touch()
        opened.get_by_test_id("calibrate").click()
        opened.get_by_test_id("cancel-calibration").click()
        expect(opened.get_by_test_id("calibration-told")).to_contain_text("Cancelled")
        expect(opened.get_by_test_id("suggestion")).to_have_count(0)
        expect(opened.get_by_test_id("calibrate")).to_be_enabled()
