"""What strangers fill in is shown as text, and what editors were told is saved is in the file."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml
from audio.hostile_servers import serving
from mosquitto import Mosquitto, wait_until
from playwright.sync_api import Browser, Dialog, Page
from playwright.sync_api import Error as BrowserError
from ports import HOST, free_port
from processes import Daemon
from sounds import noise, write_float_wav
from timing import within
from web.browser import browser

pytestmark = [pytest.mark.heavy, pytest.mark.realtime]

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><svg onload=alert(2)>"
QUOTE = "\"'><script>alert(3)</script>"
ADDRESS = "javascript:alert(4)//"

LABELS = {
    f"=loud{IMAGE}": {"prompts": [f"loud{QUOTE}"], "not": [f"soft{IMAGE}"], "min_on_s": 0.12},
    f"{SCRIPT}loud": {"prompts": ["loud"], "min_on_s": 0.12},
    ADDRESS: {"prompts": [f"loud{SCRIPT}"], "min_on_s": 0.12},
}
FIRST = next(iter(LABELS))

INJECTED = "img[src=x], svg[onload], script:not([src]), [onerror], [href^=javascript]"

TYPED = "input:not([type]), [type=text], [type=search], textarea"

LEFT_ALONE = ("log out", "delete", "remove", "save", "download")


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=[pytest.mark.attack, pytest.mark.timeout(900)])


@dataclass
class House:
    """A daemon, and its page's API."""

    daemon: Daemon
    url: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        headers = {"content-type": "application/json"} | headers
        content = None if body is None else json.dumps(body)
        return httpx.request(
            method, f"{self.url}api/v1/{path}", content=content, headers=headers, timeout=within(30)
        )

    def labels(self) -> Any:
        return self.ask("GET", "labels").json()

    def in_file(self, label: str) -> Any:
        return yaml.safe_load(self.daemon.config.read_text("utf-8"))["labels"][label]


@contextmanager
def house(
    folder: Path, level: Path, port: int, sources: dict[str, Any], labels: dict[str, Any]
) -> Iterator[House]:
    where = free_port()
    config = {
        "node": f"n{IMAGE}",
        "model": {
            "checkpoint": str(level),
            "window_s": 1.0,
            "hop_s": 0.2,
            "lookahead_s": 0.2,
            "threads": 1,
        },
        "sources": sources,
        "labels": labels,
        "mqtt": {"host": HOST, "port": port},
        "clips": {"enabled": True},
        "search": {"enabled": True},
        "web": {"enabled": True, "port": where},
    }
    with Daemon(folder, yaml.safe_dump(config, sort_keys=False)) as daemon:
        daemon.wait_for_log("loud end" if IMAGE not in json.dumps(labels) else "end")
        yield House(daemon, f"http://{HOST}:{where}/")
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    assert "Traceback" not in daemon.log


def sound(folder: Path) -> Path:
    return write_float_wav(folder / "sound.wav", noise((0.6, 0.001), (0.4, 0.2)))


def views(event: str) -> list[str]:
    """All that can be reached, and what an address typed by a stranger may hold."""
    named = [quote(each, safe="") for each in (IMAGE, SCRIPT, QUOTE, ADDRESS)]
    return [
        *("#/live", "#/events", "#/labels", "#/try", "#/search", "#/health", f"#/event/{event}"),
        *(f"#/label/{quote(label, safe='')}" for label in LABELS),
        *(f"#/{way}/{each}" for way in ("event", "label", "nowhere") for each in named[:2]),
        *(f"#/{each}" for each in named),
        *(f"#/{way}?text={each}&q={each}" for way in ("search", "try") for each in named[:2]),
        *(f"#/events?label={each}&source={each}&verdict={each}" for each in named),
        *(f"?next={each}#/live" for each in (ADDRESS, "//evil.example")),
        f"#{IMAGE}",
    ]


