"""A real mosquitto on a free loopback port, certificates for it, and a client that collects."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from ports import HOST, free_port
from timing import within


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Return once `condition()` holds; fail the test, naming `what`, after `timeout_s`."""
    deadline = time.monotonic() + within(timeout_s)
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within(timeout_s):.0f} s: {what}")
        time.sleep(0.01)


class Mosquitto:
    """A broker in `folder`; as a context manager it is started and, at the end, killed.

    lines: configuration besides the listener; with none, anonymous clients are allowed.
    """

    def __init__(self, folder: Path, lines: Iterable[str] = ("allow_anonymous true",)) -> None:
        """Choose a free port; `restart` keeps it."""
        if shutil.which("mosquitto") is None:
            pytest.skip("needs a broker: apt-get install mosquitto")
        self.port = free_port()
        self._folder = folder
        self._lines = list(lines)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, lines: Iterable[str] | None = None) -> None:
        """Start, with other configuration lines if given; returns when it accepts connections."""
        if lines is not None:
            self._lines = list(lines)
        config = self._folder / "mosquitto.conf"
        # user root: started by root it would otherwise give up the right to read test folders.
        config.write_text("\n".join([f"listener {self.port} {HOST}", "user root", *self._lines]))
        with (self._folder / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["mosquitto", "-v", "-c", str(config)], stdout=log, stderr=log
            )
        wait_until(self._accepts, "mosquitto accepts connections")

    def kill(self) -> None:
        """Take it away without a word to anyone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it in good order: what it is to remember, it writes down."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(within(10))
            self._process = None

    def restart(self, lines: Iterable[str] | None = None) -> None:
        """Kill it and start again on the same port; it remembers nothing."""
        self.kill()
        self.start(lines)

    def freeze(self) -> None:
        """Let it do nothing, with its connections open."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """End `freeze`."""
        self._send(signal.SIGCONT)

    @property
    def log(self) -> str:
        """What it has logged so far, over all starts."""
        return (self._folder / "mosquitto.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self.kill()

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto ended: {self.log}"
        try:
            socket.create_connection((HOST, self.port), timeout=1).close()
        except ConnectionRefusedError:
            return False
        return True


def password_lines(folder: Path, user: str, password: str) -> list[str]:
    """Configuration that lets in `user` with `password` and nobody else."""
    file = folder / "passwords"
    file.unlink(missing_ok=True)
    _run("mosquitto_passwd", "-b", "-c", str(file), user, password)
    return ["allow_anonymous false", f"password_file {file}"]


@dataclass(frozen=True)
class Certificates:
    """PEM files: a CA, a server's and a client's certificate by it, and a CA of somebody else."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    other_ca: Path

    def lines(self, *, require_client: bool = False) -> list[str]:
        """Configuration of a TLS listener, for anonymous users."""
        return [
            "allow_anonymous true",
            f"cafile {self.ca}",
            f"certfile {self.server}",
            f"keyfile {self.server_key}",
            f"require_certificate {str(require_client).lower()}",
        ]


def make_certificates(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificates:
    """Make them with the openssl command; the server is known by `names` (subjectAltName)."""
    if shutil.which("openssl") is None:
        pytest.skip("needs certificates: apt-get install openssl")
    made = Certificates(
        ca=folder / "ca.pem",
        server=folder / "server.pem",
        server_key=folder / "server.key",
        client=folder / "client.pem",
        client_key=folder / "client.key",
        other_ca=folder / "other-ca.pem",
    )
    ca_key, other_key = folder / "ca.key", folder / "other-ca.key"
    _make_ca(made.ca, ca_key, "pe_stream test CA")
    _make_ca(made.other_ca, other_key, "somebody else")
    _make_leaf(made.server, made.server_key, (made.ca, ca_key), names)
    _make_leaf(made.client, made.client_key, (made.ca, ca_key), "DNS:client")
    return made


@dataclass(frozen=True)
class Received:
    """A message as a subscriber got it."""

    topic: str
    payload: str
    qos: int
    retain: bool


class Subscriber:
    """Connects, subscribes at QoS 1 and keeps all it receives, in order."""

    def __init__(
        self,
        port: int,
        topic: str = "#",
        *,
        protocol: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        login: tuple[str, str] | None = None,
    ) -> None:
        """Name the topic filter and, where the broker asks for it, user and password."""
        self.received: list[Received] = []
        self._subscribed = 0
        self._port = port
        self._topic = topic
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        if login is not None:
            self._client.username_pw_set(*login)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = self._count
        self._client.on_message = self._keep
        self._client.reconnect_delay_set(1, 1)

    def publish(self, topic: str, payload: str | bytes, *, retain: bool = False) -> None:
        """Publish at QoS 1; returns when the broker has it."""
        made = self._client.publish(topic, payload, qos=1, retain=retain)
        made.wait_for_publish(within(30))
        assert made.is_published()

    def wait_subscribed(self, times: int = 1) -> None:
        """Return once the broker will send what comes; after its first restart, the second time."""
        wait_until(lambda: self._subscribed >= times, f"subscribed to {self._topic}")

    def payloads(self, topic: str) -> list[str]:
        """What came on one topic so far."""
        return [message.payload for message in list(self.received) if message.topic == topic]

    def wait_for(self, topic: str, payloads: list[str], timeout_s: float = 10.0) -> None:
        """Return once exactly `payloads` came on `topic`; fail the test after `timeout_s`."""
        try:
            wait_until(lambda: self.payloads(topic) == payloads, topic, timeout_s)
        except pytest.fail.Exception:
            assert self.payloads(topic) == payloads

    def __enter__(self) -> Self:
        self._client.connect(HOST, self._port)
        self._client.loop_start()
        self.wait_subscribed()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _count(self, *_: object) -> None:
        self._subscribed += 1

    def _keep(self, _: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        self.received.append(
            Received(message.topic, message.payload.decode(), message.qos, message.retain)
        )


def _make_ca(certificate: Path, key: Path, name: str) -> None:
    _run(
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
        *("-keyout", str(key), "-out", str(certificate)),
    )


def _make_leaf(certificate: Path, key: Path, ca: tuple[Path, Path], names: str) -> None:
    request = certificate.with_suffix(".csr")
    extensions = certificate.with_suffix(".ext")
    extensions.write_text(f"subjectAltName={names}\n")
    _run(
        *("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-subj", f"/CN={certificate.stem}"),
        *("-keyout", str(key), "-out", str(request)),
    )
    _run(
        *("openssl", "x509", "-req", "-in", str(request), "-days", "2", "-CAcreateserial"),
        *("-CA", str(ca[0]), "-CAkey", str(ca[1]), "-extfile", str(extensions)),
        *("-out", str(certificate)),
    )


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
