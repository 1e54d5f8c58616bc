"""The test tone through a real (virtual) loudspeaker and microphone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import virtual_microphone
from mosquitto import Mosquitto
from playwright.sync_api import expect, sync_playwright
from ports import free_port
from processes import Daemon, level_config
from timing import within
from web.browser import CHROMIUM

pytestmark = pytest.mark.realtime


def test_a_microphone_that_hears_the_test_tone_is_named(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    problem = virtual_microphone.missing()
    if problem or CHROMIUM is None:
        pytest.skip(problem or "no chromium: apt-get install chromium")
    port = free_port()
    web = f"web: {{enabled: true, port: {port}}}"
    with virtual_microphone.virtual_microphone() as plugged_in:
        environment = {**os.environ, **plugged_in.environment}
        text = level_config(level, broker.port, "{microphone: default}", web)
        with (
            Daemon(tmp_path, text, plugged_in.environment) as daemon,
            sync_playwright() as playwright,
        ):
            daemon.wait_for_log("page: ")
            chromium = playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=["--no-sandbox"],
                ignore_default_args=["--mute-audio"],
                env={name: str(value) for name, value in environment.items()},
            )
            try:
                page = chromium.new_page()
                page.goto(f"http://127.0.0.1:{port}/#/health")
                page.get_by_test_id("tone").click()
                result = page.locator("[data-testid=tone-results] li[data-source=kitchen]")
                expect(result).to_have_attribute("data-heard", "true", timeout=within(40_000))
                expect(result).to_contain_text("dB above the background")
            finally:
                chromium.close()
