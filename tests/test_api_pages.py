"""The pages of the Python API have everything public, and are made without a warning."""

from __future__ import annotations

import inspect
from html import unescape
from importlib import import_module
from pathlib import Path

import pytest
from api_pages import build

import pe_stream


def test_everything_public_is_on_the_page(tmp_path: Path) -> None:
    build(tmp_path)
    page = unescape((tmp_path / "pe_stream.html").read_text("utf-8"))
    for name in pe_stream.__all__:
        assert f'id="{name}"' in page
        first, *_ = (inspect.getdoc(getattr(pe_stream, name)) or "").splitlines()
        assert name == "__version__" or first.split("`")[0] in page


def test_a_name_that_leads_nowhere_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package_of_nothing.py").write_text('__all__ = ["missing"]', "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    package = import_module("package_of_nothing")
    with pytest.raises(UserWarning, match="'missing'"):
        build(tmp_path / "pages", package)
