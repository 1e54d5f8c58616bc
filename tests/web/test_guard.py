"""Who may do what: names, origins, passwords, sizes, rates."""

from __future__ import annotations

import errno
import json
import socket
import ssl
import subprocess
import time
from pathlib import Path

import anyio.to_thread
import httpx
import pytest
from limits import parse as parse_rate
from limits.strategies import MovingWindowRateLimiter
from timing import within
from web.houses import Standing, standing

from pe_stream.config.file import parse
from pe_stream.errors import ConfigError, UnavailableError, UsageError
from pe_stream.outputs import http_server
from pe_stream.web import guard
from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.passwords import Authenticator, hash_password
from pe_stream.web.server import listening_for

PASSWORD = "correct horse"
TOKEN = "t0ken-of-more-than-twenty-characters"


def raw(house: Standing, request: bytes) -> bytes:
    """Send bytes as they are; returns what comes until the other end closes."""
    host, port = httpx.URL(house.url).host, httpx.URL(house.url).port
    assert port is not None
    with socket.create_connection((host, port), within(10)) as connection:
        connection.sendall(request)
        answer = b""
        while more := connection.recv(65536):
            answer += more
    return answer


def test_the_page_and_its_api_are_there(house: Standing) -> None:
    with house.client() as client:
        page = client.get("")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"
        assert client.get("api/v1/info").json()["node"] == "Test"
        assert client.get("api/v1/session").json() == {
            "required": False,
            "authenticated": False,
        } | {"authenticated": True}
        assert client.get("api/v1/nothing").status_code == 404
        assert client.get("static/../../config.yaml").status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "[", "a:b:c"]
)
def test_a_foreign_name_that_points_here_gets_nothing(house: Standing, host: str) -> None:
    answer = raw(
        house, f"GET /api/v1/info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )
    assert answer.split()[1] in (b"421", b"400")
    assert b"Test" not in answer


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": ""},
    ],
    ids=repr,
)
def test_another_site_changes_nothing(house: Standing, headers: dict[str, str]) -> None:
    version = house.file.version
    with house.client() as client:
        told = {"if-match": f'"{version}"'} | headers
        answer = client.patch(
            "api/v1/labels/dog", content=json.dumps({"threshold": 0.7}), headers=told
        )
    assert answer.status_code in (403, 415)
    assert not house.edits
    assert house.file.version == version


def test_to_remove_takes_no_content(house: Standing) -> None:
    told = {"if-match": house.file.version, "content-type": ""}
    with house.client() as client:
        refused = client.delete(
            "api/v1/labels/dog", headers=told | {"origin": "https://evil.example"}
        )
        assert refused.status_code == 403
        assert client.delete("api/v1/labels/dog", headers=told).is_success


def test_our_own_page_may(house: Standing) -> None:
    own = house.url.removesuffix("/")
    with house.client(headers={"origin": own, "sec-fetch-site": "same-origin"}) as client:
        told = {"if-match": house.file.version}
        assert client.patch("api/v1/labels/dog", json={"threshold": 0.7}, headers=told).is_success


def test_a_body_has_its_limit(house: Standing) -> None:
    with house.client() as client:
        big = json.dumps({"text": "x" * guard.MOST_BYTES, "source": "kitchen"})
        assert client.post("api/v1/try", content=big).status_code == 413

        def pieces() -> object:
            for _ in range(100):
                yield b" " * 4096

        assert client.post("api/v1/try", content=pieces()).status_code == 413  # type: ignore[arg-type]
        assert client.get("api/v1/info").is_success


def test_an_address_that_asks_too_often_waits(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "REQUESTS", parse_rate("5/minute"))
    with house.client() as client:
        answers = [client.get("api/v1/session") for _ in range(7)]
    assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61


def test_health_is_answered_whatever_else_comes_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "REQUESTS", parse_rate("2/minute"))
    with standing(tmp_path, f", prefix: /sounds{PROXIED}0") as house, house.client() as client:
        answers = [client.get("api/v1/session").status_code for _ in range(3)]
        assert answers == [200, 200, 429]
        assert [client.get("api/v1/health").status_code for _ in range(9)] == [200] * 9
        assert client.post("api/v1/health", json={}).status_code == 429
        assert client.get("api/v1/health/").status_code == 429

        def none_left(*_: object) -> None:
            raise NO_THREAD

        monkeypatch.setattr(MovingWindowRateLimiter, "hit", none_left)
        monkeypatch.setattr(anyio.to_thread, "run_sync", none_left)
        assert client.get("api/v1/session").status_code == 503
        assert client.get("api/v1/health").status_code == 200


