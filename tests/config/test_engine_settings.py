"""Settings of an engine on another machine."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from pe_stream.config import ModelSettings, config_schema
from pe_stream.config.file import effective, parse
from pe_stream.errors import ConfigError

LABELS = "labels: {dog: }\n"


def model(keys: str) -> ModelSettings:
    return parse(f"{LABELS}model: {{{keys}}}", "c.yaml").model


def test_the_engine_is_here_unless_said_otherwise() -> None:
    for keys in ("", "engine: local"):
        assert not model(keys).remote
        assert model(keys).engine_addresses == ()


@pytest.mark.parametrize(
    ("keys", "addresses"),
    [
        ("engine: 'https://gpu-box:8770'", ("https://gpu-box:8770",)),
        ("engine: 'HTTPS://gpu-box:8770/'", ("HTTPS://gpu-box:8770",)),
        (
            "engine: ['https://a.lan:1', 'https://[fd00::1]:2']",
            ("https://a.lan:1", "https://[fd00::1]:2"),
        ),
        ("engine: 'http://127.0.0.1:8770'", ("http://127.0.0.1:8770",)),
        ("engine: 'http://localhost:8770'", ("http://localhost:8770",)),
        ("engine: 'http://gpu-box:8770', engine_insecure: true", ("http://gpu-box:8770",)),
    ],
)
def test_where_engines_are(keys: str, addresses: tuple[str, ...]) -> None:
    assert model(keys).remote
    assert model(keys).engine_addresses == addresses


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("engine: gpu-box", "no address of an engine"),
        ("engine: 'https://gpu-box'", "no address of an engine"),
        ("engine: 'https://gpu-box:0'", "no address of an engine"),
        ("engine: 'https://gpu-box:99999'", "no address of an engine"),
        ("engine: 'https://gpu-box:8770/v1'", "without a path"),
        ("engine: 'ftp://gpu-box:8770'", "no address of an engine"),
        ("engine: 'https://me:hunter2@gpu-box:8770'", "no address of an engine"),
        ("engine: [local, 'https://gpu-box:8770']", "no address of an engine"),
        ("engine: []", "engine"),
        ("engine: 'http://gpu-box:8770'", "engine_insecure: true"),
        ("engine: ['https://a:1', 'http://b:1']", "http://b:1"),
        ("engine: 'https://a:1', exact: true", "exact is for the engine of this process"),
        ("engine_wire: mp3", "engine_wire"),
        ("engine_timeout_s: 0.0", "engine_timeout_s"),
        ("engine_lane: 65", "engine_lane"),
    ],
)
def test_what_is_no_engine_is_told(keys: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        model(keys)
    assert said in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("value", ["local", "https://a:1", ["https://a:1", "https://b:1"]])
def test_the_schema_takes_one_or_several(value: Any) -> None:
    labels: dict[str, Any] = {"labels": {"dog": None}}
    jsonschema.validate(labels | {"model": {"engine": value}}, config_schema())
    with pytest.raises(jsonschema.ValidationError, match="should be non-empty"):
        jsonschema.validate(labels | {"model": {"engine": []}}, config_schema())


def test_what_is_in_effect_can_be_read_again() -> None:
    text = f"{LABELS}model: {{engine: 'https://a:1'}}"
    assert parse(effective(parse(text))).model.engine_addresses == ("https://a:1",)
    assert not parse(effective(parse(LABELS))).model.remote
