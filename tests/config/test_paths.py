"""Folders where there is no home, no writable disk but one, and no place for temporary files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ports import free_port
from sounds import noise, write_float_wav

import pe_stream
from pe_stream.config import paths
from pe_stream.config.file import parse
from pe_stream.errors import ConfigError


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that the system does not know, without HOME."""
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)

    def unknown(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_the_folders_are_the_systems() -> None:
    assert paths.state_folder() == Path("/var/lib/pe-stream")
    assert paths.cache_folder() == Path("/var/cache/pe-stream")


@pytest.mark.usefixtures("homeless")
def test_the_system_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/one:/two")
    monkeypatch.setenv("CACHE_DIRECTORY", "/three")
    assert (paths.state_folder(), paths.cache_folder()) == (Path("/one"), Path("/three"))


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("path", ["~/events.db", "~"])
def test_a_path_in_a_home_that_is_not_there_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.path: '~.*this user has no home folder"):
        parse(f"store: {{path: '{path}'}}\nlabels: {{dog: }}")
    assert parse("store: {path: '~x.db'}\nlabels: {dog: }").store.path == "~x.db"


def test_temporary_files_go_to_the_volume_where_nothing_else_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(tempfile, "gettempdir", none)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("TMPDIR", "")
    paths.name_temporary_folder()
    assert tempfile.tempdir == os.environ["TMPDIR"] == str(tmp_path)


READ_ONLY = """\
mount -t tmpfs tmpfs "$VOLUME"
awk '$3 !~ /^(proc|sysfs|devpts|cgroup2?|mqueue)$/ {print $2}' /proc/self/mounts | tac |
while read mount; do [ "$mount" = "$VOLUME" ] || mount -o remount,ro,bind "$mount"; done 2>/dev/null
touch "$OUT/x" 2>/dev/null && { echo "not read-only" >&2; exit 99; }
cd "$OUT"
exec unshare -U --map-user=12345 --map-group=12345 env -i PATH=/usr/bin:/bin \
    PYTHONPATH="$PYTHONPATH" $STATE "$PYTHON" -m pe_stream check -c "$OUT/c.yaml"
"""


@pytest.mark.heavy
@pytest.mark.parametrize("volume", [True, False])
def test_all_works_without_a_home_on_a_read_only_system(
    volume: bool,  # noqa: FBT001 - pytest's
    level: Path,
    tmp_path: Path,
) -> None:
    unshare = shutil.which("unshare")
    trial = [str(unshare), "-m", "unshare", "-U", "--map-user=12345", "true"]
    if unshare is None or subprocess.run(trial, check=False, capture_output=True).returncode:
        pytest.skip("needs unshare (util-linux), and root")
    (tmp_path / "volume").mkdir()
    wav = write_float_wav(tmp_path / "x.wav", noise((3.0, 0.1)))
    model = f"{{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}"
    (tmp_path / "c.yaml").write_text(
        f"model: {model}\nsources: {{hall: {{url: {wav}}}}}\nlabels: {{loud: }}\n"
        f"mqtt: {{embedded: true, port: {free_port()}}}\n"
        "clips: {enabled: true}\nsearch: {enabled: true}\n"
    )
    done = subprocess.run(
        [unshare, "-m", "bash", "-c", READ_ONLY],
        env=os.environ
        | {
            "VOLUME": str(tmp_path / "volume"),
            "OUT": str(tmp_path),
            "PYTHON": sys.executable,
            "PYTHONPATH": str(Path(pe_stream.__file__).parents[1]),
            "STATE": f"STATE_DIRECTORY={tmp_path}/volume" if volume else "X=y",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    verdicts = {line[7:].split(":")[0]: line for line in done.stdout.splitlines()}
    for what in ("store", "history", "search", "clips"):
        if volume:
            assert verdicts[what].startswith(f"ok     {what}: {tmp_path}/volume"), done.stdout
        else:
            assert verdicts[what].startswith(f"FAILED {what}: /var/lib/pe-stream"), done.stdout
            assert verdicts[what].endswith("cannot be written: Read-only file system")
    for what in ("config", "model", "labels", "source hall"):
        assert verdicts[what].startswith("ok"), done.stdout
