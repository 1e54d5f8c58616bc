"""The page in a real browser, with a house of which the test decides what it hears."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from mosquitto import wait_until
from playwright.sync_api import Browser, Locator, Page, Route, expect
from stand_ins import event
from web.browser import browser, page
from web.houses import Standing, event_probe_of, source_state, standing

from pe_stream.config.loud import LoudSettings
from pe_stream.config.patterns import RHYTHM_THRESHOLD, FollowSettings
from pe_stream.core.clipper import ClipOutcome, Piece
from pe_stream.core.detector import Heard
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.smoothing import smoothed
from pe_stream.core.types import FRAME, FRAME_NS, Phase, SecondOpinion
from pe_stream.web.passwords import hash_password
from pe_stream.web.times import utc

pytestmark = pytest.mark.heavy

PASSWORD = "an owl in the attic"
HOP = 25
"""Frames of a hop: a second."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


@contextmanager
def at(chromium: Browser, house: Standing, view: str, **options: Any) -> Iterator[Page]:
    with page(chromium, f"{house.url}#/{view}", **options) as opened:
        yield opened


def configured(house: Standing, label: str) -> dict[str, Any]:
    found = yaml.safe_load(house.file.path.read_text("utf-8"))["labels"][label]
    assert isinstance(found, dict)
    return found


def configure(house: Standing, label: str, keys: str) -> None:
    """Write a label by hand, as if the daemon had started with it."""
    text = house.file.path.read_text("utf-8")
    line = next(each for each in text.splitlines() if each.startswith(f"  {label}:"))
    house.file.path.write_text(text.replace(line, f"  {label}: {{{keys}}}"), "utf-8")
    house.load()


def save(opened: Page) -> None:
    with opened.expect_response(lambda answer: answer.request.method in {"PATCH", "PUT"}) as saved:
        opened.get_by_test_id("save").click()
    assert saved.value.ok, saved.value.text()


def field(opened: Page, name: str) -> Locator:
    return opened.get_by_test_id(f"label-{name}")


# Patterns, and thresholds that follow the room


def test_a_rhythm_is_chosen_and_taken_back(chromium: Browser, house: Standing) -> None:
    with at(chromium, house, "label/dog") as opened:
        field(opened, "pattern").select_option("T3")
        expect(opened.get_by_test_id("pattern")).to_contain_text(f"{RHYTHM_THRESHOLD:g}")
        expect(opened.get_by_test_id("preview-words")).to_contain_text(
            "No preview: stored scores do not tell: a rhythm is heard in the sound itself"
        )
        save(opened)
        assert configured(house, "dog")["pattern"] == "T3"
        field(opened, "pattern-cycles").fill("3")
        save(opened)
        assert configured(house, "dog")["pattern"] == {"rhythm": "T3", "cycles": 3}
        opened.reload()
        expect(field(opened, "pattern")).to_have_value("T3")
        expect(field(opened, "pattern-cycles")).to_have_value("3")
        field(opened, "pattern").select_option("")
        save(opened)
        assert "pattern" not in configured(house, "dog")
    assert "# the neighbour's" in house.file.path.read_text("utf-8")


def test_several_sounds_within_a_time(chromium: Browser, house: Standing) -> None:
    history(house)
    with at(chromium, house, "label/dog") as opened:
        words = opened.get_by_test_id("preview-words")
        expect(words).to_contain_text("fired 3 times")
        field(opened, "pattern").select_option("times")
        expect(field(opened, "pattern-times")).to_have_value("3")
        expect(field(opened, "pattern-within_s")).to_have_value("10")
        expect(words).to_contain_text("fired 0 times")  # a minute lies between them
        field(opened, "pattern-times").fill("2")
        field(opened, "pattern-within_s").fill("300")
        expect(words).to_contain_text("fired once")
        expect(words).to_contain_text("(now 3)")
        field(opened, "pattern-gap_s-from").fill("5")
        save(opened)
        expect(field(opened, "pattern-gap_s-to")).to_have_value("300")
    expected = {"times": 2, "within_s": 300, "gap_s": [5, 300]}
    assert configured(house, "dog")["pattern"] == expected


def test_another_label_after_it(chromium: Browser, house: Standing) -> None:
    configure(house, "dog", "sources: [kitchen]")  # where the other is heard, too
    with at(chromium, house, "label/dog") as opened:
        field(opened, "pattern").select_option("then")
        options = field(opened, "pattern-then").locator("option").all_inner_texts()
        assert options == ["knock"]  # not itself
        expect(opened.get_by_test_id("preview-words")).to_contain_text("the events of knock too")
        field(opened, "pattern-within_s").fill("4")
        save(opened)
    assert configured(house, "dog")["pattern"] == {"then": "knock", "within_s": 4}


