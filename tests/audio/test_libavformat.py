"""What is asked of FFmpeg's libraries themselves."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import av
import pytest

from pe_stream.audio import libavformat
from pe_stream.audio.libavformat import follows_redirects


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
