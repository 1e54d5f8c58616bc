"""Notifications: to a real HTTP server, by webhook and through Apprise, and of the real daemon."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
from house import House
from mosquitto import Mosquitto, wait_until
from ports import HOST, free_port
from processes import Daemon, MosquittoSub, level_config, pe_stream
from sounds import noise, write_float_wav
from stand_ins import ONSET, event
from timing import within

from pe_stream.config import LocationSettings, NotificationSettings
from pe_stream.config.local_time import LocalTime
from pe_stream.core.messages import event_schema
from pe_stream.core.types import Event, Phase, SecondOpinion
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.outputs import notifications as package
from pe_stream.outputs.notifications import Notifications, notifications, services, words

LOCAL = LocalTime(LocationSettings(timezone="UTC"))
SOON = ONSET + timedelta(seconds=2)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notifications, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(notifications, "_TURN_S", 0.02)
    monkeypatch.setattr(notifications, "STOP_S", within(10))  # what waits is sent by then


@pytest.fixture
def house() -> Iterator[House]:
    with House() as receiving:
        yield receiving


def said_by_us(caplog: pytest.LogCaptureFixture) -> str:
    """Without what never reaches our log: pytest listens to loggers that pass nothing on."""
    ours = [each for each in caplog.records if each.name.startswith("pe_stream")]
    return "\n".join(each.getMessage() for each in ours)


class Clock:
    """Time that a test moves: monotonic (s), and UTC."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s

    def now(self) -> datetime:
        return SOON + timedelta(seconds=self.s)


@contextmanager
def telling(clock: Clock | None = None, **entries: dict[str, Any]) -> Iterator[Notifications]:
    clock = clock or Clock()
    made = Notifications(
        {name: NotificationSettings.model_validate(each) for name, each in entries.items()},
        LOCAL,
        clock=clock,
        now=clock.now,
    )
    made.awaits_opinion = lambda event: event.label != "loud" and event.second_opinion is None
    made.start()
    try:
        yield made
    finally:
        made.stop()


def settled(told: Notifications, count: int, outcome: str = "sent", name: str = "hook") -> None:
    wait_until(lambda: told.counts[name][outcome] == count, f"{count} {outcome}")


def opinion(sound: float | None, both: float | None = None) -> SecondOpinion:
    return SecondOpinion(sound, None, both, None, 0, (0.0, 8.0), "pe-av", 900)


