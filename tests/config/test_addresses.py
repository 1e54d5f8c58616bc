"""What is masked, and what counts as a network address."""

from __future__ import annotations

import time

import pytest
from timing import within

from pe_stream.config.addresses import (
    authority,
    encoded_url,
    is_ambiguous,
    is_misspelt,
    is_network,
    masked_url,
    origin,
)
from pe_stream.config.file import effective, parse
from pe_stream.config.notifications import shown as shown_service
from pe_stream.errors import ConfigError

MISSPELT = [
    ("rtsp:/admin:hunter2@cam", "rtsp:/********@cam"),
    ("rtsp:admin:hunter2@cam/a", "rtsp:********@cam/a"),
    ("rtsp:///admin:hunter2@cam", "rtsp://********@cam"),
    ("rtsp//admin:hunter2@cam", "rtsp//********@cam"),
    ("rtsp;//admin:hunter2@cam", "rtsp;//********@cam"),
    ("rtsp: //admin:hunter2@cam", "rtsp: //********@cam"),
    ("rtsp:\\\\admin:hunter2@cam", "rtsp:\\\\********@cam"),
    (" rtsp://admin:hunter2@cam", " rtsp://********@cam"),
    ("RTSP:/admin:hun/ter2@cam", "RTSP:/********@cam"),
    ("http:/cam/x?user=admin&password=hunter2", "http:/cam/x?user=********&password=********"),
    ("//admin:hunter2@cam/x", "//********@cam/x"),
    ("admin:hunter2@cam:554/x", "********@cam:554/x"),
    ("admin:hun/ter2@cam/x", "********@cam/x"),
    ("admin:/hunter2@cam/x", "********@cam/x"),
    ("admin:hun\\ter2@cam/x", "********@cam/x"),
    ("admin:h@un/t:er2@cam/x", "********@cam/x"),
    (":hun/ter2@cam", "********@cam"),
    ("DOMAIN\\admin:hun/ter2@cam", "********@cam"),
    ("DOMAIN\\admin:hunter2@cam", "********@cam"),
    ("admin:hun ter/ter2@cam", "********@cam"),
    ("admin:hun/ter2 ter2@cam", "********@cam"),
    ("admin: hun/ter2@cam", "********@cam"),
    ("a:/hunter2@cam", "********@cam"),
    (" admin:hun/ter2@cam", " ********@cam"),
    ("a:\\hunter2@cam", "********@cam"),
    ("admin:hunter2://ter2@cam", "********@cam"),
    ("rtsp:/admin:hunter2://ter2@cam", "rtsp:/********@cam"),
    ("me@home:hun/ter2@cam", "********@cam"),
    ("us/er:hun/ter2@cam", "********@cam"),
    ("us/er:hun/ter2@cam:554/live.mp4", "********@cam:554/live.mp4"),
    ("us/er:hunter2@cam.lan", "********@cam.lan"),
    ("rtsp:/cam/x?password=hun/ter2&channel=1", "rtsp:/cam/x?password=********&channel=********"),
    ("onvif:/admin:hun/ter2@cam", "********@cam"),
    ("url=rtsp://admin:hunter2@cam", "url=rtsp://********@cam"),
    ("url=admin:hun/ter2@cam", "********@cam"),
    *(
        PERHAPS_FILES := [
            ("cam/live?password=hunter2&channel=1", "cam/live?password=********&channel=1"),
            ("cam/live?password=hun/ter2&channel=1", "cam/live?password=********&channel=1"),
        ]
    ),
]
"""What was meant as an address, and what is shown of it; PERHAPS_FILES are not refused."""


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
        ("recordings/12:30/a@b.wav", "recordings/12:30/a@b.wav"),
        ("http://camera/a?password=hun/ter2", "http://camera/a?password=********"),
        ("a/b,admin:hun/ter2@cam", "a/b,********@cam"),
        ("cannot open 'admin:hun/ter2 x@cam'", "cannot open ********@cam'"),
        ("/data/a song: live/at @ home.wav", "/data/a song: live/at @ home.wav"),
        ("~/12:30/a@b.wav", "~/12:30/a@b.wav"),
        ("/live/admin:hunter2@cam", "/live/********@cam"),
        ("/data/12:30/a.wav", "/data/12:30/a.wav"),
        ("/data/12:30/a@b.wav", "/data/12:30/a@b.wav"),
        ("./12:30/a@b.wav", "./12:30/a@b.wav"),
        ("C:\\sounds\\a@b.wav", "C:\\sounds\\a@b.wav"),
        *((url, masked) for url, masked in MISSPELT if masked),
    ],
)
def test_secrets_in_addresses_are_masked(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    "part",
    [
        "a:,",
        "a:",
        "a,",
        "a",
        " ",
        ":",
        "@",
        "a:@",
        "/a:",
        "=",
        "=${",
        "=${a}",
        "key",
        "user=",
        "?a=",
    ],
)
@pytest.mark.parametrize("end", ["", "@", "/@", "://", "\n"])
def test_any_text_is_masked_in_time_that_is_proportional_to_its_length(part: str, end: str) -> None:
    text = part * (300_000 // len(part)) + end
    begun_s = time.process_time()
    for each in (text, f"/a {text}:@", f"a://{text}"):
        masked_url(each)
        is_misspelt(each)
    assert time.process_time() - begun_s < within(2)


@pytest.mark.parametrize(
    ("url", "_shown"), [each for each in MISSPELT if each not in PERHAPS_FILES]
)
def test_what_must_have_been_meant_as_an_address_is_known(url: str, _shown: str) -> None:
    if is_network(url):
        return
    assert is_misspelt(url)
    with pytest.raises(ConfigError) as caught:
        parse(f"labels: {{a: }}\nsources: {{k: {{url: '{url}'}}}}\n", "c.yaml")
    assert "ter2" not in str(caught.value)
    assert "c.yaml:2: sources.k.url: " in str(caught.value)
    assert "looks like one: rtsp://HOST/PATH" in str(caught.value)


@pytest.mark.parametrize(
    "path",
    [
        "a.wav",
        "./rtsp:/a.wav",
        "./12:30@home.wav",
        "/data/a:b@c.wav",
        "../a:b@c",
        "~/a b.wav",
        "./1:2/a@b",
    ],
)
def test_paths_are_no_misspelt_addresses(path: str) -> None:
    assert not is_misspelt(path)
    parse(f"labels: {{a: }}\nsources: {{k: {{url: '{path}'}}}}\n")


@pytest.mark.parametrize(
    "place",
    [
        "model: {{checkpoint: {}}}",
        "model: {{cache: {}}}",
        "store: {{path: {}}}",
        "web: {{origins: [{}]}}",
        "mqtt: {{host: {}}}",
        "notifications: {{a: {{apprise: {}}}}}",
        "notifications: {{a: {{webhook: {}}}}}",
        "sources: {{{}: {{microphone: 0}}}}",
        "{}: 1",
        "log_level: {}",
    ],
)
def test_passwords_of_addresses_are_nowhere_shown(place: str) -> None:
    for url, _ in MISSPELT:
        text = f"labels: {{a: }}\n{place.format(repr(url))}\n"
        try:
            told = effective(parse(text))
        except ConfigError as error:
            told = str(error)
        assert "ter2" not in told, url


def test_of_a_service_without_a_scheme_nothing_is_shown() -> None:
    assert shown_service("ntfy:/user:hunter2@host") == "********"


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


@pytest.mark.parametrize(
    ("given", "encoded"),
    [
        ("rtsp://cam/live", "rtsp://cam/live"),
        ("rtsp://cam:8554/live@2?a=b@c#d", "rtsp://cam:8554/live@2?a=b@c#d"),
        ("rtsp://[::1]:8554/live", "rtsp://[::1]:8554/live"),
        ("rtsp://admin:secret@cam/live@2", "rtsp://admin:secret@cam/live@2"),
        ("rtsp://admin@cam", "rtsp://admin@cam"),
        ("rtsp://admin:pa%23s@cam/", "rtsp://admin:pa%23s@cam/"),
        ("rtsp://admin:pa#ss@w/rd%1@10.0.0.9:554/live", "admin:pa%23ss%40w%2Frd%251@10.0.0.9:554/"),
        ("rtsp://admin:12#3@cam/live", "admin:12%233@cam/"),
        ("rtsp://admin:100%@cam/live", "admin:100%25@cam/"),
        ("rtsp://admin:a?b@cam/live", "admin:a%3Fb@cam/"),
        ("rtsp://admin:a:b:c@cam/live", "admin:a%3Ab%3Ac@cam/"),
        ("rtsp://admin:a/b@[fe80::1]:554/live", "admin:a%2Fb@[fe80::1]:554/"),
        ("rtsp://admin:ä \u20ac@cam/live", "admin:%C3%A4%20%E2%82%AC@cam/"),
        ("rtsp://me@home:a@b@cam/live", "me%40home:a%40b@cam/"),
        ("rtsp://admin:pa#ss@/live", "rtsp://admin:pa#ss@/live"),
        ("film@home.wav", "film@home.wav"),
    ],
)
def test_what_stands_before_the_host_is_encoded_where_it_is_not(given: str, encoded: str) -> None:
    whole = encoded if "://" in encoded or encoded == given else f"rtsp://{encoded}live"
    assert encoded_url(given) == whole
    assert encoded_url(encoded_url(given)) == encoded_url(given)


@pytest.mark.parametrize(
    ("url", "ambiguous"),
    [
        ("rtsp://admin:12/34@10.0.0.9/live", True),
        ("rtsp://admin:12?34@cam.lan/live", True),
        ("rtsp://admin:12/34@cam:554/live", True),
        ("rtsp://admin:12/34@[::1]/live", True),
        ("rtsp://cam:554/live@2", False),
        ("rtsp://cam.lan:554/34@10.0.0.9/", False),
        ("rtsp://cam:554/live", False),
        ("rtsp://admin:a/b@cam.lan/live", False),  # no port: it can only be a password
    ],
)
def test_two_hosts_in_one_address(url: str, *, ambiguous: bool) -> None:
    assert is_ambiguous(url) is ambiguous
