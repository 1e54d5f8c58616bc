"""Types of command-line arguments: text to what it means, or argparse's error."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime

from pe_stream.core.relative_time import ago


def threshold(text: str) -> float:
    """A number above 0 and below 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and below 1")
    return value


def part(text: str) -> tuple[int, int]:
    """Text like "N/M": the Nth of M parts."""
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise argparse.ArgumentTypeError(f"not a part like 1/2: {text!r}")
    return int(number), int(parts)


def phrasing(text: str) -> str | int:
    """Either "plain" or "unseen", or which of the unseen ones, from 1."""
    if text in ("plain", "unseen"):
        return text
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not plain, unseen, or a number from 1")
    return int(text)


def between(low: int, high: int) -> Callable[[str], int]:
    """The type of a whole number from `low` to `high`."""

    def number(text: str) -> int:
        if not (text.isdecimal() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low} to {high}")
        return int(text)

    return number


def seed(text: str) -> int:
    """A number from 0."""
    if not (text.isdecimal() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return int(text)


def span(text: str) -> float:
    """Seconds, at most an hour."""
    value = seconds(text)
    if value > 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is more than an hour")
    return value


def seconds(text: str) -> float:
    """Seconds, above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def duration(text: str) -> float:
    """Seconds, of text like 90m, 24h, 7d."""
    now = datetime.now(UTC)
    try:
        begun = ago(text, now)
    except OverflowError:
        begun = None
    value = 0.0 if begun is None else (now - begun).total_seconds()
    if not 0 < value <= 31 * 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 90m, 24h, 7d (at most 31d)")
    return value


def rate(text: str) -> float:
    """So many a day: a number above 0, at most one a second."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number above 0, like 1 or 0.2, up to 86400"
        )
    return value


def example(text: str) -> tuple[str, str]:
    """Text like LABEL=FILE."""
    label, equals, file = text.partition("=")
    if not (label and equals and file):
        raise argparse.ArgumentTypeError(f"not LABEL=FILE: {text!r}")
    return label, file


def example_s(text: str) -> float:
    """Seconds of an example of a sound, at most a minute."""
    value = seconds(text)
    if value > 60:
        raise argparse.ArgumentTypeError(f"{text!r} is more than a minute")
    return value
