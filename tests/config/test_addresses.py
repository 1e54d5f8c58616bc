"""What is masked, and what counts as a network address."""

from __future__ import annotations

import pytest

from pe_stream.config.addresses import authority, is_network, masked_url, origin


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://camera/stream", "rtsp://camera/stream"),
        ("rtsp://user:secret@camera:554/stream", "rtsp://********@camera:554/stream"),
        ("rtsp://user:sec@re/t@camera/stream", "rtsp://********@camera/stream"),
        (
            "http://camera/flv?user=me&password=secret#top",
            "http://camera/flv?user=********&password=********#top",
        ),
        (
            "rtsp://camera/user=me&password=secret&channel=1/live",
            "rtsp://camera/user=********&password=********&channel=********/live",
        ),
        ("RTSP://user:secret@camera/", "RTSP://********@camera/"),
        ("recordings/a=b@c.wav", "recordings/a=b@c.wav"),
    ],
)
def test_secrets_in_addresses_are_masked(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    ("url", "network"),
    [
        ("rtsp://camera/a", True),
        ("HTTPS://radio/a.mp3", True),
        ("/a/b.wav", False),
        ("12:30.wav", False),
        ("C:\\a.wav", False),
    ],
)
def test_addresses_are_told_from_files(url: str, network: object) -> None:
    assert is_network(url) == network


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://house", "https://house"),
        ("https://house:8443/secret/secret?secret#secret", "https://house:8443/********"),
        ("http://user:secret@house?secret", "http://********@house/********"),
        ("http://user:sec@ret@[::1]:80/secret@x", "http://********@[::1]:80/********"),
    ],
)
def test_of_an_origin_the_host_alone_is_shown(url: str, shown: str) -> None:
    assert origin(url) == shown


@pytest.mark.parametrize(
    ("host", "shown"),
    [("localhost", "localhost:80"), ("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80")],
)
def test_an_ipv6_address_is_in_brackets(host: str, shown: str) -> None:
    assert authority(host, 80) == shown
