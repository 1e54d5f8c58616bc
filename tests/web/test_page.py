"""The page in a real browser, with the demo running."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from mosquitto import Mosquitto, wait_until
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion
from playwright.sync_api import Browser, Locator, Page, expect
from ports import free_port
from processes import Daemon, level_config
from sounds import noise, write_float_wav
from timing import within
from web.browser import Demo, browser, demo, page
from web.houses import ask

pytestmark = pytest.mark.realtime

DARK: dict[str, Any] = {"color_scheme": "dark"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "has_touch": True}
VIEWS = ["live", "events", "labels", "label/dog_bark", "calibrate", "try", "search", "health"]
VIEWS += ["nothing"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def playing() -> Iterator[Demo]:
    with demo() as running:
        yield running


@pytest.fixture
def live(chromium: Browser, playing: Demo) -> Iterator[Page]:
    with page(chromium, playing.url) as opened:
        yield opened


def wait_for_event(playing: Demo, *, clip: bool = False) -> dict[str, Any]:
    """The newest event that is over."""
    found: list[dict[str, Any]] = []

    def there() -> bool:
        events = ask(f"{playing.url}api/v1/events").json()["events"]
        found[:] = [e for e in events if e["phase"] == "end" and (e["has_clip"] or not clip)]
        return bool(found)

    wait_until(there, "an event", 60)
    return found[0]


def picture_of(page: Page, hook: str) -> str:
    """What a canvas shows."""
    told = page.get_by_test_id(hook).first.evaluate(
        "node => (node.matches('canvas') ? node : node.querySelector('canvas')).toDataURL()"
    )
    return str(told)


def test_the_live_view_moves(live: Page) -> None:
    panel = live.locator("[data-testid=source-panel][data-source=recording]")
    expect(panel.get_by_test_id("state")).to_contain_text("hearing")
    level = panel.get_by_test_id("level")
    expect(level).to_have_attribute("aria-valuetext", re.compile("dBFS"))
    expect(panel.get_by_test_id("track")).to_have_count(10)
    live.wait_for_timeout(1500)
    seen = {picture_of(live, "spectrogram")}
    until_s = time.monotonic() + within(4)
    while len(seen) < 3 and time.monotonic() < until_s:
        live.wait_for_timeout(1000)
        seen.add(picture_of(live, "spectrogram"))
    assert len(seen) >= 3
    scores = panel.get_by_test_id("score").all_inner_texts()
    assert len([float(score) for score in scores]) == 10


def test_an_event_is_on_the_page_within_a_second_of_its_message(live: Page, playing: Demo) -> None:
    expect(live.get_by_test_id("connection")).to_contain_text("live")
    live.evaluate(
        """() => {
          window.seen = {};
          const look = () => document.querySelectorAll("[data-testid=recent] [data-id]").forEach(
            (row) => { window.seen[row.dataset.id] ??= Date.now() / 1000; });
          new MutationObserver(look).observe(document.body, {childList: true, subtree: true});
          look();
        }"""
    )
    begun_s = time.time()
    told: dict[str, float] = {}

    def note(_client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic.endswith("/events"):  # amqtt sends retained messages of other topics too
            event = json.loads(message.payload)
            if event["phase"] == "start":
                told.setdefault(event["id"], time.time())

    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = note
    client.connect(*playing.broker)
    client.subscribe("pe_stream/+/+/events", qos=1)
    client.loop_start()
    try:
        deadline_s = time.monotonic() + within(60)
        while len(told) < 2 and time.monotonic() < deadline_s:
            live.wait_for_timeout(200)
    finally:
        client.disconnect()
        client.loop_stop()
    assert len(told) >= 2
    new = {event_id: told_s for event_id, told_s in told.items() if told_s > begun_s}
    live.wait_for_function("(ids) => ids.every((id) => id in window.seen)", arg=[*new])
    seen = live.evaluate("() => window.seen")
    for event_id, told_s in new.items():
        assert seen[event_id] - told_s < within(1.0)


def play(player: Locator, seconds: float) -> float:
    """Play it until so much is heard; returns how long it is (s)."""
    player.evaluate("async (audio) => { audio.muted = true; await audio.play(); }")
    wait_until(lambda: player.evaluate("(audio) => audio.currentTime") > seconds, "it plays")
    assert player.evaluate("(audio) => audio.error?.message ?? null") is None
    return float(player.evaluate("(audio) => audio.duration"))


def test_the_clip_plays_and_has_its_picture(live: Page, playing: Demo) -> None:
    event = wait_for_event(playing, clip=True)
    live.goto(f"{playing.url}#/event/{event['id']}")
    expect(live.get_by_test_id("event-title")).to_contain_text(event["label"].replace("_", " "))
    player = live.get_by_test_id("player")
    duration_s = play(player, 0.3)
    assert duration_s == pytest.approx(
        event["duration_s"] + 4, abs=2.1
    )  # the recording begins soon
    picture = live.get_by_test_id("spectrogram").first
    width = picture.evaluate(
        """async (node) => {
          const image = node.matches("img") ? node : node.querySelector("img");
          await image.decode();
          return image.naturalWidth;
        }"""
    )
    assert width == pytest.approx(duration_s * 100, rel=0.05)


def test_right_and_wrong_are_kept(live: Page, playing: Demo) -> None:
    event = wait_for_event(playing)
    live.goto(f"{playing.url}#/event/{event['id']}")
    live.get_by_test_id("verdict-wrong").click()
    expect(live.get_by_test_id("verdict-wrong")).to_have_attribute("aria-pressed", "true")
    address = f"{playing.url}api/v1/events/{event['id']}"
    wait_until(lambda: ask(address).json()["verdict"] == "wrong", "the verdict")
    live.reload()
    expect(live.get_by_test_id("verdict-wrong")).to_have_attribute("aria-pressed", "true")
    live.get_by_test_id("verdict-right").click()
    wait_until(lambda: ask(address).json()["verdict"] == "right", "the other verdict")


def test_a_prompt_is_tried(live: Page, playing: Demo) -> None:
    live.goto(f"{playing.url}#/try")
    live.get_by_test_id("try-text").fill("a person whistling")
    live.get_by_test_id("try-button").click()
    result = live.get_by_test_id("try-result").first
    expect(result).to_contain_text("a person whistling")
    colours = """(canvas) => {
      const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      const colours = new Set();
      for (let i = 0; i < data.length; i += 4) colours.add(data.slice(i, i + 4).join());
      return colours.size;
    }"""
    wait_until(lambda: result.locator("canvas").evaluate(colours) > 3, "it is drawn")
    live.get_by_test_id("try-text").fill("x " * 600)
    live.get_by_test_id("try-button").click()
    expect(result).to_contain_text("a person whistling")  # nothing is lost by what is refused


def test_what_was_heard_is_searched_and_played(live: Page, playing: Demo) -> None:
    wait_for_event(playing, clip=True)
    live.goto(f"{playing.url}#/search")
    live.get_by_test_id("search-text").fill("knocking on a door")
    with_clip = live.get_by_test_id("search-result").filter(has=live.locator("audio"))
    for _ in range(30):  # the clip is complete a little after the sound
        live.get_by_test_id("search-button").click()
        expect(live.get_by_test_id("search-told")).to_contain_text("knocking on a door")
        live.wait_for_timeout(1000)
        if with_clip.count():
            break
    best = live.get_by_test_id("search-result").first
    expect(best).to_have_attribute("data-source", "recording")
    play(with_clip.first.get_by_test_id("search-player"), 0.2)
    shown = live.get_by_test_id("search-result").count()
    live.get_by_test_id("search-text").fill("x " * 200)
    live.get_by_test_id("search-button").click()
    expect(live.get_by_test_id("search-problem")).to_contain_text("too long")
    assert live.get_by_test_id("search-result").count() == shown  # nothing is lost
    live.get_by_test_id("search-label").click()
    prompts = live.get_by_test_id("label-form").locator("textarea").first
    expect(prompts).to_have_value("knocking on a door")


def test_a_label_is_edited_and_the_conflict_told(live: Page, playing: Demo) -> None:
    live.goto(f"{playing.url}#/label/rooster")
    form = live.get_by_test_id("label-form")
    prompts = form.locator("textarea").first
    prompts.fill("a rooster crowing\na cock crowing at dawn")
    # Someone else is faster, by hand:
    playing.config.write_text(playing.config.read_text() + "# by hand\n")
    form.get_by_test_id("save").click()
    expect(live.get_by_test_id("problems")).to_contain_text("changed by someone else")
    expect(prompts).to_have_value("a rooster crowing\na cock crowing at dawn")
    live.get_by_test_id("load-new").click()
    expect(live.get_by_test_id("toast").last).to_contain_text("The new version is loaded")
    form.get_by_test_id("save").click()
    wait_until(lambda: "a cock crowing at dawn" in playing.config.read_text(), "the edit")
    assert "# by hand" in playing.config.read_text()
    assert "# Where there is no threshold" in playing.config.read_text()


def test_an_odd_prompt_is_hinted_at_while_it_is_typed(live: Page, playing: Demo) -> None:
    live.goto(f"{playing.url}#/label/rooster")
    prompts = live.get_by_test_id("label-form").locator("textarea").first
    expect(prompts).to_have_value(re.compile("rooster"))
    hints = live.get_by_test_id("hints")
    expect(hints).to_have_count(0)
    prompts.fill("a rooster crowing\nein Hahn kräht")
    expect(hints).to_contain_text("'ein Hahn kräht' seems to be German")
    expect(hints).not_to_contain_text("rooster")
    prompts.fill("a rooster crowing")
    expect(hints).to_have_count(0)
    live.goto(f"{playing.url}#/label?text=Hahnenschrei")
    expect(hints).to_contain_text("no sound in these words: Hahnenschrei")
    live.get_by_test_id("loud").get_by_role("checkbox").check()  # then its words do not count
    expect(hints).to_have_count(0)


LOOKS: dict[str, dict[str, Any]] = {"light": {}, "dark": DARK, "phone": PHONE}


@pytest.mark.parametrize("look", LOOKS)
def test_nothing_is_in_the_way_of_anybody(chromium: Browser, playing: Demo, look: str) -> None:
    """axe-core finds nothing serious, and nothing is wider than the page."""
    event = wait_for_event(playing)
    with page(chromium, playing.url, **LOOKS[look]) as opened:
        for view in [*VIEWS, f"event/{event['id']}"]:
            opened.goto(f"{playing.url}#/{view}")
            opened.wait_for_timeout(1200)
            found = Axe().run(opened).response["violations"]
            serious = [
                (each["id"], [node["html"][:200] for node in each["nodes"]])
                for each in found
                if each["impact"] in ("serious", "critical")
            ]
            assert not serious, view
            width = opened.evaluate("() => document.documentElement.scrollWidth - innerWidth")
            assert width <= 0, view


def test_the_keyboard_is_enough(live: Page, playing: Demo) -> None:
    slider = live.locator("[data-testid=track][data-label=siren] [data-testid=threshold]")
    slider.focus()
    before = float(slider.get_attribute("aria-valuenow") or slider.input_value())
    for _ in range(3):
        live.keyboard.press("ArrowDown")
    live.keyboard.press("Enter")
    wait_until(lambda: f"threshold: {before - 0.03:g}" in playing.config.read_text(), "saved")
    live.keyboard.press("Tab")
    assert live.evaluate("() => document.activeElement !== document.body")


LOUD, HEARD = 0.032, 0.71
"""The level of the bursts, and the highest score that they get, about."""


@pytest.fixture
def house(tmp_path: Path, level: Path, broker: Mosquitto) -> Iterator[tuple[Daemon, str]]:
    """A daemon that hears a burst every two seconds."""
    wav = write_float_wav(tmp_path / "sound.wav", noise((0.7, 0), (0.6, LOUD), (0.7, 0)))
    port = free_port()
    more = (
        f"# mine\nlabels:\n  loud:  # what wakes me\n    min_on_s: 0.12\n    threshold: 0.5\n"
        f"web: {{enabled: true, port: {port}}}"
    )
    source = f"{{url: {wav}, loop: true}}"
    with Daemon(tmp_path, level_config(level, broker.port, source, more)) as daemon:
        daemon.wait_for_log("page: ")
        yield daemon, f"http://127.0.0.1:{port}/"


def events_since(url: str, begun_s: float) -> int:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(begun_s))
    return len(ask(f"{url}api/v1/events", since=since).json()["events"])


def test_dragging_a_threshold_changes_the_file_and_what_fires(
    chromium: Browser, house: tuple[Daemon, str]
) -> None:
    daemon, url = house
    wait_until(lambda: events_since(url, 0) >= 2, "bursts are heard")
    before = daemon.config.read_text()

    def drag(page: Page, by: float) -> None:
        slider = page.locator("[data-testid=track][data-label=loud] [data-testid=threshold]")
        plot = page.locator("[data-testid=track][data-label=loud] canvas").bounding_box()
        box = slider.bounding_box()
        assert box
        assert plot
        x, y = box["x"] + box["width"] - 10, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x, y - by / 2 * plot["height"], steps=4)
        page.mouse.move(x, y - by * plot["height"], steps=4)
        expect(page.get_by_test_id("preview").first).to_contain_text("24 h")
        page.mouse.up()

    with page(chromium, url) as opened:
        expect(opened.get_by_test_id("track")).to_have_count(1)
        expect(opened.get_by_test_id("score")).to_have_text(re.compile(r"[01]\.\d\d"))
        drag(opened, 0.45)
        expect(opened.get_by_test_id("toast").first).to_contain_text("saved")
        opened.get_by_test_id("toast").first.hover()  # it stays while somebody points at it
        wait_until(lambda: daemon.config.read_text() != before, "the file is changed")
        after = daemon.config.read_text()
        assert "# mine" in after
        assert "# what wakes me" in after
        changed = [
            a for a, b in zip(after.splitlines(), before.splitlines(), strict=True) if a != b
        ]
        assert len(changed) == 1
        assert float(changed[0].removeprefix("    threshold: ")) > HEARD + 0.05
        opened.wait_for_timeout(2500)  # what was open ends
        quiet_s = time.time() + 1
        opened.wait_for_timeout(6000)
        assert events_since(url, quiet_s) == 0
        opened.get_by_test_id("toast-action").first.click()  # undo
        wait_until(lambda: daemon.config.read_text() == before, "it is undone")
        again_s = time.time()
        wait_until(lambda: events_since(url, again_s) >= 1, "it fires again")
    (kept, *_) = sorted(daemon.config.parent.glob("config.yaml.*.bak"))
    assert kept.read_text() == before


def test_twenty_viewers_delay_nothing(house: tuple[Daemon, str]) -> None:
    """Nineteen that read and one that does not: events are told as soon as before."""
    _, url = house

    def latencies(seconds: float) -> list[float]:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        time.sleep(seconds)
        found: list[float] = []

        def several() -> bool:
            events = ask(f"{url}api/v1/events", since=since).json()["events"]
            found[:] = sorted(event["latency_ms"] for event in events)
            return len(found) >= 3

        wait_until(several, "events")
        return found

    alone = latencies(8)
    stop = threading.Event()
    hops = [0] * 19

    def read(number: int) -> None:
        with httpx.stream("GET", f"{url}api/v1/live", timeout=within(10)) as stream:
            for line in stream.iter_lines():
                hops[number] += line == "event: hop"
                if stop.is_set():
                    return

    readers = [threading.Thread(target=read, args=(number,)) for number in range(19)]
    with httpx.stream("GET", f"{url}api/v1/live", timeout=within(10)) as stalled:
        assert stalled.status_code == 200  # and is never read
        for reader in readers:
            reader.start()
        watched = latencies(8)
        wait_until(lambda: min(hops) > 20, "all are told")
        stop.set()
        for reader in readers:
            reader.join(within(10))
    # Within a hop: on a busy machine, one may wait for the next.
    assert watched[len(watched) // 2] < alone[len(alone) // 2] + 200


def test_without_anything_kept_the_search_says_how_to_turn_it_on(
    chromium: Browser, house: tuple[Daemon, str]
) -> None:
    with page(chromium, f"{house[1]}#/search") as opened:
        expect(opened.get_by_test_id("search-off")).to_contain_text("search.enabled: true")
        expect(opened.get_by_test_id("search-text")).to_have_count(0)
