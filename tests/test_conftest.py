"""A skip is a failure where CI=true, and only there, also where tests run side by side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "test_in_a_test.py": "import pytest\ndef test_it():\n    pytest.skip('no broker')\n",
    "test_by_a_mark.py": "import pytest\n@pytest.mark.skip('no mixer')\ndef test_it():\n    pass\n",
    "test_module.py": "import pytest\npytest.importorskip('no_such_module', reason='no camera')\n",
}


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("ci", ["true", ""])
def test_skip_fails_in_ci_only(tmp_path: Path, ci: str, workers: str) -> None:
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    for name, source in CASES.items():
        (tmp_path / name).write_text(source)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfEs", "-n", workers]
    result = subprocess.run(
        [*command, "--continue-on-collection-errors", str(tmp_path)],
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
        assert " skipped" not in summary
    else:
        assert result.returncode in {0, pytest.ExitCode.NO_TESTS_COLLECTED}, result.stdout
