"""The command line: arguments to functions, errors to exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pe_stream.errors import PeStreamError
from pe_stream.version import __version__

EXIT_CODES = """\
exit codes:
  0    done
  1    a fault of pe_stream; please report it
  2    wrong usage
  69   something needed is unavailable: a device, a file, a checkpoint, a broker
  78   the configuration is wrong
  130  interrupted, 143 terminated"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; see EXIT_CODES."""
    options = _parser().parse_args(arguments)
    _log_to_stderr(verbose=options.verbose)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except PeStreamError as error:
        print(f"pe-stream: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read our output has gone; nothing to tell anyone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception:
        logging.getLogger(__name__).critical("a fault of pe_stream", exc_info=True)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pe-stream",
        description="Listens to microphones and tells the house what it hears.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pe-stream {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log in more detail")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="the daemon")
    run.set_defaults(command=_run)

    demo = commands.add_parser(
        "demo", help="a bundled recording through everything, to a real MQTT subscriber"
    )
    demo.add_argument("--seconds", type=_seconds, help="stop after so many seconds")
    demo.set_defaults(command=_demo)

    detect = commands.add_parser("detect", help="the same on files, as fast as it goes")
    detect.add_argument("files", nargs="+", metavar="FILE", help="anything FFmpeg reads")
    detect.add_argument(
        "--prompt",
        action="append",
        dest="prompts",
        metavar="TEXT",
        help="a sound in words, instead of the configured labels; may be repeated",
    )
    detect.add_argument("--checkpoint", help="embedded, a hub id, or a folder")
    detect.add_argument("--threshold", type=_threshold, help="for every label, above 0, below 1")
    detect.add_argument("--format", choices=("jsonl", "tsv", "audacity"), default="jsonl")
    detect.add_argument("--scores", type=Path, metavar="FOLDER", help="write STEM.npz per file")
    detect.add_argument("--plot", type=Path, metavar="FOLDER", help="write STEM.png per file")
    detect.set_defaults(command=_detect)

    evaluation = commands.add_parser("eval", help="score a checkpoint on labelled audio")
    _add_eval(evaluation)
    evaluation.set_defaults(command=_eval)

    soundscapes = commands.add_parser(
        "soundscapes", help="labelled clips to soundscapes with known onsets and offsets"
    )
    _add_soundscapes(soundscapes)
    soundscapes.set_defaults(command=_soundscapes)

    train = commands.add_parser("train", help="labelled clips to a small checkpoint of one's own")
    _add_train(train)
    train.set_defaults(command=_train)

    bench = commands.add_parser("bench", help="throughput and latency on this machine")
    _add_bench(bench)
    bench.set_defaults(command=_bench)

    devices = commands.add_parser("devices", help="microphones, with the ids for the config")
    devices.add_argument("--json", action="store_true")
    devices.set_defaults(command=_devices)

    check = commands.add_parser("check", help="configuration, model, sources, broker: a line each")
    check.set_defaults(command=_check)

    config = commands.add_parser("config", help="effective settings, secrets masked")
    config.set_defaults(command=_config)

    events = commands.add_parser("events", help="stored events, each as it was last told")
    events.add_argument("--format", choices=("jsonl", "csv"), default="jsonl")
    events.add_argument("--since", metavar="WHEN", help="2026-11-21T08:00Z, or 90m, 24h, 7d")
    events.add_argument("--source")
    events.add_argument("--label")
    events.set_defaults(command=_events)

    schema = commands.add_parser("schema", help="JSON Schema of the configuration or of events")
    schema.add_argument("of", choices=("config", "event"))
    schema.set_defaults(command=_schema)

    for command in (run, detect, check, config, events):
        command.add_argument(
            "-c",
            "--config",
            type=Path,
            metavar="FILE",
            help="default: ./config.yaml, ~/.config/pe-stream/, /etc/pe-stream/",
        )
    return parser


