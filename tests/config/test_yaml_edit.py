"""Changes touch only what they change."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.config.yaml_edit import Editor, NotEditableError

TEXT = """\
# first
a:
  # of one
  one: 1  # here

  # of list
  list:  # why
    # of b
    - b
    - c
  # of empty
  empty:
  # of flow
  flow: {x: 1, y: [2, 3], z}
  text: >
    folded
    text

# of last
last: ~
"""


def put(text: str, *path: str, value: Any) -> str:
    editor = Editor(text)
    editor.put(path, value)
    return editor.text


def remove(text: str, *path: str) -> str:
    editor = Editor(text)
    editor.remove(path)
    return editor.text


def changes(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("a", "one"), 2.5, ["-   one: 1  # here", "+   one: 2.5  # here"]),
        (("a", "new"), "x", ['+   new: "x"']),
        (("a", "empty"), True, ["-   empty:", "+   empty: true"]),
        (("a", "empty", "in"), [1, "no"], ['+     in: [1, "no"]']),
        (("last",), 3, ["- last: ~", "+ last: 3"]),
        (("last", "x"), 3, ["- last: ~", "+ last:", "+   x: 3"]),
        (("a", "text"), "y", ["-   text: >", "-     folded", "-     text", '+   text: "y"']),
        (
            ("a", "flow", "x"),
            "z",
            ["-   flow: {x: 1, y: [2, 3], z}", '+   flow: {x: "z", y: [2, 3], z}'],
        ),
        (
            ("a", "flow", "z"),
            1,
            ["-   flow: {x: 1, y: [2, 3], z}", "+   flow: {x: 1, y: [2, 3], z: 1}"],
        ),
        (
            ("a", "flow", "q"),
            1,
            ["-   flow: {x: 1, y: [2, 3], z}", "+   flow: {x: 1, y: [2, 3], z, q: 1}"],
        ),
        (
            ("a", "list"),
            ["d"],
            [
                "-   list:  # why",
                "-     # of b",
                "-     - b",
                "-     - c",
                '+   list: ["d"]  # why',
            ],
        ),
        (
            ("a", "one"),
            [{"from": "22:00", "on": False}],
            ["-   one: 1  # here", "+   one:", '+     - {from: "22:00", "on": false}  # here'],
        ),
        (("new: key",), {"k": {"l": 1}}, ['+ "new: key":', "+   k:", "+     l: 1"]),
    ],
)
def test_a_value_is_set_and_nothing_else(
    path: tuple[str, ...], value: object, expected: list[str]
) -> None:
    after = put(TEXT, *path, value=value)
    assert sorted(changes(TEXT, after)) == sorted(expected)
    wanted = yaml.safe_load(TEXT)
    at = wanted
    for key in path[:-1]:
        at[key] = at[key] or {}
        at = at[key]
    at[path[-1]] = value
    assert yaml.safe_load(after) == wanted


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("a", "one"), ["-   one: 1  # here"]),
        (("a", "list"), ["-   list:  # why", "-     # of b", "-     - b", "-     - c"]),
        (("a", "text"), ["-   text: >", "-     folded", "-     text"]),
        (("a", "flow", "x"), ["-   flow: {x: 1, y: [2, 3], z}", "+   flow: {y: [2, 3], z}"]),
        (("a", "flow", "z"), ["-   flow: {x: 1, y: [2, 3], z}", "+   flow: {x: 1, y: [2, 3]}"]),
        (("last",), ["- last: ~"]),
        (("a", "nothing"), []),
    ],
)
def test_a_key_is_removed_and_nothing_else(path: tuple[str, ...], expected: list[str]) -> None:
    after = remove(TEXT, *path)
    assert sorted(changes(TEXT, after)) == sorted(expected)
    assert yaml.safe_load(after).keys() <= yaml.safe_load(TEXT).keys()


def test_the_last_key_leaves_an_empty_section() -> None:
    assert remove("a: {b: 1}\n", "a", "b") == "a: {}\n"
    assert remove("a:\n  b: 1\nc: 2\n", "a", "b") == "a:\nc: 2\n"
    assert put("a: {}\n", "a", "b", value=1) == "a: {b: 1}\n"
    assert put("a: {b, c: }\n", "a", "b", value=1) == "a: {b: 1, c: }\n"


def test_a_text_without_a_last_line_end_gets_one() -> None:
    assert put("a: 1", "b", value=2) == "a: 1\nb: 2\n"
    assert remove("a: 1\nb: 2", "b") == "a: 1\n"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a: &x {k: 1}\nb: *x\n", ("b", "k")),
        ("a: &x [1]\nb: *x\n", ("b",)),
        ("a: 1\n", ("a", "b")),
        ("a: [1]\n", ("a", "b")),
        ("[1]", ("a",)),
        ("a: {b: 1}\n", ("c", "b")),
    ],
)
def test_what_stands_elsewhere_or_is_no_section_is_refused(
    text: str, path: tuple[str, ...]
) -> None:
    with pytest.raises(NotEditableError):
        put(text, *path, value=1)


KEYS = st.sampled_from(["a", "b", "no", "x y", "1", "#", "k: v", "\u00e9"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-9, 99),
    st.sampled_from([0.5, 1e-3]),
    st.sampled_from(["", "no", "22:00", "# x", "a: b", "\u00e9", '"', "two\nlines", "- x"]),
)
VALUES = st.one_of(
    LEAVES,
    st.lists(LEAVES, max_size=3),
    st.lists(st.dictionaries(KEYS, LEAVES, min_size=1, max_size=2), max_size=2),
)
SECTIONS = st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), min_size=1, max_size=3)


@given(data=st.data(), document=SECTIONS, style=st.sampled_from([None, True, False]))
def test_any_change_to_any_text_means_what_it_should(
    data: st.DataObject, document: dict[str, dict[str, Any]], style: Any
) -> None:
    text = yaml.safe_dump(document, default_flow_style=style, sort_keys=False, allow_unicode=True)
    section = data.draw(st.sampled_from(list(document)))
    for _ in range(3):
        key, value = data.draw(KEYS), data.draw(VALUES)
        if data.draw(st.booleans()):
            text = put(text, section, key, value=value)
            document[section] = (document[section] or {}) | {key: value}
        else:
            text = remove(text, section, key)
            document[section] = {k: v for k, v in document[section].items() if k != key}
        assert (yaml.safe_load(text)[section] or {}) == document[section]
    others = {key: each for key, each in document.items() if key != section}
    assert {k: v for k, v in yaml.safe_load(text).items() if k != section} == others
