"""Closed and full standard streams, in whatever locale: one line and 69, and no fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy

PS = f"{sys.executable} -m pe_stream"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text("labels: {dog: {prompts: [\u00e4hm]}}\n")
    return path


def run(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, check=False, env=os.environ | environment
    )


@pytest.mark.parametrize("what", ["config -c {}", "--help", "help"])
@pytest.mark.parametrize(
    ("how", "why"), [(">/dev/full", "No space left on device"), (">&-", "it is closed")]
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_results_that_nobody_gets_are_told(
    what: str, how: str, why: str, unbuffered: str, config: Path
) -> None:
    done = run(f"{PS} {what.format(config)} {how}", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 69
    said = f"pe-stream: cannot write the results to stdout: {why}\n"
    assert done.stderr.decode() == said


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&-", "<&-", "<&- 2>&-"])
def test_results_come_without_the_other_streams(how: str, config: Path) -> None:
    done = run(f"{PS} config -c {config} {how}")
    assert done.returncode == 0
    assert "\u00e4hm" in done.stdout.decode()
    assert run(f"{PS} config -c {config}.none {how}").returncode == 78


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os; from pe_stream.cli.standard_streams import stand_in; stand_in();"
        "os._exit(0 if os.open('/dev/null', os.O_RDONLY) > 2 else 1)"
    )
    for how in ("", ">&-", "2>&-", "<&-", "<&- >&- 2>&-"):
        assert run(f'{sys.executable} -c "{code}" {how}').returncode == 0, how


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "latin-1:strict"},
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
)
def test_results_are_utf8_and_messages_are_told_in_any_locale(
    locale: dict[str, str], config: Path
) -> None:
    done = run(f"{PS} config -c {config}", **locale)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "- \u00e4hm" in done.stdout.decode("utf-8")
    done = run(f"{PS} detect --prompt x $'\\xe4\u00e4\\n.wav'", **locale)
    assert done.returncode == 69
    assert b"\\xe4" in done.stderr
    assert done.stderr.endswith(b"\\n.wav: No such file or directory\n")
    assert done.stderr.count(b"\n") == 1
