"""Which addresses everybody can reach, and which servers are named."""

from __future__ import annotations

import socket

import pytest

from pe_stream.audio.servers import (
    HostPort,
    addresses_of,
    are_public,
    is_named,
    server_of,
    some_of,
)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07::1", True),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::93.184.215.14", True),
        ("2002:5db8:d70e::1", True),
        *((each, False) for each in ("127.0.0.1", "10.0.0.1", "169.254.1.1", "100.64.0.1")),
        *((each, False) for each in ("224.0.0.1", "ff0e::1", "0.0.0.0", "::", "::1")),
        *((each, False) for each in ("fe80::1%eth0", "fd00::1")),
        *((each, False) for each in ("fec0::1", "fec0::1%eth0", "fef0::1", "5f00::1", "4000::1")),
        *((each, False) for each in ("100::1", "1fff::1", "200::1", "3fff::1", "192.88.99.1")),
        ("::10.0.0.1", False),
        ("::ffff:192.168.1.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("64:ff9b::127.0.0.1", False),
        ("64:ff9b::c0a8:101", False),
        ("64:ff9b:1::8.8.8.8", False),
        ("64:ff9b:1:ffff::1", False),
        ("2002:a00:1::1", False),
        ("2002:7f00:1:0:1::", False),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False),
        ("2606:2800::5efe:10.0.0.1", False),
        ("2606:2800::200:5efe:192.168.1.1", False),
        ("2606:2800::5efe:8.8.8.8", True),
    ],
)
def test_an_address_is_public_only_where_what_it_wraps_is(address: str, *, public: bool) -> None:
    assert are_public([address]) is public
    assert not are_public([address, "10.0.0.1"])
    assert not are_public([])


@pytest.mark.parametrize(
    ("host", "names", "named"),
    [
        ("cdn.example.org", ["cdn.example.org"], True),
        ("cdn.example.org", ["cdn.example.org:80"], True),
        ("cdn.example.org", ["cdn.example.org:81"], False),
        ("cdn.example.org", ["*.example.org"], True),
        ("a.cdn.example.org", ["*.example.org"], True),
        ("a.cdn.example.org", ["*.example.org:80"], True),
        ("a.cdn.example.org", ["*.example.org:443"], False),
        ("example.org", ["*.example.org"], False),
        ("badexample.org", ["*.example.org"], False),
        ("example.org.evil.net", ["*.example.org"], False),
        ("10.0.0.1", ["*.0.0.1"], False),
        ("fd00::1", ["fd00::1"], True),
        ("fd00::1", ["[fd00::1]:80"], True),
    ],
)
def test_a_server_is_named_by_itself_or_by_what_is_above_it(
    host: str, names: list[str], *, named: bool
) -> None:
    assert is_named(HostPort(host, 80), names) is named


def test_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(0, 0, 0, "", (each, 80)) for each in ("::1", "127.0.0.1", "::1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert addresses_of(HostPort("camera", 80)) == ["::1", "127.0.0.1"]

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert addresses_of(HostPort("camera", 80)) == []


def test_what_is_no_web_address_has_no_server() -> None:
    assert server_of("https://Camera/x") == ("camera", 443)
    for url in ("rtsp://a/", "http://", "http://a:99999/", "x"):
        assert server_of(url) is None


@pytest.mark.parametrize(
    ("addresses", "some"),
    [
        ([], []),
        (["::1"], ["::1"]),
        (["1", "2", "3", "4", "5"], ["1", "2", "3", "4"]),
        (["1", "2", "3", "4", "::5"], ["1", "::5", "2", "3"]),
        (["::1", "::2", "::3", "::4", "::5", "6"], ["::1", "6", "::2", "::3"]),
        (["1", "::2", "3", "::4", "5"], ["1", "::2", "3", "::4"]),
    ],
)
def test_addresses_are_tried_by_turns_of_their_kind(addresses: list[str], some: list[str]) -> None:
    assert some_of(addresses) == some