@contextmanager
def watched(chromium: Browser) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what shows that something ran in it, or would have but for its policy."""
    run: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        run.append(dialog.message)
        dialog.dismiss()

    with chromium.new_context() as context:
        opened = context.new_page()
        opened.set_default_timeout(within(20_000))
        opened.on("dialog", dismiss)
        opened.on("popup", lambda each: run.append(each.url))
        opened.on("console", lambda said: run.append(said.text) if "Policy" in said.text else None)
        yield opened, run


def fill_in(opened: Page) -> None:
    """Type it wherever one can, and press what there is, but for what ends or removes something."""
    for each in opened.locator(f"main :is({TYPED})").all():
        if each.is_visible() and each.is_editable():
            each.fill(IMAGE)
            each.press("Enter")
    for button in opened.locator("main button, main summary").all():
        try:
            name = button.inner_text(timeout=1000).lower()
            if not any(word in name for word in LEFT_ALONE):
                button.click(timeout=200)
        except BrowserError:  # it has gone, or something is before it
            continue


@pytest.mark.parametrize("visited", [8, long(100)])
def test_what_strangers_fill_in_is_text_wherever_it_is_shown(
    tmp_path: Path, level: Path, broker: Mosquitto, visited: int
) -> None:
    texts: Counter[str] = Counter()
    moved = f"HTTP/1.1 302 Found\r\nLocation: http://{IMAGE.replace(' ', '/')}.evil/\r\n\r\n"
    with serving(lambda connection, _: connection.sendall(moved.encode())) as stranger:
        sources = {
            f"kitchen{IMAGE}": {"url": str(sound(tmp_path)), "loop": True},
            f"p{QUOTE}": {"url": stranger.url(f"/{QUOTE}")},
        }
        with house(tmp_path, level, broker.port, sources, LABELS) as home, browser() as chromium:
            wait_until(lambda: len(home.ask("GET", "events").json()["events"]) > 3, "events")
            events = [each["id"] for each in home.ask("GET", "events").json()["events"]]
            for event in events[:3]:
                said = {"verdict": "wrong", "note": f"{IMAGE}{QUOTE}"}
                assert home.ask("PUT", f"events/{event}/verdict", said).is_success
            with watched(chromium) as (opened, run):
                for view in views(events[0])[:visited]:
                    opened.goto("about:blank")
                    opened.goto(f"{home.url}{view}")
                    opened.locator("main h1").first.wait_for()
                    fill_in(opened)
                    assert opened.locator(INJECTED).count() == 0, view
                    assert opened.url.startswith((home.url, "about:blank")), view
                    texts[view] += opened.content().count("onerror=alert(1)&gt;")
                assert run == []
    assert sum(count > 0 for count in texts.values()) > len(texts) // 2, texts


@dataclass
class Editor:
    """Somebody who changes a label of their own and one that others change, too."""

    own: str
    home: House
    acknowledged: dict[str, float] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    def edit(self, until_s: float) -> None:
        rng = random.Random(self.own)
        while time.monotonic() < until_s:
            for label in (self.own, "shared"):
                wanted = round(rng.uniform(0.2, 0.9), 4)
                version = self.home.labels()["version"]
                answer = self.home.ask(
                    "PATCH", f"labels/{label}", {"threshold": wanted}, **{"if-match": version}
                )
                self.statuses[answer.status_code] += 1
                if answer.is_success:
                    self.acknowledged[label] = wanted


@pytest.mark.parametrize("seconds", [4, long(15)])
def test_of_two_editors_and_reloads_nothing_acknowledged_is_lost(
    tmp_path: Path, level: Path, broker: Mosquitto, seconds: float
) -> None:
    labels = {name: {"min_on_s": 0.12} for name in ("loud", "one", "two", "shared")}
    sources = {"kitchen": {"url": str(sound(tmp_path)), "loop": True}}
    with house(tmp_path, level, broker.port, sources, labels) as home:
        until_s = time.monotonic() + seconds
        editors = [Editor(own, home) for own in ("one", "two")]
        threads = [threading.Thread(target=each.edit, args=(until_s,)) for each in editors]
        for thread in threads:
            thread.start()
        while time.monotonic() < until_s:
            home.daemon.send(signal.SIGHUP)
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        statuses = editors[0].statuses + editors[1].statuses
        print(statuses)
        assert set(statuses) <= {200, 412, 503}
        assert statuses[200] > 2 * seconds
        assert statuses[412] > 0
        expected = {each.own: each.acknowledged[each.own] for each in editors}
        for label, threshold in expected.items():
            assert home.in_file(label)["threshold"] == threshold
        shared = home.in_file("shared")["threshold"]
        assert shared in {each.acknowledged.get("shared") for each in editors}
        expected["shared"] = shared

        def in_force() -> bool:
            now = {each["name"]: each["now"] for each in home.labels()["labels"]}
            return all(
                state["threshold"] == expected[name]
                for name in expected
                for state in now[name].values()
            )

        wait_until(in_force, "what is in the file is in force", 20)
