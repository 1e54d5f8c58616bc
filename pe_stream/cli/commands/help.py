"""`pe-stream help`: the pages of the documentation, without a network."""

from __future__ import annotations

import pydoc
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from importlib import resources

from pe_stream.errors import UsageError

TOPICS = (
    "install",
    "configuration",
    "mqtt-and-home-assistant",
    "page-and-api",
    "thresholds-and-own-sounds",
    "operation",
    "engine",
    "cluster",
    "model",
    "architecture",
)
"""The pages, in the order in which they are best read."""

WIDEST = 100
"""Columns of a line, however wide the terminal is."""

_INDENT = 4


def run(topic: str | None) -> int:
    """Print a page, or without a topic the list of pages; returns the exit code.

    On a terminal the page is wrapped to its width and shown in a pager; elsewhere it is printed as
    the Markdown that it is. Raises UsageError for a topic that is none.
    """
    if topic is None:
        print(_listed(), end="")
        return 0
    text = page(_found(topic))
    if _on_a_terminal():
        pydoc.pager(wrapped(text, min(shutil.get_terminal_size().columns, WIDEST)))
    else:
        print(text, end="")
    return 0


def page(topic: str) -> str:
    """The Markdown of one of TOPICS."""
    return (resources.files("pe_stream") / "docs" / f"{topic}.md").read_text("utf-8")


def summary(text: str) -> str:
    """The line below a page's title, which says what the page is about."""
    return text.split("\n\n")[1]


def wrapped(text: str, width: int) -> str:
    """Markdown for a terminal of so many columns: code indented, tables as lists, no pictures."""
    return "\n\n".join(_blocks(text.splitlines(), width)) + "\n"


def _on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _listed() -> str:
    longest = max(map(len, TOPICS))
    lines = [f"  {topic:{longest}}  {summary(page(topic))}" for topic in TOPICS]
    return "\n".join(
        [
            "pe-stream help TOPIC prints one of these pages:",
            "",
            *lines,
            "",
            "Options of a command: pe-stream COMMAND --help\n",
        ]
    )


def _found(wanted: str) -> str:
    """The topic that is meant: its name, or a beginning that only one name has."""
    name = wanted.lower().removesuffix(".md").replace("_", "-")
    if name in TOPICS:
        return name
    begun = [topic for topic in TOPICS if name and topic.startswith(name)]
    if len(begun) == 1:
        return begun[0]
    words = {word: topic for topic in TOPICS for word in (topic, *topic.split("-and-"))}
    near = begun or [words[word] for word in get_close_matches(name, words, n=1)]
    titled = [topic for topic in TOPICS if _has_heading(topic, name)]
    hint = ""
    if titled and not begun:
        hint = f"{wanted!r} is in {' and '.join(map(repr, titled))}. "
    elif near:
        hint = f"did you mean {' or '.join(map(repr, near))}? "
    raise UsageError(
        f"there is no page {wanted!r}; {hint}Pages: {', '.join(TOPICS)}. "
        "Options of a command: pe-stream COMMAND --help"
    )


def _has_heading(topic: str, name: str) -> bool:
    headings = re.findall(r"^#+ (.*)$", page(topic), re.MULTILINE)
    return any(name and name in heading.lower().replace(" ", "-") for heading in headings)


def _blocks(lines: Sequence[str], width: int) -> Iterator[str]:
    """Paragraphs, items of lists, tables and code, each ready to be shown."""
    left = iter(lines)
    for line in left:
        if line.startswith("```"):
            code = []
            for inside in left:
                if inside.startswith("```"):
                    break
                code.append(inside)
            yield textwrap.indent("\n".join(code), " " * _INDENT)
        elif line:
            block = [line]
            for more in left:
                if not more:
                    break
                block.append(more)
            yield from _text(block, width)


def _text(block: Sequence[str], width: int) -> Iterator[str]:
    if block[0].startswith("|"):
        yield _table(block, width)
    elif block[0].startswith(("#", "<")):
        yield "\n".join(block)
    elif re.match(r"[-*] |\d+\. ", block[0]):
        yield "\n".join(_items(block, width))
    elif not block[0].startswith("!["):
        yield _filled(" ".join(block), width)


def _items(block: Sequence[str], width: int) -> Iterator[str]:
    items: list[str] = []
    for line in block:
        if re.match(r"[-*] |\d+\. ", line):
            items.append(line)
        else:
            items[-1] += f" {line.strip()}"
    for item in items:
        yield _filled(item, width, others=" " * (item.index(" ") + 1))


def _table(block: Sequence[str], width: int) -> str:
    """In columns where that fits, else each row's first cell with the others below it."""
    rows = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in block
        if not re.fullmatch(r"[|\s:-]+", line)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= width:
        return "\n".join(
            "  ".join(f"{cell:{wide}}" for cell, wide in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
    heads = [f"{head}: " if len(widths) > 2 else "" for head in rows[0]]
    lines = []
    for first, *others in rows[1:]:
        lines.append(first)
        for head, cell in zip(heads[1:], others, strict=True):
            if cell:
                lines.append(_filled(head + cell, width, " " * _INDENT, " " * _INDENT))
    return "\n".join(lines)


def _filled(text: str, width: int, first: str = "", others: str = "") -> str:
    return textwrap.fill(
        text,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
