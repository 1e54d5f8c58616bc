"""Labels by the clock: which rule counts, and that a change arrives where sound is heard."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pipeline.test_live import listening
from stand_ins import ScriptedSource, chunk, eventually, scorer

from pe_stream.config import LabelSettings, LocationSettings
from pe_stream.config.local_time import LocalTime
from pe_stream.core.types import LabelRule, Phase, Reason, Recommended
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.labels.schedules import Schedules, changes

LOCAL = LocalTime(LocationSettings(timezone="UTC"))
NIGHT: dict[str, Any] = {"from": "22:00", "to": "06:00", "threshold": 0.7}


def label(*schedule: dict[str, Any], **keys: Any) -> LabelSettings:
    return LabelSettings.model_validate({"schedule": schedule} | keys)


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-{text}").replace(tzinfo=UTC)


def rule(settings: LabelSettings, moment: str, recommended: Recommended | None = None) -> LabelRule:
    return settings.rule("loud", recommended, partial(LOCAL.holds, at=at(moment)))


class TestRule:
    def test_the_schedules_at_its_time_the_labels_own_otherwise(self) -> None:
        settings = label(NIGHT, threshold=0.5, off_threshold=0.3, min_on_s=0.4)
        assert rule(settings, "20T21:59") == settings.rule("loud")
        night = rule(settings, "20T22:00")
        assert night.threshold == 0.7
        assert night.off_threshold == pytest.approx(0.42), "in proportion"
        assert (night.min_on, night.enabled) == (10, True)

    def test_the_first_that_holds_counts(self) -> None:
        settings = label(NIGHT | {"enabled": False}, {"days": "weekend", "threshold": 0.9})
        assert rule(settings, "21T12:00").threshold == 0.9
        assert rule(settings, "21T23:00").threshold == 0.7
        assert not rule(settings, "21T23:00").enabled
        assert rule(settings, "20T12:00").threshold == 0.5

    def test_what_an_entry_does_not_say_stays(self) -> None:
        settings = label({"from": "22:00", "enabled": True}, enabled=False, off_threshold=0.1)
        night = rule(settings, "20T22:00", recommended=Recommended(0.6))
        assert (night.threshold, night.off_threshold, night.enabled) == (0.6, 0.1, True)
        assert not rule(settings, "20T21:00", recommended=Recommended(0.6)).enabled

    def test_an_own_off_threshold(self) -> None:
        settings = label(NIGHT | {"off_threshold": 0.65})
        assert rule(settings, "20T22:00").off_threshold == 0.65

    def test_a_wrong_entry_is_found_at_any_hour(self) -> None:
        settings = label({"from": "22:00", "to": "06:00", "off_threshold": 0.6})
        said = r"labels\.loud\.schedule\[0\]\.off_threshold: 0\.6 is above .* 0\.5"
        with pytest.raises(ConfigError, match=said):
            settings.rule("loud", Recommended(0.5))
        assert settings.rule("loud", Recommended(0.6)).off_threshold == pytest.approx(0.48)


class TestSchedules:
    def test_changes_are_told_once(self) -> None:
        labels = {"loud": label(NIGHT), "quiet": label()}
        schedules = Schedules(labels, {"loud": Recommended(0.4)}, LOCAL, at("20T12:00"))
        told: list[tuple[int, str, float]] = []
        for hour in range(48):
            moment = at("20T12:00") + timedelta(hours=hour)
            schedules.follow(
                moment,
                lambda name, rule, hour=hour: told.append((hour, name, rule.threshold)),  # type: ignore[misc]
            )
        assert told == [
            (10, "loud", 0.7),
            (18, "loud", 0.4),
            (34, "loud", 0.7),
            (42, "loud", 0.4),
        ]

    def test_what_is_in_force_at_the_start_is_no_change(self) -> None:
        schedules = Schedules({"loud": label(NIGHT)}, {}, LOCAL, at("20T23:00"))
        told: list[str] = []
        schedules.follow(at("20T23:00"), lambda name, _: told.append(name))
        assert told == []

    def test_a_change_that_fails_is_tried_again(self) -> None:
        schedules = Schedules({"loud": label(NIGHT)}, {}, LOCAL, at("20T12:00"))

        def stuck(_name: str, _rule: LabelRule) -> None:
            raise UnavailableError("scoring stands still")

        with pytest.raises(UnavailableError):
            schedules.follow(at("20T22:00"), stuck)
        told: list[float] = []
        schedules.follow(at("20T22:01"), lambda _, rule: told.append(rule.threshold))
        assert told == [0.7]

    def test_what_cannot_be_followed_is_refused_at_once(self) -> None:
        by_the_sun = label(
            {"from": "22:00", "to": "23:00", "enabled": False},
            {"from": "sunset"} | {"enabled": False},
        )
        with pytest.raises(ConfigError, match="location"):
            Schedules({"loud": by_the_sun}, {}, LOCAL, at("20T22:30"))


def test_a_label_changes_while_it_is_listened_for() -> None:
    """And what is open when it is switched off is closed."""
    settings = label(
        {"from": "22:00", "to": "23:00", "threshold": 0.25, "off_threshold": 0.21},
        {"from": "23:00", "to": "06:00", "enabled": False},
        update_s=0.0,
        min_on_s=0.0,
        min_off_s=0.0,
    )
    schedules = Schedules({"loud": settings}, {}, LOCAL, at("20T21:00"))
    source = ScriptedSource()
    with listening({"a": [source]}, scorer([rule(settings, "20T21:00")])) as (live, told):
        ruled = told.ruled
        ruled.clear()

        def change(name: str, to: LabelRule) -> None:
            live.set_rule(
                "a", name, to.threshold, off_threshold=to.off_threshold, enabled=to.enabled
            )

        source.give(chunk(0, 20, 0.3, anchor_ns=0))
        assert eventually(lambda: told.frames.get("a", 0) >= 10)
        assert told.said == []
        schedules.follow(at("20T22:00"), change)
        assert eventually(lambda: ruled)
        assert (ruled[-1].threshold, ruled[-1].off_threshold) == (0.25, 0.21)
        source.give(chunk(20, 20, 0.3))
        assert eventually(lambda: told.said)
        schedules.follow(at("20T23:00"), change)
        assert eventually(lambda: len(told.said) == 2)
        assert not ruled[-1].enabled
        schedules.follow(at("21T06:00"), change)
        assert eventually(lambda: len(ruled) == 3)
        assert ruled[-1] == settings.rule("loud")
        source.give(None)
        assert eventually(lambda: told.end)
    assert [(each.phase, each.reason) for each in told.said] == [
        (Phase.START, None),
        (Phase.END, Reason.STOPPED),
    ]


class TestChanges:
    def test_each_rule_is_from_the_moment_that_the_daemon_takes_it(self) -> None:
        settings = label(NIGHT, {"from": "12:07", "to": "12:08", "enabled": False}, threshold=0.5)
        found = changes(
            "loud", settings, None, LOCAL, since=at("20T05:59:30"), until=at("21T00:00")
        )
        assert [(when, rule.threshold, rule.enabled) for when, rule in found] == [
            (at("20T05:59:30"), 0.7, True),
            (at("20T06:00"), 0.5, True),
            (at("20T12:07"), 0.5, False),
            (at("20T12:08"), 0.5, True),
            (at("20T22:00"), 0.7, True),
        ]

    def test_without_a_schedule_there_is_one_rule(self) -> None:
        since = at("20T05:59")
        found = changes("loud", label(), Recommended(0.3), LOCAL, since=since, until=at("27T00:00"))
        assert [(when, rule.threshold) for when, rule in found] == [(since, 0.3)]
