"""A real browser, and the daemon that it looks at."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from processes import Process
from timing import within
from web.houses import ask

expect.set_options(timeout=within(20_000))

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser() -> Iterator[Browser]:
    """Debian's Chromium; a build of Playwright's own is not needed."""
    if CHROMIUM is None:
        pytest.skip("no chromium: apt-get install chromium")
    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            yield launched
        finally:
            launched.close()


@contextmanager
def page(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """A page that may not complain."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
    said: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Chromium says so of every such answer, also where the page deals with it.
        told = "status of 4" in message.text
        if message.type in ("error", "warning") and not told:
            said.append(message.text)

    try:
        opened = context.new_page()
        opened.set_default_timeout(within(20_000))
        opened.on("console", note)
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.goto(url)
        yield opened
    finally:
        context.close()
    assert not said, said


@dataclass
class Demo:
    """`pe-stream demo --loop`, as a process."""

    url: str
    broker: tuple[str, int]
    config: Path
    log: Callable[[], str]


@contextmanager
def demo() -> Iterator[Demo]:
    """The real thing, until it is no longer needed."""
    with Process(["demo", "--loop"], os.environ) as playing:
        playing.wait_for_log("publishing on", 90)
        url = re.search(r"page: (\S+)", playing.log)
        where = re.search(r"publishing on (\S+):(\d+)", playing.log)
        assert url, playing.log
        assert where, playing.log
        config = ask(f"{url[1]}api/v1/info").json()["config"]["path"]
        yield Demo(url[1], (where[1], int(where[2])), Path(config), lambda: playing.log)
        playing.send(signal.SIGTERM)
        playing.exit_code(20)
