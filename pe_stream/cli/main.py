"""The command line: arguments to functions, errors to exit codes."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pe_stream.cli import values
from pe_stream.cli.parsers import thresholds, workbench
from pe_stream.errors import PeStreamError, UnavailableError, UsageError
from pe_stream.version import __version__

EXIT_CODES = """\
exit codes:
  0    done
  1    a fault of pe_stream; please report it
  2    wrong usage
  69   something needed is unavailable: a device, a file, a checkpoint, a broker
  78   the configuration is wrong
  130  interrupted, 143 terminated"""


def main(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; see EXIT_CODES."""
    return _outcome(_parser().parse_args(arguments))


def program() -> int:
    """Run the command of the command line, and return its exit code where Python can end."""
    options = _parser().parse_args()
    code = _outcome(options)
    if options.leaves_threads and threading.active_count() > 1:
        # Left behind inside torch, a disk, or a service; Python would wait for it, or abort.
        with contextlib.suppress(OSError):  # nobody reads it
            sys.stdout.flush()
        logging.shutdown()
        os._exit(code)
    return code


def _outcome(options: argparse.Namespace) -> int:
    """Run the command, whatever becomes of it; returns its exit code."""
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
    parser.set_defaults(leaves_threads=False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="the daemon")
    run.set_defaults(command=_run, leaves_threads=True)

    demo = commands.add_parser(
        "demo", help="a bundled recording through everything, to a real MQTT subscriber"
    )
    demo.add_argument("--seconds", type=values.seconds, help="stop after so many seconds")
    demo.add_argument(
        "--loop", action="store_true", help="again and again, to look at the page meanwhile"
    )
    demo.set_defaults(command=_demo, leaves_threads=True)

    detect = commands.add_parser("detect", help="the same on files, as fast as it goes")
    _add_detect(detect)
    detect.set_defaults(command=_detect)

    thresholds.add(commands)
    workbench.add(commands)

    devices = commands.add_parser("devices", help="microphones, with the ids for the config")
    devices.add_argument("--json", action="store_true")
    devices.set_defaults(command=_devices)

    check = commands.add_parser("check", help="configuration, model, sources, broker: a line each")
    check.set_defaults(command=_check)

    notify_test = commands.add_parser("notify-test", help="send a test notification")
    notify_test.add_argument("name", metavar="NAME", help="as under `notifications`")
    notify_test.set_defaults(command=_notify_test)

    config = commands.add_parser("config", help="effective settings, secrets masked")
    config.set_defaults(command=_config)

    events = commands.add_parser("events", help="stored events, each as it was last told")
    events.add_argument("--format", choices=("jsonl", "csv"), default="jsonl")
    events.add_argument("--since", metavar="WHEN", help="2026-11-21T08:00Z, or 90m, 24h, 7d")
    events.add_argument("--source")
    events.add_argument("--label")
    events.add_argument(
        "--verdict", choices=("right", "wrong", "any", "none"), help="as marked on the page"
    )
    events.set_defaults(command=_events)

    searching = commands.add_parser("search", help="what was heard, searched by a text")
    _add_search(searching)
    searching.set_defaults(command=_search)

    hashing = commands.add_parser(
        "hash-password", help="a password for the page, as the configuration wants it"
    )
    hashing.set_defaults(command=_hash_password)

    schema = commands.add_parser("schema", help="JSON Schema of the configuration or of events")
    schema.add_argument("of", choices=("config", "event"))
    schema.set_defaults(command=_schema)

    helping = commands.add_parser("help", help="a page of the documentation; without TOPIC, a list")
    helping.add_argument("topic", nargs="?", metavar="TOPIC", help="its name, or how it begins")
    helping.set_defaults(command=_help)

    for command in (run, detect, check, notify_test, config, events, searching):
        values.add_config(command)
    return parser


def _add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="anything FFmpeg reads")
    parser.add_argument(
        "--prompt",
        action="append",
        dest="prompts",
        metavar="TEXT",
        help="a sound in words, instead of the configured labels; may be repeated",
    )
    parser.add_argument("--checkpoint", help="embedded, a hub id, or a folder")
    parser.add_argument(
        "--threshold", type=values.threshold, help="for every label, above 0, below 1"
    )
    parser.add_argument("--format", choices=("jsonl", "tsv", "audacity"), default="jsonl")
    parser.add_argument("--scores", type=Path, metavar="FOLDER", help="write STEM.npz per file")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="write STEM.png per file")


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", metavar="TEXT", help='a sound in words: "kettle whistling"')
    parser.add_argument(
        "--since", metavar="WHEN", default="24h", help="as for `events`; default: 24h"
    )
    parser.add_argument("--until", metavar="WHEN", help="default: now")
    parser.add_argument("--source")
    parser.add_argument(
        "--limit", type=values.moments, default=20, metavar="N", help="moments; default: 20"
    )
    parser.add_argument("--format", choices=("table", "jsonl"), default="table")


# The parts are imported where they are used: torch alone takes seconds, and `devices` or
# `config` need none of it.


def _run(options: argparse.Namespace) -> int:
    from pe_stream.config.file import find, load
    from pe_stream.daemon.service import Daemon

    path = options.config or find()
    settings = load(path)
    if not options.verbose:
        logging.getLogger("pe_stream").setLevel(settings.log_level.upper())
    return Daemon(settings, reload=lambda: load(path), config=path).run()


def _demo(options: argparse.Namespace) -> int:
    from pe_stream.cli.commands.demo import run

    return run(options.seconds, loop=options.loop)


def _detect(options: argparse.Namespace) -> int:
    from pe_stream.cli.commands.detect import DetectOptions, run

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
    from pe_stream.cli.commands.check import run
    from pe_stream.config.file import find

    return run(options.config or find())


def _notify_test(options: argparse.Namespace) -> int:
    from pe_stream.config.file import find, load
    from pe_stream.outputs.notifications import send_test

    print(send_test(load(options.config or find()), options.name))
    return 0


def _config(options: argparse.Namespace) -> int:
    from pe_stream.config.file import effective, find, load

    print(effective(load(options.config or find())), end="")
    return 0


def _events(options: argparse.Namespace) -> int:
    from pe_stream.cli.commands.events import EventsOptions, run

    return run(
        EventsOptions(
            config=options.config,
            format=options.format,
            since=options.since,
            source=options.source,
            label=options.label,
            verdict=options.verdict,
        )
    )


def _search(options: argparse.Namespace) -> int:
    from pe_stream.cli.commands.search import SearchOptions, run

    return run(
        SearchOptions(
            text=options.text,
            config=options.config,
            since=options.since,
            until=options.until,
            source=options.source,
            limit=options.limit,
            format=options.format,
        )
    )


def _hash_password(_: argparse.Namespace) -> int:
    try:
        from pe_stream.web.passwords import hash_password
    except ImportError as error:
        raise UnavailableError(
            f"{error.name} is not installed: pip install 'pe-stream[web]'"
        ) from error

    if sys.stdin.isatty():
        password = getpass.getpass("password: ")
        if getpass.getpass("the same again: ") != password:
            raise UsageError("these are two different passwords")
    else:
        password = sys.stdin.readline().removesuffix("\n")
    print(hash_password(password))
    return 0


def _schema(options: argparse.Namespace) -> int:
    from pe_stream.config import config_schema
    from pe_stream.core.messages import event_schema

    schema = config_schema() if options.of == "config" else event_schema()
    print(json.dumps(schema, indent=2))
    return 0


def _help(options: argparse.Namespace) -> int:
    from pe_stream.cli.commands.help import run

    return run(options.topic)


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
