from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from web.houses import Standing

from pe_stream.config import LabelSettings
from pe_stream.core.types import Recommended
from pe_stream.web import labels_api


def labels(client: httpx.Client) -> tuple[str, dict[str, Any]]:
    told = client.get("api/v1/labels").json()
    return told["version"], {each["name"]: each for each in told["labels"]}


def change(client: httpx.Client, method: str, name: str, version: str | None, **body: Any) -> Any:
    headers = {} if version is None else {"if-match": f'"{version}"'}
    return client.request(method, f"api/v1/labels/{name}", json=body, headers=headers)


def test_labels_are_as_configured_and_as_in_force(house: Standing) -> None:
    with house.client() as client:
        version, found = labels(client)
    assert version == house.file.version
    assert found["dog"]["prompts"] == ["a dog barking"]
    assert found["dog"]["not"] == []
    assert found["dog"]["threshold"] == 0.5
    assert set(found["dog"]["now"]) == {"kitchen", "porch"}
    assert found["dog"]["now"]["kitchen"]["off_threshold"] == 0.4
    assert found["knock"]["prompts"] == ["knock"]
    assert found["knock"]["threshold"] is None
    assert set(found["knock"]["now"]) == {"kitchen"}


def test_a_threshold_is_changed_in_the_file_and_in_force(house: Standing) -> None:
    before = house.file.path.read_text()
    with house.client() as client:
        version, _ = labels(client)
        told = change(client, "PATCH", "dog", version, threshold=0.62)
        assert told.is_success, told.text
        assert told.json()["label"]["now"]["kitchen"]["threshold"] == 0.62
        assert labels(client)[0] == told.json()["version"] != version
    after = house.file.path.read_text()
    assert after == before.replace("threshold: 0.5", "threshold: 0.62")
    assert "# the neighbour's" in after


def test_text_that_yaml_does_not_allow_is_escaped(house: Standing) -> None:
    prompts = ["a\ufffeb", "\xa0c\ufeff", "caf\xe9 \U0001f514"]
    with house.client() as client:
        told = change(client, "PATCH", "dog", house.file.version, prompts=prompts, threshold=0.4)
        assert told.is_success, told.text
        assert told.json()["label"]["prompts"] == [text.strip() for text in prompts]
        many = change(client, "PATCH", "dog", house.file.version, prompts=["x"] * 51)
        assert many.status_code == 422


def test_null_is_the_default_again(house: Standing) -> None:
    with house.client() as client:
        version, _ = labels(client)
        told = change(client, "PATCH", "dog", version, threshold=None, prompts=None)
        assert told.json()["label"]["prompts"] == ["dog"]
    assert "threshold" not in house.file.path.read_text()


@pytest.mark.parametrize("name", ["a/b", "T\xfcr knarrt", "x" * 100, "preview"])
def test_a_label_may_have_any_name(house: Standing, name: str) -> None:
    path = quote(name, safe="")
    with house.client() as client:
        made = change(client, "PUT", path, house.file.version, threshold=0.4)
        assert made.status_code == 201, made.text
        told = change(client, "PATCH", path, house.file.version, threshold=0.6)
        assert told.json()["label"]["name"] == name
        preview = client.get(f"api/v1/labels/{path}/preview")
        assert preview.json()["count"] == 0
        assert change(client, "DELETE", path, house.file.version).is_success


def test_labels_are_made_and_removed(house: Standing) -> None:
    with house.client() as client:
        version, _ = labels(client)
        made = change(client, "PUT", "kettle boiling", version, prompts=["a kettle"], threshold=0.4)
        assert made.status_code == 201, made.text
        assert made.json()["label"]["name"] == "kettle boiling"
        again = change(client, "PUT", "kettle boiling", made.json()["version"])
        assert (again.status_code, "already" in again.json()["detail"]) == (409, True)
        gone = change(client, "DELETE", "kettle boiling", made.json()["version"])
        assert gone.json()["version"] == version  # the file is as it was
        assert set(labels(client)[1]) == {"dog", "knock"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"threshold": 1.5}, "labels.dog.threshold: found 1.5, should be less than 1"),
        ({"threshold": 0.3, "off_threshold": 0.4}, "off_threshold (0.4) is above threshold"),
        ({"prompts": [""]}, "a prompt is empty"),
        ({"prompts": ["a\0dog"]}, "control character"),
        ({"sources": ["attic"]}, "there is no source 'attic'"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"enabled": "perhaps"}, "enabled"),
        ({"threshold": "high"}, "threshold"),
    ],
    ids=repr,
)
def test_what_is_wrong_is_said_and_nothing_changes(
    house: Standing, body: dict[str, Any], said: str
) -> None:
    before = house.file.path.read_text()
    with house.client() as client:
        version, _ = labels(client)
        answer = change(client, "PATCH", "dog", version, **body)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]
    assert str(house.folder) not in answer.json()["detail"]
    assert house.file.path.read_text() == before
    assert not house.edits


