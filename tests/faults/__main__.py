"""`make faults`: a long run, with a report."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from faults.bench import Bench


def main() -> int:
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many; default 200")
    parser.add_argument("--only", help="those whose name contains this")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=8.0, help="s that the broker is away")
    parser.add_argument("--report", type=Path, help="write all of it here, as JSON")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        Bench(Path(folder), options.seed, options.longest) as bench,
    ):
        outcome = bench.run(options.faults, options.only)
    print(outcome.table())
    if options.report:
        options.report.write_text(json.dumps(asdict(outcome), indent=1), "utf-8")
    return 1 if outcome.wrong else 0


sys.exit(main())