def test_a_rhythm_of_ones_own(chromium: Browser, house: Standing) -> None:
    with at(chromium, house, "label/dog") as opened:
        field(opened, "pattern").select_option("rhythm")
        field(opened, "pattern-rhythm").fill("0.3, 0.2 x")
        opened.get_by_test_id("save").click()
        problems = opened.get_by_test_id("problems")
        expect(problems).to_contain_text("pattern.rhythm[2]: found 'x', should be a number")
        expect(field(opened, "pattern-rhythm")).to_have_attribute("aria-invalid", "true")
        expect(field(opened, "pattern-cycles")).not_to_have_attribute("aria-invalid", "true")
        assert "pattern" not in configured(house, "dog")
        field(opened, "pattern-rhythm").fill("0.3 0.2 0.3 1")
        save(opened)
        expect(field(opened, "pattern-rhythm")).not_to_have_attribute("aria-invalid", "true")
        opened.reload()
        expect(field(opened, "pattern-rhythm")).to_have_value("0.3 0.2 0.3 1")
    assert configured(house, "dog")["pattern"] == {"rhythm": [0.3, 0.2, 0.3, 1]}


@pytest.mark.parametrize(
    ("kind", "typed", "told"),
    [
        ("times", {"times": "1"}, ("pattern.times: found 1, should be at least 2", "times")),
        (
            "times",
            {"within_s": "700", "gap_s-from": "9", "gap_s-to": "3"},
            (
                "pattern.within_s: found 700, should be at most 600",
                "within_s",
                "gap_s-from",
                "gap_s-to",
            ),
        ),
        ("then", {"within_s": ""}, ("pattern: then needs within_s", "within_s", "then")),
        ("T4", {"tolerance": "0.5"}, ("tolerance: found 0.5, should be at most", "tolerance")),
    ],
)
def test_what_is_wrong_is_said_beside_it(
    chromium: Browser, house: Standing, kind: str, typed: dict[str, str], told: tuple[str, ...]
) -> None:
    said, *wrong = told
    with at(chromium, house, "label/dog") as opened:
        field(opened, "pattern").select_option(kind)
        for name, value in typed.items():
            field(opened, f"pattern-{name}").fill(value)
        opened.get_by_test_id("save").click()
        expect(opened.get_by_test_id("problems")).to_contain_text(said)
        for name in wrong:
            invalid = field(opened, f"pattern-{name}")
            expect(invalid).to_have_attribute("aria-invalid", "true")
            expect(invalid).to_have_attribute("aria-errormessage", "label-problems")
        if len(wrong) == 1:
            marked = opened.locator("[aria-invalid=true]")
            expect(marked).to_have_count(1)
        expect(field(opened, "pattern")).to_have_value(kind)  # and nothing is lost
    assert "pattern" not in configured(house, "dog")


def test_a_threshold_that_follows_the_room(chromium: Browser, house: Standing) -> None:
    with at(chromium, house, "label/dog") as opened:
        expect(field(opened, "follow-margin")).to_be_hidden()
        field(opened, "follow").check()
        for name, value in FollowSettings().model_dump().items():
            default = field(opened, f"follow-{name}")
            expect(default).to_have_attribute("placeholder", f"{value:g}")
        save(opened)
        assert configured(house, "dog")["follow"] is True
        field(opened, "follow-margin").fill("1")
        field(opened, "follow-highest").fill("0.3")
        opened.get_by_test_id("save").click()
        expect(opened.get_by_test_id("problems")).to_contain_text("follow.highest: 0.3 is below")
        expect(field(opened, "follow-highest")).to_have_attribute("aria-invalid", "true")
        expect(field(opened, "follow-margin")).not_to_have_attribute("aria-invalid", "true")
        field(opened, "follow-highest").fill("0.9")
        save(opened)
        assert configured(house, "dog")["follow"] == {"margin": 1, "highest": 0.9}
        opened.reload()
        expect(field(opened, "follow-margin")).to_have_value("1")
        expect(field(opened, "follow-quantile")).to_have_value("")  # the default, as a placeholder
        field(opened, "follow").uncheck()
        save(opened)
        assert "follow" not in configured(house, "dog")