def test_two_editors_at_once(house: Standing) -> None:
    with house.client() as client:
        version, _ = labels(client)
        assert change(client, "PATCH", "dog", version, threshold=0.6).is_success
        late = change(client, "PATCH", "dog", version, threshold=0.7)
        assert late.status_code == 412
        assert "changed by someone else meanwhile" in late.json()["detail"]
        assert change(client, "PATCH", "dog", None, threshold=0.7).status_code == 428
        house.file.path.write_text(house.file.path.read_text() + "log_level: debug\n")  # by hand
        assert change(client, "DELETE", "dog", labels(client)[0]).is_success


def test_a_file_that_became_wrong_is_not_made_worse(house: Standing) -> None:
    house.file.path.write_text("labels: [")
    with house.client() as client:
        answer = change(client, "PATCH", "dog", house.file.version, threshold=0.6)
    assert answer.status_code == 422
    assert house.file.path.read_text() == "labels: ["


def test_a_file_that_may_not_be_written_is_told(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with house.client() as client:
        assert client.get("api/v1/info").json()["config"]["writable"] is False
        answer = change(client, "PATCH", "dog", house.file.version, threshold=0.6)
    assert answer.status_code == 409
    assert "may not be written by this service" in answer.json()["detail"]


def test_a_label_that_is_not_there(house: Standing) -> None:
    with house.client() as client:
        for method in ("PATCH", "DELETE"):
            assert change(client, method, "cat", house.file.version).status_code == 404
        assert client.get("api/v1/labels/cat/preview").status_code == 404


def test_a_pattern_and_a_threshold_that_follows_are_labels_keys(house: Standing) -> None:
    with house.client() as client:
        done = change(client, "PATCH", "dog", house.file.version, pattern="T3", threshold=None)
        assert done.json()["label"]["pattern"]["rhythm"] == [0.5, 0.5, 0.5, 0.5, 0.5, 1.5]
        assert 'pattern: "T3"' in house.file.path.read_text("utf-8")
        answer = client.get("api/v1/labels/dog/preview", params={"threshold": 0.6})
        assert answer.status_code == 409
        assert "in the sound itself" in answer.json()["detail"]
        done = change(client, "PATCH", "dog", house.file.version, pattern=None, follow=True)
        assert done.json()["label"]["pattern"] is None
        assert done.json()["label"]["follow"]["window_s"] == 3600
        wrong = {"then": "cat", "within_s": 3}
        done = change(client, "PATCH", "dog", house.file.version, pattern=wrong)
        assert done.status_code == 422
        assert "no label 'cat'" in done.text


def test_a_loud_sound_and_a_least_level_are_a_labels_keys(house: Standing) -> None:
    bursts(house)
    with house.client() as client:
        version, found = labels(client)
        assert found["dog"]["loud"] is found["dog"]["least_db"] is None
        done = change(client, "PATCH", "dog", version, least_db=-45.5)
        assert done.json()["label"]["least_db"] == -45.5
        wrong = change(client, "PATCH", "dog", house.file.version, loud=True)
        assert wrong.status_code == 422
        assert "not with prompts" in wrong.text
        kept = {"above_db": -12.0, "of": "full_scale"}
        made = change(client, "PUT", "bang", house.file.version, loud=kept, min_on_s=0.12)
        assert made.status_code == 201
        assert (made.json()["label"]["loud"], made.json()["label"]["prompts"]) == (kept, [])
        assert made.json()["label"]["now"]["kitchen"]["threshold"] == 0.5
        # What it would have done is asked as of any label.
        house.load()
        asked = client.post("api/v1/labels/bang/preview", json={"threshold": 0.6})
        assert asked.status_code == 200
        done = change(client, "PATCH", "bang", house.file.version, loud=True, least_db=-60)
        assert done.json()["label"]["loud"] == {"above_db": 20.0, "of": "background"}
        # With words instead.
        done = change(client, "PATCH", "bang", house.file.version, loud=None, prompts=["a bang"])
        assert done.json()["label"]["loud"] is None
    assert house.settings.labels["bang"].prompts == ("a bang",)


def test_smoothing_is_a_labels_key_and_null_what_is_recommended(house: Standing) -> None:
    assert house.server._daemon is not None
    house.server._daemon.recommended["dog"] = Recommended(0.5, 0.6)  # type: ignore[index]
    bursts(house)
    with house.client() as client:
        version, found = labels(client)
        assert found["dog"]["smooth_s"] is None
        done = change(client, "PATCH", "dog", version, smooth_s=1.0)
        assert done.json()["label"]["smooth_s"] == 1.0
        assert "smooth_s: 1.0" in house.file.path.read_text("utf-8")
        peaks = [
            replayed(client, **keys).json()["events"][0]["peak"]
            for keys in ({"smooth_s": 0.0}, {"smooth_s": None}, {})
        ]
    assert peaks == [
        pytest.approx(0.8, abs=0.01),
        pytest.approx(0.8, abs=0.01),
        pytest.approx(0.66, abs=0.01),
    ]


def test_a_preview_counts_what_would_have_fired(house: Standing) -> None:
    house.history.relabel({"dog": "k", "knock": "k"})
    start_ns = time.time_ns() - 60 * 1_000_000_000
    scores = np.full((1000, 2), 0.1, np.float32)
    for begin, peak in ((100, 0.55), (300, 0.65), (500, 0.8)):
        scores[begin : begin + 20, 0] = peak
    house.history.add("kitchen", ["dog", "knock"], ["dog", "knock"], start_ns, scores)
    house.history.add("porch", ["dog"], ["dog"], start_ns, scores[:200, :1])
    with house.client() as client:
        told = client.get("api/v1/labels/dog/preview", params={"threshold": 0.6}).json()
        assert told["count"] == 2
        assert told["count_now"] == 4  # 0.5: three in the kitchen, one at the porch
        assert told["covered_s"] == pytest.approx(1200 * 0.04)
        newest, oldest = told["events"]
        assert newest["onset"] > oldest["onset"]
        assert newest["duration_s"] == pytest.approx(0.8)
        assert newest["peak"] == pytest.approx(0.8, abs=0.005)
        only: dict[str, Any] = {"threshold": 0.5, "source": "porch"}
        assert client.get("api/v1/labels/dog/preview", params=only).json()["count"] == 1
        short = {"threshold": 0.5, "min_on_s": 0.9}
        assert client.get("api/v1/labels/dog/preview", params=short).json()["count"] == 0
        bridged = {"threshold": 0.5, "min_off_s": 60}
        assert client.get("api/v1/labels/dog/preview", params=bridged).json()["count"] == 2
        smooth = {"threshold": 0.6, "smooth_s": 1.0}  # 20 of 25 frames at 0.8, the others at 0.1
        told = client.get("api/v1/labels/dog/preview", params=smooth).json()
        assert [event["peak"] for event in told["events"]] == [pytest.approx(0.66, abs=0.01)]
        assert told["events"][0]["onset"] == newest["onset"]
        assert told["events"][0]["duration_s"] == pytest.approx(0.8)
        past = {"hours": 0.001}
        assert client.get("api/v1/labels/dog/preview", params=past).json()["covered_s"] == 0
        wrongs: list[dict[str, float]] = [
            {"threshold": 0.0},
            {"threshold": 0.4, "off_threshold": 0.5},
            {"hours": 1e9},
            {"smooth_s": 2.1},
        ]
        for wrong in wrongs:
            answer = client.get("api/v1/labels/dog/preview", params=wrong)
            assert answer.status_code == 422, wrong


def bursts(house: Standing) -> None:
    """Three in the kitchen, eight seconds from one to the next."""
    house.history.relabel({"dog": "k", "knock": "k"})
    scores = np.full((1000, 1), 0.1, np.float32)
    for begin in (100, 300, 500):
        scores[begin : begin + 20] = 0.8
    house.history.add("kitchen", ["dog"], ["dog"], time.time_ns() - 60 * 10**9, scores)


def replayed(client: httpx.Client, **keys: Any) -> httpx.Response:
    return client.post("api/v1/labels/dog/preview", json=keys)


def test_a_preview_may_be_of_another_pattern(house: Standing) -> None:
    bursts(house)
    with house.client() as client:
        assert replayed(client).json()["count"] == 3
        for pattern, count in (
            ({"times": 3, "within_s": 20}, 1),
            ({"times": 2, "within_s": 3}, 0),
            ({"times": 3, "within_s": 20, "gap_s": [1, 5]}, 0),
            (None, 3),
        ):
            told = replayed(client, pattern=pattern).json()
            assert (told["count"], told["count_now"]) == (count, 3), pattern
        house.rules["kitchen"] = [
            LabelSettings.model_validate({"pattern": {"times": 3, "within_s": 20}}).rule("dog")
        ]
        told = replayed(client, threshold=0.6, pattern=None, min_on_s=None).json()
        assert (told["count"], told["count_now"]) == (3, 1)


def test_what_stored_scores_do_not_tell_is_said(house: Standing) -> None:
    bursts(house)
    with house.client() as client:
        for pattern, why in (
            ("T3", "a rhythm is heard in the sound itself"),
            ({"then": "knock", "within_s": 3}, "needs the events of knock too"),
        ):
            answer = replayed(client, pattern=pattern)
            assert (answer.status_code, why in answer.json()["detail"]) == (409, True)
        for rules in house.rules.values():
            rules[0] = LabelSettings.model_validate({"pattern": "T3"}).rule("dog")
        answer = replayed(client, pattern=None)  # the threshold in force is 0.02
        assert (answer.status_code, "set one" in answer.json()["detail"]) == (409, True)
        told = replayed(client, pattern=None, threshold=0.5).json()
        assert (told["count"], told["count_now"]) == (3, None)


def test_a_preview_of_a_threshold_that_follows_is_shorter(house: Standing) -> None:
    bursts(house)
    with house.client() as client:
        told = replayed(client, follow=True).json()
        assert (told["hours"], told["count"]) == (labels_api.FOLLOWED_H, 3)
        assert replayed(client, follow=True, hours=1).json()["hours"] == 1
        assert replayed(client, follow=False).json()["hours"] == 24


def test_a_preview_is_of_what_was_set_not_of_what_the_room_made_of_it(house: Standing) -> None:
    bursts(house)
    follows = LabelSettings.model_validate({"threshold": 0.5, "follow": True}).rule("dog")
    house.rules_as_set = {"kitchen": [follows]}
    house.rules = {"kitchen": [replace(follows, threshold=0.9, off_threshold=0.72, follow=None)]}
    with house.client() as client:
        told = replayed(client, min_on_s=0.4, follow=False).json()
        assert (told["count"], told["count_now"]) == (3, 3)


def test_null_in_a_preview_is_the_default(house: Standing) -> None:
    bursts(house)  # of 0.8; between them 0.1
    low = {"prompts": ["a dog barking"], "threshold": 0.2, "off_threshold": 0.05}
    for rules in house.rules.values():
        rules[0] = LabelSettings.model_validate(low).rule("dog")
    with house.client() as client:
        assert replayed(client, threshold=0.2).json()["count"] == 1  # 0.1 is not below 0.05
        assert replayed(client, threshold=0.2, off_threshold=None).json()["count"] == 3
        assert replayed(client, threshold=0.75, off_threshold=None).json()["count"] == 3
        assert replayed(client, threshold=None, off_threshold=None).json()["count"] == 3
        house.server._daemon.recommended["dog"] = Recommended(0.85)  # type: ignore[index]
        assert replayed(client, threshold=None, off_threshold=None).json()["count"] == 0


def test_an_off_threshold_like_the_threshold_stays_so(house: Standing) -> None:
    for rules in house.rules.values():
        rules[0] = LabelSettings(threshold=0.35, off_threshold=0.35).rule("dog")
    with house.client() as client:
        assert replayed(client, threshold=0.09).is_success  # 0.35 * 0.09 / 0.35 is more than 0.09


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"pattern": "T5"}, "pattern.rhythm: there is no rhythm 'T5'"),
        ({"pattern": {"times": 3}}, "pattern: times needs within_s"),
        ({"pattern": "T3", "follow": True}, "not with a rhythm"),
        ({"pattern": {"times": 2, "within_s": 9, "loudness": 1}}, "pattern.loudness: Extra"),
        ({"follow": {"highest": 0.2}}, "follow.highest: 0.2 is below the threshold"),
        ({"follow": 3}, "follow"),
        ({"threshold": 0.4, "off_threshold": 0.5}, "off_threshold (0.5) is above threshold (0.4)"),
        ({"hours": 1e9}, "hours"),
        ({"max_s": 3}, "max_s"),
    ],
    ids=repr,
)
def test_a_preview_of_what_cannot_be_is_refused(
    house: Standing, keys: dict[str, Any], said: str
) -> None:
    with house.client() as client:
        answer = replayed(client, **keys)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_odd_prompts_are_hinted_at(house: Standing) -> None:
    prompts = ["a dog barking", "ein Hund bellt", "barkign dog", "dog"]
    with house.client() as client:
        told = client.post("api/v1/hints", json={"prompts": prompts})
        assert told.status_code == 200, told.text
        body = told.json()
        assert client.post("api/v1/hints", json={"prompts": []}).json()["hints"] == []
        for wrong in ({}, {"prompts": "a"}, {"prompts": ["a"] * 51}, {"prompts": ["a" * 501]}):
            assert client.post("api/v1/hints", json=wrong).status_code == 422
    assert [(each["prompt"], each["kind"]) for each in body["hints"]] == [
        ("ein Hund bellt", "language"),
        ("barkign dog", "spelling"),
    ]
    assert body["hints"][1]["words"] == ["barkign"]
    assert body["hints"][1]["hint"] == "'barkign dog': is barkign meant to be barking?"
