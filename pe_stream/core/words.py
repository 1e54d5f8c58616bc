"""Characters that prompts, and names that become prompts, may not contain."""

from __future__ import annotations

import unicodedata


def has_control_characters(text: str) -> bool:
    """Whether something in it is no writing: NUL, ends of lines, tabs, escape sequences."""
    return any(unicodedata.category(each) == "Cc" for each in text)
