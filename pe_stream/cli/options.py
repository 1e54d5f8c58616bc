"""The arguments of the commands that have no package of their own, one dataclass each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from pe_stream.workbench import argument_types as types
from pe_stream.workbench.arguments import (
    CONFIGS,
    WHEN,
    config_option,
    once,
    option,
    positional,
    switch,
)

DetectFormat = Literal["jsonl", "tsv", "audacity"]
EventsFormat = Literal["jsonl", "csv"]
SearchFormat = Literal["table", "jsonl"]
SchemaName = Literal["config", "event"]
ReplayFormat = Literal["table", "jsonl", "csv"]
SceneName = Literal["everyday", "smoke-alarm", "smoke-alarm-music"]
Verdict = Literal["right", "wrong", "any", "none"]


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Arguments of a command that takes none."""


@dataclass(frozen=True, slots=True)
class ConfigOptions:
    """Arguments of `run`, `check` and `config`."""

    config: Path | None = field(default=None, metadata=config_option())


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Arguments of `demo`."""

    seconds: float | None = field(
        default=None, metadata=option(type=types.seconds, help="stop after so many seconds")
    )
    loop: bool = field(default=False, metadata=switch("repeat the recording until stopped"))


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """Arguments of `detect`."""

    files: tuple[str, ...] = field(
        metadata=positional(
            nargs="+", metavar="FILE", help="anything FFmpeg reads; - is standard input"
        )
    )
    prompts: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "--prompt",
            action="append",
            metavar="TEXT",
            help="a sound in words, instead of the configured labels; may be repeated",
        ),
    )
    checkpoint: str | None = field(
        default=None, metadata=option(help="embedded, a hub id, or a folder")
    )
    threshold: float | None = field(
        default=None,
        metadata=option(type=types.threshold, help="for every label, above 0, below 1"),
    )
    format: DetectFormat = field(default="jsonl", metadata=option(choices=get_args(DetectFormat)))
    scores: Path | None = field(
        default=None, metadata=option(type=Path, metavar="FOLDER", help="write STEM.npz per file")
    )
    plot: Path | None = field(
        default=None, metadata=option(type=Path, metavar="FOLDER", help="write STEM.png per file")
    )
    second_opinion: str | None = field(
        default=None,
        metadata=option(
            metavar="CHECKPOINT",
            help="ask a PE-AV checkpoint what it makes of each event's sound and picture; "
            "each file is read twice",
        ),
    )
    jobs: int = field(
        default=1,
        metadata=option(
            type=types.between(1, 256), metavar="N", help="files read side by side; default 1"
        ),
    )
    fast: bool = field(
        default=False,
        metadata=switch("score as little as possible: several times as fast, other scores"),
    )
    resume: Path | None = field(
        default=None,
        metadata=option(
            type=Path,
            metavar="FILE",
            help="keep in it what is done, and leave out what it says is done",
        ),
    )
    config: Path | None = field(default=None, metadata=config_option())


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Arguments of `replay`; `against` is a second configuration."""

    config: Path | None = field(
        default=None,
        metadata=config_option(
            f"the configuration of now; default: {CONFIGS}",
            action=once("a second one is --against"),
        ),
    )
    against: Path | None = field(
        default=None,
        metadata=option(type=Path, metavar="NEW", help="another configuration, to compare with it"),
    )
    since: str = field(default="24h", metadata=option(metavar="WHEN", help=f"{WHEN}; default 24h"))
    until: str | None = field(default=None, metadata=option(metavar="WHEN", help="default: now"))
    source: str | None = field(default=None, metadata=option())
    label: str | None = field(default=None, metadata=option())
    format: ReplayFormat = field(default="table", metadata=option(choices=get_args(ReplayFormat)))


@dataclass(frozen=True, slots=True)
class SoundscapesOptions:
    """Arguments of `soundscapes`.

    part: (n, parts): only the nth of so many parts of the recordings. also: further folders with
    clips. synthesised: labels whose synthesised sounds are mixed in. backgrounds: labels whose
    clips are backgrounds too.
    """

    manifest: Path = field(metadata=positional(type=Path, metavar="MANIFEST_FOLDER"))
    out: Path = field(metadata=positional(type=Path, metavar="OUT", help="a folder to make"))
    count: int = field(default=100, metadata=option(type=int, metavar="N", help="default 100"))
    seconds: float = field(
        default=30.0, metadata=option(type=types.seconds, help="duration of each; default 30")
    )
    seed: int = field(default=0, metadata=option(type=int, help="same seed, same bytes; default 0"))
    folds: tuple[str, ...] = field(
        default=(),
        metadata=option("--fold", nargs="+", metavar="F", help="use only clips of these folds"),
    )
    part: tuple[int, int] = field(
        default=(1, 1),
        metadata=option(
            type=types.part,
            metavar="N/M",
            help="use only the Nth of M parts of the recordings, "
            "to calibrate on one and evaluate on another",
        ),
    )
    snr_db: tuple[float, float] = field(
        default=(0.0, 20.0),
        metadata=option(
            "--snr",
            nargs=2,
            type=float,
            metavar=("LOW", "HIGH"),
            help="level of an event above the background during the event (dB); default 0 20",
        ),
    )
    labels_from: tuple[str, ...] = field(
        default=(),
        metadata=option(
            action="append",
            metavar="SET",
            help="use only labels of a prompt set (everyday, esc50, or a file); may be repeated",
        ),
    )
    also: tuple[Path, ...] = field(
        default=(),
        metadata=option(
            type=Path,
            action="append",
            metavar="FOLDER",
            help="a further folder with clips and a manifest; may be repeated",
        ),
    )
    synthesised: tuple[str, ...] = field(
        default=(),
        metadata=option(
            nargs="*",
            metavar="LABEL",
            help="add synthesised sounds of these labels, or of all; default: none, because "
            "training uses the same synthesis; eval reports them separately",
        ),
    )
    backgrounds: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "--background",
            nargs="+",
            metavar="LABEL",
            help="use clips of these labels as backgrounds too, besides ambiences, rain, wind, sea "
            "and fire; not those that are labels or near to one",
        ),
    )
    scene: SceneName = field(default="everyday", metadata=option(choices=get_args(SceneName)))


