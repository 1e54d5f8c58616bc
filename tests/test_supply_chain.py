"""`make licences` and `make sbom`: all that runs besides pe_stream, with what it brings along."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import supply_chain
from supply_chain import LIBRARIES, Package, licence_list, main, run_time_set, sbom, unknown

import pe_stream


@pytest.fixture(scope="module")
def packages() -> dict[str, Package]:
    return run_time_set()


def test_the_set_is_what_runs_and_nothing_for_development(packages: dict[str, Package]) -> None:
    direct = {name for name, each in packages.items() if each.direct}
    assert {"av", "torch", "starlette", "h11", "pydantic-core", "tokenizers", "httpx"} <= direct
    assert {"amqtt", "jinja2", "cffi", "urllib3"} <= packages.keys()  # somebody else's
    assert not packages.keys() & {"pytest", "ruff", "mypy", "pe-stream", "cyclonedx-bom"}
    assert not packages.keys() & {"pandas", "onnxruntime"}  # of extras that develop


def test_every_licence_is_known(packages: dict[str, Package]) -> None:
    assert unknown(packages) == []


@pytest.mark.skipif(sys.platform != "linux", reason="wheels of others bring others")
def test_what_wheels_bring_along_is_listed(packages: dict[str, Package]) -> None:
    brought = {library.name: library.licence for library in packages["av"].libraries}
    assert brought["x264"] == brought["x265"] == "GPL-2.0-or-later"
    assert brought["avcodec"] == "LGPL-3.0-or-later"
    assert packages["tokenizers"].crates
    text = "\n".join(licence_list(packages))
    assert "  brings x265 " in text
    assert "under the GPL, which an image with them is then too: x264 (av), x265 (av)" in text


def test_a_licence_that_nobody_knows_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["licences"]) == 0
    assert "starlette " in capsys.readouterr().out
    monkeypatch.delitem(LIBRARIES, "x264")
    assert main(["licences"]) == 1
    assert "nobody knows: x264 (av)" in capsys.readouterr().err


@pytest.mark.heavy
def test_the_sbom_is_cyclonedx_and_has_all_of_it(
    packages: dict[str, Package], tmp_path: Path
) -> None:
    assert main(["sbom", str(tmp_path / "build" / "sbom.json")]) == 0  # raises where it is none
    made = json.loads((tmp_path / "build" / "sbom.json").read_text("utf-8"))
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    root = made["metadata"]["component"]
    assert (root["name"], root["version"]) == ("pe-stream", pe_stream.__version__)
    found = {
        each["name"].lower().replace("_", "-").replace(".", "-") for each in made["components"]
    }
    assert found == packages.keys()
    (av,) = (each for each in made["components"] if each["name"] == "av")
    (x264,) = (each for each in av["components"] if each["name"] == "x264")
    assert x264["licenses"] == [{"expression": "GPL-2.0-or-later"}]
    assert len(x264["hashes"][0]["content"]) == 64
    refs = {each["bom-ref"] for each in made["components"]} | {root["bom-ref"]}
    asked = {each["ref"]: each["dependsOn"] for each in made["dependencies"]}
    assert asked.keys() <= refs
    assert all(set(needs) <= refs for needs in asked.values())
    direct = {name for name, each in packages.items() if each.direct}
    assert len(asked[root["bom-ref"]]) == len(direct)


def test_what_is_no_cyclonedx_is_not_written() -> None:
    with pytest.raises(ValueError, match="no CycloneDX"):
        supply_chain._validate({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": "one"})


def test_the_makefile_has_both_commands() -> None:
    makefile = (supply_chain.ROOT / "Makefile").read_text("utf-8")
    assert "supply_chain licences" in makefile
    assert "supply_chain sbom build/sbom.cdx.json" in makefile
    assert callable(sbom)
