"""A house that receives messages over HTTP, as webhooks and Apprise send them."""

from __future__ import annotations

import email
import email.policy
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast

from ports import HOST


@dataclass(frozen=True)
class Received:
    """A request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def parts(self) -> dict[str, tuple[str, str | None, bytes]]:
        """Of a form: name -> type, file name, content."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        form = email.message_from_bytes(head + self.body, policy=email.policy.HTTP)
        return {
            str(part.get_param("name", header="content-disposition")): (
                part.get_content_type(),
                part.get_filename(),
                cast("bytes", part.get_payload(decode=True)),
            )
            for part in form.iter_parts()
        }


@dataclass
class House:
    """Answers with the statuses in `answers`, one each, and then with 200.

    hold: where it is not set, requests wait for it before they are answered.
    """

    answers: list[int] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    headers: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self.hold.set()
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self._answer))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def url(self, path: str = "/hook") -> str:
        return f"http://{HOST}:{self.port}{path}"

    def _answer(self, received: Received) -> int:
        self.received.append(received)
        self.hold.wait(30)
        return self.answers.pop(0) if self.answers else 200


def _handler(answer: Callable[[Received], int]) -> type[BaseHTTPRequestHandler]:
    owner: House = answer.__self__  # type: ignore[attr-defined] # a bound method

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                self.send_response(answer(Received(self.path, headers, body)))
                for name, value in owner.headers.items():
                    self.send_header(name, value)
                said = b"what it says"
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)
            except OSError:
                pass  # whoever asked has gone

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    return Handler
