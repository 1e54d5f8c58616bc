"""A model hub on loopback: the few routes that the hub's client uses to download a checkpoint."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """A running hub. `served` lists the files it handed out."""

    url: str = ""
    served: list[str] = field(default_factory=list)


@contextmanager
def serve(repository: str, folder: Path) -> Iterator[Hub]:
    """Serve `folder` as `repository`, with one commit known as "main", until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, repository, folder))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub, repository: str, folder: Path) -> type[BaseHTTPRequestHandler]:
    pages = _pages(repository, {path.name: path.read_bytes() for path in folder.iterdir()})

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            path = self.path.split("?")[0]
            found = pages.get(path, b"")
            self.send_response(200 if path in pages else 404)
            self.send_header("Content-Length", str(len(found)))
            self.send_header("ETag", f'"{_digest(found)}"')
            self.send_header("X-Repo-Commit", COMMIT)
            if path not in pages:
                known = path.startswith(f"/api/models/{repository}/")
                self.send_header("X-Error-Code", "RevisionNotFound" if known else "RepoNotFound")
            self.end_headers()

        def do_GET(self) -> None:
            self.do_HEAD()
            path = self.path.split("?")[0]
            self.wfile.write(pages.get(path, b""))
            if "/resolve/" in path:
                hub.served.append(path.rsplit("/", 1)[-1])

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _pages(repository: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return what the hub answers, by path: the commit, its listing and its files."""
    commit = {
        "id": repository,
        "sha": COMMIT,
        "siblings": [{"rfilename": name} for name in files],
    }
    tree = [
        {"type": "file", "path": name, "size": len(data), "oid": _digest(data)}
        for name, data in files.items()
    ]
    api = f"/api/models/{repository}"
    return {
        f"{api}/revision/main": json.dumps(commit).encode(),
        f"{api}/revision/{COMMIT}": json.dumps(commit).encode(),
        f"{api}/tree/{COMMIT}": json.dumps(tree).encode(),
    } | {f"/{repository}/resolve/{COMMIT}/{name}": data for name, data in files.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
