"""A skip is a failure where CI=true, and only there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "in a test": "import pytest\ndef test_it():\n    pytest.skip('no broker')\n",
    "by a mark": "import pytest\n@pytest.mark.skip('no broker')\ndef test_it():\n    pass\n",
    "of a module": "import pytest\npytest.importorskip('no_such_module', reason='no broker')\n",
}


@pytest.mark.parametrize("source", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("ci", ["true", ""])
def test_skip_fails_in_ci_only(tmp_path: Path, source: str, ci: str) -> None:
    (tmp_path / "conftest.py").write_text(Path(__file__).with_name("conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(source)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", str(tmp_path)],
        env=os.environ | {"CI": ci},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no broker" in result.stdout
    failed = result.returncode not in {0, pytest.ExitCode.NO_TESTS_COLLECTED}
    assert failed == (ci == "true"), result.stdout
