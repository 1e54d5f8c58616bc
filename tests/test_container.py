"""The container: built from systemd/Containerfile, small, and of use as a stranger would use it."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import container
import pytest
import yaml
from container import ROOT, Image
from made_once import made_once
from ports import free_port
from timing import within

SYSTEMD = ROOT / "systemd"
MOST_GB = 1.2


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if (why := container.missing()) is not None:
        pytest.skip(why)
    return Image(made_once(tmp_path_factory, "image", lambda folder: Image(folder).build()))


@pytest.mark.container
@pytest.mark.timeout(1800)
def test_the_image_is_small(image: Image) -> None:
    done = image.buildah("run", "--isolation=chroot", "--user=0", "house", "du", "-sxk", "/")
    size_gb = int(done.stdout.split()[0]) * 1024 / 1e9
    print(f"{size_gb:.2f} GB")
    assert size_gb < MOST_GB


@pytest.mark.container
@pytest.mark.timeout(1800)
def test_the_demo_runs_in_it(image: Image) -> None:
    done = image.run("pe-stream", "demo", "--seconds", "20")
    assert done.returncode == 0, done.stderr
    assert re.search(r"door_knock at 1\.", done.stdout)
    assert "dog_bark" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.container
@pytest.mark.timeout(1800)
def test_check_and_version_as_an_ordinary_user(image: Image, tmp_path: Path) -> None:
    who = image.run("id", "-u").stdout.strip()
    assert who == "10001"
    assert image.run("touch", "/opt/pe-stream/new").returncode != 0
    assert image.run("touch", "/data/new").returncode == 0
    config = tmp_path / "config.yaml"
    config.write_text(
        "sources: {room: {url: /demo.opus}}\nlabels: {dog_bark: }\nmqtt: {embedded: true}\n",
        "utf-8",
    )
    recording = ROOT / "pe_stream" / "assets" / "demo.opus"
    mounts = (f"{config}:/data/config.yaml:ro", f"{recording}:/demo.opus:ro")
    done = image.run("pe-stream", "check", "-c", "/data/config.yaml", mounts=mounts)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "embedded (9.5 M parameters)" in done.stdout
    wrong = image.run("pe-stream", "run", "-c", "/data/absent.yaml")
    assert wrong.returncode == 78
    assert image.run("pe-stream", "devices").returncode in (0, 69)  # PortAudio is there
    assert "PortAudio" not in image.run("pe-stream", "devices").stderr


@pytest.mark.container
@pytest.mark.timeout(1800)
def test_the_image_says_how_to_run_it(image: Image) -> None:
    told = image.buildah("inspect", "--type=image", "pe-stream").stdout
    assert '"User": "10001"' in told
    assert "pe-stream-health" in told
    assert '"/data": {}' in told
    port = f"PE_STREAM_HEALTH=http://127.0.0.1:{free_port()}"
    assert image.run("env", port, "pe-stream-health").returncode == 0, "the page is off"


def test_the_documented_build_is_the_tested_one() -> None:
    """podman leaves the health check out of its own format."""
    page = (ROOT / "pe_stream" / "docs" / "install.md").read_text("utf-8")
    told = [line for line in page.splitlines() if line.startswith("podman build")]
    assert len(told) == 2
    assert all("--format docker -f systemd/Containerfile" in line for line in told)


def test_the_composition_fits_the_image() -> None:
    page = (ROOT / "pe_stream" / "docs" / "install.md").read_text("utf-8")
    (found,) = re.findall(r"```yaml compose\n(.*?)```", page, re.DOTALL)
    services = yaml.safe_load(found)["services"]
    ours = services["pe-stream"]
    assert (ROOT / ours["build"]["dockerfile"]).is_file()
    assert ours["read_only"] is True
    assert any(volume.endswith(":/data") for volume in ours["volumes"])
    assert set(ours["depends_on"]) <= services.keys()


class Answer(BaseHTTPRequestHandler):
    status = 200
    told = '{"status": "ok"}'

    def do_GET(self) -> None:
        if not self.status:
            time.sleep(within(20))  # longer than anybody waits
            return
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.told.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def page() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads, server.block_on_close = True, False
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def health(port: int, **environment: str) -> int:
    url = f"http://127.0.0.1:{port}/api/v1/health"
    return subprocess.run(
        [sys.executable, str(SYSTEMD / "container-health.py")],
        env={"PE_STREAM_HEALTH": url, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    ).returncode


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [
        (200, '{"status": "ok"}', 0),
        (503, '{"status": "failing"}', 1),
        (503, "too many connections", 0),
        (503, "[]", 0),
        (429, '{"detail": "slower"}', 0),
        (0, "", 1),
    ],
)
def test_health_is_what_the_page_says(
    status: int,
    told: str,
    code: int,
    page: ThreadingHTTPServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who fills the page's limits must not get the daemon started again."""
    monkeypatch.setattr(Answer, "status", status)
    monkeypatch.setattr(Answer, "told", told)
    assert health(page.server_port) == code


def test_without_a_page_the_container_is_well() -> None:
    assert health(free_port()) == 0


def test_no_proxy_is_asked(page: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answer, "status", 503)
    monkeypatch.setattr(Answer, "told", '{"status": "failing"}')
    proxy = f"http://127.0.0.1:{page.server_port}"
    assert health(free_port(), http_proxy=proxy) == 0


def test_the_quadlet_fits_the_image_and_the_program() -> None:
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string((SYSTEMD / "pe-stream.container").read_text("utf-8"))
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((SYSTEMD / "pe-stream.service").read_text("utf-8"))
    kept = ("RestartPreventExitStatus", "SuccessExitStatus", "Restart", "TimeoutStartSec")
    assert {key: read["Service"][key] for key in kept} == {
        key: unit["Service"][key] for key in kept
    }
    assert read["Container"]["ReadOnly"] == "true"
    assert read["Container"]["HealthCmd"] == "pe-stream-health"
    stop_s = int(unit["Service"]["TimeoutStopSec"])
    assert read["Container"]["PodmanArgs"] == f"--stop-timeout={stop_s}"
    assert int(read["Service"]["TimeoutStopSec"]) > stop_s
    text = (SYSTEMD / "Containerfile").read_text("utf-8")
    assert "EXPOSE 8765" in text
    assert read["Container"]["PublishPort"].endswith(":8765")
