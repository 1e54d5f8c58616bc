"""The report of `pe-stream eval`: where it goes, and what made it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pe_stream.errors import writing
from pe_stream.version import __version__
from pe_stream.workbench.evaluation import report
from pe_stream.workbench.evaluation.options import STDOUT, EvalOptions

_VERSIONS = ("torch", "transformers", "numpy", "sed_scores_eval", "ai-edge-litert")


def tell(
    options: EvalOptions, made: dict[str, Any], as_table: Callable[[dict[str, Any]], str]
) -> None:
    """Print the report, as a table unless JSON is wanted there, and write its JSON."""
    if options.json != STDOUT:
        print(as_table(made))
    else:
        print(report.as_json(made))
    if options.json not in (None, STDOUT):
        path = Path(str(options.json))
        with writing(path):
            path.write_text(report.as_json(made) + "\n", "utf-8")


def refuse_unwritable(options: EvalOptions) -> None:
    """Find out before the long run, not after it."""
    if options.plot:
        with writing(options.plot):
            options.plot.mkdir(parents=True, exist_ok=True)
    if options.json not in (None, STDOUT):
        path = Path(str(options.json))
        with writing(path):
            there = path.exists()
            with path.open("a", encoding="utf-8"):
                pass
            if not there:  # nothing is left behind by a run that fails
                path.resolve().unlink()


def versions() -> dict[str, str]:
    """Of ours, Python and the libraries that figures depend on, as far as they are installed."""
    found = {"pe_stream": __version__, "python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # ai-edge-litert, where no peer was asked for
            continue
    return found
