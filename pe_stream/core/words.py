"""Characters that nobody can see: prompts and what becomes one may not have some of them."""

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
"""Control characters, ends of lines and paragraphs, and halves of characters, as which Python has
bytes that are no UTF-8."""


def has_control_characters(text: str) -> bool:
    """Whether something in it is no writing: NUL, ends of lines, tabs, escape sequences."""
    return any(unicodedata.category(each) == "Cc" for each in text)


def visible(text: str) -> str:
    r"""The text on one line, with what cannot be seen escaped: a file's name may have anything.

    A line break becomes `\n`, a byte that is no UTF-8 `\xe4`.
    """
    return "".join(
        _escaped(each) if unicodedata.category(each) in _UNSEEN else each for each in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