def test_a_label_of_what_is_loud_is_added_and_changed(chromium: Browser, house: Standing) -> None:
    with at(chromium, house, "label") as opened:
        opened.get_by_test_id("label-name").fill("bang")
        expect(field(opened, "loud-above_db")).to_be_hidden()
        field(opened, "loud").check()
        default = LoudSettings()
        expect(field(opened, "loud-above_db")).to_have_attribute(
            "placeholder", f"{default.above_db:g}"
        )
        expect(field(opened, "loud-of")).to_have_value(default.of)
        save(opened)
        assert configured(house, "bang") == {"loud": True}
        expect(opened).to_have_url(re.compile("#/label/bang$"))
        field(opened, "loud-of").select_option("full_scale")
        opened.get_by_test_id("save").click()
        expect(opened.get_by_test_id("problems")).to_contain_text("nothing is 20 dB above full")
        field(opened, "loud-above_db").fill("-18")
        opened.get_by_test_id("more").locator("summary").click()
        field(opened, "least_db").fill("-50")
        save(opened)
        assert configured(house, "bang") == {
            "loud": {"above_db": -18, "of": "full_scale"},
            "least_db": -50,
        }
        opened.reload()
        expect(field(opened, "loud-above_db")).to_have_value("-18")
        expect(field(opened, "loud-of")).to_have_value("full_scale")
        opened.goto(f"{house.url}#/labels")
        card = opened.locator("[data-label=bang]")
        expect(card).to_contain_text("whatever has -18 dBFS")
        expect(card).to_contain_text("at -50 dBFS or more")


def test_the_level_of_the_last_second_is_shown(chromium: Browser, house: Standing) -> None:
    with at(chromium, house, "live") as opened:
        shown = opened.get_by_test_id("source-panel").first.get_by_test_id("sound-level")
        expect(opened.get_by_test_id("state").first).to_be_visible()

        def tell() -> bool:
            house.server.level("kitchen", SoundLevel(48_000, 1e-4, 0.1, 1e-5, 0.05, 10**9))
            return shown.inner_text() == "-40 dBFS, -50 A-weighted, peak -20"

        wait_until(tell, "it is shown")
        house.server.health("kitchen", source_state() | {"state": "lost"})
        expect(shown).to_be_empty()
    with at(chromium, house, "health") as opened:
        row = opened.get_by_test_id("health-row").first
        expect(row).to_contain_text("-44 A-weighted, peak -21")


def test_smoothing_is_set_and_taken_back(chromium: Browser, house: Standing) -> None:
    with at(chromium, house, "label/dog") as opened:
        opened.get_by_test_id("more").locator("summary").click()
        with opened.expect_request(
            lambda sent: '"smooth_s":0.6' in (sent.post_data or "")
        ) as asked:
            field(opened, "smooth_s").fill("0.6")
        assert asked.value.url.endswith("labels/dog/preview")
        save(opened)
        assert configured(house, "dog")["smooth_s"] == 0.6
        opened.reload()
        opened.get_by_test_id("more").locator("summary").click()
        expect(field(opened, "smooth_s")).to_have_value("0.6")
        field(opened, "smooth_s").fill("")
        save(opened)
    assert "smooth_s" not in configured(house, "dog")


def test_tracks_are_drawn_as_thresholds_see_them(chromium: Browser, house: Standing) -> None:
    """To the digit what the daemon compares: of the frames there are, none beyond a break."""
    scores = [0.0, 0.5, 1.0, 0.25, None, 0.75, 0.25]
    with at(chromium, house, "labels") as opened:
        drawn, plain = opened.evaluate(
            """async (scores) => {
              const { smoothed } = await import(new URL("js/score_plot.js", location));
              const at = (n) => scores[n] ?? NaN;
              const all = (seconds) => scores.map((_, n) => smoothed(at, seconds)(n));
              return [all(0.12), all(0)].map((told) => told.map((x) => Number.isNaN(x) ? null : x));
            }""",
            scores,
        )
    assert plain == scores
    means = [*smoothed(np.array(scores[:4], float), 3), None, *smoothed(np.array(scores[5:]), 3)]
    assert drawn == [None if mean is None else pytest.approx(mean) for mean in means]


def test_a_new_label_may_have_both(chromium: Browser, house: Standing) -> None:
    with at(chromium, house, "label") as opened:
        opened.get_by_test_id("label-name").fill("cat")
        field(opened, "pattern").select_option("times")
        field(opened, "follow").check()
        opened.get_by_test_id("save").click()
        expect(opened.get_by_test_id("toast").last).to_contain_text("cat added")
    keys = {"pattern": {"times": 3, "within_s": 10}, "follow": True}
    assert configured(house, "cat") == keys


def test_what_the_form_does_not_show_is_not_lost(chromium: Browser, house: Standing) -> None:
    """Another key is changed; then one of the pattern: its others stay as they were written."""
    pattern = "{times: 2, within_s: 9.5, length_s: [0.1, 2], gap_s: [0.5, 3]}"
    follow = "{quantile: 0.99, margin: 0.25, window_s: 600, highest: 0.9}"
    configure(house, "dog", f"threshold: 0.5, pattern: {pattern}, follow: {follow}")
    before = configured(house, "dog")
    with at(chromium, house, "label/dog") as opened:
        expect(field(opened, "pattern-length_s-to")).to_have_value("2")
        opened.get_by_test_id("label-prompts").fill("a dog")
        save(opened)
        assert configured(house, "dog") == before | {"prompts": ["a dog"]}
        assert pattern in house.file.path.read_text("utf-8")  # not even written again
        field(opened, "pattern-times").fill("4")
        save(opened)
    assert configured(house, "dog")["pattern"] == before["pattern"] | {"times": 4}
    assert configured(house, "dog")["follow"] == before["follow"]


