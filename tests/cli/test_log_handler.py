"""Floods of the log: of one cause a line a second, with a count; nothing else is left out."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pe_stream.cli.log_handler import BURST, MOST_CAUSES, LimitedHandler


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Log:
    """A logger with our handler, and what it has written."""

    def __init__(self, name: str) -> None:
        self.clock, self.stream = Clock(), io.StringIO()
        self.handler = LimitedHandler(self.stream, self.clock)
        self.handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        self.logger = logging.getLogger(name)
        self.logger.setLevel(logging.DEBUG)
        self.logger.propagate = False
        self.logger.handlers = [self.handler]

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@contextmanager
def log(name: str = "uvicorn.error") -> Iterator[Log]:
    made = Log(name)
    try:
        yield made
    finally:
        made.logger.handlers, made.logger.propagate = [], True


def test_of_one_cause_a_line_a_second_and_how_many_there_were() -> None:
    with log() as made:
        for number in range(1000):
            made.clock.now_s = 1000 + number / 300
            made.logger.warning("Invalid HTTP request received.")
        made.handler.close()
    assert len(made.lines) == 5
    assert made.lines[0] == "WARNING Invalid HTTP request received."
    counts = [line.partition("(and ")[2].partition(" ")[0] for line in made.lines[1:]]
    assert sum(map(int, counts)) + len(made.lines) == 1000


def test_numbers_make_no_other_cause_and_words_do() -> None:
    with log("amqtt") as made:
        for port in range(50_000, 50_100):
            made.logger.warning("lost 127.0.0.1:%d", port)
        made.logger.warning("lost a camera")
        assert made.lines == ["WARNING lost 127.0.0.1:50000", "WARNING lost a camera"]


def test_sources_whose_names_differ_in_digits_are_all_told() -> None:
    with log("pe_stream.audio.feed") as made:
        for name in [*(f"cam{number}" for number in range(1, 9)), "cam-2", "3_cam", "4cam"]:
            made.logger.warning("source %s: the server refuses (port %d)", name, 554)
        assert len(made.lines) == 11


def test_numbers_of_their_own_make_no_other_cause_in_our_lines_either() -> None:
    with log("pe_stream.audio.feed") as made:
        for number in range(90):
            made.logger.warning("source cam1: %d frames lost, from 10.0.0.%d", number, number)
        assert len(made.lines) == 1


def test_an_empty_message_again_and_again_is_one_cause() -> None:
    """As the embedded broker's, when there were no descriptors left."""
    with log("pe_stream.outputs.mqtt.embedded_broker") as made:
        for _ in range(300_000 // 100):
            made.logger.warning("embedded MQTT broker: %s", OSError())
        assert len(made.lines) == 1


def test_fifty_sources_that_fail_at_once_are_all_told() -> None:
    with log("pe_stream.audio.feed") as made:
        for number in range(50):
            made.logger.warning("source %s: lost", f"{chr(97 + number % 26)}{'x' * number}")
        assert len(made.lines) == 50


def test_whoever_chooses_the_words_gets_no_further_than_a_burst() -> None:
    with log("pe_stream.outputs.mqtt.publisher") as made:
        for number in range(5000):
            made.clock.now_s = 1000 + number / 1000
            made.logger.warning("set: no source %s", "x" * number)
        assert BURST <= len(made.lines) <= BURST + 6


def test_what_was_heard_is_told_line_by_line() -> None:
    with log("pe_stream.daemon") as made:
        for number in range(3 * BURST):
            made.logger.info("%s start %s", f"source{number}", "dog")
        assert len(made.lines) == 3 * BURST


def test_what_was_left_out_is_told_with_the_next_line_of_any_cause() -> None:
    with log() as made:
        for _ in range(3):
            made.logger.warning("again")
        made.logger.warning("other")
        made.clock.now_s += 1
        made.logger.warning("third")
        assert made.lines[1:] == [
            "WARNING other",
            "WARNING again (and 1 more like it)",
            "WARNING third",
        ]


def test_a_single_line_left_out_is_told_late_but_whole() -> None:
    with log() as made:
        made.logger.warning("again")
        made.logger.warning("again")
        made.handler.close()
        assert made.lines == ["WARNING again"] * 2


def test_tracebacks_are_counted_too_and_kept_whole() -> None:
    with log() as made:
        for _ in range(5):
            try:
                raise OSError("no")  # noqa: TRY301
            except OSError:
                made.logger.exception("it failed")
        made.handler.close()
    assert made.stream.getvalue().count("Traceback") == 2
    assert "ERROR it failed (and 3 more like it)\nTraceback" in made.stream.getvalue()


def test_causes_are_forgotten_not_collected() -> None:
    with log() as made:
        for number in range(3 * MOST_CAUSES):
            made.logger.warning("x" * number)  # noqa: G004, RUF100
        assert len(made.handler._allowances) <= MOST_CAUSES


def test_a_stream_that_is_closed_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with log() as made:
        made.logger.warning("again")
        made.logger.warning("again")
        made.stream.close()
        made.handler.close()
        made.logger.warning("other")  # told on stderr, as logging does
    assert "ValueError" in capsys.readouterr().err


def test_the_command_logs_through_it() -> None:
    """A flood of another library's lines, in a process of its own."""
    flood = (
        "import logging, sys\n"
        "from pe_stream.cli.main import _log_to_stderr\n"
        "_log_to_stderr(verbose=False)\n"
        "for n in range(20000): logging.getLogger('uvicorn.error').warning('Invalid %d', n)\n"
    )
    done = subprocess.run([sys.executable, "-c", flood], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) < 30
    assert lines[0].endswith("WARNING Invalid 0")
    assert "more like it" in lines[-1]