PROXIED = f", token: {TOKEN}, origins: ['https://house.example'], trusted_proxies: "


def asked(house: Standing, *forwarded: str, path: str = "api/v1/session", **more: str) -> int:
    """Ask as proxies pass it on, with these lines of X-Forwarded-For; the status."""
    headers = [("x-forwarded-for", line) for line in forwarded] + list(more.items())
    with httpx.Client(base_url=house.url, timeout=within(20)) as client:
        return client.get(path, headers=headers).status_code


def test_nobody_is_kept_out_by_what_others_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all have one address, as behind a proxy of which nothing is known."""
    monkeypatch.setattr(guard, "REQUESTS", parse_rate("5/minute"))
    with standing(tmp_path, PROXIED + "0") as house:
        answers = [asked(house, f"10.0.0.{n}") for n in range(7)]
        assert answers == [200] * 5 + [429] * 2
        known = {"authorization": f"Bearer {TOKEN}"}
        for _ in range(7):
            assert asked(house, path="api/v1/info", **known) == 200
            assert asked(house, path="", **known) == 200
        with house.client(headers=known) as client:
            for _ in range(12):  # more than an address may try
                assert client.post("api/v1/session", json={"password": "x" * 9}).status_code == 401
        assert asked(house, path="api/v1/info", authorization="Bearer " + "x" * 36) == 429


@pytest.mark.parametrize(
    "case",  # how many proxies; the headers of two requests; whether they are one visitor's
    [
        # what the proxy adds comes last; what stands before it, anybody may have written
        (1, ["10.0.0.1"], ["10.0.0.2"], False),
        (1, ["1.1.1.1, 10.0.0.1"], ["2.2.2.2, 10.0.0.1"], True),
        (1, ["1.1.1.1", "10.0.0.1"], ["2.2.2.2", "10.0.0.1"], True),
        (1, ["10.0.0.1, 1.1.1.1"], ["10.0.0.1, 2.2.2.2"], False),
        (2, ["1.1.1.1, 10.0.0.1, 10.9.9.1"], ["2.2.2.2, 10.0.0.1, 10.9.9.2"], True),
        (2, ["10.0.0.1, 10.9.9.9"], ["10.0.0.2, 10.9.9.9"], False),
        (2, ["10.0.0.1"], ["10.0.0.2"], False),  # not through the outer one
        (1, ["10.0.0.1:1111"], ["10.0.0.1:2222"], True),
        (1, ["[2001:db8::1]:1111"], ["2001:db8::ffff"], True),
        (1, ["2001:db8::1"], ["2001:db8:0:1::1"], False),
        (1, ["nonsense"], ["127.0.0.1"], True),  # then it is the proxy's own
        (1, [], [""], True),
        (0, ["10.0.0.1"], ["10.0.0.2"], True),
    ],
)
def test_visitors_behind_proxies_are_told_apart_by_what_the_proxies_say(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[int, list[str], list[str], bool],
) -> None:
    proxies, first, second, same = case
    monkeypatch.setattr(guard, "REQUESTS", parse_rate("3/minute"))
    with standing(tmp_path, f"{PROXIED}{proxies}") as house:
        assert [asked(house, *first) for _ in range(4)] == [200, 200, 200, 429]
        assert asked(house, *second) == (429 if same else 200)


def tried(house: Standing, who: str) -> int:
    """Log in with a wrong password, from there; the status."""
    with house.client(headers={"x-forwarded-for": who}) as client:
        return client.post("api/v1/session", json={"password": "x" * 9}).status_code


def test_who_tries_from_many_addresses_keeps_nobody_else_from_logging_in(tmp_path: Path) -> None:
    with standing(tmp_path, PROXIED + "1") as house:
        flood = [tried(house, f"10.0.0.{n}") for _ in range(8) for n in range(8)]
        assert 50 <= flood.count(401) <= 60  # 24 for the first time, and 30 more
        assert flood[-8:] == [429] * 8
        assert [tried(house, "10.0.0.3") for _ in range(3)] == [429] * 3
        # Somebody new, who mistypes it twice.
        assert [tried(house, "10.9.9.9") for _ in range(2)] == [401] * 2
        with house.client(headers={"x-forwarded-for": "10.9.9.9"}) as client:
            assert client.post("api/v1/session", json={"password": TOKEN}).is_success
            assert client.get("api/v1/info").is_success
        known = {"authorization": f"Bearer {TOKEN}"}
        assert asked(house, "10.0.0.3", path="api/v1/info", **known) == 200


def test_a_house_with_many_networks_tries_no_more_than_another(tmp_path: Path) -> None:
    with standing(tmp_path, PROXIED + "1") as house:
        begun_s = time.monotonic()
        flood = [tried(house, f"2001:db8:0:{n * 257:x}::1") for n in range(256)]
        # Three for the first time, and 30 more; where it takes long, 30 in each minute.
        assert flood.count(401) <= 3 + 30 * (1 + (time.monotonic() - begun_s) // 60)
        assert [tried(house, who) for who in ("2001:db8:1::1", "10.9.9.9")] == [401] * 2


def test_first_tries_have_an_end_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "ALL_FIRST_LOGINS", parse_rate("4/minute"))
    with standing(tmp_path, PROXIED + "1") as house:
        assert [tried(house, f"10.0.0.{n}") for n in range(6)] == [401] * 4 + [429] * 2


NO_FILE = OSError(errno.EMFILE, "Too many open files")
NO_THREAD = RuntimeError("can't start new thread")


@pytest.mark.parametrize(
    "case",
    [
        (DaemonView, "sources", NO_FILE),
        (DaemonView, "sources", NO_THREAD),
        (MovingWindowRateLimiter, "hit", NO_THREAD),
    ],
)
def test_where_something_has_run_out_the_answer_says_so(
    house: Standing,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    case: tuple[type, str, Exception],
) -> None:
    where, what, error = case

    def none_left(*_: object) -> None:
        raise error

    with house.client() as client:
        monkeypatch.setattr(where, what, none_left)
        told = client.get("api/v1/sources")
        assert told.status_code == 503
        assert told.json()["detail"].startswith("no ")
        monkeypatch.undo()
        assert client.get("api/v1/sources").is_success
    assert not [record for record in caplog.records if record.exc_info]


@pytest.fixture(scope="module")
def hashed() -> str:
    return hash_password(PASSWORD)


def test_with_a_password_one_logs_in(tmp_path: Path, hashed: str) -> None:
    with standing(tmp_path, f", password_hash: '{hashed}'") as house, house.client() as client:
        assert client.get("").is_success  # the page itself holds nothing
        closed = ("info", "events", "live", "openapi.json", "events/x/clip", "labels", "health/")
        for path in closed:
            answer = client.get(f"api/v1/{path}")
            assert answer.status_code == 401, path
            assert answer.json() == {"detail": "log in first"}
        for alive, status in ((True, 200), (False, 503)):
            house.alive = alive
            assert client.get("api/v1/health").status_code == status
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert client.request(method, "api/v1/health", json={}).status_code == 405, method
        told = client.post("api/v1/session", json={"password": "wrong"})
        assert (told.status_code, client.cookies) == (401, httpx.Cookies())
        told = client.post("api/v1/session", json={"password": PASSWORD})
        assert told.json() == {"required": True, "authenticated": True}
        cookie = told.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("api/v1/info").is_success
        assert client.get("api/v1/session").json()["authenticated"]
        kept = dict(client.cookies)
        client.delete("api/v1/session")
        assert client.get("api/v1/info").status_code == 401
        with house.client(cookies=kept) as thief:
            assert thief.get("api/v1/info").status_code == 401
        assert PASSWORD not in str(client.get("api/v1/session").headers)


@pytest.mark.parametrize("cookie", ["", "x", "ImluIg.aR.x", "a" * 10_000, "\x00", '"'])
def test_a_made_up_cookie_is_none(tmp_path: Path, hashed: str, cookie: str) -> None:
    with standing(tmp_path, f", password_hash: '{hashed}'") as house:
        answer = raw(
            house,
            b"GET /api/v1/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            + f"Cookie: {guard.COOKIE}={cookie}\r\n\r\n".encode(),
        )
    assert answer.split()[1] in (b"401", b"400")


def test_programs_bring_a_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    with standing(tmp_path, f", token_file: {file}") as house, house.client() as client:
        for token, status in ((TOKEN, 200), (TOKEN + "x", 401), ("x", 401), ("\xe9", 401)):
            headers = {"authorization": f"Bearer {token}".encode("latin-1")}
            assert client.get("api/v1/info", headers=headers).status_code == status  # type: ignore[arg-type]
        # also to log in with, where there is no password
        assert client.post("api/v1/session", json={"password": TOKEN}).is_success


def test_guessing_is_slow(tmp_path: Path, hashed: str) -> None:
    with standing(tmp_path, f", password_hash: '{hashed}'") as house, house.client() as client:
        answers = [
            client.post("api/v1/session", json={"password": "guess"}).status_code for _ in range(12)
        ]
        assert answers == [401] * 10 + [429] * 2
        again = client.post("api/v1/session", json={"password": PASSWORD})
        assert again.status_code == 429
        assert int(again.headers["retry-after"]) > 30


def test_another_password_ends_every_session(hashed: str) -> None:
    def door(password_hash: str) -> Authenticator:
        text = f"labels: {{a: }}\nweb: {{password_hash: '{password_hash}'}}"
        return Authenticator(parse(text).web)

    session = door(hashed).session()
    assert door(hashed).knows_session(session)
    assert not door(hash_password(PASSWORD)).knows_session(session)  # the salt differs
    with pytest.raises(ConfigError, match="not what `pe-stream hash-password` makes"):
        door("$argon2id$damaged")
    with pytest.raises(UsageError, match="at least 8 characters"):
        hash_password("short")


def test_a_proxy_shows_it_below_a_path(tmp_path: Path) -> None:
    web = ", prefix: /sounds, origins: ['https://house.example'], proxy_asks: true"
    with standing(tmp_path, web) as house:
        base = house.url.removesuffix("/sounds/")
        headers = {"host": "house.example", "content-type": "application/json"}
        with httpx.Client(base_url=base, headers=headers, timeout=within(20)) as client:
            for prefix in ("/sounds", ""):  # a proxy may take the path off, or leave it
                assert client.get(f"{prefix}/api/v1/info").is_success
                assert client.get(f"{prefix}/").is_success
            over = client.get("/sounds")
            assert (over.status_code, over.headers["location"]) == (308, "/sounds/")
            told = {"if-match": house.file.version, "origin": "https://house.example"}
            changed = client.patch(
                "/sounds/api/v1/labels/dog", json={"threshold": 0.7}, headers=told
            )
            assert changed.is_success
            document = client.get("/sounds/api/v1/openapi.json").json()
            assert document["servers"] == [{"url": "/sounds"}]


def test_it_is_encrypted_where_there_is_a_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "rsa:2048", "-nodes", "-days", "2"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True
    )
    with standing(tmp_path, f", tls: {{certificate: {certificate}, key: {key}}}") as house:
        assert house.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(certificate))
        with house.client(verify=trusted) as client:
            assert client.get("api/v1/info").is_success
    with (
        pytest.raises(UnavailableError, match=r"web\.tls cannot be used"),
        standing(tmp_path, f", tls: {{certificate: {key}, key: {certificate}}}"),
    ):
        pass


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        web = parse(f"labels: {{a: }}\nweb: {{port: {port}}}").web
        with pytest.raises(UnavailableError, match=f"127.0.0.1:{port}.*web.port"):
            listening_for(web, 10)


def test_a_connection_that_asks_nothing_is_closed(
    house: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "LOOK_S", 0.1)
    address = httpx.URL(house.url)
    place = address.host, address.port or 0
    for said, answer in ((b"", b""), (b"GET / HTTP/1.1\r\nHost: loc", b"HTTP/1.1 408 ")):
        with (
            monkeypatch.context() as strict,
            socket.create_connection(place, within(10)) as connection,
        ):
            connection.sendall(said)
            strict.setattr(http_server, "HEAD_S", 0.2)  # not while it is on its way
            said_back = connection.recv(100)
            assert said_back.startswith(answer)
            assert bool(said_back) == bool(answer), "closed by the other end"
    with house.client() as client:
        assert client.get("api/v1/info").is_success
        assert client.get("api/v1/info").is_success  # kept open


@pytest.mark.parametrize(
    ("web", "said"),
    [
        ("host: 0.0.0.0", "the whole network reaches the page: set password_hash"),
        ("host: '::'", "the whole network"),
        ("host: nas.local", "the whole network"),
        ("password_hash: secret", "not a hash: `pe-stream hash-password` makes one"),
        ("token: short", "at least 20 characters"),
        (f"token: {TOKEN}, token_file: x", "both given"),
        ("prefix: sounds", "a path as /sounds"),
        ("prefix: /sounds/", "without a / at its end"),
        ("origins: [house.example]", "an address without a path"),
        ("origins: ['https://house.example/x']", "an address without a path"),
        ("origins: ['https://house.example']", "a proxy lets everybody in"),
        ("port: 0", "at least 1"),
        ("tls: {certificate: x}", "web.tls.key: not given"),
    ],
)
def test_settings_that_cannot_be_meant_are_told(web: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as told:
        parse(f"labels: {{a: }}\nweb: {{{web}}}")
    assert "secret'" not in str(told.value)


def test_beyond_this_machine_a_password_or_token_is_enough() -> None:
    for guarded in (f"token: {TOKEN}", "token_file: x"):
        web = parse(f"labels: {{a: }}\nweb: {{host: 0.0.0.0, {guarded}}}").web
        assert web.host == "0.0.0.0"
    assert parse("labels: {a: }\nweb: {host: '::1'}").web.host == "::1"
