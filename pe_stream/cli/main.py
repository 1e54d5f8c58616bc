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
from collections.abc import Callable, Sequence
from functools import partial

from pe_stream.cli.engine_options import EngineOptions
from pe_stream.cli.log_handler import log_to_stderr
from pe_stream.cli.options import (
    ConfigOptions,
    DemoOptions,
    DetectOptions,
    DevicesOptions,
    EnrollOptions,
    EventsOptions,
    HelpOptions,
    NoOptions,
    NotifyTestOptions,
    PromptsOptions,
    ReplayOptions,
    SchemaOptions,
    SearchOptions,
    SoundscapesOptions,
)
from pe_stream.cli.standard_streams import stand_in
from pe_stream.config.paths import name_temporary_folder, require_current_folder
from pe_stream.config.redaction import redacted
from pe_stream.errors import OutputError, PeStreamError, UsageError, not_installed
from pe_stream.version import __version__
from pe_stream.workbench.arguments import add_command
from pe_stream.workbench.bench.options import BenchOptions
from pe_stream.workbench.calibration.options import CalibrateOptions
from pe_stream.workbench.evaluation.options import EvalOptions
from pe_stream.workbench.training.options import TrainOptions

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
    stand_in()
    name_temporary_folder()
    options = _parsed()
    if isinstance(options, int):
        return options
    code = _outcome(options)
    if options.leaves_threads and threading.active_count() > 1:
        # Left behind inside torch, a disk, or a service; Python would wait for it, or abort.
        with contextlib.suppress(OSError, OutputError):  # nobody reads it
            sys.stdout.flush()
        logging.shutdown()
        os._exit(code)
    return code


def _parsed() -> argparse.Namespace | int:
    """What the command line says; the exit code, where it asks for no more than a help text."""
    found: list[argparse.Namespace] = []

    def parse() -> int:
        try:
            found.append(_parser().parse_args())
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    code = _told(parse)
    return found[0] if found else code


def _outcome(options: argparse.Namespace) -> int:
    """Run the command, whatever becomes of it; returns its exit code."""
    _log_to_stderr(verbose=options.verbose)
    return _told(lambda: options.command(options))


def _told(run: Callable[[], int]) -> int:
    """Run it, and see that its results arrive; returns the exit code."""
    try:
        require_current_folder()
        code = run()
        sys.stdout.flush()
    except PeStreamError as error:
        print(f"pe-stream: {redacted(str(error))}", file=sys.stderr)
        if isinstance(error, OutputError):
            _discard_output()
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read our output has gone; nothing to tell anyone
        _discard_output()
        return 128 + signal.SIGPIPE
    except Exception:
        logging.getLogger(__name__).critical("a fault of pe_stream", exc_info=True)
        return 1
    return code


