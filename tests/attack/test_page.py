"""Nobody gets into the page without a password, and nobody keeps its owner out."""

from __future__ import annotations

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml
from limits import parse as parse_rate
from ports import HOST
from timing import within
from web.houses import Standing, standing

from pe_stream.web import guard, server

TOKEN = "0123456789abcdef0123456789"
KNOWN = {"authorization": f"Bearer {TOKEN}"}
OURS = "origins: ['https://house.example'], prefix: "


def long(*values: Any) -> Any:
    return pytest.param(*values, marks=[pytest.mark.attack, pytest.mark.timeout(900)])


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked here is not refused for its number."""
    monkeypatch.setattr(guard, "REQUESTS", parse_rate("1000000/minute"))
    monkeypatch.setattr(server, "_RATE", 100_000)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    """A house that stands while it is tried to get in one way after the other."""
    with standing(tmp_path_factory.mktemp("house"), f", token: {TOKEN}") as house:
        yield house


def port_of(house: Standing) -> int:
    port = httpx.URL(house.url).port
    assert port is not None
    return port


def answer(port: int, request: bytes, patience_s: float = 10.0) -> bytes:
    """What comes until the other end closes, or says nothing for so long."""
    with socket.create_connection((HOST, port), within(10)) as connection:
        said = b""
        try:
            connection.sendall(request)
            connection.settimeout(within(patience_s))
            while more := connection.recv(1 << 20):
                said += more
        except (ConnectionError, TimeoutError):  # of what is too long, the rest is not read
            pass
        return said


ROUTES = ["info", "events", "live", "labels", "openapi.json", "verdicts", "sources"]

HEADERS = [
    {},
    {"X-Forwarded-Prefix": "/x"},
    {"X-Original-URL": "/api/v1/session"},
    {"X-Rewrite-URL": "/index.html"},
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-Host": "localhost"},
    {"X-HTTP-Method-Override": "GET"},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer null"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": f"bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Cookie": "pe_stream_session="},
    {"Cookie": "pe_stream_session=."},
    {"Cookie": "pe_stream_session=None"},
    {"Cookie": "pe_stream_session=eyJ4IjoxfQ.aaaa.bbbb"},
]


def spellings(path: str) -> list[str]:
    """Of a path that needs a password; some of them mean it, to somebody on the way."""
    return [
        *(path, f"/{path}", f"//{path}", f"{path}/", f"{path}//", f"{path}%0a", f"{path}%00"),
        *(f"{path}%20", f"{path};x", f"{path}%2f", f"{path}?x", f"{path}#x", path.upper()),
        *(path.replace("/api/", each) for each in ("/API/", "/%61pi/", "/api//", "/./api/")),
        *(path.replace("/api/", each) for each in ("/x/../api/", "/%2e/api/", "/x/%2e%2e/api/")),
        *(path.replace("/", "%2f"), f"http://127.0.0.1{path}", f"http://evil{path}"),
        *(f"/css/..{path}", f"/css/%2e%2e{path}", f"/css/..%2f{path[1:]}"),
        *(path.replace("/api", "/api%ff"), path.replace("/api", "/%e2%84%aapi")),
    ]


def requests(prefixes: list[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """(method, target, headers), none of which may get anything."""
    for prefix in prefixes:
        for route in ROUTES:
            path = f"/api/v1/{route}"
            for spelling in spellings(path):
                target = spelling if spelling.startswith("http") else prefix + spelling
                plain = spelling == path
                every = HEADERS if plain and not prefix and route == "info" else HEADERS[:1]
                for headers in every:
                    for method in ("GET", "HEAD", "OPTIONS", "PROPFIND") if plain else ("GET",):
                        yield method, target, headers


SECRET = (b'"node"', b'"events"', b"event:", b'"labels"', b'"openapi"', b'"sources"')


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize(
    ("web", "prefixes"),
    [
        ("", [""]),
        long(
            OURS + "/sounds", ["", "/sounds", "/sounds/sounds", "/sounds/", "//sounds", "/soundsX"]
        ),
        long(OURS + "/sounds", ["/%73ounds"]),
        long(OURS + "/api", ["", "/api", "/api/api"]),
        long(OURS + "/api/v1", ["", "/api/v1", "/api/v1/api/v1"]),
    ],
)
def test_no_spelling_of_a_request_gets_in(tmp_path: Path, web: str, prefixes: list[str]) -> None:
    tried: Counter[str] = Counter()
    with standing(tmp_path, f", token: {TOKEN}{f', {web}' if web else ''}") as house:
        port = port_of(house)
        for method, target, headers in requests(prefixes):
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}"
            told = answer(port, f"{head}Connection: close\r\n\r\n".encode())
            tried[told[9:12].decode()] += 1
            got = told.startswith(b"HTTP/1.1 2") and any(each in told for each in SECRET)
            assert not got, (method, target, headers, told[:300])
        with house.client(headers=KNOWN) as client:
            assert client.get("api/v1/info").is_success
    assert sum(tried.values()) >= 240 * len(prefixes) - 100, tried
    assert tried["401"] > 50, tried


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "localhost.evil", "127.0.0.1.nip.io", "localhost.", "", "127.1"),
        *("0x7f.1", "[::1", "127.0.0.1\tx", "evil@127.0.0.2"),
    ],
)
def test_only_names_of_its_own_are_answered(kept: Standing, host: str) -> None:
    head = f"GET /api/v1/info HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\n"
    told = answer(port_of(kept), f"{head}Connection: close\r\n\r\n".encode())
    assert told[9:12] in (b"400", b"421")


POST = b"POST /api/v1/session HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GET = b"GET /api/v1/info HTTP/1.1\r\nHost: localhost\r\n"

TRICKS = {
    "a length and chunks": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + GET
    + b"\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    "negative length": POST + b"Content-Length: -5\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "bare LF": GET.replace(b"\r\n", b"\n") + b"\n",
    "folded": GET + b"X: a\r\n b\r\n\r\n",
    "200 kB header": GET + b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    "20,000 headers": GET + b"a: b\r\n" * 20_000 + b"\r\n",
    "1 MB of a chunk's extension": POST
    + b"Transfer-Encoding: chunked\r\n\r\n5;"
    + b"a" * 1_000_000
    + b"\r\nhello\r\n0\r\n\r\n",
    "2,000 at once": b"GET /favicon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000,
    "no version": b"GET /api/v1/info\r\n\r\n",
    "binary": bytes(range(256)) * 4,
}


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_of_http_gets_in_or_breaks_it(
    kept: Standing, trick: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = answer(port_of(kept), TRICKS[trick], 1.0)
    with kept.client(headers=KNOWN) as client:
        assert client.get("api/v1/info").is_success
    assert b'"node"' not in told
    statuses = set(re.findall(rb"HTTP/1.1 (\d+) ", told))
    assert statuses <= {b"200", b"400", b"401", b"411", b"413", b"422", b"431"}, told[:300]
    assert not [record for record in caplog.records if record.exc_info]


BODIES = {
    "deep": b"[" * 60_000,
    "too long": b'"' + b"a" * 70_000 + b'"',
    "NaN": b'{"source":"kitchen","text":NaN}',
    "surrogate": b'{"source":"kitchen","text":"\\ud800"}',
    "NUL": b'{"source":"kitchen","text":"\\u0000"}',
    "UTF-16": json.dumps({"source": "kitchen", "text": "x"}).encode("utf-16"),
    "long number": b'{"source":"kitchen","text":' + b"9" * 5000 + b"}",
    "gzip": b"\x1f\x8b",
    "no object": b"3",
    "accents": json.dumps({"source": "nowhere", "text": "e" + "\u0301" * 499}).encode(),
}


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize("body", BODIES)
def test_no_body_breaks_it(kept: Standing, body: str) -> None:
    with kept.client(headers=KNOWN) as client:
        assert client.post("api/v1/try", content=BODIES[body]).status_code in (
            400,
            404,
            409,
            413,
            422,
        )


NAMES = [
    *("a: b", "a #b", "'q'", '"dq"', "- x", "[a]", "{a}", "&anchor", "*alias", "!tag", "%d", "@at"),
    *("`b", "yes", "null", "1", "1.5", "0x10", "2026-11-30", "~", "=", "<<", "? x", "a\\b"),
    *("\u2028x", "x\u0085y", "\ufeffbom", "e\u0301", "\u00e9", "\U0001f415dog", "\u202egnp.exe"),
    *("a/b", "../../etc", "any", "ANY", "\u0430ny", "A" * 100, "x\ty", "x\ny", "x\r\nlabels:"),
    *("\x00n", "speech: {threshold: 0.1}", f"a{' ' * 50}b", "dog\u200b", "set", "events", "a+b"),
    *("#", "+", "=HYPERLINK(1)", "<img src=x onerror=alert(1)>"),
]


@pytest.mark.usefixtures("unlimited")
def test_no_name_of_a_label_breaks_the_file(tmp_path: Path) -> None:
    told: Counter[int] = Counter()
    with standing(tmp_path) as house, house.client() as client:
        for name in NAMES:
            version = client.get("api/v1/labels").json()["version"]
            status = client.put(
                f"api/v1/labels/{quote(name, safe='')}",
                json={"prompts": ["p"], "threshold": 0.9},
                headers={"if-match": version},
            ).status_code
            told[status] += 1
            assert status in (201, 404, 409, 422), name
            text = house.file.path.read_text("utf-8")
            assert "# the neighbour's" in text
            assert (name in yaml.safe_load(text)["labels"]) == (status == 201), name
    assert told[201] > 20


HOLD = b"GET /favicon.svg HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\nx"


@pytest.mark.realtime
@pytest.mark.parametrize(("viewers", "held", "seconds"), [(1, 100, 3), long(50, 600, 60)])
def test_who_holds_all_connections_keeps_the_owner_not_out(
    tmp_path: Path, viewers: int, held: int, seconds: int
) -> None:
    """After each answer one more byte of the body, which takes away uvicorn's only time limit."""
    most = 64 + 8 * viewers
    with standing(tmp_path, f", token: {TOKEN}, viewers: {viewers}") as house, ExitStack() as stack:
        assert house.server._most == most < held
        for _ in range(held):
            connection = socket.create_connection((HOST, port_of(house)), within(30))
            stack.enter_context(connection).sendall(HOLD)
            assert connection.recv(12) == b"HTTP/1.1 200"
            connection.sendall(b"y")
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            with house.client(headers=KNOWN) as client:
                assert client.get("api/v1/info").is_success
                assert client.get("").is_success
            time.sleep(1)


@pytest.mark.attack
@pytest.mark.realtime
def test_who_asks_very_often_keeps_the_owner_not_out(tmp_path: Path) -> None:
    """Behind a proxy, whose address all have."""
    with standing(tmp_path, f", token: {TOKEN}, origins: ['https://house.example']") as house:
        statuses: Counter[bytes] = Counter()
        for _ in range(16):
            request = b"GET /favicon.svg HTTP/1.1\r\nHost: localhost\r\n\r\n"
            told = answer(port_of(house), request * 201, 1.0)
            statuses.update(re.findall(rb"HTTP/1.1 (\d+) ", told))
        assert statuses[b"200"] == 3000
        assert statuses[b"429"] > 0
        with house.client(headers=KNOWN) as client:
            assert client.get("api/v1/info").is_success
