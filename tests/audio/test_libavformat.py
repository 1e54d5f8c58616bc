"""What is asked of FFmpeg's libraries themselves."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import av
import av.error
import pytest
from audio.hostile_servers import head, serving
from ports import free_port

from pe_stream.audio import libavformat
from pe_stream.audio.libavformat import follows_redirects, uses_proxy


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    follows_redirects.cache_clear()
    yield
    follows_redirects.cache_clear()


def test_an_option_that_is_known_is_found() -> None:
    assert not follows_redirects()


def test_an_option_that_is_not_known_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libavformat, "_OPTION", b"max_redirections")
    assert follows_redirects()


@pytest.mark.parametrize(
    ("version", "follows"),
    [((61, 7, 100), True), ((62, 3, 100), True), ((62, 12, 101), False), ((63, 0, 0), False)],
)
def test_libraries_that_cannot_be_asked_are_judged_by_their_version(
    version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch, *, follows: bool
) -> None:
    def cannot(_: str) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", cannot)
    monkeypatch.setitem(av.library_versions, "libavformat", version)
    assert follows_redirects() is follows


PROXY = "http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("proxy", "no_proxy", "host", "uses"),
    [
        (None, None, "a.example", False),
        ("", None, "a.example", False),
        (PROXY, None, "a.example", True),
        (PROXY, "", "a.example", True),
        (PROXY, "example", "a.example", False),
        (PROXY, "ample", "a.example", True),
        (PROXY, ".example", "a.example", False),
        (PROXY, "*.example", "a.example", False),
        (PROXY, "*", "a.example", False),
        (PROXY, "b.example,, a.example ", "a.example", False),
        (PROXY, "b.example;a.example", "a.example", True),
        (PROXY, "a.example:80", "a.example", True),
        (PROXY, "127.0.0.0/8", "127.0.0.1", True),
        (PROXY, "10.0.0.1 127.0.0.1", "127.0.0.1", False),
        (PROXY, "::1", "::1", False),
        (PROXY, ",", "a.example.", False),
        ("https://127.0.0.1:{port}", None, "a.example", False),
        ("HTTP://127.0.0.1:{port}", None, "a.example", False),
        ("127.0.0.1:{port}", None, "a.example", False),
    ],
)
def test_a_proxy_is_used_where_ffmpeg_uses_it(
    proxy: str | None,
    no_proxy: str | None,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    uses: bool,
) -> None:
    """As FFmpeg itself does, which is asked here, too."""
    gone = head(status="404 Not Found", length=0)
    with serving(lambda connection, _: connection.sendall(gone)) as server:
        values = {"http_proxy": proxy and proxy.format(port=server.port), "no_proxy": no_proxy}
        for name, value in values.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        assert uses_proxy(host) is uses
        bare = f"[{host}]" if ":" in host else host
        with pytest.raises(av.error.FFmpegError):
            av.open(f"http://{bare}:{free_port()}/x", timeout=(5, 5))
        assert bool(server.paths) is uses


def test_the_case_of_letters_leads_to_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an address that is written as in `no_proxy`, only its host in lower case is known."""
    monkeypatch.setenv("http_proxy", PROXY)
    monkeypatch.setenv("no_proxy", "A.Example")
    assert not uses_proxy("a.example")
