"""Arguments of `pe-stream calibrate`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pe_stream.workbench import argument_types as types
from pe_stream.workbench.arguments import WHEN, config_option, option, switch


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """Arguments of `calibrate`; see `pe-stream calibrate --help`.

    listen: seconds. examples: label and file, by turns. resume: where scores made now are kept.
    """

    config: Path | None = field(default=None, metadata=config_option())
    false_alarms: float = field(
        default=1.0,
        metadata=option(type=types.rate, metavar="N", help="a day, of each label; default 1"),
    )
    since: str | None = field(
        default=None,
        metadata=option(metavar="WHEN", help=f"stored scores from then on: {WHEN}; default 24h"),
    )
    until: str | None = field(default=None, metadata=option(metavar="WHEN", help="default: now"))
    recordings: tuple[str, ...] = field(
        default=(),
        metadata=option(
            nargs="+",
            metavar="FILE",
            help="an ordinary stretch of time, instead of stored scores",
        ),
    )
    listen: float | None = field(
        default=None,
        metadata=option(
            type=types.duration,
            metavar="DURATION",
            help="to the configured sources, instead: 90m, 24h; what was broken off goes on",
        ),
    )
    sources: tuple[str, ...] = field(
        default=(), metadata=option("--source", action="append", help="only it; may be repeated")
    )
    labels: tuple[str, ...] = field(
        default=(), metadata=option("--label", action="append", help="only it; may be repeated")
    )
    examples: tuple[tuple[str, str], ...] = field(
        default=(),
        metadata=option(
            action="append",
            type=types.example,
            metavar="LABEL=FILE",
            help="a recording of the sound, to see whether it is still found; may be repeated",
        ),
    )
    write: bool = field(default=False, metadata=switch("change the configuration file"))
    json: bool = field(
        default=False, metadata=switch("the figures as one JSON object, and no difference")
    )
    plot: Path | None = field(
        default=None,
        metadata=option(type=Path, metavar="FOLDER", help="write LABEL.png per label"),
    )
    resume: Path | None = field(
        default=None,
        metadata=option(
            type=Path,
            metavar="FILE",
            help="where scores made now are kept, to go on with; default: in the state folder",
        ),
    )
    afresh: bool = field(default=False, metadata=switch("discard gathered scores and begin again"))

    def examples_by_label(self) -> dict[str, tuple[str, ...]]:
        """The files of each label, in order."""
        by_label: dict[str, tuple[str, ...]] = {}
        for label, file in self.examples:
            by_label[label] = (*by_label.get(label, ()), file)
        return by_label
