"""What all tests share: in CI everything is installed, so a skip is a failure there.

Side by side (`pytest -n`), every worker has its own ports, folders for state and caches, and fork
server; what takes long to make, one of them makes for all. Each file's tests run in one worker, and
the files that take longest begin first.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Generator, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import fork_server
import forked
import pytest
from hypothesis import settings
from timing import IN_CI, within

if TYPE_CHECKING:
    from mosquitto import Mosquitto

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ

FIRST = (
    "faults/test_faults.py",
    "workbench/training/test_command.py",
    "cli/commands/test_detect.py",
    "pipeline/test_opinion_service.py",
    "daemon/test_service.py",
    "web/test_page.py",
    "audio/synthesis/test_random_sounds.py",
    "model/test_codec.py",
    "model/test_compiled.py",
    "audio/test_microphone.py",
    "audio/test_rtsp_ways.py",
    "workbench/bench/test_command.py",
    "workbench/bench/test_start.py",
    "test_contracts.py",
    "web/test_page_alone.py",
    "workbench/training/test_pipeline.py",
    "cli/commands/test_search.py",
    "audio/test_rtsp.py",
    "cli/commands/test_enroll.py",
    "test_docs.py",
    "daemon/test_patterns.py",
    "outputs/notifications/test_notifications.py",
    "workbench/soundscapes/test_soundscapes.py",
    "workbench/evaluation/test_command.py",
    "workbench/calibration/test_command.py",
    "daemon/test_crash.py",
    "outputs/test_metrics.py",
    "storage/test_clips.py",
)
"""The files that take longest, which begin first where tests run side by side."""


def _grammars_when_asked_for() -> ModuleType:
    """Stands for rfc3987_syntax, which compiles grammars for seconds when jsonschema imports it."""

    def is_valid_syntax(term: str, text: str) -> bool:
        if sys.modules[stand_in.__name__] is stand_in:
            del sys.modules[stand_in.__name__]
        return bool(importlib.import_module(stand_in.__name__).is_valid_syntax(term, text))

    stand_in = ModuleType("rfc3987_syntax")
    vars(stand_in)[is_valid_syntax.__name__] = is_valid_syntax
    return stand_in


sys.modules.setdefault("rfc3987_syntax", _grammars_when_asked_for())

if not IN_CI:  # there, Hypothesis has no deadline
    settings.register_profile("here", deadline=timedelta(seconds=within(0.2)))
    settings.load_profile("here")

if SIDE_BY_SIDE:  # the cores are shared; what wants more threads says so itself
    for _library in ("OMP", "MKL", "OPENBLAS"):
        os.environ.setdefault(f"{_library}_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _failed(report) if IN_CI and report.skipped else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _failed(report) if IN_CI and report.skipped else report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if SIDE_BY_SIDE:
        here = Path(__file__).parent
        place = {here / path: number for number, path in enumerate(FIRST)}
        items.sort(key=lambda item: place.get(item.path, len(place)))
    _give_time(config, items)


def _give_time(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Limits against tests that hang are for an idle machine too."""
    usual_s = float(config.getini("timeout") or 0)
    for item in items:
        mark = item.get_closest_marker("timeout")
        limit_s = mark.args[0] if mark else usual_s
        item.add_marker(pytest.mark.timeout(within(limit_s)), append=False)


@pytest.fixture(scope="session", autouse=True)
def patient() -> Iterator[None]:
    """A store here has written what it was told when it returns, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pe_stream.storage.events.WAIT_S", 10.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def folders_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """State and caches are this process's; only Matplotlib's list of fonts is the user's."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        if "MPLCONFIGDIR" not in os.environ:
            patch.setenv("MPLCONFIGDIR", str(home / "matplotlib"))
        for name in ("STATE", "CACHE"):
            patch.setenv(f"XDG_{name}_HOME", str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that was run here logs into a stream that ends with its test."""
    root, package = logging.getLogger(), logging.getLogger("pe_stream")
    handlers, levels = root.handlers[:], (root.level, package.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    package.setLevel(levels[1])


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """The server that daemons are forked from ends with the session."""
    yield
    fork_server.stop()


@pytest.fixture
def forked_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of a pool need not import torch; `cli/test_workers.py` starts real ones."""
    context = forked.context()
    monkeypatch.setattr("multiprocessing.get_context", lambda _: context)


@pytest.fixture(scope="session")
def level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PE Audio checkpoint whose scores are known: they follow the level."""
    from level_checkpoint import make_level_checkpoint  # torch takes seconds
    from made_once import made_once

    return made_once(tmp_path_factory, "level", make_level_checkpoint)


@pytest.fixture(scope="session")
def pe_av(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small PE-AV checkpoint. Not to be changed."""
    from made_once import made_once
    from model.pe_av import make_pe_av  # torch takes seconds

    return made_once(tmp_path_factory, "pe_av", lambda root: make_pe_av(root / "pe-av")) / "pe-av"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A real mosquitto."""
    from mosquitto import Mosquitto

    folder = tmp_path / "broker"
    folder.mkdir()
    with Mosquitto(folder) as mosquitto:
        yield mosquitto


def _failed(report: Report) -> Report:
    report.outcome = "failed"
    report.longrepr = f"skipped, which counts as a failure where CI=true: {report.longrepr}"
    return report
