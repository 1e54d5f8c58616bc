"""What is imported is declared in pyproject.toml, and what is declared there is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def deptry(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deptry", *arguments, "--no-ansi"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_the_package_declares_what_it_imports_and_nothing_else() -> None:
    done = deptry(ROOT, "pe_stream")
    assert done.returncode == 0, done.stderr


def test_the_tests_declare_what_they_import() -> None:
    # DEP002: not all that is declared is imported by tests. DEP004: the tests' own may be.
    done = deptry(ROOT, "tests", "--ignore", "DEP002,DEP004", "--exclude", r"\.venv")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("code", "declared", "told"),
    [
        ("import yaml", "", "DEP003 'yaml' imported but it is a transitive dependency"),
        ("", '"pyyaml"', "DEP002 'pyyaml' defined as a dependency but not used"),
        ("import pytest", "", "DEP004 'pytest' imported but declared as a dev dependency"),
    ],
)
def test_deptry_finds_what_is_undeclared_unused_or_only_for_tests(
    code: str, declared: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").write_text(code, "utf-8")
    (tmp_path / "pyproject.toml").write_text(
        f'[project]\nname = "package"\ndependencies = [{declared}]\n'
        '[project.optional-dependencies]\ntest = ["pytest"]\n'
        '[tool.deptry]\noptional_dependencies_dev_groups = ["test"]\n',
        "utf-8",
    )
    done = deptry(tmp_path, "package")
    assert done.returncode == 1
    assert told in done.stderr
