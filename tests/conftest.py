"""What all tests share: in CI everything is installed, so a skip is a failure there."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from mosquitto import Mosquitto

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _failed(report) if _in_ci() and report.skipped else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _failed(report) if _in_ci() and report.skipped else report


@pytest.fixture(scope="session", autouse=True)
def patient() -> Iterator[None]:
    """A store here has written what it was told when it returns, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pe_stream.storage.events.WAIT_S", 10.0)
        yield


@pytest.fixture(scope="session")
def level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PE Audio checkpoint whose scores are known: they follow the level."""
    from level_checkpoint import make_level_checkpoint  # torch takes seconds

    return make_level_checkpoint(tmp_path_factory.mktemp("level"))


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real mosquitto."""
    from mosquitto import Mosquitto

    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder) as mosquitto:
        yield mosquitto


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"


def _failed(report: Report) -> Report:
    report.outcome = "failed"
    report.longrepr = f"skipped, which counts as a failure where CI=true: {report.longrepr}"
    return report
