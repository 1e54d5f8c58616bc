"""A daemon's way to an engine: what goes wrong is one line, and the next window is asked for."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mosquitto import Certificates, make_certificates
from ports import HOST, free_port
from serving.engines import ask, asking, found_by, labels_of, noise, serving
from stand_ins import eventually
from timing import within

from pe_stream.config import ModelSettings
from pe_stream.core.types import FRAME, Window
from pe_stream.errors import ConfigError
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.live_engine import Asked
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.serving import lane, scoring
from pe_stream.serving.connection import EngineConnection
from pe_stream.serving.route import EngineAway

AUDIO = noise(60)


@pytest.fixture(scope="module")
def checkpoint(level: Path) -> Checkpoint:
    return load(str(level), device="cpu", dtype="float32", threads=1)


@pytest.fixture(scope="module")
def labels(checkpoint: Checkpoint) -> LabelEmbeddings:
    return labels_of(checkpoint)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def window(begin: int, end: int) -> Window:
    return Window(begin * FRAME, AUDIO[begin * FRAME : end * FRAME])


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], object]) -> Iterator[str]:
    """A server of another make."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            answer(self)

        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Quiet((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()
        thread.join(within(10))


def saying(status: int, body: bytes = b"") -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def reason(checkpoint: Checkpoint, labels: LabelEmbeddings, **settings: Any) -> str:
    """Why there is no answer."""
    with asking(checkpoint, labels, **settings) as engine:
        answered = ask(engine, [engine.stream("a")], [window(0, 5)])
    assert answered.found is None
    assert answered.reason is not None
    assert "\n" not in answered.reason
    assert answered.reason.startswith(settings["engine"])
    return answered.reason.removeprefix(settings["engine"])


def test_each_thing_that_is_wrong_is_told_in_a_line(
    checkpoint: Checkpoint, labels: LabelEmbeddings, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("c" * 24 + "\n", "utf-8")
    token.chmod(0o600)
    tokens = tmp_path / "tokens"
    tokens.write_text(f"house {'d' * 24}\n", "utf-8")
    tokens.chmod(0o600)
    nobody = f"http://{HOST}:{free_port()}"
    assert reason(checkpoint, labels, engine=nobody) == ": Connection refused"
    with serving(checkpoint, tokens=tokens) as server:
        for given in ({}, {"engine_token_file": str(token)}):
            said = reason(checkpoint, labels, engine=server.url, **given)
            assert said == ": it does not take the token: see model.engine_token_file"
        # Much of what is sent when it is refused is still on its way.
        patient = ModelSettings(engine=(server.url,), engine_timeout_s=min(30.0, within(10)))
        long = EngineConnection.factory(patient)("long")
        with pytest.raises(EngineAway, match="it does not take the token"):
            long.post("/v1/hear", bytes(8_000_000))
        token.write_text("d" * 24, "utf-8")
        with asking(checkpoint, labels, engine=server.url, engine_token_file=str(token)) as engine:
            found_by(ask(engine, [engine.stream("a")], [window(0, 5)]))
        https = server.url.replace("http:", "https:")
        assert reason(checkpoint, labels, engine=https).startswith(": no TLS there: ")
    with serving(checkpoint) as server:
        other = replace(checkpoint, identity="other")
        said = reason(other, labels, engine=server.url)
        assert said.endswith(
            "and not the same: model.checkpoint has to be the same on both machines"
        )
    for answer, why in (
        (saying(404), "it is no engine of pe_stream, or is not there (HTTP 404)"),
        (saying(200, b"<html>hello</html>"), "its answer is not understood"),
        (saying(503), "it is too busy, or starting"),
        (saying(400, b'{"detail": "version 1 is not understood, 7 is"}'), "refused: version 1 is"),
        (saying(400, b'{"detail": ["\\n"]}'), "it is no engine of pe_stream"),
        (lambda handler: handler.wfile.write(b"SSH-2.0\r\n\r\n"), "it speaks no HTTP"),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "Remote end closed"),
    ):
        with answering(answer) as address:
            assert why in reason(checkpoint, labels, engine=address)


def test_tls_is_as_the_authority_says(
    checkpoint: Checkpoint, labels: LabelEmbeddings, certificates: Certificates
) -> None:
    files: dict[str, Any] = {"certificate": certificates.server, "key": certificates.server_key}
    with serving(checkpoint, **files) as server:
        assert server.url.startswith("https://")
        with asking(
            checkpoint, labels, engine=server.url, engine_ca=str(certificates.ca)
        ) as engine:
            found_by(ask(engine, [engine.stream("a")], [window(0, 5)]))
        for trusted in (certificates.other_ca, None):
            given = {} if trusted is None else {"engine_ca": str(trusted)}
            said = reason(checkpoint, labels, engine=server.url, **given)
            assert said.startswith(": its certificate is not accepted (")
            assert said.endswith("): see model.engine_ca")


@pytest.mark.parametrize("key", ["engine_ca", "engine_token_file"])
def test_files_that_cannot_be_used_end_the_start(
    key: str, checkpoint: Checkpoint, labels: LabelEmbeddings, tmp_path: Path
) -> None:
    for path in (tmp_path / "absent", tmp_path):
        given = {"engine": "https://localhost:1", key: str(path)}
        with (
            pytest.raises(ConfigError, match=f"model.{key}"),
            asking(checkpoint, labels, **given),
        ):
            pass


def test_a_frozen_engine_is_left_after_its_time_for_another(
    checkpoint: Checkpoint, labels: LabelEmbeddings
) -> None:
    """A cluster sends another session to another replica."""
    sessions: list[str] = []
    over = threading.Event()

    def freeze(handler: BaseHTTPRequestHandler) -> None:
        sessions.append(handler.headers["X-Session-Id"])
        over.wait(within(20))

    def has_come(count: int) -> bool:
        """A busy machine may give up a request before it reads it."""
        return eventually(lambda: len(sessions) == count)

    with answering(freeze) as address:
        with asking(checkpoint, labels, engine=address, engine_timeout_s=0.2) as engine:
            stream = engine.stream("a")
            for count in (1, 2, 3):
                answered = ask(engine, [stream], [window(0, 5)])
                assert answered.reason == f"{address}: no answer within 0.2 s"
                assert has_come(count)
        assert sessions == ["node-1", "node-1~1", "node-1~2"]
        with (
            serving(checkpoint) as server,
            asking(
                checkpoint, labels, engine=[address, server.url], engine_timeout_s=0.2
            ) as engine,
        ):
            stream = engine.stream("a")
            assert ask(engine, [stream], [window(0, 5)]).found is None
            waiting: Any = stream.lane
            waiting._connection._timeout_s = within(20)  # the other has time enough
            assert len(found_by(ask(engine, [stream], [window(0, 7)]))[0][0]) == 7
        over.set()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_an_engine_has_forgotten_is_sent_again_and_a_kept_connection_may_end(
    scheme: str, checkpoint: Checkpoint, labels: LabelEmbeddings, certificates: Certificates
) -> None:
    port = free_port()
    files: dict[str, Any] = {}
    if scheme == "https":
        files = {"certificate": certificates.server, "key": certificates.server_key}
    expected = Engine(checkpoint, labels).hear([Stream()], [window(0, 30)])[0]
    there = {"engine": f"{scheme}://{HOST}:{port}", "engine_ca": str(certificates.ca)}
    with asking(checkpoint, labels, **there) as engine:
        stream = engine.stream("a")
        with serving(checkpoint, port=port, **files):
            found_by(ask(engine, [stream], [window(0, 10)]))
        with serving(checkpoint, port=port, **files):
            ((scores, _),) = found_by(ask(engine, [stream], [window(0, 30)]))
        assert np.allclose(scores, expected, atol=1e-6)


def test_a_lane_that_was_forgotten_comes_in_several_requests(
    checkpoint: Checkpoint, labels: LabelEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once might be more than an engine takes, or a slow line brings in time."""
    sizes: list[int] = []
    post = EngineConnection.post

    def measured(self: EngineConnection, path: str, body: bytes) -> bytes:
        sizes.append(len(body))
        return post(self, path, body)

    monkeypatch.setattr(EngineConnection, "post", measured)
    monkeypatch.setattr(lane, "PORTION", 50 * FRAME)
    with (
        serving(checkpoint) as server,
        asking(checkpoint, labels, engine=server.url) as engine,
    ):
        streams = [engine.stream(f"s{i}") for i in range(5)]
        found_by(ask(engine, streams, [window(0, 20)] * 5))
        assert len(sizes) == 3, "two windows at a time, the first with the labels' rows"
        sizes.clear()
        server._scoring._held.clear()
        expected = Engine(checkpoint, labels).hear([Stream() for _ in streams], [window(0, 24)] * 5)
        found = found_by(ask(engine, streams, [window(0, 24)] * 5))
        assert len(sizes) == 1 + 3, "once with what is new, all together"
        for (scores, _), want in zip(found, expected, strict=True):
            assert np.allclose(scores, want, atol=1e-6)
        found_by(ask(engine, [engine.stream("long")], [window(0, 60)]))


def test_answers_that_would_be_long_come_one_by_one(
    checkpoint: Checkpoint, labels: LabelEmbeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, width = labels.rows.shape
    for module in (lane, scoring):
        monkeypatch.setattr(module, "MOST_VALUES", 30 * (rows + width))
    with (
        serving(checkpoint) as server,
        asking(checkpoint, labels, engine=server.url) as engine,
    ):
        streams = [engine.stream(f"s{i}") for i in range(5)]
        for windows in ([window(0, 20)] * 5, [window(0, 40)] * 5):
            found = found_by(ask(engine, streams, windows, embed=True))
            assert [len(scores) for scores, _ in found] == [each.frames for each in windows]


def test_a_slow_line_is_no_frozen_engine(checkpoint: Checkpoint, labels: LabelEmbeddings) -> None:
    """What is sent takes several times the time-out, and goes on all the while."""
    timeout_s = within(1.0)
    taken: list[int] = []

    def sip(handler: BaseHTTPRequestHandler) -> None:
        left = int(handler.headers["Content-Length"])
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        while left:
            taken.append(len(handler.rfile.read1(min(left, 1 << 16))))
            left -= taken[-1]
            time.sleep(timeout_s / 40)
        saying(503)(handler)

    audio = noise(1400)
    long = Window(0, audio)
    with (
        answering(sip) as address,
        asking(checkpoint, labels, engine=address, engine_timeout_s=timeout_s) as engine,
    ):
        begun_s = time.monotonic()
        answered = ask(engine, [engine.stream("a")], [long])
        assert answered.reason == f"{address}: it is too busy, or starting"
        assert time.monotonic() - begun_s > 2 * timeout_s
    assert sum(taken) > 4 * len(audio)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell what is unsent")
def test_what_the_system_still_holds_is_no_time_of_the_engines() -> None:
    """On a line that is as slow as sound is, a whole window goes for longer than the time-out."""
    timeout_s = within(1.0)

    def sip(listening: socket.socket) -> None:
        taken, _ = listening.accept()
        with taken:
            left = 400_000
            while left > 0:
                left -= len(taken.recv(8192))
                time.sleep(timeout_s / 15)
            taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            taken.recv(1)

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        listening.bind((HOST, 0))
        listening.listen()
        threading.Thread(target=sip, args=(listening,), daemon=True).start()
        address = f"http://{HOST}:{listening.getsockname()[1]}"
        settings = ModelSettings(engine=(address,), engine_timeout_s=timeout_s)
        connection = EngineConnection.factory(settings)("slow")
        assert connection.post("/v1/hear", bytes(400_000)) == b"ok"
        connection.close()


def test_a_name_in_any_script_names_a_session(
    checkpoint: Checkpoint, labels: LabelEmbeddings
) -> None:
    with (
        serving(checkpoint) as server,
        asking(checkpoint, labels, engine=server.url, node="台所 1") as engine,
    ):
        found_by(ask(engine, [engine.stream("ä")], [window(0, 5)]))


def test_lanes_are_of_a_few_and_wait_for_nobody_elses(
    checkpoint: Checkpoint, labels: LabelEmbeddings
) -> None:
    held, over = threading.Event(), threading.Event()

    def freeze(_: BaseHTTPRequestHandler) -> None:
        held.set()
        over.wait(within(60))

    with (
        answering(freeze) as address,
        asking(checkpoint, labels, engine=address, engine_lane=2, engine_timeout_s=30.0) as engine,
    ):
        a, b, c = (engine.stream(name) for name in "abc")
        assert a.lane is b.lane is not c.lane
        assert engine.stream("a").lane is a.lane
        assert engine.stream("a").epoch != a.epoch
        engine.ask([Asked("a", a, window(0, 5))], embed=False)
        assert held.wait(within(10))
        assert [engine.takes(each) for each in (a, b, c)] == [False, False, True]
        assert engine.answers() == []
        begun_s = time.monotonic()
        engine.close()
        assert time.monotonic() - begun_s < within(2), "what waits is left behind"
        over.set()


def test_answers_wake_whoever_waits(checkpoint: Checkpoint, labels: LabelEmbeddings) -> None:
    arrived = threading.Event()
    with asking(checkpoint, labels, engine=f"http://{HOST}:{free_port()}") as engine:
        engine.arrived = arrived.set
        engine.ask([Asked("a", engine.stream("a"), window(0, 5))], embed=False)
        assert arrived.wait(within(10))
        (answered,) = engine.answers()
        assert answered.found is None
        assert engine.takes(answered.asked[0].stream)


def test_a_server_that_dribbles_takes_no_longer_than_the_time(
    checkpoint: Checkpoint, labels: LabelEmbeddings
) -> None:
    def dribble(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(b".")
            handler.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            time.sleep(0.05)

    with answering(dribble) as address:
        said = reason(checkpoint, labels, engine=address, engine_timeout_s=0.3)
    assert said == ": no answer within 0.3 s"
