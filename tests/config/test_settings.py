"""Settings: defaults, bounds, what contradicts what, and the JSON Schema that says the same."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pe_stream.config import (
    PASSWORD_VARIABLE,
    HistorySettings,
    HoursSettings,
    LabelSettings,
    ModelSettings,
    MqttSettings,
    SearchSettings,
    SecondOpinionSettings,
    Settings,
    SourceSettings,
    config_schema,
)
from pe_stream.core.types import (
    Follow,
    LabelRule,
    Loud,
    Recommended,
    Repetition,
    Rhythm,
    Sequence,
)
from pe_stream.errors import ConfigError

SCHEMA = jsonschema.Draft202012Validator(config_schema())


@pytest.mark.parametrize(
    "pattern", ["t3", "T3", [0.5, 0.5, 0.5, 0.5, 0.5, 1.5], {"rhythm": "T3"}], ids=repr
)
def test_a_rhythm_alone_is_a_pattern(pattern: object) -> None:
    label = LabelSettings.model_validate({"pattern": pattern})
    assert label == LabelSettings.model_validate({"pattern": "T3"})


def test_a_file_may_be_given_as_an_address() -> None:
    source = SourceSettings.model_validate({"url": "file:///tmp/a%20b.wav", "loop": True})
    assert source.url == "/tmp/a b.wav"
    with pytest.raises(ValidationError, match="another machine: give a path"):
        SourceSettings.model_validate({"url": "file://nas/a.wav"})


def settings(**sections: Any) -> Settings:
    return Settings.model_validate({"labels": {"dog_bark": None}} | sections)


def refused(**sections: Any) -> str:
    """What Settings says against these sections."""
    with pytest.raises(ValidationError) as caught:
        settings(**sections)
    return str(caught.value)


def label(**keys: Any) -> LabelSettings:
    return LabelSettings.model_validate(keys)


def mqtt(**keys: Any) -> MqttSettings:
    return MqttSettings.model_validate(keys)


class TestDefaults:
    def test_are_the_contracts(self) -> None:
        made = settings()
        assert made.node == socket.gethostname()
        assert made.model.checkpoint == "embedded"
        assert (made.model.window_s, made.model.hop_s, made.model.lookahead_s) == (10, 0.48, 0.48)
        assert (made.mqtt.host, made.mqtt.port, made.mqtt.prefix) == (
            "localhost",
            1883,
            "pe_stream",
        )
        assert made.sources == {}
        assert made.log_level == "info"

    def test_sections_may_be_empty(self) -> None:
        assert settings(model=None, mqtt=None, sources=None) == settings()

    def test_are_frozen(self) -> None:
        with pytest.raises(ValidationError):
            settings().node = "other"


class TestModel:
    def test_durations_in_frames(self) -> None:
        model = ModelSettings(window_s=10.0, hop_s=0.56, lookahead_s=0.0)
        assert (model.window_frames, model.hop_frames, model.lookahead_frames) == (250, 14, 0)

    @given(st.integers(1, 1500))
    def test_every_whole_number_of_frames_is_taken(self, frames: int) -> None:
        model = ModelSettings(window_s=frames * 0.04, hop_s=0.04, lookahead_s=0.0)
        assert model.window_frames == frames

    def test_a_duration_off_the_grid_names_the_nearest_on_it(self) -> None:
        assert "0.48 and 0.52" in refused(model={"hop_s": 0.5})

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"window_s": 0.4}, "at most window_s"),
            ({"window_s": 0.8, "lookahead_s": 0.4}, "together"),
            ({"window_s": 60.04}, "less than or equal to 60"),
            ({"hop_s": 0.0}, "greater than or equal to 0.04"),
            ({"device": "gpu"}, "cuda:N"),
            ({"threads": 0}, "greater than or equal to 1"),
            ({"revision": "main"}, "no revisions"),
            ({"checkpoint": " "}, "not blank"),
        ],
    )
    def test_refused(self, keys: dict[str, Any], said: str) -> None:
        assert said in refused(model=keys)

    def test_hop_and_lookahead_may_fill_the_window(self) -> None:
        assert ModelSettings(window_s=0.96).window_frames == 24

    def test_a_path_may_begin_at_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", "/home/someone")
        assert ModelSettings(checkpoint="~/model").checkpoint == "/home/someone/model"


class TestSources:
    @pytest.mark.parametrize("given_", [{"microphone": 0}, {"microphone": "default"}, {"url": "a"}])
    def test_one_origin(self, given_: dict[str, Any]) -> None:
        assert settings(sources={"kitchen": given_})

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ({}, "exactly one"),
            ({"microphone": "default", "url": "a.wav"}, "exactly one"),
            ({"url": None}, "exactly one"),
            ({"microphone": -1}, "pe-stream devices"),
            ({"microphone": True}, "pe-stream devices"),
            ({"microphone": None}, "pe-stream devices"),
            ({"microphone": "default", "loop": True}, "loop is for files"),
            ({"url": "rtsp://camera", "loop": True}, "loop is for files"),
            ({"url": "a.wav", "channel": -1}, "greater than or equal to 0"),
        ],
    )
    def test_refused(self, source: dict[str, Any], said: str) -> None:
        assert said in refused(sources={"kitchen": source})

    def test_names_share_no_topic(self) -> None:
        one = {"microphone": 0}
        said = refused(sources={"Küche": one, "kuche": one})
        assert "'kuche' and 'Küche' are both 'kuche'" in said

    @pytest.mark.parametrize("name", ["", "!!", "客厅"])
    def test_a_name_needs_a_slug(self, name: str) -> None:
        assert "leaves nothing for MQTT topics" in refused(sources={name: {"microphone": 0}})

    def test_are_needed_only_on_demand(self) -> None:
        with pytest.raises(ConfigError, match="pe-stream devices"):
            settings().require_sources()
        settings(sources={"kitchen": {"microphone": 0}}).require_sources()


class TestLabels:
    def test_the_name_is_the_default_prompt(self) -> None:
        labels = settings(labels={"door_bell-ring": None, "cat": {"prompts": "a cat"}}).labels
        assert labels["door_bell-ring"].prompts == ("door bell ring",)
        assert labels["cat"].prompts == ("a cat",)

    def test_a_name_that_becomes_a_prompt_has_no_control_characters(self) -> None:
        with pytest.raises(ValidationError, match="control character"):
            settings(labels={"dog\0bark": None})

    def test_the_key_of_negatives_is_not(self) -> None:
        assert label(**{"not": "a dog on television"}).negatives == ("a dog on television",)
        assert label(see="a dog").see == ("a dog",)
        assert label(prompts=["a dog"], see=["a dog"]).see == ("a dog",)

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"prompts": []}, "at least 1"),
            ({"prompts": ["a dog", "  "]}, "a prompt is empty"),
            ({"prompts": ["a\0dog"]}, r"'a\x00dog' has a control character"),
            ({"prompts": ["a\ndog"]}, "control character"),
            ({"prompts": ["a dog"], "not": ["a\x9bcat"]}, "control character"),
            ({"see": ["a\x9bcat"]}, "control character"),
            ({"prompts": ["a dog", " a dog"]}, "given twice"),
            ({"prompts": ["a dog"], "not": ["a dog"]}, "own prompts"),
            ({"threshold": 0.0}, "greater than 0"),
            ({"threshold": 1.0}, "less than 1"),
            ({"threshold": 0.5, "off_threshold": 0.6}, r"(0.6) is above threshold (0.5)"),
            ({"min_on_s": -1.0}, "greater than or equal to 0"),
            ({"max_s": 1.0, "min_on_s": 2.0}, "at least min_on_s (2)"),
            ({"sources": []}, "at least 1"),
            ({"enabled": 1}, "valid boolean"),
            ({"schedule": [{}]}, "at least one of threshold, off_threshold and enabled"),
            ({"schedule": [{"enabled": True, "days": []}]}, "at least 1"),
            ({"schedule": [{"enabled": True, "days": "monday"}]}, "'mon', 'tue'"),
            ({"schedule": [{"enabled": True, "from": "7"}]}, 'a time like "22:00"'),
            ({"schedule": [{"enabled": True, "to": "24:30"}]}, 'a time like "22:00"'),
            ({"schedule": [{"enabled": True, "to": "sunset"}]}, "need `location`"),
            ({"schedule": [{"threshold": 0.5, "off_threshold": 0.6}]}, "(0.6) is above threshold"),
            ({"pattern": {}}, "exactly one of times, rhythm and then"),
            ({"pattern": {"times": 3, "rhythm": "T3"}}, "exactly one of times, rhythm and then"),
            ({"pattern": {"times": 3}}, "times needs within_s"),
            ({"pattern": {"then": "dog_bark"}}, "then needs within_s"),
            ({"pattern": {"times": 1, "within_s": 1.0}}, "greater than or equal to 2"),
            ({"pattern": {"times": 3, "within_s": 1.0, "cycles": 2}}, "cycles belongs to rhythm"),
            ({"pattern": {"rhythm": "T3", "within_s": 1.0}}, "belongs to times or then"),
            ({"pattern": {"times": 3, "within_s": 3.0, "gap_s": [1.6, 2.0]}}, "take 3.2 s or more"),
            ({"pattern": {"times": 3, "within_s": 3.0, "gap_s": [1.0, 0.5]}}, "above the most"),
            ({"pattern": {"times": 3, "within_s": 3.0, "gap_s": [0.0, 0.3]}}, "lower min_off_s"),
            ({"pattern": {"times": 3, "within_s": 3.0, "length_s": [0, 0.1]}}, "lower min_on_s"),
            ({"pattern": {"times": 3, "within_s": 1.39}}, "3 sounds take 1.4 s or more"),
            (
                {"max_s": 2.0, "pattern": {"times": 3, "within_s": 9.0, "length_s": [2.5, 3.0]}},
                "max_s (2) ends every sound sooner",
            ),
            ({"pattern": "T5"}, "no rhythm 'T5': give T3 or T4"),
            ({"pattern": {"rhythm": [0.5, 0.5, 0.5]}}, "even number"),
            ({"pattern": {"rhythm": [0.5, 0.05]}}, "greater than or equal to 0.08"),
            ({"pattern": {"rhythm": [20.0, 20.0]}}, "may last 30 s"),
            ({"pattern": {"rhythm": [0.5, 1.5, 0.5, 0.5]}}, "begin the rhythm after it"),
            ({"pattern": "T3", "follow": True}, "not with a rhythm"),
            ({"pattern": {"then": "cat", "within_s": 1.0}}, "no label 'cat'; labels: dog_bark"),
            ({"pattern": {"then": "dog_bark", "within_s": 1.0}}, "dog_bark -> dog_bark"),
            ({"follow": {"quantile": 1.0}}, "less than or equal to 0.9999"),
            ({"follow": {"window_s": 10.0}}, "greater than or equal to 60"),
            ({"follow": "yes"}, "valid dictionary or instance"),
            ({"loud": {"above_db": 0.0}}, "0 dB above the background is always heard"),
            ({"loud": {"above_db": -20.0}}, "above_db must be more than 0, or `of: full_scale`"),
            ({"loud": {"of": "full_scale"}}, "nothing is 20 dB above full scale"),
            ({"loud": {"above_db": 3.0, "of": "full_scale"}}, "a level in dBFS, such as -20"),
            ({"loud": {"above_db": 91.0}}, "less than or equal to 90"),
            ({"loud": {"of": "room"}}, "'background' or 'full_scale'"),
            ({"loud": "yes"}, "valid dictionary or instance"),
            ({"loud": True, "prompts": "a bang"}, "not with prompts; least_db is for sounds"),
            ({"loud": True, "not": "a dog", "examples": "a.wav"}, "not with not and examples"),
            ({"loud": True, "follow": True}, "not with loud"),
            ({"least_db": 1.0}, "less than or equal to 0"),
            ({"least_db": -91.0}, "greater than or equal to -90"),
        ],
    )
    def test_refused(self, keys: dict[str, Any], said: str) -> None:
        assert said in refused(labels={"dog_bark": keys})

    def test_a_loud_sound_has_no_words_and_no_recommendation(self) -> None:
        labels = settings(
            labels={
                "smoke_alarm": {"loud": True, "least_db": -40},
                "shot": {"loud": {"above_db": -6.0, "of": "full_scale"}, "pattern": "T3"},
                "dog": {"least_db": -50.0, "loud": False},
            }
        ).labels
        recommended = Recommended(0.9, 0.6, off_threshold=0.1)
        assert labels["smoke_alarm"].prompts == ()
        rule = labels["smoke_alarm"].rule("smoke_alarm", recommended)
        assert (rule.loud, rule.least_db) == (Loud(20.0), -40.0)
        assert (rule.threshold, rule.off_threshold, rule.smooth) == (0.5, 0.4, 1)
        shot = labels["shot"].rule("shot")
        assert (shot.loud, shot.threshold) == (Loud(-6.0, over_background=False), 0.5)
        dog = labels["dog"]
        assert dog.prompts == ("dog",)
        assert (dog.rule("dog").loud, dog.rule("dog").least_db) == (None, -50.0)
        assert dog.rule("dog", recommended).threshold == 0.9

    def test_a_circle_of_sequences(self) -> None:
        said = refused(
            labels={
                "a": {"pattern": {"then": "b", "within_s": 1.0}},
                "b": {"pattern": {"then": "c", "within_s": 1.0}},
                "c": {"pattern": {"then": "b", "within_s": 1.0}},
            }
        )
        assert "waits for itself: b -> c -> b" in said
        assert "waits for itself: c -> b -> c" in said
        assert "a ->" not in said

    def test_a_sequence_is_heard_in_one_place(self) -> None:
        sources = {"kitchen": {"microphone": 0}, "porch": {"microphone": 1}}
        pattern = {"then": "glass", "within_s": 1.0}
        here = {"sources": ["kitchen"]}
        said = refused(sources=sources, labels={"dog": {"pattern": pattern}, "glass": here})
        assert "'glass' does not listen to porch" in said
        labels = {"dog": here | {"pattern": pattern}, "glass": None}
        assert settings(sources=sources, labels=labels)

    @pytest.mark.parametrize("name", ["any", "ANY", "Any!"])
    def test_any_is_reserved(self, name: str) -> None:
        assert "reserved" in refused(labels={name: None})

    def test_at_least_one_is_needed(self) -> None:
        assert "at least 1" in refused(labels={})

    def test_one_topic_is_not_for_two(self) -> None:
        said = refused(labels={"dog bark": None, "dog_bark": {"threshold": 2.0}})
        assert "'dog_bark' and 'dog bark'" in said
        assert "less than 1" in said, "what the labels themselves say is not lost"

    def test_sources_exist(self) -> None:
        said = refused(
            sources={"kitchen": {"microphone": 0}}, labels={"cat": {"sources": ["kichen"]}}
        )
        assert "no source 'kichen'; sources: kitchen" in said
        assert "labels.cat.sources.0" in said

    def test_sources_of_labels_made_in_python_exist_too(self) -> None:
        with pytest.raises(ValidationError, match="no source 'porch'"):
            Settings(labels={"cat": LabelSettings(sources=("porch",))})

    def test_where_a_label_listens(self) -> None:
        microphone = SourceSettings(microphone=0)
        made = settings(
            sources={"kitchen": microphone, "porch": microphone},
            labels={"cat": None, "dog": {"sources": ["porch"], "enabled": False}},
        )
        assert list(made.labels_of("kitchen")) == ["cat"]
        assert list(made.labels_of("porch")) == ["cat", "dog"]
        assert not made.hears("kitchen", "dog")


class TestRule:
    def test_defaults(self) -> None:
        assert label().rule("cat") == LabelRule(
            "cat", 0.5, 0.4, min_on=5, min_off=10, max_length=1500, cooldown=0, update_every=25
        )

    @pytest.mark.parametrize(
        ("own", "recommended", "threshold"), [(0.7, 0.6, 0.7), (None, 0.6, 0.6), (None, None, 0.5)]
    )
    def test_threshold(
        self, own: float | None, recommended: float | None, threshold: float
    ) -> None:
        rule = label(threshold=own).rule(
            "cat", None if recommended is None else Recommended(recommended)
        )
        assert rule.threshold == threshold
        assert rule.off_threshold == pytest.approx(0.8 * threshold)

    @pytest.mark.parametrize(
        ("own", "off", "ends"),
        [
            (None, None, 0.15),
            (None, 0.3, 0.3),
            (0.7, None, 0.56),
            (0.6, None, 0.48),
            (0.7, 0.2, 0.2),
        ],
    )
    def test_a_recommended_off_threshold_goes_with_the_recommended_threshold_alone(
        self, own: float | None, off: float | None, ends: float
    ) -> None:
        recommended = Recommended(0.6, off_threshold=0.15)
        rule = label(threshold=own, off_threshold=off).rule("cat", recommended)
        assert rule.off_threshold == pytest.approx(ends)

    @pytest.mark.parametrize(
        ("own", "recommended", "frames"),
        [
            (None, None, 1),
            (None, Recommended(0.6), 1),
            (None, Recommended(0.6, 0.6), 15),
            (0.0, Recommended(0.6, 0.6), 1),
            (1.0, Recommended(0.6, 0.6), 25),
        ],
    )
    def test_smoothing(
        self, own: float | None, recommended: Recommended | None, frames: int
    ) -> None:
        assert label(smooth_s=own).rule("cat", recommended).smooth == frames

    @pytest.mark.parametrize(
        ("seconds", "frames"),
        [(0.0, 1), (0.04, 1), (0.08, 1), (0.081, 3), (0.12, 3), (0.16, 3), (0.5, 13), (2.0, 49)],
    )
    def test_a_mean_is_over_the_nearest_odd_number_of_frames(
        self, seconds: float, frames: int
    ) -> None:
        assert label(smooth_s=seconds).rule("cat").smooth == frames

    @pytest.mark.parametrize("seconds", [-0.01, 2.01, "nan", "1 s"])
    def test_no_other_smoothing(self, seconds: float | str) -> None:
        with pytest.raises(ValidationError, match="smooth_s"):
            label(smooth_s=seconds)

    def test_a_rhythm_is_not_smoothed(self) -> None:
        assert label(pattern="T3").rule("smoke", Recommended(0.4, 0.6)).smooth == 1
        assert label(pattern="T3", smooth_s=0.0).rule("smoke").smooth == 1
        with pytest.raises(ValidationError, match="not with a rhythm"):
            label(pattern="T3", smooth_s=0.6)

    def test_an_off_threshold_above_the_recommendation(self) -> None:
        with pytest.raises(ConfigError, match=r"labels\.cat\.off_threshold: 0\.55 .* 0\.3 "):
            label(off_threshold=0.55).rule("cat", Recommended(0.3))

    @pytest.mark.parametrize(
        ("seconds", "frames"), [(0.0, 0), (0.019, 0), (0.02, 1), (0.06, 2), (0.14, 4), (0.1, 3)]
    )
    def test_durations_are_rounded_half_up(self, seconds: float, frames: int) -> None:
        assert label(min_on_s=seconds).rule("cat").min_on == frames

    def test_what_may_not_be_no_frame_at_all(self) -> None:
        rule = label(max_s=0.01, min_on_s=0.0, update_s=0.001).rule("cat")
        assert (rule.max_length, rule.update_every) == (1, 1)

    def test_no_updates(self) -> None:
        assert label(update_s=0.0).rule("cat").update_every == 0

    def test_not_enabled(self) -> None:
        assert not label(enabled=False).rule("cat").enabled

    def test_patterns(self) -> None:
        def pattern(of: Any) -> Any:
            return label(pattern=of).rule("cat").pattern

        assert pattern(None) is None
        assert pattern({"times": 3, "within_s": 3.0}) == Repetition(3, 75)
        ranges = {"gap_s": [0.2, 1.0], "length_s": [0.0, 0.5]}
        assert pattern({"times": 3, "within_s": 3.0} | ranges) == Repetition(
            3, 75, length=(0, 13), gap=(5, 25)
        )
        assert pattern("T3") == pattern({"rhythm": "T3"}) == Rhythm((0.5,) * 5 + (1.5,), 0.1, 2)
        assert pattern({"rhythm": [0.5, 1.5], "cycles": 4, "tolerance": 0.05}) == Rhythm(
            (0.5, 1.5), 0.05, 4
        )
        labels = {"cat": {"pattern": {"then": "dog", "within_s": 10.0}}, "dog": None}
        assert settings(labels=labels).labels["cat"].rule("cat").pattern == Sequence("dog", 250)

    def test_gaps_of_a_pattern_are_not_bridged(self) -> None:
        knocks = {"times": 3, "within_s": 3.0, "gap_s": [0.2, 1.0]}
        assert label(pattern=knocks).rule("knock").min_off == 5
        assert label(pattern=knocks, min_off_s=0.1).rule("knock").min_off == 3

    def test_sounds_that_just_fit_into_their_time(self) -> None:
        label(pattern={"times": 3, "within_s": 1.4})
        label(pattern={"times": 3, "within_s": 1.0, "gap_s": [0.2, 1.0]})
        label(pattern={"times": 3, "within_s": 1.0}, min_off_s=0.2)

    def test_a_rhythm_has_a_threshold_of_its_own(self) -> None:
        assert label(pattern="T3").rule("smoke", Recommended(0.4)).threshold == 0.02
        assert label(pattern="T3", threshold=0.3).rule("smoke", Recommended(0.4)).threshold == 0.3

    def test_following(self) -> None:
        assert label().rule("cat").follow is label(follow=False).rule("cat").follow is None
        assert label(follow=True).rule("cat").follow == Follow(0.999, 0.5, 60, 0.95)
        assert label(follow={"window_s": 119.0}).rule("cat").follow == Follow(minutes=1)

    def test_a_bound_below_the_threshold(self) -> None:
        with pytest.raises(ConfigError, match=r"labels\.cat\.follow\.highest: 0\.4 is below"):
            label(follow={"highest": 0.4}).rule("cat", Recommended(0.45))


class TestHistory:
    def test_is_kept_by_default(self) -> None:
        assert settings(history=None).history == HistorySettings()
        assert HistorySettings() == HistorySettings(enabled=True, keep_days=7, max_gb=2)

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"keep_days": 0.0}, "greater than 0"),
            ({"max_gb": 0.001}, "greater than or equal to 0.01"),
            ({"path": " "}, "not blank"),
            ({"keep": 3}, "Extra inputs"),
        ],
    )
    def test_refused(self, keys: dict[str, Any], said: str) -> None:
        assert said in refused(history=keys)
        assert not SCHEMA.is_valid({"labels": {"dog_bark": None}, "history": keys})


class TestSearch:
    def test_is_off_by_default(self) -> None:
        assert settings(search=None).search == SearchSettings()
        assert SearchSettings() == SearchSettings(enabled=False, keep_days=7, max_gb=2)

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"keep_days": 0.0}, "greater than 0"),
            ({"max_gb": 0.001}, "greater than or equal to 0.01"),
            ({"folder": " "}, "not blank"),
            ({"path": "heard"}, "Extra inputs"),
        ],
    )
    def test_refused(self, keys: dict[str, Any], said: str) -> None:
        assert said in refused(search=keys)
        assert not SCHEMA.is_valid({"labels": {"dog_bark": None}, "search": keys})


class TestTimes:
    def test_days(self) -> None:
        def days(of: Any) -> set[int]:
            return set(HoursSettings.model_validate({"days": of}).span.days)

        assert days("weekdays") == {0, 1, 2, 3, 4}
        assert days(["weekend", "mon", "sun"]) == {5, 6, 0}
        assert HoursSettings().span.days == frozenset(range(7))
        assert HoursSettings().span.over_midnight is False

    def test_the_sun_of_a_known_place(self) -> None:
        sun = {"labels": {"cat": {"schedule": [{"from": "sunset", "enabled": False}]}}}
        assert settings(location={"latitude": 52.5, "longitude": 13.4}, **sun)
        assert "need `location`" in refused(location={"timezone": "Europe/Berlin"}, **sun)
        with pytest.raises(ValidationError, match="need `location`"):
            Settings(labels={"cat": LabelSettings.model_validate(sun["labels"]["cat"])})

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"latitude": 1.0}, "belong together"),
            ({"longitude": 1.0}, "belong together"),
            ({"latitude": 91.0, "longitude": 0.0}, "less than or equal to 90"),
            ({"latitude": 0.0, "longitude": -181.0}, "greater than or equal to -180"),
            ({"timezone": "Europe"}, "no time zone 'Europe'"),
            ({"timezone": "/etc/passwd"}, "no time zone"),
            ({"timezone": "../Berlin"}, "no time zone"),
        ],
    )
    def test_refused(self, keys: dict[str, Any], said: str) -> None:
        assert said in refused(location=keys)


class TestSecondOpinion:
    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({}, "checkpoint"),
            ({"checkpoint": "embedded"}, "the embedded checkpoint hears moments"),
            ({"checkpoint": "https://a/b"}, "an address"),
            ({"checkpoint": "a/b", "labels": ["dog"]}, "no label 'dog'; labels: dog_bark"),
        ],
    )
    def test_refused(self, keys: dict[str, Any], said: str) -> None:
        assert said in refused(second_opinion=keys)

    def test_of_some_labels(self) -> None:
        made = settings(second_opinion={"checkpoint": "a/b", "labels": ["dog_bark"]})
        assert made.second_opinion is not None
        assert made.second_opinion.wants("dog_bark")
        assert not made.second_opinion.wants("speech")
        assert SecondOpinionSettings(checkpoint="a/b").wants("speech")
        assert settings(second_opinion=None).second_opinion is None


class TestNotifications:
    HOOK: ClassVar = {"webhook": "https://house/hook"}

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({}, "exactly one"),
            ({"apprise": "a://b", "webhook": "http://x"}, "exactly one"),
            ({"apprise": None}, "exactly one"),
            ({"apprise": "hunter2"}, "not an address of Apprise"),
            ({"apprise": "a://b", "secret": "x"}, "secret belongs to a webhook"),
            ({"apprise": "a://b", "headers": {"a": "b"}}, "headers belongs to a webhook"),
            ({"webhook": "ftp://hunter2"}, "http:// or https://"),
            (HOOK | {"headers": {"Content-Type": "hunter2"}}, "set by pe_stream"),
            (HOOK | {"headers": {"x-pe-stream-signature": "hunter2"}}, "set by pe_stream"),
            (HOOK | {"headers": {"a": "hunter2\r\nb: c"}}, "one line of ASCII"),
            (HOOK | {"headers": {"a b": "hunter2"}}, "name of a header"),
            (HOOK | {"labels": ["dog"]}, "no label 'dog'; labels: dog_bark"),
            (HOOK | {"except_quiet": ["dog"]}, "no label 'dog'"),
            (HOOK | {"sources": ["kitchen"]}, "no source 'kitchen'; sources: none"),
            (HOOK | {"phase": "update"}, "'start' or 'end'"),
            (HOOK | {"min_peak": 1.1}, "less than or equal to 1"),
            (HOOK | {"cooldown_s": -1.0}, "greater than or equal to 0"),
            (HOOK | {"quiet": [{"to": "sunrise"}]}, "need `location`"),
            (HOOK | {"clip": True}, "there are no clips"),
            (HOOK | {"min_opinion": 0.2}, "set second_opinion.checkpoint"),
            (HOOK | {"min_opinion": 1.1}, "less than or equal to 1"),
            (HOOK | {"opinion_wait_s": 0.5}, "greater than or equal to 1"),
        ],
    )
    def test_refused(self, keys: dict[str, Any], said: str) -> None:
        told = refused(notifications={"hook": keys})
        assert said in told
        assert "hunter2" not in told

    def test_opinions_where_there_are(self) -> None:
        hook = self.HOOK | {"min_opinion": 0.2}
        made = settings(second_opinion={"checkpoint": "a/b"}, notifications={"a": hook})
        assert made.notifications["a"].min_opinion == 0.2
        # What is wrong with the section is said alone.
        told = refused(second_opinion={"checkpoint": "a/b", "wait": 1}, notifications={"a": hook})
        assert "set second_opinion.checkpoint" not in told

    def test_clips_where_there_are(self) -> None:
        made = settings(clips={"enabled": True}, notifications={"a": self.HOOK | {"clip": True}})
        assert made.notifications["a"].clip


class TestMqtt:
    def test_tls_moves_the_port(self) -> None:
        assert mqtt(tls=True).port == 8883
        assert mqtt(tls={"ca": "ca.pem"}).port == 8883
        assert mqtt(tls=True, port=1).port == 1
        assert mqtt(tls=False) == mqtt()

    def test_a_bare_5_is_a_protocol(self) -> None:
        assert mqtt(protocol=5).protocol == "5"

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"port": 0}, "greater than or equal to 1"),
            ({"port": True}, "valid integer"),
            ({"host": "mqtt://broker"}, "without a port"),
            ({"protocol": 4}, "'auto', '5'"),
            ({"prefix": "a/#"}, "without + and #"),
            ({"prefix": "/a"}, "none of them empty"),
            ({"prefix": "$SYS"}, "not beginning with $"),
            ({"password": "x"}, "needs a `username`"),
            ({"username": "u", "password": ""}, "at least 1"),
            ({"username": "u", "password": "x", "password_file": "f"}, "both given"),
            ({"tls": {"key": "k.pem"}}, "needs its `certificate`"),
            ({"embedded": True, "host": "broker"}, "host contradicts"),
            ({"embedded": True, "tls": True}, "tls contradicts"),
            ({"embedded": True, "username": "u", "password": "x"}, "password contradicts"),
        ],
    )
    def test_refused(self, keys: dict[str, Any], said: str) -> None:
        assert said in refused(mqtt=keys)

    def test_embedded_takes_a_port_and_what_is_default_anyway(self) -> None:
        assert mqtt(embedded=True, port=1884, host="localhost").port == 1884

    def test_secrets_are_not_shown(self) -> None:
        made = mqtt(username="u", password="hunter2")
        assert "hunter2" not in repr(made) + made.model_dump_json()
        assert "hunter2" not in refused(mqtt={"password": ["hunter2"]})


class TestPassword:
    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(PASSWORD_VARIABLE, "from the environment")

    def test_of_the_file_goes_before_the_environment(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_bytes("pässword \r\n".encode())
        assert mqtt(username="u", password_file=str(file)).read_password() == "pässword "

    def test_in_clear_goes_before_the_environment(self) -> None:
        assert mqtt(username="u", password="in clear").read_password() == "in clear"

    def test_of_the_environment(self) -> None:
        assert mqtt(username="u").read_password() == "from the environment"

    def test_belongs_to_a_user(self) -> None:
        assert mqtt().read_password() is None

    def test_may_be_absent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv(PASSWORD_VARIABLE)
        assert mqtt(username="u").read_password() is None

    @pytest.mark.parametrize(
        ("content", "said"), [(None, "No such file"), (b"\n", "is empty"), (b"\xff", "UTF-8")]
    )
    def test_a_file_that_holds_none(self, tmp_path: Path, content: bytes | None, said: str) -> None:
        file = tmp_path / "password"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError, match=said) as caught:
            mqtt(username="u", password_file=str(file)).read_password()
        assert str(file) in str(caught.value)


class TestSchema:
    def test_is_one(self) -> None:
        jsonschema.Draft202012Validator.check_schema(config_schema())

    def test_describes_every_key_with_a_title(self) -> None:
        schema = config_schema()
        for section in [schema, *schema["$defs"].values()]:
            for name, key in section["properties"].items():
                assert key.get("description"), name
                assert key.get("title") or "$ref" in str(key), name
        assert schema["$defs"]["ModelSettings"]["properties"]["hop_s"]["title"] == "Hop (s)"

    @pytest.mark.parametrize(
        "sections",
        [
            {"model": {"window_s": 61.0}},
            {"model": {"hop_s": "0.48"}},
            {"model": {"device": "gpu"}},
            {"model": {"modell": 1}},
            {"sources": {"a": {}}},
            {"sources": {"a": {"microphone": 0, "url": "x"}}},
            {"sources": {"a": {"microphone": -1}}},
            {"sources": {"a": {"url": "rtsp://a/b", "picture": {"fps": 6}}}},
            {"sources": {"a": {"url": "rtsp://a/b", "picture": {"keep_s": 5.0}}}},
            {"sources": {"a": {"url": "rtsp://a/b", "picture": {"size": 1}}}},
            {"labels": {}},
            {"labels": None},
            {"labels": {"a": {"prompts": []}}},
            {"labels": {"a": {"prompts": ["b", "b"]}}},
            {"labels": {"a": {"threshold": 1.0}}},
            {"labels": {"a": {"negatives": ["b"]}}},
            {"mqtt": {"port": 65536}},
            {"mqtt": {"prefix": "a/+"}},
            {"mqtt": {"tls": {"insecure": 1}}},
            {"location": {"latitude": 91.0}},
            {"labels": {"a": {"schedule": [{}]}}},
            {"labels": {"a": {"schedule": [{"enabled": True, "from": "25:00"}]}}},
            {"labels": {"a": {"schedule": [{"enabled": True, "days": "monday"}]}}},
            {"labels": {"a": {"pattern": {}}}},
            {"labels": {"a": {"pattern": "T5"}}},
            {"labels": {"a": {"pattern": {"times": 3, "rhythm": "T3"}}}},
            {"labels": {"a": {"pattern": {"times": 1, "within_s": 3.0}}}},
            {"labels": {"a": {"pattern": {"rhythm": [0.5, 0.01]}}}},
            {"labels": {"a": {"follow": {"highest": 1.0}}}},
            {"labels": {"a": {"loud": {"above_db": 0}}}},
            {"labels": {"a": {"loud": {"of": "full_scale"}}}},
            {"labels": {"a": {"loud": {"above_db": 1, "of": "full_scale"}}}},
            {"labels": {"a": {"least_db": 0.5}}},
            {"second_opinion": {}},
            {"second_opinion": {"checkpoint": "a/b", "before_s": 0.5}},
            {"second_opinion": {"checkpoint": "a/b", "after_s": 16.0}},
            {"second_opinion": {"checkpoint": "a/b", "pictures": 17}},
            {"second_opinion": {"checkpoint": "a/b", "wait_s": 0.0}},
            {"second_opinion": {"checkpoint": "a/b", "threads": 0}},
            {"second_opinion": {"checkpoint": "a/b", "labels": []}},
            {"notifications": {"a": {}}},
            {"notifications": {"a": {"webhook": "http://a", "opinion_wait_s": 0.0}}},
            {"notifications": {"a": {"apprise": "a"}}},
            {"notifications": {"a": {"webhook": "ftp://a"}}},
            {"notifications": {"a": {"webhook": "http://a", "apprise": "b://c"}}},
            {"log_level": "loud"},
        ],
    )
    def test_refuses_what_settings_refuse(self, sections: dict[str, Any]) -> None:
        refused(**sections)
        assert not SCHEMA.is_valid({"labels": {"dog_bark": None}} | sections)

    @pytest.mark.parametrize(
        "sections",
        [
            {"labels": {"a": {"schedule": [{"enabled": True, "days": "mon", "to": "7:00"}]}}},
            {"labels": {"a": {"schedule": [{"threshold": 0.5, "days": ["weekend", "mon"]}]}}},
            {"labels": {"a": {"pattern": "T3"}, "b": {"pattern": {"rhythm": [0.5, 1.5]}}}},
            {"labels": {"a": {"pattern": {"times": 3, "within_s": 3, "gap_s": [0.5, 1]}}}},
            {"labels": {"a": {"pattern": {"then": "b", "within_s": 3}}, "b": None}},
            {"labels": {"a": {"follow": True}, "b": {"follow": {"margin": 1}}}},
            {"labels": {"a": {"loud": True}, "b": {"loud": {"above_db": 6}}, "c": {"loud": False}}},
            {"labels": {"a": {"loud": {"above_db": -20, "of": "full_scale"}, "least_db": -60}}},
            {"labels": {"a": {"loud": None, "prompts": "a dog", "least_db": None}}},
            {
                "second_opinion": {"checkpoint": "a/b"},
                "sources": {
                    "a": {"url": "rtsp://a/b", "picture": {"fps": 2, "keyframes": True}},
                    "b": {"url": "rtsp://a/b", "picture": {"url": "rtsp://a/c", "keep_s": 20}},
                },
            },
            {"second_opinion": None},
            {"second_opinion": {"checkpoint": "a/b", "wait_s": 5, "labels": ["dog_bark"]}},
            {
                "second_opinion": {"checkpoint": "a/b"},
                "notifications": {"a": {"webhook": "http://a", "min_opinion": 0}},
            },
            {"notifications": {"a": {"apprise": "ntfy://a/b", "quiet": [{"from": "22:00"}]}}},
            {"notifications": {"a": {"webhook": "https://a/b", "headers": {"C": "d"}}}},
            {"notifications": None, "location": None},
        ],
    )
    def test_takes_what_settings_take(self, sections: dict[str, Any]) -> None:
        settings(**sections)
        SCHEMA.validate({"labels": {"dog_bark": None}} | sections)

    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "prompts": st.text(max_size=3) | st.lists(st.text(max_size=3), max_size=3),
                "not": st.lists(st.text(max_size=3), max_size=2),
                "threshold": st.none() | st.floats(-0.5, 1.5),
                "off_threshold": st.floats(0, 1),
                "max_s": st.floats(-1, 100) | st.integers(-1, 100),
                "sources": st.none() | st.lists(st.just("kitchen"), max_size=2),
                "enabled": st.booleans() | st.integers(0, 1),
                "least_db": st.none() | st.floats(-100, 10),
                "loud": st.booleans()
                | st.none()
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "above_db": st.floats(-100, 100),
                        "of": st.sampled_from(["background", "full_scale", "room"]),
                    },
                ),
            },
        )
        | st.none(),
        st.fixed_dictionaries(
            {},
            optional={
                "microphone": st.integers(-2, 3) | st.text(max_size=3) | st.none() | st.booleans(),
                "url": st.text(max_size=3) | st.none(),
                "channel": st.integers(-2, 70) | st.none(),
                "loop": st.booleans(),
            },
        ),
        st.fixed_dictionaries(
            {},
            optional={
                "tls": st.booleans() | st.none() | st.just({"ca": "x"}),
                "protocol": st.sampled_from(["5", 5, 5.0, "auto", None]),
                "prefix": st.text("a/+#$\n ", max_size=4),
                "port": st.integers(-1, 70000) | st.booleans(),
            },
        ),
    )
    def test_accepts_what_settings_accept(
        self, dog: dict[str, Any] | None, kitchen: dict[str, Any], mqtt: dict[str, Any]
    ) -> None:
        data = {"labels": {"dog": dog}, "sources": {"kitchen": kitchen}, "mqtt": mqtt}
        try:
            Settings.model_validate(data)
        except ValidationError:
            return
        SCHEMA.validate(data)


@pytest.mark.parametrize(
    "host", ["cdn.example.org", "nvr:8080", "10.0.0.9", "::1", "[::1]:80", "*.a.org:80"]
)
def test_other_hosts_are_names_or_addresses(host: str) -> None:
    spec = SourceSettings(url="http://camera/live", other_hosts=(host,))
    assert spec.other_hosts == (host,)


@pytest.mark.parametrize(
    "host", ["", "http://cdn/", "a b", "a/b", "user@host", "host:port", "*", "a.*.org"]
)
def test_other_hosts_that_are_none_are_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="the name or address of a server"):
        SourceSettings(url="http://camera/live", other_hosts=(host,))


class TestRtsp:
    def test_what_is_not_said_is_tried(self) -> None:
        rtsp = SourceSettings(url="rtsp://camera/live").rtsp
        assert (rtsp.transport, rtsp.streams) == ("auto", "auto")
        assert (rtsp.timeout_s, rtsp.track) == (10.0, None)
        assert SourceSettings.model_validate({"url": "rtsp://camera/", "rtsp": None}).rtsp == rtsp

    @pytest.mark.parametrize(
        ("keys", "said"),
        [
            ({"transport": "quic"}, "'auto', 'tcp', 'udp' or 'http'"),
            ({"streams": "video"}, "'auto', 'audio' or 'all'"),
            ({"timeout_s": 0.5}, "greater than or equal to 1"),
            ({"timeout_s": 121}, "less than or equal to 120"),
            ({"track": -1}, "greater than or equal to 0"),
            ({"tracks": 1}, "Extra inputs"),
        ],
    )
    def test_other_values_are_refused(self, keys: dict[str, Any], said: str) -> None:
        with pytest.raises(ValidationError, match=said):
            SourceSettings.model_validate({"url": "rtsp://camera/live", "rtsp": keys})

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ({"url": "http://camera/live", "rtsp": {"track": 1}}, "rtsp is for addresses that"),
            ({"microphone": 0, "rtsp": {"transport": "udp"}}, "rtsp is for addresses that"),
            ({"url": "rtsps://camera/live", "rtsp": {"transport": "udp"}}, "goes over TCP alone"),
            ({"url": "rtsp://camera/live", "track": 1}, "set rtsp.track"),
            ({"microphone": 0, "track": 1}, "a microphone has channels"),
            ({"url": "rtsp://admin:12/34@10.0.0.9/live"}, "percent-encode the password: %23"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, source: dict[str, Any], said: str) -> None:
        with pytest.raises(ValidationError, match=said) as caught:
            SourceSettings.model_validate(source)
        assert "12/34" not in str(caught.value)

    def test_a_track_of_a_file_or_another_stream(self) -> None:
        for url in ("film.mkv", "http://nvr/live", "srt://nvr:900"):
            assert SourceSettings(url=url, track=1).track == 1


class TestFilters:
    def test_without_any_the_sound_is_as_it_comes(self) -> None:
        spec = SourceSettings(microphone=0)
        assert (spec.gain_db, spec.highpass_hz, spec.lowpass_hz) == (0, None, None)

    @pytest.mark.parametrize(
        ("key", "least", "most"),
        [("gain_db", -60, 60), ("highpass_hz", 10, 10_000), ("lowpass_hz", 100, 20_000)],
    )
    def test_each_has_its_limits(self, key: str, least: float, most: float) -> None:
        for value in (least, most):
            spec = SourceSettings.model_validate({"microphone": 0, key: value})
            assert getattr(spec, key) == value
        wrong = (least - 0.1, most + 0.1, float("nan"), float("inf"), "100", [100], True)
        for each in wrong:
            with pytest.raises(ValidationError, match=key):
                SourceSettings.model_validate({"microphone": 0, key: each})

    @pytest.mark.parametrize("lowpass_hz", [100.0, 299.9, 300.0])
    def test_something_has_to_be_left(self, lowpass_hz: float) -> None:
        said = f"nothing is left between highpass_hz, 300, and lowpass_hz, {lowpass_hz:g}"
        with pytest.raises(ValidationError, match=said):
            SourceSettings(microphone=0, highpass_hz=300, lowpass_hz=lowpass_hz)
        assert SourceSettings(microphone=0, highpass_hz=300, lowpass_hz=301).lowpass_hz == 301

    def test_the_schema_has_the_limits(self) -> None:
        keys = config_schema()["$defs"]["SourceSettings"]["properties"]
        assert (keys["gain_db"]["minimum"], keys["gain_db"]["maximum"]) == (-60, 60)


def test_a_daemon_takes_labels_filters_and_listening_while_it_runs() -> None:
    def made(source: dict[str, Any], label: str, **more: Any) -> Settings:
        data = {"sources": {"a": source}, "labels": {label: None}} | more
        return Settings.model_validate(data)

    running = made({"microphone": 0, "gain_db": 3}, "dog", node="n", web={"port": 1000})
    wanted = made(
        {"microphone": 1, "highpass_hz": 90},
        "cat",
        node="m",
        web={"port": 2000, "listen": False},
    )
    now = running.with_reloadable(wanted)
    expected = made(
        {"microphone": 0, "highpass_hz": 90},
        "cat",
        node="n",
        web={"port": 1000, "listen": False},
    )
    assert now == expected
    gone = Settings.model_validate({"sources": {"b": {"microphone": 1}}, "labels": {"cat": None}})
    assert running.with_reloadable(gone).sources == running.sources
