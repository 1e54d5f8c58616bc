"""Tables of events: what is text stays text, in spreadsheets too."""

from __future__ import annotations

import csv
import io

import pytest

from pe_stream.storage.events_table import write_csv, write_table


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://evil")',
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "-12.5",
        "@SUM(1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\uff1d1",
        "\uff0b1",
        "\uff0d1",
        "\uff20x",
    ],
)
def test_a_text_that_would_be_a_formula_gets_a_quote_before_it(text: str) -> None:
    table = io.StringIO(newline="")
    write_csv([{"label": text, "note": text, "source": text}], table, judged=True)
    (row,) = csv.DictReader(io.StringIO(table.getvalue(), newline=""))
    assert row["label"] == row["note"] == row["source"] == f"'{text}".replace("\r", "\n")


@pytest.mark.parametrize("text", ["a\r=1", "a\r\n=1", "a\n=1", 'a",=1', "a,=1"])
def test_no_text_begins_another_cell(text: str) -> None:
    table = io.StringIO(newline="")
    write_table([{"x": text, "y": "end"}], ["x", "y"], table)
    for lines in (table.getvalue(), table.getvalue().replace("\n", "\r\n")):
        _, row = csv.reader(io.StringIO(lines, newline=""))
        assert row[1:] == ["end"]
    assert "\r" not in table.getvalue()


def test_what_has_parts_is_json() -> None:
    table = io.StringIO()
    write_csv(
        [{"label": "a", "second_opinion": {"sound": 0.5, "span_s": [1, 2]}}], table, judged=False
    )
    (row,) = csv.DictReader(io.StringIO(table.getvalue()))
    assert row["second_opinion"] == '{"sound": 0.5, "span_s": [1, 2]}'


def test_numbers_and_other_texts_are_as_they_were() -> None:
    row = {"a": -12.5, "b": 0.5, "c": None, "d": "a-b=c@d", "e": "'quoted", "f": True, "g": -1}
    table = io.StringIO()
    write_table([row], list(row), table)
    assert table.getvalue() == "a,b,c,d,e,f,g\n-12.5,0.5,,a-b=c@d,'quoted,True,-1\n"
