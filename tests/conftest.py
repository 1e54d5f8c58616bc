"""What all tests share: in CI everything is installed, so a skip is a failure there."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _failed(report) if _in_ci() and report.skipped else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _failed(report) if _in_ci() and report.skipped else report


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


def _failed(report: Report) -> Report:
    report.outcome = "failed"
    report.longrepr = f"skipped, which counts as a failure where CI=true: {report.longrepr}"
    return report
