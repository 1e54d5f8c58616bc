"""YAML with line numbers, within bounds, without the surprises of YAML 1.1."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from timing import within

from pe_stream.config.yaml_lines import MAX_NODES, NotYamlError, Place, Problem, read

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(data=PLAIN, flow=st.booleans())
def test_reads_what_yaml_reads(*, data: object, flow: bool) -> None:
    document = read(yaml.safe_dump(data, default_flow_style=flow))
    assert (document.data, document.problems) == (data, [])


def test_tells_the_line_of_every_value() -> None:
    document = read("a: 1\nb:\n  c: [x,\n    'y']\n\n  d:\n    no\n")
    assert document.data == {"a": 1, "b": {"c": ["x", "y"], "d": False}}
    assert document.places == {
        (): Place(1, None),
        ("a",): Place(1, "1"),
        ("b",): Place(2, None),
        ("b", "c"): Place(3, None),
        ("b", "c", 0): Place(3, "x"),
        ("b", "c", 1): Place(4, "y"),
        ("b", "d"): Place(6, "no"),
    }


def test_nothing() -> None:
    assert read("# only a comment\n").data is None


def test_aliases_are_followed() -> None:
    assert read("a: &a [1]\nb: *a").data == {"a": [1], "b": [1]}


@pytest.mark.parametrize("text", ["2026-11-21", "=", "1e3", "0o17", "08", "22:00", "7:30"])
def test_what_looks_like_a_type_is_text(text: str) -> None:
    assert read(f"a: {text}").data == {"a": text}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("on: 1", Problem(1, ("on",), 'write "on", in quotes')),
        ("\n12: 1", Problem(2, ("12",), 'write "12", in quotes')),
        ("null: 1", Problem(1, ("null",), 'write "null", in quotes')),
        ("? \n: 1", Problem(1, (), "missing before the colon")),
        ("? [a]\n: 1", Problem(1, (), "cannot be a list")),
        ("a: &a {b: 1}\nc:\n  <<: *a", Problem(3, ("c",), "merge keys")),
        ("a: 1\nb: 2\na: 3", Problem(3, ("a",), "first on line 1")),
        ("a: 1:30:00", Problem(1, ("a",), "base 60")),
        ("a: 1:30.5", Problem(1, ("a",), "base 60")),
        ("a: 017", Problem(1, ("a",), "base 60 or 8")),
        ("a: !!int x", Problem(1, ("a",), "not a number")),
        ("a: !!bool maybe", Problem(1, ("a",), "not a number")),
        ("a: !!binary x", Problem(1, ("a",), "a tag")),
        ("a: !!python/object:os.system {}", Problem(1, ("a",), "a tag")),
        ('a: "\\ud800"', Problem(1, ("a",), "no character")),
    ],
)
def test_what_cannot_be_meant(text: str, problem: Problem) -> None:
    [found] = read(text).problems
    assert (found.line, found.keys) == (problem.line, problem.keys)
    assert problem.message in found.message


def test_of_two_with_one_key_the_first_is_read() -> None:
    assert read("a: 1\na: 2").data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a: [", 1, 5, "expected"),
        ("a: 1\n\tb: 2", 2, 1, "a tab"),
        ("a: b: c", 1, 5, "quotes"),
        ("a: 1\nb: \0", 2, 4, "U.0000"),
        ("a: 1\n---\nb: 1", 2, 1, "another document"),
        ("a: *b", 1, 4, "alias"),
        ("a: !x!y z", 1, 4, "tag"),
        ("a: &b 1\nc: [" + "[" * 100, 2, 23, "20 levels"),
        ("a: &a [*a]", 1, 4, "20 levels"),
    ],
)
def test_what_is_not_yaml(text: str, line: int, column: int, said: str) -> None:
    with pytest.raises(NotYamlError, match=said) as caught:
        read(text)
    assert (caught.value.line, caught.value.column) == (line, column)


def test_secrets_are_not_quoted() -> None:
    for text in ("p: *hunter2", "p: !hunter2 x", "p: &hunter2 [", "p: &hunter2 1\nq: &hunter2 2"):
        try:
            said = " ".join(problem.message for problem in read(text).problems)
        except NotYamlError as error:
            said = str(error)
        assert "hunter2" not in said


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x]\n"
        + "".join(
            f"{b}: &{b} [*{a}, *{a}, *{a}]\n"
            for a, b in zip("abcdefghijkl", "bcdefghijklm", strict=True)
        ),
        "- a\n" * (MAX_NODES + 1),
    ],
    ids=["aliases", "long"],
)
def test_does_not_explode(text: str) -> None:
    begun_s = time.monotonic()
    with pytest.raises(NotYamlError, match="100000 values"):
        read(text)
    assert time.monotonic() - begun_s < within(60)
