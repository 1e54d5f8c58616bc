"""The documentation says what is so: links, commands, options, keys, figures; its commands run."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import matplotlib as mpl
import numpy as np
import pytest
import yaml
from shell import Shell
from sounds import noise, write_float_wav

import pe_stream as api
from pe_stream.assets import DEMO_RECORDING
from pe_stream.audio import media
from pe_stream.audio.synthesis import SOUNDS, in_room, room_response
from pe_stream.cli.commands.help import TOPICS
from pe_stream.cli.main import _parser
from pe_stream.config import config_schema
from pe_stream.config.file import parse
from pe_stream.core.level_meter import SoundLevel
from pe_stream.core.messages import event_schema
from pe_stream.core.types import SAMPLE_RATE, Samples

PACKAGE = Path(api.__file__).parent
ROOT = PACKAGE.parent
PAGES = [PACKAGE / "docs" / f"{topic}.md" for topic in TOPICS]
README = ROOT / "README.md"
ALL = [README, *PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md"))]
CARD = PACKAGE / "assets" / "embedded" / "README.md"

NAME = "NAME"
"""Stands in keys for a name of the user's own."""


def named(path: Path) -> str:
    return path.stem


every_page = pytest.mark.parametrize("path", ALL, ids=named)


@cache
def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def blocks(path: Path) -> list[tuple[str, str]]:
    """(info string, code) of every fenced block."""
    found = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", text_of(path), re.MULTILINE)
    return [(info, code) for info, code in found]


def prose(path: Path) -> str:
    return re.sub(r"^```.*\n(?:.*\n)*?```$", "", text_of(path), flags=re.MULTILINE)


def inline_code(path: Path) -> list[str]:
    found = re.findall(r"`([^`]+)`", prose(path))
    return [code.replace(r"\|", "|").replace("\n", " ") for code in found]


def rows(text: str) -> Iterator[list[str]]:
    """Cells of all rows of all tables, without the lines below their heads."""
    for line in text.splitlines():
        if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


# How it is written


@every_page
def test_lines_are_short_and_fences_stand_alone(path: Path) -> None:
    lines = text_of(path).splitlines()
    for before, line in pairwise(lines):
        if line.startswith("```") and line != "```":
            assert not before, line
    long = [line for line in prose(path).splitlines() if len(line) > 110]
    assert not [line for line in long if not line.startswith(("|", "!["))]


@every_page
def test_one_spelling(path: Path) -> None:
    american = (
        r"color|behavior|neighbor|normaliz|recogniz|synthesiz|initializ|organiz|license\b(?!/)"
    )
    assert not re.findall(rf"(?i)\w*(?:{american})\w*", prose(path).replace("LICENSE", ""))
    for word in re.findall(r"(?i)\benroll\w*", re.sub(r"`[^`]*`", "", prose(path))):
        pytest.fail(f"{word}: enrol is the word, `enroll` the command's name")


def test_the_readme_is_short() -> None:
    assert len(text_of(README).splitlines()) <= 140


# Links


