"""The pages of the Python API: `python -m api_pages FOLDER`. A warning is a failure."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pdoc

import pe_stream


def build(folder: Path) -> None:
    """Write them as HTML; raises a Warning where a name or an annotation leads nowhere."""
    for name in pe_stream.__all__:
        getattr(pe_stream, name)  # pdoc looks for what is there already
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pdoc.pdoc("pe_stream", output_directory=folder)


if __name__ == "__main__":
    build(Path(sys.argv[1]))