@dataclass(frozen=True, slots=True)
class EnrollOptions:
    """Arguments of `enroll`."""

    name: str = field(
        metadata=positional(metavar="NAME", help="of the label, new or there already")
    )
    files: tuple[str, ...] = field(
        default=(),
        metadata=positional(
            nargs="*", metavar="FILE", help="recordings of the sound, up to 60 s each"
        ),
    )
    record: bool = field(
        default=False, metadata=switch("record from a microphone instead of reading FILEs")
    )
    seconds: float = field(
        default=5.0, metadata=option(type=types.example_s, help="how long to record (default 5)")
    )
    source: str | None = field(
        default=None,
        metadata=option(metavar="NAME", help="to record from; default: the first microphone"),
    )
    prompts: tuple[str, ...] = field(
        default=(),
        metadata=option(
            "--prompt",
            action="append",
            metavar="TEXT",
            help="the sound in words too; may be repeated; default for a new label: its name",
        ),
    )
    background: tuple[str, ...] = field(
        default=(),
        metadata=option(
            nargs="+",
            metavar="FILE",
            help="recordings without the sound, up to an hour each, from where it is listened for",
        ),
    )
    config: Path | None = field(default=None, metadata=config_option())


@dataclass(frozen=True, slots=True)
class PromptsOptions:
    """Arguments of `prompts`."""

    clips: tuple[str, ...] = field(
        default=(),
        metadata=option(
            nargs="+",
            metavar="FILE",
            help="report which words change the scores of these recordings most",
        ),
    )
    json: bool = field(default=False, metadata=switch())
    config: Path | None = field(default=None, metadata=config_option())


@dataclass(frozen=True, slots=True)
class DevicesOptions:
    """Arguments of `devices`."""

    json: bool = field(default=False, metadata=switch())


@dataclass(frozen=True, slots=True)
class NotifyTestOptions:
    """Arguments of `notify-test`."""

    name: str = field(metadata=positional(metavar="NAME", help="as under `notifications`"))
    config: Path | None = field(default=None, metadata=config_option())


@dataclass(frozen=True, slots=True)
class EventsOptions:
    """Arguments of `events`."""

    format: EventsFormat = field(default="jsonl", metadata=option(choices=get_args(EventsFormat)))
    since: str | None = field(default=None, metadata=option(metavar="WHEN", help=WHEN))
    source: str | None = field(default=None, metadata=option())
    label: str | None = field(default=None, metadata=option())
    verdict: Verdict | None = field(
        default=None, metadata=option(choices=get_args(Verdict), help="as marked on the page")
    )
    config: Path | None = field(default=None, metadata=config_option())


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Arguments of `search`."""

    text: str = field(
        metadata=positional(metavar="TEXT", help='a sound in words: "kettle whistling"')
    )
    events: bool = field(
        default=False, metadata=switch("search events instead, by second opinions on them")
    )
    since: str = field(
        default="24h", metadata=option(metavar="WHEN", help="as for `events`; default: 24h")
    )
    until: str | None = field(default=None, metadata=option(metavar="WHEN", help="default: now"))
    source: str | None = field(default=None, metadata=option())
    limit: int = field(
        default=20,
        metadata=option(type=types.between(1, 200), metavar="N", help="results; default: 20"),
    )
    format: SearchFormat = field(default="table", metadata=option(choices=get_args(SearchFormat)))
    config: Path | None = field(default=None, metadata=config_option())


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """Arguments of `schema`."""

    of: SchemaName = field(metadata=positional(choices=get_args(SchemaName)))


@dataclass(frozen=True, slots=True)
class HelpOptions:
    """Arguments of `help`."""

    topic: str | None = field(
        default=None,
        metadata=positional(nargs="?", metavar="TOPIC", help="its name, or how it begins"),
    )
