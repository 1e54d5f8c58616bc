"""Configuration files: found, read with every error at once, written back; the shipped one."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from timing import within

from pe_stream.config import (
    LabelSettings,
    LocationSettings,
    ModelSettings,
    MqttSettings,
    NotificationSettings,
    SecondOpinionSettings,
    Settings,
    SourceSettings,
    TlsSettings,
)
from pe_stream.config.file import MAX_PROBLEMS, MAX_SIZE, effective, find, load, parse
from pe_stream.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.yaml"
LEAST = "labels: {dog_bark: }\n"


def errors(text: str) -> list[str]:
    """The lines that `parse` has against `text`."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "c.yaml")
    return str(caught.value).splitlines()


class TestBounds:
    """So many prompts, labels and sources, and one more."""

    @staticmethod
    def prompts(count: int) -> str:
        return str([f"prompt {number}" for number in range(count)])

    def test_the_most_are_read(self) -> None:
        parse(f"labels: {{a: {{prompts: {self.prompts(1000)}, not: {self.prompts(0)}}}}}")
        labels = "".join(f" l{number}:\n" for number in range(2000))
        sources = "".join(f" s{number}: {{url: a.wav}}\n" for number in range(500))
        parsed = parse(f"sources:\n{sources}labels:\n{labels}")
        assert (len(parsed.labels), len(parsed.sources)) == (2000, 500)

    @pytest.mark.parametrize("key", ["prompts", "not", "see"])
    def test_too_many_prompts_of_a_label(self, key: str) -> None:
        (said,) = errors(f"labels:\n a:\n  {key}: {self.prompts(1001)}")
        assert said == f"c.yaml:3: labels.a.{key}: found 1001 of them, should be at most 1000"

    def test_too_many_prompts_in_all(self) -> None:
        label = f"{{prompts: {self.prompts(1000)}}}"
        labels = "".join(f" l{number}: {label}\n" for number in range(21))
        (said,) = errors(f"labels:\n{labels}")
        assert "labels: there are 21000 prompts in all, more than 20000" in said

    def test_too_many_labels(self) -> None:
        (said,) = errors("labels:\n" + "".join(f" l{n}:\n" for n in range(2001)))
        assert said == "c.yaml:1: labels: found 2001 of them, should be at most 2000"

    def test_too_many_sources(self) -> None:
        sources = "".join(f" s{n}: {{url: a.wav}}\n" for n in range(501))
        (said,) = errors(f"{LEAST}sources:\n{sources}")
        assert said == "c.yaml:2: sources: found 501 of them, should be at most 500"

    def test_fifty_thousand_prompts_take_no_time(self) -> None:
        begun_s = time.monotonic()
        errors(f"labels: {{a: {{prompts: {self.prompts(50_000)}}}}}")
        assert time.monotonic() - begun_s < within(5)


class TestFind:
    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        monkeypatch.setenv("HOME", str(tmp_path))
        return tmp_path

    def test_here_goes_before_the_home(self, home: Path) -> None:
        of_user = home / ".config" / "pe-stream" / "config.yaml"
        of_user.parent.mkdir(parents=True)
        of_user.touch()
        assert find() == of_user
        Path("config.yaml").touch()
        assert find() == Path("config.yaml")

    @pytest.mark.skipif(
        Path("/etc/pe-stream/config.yaml").exists(), reason="this machine has a configuration"
    )
    def test_none(self) -> None:
        with pytest.raises(ConfigError, match=r"\./config\.yaml, ~/\.config.*, /etc/pe-stream"):
            find()


