"""`pe-stream help` as a user runs it."""

from __future__ import annotations

import pydoc
import re
from importlib import resources

import pytest
from processes import pe_stream

from pe_stream.cli.commands.help import TOPICS, page, summary, wrapped


def test_without_a_topic_every_page_is_listed_with_a_line() -> None:
    done = pe_stream("help")
    assert done.returncode == 0
    for topic in TOPICS:
        assert f"{topic} " in done.stdout
        assert summary(page(topic)) in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110


def test_the_topics_are_the_pages() -> None:
    folder = resources.files("pe_stream") / "docs"
    assert {f"{topic}.md" for topic in TOPICS} == {file.name for file in folder.iterdir()}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_is_printed_as_it_is(topic: str) -> None:
    done = pe_stream("help", topic)
    assert (done.returncode, done.stdout, done.stderr) == (0, page(topic), "")
    title, line, *_ = done.stdout.split("\n\n")
    assert title.startswith("# ")
    assert line.endswith(".")
    assert "\n" not in line


@pytest.mark.parametrize(
    "wanted", ["mqtt", "MQTT-and-Home-Assistant", "mqtt_and_home_assistant.md"]
)
def test_a_beginning_is_enough(wanted: str) -> None:
    assert pe_stream("help", wanted).stdout == page("mqtt-and-home-assistant")


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("instal1", "did you mean 'install'?"),
        ("home-assistent", "did you mean 'mqtt-and-home-assistant'?"),
        ("notifications", "'notifications' is in 'configuration' and 'mqtt-and-home-assistant'."),
        ("zzz", "there is no page 'zzz'; Pages: install,"),
    ],
)
def test_another_word_is_wrong_usage(wanted: str, hint: str) -> None:
    done = pe_stream("help", wanted)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert "thresholds-and-own-sounds" in done.stderr


def test_on_a_terminal_it_is_wrapped_and_paged(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(pydoc, "pager", shown.append)
    monkeypatch.setattr("pe_stream.cli.commands.help._on_a_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    done = pe_stream("help", "mqtt")
    assert (done.returncode, done.stdout) == (0, "")
    assert shown == [wrapped(page("mqtt-and-home-assistant"), 60)]


def test_what_is_wrapped_keeps_words_code_and_cells() -> None:
    text = (
        "# Title\n\nSome words that are too long\nfor the width.\n\n"
        "- one item that goes on\n  and on\n- two\n\n![a picture](x.png)\n\n"
        "```sh runnable\npe-stream   help\n\n# a comment\n```\n\n"
        "| a | b |\n| --- | --: |\n| x \\| y | a cell that is long |\n"
    )
    assert wrapped(text, 20) == (
        "# Title\n\nSome words that are\ntoo long for the\nwidth.\n\n"
        "- one item that goes\n  on and on\n- two\n\n    pe-stream   help\n\n    # a comment\n\n"
        "x | y\n    a cell that is\n    long\n"
    )
    assert "a      b\nx | y  a cell that is long\n" in wrapped(text, 80)


@pytest.mark.parametrize("topic", TOPICS)
def test_no_word_of_a_page_is_lost(topic: str) -> None:
    text = re.sub(r"^\|.*\n\| *-.*\n", "", page(topic), flags=re.MULTILINE)  # heads of tables
    lines = [line for line in text.splitlines() if not line.startswith(("```", "!["))]
    words = "\n".join(lines).replace(r"\|", "/").replace("|", " ").split()
    assert not set(words) - set(wrapped(page(topic), 70).replace("|", "/").split())
