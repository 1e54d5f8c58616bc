"""The command line of a Python process that runs our code."""

from __future__ import annotations

import sys


def python(program: str, *arguments: str) -> list[str]:
    """What starts a process that runs `program`, with these arguments in `sys.argv`.

    It has modules from where we have them, and never from the current directory.
    """
    with_modules = f"import sys; sys.path[:] = {sys.path}; {program}"
    return [sys.executable, "-P", "-c", with_modules, *arguments]