class TestOpinions:
    """Messages that wait for a second opinion; `telling` has one on every label but "loud"."""

    HOOK: ClassVar = {"min_opinion": 0.2, "opinion_wait_s": 30.0, "cooldown_s": 60.0}

    def told_of(self, house: House) -> list[str]:
        return [request.json["id"] for request in house.received]

    @pytest.mark.parametrize(
        "of", [opinion(0.2), opinion(0.1, 0.3), opinion(None)], ids=["sound", "both", "no words"]
    )
    def test_is_sent_with_a_good_one(self, house: House, of: SecondOpinion) -> None:
        with telling(hook={"webhook": house.url(), **self.HOOK}) as told:
            told.event(event(1))
            told.event(event(1, Phase.END))
            told.opinion(ended := event(1, Phase.END, second_opinion=of))
            settled(told, 1)
        (request,) = house.received
        assert request.json == ended.to_dict()

    @pytest.mark.parametrize("of", [opinion(0.19), opinion(0.9, 0.1)], ids=["sound", "both"])
    def test_is_not_sent_with_a_bad_one(self, house: House, of: SecondOpinion) -> None:
        clock = Clock()
        with telling(clock, hook={"webhook": house.url(), **self.HOOK}) as told:
            told.event(event(1))
            told.opinion(event(1, second_opinion=of))
            clock.s = 29.0
            # Nobody was told: the next one is, whatever the cooldown.
            told.event(event(3))
            told.opinion(event(3, second_opinion=opinion(0.5)))
            settled(told, 1)
            clock.s = 31.0
        assert self.told_of(house) == ["id-0003"]

    def test_is_sent_without_one_that_does_not_come(self, house: House) -> None:
        clock = Clock()
        with telling(clock, hook={"webhook": house.url(), **self.HOOK}) as told:
            told.event(event(1))
            clock.s = 29.9
            time.sleep(0.2)  # turns of the sending thread
            assert house.received == []
            clock.s = 30.0
            settled(told, 1)
            told.opinion(event(1, second_opinion=opinion(0.9)))  # too late
            told.opinion(event(9, second_opinion=opinion(0.9)))  # nobody asked
        (request,) = house.received
        assert request.json == event(1).to_dict()

    def test_of_two_that_wait_the_first_good_one_is_sent(self, house: House) -> None:
        with telling(hook={"webhook": house.url(), **self.HOOK}) as told:
            for number in (1, 3, 5):
                told.event(event(number))
            told.opinion(event(5, second_opinion=opinion(0.1)))
            told.opinion(event(3, second_opinion=opinion(0.5)))
            told.opinion(event(1, second_opinion=opinion(0.5)))  # it cools down
            settled(told, 1)
        assert self.told_of(house) == ["id-0003"]

    @pytest.mark.parametrize(
        ("label", "more"),
        [("loud", {}), ("siren", {}), ("dog", {"late": True})],
        ids=["none is to come", "urgent", "late"],
    )
    def test_some_never_wait(self, house: House, label: str, more: dict[str, Any]) -> None:
        hook = {"webhook": house.url(), **self.HOOK, "except_quiet": ["siren"]}
        with telling(hook=hook) as told:
            told.event(event(1, label=label, **more))
            settled(told, 1)

    def test_an_end_that_has_one_is_decided_at_once(self, house: House) -> None:
        hook = {"webhook": house.url(), **self.HOOK, "phase": "end"}
        with telling(hook=hook) as told:
            for number, score in ((1, 0.1), (2, 0.5)):
                told.event(event(number))
                told.event(event(number, Phase.END, second_opinion=opinion(score)))
            settled(told, 1)
        assert self.told_of(house) == ["id-0002"]

    def test_nothing_keeps_back_what_is_urgent(self, house: House) -> None:
        hook = {"webhook": house.url(), **self.HOOK, "phase": "end", "except_quiet": ["siren"]}
        with telling(hook=hook) as told:
            told.event(event(1, label="siren"))
            told.event(event(1, Phase.END, label="siren", second_opinion=opinion(0.05)))
            settled(told, 1)

    def test_one_that_does_not_come_is_waited_for_no_longer(self, house: House) -> None:
        with telling(hook={"webhook": house.url(), **self.HOOK}) as told:
            told.event(event(1))
            told.opinion_given_up(event(1, Phase.UPDATE, peak=0.9))
            settled(told, 1)
        assert house.received[0].json["peak"] == 0.9

    @pytest.mark.parametrize("clip_first", [True, False])
    def test_waits_for_a_clip_too(self, house: House, tmp_path: Path, *, clip_first: bool) -> None:
        clip = tmp_path / "a.flac"
        clip.write_bytes(b"sound")
        hook = {"webhook": house.url(), **self.HOOK, "clip": True}
        with telling(hook=hook) as told:
            told.event(event(1, clip=str(clip)))
            ended = event(1, Phase.END, clip=str(clip), second_opinion=opinion(0.5))
            acts: list[Callable[[], None]] = [
                lambda: told.opinion(ended),
                lambda: told.clip(ended.id, clip),
            ]
            first, second = reversed(acts) if clip_first else acts
            told.event(replace(ended, second_opinion=None))
            first()
            time.sleep(0.2)  # turns of the sending thread
            assert house.received == []
            second()
            settled(told, 1)
        (request,) = house.received
        assert request.parts["event"][2].decode() == ended.to_json()
        assert request.parts["clip"][2] == b"sound"

    def test_a_stop_sends_what_waits(self, house: House) -> None:
        with telling(hook={"webhook": house.url(), **self.HOOK}) as told:
            told.event(event(1))
        assert self.told_of(house) == ["id-0001"]

    def test_so_many_wait_and_no_more(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notifications, "MOST_WAITING", 2)
        hook = {"webhook": house.url(), **self.HOOK, "cooldown_s": 0.0}
        with telling(hook=hook) as told:
            for number in range(3):
                told.event(event(number))
            settled(told, 1)
            assert self.told_of(house) == ["id-0002"]

    def test_people_read_that_it_is_uncalibrated(self) -> None:
        said = words.body(event(1, second_opinion=opinion(0.714, 0.5)), LOCAL, SOON)
        assert said.endswith("peak 0.90, second opinion: sound 0.71, both 0.50 (uncalibrated)")