def _add_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with a manifest.csv")
    parser.add_argument("--checkpoint", help="embedded, a hub id, or a folder")
    listened = parser.add_mutually_exclusive_group()
    listened.add_argument("--set", choices=("everyday", "esc50"), default="everyday")
    listened.add_argument("--prompts", type=Path, metavar="FILE", help="labels of your own: YAML")
    parser.add_argument(
        "--phrasing",
        type=_phrasing,
        default="plain",
        metavar="plain|unseen|N",
        help="the prompt; all other words for it, averaged; or the Nth of these",
    )
    parser.add_argument(
        "--dataset",
        nargs="+",
        default=(),
        metavar="NAME",
        help="only of these; a clip that several have is taken from the first",
    )
    parser.add_argument("--fold", nargs="+", default=(), metavar="F", help="only of these")
    parser.add_argument("--threshold", type=_threshold, help="for every label and system")
    parser.add_argument("--json", metavar="FILE", help="all figures; - instead of the table")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write curves and scores")
    parser.add_argument("--peer", type=Path, metavar="FOLDER", help="with yamnet.tflite")
    parser.add_argument(
        "--hop",
        type=float,
        metavar="SECONDS",
        help="between scorings; more than the default 0.48 is faster, and less like live",
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="of the CPU")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="FOLDER", help="with a manifest.csv")
    parser.add_argument("out", type=Path, metavar="OUT", help="the checkpoint; also to go on in")
    parser.add_argument("--fold", nargs="+", default=(), metavar="F", help="only of these")
    parser.add_argument(
        "--every-licence", action="store_true", help="also clips not marked redistributable"
    )
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="YAML: steps, sizes, seed")
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="FOLDER",
        help="YAMNet (yamnet.tflite, yamnet_class_map.csv), to imitate what it hears in mixtures",
    )
    parser.add_argument(
        "--calibrate", type=Path, metavar="FOLDER", help="soundscapes to fit scores and thresholds"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=_count, metavar="N", help="of the CPU")


def _add_soundscapes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST_FOLDER")
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder to make")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="default 100")
    parser.add_argument("--seconds", type=_seconds, default=30.0, help="of each; default 30")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes; default 0")
    parser.add_argument("--fold", nargs="+", default=(), metavar="F", help="only of these")
    parser.add_argument(
        "--part",
        type=_part,
        default=(1, 1),
        metavar="N/M",
        help="only the Nth of M parts of the recordings, to calibrate on one and judge on another",
    )
    parser.add_argument(
        "--snr",
        nargs=2,
        type=float,
        default=(0.0, 20.0),
        metavar=("LOW", "HIGH"),
        help="dB, event against background over the event's duration; default 0 20",
    )
    parser.add_argument(
        "--labels-from",
        action="append",
        default=[],
        metavar="SET",
        help="events only of labels in everyday, esc50, or a prompt set's file; may be repeated",
    )
    parser.add_argument(
        "--synthesised",
        nargs="*",
        metavar="LABEL",
        help="sounds made from formulas; default: those of which the manifest has no clip",
    )
    parser.add_argument("--scene", choices=("everyday", "smoke-alarm"), default="everyday")


def _add_bench(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--size",
        choices=("small", "base", "large", "embedded"),
        help="a published size with random weights, without a download; default: embedded",
    )
    what.add_argument("--checkpoint", metavar="X", help="embedded, a hub id, or a folder")
    parser.add_argument("--streams", type=_streams, metavar="N", help="try no more than N live")
    parser.add_argument("--hop", type=_span, default=0.48, metavar="S", help="default 0.48")
    parser.add_argument("--window", type=_span, default=10.0, metavar="S", help="default 10")
    parser.add_argument("--labels", type=_count, default=20, metavar="N", help="default 20")
    parser.add_argument(
        "--seconds",
        type=_span,
        default=5.0,
        metavar="S",
        help="of each run in real time; default 5",
    )
    parser.add_argument("--threads", type=_count, metavar="N", help="of the CPU")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument(
        "--compile", action="store_true", help="compile the model first; takes minutes"
    )
    parser.add_argument("--json", metavar="FILE", help="all figures; - instead of the table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG")
    parser.add_argument(
        "--runs", type=_count, default=5, metavar="N", help="of the plain call; default 5"
    )


# The parts are imported where they are used: torch alone takes seconds, and `devices` or
# `config` need none of it.


def _run(options: argparse.Namespace) -> int:
    from pe_stream.config_file import find, load
    from pe_stream.daemon import Daemon
    from pe_stream.live import SCORING

    path = options.config or find()
    settings = load(path)
    if not options.verbose:
        logging.getLogger("pe_stream").setLevel(settings.log_level.upper())
    code = Daemon(settings, reload=lambda: load(path)).run()
    if any(thread.name == SCORING for thread in threading.enumerate()):
        # Left behind inside torch; Python would wait for it, or abort.
        logging.shutdown()
        os._exit(code)
    return code


def _demo(options: argparse.Namespace) -> int:
    from pe_stream.demo import run

    return run(options.seconds)


