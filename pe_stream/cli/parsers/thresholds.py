"""The commands about thresholds: find them in one's own room, try them on what was heard."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pe_stream.cli import values

_WHEN = "2026-11-21T08:00Z, or 90m, 24h, 7d"


def add(commands: Any) -> None:
    """Add them to argparse's subparsers."""
    calibrate = commands.add_parser(
        "calibrate", help="thresholds for the false alarms a day that one can live with"
    )
    _add_calibrate(calibrate)
    calibrate.set_defaults(command=_calibrate, leaves_threads=True)  # with --listen

    replay = commands.add_parser(
        "replay", help="which events the stored scores would have given, or others would"
    )
    _add_replay(replay)
    replay.set_defaults(command=_replay)


def _add_calibrate(parser: argparse.ArgumentParser) -> None:
    values.add_config(parser)
    parser.add_argument(
        "--false-alarms",
        type=values.rate,
        default=1.0,
        metavar="N",
        help="a day, of each label; default 1",
    )
    parser.add_argument(
        "--since", metavar="WHEN", help=f"stored scores from then on: {_WHEN}; default 24h"
    )
    parser.add_argument("--until", metavar="WHEN", help="default: now")
    parser.add_argument(
        "--recordings",
        nargs="+",
        default=(),
        metavar="FILE",
        help="an ordinary stretch of time, instead of stored scores",
    )
    parser.add_argument(
        "--listen",
        type=values.duration,
        metavar="DURATION",
        help="to the configured sources, instead: 90m, 24h; what was broken off goes on",
    )
    parser.add_argument("--source", action="append", default=[], help="only it; may be repeated")
    parser.add_argument("--label", action="append", default=[], help="only it; may be repeated")
    parser.add_argument(
        "--examples",
        action="append",
        default=[],
        type=values.example,
        metavar="LABEL=FILE",
        help="a recording of the sound, to see whether it is still found; may be repeated",
    )
    parser.add_argument("--write", action="store_true", help="change the configuration file")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write LABEL.png per label")
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FILE",
        help="where scores made now are kept, to go on with; default: in the state folder",
    )
    parser.add_argument("--afresh", action="store_true", help="go on with nothing: begin anew")


def _add_replay(parser: argparse.ArgumentParser) -> None:
    values.add_two_configs(parser)
    parser.add_argument("--since", metavar="WHEN", default="24h", help=f"{_WHEN}; default 24h")
    parser.add_argument("--until", metavar="WHEN", help="default: now")
    parser.add_argument("--source")
    parser.add_argument("--label")
    parser.add_argument("--format", choices=("table", "jsonl", "csv"), default="table")


def _calibrate(options: argparse.Namespace) -> int:
    from pe_stream.workbench.calibration.command import CalibrateOptions, run

    examples: dict[str, tuple[str, ...]] = {}
    for label, file in options.examples:
        examples[label] = (*examples.get(label, ()), file)
    return run(
        CalibrateOptions(
            config=options.config,
            since=options.since,
            until=options.until,
            recordings=tuple(options.recordings),
            listen=options.listen,
            sources=tuple(options.source),
            labels=tuple(options.label),
            false_alarms=options.false_alarms,
            examples=examples,
            write=options.write,
            plot=options.plot,
            state=options.resume,
            afresh=options.afresh,
        )
    )


def _replay(options: argparse.Namespace) -> int:
    from pe_stream.cli.commands.replay import ReplayOptions, run

    return run(
        ReplayOptions(
            config=options.config,
            against=options.against,
            since=options.since,
            until=options.until,
            source=options.source,
            label=options.label,
            format=options.format,
        )
    )
