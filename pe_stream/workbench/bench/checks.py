"""What is refused of the arguments of `bench`, before its long run and not after it."""

from __future__ import annotations

from pathlib import Path

from pe_stream.errors import UsageError, require_plot, writing
from pe_stream.workbench.bench.options import EMBEDDED, STDOUT, BenchOptions


def refuse_clashes(options: BenchOptions) -> None:
    """Each of these measures one thing, and nothing else."""
    alone = {
        "--start": options.start,
        "--second-opinion": options.second_opinion,
        "--bulk": options.bulk is not None,
        "--engine": options.engine,
        "--rivals": options.rivals,
    }
    asked = [name for name, given in alone.items() if given]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)}: give one of them")
    if asked and options.plot is not None:
        raise UsageError(f"--plot: there is no picture of {asked[0]}")
    if options.second_opinion and EMBEDDED in (options.size, options.checkpoint):
        raise UsageError("--second-opinion: the embedded checkpoint has none; take --size small")


def refuse_unwritable(options: BenchOptions) -> None:
    """Find out before the long run, not after it."""
    if options.plot is not None:
        require_plot()
    for path in (options.json, options.plot):
        if path not in (None, STDOUT):
            with writing(Path(str(path))), Path(str(path)).open("ab"):
                pass
