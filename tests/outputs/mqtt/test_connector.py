"""Whether a broker can be reached, and the one line that says why not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mosquitto import Certificates, Mosquitto, make_certificates, password_lines
from ports import HOST, free_port
from timing import within

from pe_stream.config import MqttSettings, TlsSettings
from pe_stream.errors import UnavailableError
from pe_stream.outputs.mqtt import connection as connection_module
from pe_stream.outputs.mqtt.connector import Connector, probe
from pe_stream.outputs.mqtt.embedded_broker import EmbeddedBroker


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@contextlib.contextmanager
def server(answer: bytes, *, stay: bool) -> Iterator[int]:
    """A port that takes connections, reads a little, says `answer`, and stays or goes."""
    with socket.create_server((HOST, 0)) as listening:
        kept: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.recv(4096)
                    connection.sendall(answer)
                    if stay:
                        kept.append(connection)
                    else:
                        connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()
        for connection in kept:
            connection.close()


def reach(**settings: Any) -> None:
    probe(MqttSettings.model_validate({"host": HOST} | settings))


def refusal(**settings: Any) -> str:
    with pytest.raises(UnavailableError) as caught:
        reach(**settings)
    assert caught.value.exit_code == 69
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("protocol", "spoken"), [("auto", "p5"), ("5", "p5"), ("3.1.1", "p2")])
def test_a_broker_that_is_there(tmp_path: Path, protocol: str, spoken: str) -> None:
    with Mosquitto(tmp_path) as broker:
        reach(port=broker.port, protocol=protocol)
        log = broker.log
    assert "as pe-stream-check-" in log
    assert spoken in log[log.index("as pe-stream-check-") :]


def test_a_broker_of_3_1_1_only() -> None:
    broker = EmbeddedBroker()
    broker.start()
    try:
        reach(port=broker.port)
        message = refusal(port=broker.port, protocol="5")
    finally:
        broker.stop()
    assert message == (
        f"MQTT broker {HOST}:{broker.port} does not speak the version set in mqtt.protocol"
    )


def test_closed_port() -> None:
    port = free_port()
    assert refusal(port=port).startswith(f"MQTT broker {HOST}:{port}: nothing listens there")


def test_unknown_host() -> None:
    assert "the host name is unknown; check mqtt.host" in refusal(host="broker.invalid")
    assert "the host name is unknown; check mqtt.host" in refusal(host="a" * 64 + ".invalid")


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_wrong_password(tmp_path: Path, protocol: str) -> None:
    with Mosquitto(tmp_path, password_lines(tmp_path, "house", "right")) as broker:
        reach(port=broker.port, username="house", password="right")
        login = {"username": "house", "password": "wrong-secret"}
        message = refusal(port=broker.port, protocol=protocol, **login)
        assert "refuses user name or password" in message
        assert "check mqtt.username and its password" in message
        assert "wrong-secret" not in message
        assert "refuses user name or password" in refusal(port=broker.port, protocol=protocol)


def test_tls(tmp_path: Path, certificates: Certificates) -> None:
    with Mosquitto(tmp_path, certificates.lines()) as broker:
        trusted = TlsSettings(ca=str(certificates.ca))
        reach(port=broker.port, tls=trusted)
        reach(port=broker.port, tls=TlsSettings(insecure=True))

        stranger = TlsSettings(ca=str(certificates.other_ca))
        message = refusal(port=broker.port, tls=stranger)
        assert "TLS failed: self-signed certificate in certificate chain" in message
        assert "check mqtt.tls.ca" in message
        assert "closes the connection without an answer" in refusal(port=broker.port)


def test_tls_for_another_host_name(tmp_path: Path) -> None:
    elsewhere = make_certificates(tmp_path, names="DNS:elsewhere")
    with Mosquitto(tmp_path, elsewhere.lines()) as broker:
        message = refusal(port=broker.port, tls=TlsSettings(ca=str(elsewhere.ca)))
    assert "TLS failed: IP address mismatch" in message
    assert "mqtt.host is a name in the broker's certificate" in message


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_tls_with_a_client_certificate(
    tmp_path: Path, certificates: Certificates, protocol: str
) -> None:
    ca = str(certificates.ca)
    pair = TlsSettings(
        ca=ca, certificate=str(certificates.client), key=str(certificates.client_key)
    )
    with Mosquitto(tmp_path, certificates.lines(require_client=True)) as broker:
        reach(port=broker.port, protocol=protocol, tls=pair)
        message = refusal(port=broker.port, protocol=protocol, tls=TlsSettings(ca=ca))
    assert "mqtt.tls.certificate" in message


def test_tls_to_a_port_without(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        message = refusal(port=broker.port, tls=TlsSettings(insecure=True))
    assert "TLS failed" in message
    assert "does that port speak TLS?" in message


def test_something_that_is_no_broker() -> None:
    with server(b"HTTP/1.1 400 Bad Request\r\n\r\n", stay=False) as port:
        assert "is it an MQTT broker" in refusal(port=port)


@pytest.mark.parametrize(("protocol", "tries"), [("auto", 2), ("3.1.1", 1)])
def test_silence_ends_in_time(monkeypatch: pytest.MonkeyPatch, protocol: str, tries: int) -> None:
    monkeypatch.setattr(connection_module, "CONNECT_TIMEOUT_S", 0.3)
    with server(b"", stay=True) as port:
        began = time.monotonic()
        assert "does not answer: is it an MQTT broker?" in refusal(port=port, protocol=protocol)
    assert 0.3 * tries <= time.monotonic() - began < within(0.3 * tries + 1)


def test_an_attempt_can_be_given_up() -> None:
    with server(b"", stay=True) as port:
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="given up"):
            Connector(MqttSettings(host=HOST, port=port), "me").connect(give_up=lambda: True)
    assert time.monotonic() - began < within(1)
