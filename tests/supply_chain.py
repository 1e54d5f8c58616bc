"""What a user of pe-stream runs besides it: a list of licences, and an SBOM.

    python -m supply_chain licences        prints packages, what they bring, and under which licence
    python -m supply_chain sbom FILE       writes it as CycloneDX 1.6 (JSON)

Both are of the environment they run in, and of what the extras RUN_TIME need in it, not of tools
that develop. What a wheel brings along (FFmpeg's libraries, crates) is in no list of packages, but
is shipped all the same: libraries are found by their files, crates by the wheel's own SBOM.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OURS = "pe-stream"
RUN_TIME = ("web", "notify", "plot")
"""Extras that add to what the daemon and its commands do; others are for development."""

_X11, _GCC = "MIT-open-group", "GPL-3.0-or-later WITH GCC-exception-3.1"
_FFMPEG, _GNU = "LGPL-3.0-or-later", "LGPL-3.0-or-later OR GPL-2.0-or-later"

LIBRARIES = {
    "Xau": _X11,
    "SvtAv1Enc": "BSD-3-Clause-Clear",
    "asound": "LGPL-2.1-or-later",
    "avcodec": _FFMPEG,
    "avdevice": _FFMPEG,
    "avfilter": _FFMPEG,
    "avformat": _FFMPEG,
    "avif": "BSD-2-Clause",
    "avutil": _FFMPEG,
    "brotlicommon": "MIT",
    "brotlidec": "MIT",
    "dav1d": "BSD-2-Clause",
    "drm": "MIT",
    "freetype": "FTL OR GPL-2.0-or-later",
    "gfortran": _GCC,
    "gmp": _GNU,
    "gnutls": "LGPL-2.1-or-later",
    "gomp": _GCC,
    "harfbuzz": "MIT",
    "hogweed": _GNU,
    "jpeg": "IJG AND BSD-3-Clause",
    "lcms2": "MIT",
    "lzma": "0BSD",
    "mp3lame": "LGPL-2.0-or-later",
    "nettle": _GNU,
    "opencore-amrnb": "Apache-2.0",
    "opencore-amrwb": "Apache-2.0",
    "openjp2": "BSD-2-Clause",
    "opus": "BSD-3-Clause",
    "png16": "libpng-2.0",
    "quadmath": "LGPL-2.1-or-later",
    "scipy_openblas": "BSD-3-Clause",
    "scipy_openblas64_": "BSD-3-Clause",
    "sharpyuv": "BSD-3-Clause",
    "swresample": _FFMPEG,
    "swscale": _FFMPEG,
    "tiff": "libtiff",
    "unistring": _GNU,
    "vpl": "MIT",
    "vpx": "BSD-3-Clause",
    "webp": "BSD-3-Clause",
    "webpdemux": "BSD-3-Clause",
    "webpmux": "BSD-3-Clause",
    "x264": "GPL-2.0-or-later",
    "x265": "GPL-2.0-or-later",
    "xcb": "MIT",
    "xcb-shape": "MIT",
    "xcb-shm": "MIT",
    "xcb-xfixes": "MIT",
    "zstd": "BSD-3-Clause",
}
"""Licences of libraries that wheels bring along, from the libraries' own pages. FFmpeg's is what
that of PyAV says of itself; with x264 or x265 in it, the whole is under the GPL."""

UNKNOWN = "unknown"

_PLACES = re.compile(r"\.(libs|dylibs)/|(^|/)torch/lib/lib(g|i)omp")
_FILE = re.compile(
    r"(?:lib)?(?P<name>.+?)(?:-[0-9a-f]{8}){0,2}(?:\.(?P<before>[\d.]+))?\.(?:so|dylib|dll)"
    r"(?:\.(?P<after>[\d.]+))?"
)


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library that a wheel brings along. file: where it lies."""

    name: str
    version: str
    licence: str
    file: Path


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the run-time set.

    crates: components of its own SBOMs, as CycloneDX has them. direct: whether pe-stream itself
    asks for it.
    """

    name: str
    version: str
    licence: str
    libraries: tuple[Library, ...]
    crates: tuple[dict[str, Any], ...]
    direct: bool


def run_time_set() -> dict[str, Package]:
    """What pe-stream needs here with the extras RUN_TIME, by canonical name, without itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(each for extra in RUN_TIME for each in extras[extra])]
    waiting = list(_needed(asked, frozenset()))
    direct = {name for name, _ in waiting}
    found: dict[str, Distribution] = {}
    seen = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in seen:
            seen.add((name, extra))
            found[name] = distribution(name)
            waiting += _needed(found[name].requires or (), extra)
    return {name: _package(name, found[name], name in direct) for name in sorted(found)}