class TestWebhook:
    def test_posts_the_event(self, house: House) -> None:
        with telling(hook={"webhook": house.url("/a?b=c")}) as told:
            told.event(event(1))
            settled(told, 1)
        (request,) = house.received
        assert request.path == "/a?b=c"
        assert request.json == event(1).to_dict()
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"].startswith("pe-stream/")
        assert "x-pe-stream-signature" not in request.headers

    def test_with_headers_and_a_signature(self, house: House) -> None:
        hook = {"webhook": house.url(), "headers": {"Authorization": "Bearer x"}, "secret": "kéy"}
        with telling(hook=hook) as told:
            told.event(event(1))
            settled(told, 1)
        (request,) = house.received
        assert request.headers["authorization"] == "Bearer x"
        signature = hmac.new("kéy".encode(), request.body, hashlib.sha256).hexdigest()
        assert request.headers["x-pe-stream-signature"] == f"sha256={signature}"

    @pytest.mark.parametrize("suffix", ["flac", "opus"])
    def test_with_the_clip_as_a_form(self, house: House, tmp_path: Path, suffix: str) -> None:
        clip = tmp_path / f"a%20?b.{suffix}"
        clip.write_bytes(b"sound\r\n--")
        hook = {"webhook": house.url(), "clip": True, "secret": "x"}
        with telling(hook=hook) as told:
            start = replace(event(1), clip=str(clip))
            end = replace(event(1, Phase.END), clip=str(clip))
            told.event(start)
            told.event(end)
            assert house.received == []
            told.clip("another", clip)
            told.clip(end.id, clip)
            settled(told, 1)
        (request,) = house.received
        kind, _, said = request.parts["event"]
        assert kind == "application/json"
        assert said.decode() == end.to_json(), "as it was last known"
        kind = {"flac": "audio/flac", "opus": "audio/ogg"}[suffix]
        assert request.parts["clip"] == (kind, clip.name, b"sound\r\n--")
        signature = hmac.new(b"x", request.body, hashlib.sha256).hexdigest()
        assert request.headers["x-pe-stream-signature"] == f"sha256={signature}"

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_tries_three_times(
        self, house: House, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        house.answers = [status, status, 200, status, status, status]
        with telling(hook={"webhook": house.url(), "cooldown_s": 0}) as told:
            told.event(event(1))
            settled(told, 1)
            told.event(event(2))
            settled(told, 1, "failed")
        assert len(house.received) == 6
        assert caplog.text.count("not sent") == 1
        assert f"notification hook: not sent: HTTP {status} " in caplog.text
        assert "what it says" in caplog.text

    @pytest.mark.parametrize("status", [400, 401, 404, 410, 304])
    def test_a_refusal_is_final(self, house: House, status: int) -> None:
        house.answers = [status]
        with telling(hook={"webhook": house.url()}) as told:
            told.event(event(1))
            settled(told, 1, "failed")
        assert len(house.received) == 1

    def test_redirects_are_not_followed(
        self, house: House, caplog: pytest.LogCaptureFixture
    ) -> None:
        house.answers = [307]
        house.headers = {"Location": house.url("/hunter2")}
        hook = {"webhook": house.url(), "headers": {"Authorization": "Bearer x"}}
        with telling(hook=hook) as told:
            told.event(event(1))
            settled(told, 1, "failed")
        assert len(house.received) == 1
        assert f"to http://{HOST}:{house.port}/********: redirects are not" in caplog.text
        assert "hunter2" not in caplog.text

    def test_no_answer_in_time(
        self, house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(services, "TIMEOUT_S", 0.1)
        house.hold.clear()
        with telling(hook={"webhook": house.url()}) as told:
            told.event(event(1))
            settled(told, 1, "failed")
            wait_until(lambda: len(house.received) == 3, "the house has read all")
            house.hold.set()
        assert len(house.received) == 3
        assert "no answer within 0.1 s" in caplog.text

    def test_nobody_there(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        hook = {
            "webhook": f"http://u:hunter2@{HOST}:{free_port()}/hunter2",
            "headers": {"Authorization": "hunter2"},
            "secret": "hunter2",
        }
        with telling(hook=hook) as told:
            told.event(event(1))
            settled(told, 1, "failed")
        assert "Connection refused" in caplog.text
        assert "hunter2" not in caplog.text

    def test_of_another_authority_is_not_spoken_to(self, tmp_path: Path) -> None:
        """TLS is verified: a certificate of its own is refused."""
        import ssl
        import subprocess

        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
                *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        with House() as house:
            house._server.socket = context.wrap_socket(house._server.socket, server_side=True)
            with telling(hook={"webhook": house.url().replace("http", "https")}) as told:
                told.event(event(1))
                settled(told, 1, "failed")
            assert house.received == []

    @pytest.mark.parametrize("url", ["http://[::1", "http://a:b", "http://", "http://x y"])
    def test_what_is_no_address(self, url: str) -> None:
        with pytest.raises(ValueError, match="not an address"):
            NotificationSettings.model_validate({"webhook": url})


class TestApprise:
    def test_says_it_in_words_with_the_clip(self, house: House, tmp_path: Path) -> None:
        clip = tmp_path / "a%20?b.flac"
        clip.write_bytes(b"sound")
        phone = {"apprise": f"json://{HOST}:{house.port}/x", "clip": True}
        with telling(phone=phone) as told:
            end = replace(event(1, Phase.END, 3.24), clip=str(clip))
            told.event(replace(event(1), clip=str(clip)))
            told.event(end)
            told.clip(end.id, clip)
            settled(told, 1, name="phone")
        (request,) = house.received
        assert request.json["title"] == "Smoke alarm in kitchen"
        assert request.json["message"] == "at 02:15:50, for 3.2 s, peak 0.90"
        (attached,) = request.json["attachments"]
        assert attached["filename"] == clip.name
        assert base64.b64decode(attached["base64"]) == b"sound"

    def test_tries_again_and_says_what_was_wrong(
        self, house: House, caplog: pytest.LogCaptureFixture
    ) -> None:
        house.answers = [500, 200, 500, 500, 500]
        url = f"json://user:hunter2@{HOST}:{house.port}/hunter2"
        with telling(phone={"apprise": url, "cooldown_s": 0}) as told:
            told.event(event(1))
            settled(told, 1, name="phone")
            told.event(event(2))
            settled(told, 1, "failed", name="phone")
        assert len(house.received) == 5
        assert "notification phone: not sent: Failed to send JSON" in caplog.text
        assert "error=500" in caplog.text
        assert "hunter2" not in caplog.text

    def test_nobody_there(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        url = f"json://user:hunter2@{HOST}:{free_port()}/hunter2"
        with telling(phone={"apprise": url}) as told:
            told.event(event(1))
            settled(told, 1, "failed", name="phone")
        (said,) = [each for each in said_by_us(caplog).splitlines() if "not sent" in each]
        assert said.endswith("A Connection error occurred sending JSON notification to ********.")
        assert "hunter2" not in said_by_us(caplog)

    @pytest.mark.parametrize("url", ["ntfyy://u:hunter2@x/y", "discord://hunter2", "json://:"])
    def test_an_address_it_cannot_use(
        self, url: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        file = tmp_path / "address"
        file.write_text(url + "\n")
        for keys in ({"apprise": url}, {"apprise_file": str(file)}):
            (key,) = keys
            with pytest.raises(ConfigError) as caught:
                Notifications({"a": NotificationSettings.model_validate(keys)}, LOCAL)
            scheme = url.partition(":")[0]
            assert f"notifications.a.{key}: Apprise cannot use" in str(caught.value)
            assert f"{scheme}://********" in str(caught.value)
            assert "hunter2" not in str(caught.value) + said_by_us(caplog)

    def test_the_address_may_be_in_a_file(self, house: House, tmp_path: Path) -> None:
        file = tmp_path / "address"
        file.write_text(f"json://{HOST}:{house.port}/x\n")
        with telling(phone={"apprise_file": str(file)}) as told:
            told.event(event(1))
            settled(told, 1, name="phone")
        assert len(house.received) == 1

    @pytest.mark.parametrize(
        ("content", "said"),
        [(None, "No such file"), ("\n", "is empty"), ("hunter2", "not an address of Apprise")],
    )
    def test_a_file_that_holds_none(self, tmp_path: Path, content: str | None, said: str) -> None:
        file = tmp_path / "address"
        if content is not None:
            file.write_text(content)
        with pytest.raises(ConfigError, match=rf"notifications\.a\.apprise_file: .*{said}") as no:
            NotificationSettings(apprise_file=str(file)).address("a")
        assert "hunter2" not in str(no.value)

    def test_its_words_are_told_without_any_part_of_the_address(self) -> None:
        url = "tgram://123456:se%2Fcret@host.example:8080/to%20ken?key=value#end"
        said = "tgram://host.example:8080 said to ken, to%20ken, se/cret, 123456 and value: no"
        told = services._without(url, said)
        for part in ("host.example", "8080", "to ken", "to%20ken", "se/cret", "123456", "value"):
            assert part not in told
        assert told.startswith("tgram://")
        assert told.endswith(": no")


class TestWhat:
    """Which events are told."""

    def sent(self, house: House, hook: dict[str, Any], *events: Event) -> list[str]:
        """Ids of those that are."""
        hook = {"cooldown_s": 0} | hook
        with telling(hook={"webhook": house.url()} | hook) as told:
            for each in events:
                told.event(each)
        return [request.json["id"] for request in house.received]

    def test_starts_by_default_and_never_an_update(self, house: House) -> None:
        phases = [event(1, phase) for phase in Phase]
        assert self.sent(house, {}, *phases) == ["id-0001"]
        assert house.received[0].json["phase"] == "start"

    def test_ends_where_wanted(self, house: House) -> None:
        self.sent(house, {"phase": "end"}, *[event(1, phase) for phase in Phase])
        assert [each.json["phase"] for each in house.received] == ["end"]

    def test_by_label_and_source(self, house: House) -> None:
        events = [
            event(1, source="kitchen", label="dog"),
            event(2, source="porch", label="dog"),
            event(3, source="kitchen", label="cat"),
        ]
        hook = {"labels": ["dog"], "sources": ["kitchen"]}
        assert self.sent(house, hook, *events) == ["id-0001"]

    def test_by_peak(self, house: House) -> None:
        events = [replace(event(n), peak=peak) for n, peak in [(1, 0.59), (2, 0.6), (3, 0.7)]]
        assert self.sent(house, {"min_peak": 0.6}, *events) == ["id-0002", "id-0003"]

    def test_none_follows_within_the_cooldown_of_source_and_label(self, house: House) -> None:
        clock = Clock()
        with telling(clock, hook={"webhook": house.url(), "cooldown_s": 60}) as told:
            for number, source, label, at_s in [
                (1, "a", "dog", 0),
                (2, "a", "dog", 59.9),
                (3, "b", "dog", 59.9),
                (4, "a", "cat", 59.9),
                (5, "a", "dog", 60),
                (6, "a", "dog", 119.9),
            ]:
                clock.s = at_s
                told.event(event(number, source=source, label=label))
        assert [each.json["id"] for each in house.received] == [
            f"id-{number:04}" for number in (1, 3, 4, 5)
        ]

    def test_what_nobody_was_told_has_no_cooldown(self, house: House) -> None:
        clock = Clock()
        house.answers = [404]  # refused, and not tried again
        with telling(clock, hook={"webhook": house.url(), "cooldown_s": 60}) as told:
            told.event(event(1, source="a", label="dog"))
            settled(told, 1, "failed")
            told.event(event(2, source="a", label="dog"))
            settled(told, 1)
        assert [each.json["id"] for each in house.received] == ["id-0001", "id-0002"]

    def test_quiet_hours(self, house: House) -> None:
        """ONSET is in the night of a Friday, at 2:15."""
        clock = Clock()
        hook = {
            "webhook": house.url(),
            "cooldown_s": 0,
            "quiet": [{"from": "22:00", "to": "07:00"}, {"days": "sat", "from": "12:00"}],
            "except_quiet": ["smoke_alarm"],
        }
        with telling(clock, hook=hook) as told:
            for number, label, hours in [
                (1, "dog", 0),
                (2, "smoke_alarm", 0),
                (3, "dog", 5),
                (4, "dog", 10),
                (5, "dog", 20),
            ]:
                clock.s = hours * 3600
                told.event(event(number, label=label))
        assert [each.json["id"] for each in house.received] == ["id-0002", "id-0003"]

    def test_a_restart_begins_again(self, house: House) -> None:
        for _ in range(2):
            self.sent(house, {"cooldown_s": 60}, event(1), event(1))
        assert len(house.received) == 2

    def test_what_is_late_says_so(self, house: House) -> None:
        clock = Clock()
        house.hold.clear()
        with telling(
            clock,
            hook={"webhook": house.url(), "cooldown_s": 0},
            phone={"apprise": f"json://{HOST}:{house.port}", "cooldown_s": 0},
        ) as told:
            for number in (1, 3):
                told.event(event(number))
            wait_until(lambda: len(house.received) == 2, "the first of each")
            clock.s = 600
            house.hold.set()
            settled(told, 2)
            settled(told, 2, name="phone")
        late = [each.json for each in house.received[2:]]
        assert {"at 02:15:52 (10 minutes ago), peak 0.90"} == {
            each["message"] for each in late if "message" in each
        }
        assert [each["late"] for each in late if "late" in each] == [True]
        assert not any(each.json.get("late") for each in house.received[:2])


class TestClip:
    def started(self, told: Notifications, clip: Path, number: int = 1) -> None:
        for phase in (Phase.START, Phase.END):
            told.event(replace(event(number, phase), clip=str(clip)))

    @pytest.mark.parametrize("phase", ["start", "end"])
    def test_without_one_it_is_told_without(self, house: House, tmp_path: Path, phase: str) -> None:
        hook = {"webhook": house.url(), "clip": True, "phase": phase}
        with telling(hook=hook) as told:
            self.started(told, tmp_path / "a.flac")
            told.clip("id-0001", None)
            settled(told, 1)
        assert set(house.received[0].parts) == {"event"}

    def test_where_none_is_made_nothing_is_waited_for(self, house: House) -> None:
        with telling(hook={"webhook": house.url(), "clip": True}) as told:
            told.event(event(1))
            settled(told, 1)
        assert set(house.received[0].parts) == {"event"}

    def test_it_is_not_waited_for_for_ever(self, house: House, tmp_path: Path) -> None:
        clock = Clock()
        with telling(clock, hook={"webhook": house.url(), "clip": True}) as told:
            told.event(replace(event(1), clip=str(tmp_path / "a.flac")))
            clock.s = 86_400.0  # as long as the event lasts
            told.event(replace(event(1, Phase.END), clip=str(tmp_path / "a.flac")))
            clock.s += notifications.CLIP_S - 0.1
            told.event(replace(event(2), label="other"))
            settled(told, 1)
            clock.s += 0.2
            settled(told, 2)
        assert len(house.received) == 2

    def test_one_that_was_deleted_meanwhile(
        self, house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with telling(hook={"webhook": house.url(), "clip": True}) as told:
            self.started(told, tmp_path / "a.flac")
            told.clip("id-0001", tmp_path / "a.flac")
            settled(told, 1)
        assert "no clip: " in caplog.text

    def test_one_that_is_too_long(
        self, house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(notifications, "MOST_BYTES", 3)
        (tmp_path / "a.flac").write_bytes(b"long")
        with telling(hook={"webhook": house.url(), "clip": True}) as told:
            self.started(told, tmp_path / "a.flac")
            told.clip("id-0001", tmp_path / "a.flac")
            settled(told, 1)
        assert set(house.received[0].parts) == {"event"}

    def test_at_a_stop_what_waits_is_told(self, house: House, tmp_path: Path) -> None:
        with telling(hook={"webhook": house.url(), "clip": True}) as told:
            told.event(replace(event(1), clip=str(tmp_path / "a.flac")))
        assert len(house.received) == 1


class TestWay:
    """Queues and threads."""

    def test_a_dead_one_holds_up_no_other_and_not_the_teller(self, house: House) -> None:
        with House() as dead:
            dead.hold.clear()
            with telling(
                dead={"webhook": dead.url(), "cooldown_s": 0},
                hook={"webhook": house.url(), "cooldown_s": 0},
            ) as told:
                begun_s = time.monotonic()
                for number in range(10):
                    told.event(event(number))
                assert time.monotonic() - begun_s < within(1)
                settled(told, 10)
                wait_until(lambda: len(dead.received) > 0, "the first one for the dead")
                assert len(dead.received) == 1
                dead.hold.set()
                settled(told, 10, name="dead")

    def test_what_is_too_much_is_dropped_and_counted(
        self, house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(notifications, "MOST_WAITING", 3)
        house.hold.clear()
        with telling(hook={"webhook": house.url(), "cooldown_s": 0}) as told:
            told.event(event(0))
            wait_until(lambda: len(house.received) == 1, "it is being sent")
            for number in range(1, 6):
                told.event(event(number))
            assert told.counts["hook"] == {"sent": 0, "failed": 0, "dropped": 2}
            assert caplog.text.count("a message is dropped") == 2
            house.hold.set()
            settled(told, 4)

    def test_a_stop_does_not_wait_for_ever(
        self, house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(notifications, "STOP_S", 0.1)
        house.hold.clear()
        with telling(hook={"webhook": house.url(), "cooldown_s": 0}) as told:
            told.event(event(1))
            told.event(event(2))
            wait_until(lambda: len(house.received) == 1, "it is being sent")
            begun_s = time.monotonic()
            told.stop()
            assert time.monotonic() - begun_s < within(2)
            assert "notification hook: not sent before the end: " in caplog.text
            house.hold.set()
            settled(told, 2)

    def test_a_stop_ends_the_pauses(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notifications, "FIRST_PAUSE_S", 60.0)
        house.answers = [500]
        with telling(hook={"webhook": house.url()}) as told:
            told.event(event(1))
            wait_until(lambda: len(house.received) == 1, "the first try")
        assert told.counts["hook"]["failed"] == 1

    def test_a_fault_of_ours_is_told(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        failures: list[BaseException] = []
        settings = NotificationSettings.model_validate({"webhook": house.url()})
        told = Notifications({"a": settings}, LOCAL, now=Clock().now, on_failure=failures.append)

        def bug(_: object, __: object) -> str:
            raise KeyError("bug")

        monkeypatch.setattr(services.Webhook, "send", bug)
        told.start()
        told.event(event(1))
        wait_until(lambda: len(failures) == 1, "told")
        told.stop()

    @pytest.mark.parametrize("library", ["httpx", "apprise"])
    def test_a_library_that_is_not_there_is_named(
        self, library: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, library, None)
        key = {"httpx": "webhook", "apprise": "apprise"}[library]
        settings = NotificationSettings.model_validate({key: "http://127.0.0.1/"})
        with pytest.raises(UnavailableError, match=r"pip install 'pe-stream\[notify\]'"):
            Notifications({"a": settings}, LOCAL)


class TestWords:
    @pytest.mark.parametrize(
        ("label", "source", "said"),
        [
            ("smoke_alarm", "kitchen", "Smoke alarm in kitchen"),
            ("Dog-bark", "living_room", "Dog bark in living room"),
            ("élan", "Küche", "Élan in Küche"),
        ],
    )
    def test_title(self, label: str, source: str, said: str) -> None:
        assert words.title(event(1, source=source, label=label)) == said

    @pytest.mark.parametrize(
        ("phase", "duration_s", "after_s", "said"),
        [
            (Phase.START, 0.2, 1, "at 07:45:50, peak 0.90"),
            (Phase.END, 3.24, 1, "at 07:45:50, for 3.2 s, peak 0.90"),
            (Phase.END, 192.4, 1, "at 07:45:50, for 3 min 12 s, peak 0.90"),
            (Phase.START, 0.2, 119, "at 07:45:50, peak 0.90"),
            (Phase.START, 0.2, 300, "at 07:45:50 (5 minutes ago), peak 0.90"),
            (Phase.START, 0.2, 86400, "at 2026-11-21 07:45:50 (24 hours ago), peak 0.90"),
        ],
    )
    def test_body_in_local_time(
        self, phase: Phase, duration_s: float, after_s: float, said: str
    ) -> None:
        kolkata = LocalTime(LocationSettings(timezone="Asia/Kolkata"))
        now = ONSET + timedelta(seconds=1 + after_s)
        assert words.body(event(1, phase, duration_s), kolkata, now) == said

    def test_a_long_event_that_has_just_ended_is_news(self) -> None:
        ended = replace(event(1, Phase.END, 600), offset="2026-11-21T02:25:50.320Z")
        assert not words.is_late(ended, datetime(2026, 11, 21, 2, 26, tzinfo=UTC))


def everything(folder: Path, level: Path, broker: Mosquitto, house: House, more: str = "") -> str:
    sound = write_float_wav(
        folder / "sound.wav", noise((1, 0.001), (1, 0.2), (2, 0.001), (1, 0.2), (60, 0.001))
    )
    told = f"""
notifications:
  hook: {{webhook: '{house.url()}', cooldown_s: 0}}
{more}
"""
    return level_config(level, broker.port, sound, told)


@pytest.mark.realtime
def test_a_burst_is_one_call_with_the_event(
    tmp_path: Path, level: Path, broker: Mosquitto, house: House
) -> None:
    port = free_port()
    more = f"""
  phone: {{apprise: 'json://{HOST}:{house.port}/phone', clip: true, phase: end, cooldown_s: 0}}
  dead: {{webhook: 'http://user:hunter2@{HOST}:{free_port()}/hunter2'}}
clips: {{enabled: true, folder: {tmp_path}/clips}}
metrics: {{enabled: true, port: {port}}}
"""
    from outputs.test_metrics import scrape

    text = everything(tmp_path, level, broker, house, more)
    topic = "pe_stream/test_node/kitchen/events"
    with MosquittoSub(broker.port) as sub, Daemon(tmp_path, text) as daemon:
        daemon.wait_for_log("notification phone: JSON through Apprise, json://********")
        wait_until(lambda: len(house.received) == 4, "two of each", 60)
        daemon.wait_for_log("notification dead: not sent")
        now: dict[tuple[str, ...], float] = {}

        def counted() -> bool:
            now.update(scrape(port))
            outcomes = ("hook", "sent"), ("dead", "failed")
            return sum(now["pe_stream_notifications_total", *each] for each in outcomes) >= 3

        wait_until(counted, "it is counted")
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
    hooks = [each for each in house.received if each.path == "/hook"]
    phones = [each.json for each in house.received if each.path == "/phone"]
    starts = [each for each in sub.events(topic) if each["phase"] == "start"]
    assert [each.json for each in hooks] == starts
    jsonschema.validate(hooks[0].json, event_schema())
    assert [each["title"] for each in phones] == ["Loud in kitchen"] * 2
    for phone, start in zip(phones, starts, strict=True):
        (attached,) = phone["attachments"]
        assert attached["filename"] == Path(start["clip"]).name
        assert base64.b64decode(attached["base64"]) == Path(start["clip"]).read_bytes()
    assert now["pe_stream_notifications_total", "hook", "sent"] == 2
    assert now["pe_stream_notifications_total", "dead", "failed"] == 1
    assert now["pe_stream_notifications_total", "hook", "dropped"] == 0
    assert "hunter2" not in daemon.log


@pytest.mark.realtime
def test_the_end_does_not_wait_for_a_house_that_is_silent(
    tmp_path: Path, level: Path, broker: Mosquitto, house: House
) -> None:
    house.hold.clear()
    more = f"  phone: {{apprise: 'json://{HOST}:{house.port}/phone'}}"
    with Daemon(tmp_path, everything(tmp_path, level, broker, house, more)) as daemon:
        wait_until(lambda: len(house.received) == 2, "a message each", 60)
        begun_s = time.monotonic()
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
        assert time.monotonic() - begun_s < within(5)
    assert "not sent before the end" in daemon.log


@pytest.mark.realtime
def test_a_schedule_switches_a_label_in_the_daemon(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    """At 22:00 by a clock that a test winds; until the reload what MQTT sets would hold."""
    (tmp_path / "now").write_text("2026-11-21T21:59:00+00:00")
    (tmp_path / "sitecustomize.py").write_text(
        "import datetime, pathlib\n"
        "import pe_stream.config.local_time as local_time\n"
        f"now = pathlib.Path({str(tmp_path / 'now')!r})\n"
        "local_time.now = lambda: datetime.datetime.fromisoformat(now.read_text())\n"
    )
    sound = write_float_wav(tmp_path / "sound.wav", noise((120, 0.2)))
    more = """
location: {timezone: UTC}
labels:
  loud: {min_on_s: 0.12, schedule: [{from: 22:00, to: 23:00, enabled: false}]}
home_assistant: {enabled: true}
"""
    text = level_config(level, broker.port, sound, more)
    environment = {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    events, switch = "pe_stream/test_node/kitchen/events", "pe_stream/test_node/kitchen/loud"

    def wind(clock: str) -> None:
        other = tmp_path / "then"
        other.write_text(f"2026-11-21T{clock}:00+00:00")
        other.rename(tmp_path / "now")

    with MosquittoSub(broker.port) as house, Daemon(tmp_path, text, environment) as daemon:
        house.wait_for(events, '"start"')
        wind("22:00")
        house.wait_for(events, '"stopped"')
        daemon.wait_for_log("by the clock: loud: off")
        house.wait_for(f"{switch}/state", "OFF")
        wind("23:00")
        daemon.wait_for_log("by the clock: loud: threshold 0.5")
        wait_until(
            lambda: [each["phase"] for each in house.events(events)].count("start") == 2, "again"
        )
        wind("22:30")
        wait_until(lambda: daemon.log.count("by the clock: loud: off") == 2, "off again")
        daemon.config.write_text(text.replace("22:00, to: 23:00", "sunset"), "utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("not reloaded")
        daemon.config.write_text(text.replace("22:00", "22:31"), "utf-8")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("reloaded: 1 labels")
        wait_until(
            lambda: [each["phase"] for each in house.events(events)].count("start") == 3, "reload"
        )
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143


class TestCommand:
    def config(self, folder: Path, told: str) -> Path:
        path = folder / "config.yaml"
        path.write_text(f"labels: {{loud: }}\nnotifications: {{{told}}}\n")
        path.chmod(0o600)
        return path

    def test_says_what_the_service_answered(self, tmp_path: Path, house: House) -> None:
        told = f"hook: {{webhook: '{house.url('/hunter2')}', labels: [loud]}}"
        told += f", phone: {{apprise: 'json://{HOST}:{house.port}'}}"
        config = self.config(tmp_path, told)
        done = pe_stream("notify-test", "hook", "-c", config)
        origin = f"http://{HOST}:{house.port}/********"
        assert (done.returncode, done.stdout) == (0, f"hook: webhook {origin}: HTTP 200 OK\n")
        jsonschema.validate(house.received[0].json, event_schema())
        assert house.received[0].json["label"] == "test"
        done = pe_stream("notify-test", "phone", "-c", config)
        assert done.stdout == "phone: JSON through Apprise, json://********: accepted\n"

    def test_fails_where_the_service_does(self, tmp_path: Path, house: House) -> None:
        house.answers = [403]
        config = self.config(tmp_path, f"hook: {{webhook: '{house.url('/hunter2')}'}}")
        done = pe_stream("notify-test", "hook", "-c", config)
        assert done.returncode == 69
        assert "HTTP 403 Forbidden: what it says" in done.stderr
        assert "hunter2" not in done.stderr
        assert len(house.received) == 1

    @pytest.mark.parametrize(
        "url", ["json://hunter2:hunter2@127.0.0.1:1/hunter2", "ntfyy://hunter2"]
    )
    def test_no_library_tells_secrets(self, tmp_path: Path, url: str) -> None:
        done = pe_stream(
            "-v", "notify-test", "a", "-c", self.config(tmp_path, f"a: {{apprise: '{url}'}}")
        )
        assert done.returncode in (69, 78)
        assert len(done.stderr.splitlines()) == 1
        assert "hunter2" not in done.stderr

    def test_a_name_that_is_not_there(self, tmp_path: Path) -> None:
        config = self.config(tmp_path, "hook: {webhook: 'http://127.0.0.1/'}")
        done = pe_stream("notify-test", "hok", "-c", config)
        assert done.returncode == 2
        assert "no notification 'hok'; notifications: hook" in done.stderr

    def test_what_check_says(self, house: House) -> None:
        hook = NotificationSettings.model_validate(
            {"webhook": house.url("/hunter2"), "labels": ["a", "b"]}
        )
        origin = f"http://{HOST}:{house.port}/********"
        assert package.describe("hook", hook) == f"webhook {origin}, for a, b"
        phone = NotificationSettings.model_validate({"apprise": "ntfy://hunter2/topic"})
        assert package.describe("phone", phone) == (
            "ntfy through Apprise, ntfy://********, for every label"
        )
        assert house.received == []