class TestLoad:
    def test_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "config.yaml"
        file.write_text("\ufeffnode: küche\n" + LEAST, encoding="utf-8")
        assert load(file).node == "küche"

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"absent\.yaml: no such file; copy the config\.yaml"):
            load(tmp_path / "absent.yaml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"cannot be read: Is a directory"):
            load(tmp_path)

    def test_a_name_that_no_file_can_have(self) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            load(Path("\0"))

    def test_not_text(self, tmp_path: Path) -> None:
        file = tmp_path / "config.yaml"
        file.write_bytes(b"node: a\nlog_level: \xff\n")
        with pytest.raises(ConfigError, match=r"config\.yaml:2: not UTF-8"):
            load(file)

    def test_larger_than_any_configuration(self, tmp_path: Path) -> None:
        file = tmp_path / "config.yaml"
        file.write_bytes(b"#" * (MAX_SIZE + 1))
        with pytest.raises(ConfigError, match="larger than 1 MiB"):
            load(file)


class TestParse:
    def test_every_error_at_once_in_the_order_of_the_file(self) -> None:
        text = """\
nod: kitchen
model:
  hop_s: 0.5
  threads: many
sources:
  kitchen: {microphone: default, url: x}
labels:
  smoke alarm: {prompts: [""]}
  on: {}
  smoke_alarm:
    treshold: 0.5
    threshold: 0.4
    off_threshold: 0.6
  cat: {sources: [kitchn]}
mqtt:
  host: [a]
log_level: inf
"""
        found = [line.split(": ", 2)[:2] for line in errors(text)]
        assert found == [
            ["c.yaml:1", "nod"],
            ["c.yaml:3", "model.hop_s"],
            ["c.yaml:4", "model.threads"],
            ["c.yaml:6", "sources.kitchen"],
            ["c.yaml:8", "labels.smoke alarm.prompts"],
            ["c.yaml:9", "labels.on"],
            ["c.yaml:10", "labels.smoke_alarm"],
            ["c.yaml:11", "labels.smoke_alarm.treshold"],
            ["c.yaml:13", "labels.smoke_alarm.off_threshold"],
            ["c.yaml:16", "mqtt.host"],
            ["c.yaml:17", "log_level"],
        ]

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "c.yaml: empty: `sources` and `labels` are needed"),
            ("# nothing", "c.yaml: empty: `sources` and `labels` are needed"),
            ("[1]", "c.yaml:1: found a list, should be a section of keys and values"),
            ("labels", "c.yaml:1: found text, should be a section of keys and values"),
            ("node: a", "c.yaml:1: labels: not given, and needed"),
            ("labels: {}", "c.yaml:1: labels: empty: give at least one"),
            ("labels:", "c.yaml:1: labels: found nothing, should be a section of keys and values"),
            ("labels: [", "c.yaml:1:10: expected the node content, but found '<stream end>'"),
            (LEAST * 2, "c.yaml:2: labels: given twice, first on line 1: remove one of the two"),
            (
                LEAST + "node: 7",
                "c.yaml:2: node: found 7, should be text: put it in quotes",
            ),
            (
                LEAST + "node: off",
                (
                    "c.yaml:2: node: found off, which YAML reads as false, should be text: "
                    "put it in quotes"
                ),
            ),
            (
                LEAST + "log_level:",
                (
                    "c.yaml:2: log_level: found nothing, should be 'debug', "
                    "'info', 'warning' or 'error'"
                ),
            ),
            (
                LEAST + "log_level: warn",
                (
                    "c.yaml:2: log_level: found 'warn', should be 'debug', 'info', 'warning' or "
                    "'error' (did you mean 'warning'?)"
                ),
            ),
            (
                LEAST + "model: {window_s: .inf}",
                "c.yaml:2: model.window_s: found .inf, should be a finite number",
            ),
            (
                LEAST + "model: {window_s: 0.48}",
                (
                    "c.yaml:2: model.lookahead_s: hop_s (0.48) and lookahead_s (0.48) together are "
                    "more than window_s (0.48)"
                ),
            ),
            (
                LEAST + "mqtt: {port: 70000}",
                "c.yaml:2: mqtt.port: found 70000, should be at most 65535",
            ),
            (
                LEAST + "mqtt: {prefx: a}",
                (
                    "c.yaml:2: mqtt.prefx: unknown key (did you mean 'prefix'?); keys here: "
                    "embedded, host, port, protocol, username, password, password_file, tls, "
                    "prefix, client_id, queue, scores, keepalive_s"
                ),
            ),
            (
                LEAST + "mqtt: {tls: {Key: a}}",
                (
                    "c.yaml:2: mqtt.tls.Key: unknown key (did you mean 'key'?); keys here: ca, "
                    "certificate, key, insecure"
                ),
            ),
            (
                LEAST + "model: {window_s: 0.4, lookahead_s: 0.0}",
                "c.yaml:2: model.hop_s: found 0.48 (the default), should be at most window_s (0.4)",
            ),
            (
                "labels: {a: {schedule: [{days: [mon, wekend], threshold: 0.5}]}}",
                (
                    "c.yaml:1: labels.a.schedule[0].days[1]: found 'wekend', should be 'mon', "
                    "'tue', 'wed', 'thu', 'fri', 'sat', 'sun', 'weekdays' or 'weekend' "
                    "(did you mean 'weekend'?)"
                ),
            ),
            (
                "labels: {a: {schedule: [{from: 25:00, threshold: 0.5}]}}",
                (
                    "c.yaml:1: labels.a.schedule[0].from: found '25:00', should be a time like "
                    '"22:00", sunrise, sunset, "sunset-00:30", "sunrise+01:00"'
                ),
            ),
            (
                "labels:\n  a:\n    schedule:\n    - from: sunset\n      threshold: 0.5",
                (
                    "c.yaml:4: labels.a.schedule[0].from: sunrise and sunset need `location`, with "
                    "latitude and longitude"
                ),
            ),
            (
                "labels: {a: {schedule: [{form: 22:00, enabled: false}]}}",
                (
                    "c.yaml:1: labels.a.schedule[0].form: unknown key (did you mean 'from'?); keys "
                    "here: days, from, to, threshold, off_threshold, enabled"
                ),
            ),
            (
                "labels: {a: {pattern: {time: 3, within_s: 3}}}",
                (
                    "c.yaml:1: labels.a.pattern.time: unknown key (did you mean 'times'?); keys "
                    "here: times, rhythm, then, within_s, length_s, gap_s, tolerance, cycles"
                ),
            ),
            (
                "labels:\n  a:\n    pattern:\n      then: glas\n      within_s: 3\n  glass:\n",
                "c.yaml:4: labels.a.pattern.then: there is no label 'glas'; labels: a, glass",
            ),
            (
                LEAST + "location: {timezone: Europe/Berln}",
                (
                    "c.yaml:2: location.timezone: there is no time zone 'Europe/Berln': give one "
                    "like Europe/Berlin (did you mean 'Europe/Berlin'?)"
                ),
            ),
            (
                LEAST + "notifications: {a: {apprise: 'a://b', labels: [dog_brak]}}",
                (
                    "c.yaml:2: notifications.a.labels[0]: there is no label 'dog_brak'; labels: "
                    "dog_bark (did you mean 'dog_bark'?)"
                ),
            ),
            (
                LEAST + "node: 017",
                (
                    "c.yaml:2: node: YAML reads this as a number in base 60 or 8: put text in "
                    "quotes, write numbers plainly"
                ),
            ),
            (
                "labels: {a: {prompts: [no]}}",
                (
                    "c.yaml:1: labels.a.prompts[0]: found no, which YAML reads as false, should be "
                    "text: put it in quotes"
                ),
            ),
            (
                "labels: {a: {sources: a}}",
                "c.yaml:1: labels.a.sources: found 'a', should be a list",
            ),
            (
                "sources: {kitchen: {microphone: 0}}\nlabels:\n  a:\n    sources: [kitchn]",
                (
                    "c.yaml:4: labels.a.sources[0]: there is no source 'kitchn'; sources: kitchen "
                    "(did you mean 'kitchen'?)"
                ),
            ),
            (
                "labels:\n  a b: {}\n  a_b: {}",
                (
                    "c.yaml:3: labels.a_b: 'a_b' and 'a b' are both 'a_b' in MQTT topics: "
                    "rename one of them"
                ),
            ),
        ],
    )
    def test_says(self, text: str, said: str) -> None:
        assert errors(text) == [said]

    @pytest.mark.parametrize(
        "text",
        [
            "mqtt: {username: u, password: [hunter2]}",
            "mqtt: {pasword: hunter2}",
            "mqtt: {password:hunter2}",
            "mqtt:\n  password:hunter2",
            "mqtt: {password: *hunter2}",
            "mqtt: {password: !hunter2 }",
            "mqtt: {password: hunter2: x}",
            "mqtt: {username: u, password: hunter2, password_file: x}",
            "mqtt: {password: hunter2}",
            "mqtt: {host: 'u:hunter2@broker'}",
            "mqtt: {host: 'mqtt://broker/?password=hunter2'}",
            "sources: {a: {url: 'rtsp://u:hunter2@camera', loop: true}}",
            "sources: {a: {url: ['rtsp://u:hunter2@camera']}}",
            "sources: {a: 'rtsp://u:hunter2@camera'}",
            'sources: {a: {url: "rtsp://u:hunter2@camera\\n"}}',
            "notifications: {a: {apprise: hunter2}}",
            "notifications: {a: {apprise: ['ntfy://hunter2@x']}}",
            "notifications: {a: {apprise:hunter2://x}}",
            "notifications: {a: 'ntfy://u:hunter2@x'}",
            "notifications: {a: {apprise: 'ntfy://hunter2@x', secret: hunter2}}",
            "notifications: {a: {webhook: 'http://u:hunter2/x'}}",
            "notifications: {a: {webhook: ['http://u:hunter2@x/x']}}",
            "notifications: {a: {webhook: 'http://x', secret: [hunter2]}}",
            "notifications: {a: {webhook: 'http://x', secret:hunter2}}",
            "notifications: {a: {webhook: 'http://x', headers: hunter2}}",
            "notifications: {a: {webhook: 'http://x', headers: {b: [hunter2]}}}",
            "notifications: {a: {webhook: 'http://x', headers: {b:hunter2}}}",
            "notifications: {a: {webhook: 'http://x', headers: {'b c': hunter2}}}",
        ],
    )
    def test_never_quotes_a_secret(self, text: str) -> None:
        assert "hunter2" not in "".join(errors(f"{text}\n{LEAST}"))
        assert "424242" not in "".join(errors(f"{text.replace('hunter2', '424242')}\n{LEAST}"))

    def test_one_line_for_a_problem_however_odd_the_key(self) -> None:
        [said] = errors(LEAST + '"a\\nb\\e": 1')
        assert said.startswith(r"c.yaml:2: 'a\nb\x1b': unknown key")

    def test_no_flood(self) -> None:
        said = errors(LEAST + "".join(f"key{n}: 1\n" for n in range(20_000)))
        assert len(said) == MAX_PROBLEMS + 1
        assert said[-1] == "c.yaml: and more"

    @settings(deadline=None)
    @given(st.text(alphabet=st.characters(codec=None), max_size=200))
    @example("{" * 2000)
    @example("a: &a [*a, *a]")
    @example('"\\ud800": "\\ud800"')
    @example("labels: {a: {min_on_s: " + "9" * 5000 + "}}")
    @example("labels: {a: {max_s: 0x" + "f" * 5000 + "}}")
    @example("node: ~root\0")
    def test_any_text_is_refused_in_words(self, text: str) -> None:
        with pytest.raises(ConfigError):
            parse(text)

    @settings(deadline=None)
    @given(st.data())
    def test_any_structure_is_taken_or_refused_in_words(self, data: st.DataObject) -> None:
        text = yaml.safe_dump(data.draw(STRUCTURES), allow_unicode=True)
        try:
            parsed = parse(text)
        except ConfigError as error:
            said = str(error)
        else:
            said = ""
            assert parse(effective(parsed)) == parsed
        where = re.compile(r"config\.yaml((:\d+)+: .|: empty)")
        assert all(where.match(line) for line in said.splitlines())


