from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pe_stream.config.edit import KEPT, ConfigFile, ConflictError, Edit, NotWritableError, edited
from pe_stream.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "config.yaml"
LABELS = list(yaml.safe_load(SHIPPED.read_text("utf-8"))["labels"])


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    path = tmp_path / "config.yaml"
    path.write_text("sources: {kitchen: {microphone: default}}\nlabels:\n  # mine\n  dog:\n")
    return ConfigFile(path)


def comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip().startswith("#")]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize(
    "keys",
    [{"threshold": 0.62}, {"prompts": ["no", "a: b"], "min_on_s": 0.4}, {"min_on_s": None}, None],
    ids=repr,
)
def test_every_label_of_the_configuration_that_comes_with_it_can_be_edited(
    label: str, keys: dict[str, Any] | None
) -> None:
    before = SHIPPED.read_text("utf-8")
    after = edited(before, Edit(label, keys))
    lost = [line for line in comments(before) if line not in comments(after)]
    inside = [line for line in lost if line.startswith("    #")]  # went with the label
    assert lost == (inside if keys is None else [])
    wanted = yaml.safe_load(before)
    if keys is None:
        del wanted["labels"][label]
    else:
        section = (wanted["labels"][label] or {}) | keys
        wanted["labels"][label] = {k: v for k, v in section.items() if v is not None}
    assert yaml.safe_load(after) == wanted


def test_a_label_is_made() -> None:
    before = SHIPPED.read_text("utf-8")
    keys = {"prompts": ["a kettle"], "threshold": None, "sources": ["kitchen"]}
    after = edited(before, Edit("kettle", keys, create=True))
    assert comments(after) == comments(before)
    made = yaml.safe_load(after)["labels"]["kettle"]
    assert made == {"prompts": ["a kettle"], "sources": ["kitchen"]}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit("cat", {"threshold": 0.5}), "labels.cat: there is none"),
        (Edit("dog", {}, create=True), "labels.dog: there is one already"),
        (Edit("dog", {"threshold": 1.5}), "labels.dog.threshold: found 1.5, should be less than 1"),
        (Edit("dog", {"treshold": 0.5}), "did you mean 'threshold'"),
        (Edit("dog", {"sources": ["attic"]}), "there is no source 'attic'"),
        (Edit("dog", None), "labels: "),  # at least one is needed
    ],
    ids=repr,
)
def test_what_is_not_valid_is_not_written(file: ConfigFile, edit: Edit, said: str) -> None:
    before = file.path.read_text()
    with pytest.raises(ConfigError, match=said.replace(".", "[.]")):
        file.draft(edit, file.version)
    assert file.path.read_text() == before
    assert os.listdir(file.path.parent) == ["config.yaml"]  # noqa: PTH208


def test_what_is_shared_is_not_edited() -> None:
    text = "labels:\n  dog: &d {threshold: 0.5}\n  cat: *d\n"
    for label in ("dog", "cat"):
        with pytest.raises(ConfigError, match="cannot be edited from here"):
            edited(text, Edit(label, {"threshold": 0.6}))


def test_the_file_before_is_kept_and_rights_stay(file: ConfigFile) -> None:
    file.path.chmod(0o640)
    before = file.path.read_text()
    version = file.version
    told = file.write(file.draft(Edit("dog", {"threshold": 0.6}), version))
    assert told == file.version != version
    assert file.path.read_text() == before.replace("dog:", "dog:\n    threshold: 0.6")
    (old,) = file.path.parent.glob("config.yaml.*.bak")
    assert old.read_text() == before
    assert {p.stat().st_mode & 0o777 for p in (old, file.path)} == {0o640}


def test_not_every_file_before_is_kept(file: ConfigFile) -> None:
    for number in range(KEPT + 3):
        edit = Edit("dog", {"threshold": (50 + number) / 100})
        file.write(file.draft(edit, file.version))
    old = sorted(file.path.parent.glob("config.yaml.*.bak"))
    assert len(old) == KEPT
    assert f"0.{50 + KEPT + 1}" in old[-1].read_text()


def test_what_changes_nothing_writes_nothing(file: ConfigFile) -> None:
    version = file.version
    assert file.write(file.draft(Edit("dog", {"threshold": None}), version)) == version
    assert not list(file.path.parent.glob("*.bak"))


def test_of_two_editors_the_second_is_told(file: ConfigFile) -> None:
    seen = file.version
    file.write(file.draft(Edit("dog", {"threshold": 0.6}), seen))
    with pytest.raises(ConflictError, match="changed by someone else meanwhile"):
        file.draft(Edit("dog", {"threshold": 0.7}), seen)


def test_what_is_saved_by_hand_meanwhile_is_not_lost(file: ConfigFile) -> None:
    draft = file.draft(Edit("dog", {"threshold": 0.6}), file.version)
    by_hand = file.path.read_text() + "  cat:\n"
    file.path.write_text(by_hand)  # while prompts are embedded, say
    with pytest.raises(ConflictError):
        file.write(draft)
    assert file.path.read_text() == by_hand
    assert not list(file.path.parent.glob("*.bak"))


