"""What is imported is declared in pyproject.toml, and what is declared there is imported."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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


def test_everything_declared_is_pinned_within_its_range_and_torch_is_not() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    declared = map(
        Requirement, [*project["dependencies"], *(one for each in extras for one in each)]
    )
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pins = [Requirement(line) for line in lines if not line.startswith("#")]
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in pins}
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    for wanted in declared:
        name = canonicalize_name(wanted.name)
        if name not in {"pe-stream", "torch"}:
            assert wanted.specifier.contains(pinned[name], prereleases=True), name
    # Its build is the Makefile's to choose; nothing may bring another one, or CUDA.
    assert not [name for name in pinned if name.startswith(("torch", "nvidia", "cuda", "triton"))]


HOLES = {
    "fastapi": ("0.120.1", "older ones forbid a starlette without holes"),
    "h11": ("0.16.0", "CVE-2025-43859: chunks that end otherwise, so that requests are smuggled"),
    "pydantic": ("2.4.0", "CVE-2024-3772: e-mail addresses that take for ever"),
    "pyyaml": ("5.4", "CVE-2020-14343: code from YAML"),
    "setuptools": ("78.1.1", "CVE-2025-47273: files written outside"),
    "starlette": ("0.49.1", "CVE-2025-62727: Range headers; CVE-2025-54121, CVE-2024-47874: forms"),
    "torch": ("2.6", "CVE-2025-32434: code from weights_only=True"),
}
"""The first version of each without the holes that are known, and which these were."""


def test_no_declared_range_begins_with_known_holes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    declared = [*project["project"]["dependencies"], *(one for each in extras for one in each)]
    floors: dict[str, list[Version]] = {}
    for text in [*declared, *project["build-system"]["requires"]]:
        wanted = Requirement(text)
        floors.setdefault(canonicalize_name(wanted.name), []).extend(
            Version(each.version) for each in wanted.specifier if each.operator in (">=", "==")
        )
    for name, (least, hole) in HOLES.items():
        assert floors[name], name
        assert min(floors[name]) >= Version(least), hole