def anchors(path: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@every_page
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


def test_the_readme_names_every_page() -> None:
    for page in PAGES:
        assert f"(pe_stream/docs/{page.name})" in text_of(README)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for path in ALL:
        for code in [*inline_code(path), *(code for _, code in blocks(path))]:
            for words in re.findall(r"^make ([^#\n]*)", code, re.MULTILINE):
                named_targets = [
                    word for word in shlex.split(words) if re.fullmatch(r"[a-z-]+", word)
                ]
                assert set(named_targets) <= targets, words


def test_make_attack_runs_long_and_short_attacks_and_ends() -> None:
    # Of the make and pytest that run this.
    ours = {"MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "PYTEST_ARGS", "WORKERS"}
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    said = subprocess.run(
        ["make", "-n", "attack"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (bound,) = re.findall(r"^timeout .*? (\d+) .*attack-all$", said, re.MULTILINE)
    assert int(bound) <= 15 * 60
    most, timed = re.findall(r"-m pytest (.*)", said)
    for place in ("tests/attack", "tests/model/test_hostile.py", "tests/audio/test_fetch.py"):
        assert place in most.split()
    left_out = {word.partition("=")[2] for word in most.split() if word.startswith("--ignore=")}
    assert left_out == {word for word in timed.split() if word.startswith("tests/")} != set()
    # What measures delays runs alone, in its long form only: the short one is the same for less.
    for command, marks in ((most, "not gpu"), (timed, "attack and not gpu")):
        assert shlex.split(command).count("-m") == 1  # else pyproject.toml leaves the long ones out
        assert f'-m "{marks}"' in command


def test_files_named_in_the_architecture_exist() -> None:
    room, missing = "", []
    for word in re.findall(r"\*\*(\w+)\*\*|`([\w/]+\.py)`", text_of(PAGES[-1])):
        room = word[0] or room
        file = word[1]
        if file and not any((base / file).exists() for base in (PACKAGE, PACKAGE / room, ROOT)):
            missing.append(file)
    assert not missing


# Commands


def commands() -> dict[str, argparse.ArgumentParser]:
    actions = _parser()._actions
    (found,) = [each for each in actions if isinstance(each, argparse._SubParsersAction)]
    return dict(found.choices)


def command_lines(path: Path) -> Iterator[list[str]]:
    """The words of every pe-stream command, in blocks and in the text."""
    code = [code.replace("\\\n", " ") for info, code in blocks(path) if info.startswith("sh")]
    lines = [line for each in code for line in each.splitlines()]
    for line in [*lines, *inline_code(path)]:
        match = re.search(r"(?:^|[\s|/])pe-stream (?!-)([a-z].*)", line)
        if match and "pip install" not in line and "systemctl" not in line:
            yield shlex.split(re.split(r" +#| > | \| ", match[1])[0])


@every_page
def test_commands_and_their_options_exist(path: Path) -> None:
    known = commands()
    for name, *words in command_lines(path):
        if re.search(r"systemd|journal", name):
            continue
        assert name in known, name
        options = known[name]._option_string_actions
        for word in words:
            if re.match(r"--?[a-z]", word):
                assert word.split("=")[0] in options, f"{name} {word}"


def test_options_in_the_text_exist() -> None:
    known = {option for each in commands().values() for option in each._option_string_actions}
    known |= {"--version", "--only", "--faults", "--index-url", "--strict"}
    known |= {
        "--device",
        "--gpus",
        "--group-add",
        "--cpu-shares",
        "--cpuset-cpus",
        "--cpus",
    }  # of podman and docker
    known |= {"--node-ip-address"}  # of Ray
    for path in ALL:
        for code in inline_code(path):
            for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", code):
                assert option in known, f"{path.name}: {option}"


def test_every_command_is_listed() -> None:
    operation = next(path for path in PAGES if path.stem == "operation")
    listed = {
        row[0].split()[1].rstrip("`") for row in rows(text_of(operation)) if "`pe-stream " in row[0]
    }
    assert listed == commands().keys()


# Configuration


@cache
def keys() -> dict[str, Any]:
    """Every key of the configuration, dotted, with its default."""
    schema = config_schema()
    found: dict[str, Any] = {}

    def walk(node: dict[str, Any], path: tuple[str, ...]) -> None:
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", maxsplit=1)[-1]]
        for other in [*node.get("anyOf", []), *node.get("oneOf", [])]:
            walk(other, path)
        for key, value in node.get("properties", {}).items():
            found[".".join([*path, key])] = value.get("default")
            walk(value, (*path, key))
        more = node.get("additionalProperties")
        if isinstance(more, dict):
            walk(more, (*path, NAME))
        if isinstance(node.get("items"), dict):
            walk(node["items"], path)

    walk(schema, ())
    sections = {key.rpartition(".")[0] for key in found}
    unlisted = sections | {f"{each}s" for each in ("source", "label", "notification")}
    listed = {"labels.NAME.schedule", "labels.NAME.pattern", "labels.NAME.follow", "mqtt.tls"}
    listed |= {"labels.NAME.loud", "notifications.NAME.quiet", "web.tls"}
    return {key: default for key, default in found.items() if key not in unlisted - listed}


def test_the_configuration_page_has_every_key_with_its_default() -> None:
    page = next(path for path in PAGES if path.stem == "configuration")
    listed = {row[0].strip("`"): row[1] for row in rows(text_of(page)) if row[0].startswith("`")}
    assert listed.keys() == keys().keys()
    for key, shown in listed.items():
        if re.fullmatch(r"`[^`]*`", shown):
            told = yaml.safe_load(shown.strip("`"))
            assert told == keys()[key] or (told == {} and not keys()[key]), key


def known_names() -> set[str]:
    """Every key and its endings: `labels.NAME.threshold`, `NAME.threshold`, `threshold`."""
    every = {*keys(), *(key.rpartition(".")[0] for key in keys())}
    return {
        ".".join(key.split(".")[start:]) for key in every for start in range(key.count(".") + 1)
    }


@every_page
def test_keys_in_the_text_exist(path: Path) -> None:
    sections = {key.split(".")[0] for key in keys()}
    for code in inline_code(path):
        dotted = re.fullmatch(r"([a-z_]+)(\.[A-Za-z_]+)+", code)
        if dotted and dotted[1] in sections and not code.endswith((".py", ".db", ".yaml")):
            assert code in known_names(), code


def snippets() -> Iterator[Any]:
    sections = config_schema()["properties"]
    for path in ALL:
        for number, (info, code) in enumerate(blocks(path)):
            if info == "yaml":
                yield pytest.param(code, id=f"{path.stem}-{number}")
        for code in inline_code(path):
            if re.match(r"[a-z_]+: ", code) and code.split(":")[0] in sections:
                yield pytest.param(code, id=f"{path.stem}-{code[:30]}")


@pytest.mark.parametrize("code", [*snippets()])
def test_configurations_are_right(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in re.findall(r"\$\{([A-Z_]+)\}", code):
        monkeypatch.setenv(name, "a secret of 32 characters or more")
    if "labels" not in yaml.safe_load(code):
        code += "\nlabels: {speech: , smoke_alarm: , glass_break: }\n"
    with chdir(tmp_path):
        parse(code, "page")


# The contract


def test_events_shown_are_events() -> None:
    shown = [json.loads(code) for path in ALL for info, code in blocks(path) if info == "json"]
    assert len(shown) >= 2
    for event in shown:
        jsonschema.validate(event, event_schema())
        assert list(event) == list(event_schema()["properties"])


def test_the_second_opinion_shown_is_one() -> None:
    (shown,) = (code for path in ALL for info, code in blocks(path) if info == "json opinion")
    schema = event_schema()["properties"]["second_opinion"]
    jsonschema.validate(json.loads(shown), schema)
    assert list(json.loads(shown)) == list(schema["properties"])


def test_the_level_shown_is_one() -> None:
    (shown,) = (code for path in ALL for info, code in blocks(path) if info == "json level")
    assert list(json.loads(shown)) == list(SoundLevel(48_000, 0.0, 0.0, 0.0, 0.0).to_dict())


def test_every_field_of_an_event_is_explained() -> None:
    page = next(path for path in PAGES if path.stem.startswith("mqtt"))
    (table,) = re.findall(r"\| field \| meaning \|\n((?:\|.*\n)+)(?=\nTimes)", text_of(page))
    told = [name for row in rows(table) for name in re.findall(r"`([^`]+)`", row[0])]
    assert set(told) == set(event_schema()["properties"])


# Figures


FIGURES = {
    "single clips (ESC-50 fold 5, 50 classes): top-1": ("esc50 fold 5", "top-1"),
    "the same clips, prompts in words no training saw (worst of three sets): top-1": (
        "esc50 fold 5 unseen",
        "top-1",
    ),
    "everyday scenes: AUROC per frame, mean of labels": (
        "everyday soundscapes",
        "AUROC, mean of labels",
    ),
    "everyday scenes: PSDS1": ("everyday soundscapes", "PSDS1"),
    "everyday scenes: PSDS2": ("everyday soundscapes", "PSDS2"),
    "everyday scenes: recall at one false alarm an hour per label": (
        "everyday soundscapes",
        "recall at 1 false alarm/h per label",
    ),
    "everyday scenes: onset error, median (s)": (
        "everyday soundscapes",
        "onset error, median (s)",
    ),
}
"""Rows of the README's table: the section of the card that has it, and its name there."""


SYSTEMS = ("ours", "YAMNet", "mn04")


def figure(title: str, name: str) -> tuple[str, ...]:
    """Those of SYSTEMS in the card; of several sections the worst of ours."""
    sections = re.split(r"^### ", text_of(CARD), flags=re.MULTILINE)[1:]
    chosen = [each for each in sections if each.split("\n")[0] == title]
    chosen = chosen or [each for each in sections if each.startswith(title)]
    found = []
    for section in chosen:
        table = list(rows(section))
        head = next(row for row in table if row[0] == "figure")
        row = next(row for row in table if row[0] == name)
        cells = dict(zip(head, row, strict=True))
        found.append(tuple(cells.get(system, "") for system in SYSTEMS))
    return min(found)


def test_the_readme_has_the_cards_figures() -> None:
    shown = {row[0]: tuple(row[1:]) for row in rows(text_of(README)) if len(row) == 4}
    shown.pop("figure")
    assert shown == {told: figure(*where) for told, where in FIGURES.items()}


# What runs


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A shell in a folder with the files that the pages speak of, and no network."""
    monkeypatch.setenv("MPLCONFIGDIR", mpl.get_cachedir())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "pe_stream").symlink_to(PACKAGE)
    (tmp_path / "house.yaml").write_text(
        "sources: {kitchen: {microphone: default}}\nlabels:\n  dog_bark:\n  speech:\n", "utf-8"
    )
    for name, samples in sounds().items():
        write_float_wav(tmp_path / name, samples)
    made = Shell(tmp_path)
    yield made
    made.close()


@cache
def sounds() -> dict[str, Samples]:
    """A minute's beginning with knocks, three rings of a doorbell, and a hall without any."""
    demo = np.concatenate([chunk.samples for chunk in media.read(str(DEMO_RECORDING))])
    rng = np.random.default_rng(0)
    rings = [0.3 * in_room(SOUNDS["doorbell"](rng), room_response(rng)) for _ in range(3)]
    made = {f"ring{number}.wav": ring for number, ring in enumerate(rings, 1)}
    return {"yard.wav": demo[: 6 * SAMPLE_RATE], "hall.wav": noise((20, 0.01)), **made}


RUNNABLE = [path for path in ALL if any("runnable" in info for info, _ in blocks(path))]


@pytest.mark.heavy
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", RUNNABLE, ids=named)
def test_what_is_marked_runs(path: Path, shell: Shell, tmp_path: Path) -> None:
    for info, code in blocks(path):
        if info == "sh runnable":
            assert shell.run(code) == 0, code
        elif info == "python runnable":
            with chdir(tmp_path):
                exec(compile(code, path.name, "exec"), {})


def test_what_can_run_is_marked() -> None:
    marked = [info for path in ALL for info, _ in blocks(path) if info.endswith("runnable")]
    assert len(marked) >= 8
    assert {info for path in ALL for info, _ in blocks(path)} <= {
        *("sh", "sh runnable", "python", "python runnable"),
        *("yaml", "yaml compose", "json", "json level", "json opinion", "ini", ""),
    }


def test_a_failing_command_fails_its_block(shell: Shell) -> None:
    assert shell.run("pe-stream schema event >/dev/null\n") == 0
    assert shell.run("pe-stream help nothing\npe-stream schema event\n") == 2
