"""Reading from a checkpoint's folder, which anybody may have made: bounded, and never any code.

Every file is a plain one of a bounded size before it is opened, and JSON has a bounded depth.
What a library makes of the content, an exception of whatever kind included, is told in one line.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any

from pe_stream.errors import PeStreamError, UnavailableError

log = logging.getLogger(__name__)

EMBEDDED_NAME = "embedded"
"""Configured name of the checkpoint shipped in the package."""

MOST_BYTES = 2**20
"""Largest JSON file that is read, but for a tokenizer (bytes). Published ones have 3 kB."""

DEEPEST = 64
"""Most levels of JSON. Published files have 6."""

_LONGEST = 300
"""Characters of a library's message that are passed on."""

_NOT_READ = {".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".bin", ".pt", ".pth", ".pkl"}
_NOT_READ |= {".pickle", ".ckpt", ".distcp"}
"""Endings of what could run code, or is a pickle, which can."""

_MOST_CAUSES = 20
_MOST_NAMES = 5
_MOST_FILES = 10_000


OFFER = f'; "checkpoint: {EMBEDDED_NAME}" needs no download'
"""What an error of a checkpoint ends with."""


def unavailable(name: str, what: str) -> UnavailableError:
    """Say in one line what is wrong with checkpoint `name`, and which one always works."""
    return UnavailableError(f"checkpoint {name!r}: {what}{OFFER}")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened, or its type if it has none."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


@contextmanager
def refusing(name: str, what: str) -> Iterator[None]:
    """Raise UnavailableError, which begins with `what`, for whatever a library raises.

    The libraries were written for checkpoints that one trusts: on others they raise anything.
    Rust's panics are no Exceptions.
    """
    try:
        yield
    except (PeStreamError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        log.debug("checkpoint %r: %s", name, what, exc_info=True)
        raise unavailable(name, f"{what} ({first_line(error)})") from error


def require_transformers() -> None:
    """Import what is needed of transformers, which it does itself only when it is first used.

    It imports any torchvision that it finds, though nothing here uses it; one that was not made for
    the installed torch fails, and transformers then says only what it could not import. Raises
    UnavailableError, naming such a torchvision.
    """
    try:
        import transformers

        for name in ("PeAudioConfig", "PeAudioEncoder", "PeAudioFrameLevelModel"):
            getattr(transformers, name)
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        causes = [*_causes(error)]
        if not any(_is_of_torchvision(each) for each in causes):
            raise UnavailableError(
                f"transformers cannot be imported ({first_line(causes[-1])}): install it anew"
            ) from error
        raise UnavailableError(
            f"torchvision{_version('torchvision')} does not work beside torch{_version('torch')}, "
            f"and transformers cannot be imported with it ({first_line(causes[-1])}): uninstall "
            "torchvision, of which pe_stream has no need, or install the one made for this torch"
        ) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_of_torchvision(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return "torchvision" in str(error) or any(
        "torchvision" in Path(frame.filename).parts for frame in frames
    )


def _version(package: str) -> str:
    """The version of an installed package, with a space before it; nothing where it has none."""
    try:
        return f" {version(package)}"
    except PackageNotFoundError:
        return ""


def size_of(name: str, path: Path, most: int) -> int:
    """Size of a file (bytes), which is a plain one and has at most `most`.

    A link counts as what it leads to: the hub's cache consists of them. Raises UnavailableError.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise unavailable(name, f"there is no {path.name} in {path.parent}") from None
    except (OSError, ValueError) as error:
        raise unavailable(name, f"its {path.name} cannot be read ({first_line(error)})") from error
    if not stat.S_ISREG(found.st_mode):
        raise unavailable(name, f"its {path.name} is not a plain file")
    if found.st_size > most:
        raise unavailable(name, f"its {path.name} has {found.st_size} bytes, more than {most}")
    return found.st_size


def read_json(name: str, folder: Path, file: str, most: int = MOST_BYTES) -> dict[str, Any]:
    """Content of a JSON file, which is an object of at most DEEPEST levels.

    most: its size (bytes). Raises UnavailableError.
    """
    size_of(name, folder / file, most)
    try:
        with (folder / file).open("rb") as content:
            found = json.loads(content.read(most).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise unavailable(name, f"its {file} cannot be read ({first_line(error)})") from error
    except RecursionError:
        found = None
    if found is None or _deeper(found, DEEPEST):
        raise unavailable(name, f"its {file} cannot be read (more than {DEEPEST} levels)")
    if not isinstance(found, dict):
        raise unavailable(name, f"its {file} is not a JSON object")
    return found


def tell_code(name: str, folder: Path, mapped: Iterable[str]) -> None:
    """Log what in the folder could run code and is ignored: files by their endings, and `auto_map`.

    mapped: JSON files that have an `auto_map`, which names classes of such code.
    """
    try:
        with os.scandir(folder) as entries:
            files = [each.name for each in islice(entries, _MOST_FILES)]
    except OSError as error:
        raise unavailable(name, f"{folder} cannot be read ({first_line(error)})") from error
    code = [file for file in sorted(files) if Path(file).suffix.lower() in _NOT_READ]
    told = [ascii(file)[1:-1] for file in code] + [f"auto_map of {file}" for file in mapped]
    if told:
        more = f" and {len(told) - _MOST_NAMES} more" if len(told) > _MOST_NAMES else ""
        log.warning(
            "checkpoint %r: code and pickles in it are ignored: %s%s",
            name,
            ", ".join(told[:_MOST_NAMES]),
            more,
        )


def _deeper(value: object, most: int) -> bool:
    """Whether lists and objects stand in each other more than `most` deep."""
    level = [value]
    for _ in range(most + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
