"""How tests run: side by side, and in CI without a skip."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import ports
import pytest
import timing

CONFTEST = Path(__file__).with_name("conftest.py")

CASES = {
    "test_in_a_test.py": "import pytest\ndef test_it():\n    pytest.skip('no broker')\n",
    "test_by_a_mark.py": "import pytest\n@pytest.mark.skip('no mixer')\ndef test_it():\n    pass\n",
    "test_module.py": "import pytest\npytest.importorskip('no_such_module', reason='no camera')\n",
}


@pytest.mark.heavy
@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("ci", ["true", ""])
def test_skip_fails_in_ci_only(tmp_path: Path, ci: str, workers: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    for name, source in CASES.items():
        (tmp_path / name).write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:schemathesis"]
    result = subprocess.run(
        [*command, "-rfEs", "-n", workers, "--continue-on-collection-errors", str(tmp_path)],
        env=os.environ | {"CI": ci, "PYTHONPATH": os.pathsep.join(sys.path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    summary = result.stdout.partition("short test summary info")[2]
    for why in ("no broker", "no mixer", "no camera"):
        assert why in result.stdout
    if ci:
        for name in CASES:
            assert f" {name}" in summary
        assert not re.search(r"\d skipped", summary)
    else:
        assert result.returncode in {0, pytest.ExitCode.NO_TESTS_COLLECTED}, result.stdout


def test_the_files_that_begin_first_exist() -> None:
    named = re.findall(r'"((?:\w+/)*test_\w+\.py)"', CONFTEST.read_text())
    assert len(named) > 10
    assert [name for name in named if not (CONFTEST.parent / name).exists()] == []


def test_another_process_is_given_other_ports() -> None:
    ours = {ports.free_port() for _ in range(200)}
    program = "import ports; print(*(ports.free_port() for _ in range(200)))"
    environment = os.environ | {"PYTHONPATH": str(CONFTEST.parent)}
    asked = [sys.executable, "-c", program]
    theirs = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    assert ours.isdisjoint(map(int, theirs.stdout.split()))


@pytest.mark.parametrize(
    ("variables", "factor"),
    [
        ({}, 1.0),
        ({"PYTEST_XDIST_WORKER_COUNT": "6"}, 3.0),
        ({timing.VARIABLE: "5"}, 5.0),
        ({timing.VARIABLE: "0.1"}, 1.0),
    ],
)
def test_bounds_stretch_with_what_shares_the_cores(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], factor: float
) -> None:
    for name in (timing.VARIABLE, "PYTEST_XDIST_WORKER_COUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(timing, "IN_CI", False)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 0.5, 0.5))
    assert timing.within(10) == 10 * factor
    monkeypatch.setattr("os.getloadavg", lambda: (1000.0, 0.5, 0.5))
    assert timing.within(10) >= 10 * factor
    assert timing.within(10) <= 80
