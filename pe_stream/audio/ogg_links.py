"""The links of an Ogg file: streams one behind the other, as recorders and radios chain them.

FFmpeg reads over the joint only where the next link has the same rate and channels.
"""

from __future__ import annotations

from typing import BinaryIO

_MOST_PAGES = 1_000_000
"""Pages that are looked at: half an hour of them where each is as short as can be."""

_HEAD = 27
"""Bytes of a page's head, without its table of segments."""

_BEGINNING = 2
"""Flag of a page with which a stream begins; those of one link stand together."""


def links(file: BinaryIO) -> list[tuple[int, int]]:
    """Begin and end (bytes) of each link, in order; none where it is no Ogg file.

    What follows the last sound page, or the pages that are looked at, belongs to the last link.
    """
    found: list[tuple[int, int]] = []
    begin = at = 0
    beginning = True  # only pages with which streams begin so far, in this link
    for _ in range(_MOST_PAGES):
        file.seek(at)
        head = file.read(_HEAD)
        if len(head) < _HEAD or not head.startswith(b"OggS"):
            break
        begins = bool(head[5] & _BEGINNING)
        if begins and not beginning:
            found.append((begin, at))
            begin = at
        beginning = begins
        at += _HEAD + head[26] + sum(file.read(head[26]))
    end = file.seek(0, 2)
    return [*found, (begin, end)] if at else []
