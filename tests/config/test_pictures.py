from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pe_stream.config import PictureSettings, Settings

CAMERA = {"url": "rtsp://user:pass@camera/main", "picture": {}}
SECOND = {"checkpoint": "a/b"}


def settings(source: dict[str, Any], second: dict[str, Any] | None = SECOND) -> Settings:
    parts: dict[str, Any] = {"labels": {"dog": {}}, "second_opinion": second}
    return Settings.model_validate({"sources": {"porch": source}} | parts)


def test_a_picture_is_none_by_default() -> None:
    assert settings({"url": "rtsp://camera/main"}, None).sources["porch"].picture is None
    assert settings(CAMERA | {"picture": None}, None).sources["porch"].picture is None


def test_its_defaults_are_enough() -> None:
    assert settings(CAMERA).sources["porch"].picture == PictureSettings(
        fps=2.0, url=None, keep_s=30.0, keyframes=False
    )


def test_its_password_is_not_shown() -> None:
    made = settings(CAMERA | {"picture": {"url": "rtsp://user:pass@camera/small"}})
    assert "user:pass" not in made.model_dump_json()
    assert made.sources["porch"].picture is not None
    assert made.sources["porch"].picture.url == "rtsp://user:pass@camera/small"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "too often": ({"fps": 5.1}, "picture.fps"),
    "too seldom": ({"fps": 0.1}, "picture.fps"),
    "too short": ({"keep_s": 9}, "picture.keep_s"),
    "too long": ({"keep_s": 121}, "picture.keep_s"),
    "no address": ({"url": "film.mp4"}, "no address, such as rtsp://HOST/PATH"),
    "nearly an address": ({"url": "rtsp:/camera"}, "no address, such as rtsp://HOST/PATH"),
    "two hosts": ({"url": "rtsp://admin:12/34@10.0.0.9/live"}, "two hosts are in"),
    "no such key": ({"size": 3}, "picture.size"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(case: str) -> None:
    picture, said = WRONG[case]
    with pytest.raises(ValidationError) as caught:
        settings(CAMERA | {"picture": picture})
    ((error),) = caught.value.errors()
    assert said in ".".join(map(str, error["loc"])) + error["msg"]


@pytest.mark.parametrize("source", [{"microphone": "default"}, {"url": "a.wav"}, {"url": "./fifo"}])
def test_it_is_for_live_streams(source: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="picture is for live streams"):
        settings(source | {"picture": {}})


def test_the_sound_alone_brings_none() -> None:
    asked = CAMERA | {"rtsp": {"streams": "audio"}}
    with pytest.raises(ValidationError, match=r"set picture\.url, or rtsp\.streams to all or auto"):
        settings(asked)
    settings(asked | {"picture": {"url": "rtsp://camera/small"}})


def test_somebody_has_to_look_at_it() -> None:
    with pytest.raises(ValidationError, match=r"set second_opinion\.checkpoint") as caught:
        settings(CAMERA, None)
    assert caught.value.errors()[0]["loc"] == ("sources", "porch", "picture")


def test_it_is_kept_until_somebody_looks() -> None:
    short = CAMERA | {"picture": {"keep_s": 12.0}}
    settings(short, SECOND | {"before_s": 5.0, "after_s": 5.0})
    with pytest.raises(ValidationError, match=r"look at pictures of 12\.1 s") as caught:
        settings(short, SECOND | {"before_s": 5.0, "after_s": 5.1})
    assert caught.value.errors()[0]["loc"] == ("sources", "porch", "picture", "keep_s")
