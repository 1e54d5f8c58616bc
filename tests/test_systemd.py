"""The shipped units: valid, hardened, and in step with the program's exit codes."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pe_stream.cli.main import _parser
from pe_stream.daemon import running
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.outputs import metrics
from pe_stream.outputs.mqtt import embedded_broker, publisher
from pe_stream.outputs.notifications import notifications
from pe_stream.pipeline import live
from pe_stream.serving import server as serving
from pe_stream.storage import clips, write_queue
from pe_stream.web import server

UNIT = Path(__file__).parents[1] / "systemd" / "pe-stream.service"
ENGINE = UNIT.with_name("pe-stream-engine.service")
PROGRAM = "/opt/pe-stream/bin/pe-stream"

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing: install systemd"
)


each_unit = pytest.mark.parametrize("shipped", [UNIT, ENGINE], ids=lambda path: path.stem)


@needs_systemd
@each_unit
def test_verify_is_clean(shipped: Path, tmp_path: Path) -> None:
    # The program is not installed in /opt here; everything else is checked as shipped.
    unit = tmp_path / shipped.name
    unit.write_text(shipped.read_text().replace(PROGRAM, sys.executable))
    result = analyze("verify", str(unit))
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@needs_systemd
@each_unit
def test_exposure_is_at_most_three(shipped: Path) -> None:
    result = analyze("security", "--offline=true", "--threshold=30", str(shipped))
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_is_heard_does_not_wait_for_other_services() -> None:
    """100 is what every service has; in the Quadlet's, the container is a part of the service."""
    quadlet = UNIT.with_name("pe-stream.container").read_text("utf-8")
    assert int(read_service(UNIT)["CPUWeight"]) > 100
    assert "\nCPUWeight=200\n" in quadlet.partition("[Service]")[2]


@each_unit
def test_restarts_on_what_a_restart_can_mend(shipped: Path) -> None:
    service = read_service(shipped)
    refused = service["RestartPreventExitStatus"].split()
    assert service["Restart"] == "on-failure"
    assert str(ConfigError.exit_code) in refused
    assert str(UnavailableError.exit_code) not in refused
    assert service["SuccessExitStatus"] == "143"


def test_the_engine_is_offered_with_tokens_and_tls() -> None:
    service = read_service(ENGINE)
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    program, *arguments = service["ExecStart"].replace("\\\n", " ").split()
    options = _parser().parse_args(arguments)
    assert (program, arguments[0]) == (PROGRAM, "engine")
    assert (options.action, options.host) == ("serve", "0.0.0.0")
    assert [str(path) for path in (options.tokens, options.certificate, options.key)] == [
        "%d/tokens",
        "%d/certificate",
        "%d/key",
    ]
    assert int(service["LimitNOFILE"]) // 4 >= serving.CONNECTIONS + 50


def test_notify_reload_and_watchdog() -> None:
    service = read_service()
    assert (service["Type"], service["NotifyAccess"]) == ("notify", "main")
    assert service["ExecStart"] == f"{PROGRAM} run -c /etc/pe-stream/config.yaml"
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert int(service["WatchdogSec"]) > 0


def test_every_part_may_take_its_whole_time_to_stop() -> None:
    """One after the other, as where a disk, the broker and a viewer stand still."""
    queues = [write_queue.STOP_S] * 3  # events, scores, embeddings
    mqtt = running.FLUSH_S + publisher.STOP_S + embedded_broker.STOP_S
    rest = (live, metrics, server, clips, notifications)
    total_s = sum(queues) + mqtt + sum(part.STOP_S for part in rest)
    assert total_s + 5 <= int(read_service()["TimeoutStopSec"])


def test_there_are_descriptors_for_all_connections() -> None:
    """With fewer than this, the page could not have as many viewers as are configured."""
    assert int(read_service()["LimitNOFILE"]) // 4 >= server.CONNECTIONS + 8 * 50


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments], capture_output=True, text=True, check=False
    )


def read_service(unit: Path = UNIT) -> configparser.SectionProxy:
    # Keys such as Environment may stand more than once; none of those is asked for.
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep the case of keys
    parser.read(unit)
    return parser["Service"]