def test_what_became_wrong_or_is_gone_is_told(file: ConfigFile) -> None:
    version = file.version
    file.path.write_text("labels: [")
    with pytest.raises(ConfigError, match=r"config\.yaml:1"):
        file.draft(Edit("dog", {"threshold": 0.6}), version)
    file.path.unlink()
    with pytest.raises(NotWritableError, match="is gone"):
        file.draft(Edit("dog", {"threshold": 0.6}), version)


def test_a_link_stays_one(tmp_path: Path, file: ConfigFile) -> None:
    link = tmp_path / "linked.yaml"
    link.symlink_to(file.path)
    linked = ConfigFile(link)
    linked.write(linked.draft(Edit("dog", {"threshold": 0.6}), linked.version))
    assert link.is_symlink()
    assert "0.6" in file.path.read_text()


def test_what_may_not_be_written_is_told(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file.unavailable_reason is None
    refused = file.path.parent
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != refused)  # root may all
    assert "may not be written by this service" in str(file.unavailable_reason)
    with pytest.raises(NotWritableError, match="may not be written"):
        file.draft(Edit("dog", {"threshold": 0.6}), file.version)
    monkeypatch.setattr(os, "access", lambda *_: True)
    draft = file.draft(Edit("dog", {"threshold": 0.6}), file.version)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = file.path.read_text()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotWritableError, match="No space left on device"):
        file.write(draft)
    assert os.listdir(refused) == ["config.yaml"]  # noqa: PTH208
    assert file.path.read_text() == before


MOUNTED = """\
import os, subprocess, sys
from pathlib import Path
from pe_stream.config.edit import ConfigFile, Edit, NotWritableError
folder, kind = Path(sys.argv[1]), sys.argv[2]
run = lambda *words: subprocess.run(["mount", *map(str, words)], check=True)
(folder / "config.yaml").touch()
if kind == "read-only":
    run("--bind", folder, folder)
run("--bind", folder.parent / "host.yaml", folder / "config.yaml")
if kind == "read-only":
    run("-o", "remount,ro,bind", folder)
file = ConfigFile(folder / "config.yaml")
if kind == "full":
    calls = []
    real = os.fsync
    def fsync(handle):
        calls.append(handle)
        if len(calls) == 3:  # the copy, the file that cannot take the place, and then
            raise OSError(28, "No space left on device")
        real(handle)
    os.fsync = fsync
for threshold in (0.6, 0.7):
    file.write(file.draft(Edit("dog", {"threshold": threshold}), file.version))
    if os.environ.get("LONG"):
        file.write(file.draft(Edit("dog", {"prompts": ["x" * 10000]}), file.version))
        file.write(file.draft(Edit("dog", {"prompts": None}), file.version))
"""


def mounted(tmp_path: Path, kind: str) -> subprocess.CompletedProcess[str]:
    """Edits a configuration twice that is mounted alone, as into a container."""
    (tmp_path / "host.yaml").write_text("labels: {dog: {threshold: 0.5}}  # mine\n")
    (tmp_path / "etc").mkdir()
    flags = ["-m"] if os.geteuid() == 0 else ["-Urm"]
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, *flags, "true"], check=False).returncode:
        pytest.skip("needs unshare (util-linux), and the right to mount")
    return subprocess.run(
        [unshare, *flags, sys.executable, "-c", MOUNTED, str(tmp_path / "etc"), kind],
        env=os.environ | {"STATE_DIRECTORY": str(tmp_path / "state"), "LONG": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("kind", "copies"), [("writable", "etc"), ("read-only", "state")])
def test_a_file_that_is_mounted_alone_is_written_in_place(
    kind: str, copies: str, tmp_path: Path
) -> None:
    done = mounted(tmp_path, kind)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "host.yaml").read_text() == "labels: {dog: {threshold: 0.7}}  # mine\n"
    kept = [path.read_text() for path in sorted((tmp_path / copies).glob("config.yaml.*.bak"))]
    assert len(kept) == 6
    assert kept[0] == "labels: {dog: {threshold: 0.5}}  # mine\n"
    assert {path.name for path in (tmp_path / "etc").iterdir()} - {"config.yaml"} == {
        path.name for path in (tmp_path / copies).glob("*.bak") if copies == "etc"
    }


def test_a_file_that_cannot_be_written_in_place_stays_as_it_was(tmp_path: Path) -> None:
    done = mounted(tmp_path, "full")
    assert "cannot be written: No space left on device" in done.stderr
    assert (tmp_path / "host.yaml").read_text() == "labels: {dog: {threshold: 0.5}}  # mine\n"
    (kept,) = (tmp_path / "etc").glob("config.yaml.*.bak")
    assert kept.read_text() == "labels: {dog: {threshold: 0.5}}  # mine\n"
