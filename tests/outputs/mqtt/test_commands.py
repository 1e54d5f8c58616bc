"""Payloads of `set` messages."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.outputs.mqtt.commands import PAYLOAD_LIMIT, SetCommand, parse_set


@pytest.mark.parametrize(
    ("payload", "command"),
    [
        (b'{"threshold": 0.6}', SetCommand(threshold=0.6)),
        (b'{"enabled": false}', SetCommand(enabled=False)),
        (b'{"threshold": 1e-6}', SetCommand(threshold=1e-6)),
        (b'{"threshold": 0.999999}', SetCommand(threshold=0.999999)),
        (b' {"enabled": true, "threshold": 1e-3}\n', SetCommand(threshold=0.001, enabled=True)),
    ],
)
def test_what_is_allowed(payload: bytes, command: SetCommand) -> None:
    assert parse_set(payload) == command


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"", "not JSON"),
        (b"ON", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * PAYLOAD_LIMIT, "not JSON"),
        (b"0.6", "not a JSON object"),
        (b'["threshold"]', "not a JSON object"),
        (b"{}", "nothing to set"),
        (b'{"treshold": 0.6}', "unknown key 'treshold'"),
        (b'{"threshold": 0.6, "min_on_s": 1}', "unknown key 'min_on_s'"),
        (b'{"threshold": true}', "threshold is True, not a number"),
        (b'{"threshold": "0.6"}', "threshold is '0.6', not a number"),
        (b'{"threshold": null}', "threshold is None, not a number"),
        (b'{"threshold": 0}', "threshold 0 is not 0.000001 to 0.999999"),
        (b'{"threshold": 1}', "threshold 1 is not 0.000001 to 0.999999"),
        (b'{"threshold": 5e-324}', "threshold 5e-324 is not 0.000001 to 0.999999"),
        (b'{"threshold": 0.9999999}', "threshold 0.9999999 is not"),
        (b'{"threshold": -0.1}', "threshold -0.1 is not"),
        (b'{"threshold": NaN}', "threshold nan is not"),
        (b'{"threshold": 1e999}', "threshold inf is not"),
        (b'{"enabled": 0}', "enabled is 0, not true or false"),
        (b'{"enabled": null, "threshold": 0.5}', "enabled is None, not true or false"),
        (b'{"threshold": 0.5}' + b" " * PAYLOAD_LIMIT, "4114 bytes, more than 4096"),
    ],
)
def test_what_is_not(payload: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match="^" + complaint) as caught:
        parse_set(payload)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 100


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
NEAR_MISSES = st.dictionaries(st.sampled_from(["threshold", "enabled", "x"]), JSON)


@given(st.binary() | (JSON | NEAR_MISSES).map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_a_value_error(payload: bytes) -> None:
    try:
        command = parse_set(payload)
    except ValueError:
        return
    assert command != SetCommand()
    assert command.threshold is None or 1e-6 <= command.threshold <= 0.999999
    assert command.enabled in (None, True, False)
