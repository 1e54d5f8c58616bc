"""Messages over pipes, however they are cut."""

from __future__ import annotations

import pytest

from pe_stream.core.pipe_messages import MessageReader, message

SENT = [(b"A", b""), (b"B", b"\x00\n\xff"), (b"C", b"x" * 1000)]


@pytest.mark.parametrize("size", [1, 4, 7, 2000])
def test_messages_arrive_whole_and_in_order(size: int) -> None:
    sent = message(b"A") + message(b"B", b"\x00\n", b"\xff") + message(b"C", b"x" * 1000)
    reader = MessageReader()
    pieces = [sent[i : i + size] for i in range(0, len(sent), size)]
    *before, last = pieces
    found = [each for piece in before for each in reader.feed(piece)]
    assert found == SENT[: len(found)]
    assert len(found) < len(SENT), "the last is not whole yet"
    assert found + list(reader.feed(last)) == SENT
    assert list(reader.feed(message(b"D")[:2])) == []