def _detect(options: argparse.Namespace) -> int:
    from pe_stream.detect_command import DetectOptions, run

    return run(
        DetectOptions(
            files=tuple(options.files),
            config=options.config,
            prompts=tuple(options.prompts or ()),
            checkpoint=options.checkpoint,
            threshold=options.threshold,
            format=options.format,
            scores=options.scores,
            plot=options.plot,
        )
    )


def _eval(options: argparse.Namespace) -> int:
    from pe_stream.evaluation.command import EvalOptions, run

    return run(
        EvalOptions(
            folder=options.folder,
            checkpoint=options.checkpoint,
            set=options.set,
            prompts=options.prompts,
            phrasing=options.phrasing,
            datasets=tuple(options.dataset),
            folds=tuple(options.fold),
            threshold=options.threshold,
            json=options.json,
            plot=options.plot,
            peer=options.peer,
            threads=options.threads,
            hop_s=options.hop,
        )
    )


def _train(options: argparse.Namespace) -> int:
    from pe_stream.training.command import TrainOptions, run

    return run(
        TrainOptions(
            data=options.data,
            out=options.out,
            folds=tuple(options.fold),
            every_licence=options.every_licence,
            recipe=options.recipe,
            teacher=options.teacher,
            calibrate=options.calibrate,
            device=options.device,
            threads=options.threads,
        )
    )


def _soundscapes(options: argparse.Namespace) -> int:
    from pe_stream.soundscapes_command import SoundscapesOptions, run

    return run(
        SoundscapesOptions(
            manifest=options.manifest,
            out=options.out,
            count=options.count,
            seconds=options.seconds,
            seed=options.seed,
            folds=tuple(options.fold),
            part=options.part,
            snr_db=tuple(options.snr),
            labels_from=tuple(options.labels_from),
            synthesised=None if options.synthesised is None else tuple(options.synthesised),
            scene=options.scene,
        )
    )


def _bench(options: argparse.Namespace) -> int:
    from pe_stream.bench.command import BenchOptions, run

    return run(
        BenchOptions(
            size=options.size,
            checkpoint=options.checkpoint,
            streams=options.streams,
            hop_s=options.hop,
            window_s=options.window,
            labels=options.labels,
            seconds=options.seconds,
            threads=options.threads,
            device=options.device,
            dtype=options.dtype,
            compile=options.compile,
            json=options.json,
            plot=options.plot,
            runs=options.runs,
        )
    )


def _devices(options: argparse.Namespace) -> int:
    from pe_stream.audio.devices import list_devices

    devices = list_devices()
    if not devices:
        print("pe-stream: this machine has no microphone", file=sys.stderr)
    if options.json:
        print(json.dumps([asdict(device) for device in devices], indent=2))
        return 0
    for device in devices:
        mark = "*" if device.default else " "
        print(
            f"{mark} {device.index:3d}  {device.id}  {device.name}  "
            f"({device.hostapi}, {device.channels} channels, {device.rate:g} Hz)"
        )
    return 0


def _check(options: argparse.Namespace) -> int:
    from pe_stream.check import run
    from pe_stream.config_file import find

    return run(options.config or find())


def _config(options: argparse.Namespace) -> int:
    from pe_stream.config_file import effective, find, load

    print(effective(load(options.config or find())), end="")
    return 0


def _events(options: argparse.Namespace) -> int:
    from pe_stream.events_command import EventsOptions, run

    return run(
        EventsOptions(
            config=options.config,
            format=options.format,
            since=options.since,
            source=options.source,
            label=options.label,
        )
    )


def _schema(options: argparse.Namespace) -> int:
    from pe_stream.config import config_schema
    from pe_stream.core.messages import event_schema

    schema = config_schema() if options.of == "config" else event_schema()
    print(json.dumps(schema, indent=2))
    return 0


def _log_to_stderr(*, verbose: bool) -> None:
    # systemd adds time and host itself
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format=f"{stamp}%(levelname)s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("pe_stream").setLevel(logging.DEBUG if verbose else logging.INFO)


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and below 1")
    return value


def _part(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"not a part like 1/2: {text!r}")
    return int(part), int(parts)


def _phrasing(text: str) -> str | int:
    if text in ("plain", "unseen"):
        return text
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not plain, unseen, or a number from 1")
    return int(text)


def _count(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= 1024):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1024")
    return int(text)


def _streams(text: str) -> int:
    if not (text.isdecimal() and 0 < int(text) <= 4096):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 4096")
    return int(text)


def _span(text: str) -> float:
    value = _seconds(text)
    if value > 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is more than an hour")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value