NAMES = st.sampled_from(["kitchen", "porch", "dog_bark", "dog bark", "any", "?", "on"]) | st.text()
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=4)
    | st.sampled_from(["default", "auto", 0.04, 0.48, 0.5, 10.0, "~", "a.wav"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=3,
)


def _section(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    keys = [field.alias or name for name, field in model.model_fields.items()]
    known = st.dictionaries(st.sampled_from(keys), VALUES, max_size=3)
    return known | VALUES


def _is_no_secret(section: Any) -> bool:
    """What is masked does not come back."""
    return not {"apprise", "webhook", "secret", "headers"} & set(
        section if isinstance(section, dict) else ()
    )


STRUCTURES = st.fixed_dictionaries(
    {"labels": st.dictionaries(NAMES, st.none() | _section(LabelSettings), max_size=2)},
    optional={
        "node": NAMES,
        "model": _section(ModelSettings),
        "sources": st.dictionaries(NAMES, _section(SourceSettings), max_size=2),
        "mqtt": st.fixed_dictionaries({}, optional={"tls": _section(TlsSettings), "x": VALUES})
        | _section(MqttSettings).filter(lambda mqtt: "password" not in str(mqtt)),
        "log_level": VALUES,
        "location": _section(LocationSettings),
        "notifications": st.dictionaries(
            NAMES, _section(NotificationSettings).filter(_is_no_secret), max_size=2
        ),
    },
)


class TestEffective:
    def test_can_be_read_again(self) -> None:
        parsed = parse(
            "labels: {dog_bark: {not: a cat, sources: [porch]}, 'no': }\n"
            "sources: {porch: {url: a.wav, loop: true}, kitchen: {microphone: 0, channel: 1}}\n"
            "mqtt: {tls: {ca: ca.pem}, protocol: 5, username: u, password_file: relative}\n"
        )
        assert parse(effective(parsed)) == parsed
        assert "password_file: relative\n" in effective(parsed)

    def test_has_all_keys_in_the_contracts_order(self) -> None:
        shown = yaml.safe_load(effective(parse("node: a\n" + LEAST)))
        sections = ["node", "location", "model", "sources", "labels", "mqtt", "store", "history"]
        sections += [
            "search",
            "levels",
            "clips",
            "second_opinion",
            "home_assistant",
            "notifications",
            "web",
            "metrics",
            "log_level",
        ]
        assert list(shown) == sections
        assert list(shown["labels"]["dog_bark"])[:4] == [
            "prompts",
            "not",
            "threshold",
            "off_threshold",
        ]
        assert list(shown["mqtt"]) == list(MqttSettings.model_fields)

    def test_masks_secrets(self) -> None:
        shown = effective(
            parse(
                "mqtt: {username: u, password: hunter2}\n"
                "sources: {porch: {url: 'rtsp://u:hunter2@camera/live'}}\n" + LEAST
            )
        )
        assert "hunter2" not in shown
        assert yaml.safe_load(shown)["mqtt"]["password"] == "********"
        assert yaml.safe_load(shown)["sources"]["porch"]["url"] == "rtsp://********@camera/live"

    def test_masks_all_of_an_address_that_may_be_secret(self) -> None:
        told = parse(
            "notifications:\n"
            "  phone: {apprise: 'tgram://hunter2/chat'}\n"
            "  hook: {webhook: 'https://u:hunter2@house:8443/hunter2?hunter2', secret: hunter2,\n"
            "         headers: {Authorization: hunter2}}\n" + LEAST
        )
        assert "hunter2" not in effective(told) + repr(told)
        shown = yaml.safe_load(effective(told))["notifications"]
        assert shown["phone"]["apprise"] == "tgram://********"
        assert shown["hook"]["webhook"] == "https://********@house:8443/********"
        assert shown["hook"]["headers"] == {"Authorization": "********"}
        again = parse(effective(told))
        assert list(again.notifications) == ["phone", "hook"]


class TestShipped:
    def test_is_valid_and_a_start(self) -> None:
        shipped = load(SHIPPED)
        shipped.require_sources()
        assert shipped.sources == {"kitchen": SourceSettings(microphone="default")}
        assert len(shipped.labels) >= 10
        assert shipped.mqtt == MqttSettings()
        assert shipped.model == ModelSettings()

    @pytest.mark.parametrize(
        ("model", "path"),
        [
            (Settings, []),
            (ModelSettings, ["model"]),
            (SourceSettings, ["sources", "kitchen"]),
            (SourceSettings, ["sources", "porch"]),
            (LabelSettings, ["labels", "dog_bark"]),
            (MqttSettings, ["mqtt"]),
            (TlsSettings, ["mqtt", "tls"]),
            (LocationSettings, ["location"]),
            (SecondOpinionSettings, ["second_opinion"]),
            (NotificationSettings, ["notifications", "phone"]),
            (NotificationSettings, ["notifications", "mail"]),
            (NotificationSettings, ["notifications", "hook"]),
        ],
    )
    def test_has_every_key_with_its_default(self, model: type[BaseModel], path: list[str]) -> None:
        text = SHIPPED.read_text(encoding="utf-8")
        section = yaml.safe_load(re.sub(r"^( *)#(?=\w+:)", r"\1", text, flags=re.MULTILINE))
        for key in path:
            section = section[key]
        keys = {field.alias or name: field for name, field in model.model_fields.items()}
        if model in (SourceSettings, NotificationSettings):
            assert set(section) <= set(keys)
        else:
            assert set(section) == set(keys)
        for key, value in section.items():
            default = keys[key].default
            is_section = isinstance(value, dict)
            if key in ("microphone", "url", "apprise", "webhook") or (is_section and key != "tls"):
                continue
            if default in (None, (), PydanticUndefined):
                assert self._says_default(text, key), key
            elif isinstance(default, tuple):  # of which one may stand alone
                assert (value,) == default, key
            else:
                assert value == default, key

    def test_has_every_key_of_a_notification_somewhere(self) -> None:
        text = SHIPPED.read_text(encoding="utf-8")
        section = yaml.safe_load(re.sub(r"^( *)#(?=\w+:)", r"\1", text, flags=re.MULTILINE))
        there = {key for each in section["notifications"].values() for key in each}
        assert there == set(NotificationSettings.model_fields)

    def test_its_examples_are_right(self) -> None:
        text = SHIPPED.read_text(encoding="utf-8")
        text = re.sub(r"^( *)#(?=\w+:)", r"\1", text, flags=re.MULTILINE)
        for one_of_two in (
            "revision",
            "channel",
            "track",
            "password",
            "off_threshold",
            "insecure",
            "loop",
            "loud",
            "token",
        ):
            text = re.sub(rf"^ *{one_of_two}:.*\n", "", text, flags=re.MULTILINE)
        parsed = parse(text.replace("clips:\n  enabled: false", "clips:\n  enabled: true"))
        assert set(parsed.notifications) == {"phone", "mail", "hook"}
        assert parsed.labels["dog_bark"].schedule[0].begin == "22:00"

    def _says_default(self, text: str, key: str) -> bool:
        """Whether a comment above a key has words for its default."""
        comments = re.findall(rf"((?:^ *# .*\n)+)(?:^ *#?\w+:.*\n)*^ *#?{key}:", text, re.MULTILINE)
        return any("efault" in comment for comment in comments)