def _needed(texts: Iterable[str], extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Of requirements, those that hold here: canonical names, and which extras are asked for."""
    asked = [{"extra": extra} for extra in (*extras, "")]
    for wanted in map(Requirement, texts):
        if wanted.marker is None or any(map(wanted.marker.evaluate, asked)):
            try:
                distribution(wanted.name)
            except PackageNotFoundError:  # a build of torch may do without
                continue
            yield canonicalize_name(wanted.name), frozenset(wanted.extras)


def _package(name: str, here: Distribution, direct: bool) -> Package:  # noqa: FBT001 - a field
    return Package(
        name, here.version, _licence(here), tuple(_libraries(here)), tuple(_crates(here)), direct
    )


def _licence(here: Distribution) -> str:
    """What the package says of itself, in its newest way of saying so."""
    said: Any = here.metadata
    if expression := said.get("License-Expression"):
        return str(expression)
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in said.get_all("Classifier") or ()
        if each.startswith("License :: ") and not each.endswith("OSI Approved")
    ]
    text = str(said.get("License") or "").strip()
    first = text.splitlines()[0][:80] if text else ""
    return " AND ".join(classifiers) or first or UNKNOWN


def _libraries(here: Distribution) -> Iterator[Library]:
    for file in here.files or ():
        matched = _FILE.fullmatch(file.name)
        if matched and _PLACES.search(file.as_posix()):
            name = matched["name"].removesuffix("-") if matched["name"] else file.name
            version = matched["after"] or matched["before"] or ""
            licence = LIBRARIES.get(name, UNKNOWN)
            yield Library(name, version, licence, Path(str(file.locate())))


def _crates(here: Distribution) -> Iterator[dict[str, Any]]:
    """Crates that the wheel's own SBOM names (PEP 770)."""
    for file in here.files or ():
        if ".dist-info/sboms/" in file.as_posix() and file.suffix == ".json":
            named = json.loads(file.read_text("utf-8")).get("components", ())
            for each in named:
                if str(each.get("purl", "")).startswith("pkg:cargo/"):
                    kept = ("type", "name", "version", "purl", "licenses")
                    yield {key: each[key] for key in kept if key in each}


def licence_list(packages: dict[str, Package]) -> list[str]:
    """Lines to read: every package and what it brings; at the end, what is under the GPL."""
    lines = []
    for each in packages.values():
        lines.append(f"{each.name} {each.version}: {each.licence}")
        lines += [f"  brings {lib.name} {lib.version}: {lib.licence}" for lib in each.libraries]
        if each.crates:
            expressions = {_expression(crate) for crate in each.crates}
            lines.append(f"  brings {len(each.crates)} crates: {'; '.join(sorted(expressions))}")
    strict = [
        f"{lib.name} ({each.name})"
        for each in packages.values()
        for lib in each.libraries
        if lib.licence.startswith("GPL") and "exception" not in lib.licence
    ]
    strict += [each.name for each in packages.values() if re.match(r"A?GPL", each.licence)]
    return [*lines, "", f"under the GPL, which an image with them is then too: {_some(strict)}"]


def unknown(packages: dict[str, Package]) -> list[str]:
    """What has no licence that is known."""
    return [each.name for each in packages.values() if each.licence == UNKNOWN] + [
        f"{lib.name} ({each.name})"
        for each in packages.values()
        for lib in each.libraries
        if lib.licence == UNKNOWN
    ]


def sbom(packages: dict[str, Package]) -> dict[str, Any]:
    """A CycloneDX document of pe-stream and these packages, each with what it brings.

    cyclonedx-py makes it of the whole environment; here it is cut to the run-time set.
    """
    command = ["-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")]
    command += ["--output-format", "JSON", "--output-reproducible", "--no-validate"]
    made = subprocess.run([sys.executable, *command], check=True, capture_output=True, cwd=ROOT)
    document: dict[str, Any] = json.loads(made.stdout)
    kept = [each for each in document["components"] if canonicalize_name(each["name"]) in packages]
    for each in kept:
        package = packages[canonicalize_name(each["name"])]
        inner = [*map(_component, package.libraries), *package.crates]
        if inner:
            each["components"] = [
                part | {"bom-ref": f"{each['bom-ref']}/{number}"}
                for number, part in enumerate(inner)
            ]
    root = document["metadata"]["component"]
    root["version"] = distribution(OURS).version
    ours = [each["bom-ref"] for each in kept if packages[canonicalize_name(each["name"])].direct]
    refs = {each["bom-ref"] for each in kept}
    document["components"] = kept
    document["dependencies"] = [{"ref": root["bom-ref"], "dependsOn": sorted(ours)}] + [
        each | {"dependsOn": [ref for ref in each.get("dependsOn", ()) if ref in refs]}
        for each in document.get("dependencies", ())
        if each["ref"] in refs
    ]
    _validate(document)
    return document


def _validate(document: dict[str, Any]) -> None:
    """Raise ValueError where it is no CycloneDX: by the schema, licences by SPDX."""
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    wrong = validator.validate_str(json.dumps(document))
    if wrong is not None:
        raise ValueError(f"no CycloneDX: {wrong}")


def _component(library: Library) -> dict[str, Any]:
    digest = hashlib.sha256(library.file.read_bytes()).hexdigest()
    made: dict[str, Any] = {
        "type": "library",
        "name": library.name,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    if library.version:
        made["version"] = library.version
    if library.licence != UNKNOWN:
        made["licenses"] = [{"expression": library.licence}]
    return made


def _expression(crate: dict[str, Any]) -> str:
    said = (each.get("expression") or _named(each) for each in crate.get("licenses", ()))
    return " ".join(" AND ".join(said).split()) or UNKNOWN


def _named(given: dict[str, Any]) -> str:
    licence: dict[str, str] = given.get("license", {})
    return licence.get("id") or licence.get("name") or UNKNOWN


def _some(names: list[str]) -> str:
    return ", ".join(names) or "nothing"


def main(arguments: list[str]) -> int:
    """Do what is asked; returns 1 where a licence is unknown."""
    packages = run_time_set()
    if arguments[:1] == ["sbom"]:
        to = Path(arguments[1])
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(json.dumps(sbom(packages), indent=2) + "\n", "utf-8")
        print(f"{to}: {len(packages)} packages")
        return 0
    print("\n".join(licence_list(packages)))
    if lacking := unknown(packages):
        print(f"licences that nobody knows: {', '.join(lacking)}", file=sys.stderr)
    return bool(lacking)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
