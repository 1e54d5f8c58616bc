"""A cluster of Ray on this machine's loopback addresses, as the documentation has one set up."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from timing import within

from pe_stream.serving.serve_config import ENVIRONMENT

HEAD, OTHER = "127.0.0.2", "127.0.0.3"
"""127.0.0.1 would be replaced by the address that the machine has outwards."""

PORTS = 28770, 28265, 26379, 28001
"""Of the way in, the dashboard, Ray's control, and Ray Client: below those that the system gives
away, and none of those that workers and replicas take for themselves."""

TOKENS = {"house": "h" * 24, "shop": "s" * 24}
START_S = 120.0
_MARK = "PE_STREAM_TEST_CLUSTER"


class RayCluster:
    """Nodes, and the engine's application on them, until `stop`."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
        self.port, self._dashboard, control, _ = PORTS
        self._head = f"{HEAD}:{control}"
        self._name = secrets.token_hex(8)
        token = self.folder / "ray-token"
        token.write_text(secrets.token_hex(24), "utf-8")
        self.tokens = self.folder / "tokens"
        lines = "".join(f"{tenant} {token}\n" for tenant, token in TOKENS.items())
        for path, text in ((token, secrets.token_hex(24)), (self.tokens, lines)):
            path.write_text(text, "utf-8")
            path.chmod(0o600)
        self.environment = (
            os.environ
            | ENVIRONMENT
            | {
                "RAY_AUTH_TOKEN_PATH": str(token),
                "TMPDIR": str(self.folder),
                "OMP_NUM_THREADS": "1",
                "RAY_DASHBOARD_STARTUP_TIMEOUT_S": f"{within(60):.0f}",
                _MARK: self._name,
            }
        )
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, replicas: int) -> None:
        common = ["--num-cpus=4", "--object-store-memory=80000000", "--disable-usage-stats"]
        self.ray(
            *("start", "--head", f"--node-ip-address={HEAD}", f"--port={PORTS[2]}"),
            *(
                "--num-gpus=1",
                f"--ray-client-server-port={PORTS[3]}",
                f"--temp-dir={self.folder / 'r'}",
                f"--dashboard-host={HEAD}",
            ),
            *(f"--dashboard-port={self._dashboard}", *common),
        )
        self.ray(
            *("start", f"--address={self._head}", f"--node-ip-address={OTHER}", "--num-gpus=2"),
            *common,
        )
        self.deploy(replicas)

    def deploy(self, replicas: int) -> None:
        """As `pe-stream engine config` has it, with so many replicas; returns once they are up."""
        arguments = ["engine", "config", "--checkpoint", str(self.checkpoint), "--device", "cpu"]
        arguments += ["--dtype", "float32", "--port", str(self.port), "--proxies", "HeadOnly"]
        arguments += ["--host", "0.0.0.0", "--tokens", str(self.tokens)]
        arguments += ["--replicas", str(replicas)]
        made = self._run(sys.executable, "-m", "pe_stream", *arguments)
        path = self.folder / "serve.yaml"
        path.write_text(made, "utf-8")
        self._run(_program("serve"), "deploy", str(path), "-a", self._address)
        until_s = time.monotonic() + within(START_S)
        while len(self.replicas()) != replicas or self._status() != "RUNNING":
            assert time.monotonic() < until_s, self._run(
                _program("serve"), "status", "-a", self._address
            )
            time.sleep(0.5)

    def ray(self, *arguments: str) -> str:
        return self._run(_program("ray"), *arguments)

    def replicas(self) -> list[psutil.Process]:
        """Processes of engines."""
        return [
            each for each in self._processes() if "ServeReplica:pe_stream:engine" in _words(each)
        ]

    def kill_other_node(self) -> None:
        """End the node that isn't the head, with all that it runs, as if its power had gone."""
        (raylet,) = [
            each for each in self._processes() if f"--node_ip_address={OTHER}" in _words(each)
        ]
        gone = [raylet, *raylet.children(recursive=True)]
        for each in gone:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(gone, 5)

    def ask(self, session: str, tenant: str = "house") -> dict[str, Any]:
        """What the engine of a session says of itself."""
        headers = {"Authorization": f"Bearer {TOKENS[tenant]}", "X-Session-Id": session}
        about = httpx.get(f"{self.url}/v1/about", headers=headers, timeout=20)
        about.raise_for_status()
        found: dict[str, Any] = about.json()
        return found

    def stop(self) -> None:
        """End all its processes, which are known by their environment."""
        mine = self._processes()
        for sent in (signal.SIGTERM, signal.SIGKILL):
            for each in mine:
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(sent)
            _, mine = psutil.wait_procs(mine, 5)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _address(self) -> str:
        return f"http://{HEAD}:{self._dashboard}"

    def _status(self) -> str:
        token = Path(self.environment["RAY_AUTH_TOKEN_PATH"]).read_text("utf-8")
        headers = {"Authorization": f"Bearer {token}"}
        answer = httpx.get(f"{self._address}/api/serve/applications/", headers=headers, timeout=20)
        status: str = answer.json()["applications"].get("pe_stream", {}).get("status", "")
        return status

    def _processes(self) -> list[psutil.Process]:
        """Those with our mark, and what they began: names that are set take the mark's place."""
        found: dict[int, psutil.Process] = {}
        for each in psutil.process_iter():
            with suppress(psutil.Error):
                if each.environ().get(_MARK) == self._name and each.pid != os.getpid():
                    found |= {one.pid: one for one in (each, *each.children(recursive=True))}
        return list(found.values())

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=within(100),
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _program(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