def _discard_output() -> None:
    """Let go of what could not be written, which Python would try to write again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pe-stream",
        description="Detects sound events in microphones and audio streams, day and night, and "
        "publishes each one over MQTT with its onset and offset.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pe-stream {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log in more detail")
    parser.set_defaults(leaves_threads=False)
    add = partial(
        add_command, parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    )
    run = add("run", ConfigOptions, _run, "the daemon")
    demo = add(
        "demo",
        DemoOptions,
        _demo,
        "a bundled recording through everything, to a real MQTT subscriber",
    )
    add("detect", DetectOptions, _detect, "the same on files, as fast as it goes")
    calibrate = add(
        "calibrate",
        CalibrateOptions,
        _calibrate,
        "thresholds for the false alarms a day that one can live with",
    )
    for alive in (run, demo, calibrate):  # calibrate with --listen
        alive.set_defaults(leaves_threads=True)
    add(
        "replay",
        ReplayOptions,
        _replay,
        "which events the stored scores would have given, or others would",
    )
    add("eval", EvalOptions, _eval, "score a checkpoint on labelled audio")
    add(
        "soundscapes",
        SoundscapesOptions,
        _soundscapes,
        "labelled clips to soundscapes with known onsets and offsets",
    )
    add("train", TrainOptions, _train, "labelled clips to a small checkpoint of one's own")
    add("enroll", EnrollOptions, _enroll, "teach a label a sound of your own")
    add("prompts", PromptsOptions, _prompts, "which labels overlap, which words say it best")
    add("bench", BenchOptions, _bench, "throughput and latency on this machine")
    add("devices", DevicesOptions, _devices, "microphones, with the ids for the config")
    add("engine", EngineOptions, _engine, "an engine for daemons on other machines")
    add("check", ConfigOptions, _check, "configuration, model, sources, broker: a line each")
    add("notify-test", NotifyTestOptions, _notify_test, "send a test notification")
    add("config", ConfigOptions, _config, "effective settings, secrets masked")
    add("events", EventsOptions, _events, "stored events, each as it was last told")
    add("search", SearchOptions, _search, "what was heard, searched by a text")
    add(
        "hash-password",
        NoOptions,
        _hash_password,
        "a password for the page, as the configuration wants it",
    )
    add("schema", SchemaOptions, _schema, "JSON Schema of the configuration or of events")
    add("help", HelpOptions, _help, "a page of the documentation; without TOPIC, a list")
    return parser


# The parts are imported where they are used: torch alone takes seconds, and `devices` or
# `config` need none of it.


def _run(options: ConfigOptions) -> int:
    from pe_stream.config.file import find, load
    from pe_stream.daemon.service import Daemon

    path = options.config or find()
    settings = load(path)
    log = logging.getLogger("pe_stream")
    if log.level != logging.DEBUG:  # --verbose goes first
        log.setLevel(settings.log_level.upper())
    return Daemon(settings, reload=lambda: load(path), config=path).run()


def _demo(options: DemoOptions) -> int:
    from pe_stream.cli.commands.demo import run

    return run(options.seconds, loop=options.loop)


def _detect(options: DetectOptions) -> int:
    from pe_stream.cli.commands.detect import run

    return run(options)


def _calibrate(options: CalibrateOptions) -> int:
    from pe_stream.workbench.calibration.command import run

    return run(options)


def _replay(options: ReplayOptions) -> int:
    from pe_stream.cli.commands.replay import run

    return run(options)


def _eval(options: EvalOptions) -> int:
    from pe_stream.workbench.evaluation.command import run

    return run(options)


def _soundscapes(options: SoundscapesOptions) -> int:
    from pe_stream.cli.commands.soundscapes import run

    return run(options)


def _train(options: TrainOptions) -> int:
    from pe_stream.workbench.training.command import run

    return run(options)


def _enroll(options: EnrollOptions) -> int:
    from pe_stream.cli.commands.enroll import run

    return run(options)


def _prompts(options: PromptsOptions) -> int:
    from pe_stream.cli.commands.prompts import run

    return run(options)


def _bench(options: BenchOptions) -> int:
    from pe_stream.workbench.bench.command import run

    return run(options)


def _devices(options: DevicesOptions) -> int:
    from pe_stream.cli.commands.devices import run

    return run(options)


def _engine(options: EngineOptions) -> int:
    from pe_stream.cli.commands.engine import run

    return run(options)


def _check(options: ConfigOptions) -> int:
    from pe_stream.cli.commands.check import run
    from pe_stream.config.file import find

    return run(options.config or find())


def _notify_test(options: NotifyTestOptions) -> int:
    from pe_stream.config.file import find, load
    from pe_stream.outputs.notifications import send_test

    print(send_test(load(options.config or find()), options.name))
    return 0


def _config(options: ConfigOptions) -> int:
    from pe_stream.config.file import effective, find, load_with_references

    print(effective(*load_with_references(options.config or find())), end="")
    return 0


def _events(options: EventsOptions) -> int:
    from pe_stream.cli.commands.events import run

    return run(options)


def _search(options: SearchOptions) -> int:
    from pe_stream.cli.commands.search import run

    return run(options)


def _hash_password(_: NoOptions) -> int:
    try:
        from pe_stream.web.passwords import hash_password
    except ImportError as error:
        raise not_installed(error.name, "web") from error

    if sys.stdin.isatty():
        password = getpass.getpass("password: ")
        if getpass.getpass("the same again: ") != password:
            raise UsageError("these are two different passwords")
    else:
        password = sys.stdin.readline().removesuffix("\n")
    print(hash_password(password))
    return 0


def _schema(options: SchemaOptions) -> int:
    from pe_stream.config import config_schema
    from pe_stream.core.messages import event_schema

    schema = config_schema() if options.of == "config" else event_schema()
    print(json.dumps(schema, indent=2))
    return 0


def _help(options: HelpOptions) -> int:
    from pe_stream.cli.commands.help import run

    return run(options.topic)


def _log_to_stderr(*, verbose: bool) -> None:
    log_to_stderr(logging.DEBUG if verbose else logging.INFO)
