"""The image of systemd/Containerfile, built by buildah without a daemon, and what runs in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BASE = "docker.io/library/debian:bookworm-slim"
MIRROR = "http://deb.debian.org/debian"

PACKAGES = "apt-get install buildah debootstrap"

KEYS = ("index-url", "extra-index-url", "find-links")
"""Of pip's configuration here: where packages are, for the container too."""

CERTIFICATES = "/etc/pip-certificates.pem"


def missing() -> str | None:
    """Why no image can be built here; None where one can."""
    for program in ("buildah", "debootstrap"):
        if shutil.which(program) is None:
            return f"{program} is missing: {PACKAGES}"
    return None if os.geteuid() == 0 else "only root can make a base image with debootstrap"


@dataclass(frozen=True)
class Image:
    """An image in a storage of its own in `folder`, and one container of it, where things run."""

    folder: Path

    def buildah(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run buildah on this storage; raises CalledProcessError."""
        command = ["buildah", "--root", self.folder / "storage", "--runroot", self.folder / "run"]
        words = [str(word) for word in (*command, *arguments)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=1500)
        if check and done.returncode:
            raise AssertionError(f"{words}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def build(self) -> None:
        """Make a base image of Debian 12, under the name that the file asks for, and ours of it."""
        base = self.folder / "base"
        words = ["debootstrap", "--variant=minbase", "bookworm", str(base), MIRROR]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        for waste in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc"):
            shutil.rmtree(base / waste)  # the published image has none of it
        scratch = self.buildah("from", "scratch").stdout.strip()
        self.buildah("add", "--quiet", scratch, base, "/")
        self.buildah("commit", "--quiet", "--rm", scratch, BASE)
        shutil.rmtree(base)
        self.buildah(
            "build", "--pull=never", "--format=docker", "--isolation=chroot", "--layers=false",
            *self._mounts_of_pip(),
            "--build-arg=TORCH=torch==2.13.0",
            f"--file={ROOT / 'systemd' / 'Containerfile'}", "--tag=pe-stream", ROOT,
        )  # fmt: skip
        self.buildah("from", "--name=house", "pe-stream")

    def run(
        self, *command: object, mounts: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as the image's user and with its environment."""
        volumes = [f"--volume={mount}" for mount in mounts]
        return self.buildah("run", "--isolation=chroot", *volumes, "house", *command, check=False)

    def _mounts_of_pip(self) -> list[str]:
        """Give pip in the container what it is told here, by variables and files alike."""
        words = [sys.executable, "-m", "pip", "config", "list"]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        told = {
            line.partition("=")[0].rpartition(".")[2].strip("."): line.partition("=")[2].strip("'")
            for line in done.stdout.splitlines()
        }
        file = self.folder / "pip.conf"
        lines = [f"{key} = {told[key]}" for key in KEYS if key in told]
        places = [f"{file}:/etc/pip.conf"]
        if "cert" in told:
            lines.append(f"cert = {CERTIFICATES}")
            places.append(f"{told['cert']}:{CERTIFICATES}")
        file.write_text("\n".join(["[global]", *lines, ""]), "utf-8")
        folders = {Path(word.removeprefix("file://")) for line in lines for word in line.split()}
        local = {folder for folder in folders if folder.is_absolute() and folder.is_dir()}
        places += [f"{folder}:{folder}" for each in local for folder in (each, *_files(each))]
        return [f"--volume={place}:ro" for place in places]


def _files(index: Path) -> list[Path]:
    """Where the packages are that a local index links to, beside it."""
    beside = index.parent / "files"
    return [beside] if beside.is_dir() else []
