"""The workbench's commands: judge checkpoints, make scenes, train, teach labels, measure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pe_stream.cli import values


def add(commands: Any) -> None:
    """Add them to argparse's subparsers."""
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

    enroll = commands.add_parser("enroll", help="teach a label a sound of your own")
    _add_enroll(enroll)
    enroll.set_defaults(command=_enroll)

    prompts = commands.add_parser("prompts", help="which labels overlap, which words say it best")
    _add_prompts(prompts)
    prompts.set_defaults(command=_prompts)

    bench = commands.add_parser("bench", help="throughput and latency on this machine")
    _add_bench(bench)
    bench.set_defaults(command=_bench)


def _add_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="with a manifest.csv")
    parser.add_argument("--checkpoint", help="embedded, a hub id, or a folder")
    listened = parser.add_mutually_exclusive_group()
    listened.add_argument("--set", choices=("everyday", "esc50"), default="everyday")
    listened.add_argument("--prompts", type=Path, metavar="FILE", help="labels of your own: YAML")
    parser.add_argument(
        "--phrasing",
        type=values.phrasing,
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
    parser.add_argument("--threshold", type=values.threshold, help="for every label and system")
    parser.add_argument("--json", metavar="FILE", help="all figures; - instead of the table")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write curves and scores")
    parser.add_argument(
        "--peer", type=Path, metavar="FOLDER", help="with yamnet.tflite, mn04_as.onnx or both"
    )
    parser.add_argument(
        "--hop",
        type=float,
        metavar="SECONDS",
        help="between scorings; more than the default 0.48 is faster, and less like live",
    )
    parser.add_argument("--threads", type=values.count, metavar="N", help="of the CPU")
    parser.add_argument(
        "--calibration",
        type=values.hours,
        metavar="HOURS",
        help="instead: mix so many hours (2 to 24) from the clips, calibrate thresholds in each, "
        "and judge them in the others",
    )
    parser.add_argument("--seed", type=values.seed, default=0, help="of these hours; default 0")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=Path, metavar="FOLDER", help="with a manifest.csv")
    parser.add_argument("out", type=Path, metavar="OUT", help="the checkpoint; also to go on in")
    parser.add_argument("--fold", nargs="+", default=(), metavar="F", help="only of these")
    parser.add_argument(
        "--every-licence", action="store_true", help="also clips not marked redistributable"
    )
    parser.add_argument(
        "--more",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="more clips, with a manifest of their own; may be repeated",
    )
    parser.add_argument(
        "--recipe",
        metavar="FILE",
        help="YAML: steps, sizes, seed; or embedded: that of the next checkpoint to come with this",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="FOLDER",
        help="mn04 (mn04_as.onnx, audioset_classes.csv), or YAMNet (yamnet.tflite, "
        "yamnet_class_map.csv), to imitate what it hears in mixtures",
    )
    parser.add_argument(
        "--calibrate", type=Path, metavar="FOLDER", help="soundscapes to fit scores and thresholds"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=values.count, metavar="N", help="of the CPU")


def _add_soundscapes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("manifest", type=Path, metavar="MANIFEST_FOLDER")
    parser.add_argument("out", type=Path, metavar="OUT", help="a folder to make")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="default 100")
    parser.add_argument("--seconds", type=values.seconds, default=30.0, help="of each; default 30")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes; default 0")
    parser.add_argument("--fold", nargs="+", default=(), metavar="F", help="only of these")
    parser.add_argument(
        "--part",
        type=values.part,
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
        "--also",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="more clips, with a manifest of their own; may be repeated",
    )
    parser.add_argument(
        "--synthesised",
        nargs="*",
        default=(),
        metavar="LABEL",
        help="also sounds made from formulas, of these labels, or all; default: none, as training "
        "uses the formulas; eval judges them apart",
    )
    parser.add_argument(
        "--scene", choices=("everyday", "smoke-alarm", "smoke-alarm-music"), default="everyday"
    )


def _add_enroll(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="of the label, new or there already")
    parser.add_argument(
        "files", nargs="*", metavar="FILE", help="recordings of the sound, up to 60 s each"
    )
    parser.add_argument("--record", action="store_true", help="from a microphone, instead of FILEs")
    parser.add_argument(
        "--seconds", type=values.example_s, default=5.0, help="how long to record (default 5)"
    )
    parser.add_argument(
        "--source", metavar="NAME", help="to record from; default: the first microphone"
    )
    parser.add_argument(
        "--prompt",
        action="append",
        dest="prompts",
        metavar="TEXT",
        help="the sound in words too; may be repeated; default for a new label: its name",
    )
    parser.add_argument(
        "--background",
        nargs="+",
        default=(),
        metavar="FILE",
        help="recordings without the sound, up to an hour each, from where it is listened for",
    )
    values.add_config(parser)


def _add_prompts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clips", nargs="+", default=(), metavar="FILE", help="which words move their scores most"
    )
    parser.add_argument("--json", action="store_true")
    values.add_config(parser)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--size",
        choices=("small", "base", "large", "embedded"),
        help="a published size with random weights, without a download; default: embedded",
    )
    what.add_argument("--checkpoint", metavar="X", help="embedded, a hub id, or a folder")
    parser.add_argument(
        "--streams", type=values.streams, metavar="N", help="try no more than N live"
    )
    parser.add_argument("--hop", type=values.span, default=0.48, metavar="S", help="default 0.48")
    parser.add_argument("--window", type=values.span, default=10.0, metavar="S", help="default 10")
    parser.add_argument("--labels", type=values.count, default=20, metavar="N", help="default 20")
    parser.add_argument(
        "--seconds",
        type=values.span,
        default=5.0,
        metavar="S",
        help="of each run in real time; default 5",
    )
    parser.add_argument("--threads", type=values.count, metavar="N", help="of the CPU")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument(
        "--compile", action="store_true", help="compile the model first; takes minutes"
    )
    parser.add_argument("--json", metavar="FILE", help="all figures; - instead of the table")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a PNG")
    parser.add_argument(
        "--runs", type=values.count, default=5, metavar="N", help="of the plain call; default 5"
    )


def _eval(options: argparse.Namespace) -> int:
    from pe_stream.workbench.evaluation.command import run
    from pe_stream.workbench.evaluation.options import EvalOptions

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
            calibration=options.calibration,
            seed=options.seed,
        )
    )


def _train(options: argparse.Namespace) -> int:
    from pe_stream.workbench.training.command import TrainOptions, run

    return run(
        TrainOptions(
            data=options.data,
            out=options.out,
            more=tuple(options.more),
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
    from pe_stream.cli.commands.soundscapes import SoundscapesOptions, run

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
            also=tuple(options.also),
            synthesised=tuple(options.synthesised),
            scene=options.scene,
        )
    )


def _enroll(options: argparse.Namespace) -> int:
    from pe_stream.cli.commands.enroll import EnrollOptions, run

    return run(
        EnrollOptions(
            name=options.name,
            files=tuple(options.files),
            record=options.record,
            seconds=options.seconds,
            source=options.source,
            prompts=tuple(options.prompts or ()),
            background=tuple(options.background),
            config=options.config,
        )
    )


def _prompts(options: argparse.Namespace) -> int:
    from pe_stream.cli.commands.prompts import PromptsOptions, run

    return run(PromptsOptions(options.config, tuple(options.clips), json=options.json))


def _bench(options: argparse.Namespace) -> int:
    from pe_stream.workbench.bench.command import BenchOptions, run

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
