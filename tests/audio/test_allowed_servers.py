"""Which servers a stream may be had from, whoever answers for their names meanwhile."""

from __future__ import annotations

import contextlib
import socket

import pytest

from pe_stream.audio import allowed_servers
from pe_stream.audio.allowed_servers import AllowedServers
from pe_stream.errors import UnavailableError


@pytest.mark.parametrize(
    ("first", "to", "followed"),
    [
        ("radio.example", "http://edge.example/x", True),
        ("radio.example", "https://edge.example/x", True),
        ("radio.example", "http://router.lan/x", False),
        ("radio.example", "http://127.0.0.1/x", False),
        ("radio.example", "http://[::ffff:10.0.0.1]/x", False),
        ("radio.example", "http://[64:ff9b::10.0.0.1]/x", False),
        ("radio.example", "http://nowhere.example/x", False),
        ("camera.lan", "http://edge.example/x", False),
        ("camera.lan", "http://router.lan/x", False),
        ("camera.lan", "https://camera.lan/x", True),
        ("camera.lan", "http://camera.lan:8080/x", False),
        ("camera.lan", "http://camera.lan:99999/x", False),
    ],
)
def test_a_public_server_may_lead_to_another_one_only(
    first: str, to: str, *, followed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"radio.example": "93.184.215.14", "edge.example": "2606:2800:21f:cb07::1"}
    known |= {"camera.lan": "192.168.1.9", "router.lan": "fd00::1"}

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        if host == "nowhere.example":
            raise socket.gaierror
        return [(0, 0, 0, "", (known.get(host, host), port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    allowed = AllowedServers(f"http://{first}/live")
    refused = contextlib.nullcontext() if followed else pytest.raises(UnavailableError)
    with refused:
        allowed.check_redirect(to, "a redirect")


@pytest.mark.parametrize("allowed", ["*.example", "*.cams.example:{port}", "edge.cams.example"])
def test_names_below_one_are_allowed_together(
    allowed: str,
) -> None:
    host = allowed.format(port=8080)
    servers = AllowedServers("http://127.0.0.1/live", [host])
    servers.check("http://edge.cams.example:8080/x", "its playlist")
    for elsewhere in (
        "http://cams.example.org/x",
        "http://xcams.example.org/x",
        "http://10.0.0.1/",
    ):
        with pytest.raises(UnavailableError):
            servers.check(elsewhere, "its playlist")


RADIO, EDGE = "93.184.215.14", "93.184.215.15"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What the names of servers stand for, at present."""
    table = {"radio.example": [RADIO], "edge.example": [EDGE]}
    monkeypatch.setattr(
        allowed_servers, "addresses_of", lambda server: table.get(server.host, [server.host])
    )
    monkeypatch.delenv("http_proxy", raising=False)
    return table


ADDRESSES = ["https://edge.example/x", "https://EDGE.example:443/x", "http://edge.example:443/x"]
"""Of a server that was looked at, at the port of HTTPS."""


@pytest.mark.parametrize("url", ADDRESSES)
@pytest.mark.parametrize("what", ["a redirect", "its playlist"])
def test_a_server_that_was_looked_at_is_the_same_over_tls(
    url: str, what: str, names: dict[str, list[str]]
) -> None:
    servers = AllowedServers("http://radio.example/live")
    servers.check_redirect("http://edge.example/live", "a redirect")
    names["edge.example"] = ["192.168.1.1"]
    (servers.check_redirect if what == "a redirect" else servers.check)(url, what)
    assert servers.addresses(url) == [EDGE]
    (way,) = servers.ways(url, {})
    if url.startswith("https"):
        assert way.options["tls_verify"] == "1"
        assert way.options["verifyhost"] == "edge.example"
    else:
        assert way.url == f"http://{EDGE}:443/x"


@pytest.mark.parametrize("port", [8443, 8080])
def test_another_port_is_another_server(port: int, names: dict[str, list[str]]) -> None:
    servers = AllowedServers("http://radio.example/live")
    servers.check_redirect("http://edge.example/live", "a redirect")
    url = f"https://edge.example:{port}/x"
    with pytest.raises(UnavailableError):
        servers.check(url, "its playlist")
    names["edge.example"] = ["192.168.1.1"]
    with pytest.raises(UnavailableError):
        servers.check_redirect(url, "a redirect")


def test_the_streams_own_server_is_asked_by_its_name(names: dict[str, list[str]]) -> None:
    """A camera that sends whoever asks to HTTPS signs its own certificate."""
    names["camera.lan"] = ["192.168.1.9"]
    servers = AllowedServers("http://camera.lan/live")
    servers.check_redirect("https://camera.lan/live", "a redirect")
    servers.check("https://camera.lan/live", "its playlist")
    (way,) = servers.ways("https://camera.lan/live", {"a": "b"})
    assert way == ("https://camera.lan/live", {"a": "b"}, None)


def test_few_addresses_of_a_server_are_tried(names: dict[str, list[str]]) -> None:
    names["edge.example"] = [f"93.184.{number // 250}.{number % 250}" for number in range(5000)]
    names["edge.example"].append("2606:2800:21f:cb07::1")
    servers = AllowedServers("http://radio.example/live")
    servers.check_redirect("http://edge.example/live", "a redirect")
    tried = [way.address for way in servers.ways("http://edge.example/live", {})]
    assert tried == ["93.184.0.0", "2606:2800:21f:cb07::1", "93.184.0.1", "93.184.0.2"]


def test_the_address_that_answered_is_asked_first(names: dict[str, list[str]]) -> None:
    url = "http://edge.example/live"
    names["edge.example"] = [RADIO, EDGE]
    servers = AllowedServers("http://radio.example/live")
    servers.check_redirect(url, "a redirect")
    servers.answered(url, EDGE)
    servers.answered(url, None)
    servers.answered("http://radio.example/live", EDGE)
    assert [way.address for way in servers.ways(url, {})] == [EDGE, RADIO]
    assert servers.addresses("http://radio.example/live") == []


@pytest.mark.parametrize(
    ("proxy", "no_proxy", "by_name"),
    [
        ("http://proxy.lan:3128", "", True),
        ("http://proxy.lan:3128", "other.example", True),
        ("http://proxy.lan:3128", "edge.example", False),
        ("http://proxy.lan:3128", "*", False),
        ("https://proxy.lan:3128", "", False),
        ("proxy.lan:3128", "", False),
        ("socks5://proxy.lan:1080", "", False),
    ],
)
def test_only_a_proxy_that_is_asked_looks_up_the_name(
    proxy: str,
    no_proxy: str,
    names: dict[str, list[str]],
    monkeypatch: pytest.MonkeyPatch,
    *,
    by_name: bool,
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", no_proxy)
    servers = AllowedServers("http://radio.example/live")
    servers.check_redirect("http://edge.example/live", "a redirect")
    (way,) = servers.ways("http://edge.example/live", {})
    assert way.url == f"http://{'edge.example' if by_name else f'{EDGE}:80'}/live"