def test_keys_of_a_pattern_that_the_page_does_not_know_stay(
    chromium: Browser, house: Standing
) -> None:
    """As those of a daemon that is newer than the page."""
    with at(chromium, house, "labels") as opened:
        made = opened.evaluate(
            """async () => {
              const { pattern } = await import(new URL("js/labels/pattern.js", location));
              const { follow } = await import(new URL("js/labels/follow.js", location));
              const one = pattern("dog"), other = follow();
              one.write({ times: 3, within_s: 5, then: null, loudness: 7 });
              other.write({ margin: 0.5, quantile: 0.999, slope: 2 });
              return [one.read(), other.read()];
            }"""
        )
    assert made == [{"times": 3, "within_s": 5, "loudness": 7}, {"slope": 2}]


def test_whoever_may_not_write_sees_the_pattern(
    chromium: Browser, house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(house, "dog", "pattern: T4, follow: false")
    monkeypatch.setattr("os.access", lambda *_: False)
    with at(chromium, house, "label/dog") as opened:
        expect(field(opened, "pattern")).to_have_value("T4")
        for name in ("pattern", "pattern-cycles", "follow", "follow-margin"):
            expect(field(opened, name)).to_be_disabled()


LOOKS: dict[str, dict[str, Any]] = {
    "light": {},
    "dark": {"color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True},
}


@pytest.mark.parametrize("look", LOOKS)
def test_nothing_of_it_is_in_the_way_of_anybody(
    chromium: Browser, house: Standing, look: str
) -> None:
    with at(chromium, house, "label/dog", **LOOKS[look]) as opened:
        field(opened, "follow").check()
        for kind in ("T3", "rhythm", "times", "then"):
            field(opened, "pattern").select_option(kind)
            clean(opened)


def clean(opened: Page) -> None:
    """axe-core finds nothing serious, and nothing is wider than the page."""
    found = Axe().run(opened).response["violations"]
    serious = [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
    assert not serious
    assert opened.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0


def history(house: Standing) -> None:
    """Three sounds at the kitchen, a minute apart."""
    house.history.relabel({"dog": "k", "knock": "k"})
    scores = np.full((6000, 1), 0.1, np.float32)
    for begin in (500, 2000, 3500):
        scores[begin : begin + 20] = 0.8
    start_ns = time.time_ns() - len(scores) * FRAME_NS
    house.history.add("kitchen", ["dog"], ["dog"], start_ns, scores)


# Searching events


def test_events_are_searched_by_what_was_heard_and_seen(chromium: Browser, house: Standing) -> None:
    onset = utc(datetime.now(UTC))
    house.remember(event(1, Phase.END, label="dog", onset=onset), 1.0)
    house.remember(event(2, Phase.END, label="knock", onset=onset), -3.0, 2.0)
    house.remember(event(3, Phase.END, label="dog", onset=onset), 9.0, identity="cd" * 32)
    with at(chromium, house, "search") as opened:
        text, button = opened.get_by_test_id("search-text"), opened.get_by_test_id("search-button")
        opened.get_by_test_id("search-kind").select_option("events")
        expect(opened.get_by_label("What was it like?")).to_have_attribute("id", "search-text")
        expect(opened.locator("#search-hint")).to_contain_text("Scores are not calibrated")
        text.fill("a white van")
        button.click()
        told = opened.get_by_test_id("search-told")
        expect(told).to_contain_text("“a white van” among 2 events, the best scores 0.88.")
        expect(told).to_contain_text("1 event that an old one gave an opinion on cannot be")
        found = opened.get_by_test_id("search-event-result")
        expect(found).to_have_count(2)
        expect(found.first).to_contain_text("knock")
        expect(found.first).to_contain_text("at porch")
        parts = opened.get_by_test_id("search-parts")
        expect(parts).to_have_text(
            ["sound 0.05, picture 0.88 (uncalibrated)", "sound 0.73 (uncalibrated)"]
        )
        clean(opened)
        text.fill("refused")
        button.click()
        expect(opened.get_by_test_id("search-problem")).to_contain_text("is too long")
        expect(found).to_have_count(2)  # nothing is lost
        found.first.get_by_role("link").click()
        expect(opened).to_have_url(re.compile("#/event/id-0002$"))


def test_what_can_be_searched_is_offered(chromium: Browser, house: Standing) -> None:
    there = house.server._daemon
    object.__setattr__(there, "event_probe", None)
    with at(chromium, house, "search") as opened:
        expect(opened.get_by_label("What did it sound like?")).to_be_visible()
        expect(opened.get_by_test_id("search-kind")).to_have_count(0)
    object.__setattr__(there, "event_probe", event_probe_of)
    object.__setattr__(there, "embeddings", None)
    with at(chromium, house, "search") as opened:
        expect(opened.get_by_label("What was it like?")).to_be_visible()
        expect(opened.get_by_test_id("search-kind")).to_have_count(0)
        expect(opened.get_by_role("heading", level=1)).to_have_text("Search events")


# The live view


def test_the_live_view_is_full_at_once(chromium: Browser, house: Standing) -> None:
    start_ns = time.time_ns() // FRAME_NS * FRAME_NS - 40 * HOP * FRAME_NS
    tone = (0.1 * np.sin(2 * np.pi * 1000 * np.arange(HOP * FRAME) / 48_000)).astype(np.float32)
    for second in range(40):
        scores = np.full((HOP, 2), 0.1 + second / 100, np.float32)
        at_ns = start_ns + second * HOP * FRAME_NS
        house.server.scores("kitchen", ["dog", "knock"], Heard(0, at_ns, scores, [], tone))
    with at(chromium, house, "live") as opened:
        kitchen = opened.locator("[data-testid=source-panel][data-source=kitchen]")
        track = kitchen.locator("[data-testid=track][data-label=dog]")
        expect(track.get_by_test_id("score")).to_have_text("0.49")
        expect(kitchen.get_by_test_id("level")).to_have_attribute(
            "aria-valuetext", re.compile("-23 dBFS")
        )
        spectrogram = kitchen.get_by_test_id("spectrogram")
        wait_until(lambda: painted(track.locator("canvas"), 0.9) > 0.98, "all of its width")
        wait_until(lambda: painted(spectrogram, AT_1_KHZ) > 0.98, "all of its width")
        porch = opened.locator("[data-testid=source-panel][data-source=porch]")
        assert painted(porch.get_by_test_id("spectrogram"), AT_1_KHZ) == 0
        assert opened.evaluate(LAG) == 0  # all of it is shown, and none is still to roll in


LAG = """async () => {
  const { heardAt } = await import(new URL("js/live/heard.js", location));
  return heardAt("kitchen").lag(performance.now());
}"""


AT_1_KHZ = 0.48
"""Part of the height from the top."""


def painted(canvas: Locator, height: float) -> float:
    """Part of the columns that have another colour at this height than at the top."""
    return float(
        canvas.evaluate(
            """(canvas, part) => {
              const { width, height } = canvas;
              const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
              const at = (x, y) => data.slice((y * width + x) * 4, (y * width + x) * 4 + 4).join();
              let full = 0;
              for (let x = 0; x < width; x += 1) {
                full += at(x, Math.round(part * height)) !== at(x, 1);
              }
              return full / width;
            }""",
            height,
        )
    )


def test_events_of_before_are_on_their_tracks(chromium: Browser, house: Standing) -> None:
    onset = datetime.now(UTC) - timedelta(seconds=10)
    told = [
        replace(event(number, phase, 2.0, source="kitchen", label=label), onset=utc(onset))
        for number, (phase, label) in enumerate([(Phase.UPDATE, "dog"), (Phase.END, "knock")])
    ]
    for each in told:
        ended = utc(onset + timedelta(seconds=2)) if each.phase is Phase.END else None
        house.store.record(replace(each, offset=ended), [])
    with at(chromium, house, "live") as opened:
        expect(opened.get_by_test_id("recent").locator("li")).to_have_count(2)
        start_ns = time.time_ns() - HOP * FRAME_NS
        scores = np.full((HOP, 2), 0.6, np.float32)
        silence = np.zeros(HOP * FRAME, np.float32)
        hop = Heard(0, start_ns, scores, [], silence)
        house.server.scores("kitchen", ["dog", "knock"], hop)
        on = {
            label: opened.locator(
                f"[data-source=kitchen] [data-testid=track][data-label={label}]"
            ).get_by_text("on now")
            for label in ("dog", "knock")
        }
        expect(on["dog"]).to_be_visible()
        expect(on["knock"]).to_be_hidden()


def test_a_second_opinion_is_shown_when_it_comes(chromium: Browser, house: Standing) -> None:
    told = event(1, Phase.END, 1.0, source="kitchen", label="dog")
    house.store.record(told, [])
    judged = replace(
        told,
        second_opinion=SecondOpinion(0.714, None, None, None, 0, (0.0, 8.0), "pe-av-small", 5300),
    )
    with at(chromium, house, f"event/{told.id}") as opened:
        facts = opened.get_by_test_id("facts")
        expect(facts).to_contain_text("Checkpoint")
        expect(opened.get_by_test_id("opinion")).to_have_count(0)
        wait_until(lambda: house.server.viewers == 1, "it is told of what happens")
        other = replace(judged, id="another")
        for each in (other, judged):
            house.server.opinion(each)
        expect(opened.get_by_test_id("opinion")).to_have_text("sound 0.71 (uncalibrated)")
        expect(facts).to_contain_text("By pe-av-small, on 8 s around the peak, in 5.3 s.")
    house.store.record_opinion(judged, [])
    with at(chromium, house, f"event/{told.id}") as opened:
        expect(opened.get_by_test_id("opinion")).to_have_text("sound 0.71 (uncalibrated)")


# An event that teaches


@pytest.fixture
def recorded(house: Standing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of an event with a clip."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    noise = np.random.default_rng(0).normal(0, 0.0003, 4 * 48_000)
    noise[96_000:144_000] += 0.3 * np.sin(2 * np.pi * 2000 * np.arange(48_000) / 48_000)
    made = event(1, Phase.END, 1.0, source="kitchen", label="dog")
    for phase in (Phase.START, Phase.END):
        house.store.record(house.clips.named(replace(made, phase=phase)), [])
    house.clips.take([Piece(made.id, 0, noise.astype(np.float32), ClipOutcome.KEPT, 96_000)])
    wait_until(lambda: house.clips.find(made.to_dict()) is not None, "the clip")
    return made.id


def test_an_event_becomes_an_example(chromium: Browser, house: Standing, recorded: str) -> None:
    with at(chromium, house, f"event/{recorded}") as opened:
        expect(opened.get_by_test_id("example-label")).to_have_value("dog")
        opened.get_by_test_id("example-add").click()
        expect(opened.get_by_test_id("toast").last).to_contain_text("dog has learned it: 1 in all")
        opened.get_by_text("What it hears now").click()
        expect(opened.get_by_test_id("example-report")).to_contain_text("0.70  a kettle")
        clean(opened)
        opened.get_by_test_id("example-add").click()
        expect(opened.get_by_test_id("example-problem")).to_contain_text("already")
    assert configured(house, "dog")["examples"] == [f"state/examples/dog/{recorded}.flac"]


def test_an_event_becomes_a_label(chromium: Browser, house: Standing, recorded: str) -> None:
    with at(chromium, house, f"event/{recorded}") as opened:
        expect(opened.get_by_test_id("example-name")).to_be_hidden()
        opened.get_by_test_id("example-label").select_option("a new label …")
        add, problem = (
            opened.get_by_test_id("example-add"),
            opened.get_by_test_id("example-problem"),
        )
        add.click()
        expect(problem).to_contain_text("Give the new label a name")
        opened.get_by_test_id("example-name").fill("knock")
        add.click()
        expect(problem).to_contain_text("There is a label")
        opened.get_by_test_id("example-name").fill("kettle")
        opened.get_by_test_id("example-prompt").fill("a kettle whistling")
        house.file.path.write_text(house.file.path.read_text("utf-8") + "# by hand\n", "utf-8")
        add.click()
        expect(problem).to_contain_text("changed elsewhere")
        add.click()
        expect(opened.get_by_test_id("toast").last).to_contain_text("kettle has learned it")
    expected = {
        "prompts": ["a kettle whistling"],
        "examples": [f"state/examples/kettle/{recorded}.flac"],
    }
    assert configured(house, "kettle") == expected


@pytest.mark.parametrize("look", LOOKS)
def test_the_form_for_that_is_in_nobodys_way(
    chromium: Browser, house: Standing, recorded: str, look: str
) -> None:
    with at(chromium, house, f"event/{recorded}", **LOOKS[look]) as opened:
        opened.get_by_test_id("example-label").select_option("a new label …")
        opened.get_by_test_id("example-name").fill("kettle")
        clean(opened)


# The session


@contextmanager
def locked(chromium: Browser, folder: Path, view: str) -> Iterator[tuple[Standing, Page]]:
    """A house with a password, and somebody who is in."""
    hashed = hash_password(PASSWORD)
    with (
        standing(folder, f", password_hash: '{hashed}'") as house,
        at(chromium, house, view) as opened,
    ):
        log_in(opened)
        expect(opened.get_by_test_id("logout")).to_be_visible()
        yield house, opened


def log_in(opened: Page, password: str = PASSWORD) -> None:
    opened.get_by_test_id("password").fill(password)
    opened.get_by_test_id("login").click()


def test_what_is_typed_survives_the_session(chromium: Browser, tmp_path: Path) -> None:
    with locked(chromium, tmp_path, "label/dog") as (house, opened):
        before = house.file.path.read_text("utf-8")
        opened.get_by_test_id("label-prompts").fill("a dog\nanother dog")
        field(opened, "pattern").select_option("times")
        opened.context.clear_cookies()
        # A preview may have been refused first: the door is then in the way of a mouse.
        opened.get_by_test_id("save").dispatch_event("click")
        door = opened.get_by_test_id("door")
        expect(door).to_be_visible()
        expect(opened.get_by_test_id("password")).to_be_focused()
        clean(opened)
        for _ in range(3):
            opened.keyboard.press("Escape")
        expect(door).to_be_visible()
        log_in(opened, "wrong")
        expect(opened.get_by_test_id("login-problem")).to_contain_text("not the password")
        assert house.file.path.read_text("utf-8") == before
        log_in(opened)
        expect(door).to_have_count(0)
        expect(opened.get_by_test_id("connection")).to_contain_text("live")
        expect(opened.get_by_test_id("label-prompts")).to_have_value("a dog\nanother dog")
        save(opened)
    assert configured(house, "dog")["prompts"] == ["a dog", "another dog"]
    assert configured(house, "dog")["pattern"] == {"times": 3, "within_s": 10}


def test_a_preview_that_was_refused_is_asked_for_again(chromium: Browser, tmp_path: Path) -> None:
    with locked(chromium, tmp_path, "label/dog") as (house, opened):
        words = opened.get_by_test_id("preview-words")
        expect(words).to_contain_text("no scores are kept of that time yet")
        history(house)
        opened.context.clear_cookies()
        field(opened, "threshold-exact").fill("0.6")
        expect(opened.get_by_test_id("door")).to_be_visible()
        expect(words).to_contain_text("log in first")
        log_in(opened)
        expect(words).to_contain_text("fired 3 times")
        expect(field(opened, "threshold-exact")).to_have_value("0.6")


def test_what_others_changed_meanwhile_is_told_then(chromium: Browser, tmp_path: Path) -> None:
    with locked(chromium, tmp_path, "label/dog") as (house, opened):
        opened.get_by_test_id("label-prompts").fill("a dog")
        opened.context.clear_cookies()
        # A preview may have been refused first: the door is then in the way of a mouse.
        opened.get_by_test_id("save").dispatch_event("click")
        expect(opened.get_by_test_id("door")).to_be_visible()
        configure(house, "dog", 'prompts: ["a dog barking"], threshold: 0.7')
        log_in(opened)
        expect(opened.get_by_test_id("changed-elsewhere")).to_be_visible()
        opened.get_by_test_id("changed-elsewhere").get_by_role("button").click()
        save(opened)
    assert configured(house, "dog") == {"prompts": ["a dog"], "threshold": 0.7}


def test_a_view_without_anything_typed_comes_again(chromium: Browser, tmp_path: Path) -> None:
    with locked(chromium, tmp_path, "labels") as (_, opened):
        expect(opened.get_by_test_id("label")).to_have_count(2)
        opened.context.clear_cookies()
        opened.evaluate("() => { location.hash = '#/event/id-0001'; }")
        expect(opened.get_by_test_id("door")).to_be_visible()
        log_in(opened)
        expect(opened.get_by_text("There is no such event any more")).to_be_visible()
        expect(opened.get_by_role("navigation", name="Main")).to_be_visible()


def test_the_end_of_the_stream_before_the_answer_asks_nobody_to_log_in_again(
    chromium: Browser, tmp_path: Path
) -> None:
    def slowly(route: Route) -> None:
        if route.request.method != "DELETE":
            route.continue_()
            return
        answer = route.fetch()
        time.sleep(1.5)  # meanwhile the stream has ended with the session
        route.fulfill(response=answer)

    with locked(chromium, tmp_path, "label/dog") as (_, opened):
        expect(opened.get_by_test_id("label-prompts")).to_be_visible()
        opened.route("**/session", slowly)
        opened.get_by_test_id("logout").click()
        expect(opened.get_by_test_id("password")).to_be_visible()
        expect(opened.get_by_test_id("door")).to_have_count(0)
        expect(opened.get_by_test_id("label-form")).to_have_count(0)


def test_who_logs_out_leaves_nothing_behind(chromium: Browser, tmp_path: Path) -> None:
    with locked(chromium, tmp_path, "label/dog") as (_, opened):
        opened.get_by_test_id("label-prompts").fill("a secret")
        opened.get_by_test_id("logout").click()
        expect(opened.get_by_test_id("password")).to_be_visible()
        expect(opened.get_by_test_id("door")).to_have_count(0)
        expect(opened.get_by_test_id("label-form")).to_have_count(0)
        log_in(opened)
        expect(opened.get_by_test_id("label-prompts")).to_have_value("a dog barking")


# Listening live, and what is done to the sound


def test_one_listens_to_a_source_and_stops(chromium: Browser, tmp_path: Path) -> None:
    """What Chromium plays is what was heard; one source at a time; leaving the view ends it."""
    with (
        standing(tmp_path, more="clips: {enabled: true}\n") as house,
        page(chromium, f"{house.url}#/live") as opened,
        telling_a_tone(house),
    ):
        listeners = house.server._live_audio._listeners

        def sources() -> list[str]:
            return [each.source for each in listeners]

        opened.evaluate(
            """() => {
              const Player = window.Audio;
              window.players = [];
              window.Audio = function (address) {
                const player = new Player(address);
                window.players.push(player);
                return player;
              };
            }"""
        )
        kitchen, porch = (
            opened.get_by_role("button", name=f"to {n}") for n in ("kitchen", "porch")
        )
        expect(kitchen).to_have_text("Listen")
        kitchen.click()
        expect(kitchen).to_have_text("Stop listening")
        wait_until(lambda: sources() == ["kitchen"], "it listens")
        opened.wait_for_function("() => window.players[0].currentTime > 2", polling=100)
        loudest = opened.evaluate(
            """async () => {
              const context = new AudioContext();
              await context.resume();
              const analyser = context.createAnalyser();
              analyser.fftSize = 8192;
              context.createMediaElementSource(window.players[0]).connect(analyser);
              const bins = new Float32Array(analyser.frequencyBinCount);
              for (let n = 0; n < 600; n += 1) {
                await new Promise((done) => setTimeout(done, 100));
                analyser.getFloatFrequencyData(bins);
                if (Math.max(...bins) > -40) break;
              }
              return bins.indexOf(Math.max(...bins)) * context.sampleRate / analyser.fftSize;
            }"""
        )
        assert loudest == pytest.approx(1000, abs=20)
        porch.click()
        expect(kitchen).to_have_text("Listen")
        expect(porch).to_have_text("Stop listening")
        wait_until(lambda: sources() == ["porch"], "the other one only")
        porch.click()
        expect(porch).to_have_text("Listen")
        wait_until(lambda: sources() == [], "nobody listens")
        kitchen.click()
        wait_until(lambda: sources() == ["kitchen"], "it listens again")
        opened.evaluate("() => { location.hash = '#/health'; }")
        wait_until(lambda: sources() == [], "the view was left")
        expect(opened.get_by_test_id("toast")).to_have_count(0)
        clean(opened)


def test_where_listening_ends_the_page_says_so(chromium: Browser, tmp_path: Path) -> None:
    with (
        standing(tmp_path, more="clips: {enabled: true}\n") as house,
        page(chromium, f"{house.url}#/live") as opened,
    ):
        button = opened.get_by_role("button", name="to kitchen")
        button.click()
        wait_until(lambda: len(house.server._live_audio._listeners) == 1, "it listens")
        text = house.file.path.read_text("utf-8")
        house.file.path.write_text(text.replace("enabled: true, port", "listen: false, port"))
        house.load()
        toast = opened.get_by_test_id("toast")
        expect(toast).to_contain_text("Listening to kitchen has ended: it is switched off.")
        expect(button).to_be_hidden()


def test_where_one_may_not_listen_there_is_no_button(chromium: Browser, house: Standing) -> None:
    with at(chromium, house, "live") as opened:
        expect(opened.get_by_test_id("source-panel")).to_have_count(2)
        expect(opened.get_by_test_id("listen").first).to_be_hidden()


def test_the_page_says_what_is_done_to_the_sound(chromium: Browser, house: Standing) -> None:
    text = house.file.path.read_text("utf-8")
    filtered = "{microphone: default, gain_db: -6, highpass_hz: 80, lowpass_hz: 12500}"
    house.file.path.write_text(text.replace("{microphone: default}", filtered), "utf-8")
    house.load()
    with at(chromium, house, "live") as opened:
        panel = opened.locator("[data-testid=source-panel]")
        told = panel.first.get_by_test_id("sound")
        words = "Heard with high-pass 80 Hz, low-pass 12.5 kHz, gain \N{MINUS SIGN}6 dB."
        expect(told).to_have_text(words)
        expect(panel.last.get_by_test_id("sound")).to_be_hidden()
        house.file.path.write_text(text, "utf-8")
        house.load()
        house.server.health("kitchen", source_state())
        expect(told).to_be_hidden()


@contextmanager
def telling_a_tone(house: Standing) -> Iterator[None]:
    """A tone of 1 kHz, as if both sources heard it."""
    over = threading.Event()
    tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(12 * FRAME) / 48_000)
    samples = tone.astype(np.float32)

    def tell() -> None:
        number = 0
        while not over.wait(0.48):
            for source in ("kitchen", "porch"):
                run = (number * len(samples), samples)
                nothing = np.zeros((0, 2), np.float32)
                house.server.scores(
                    source, ["dog", "knock"], Heard(0, 0, nothing, [], samples, audible=[run])
                )
            number += 1

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(10)
