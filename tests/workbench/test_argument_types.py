"""Types of command-line arguments."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from pe_stream.workbench.argument_types import between


def test_a_number_between_two() -> None:
    assert [between(2, 24)(text) for text in ("2", "24")] == [2, 24]


@pytest.mark.parametrize("text", ["1", "25", "-3", "2.5", "", "many"])
def test_any_other_is_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"^'{text}' is not a number from 2 to 24$"):
        between(2, 24)(text)
