"""The pages of the Python API: `python -m api_pages FOLDER`. A warning is a failure."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType

import pdoc

import pe_stream


def build(folder: Path, package: ModuleType = pe_stream) -> None:
    """Write them as HTML; raises a Warning where a name or an annotation leads nowhere."""
    for name in package.__all__:
        getattr(package, name, None)  # pdoc looks for what is there already
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc(package.__name__, output_directory=folder)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
