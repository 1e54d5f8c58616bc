"""Dependencies run one way: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pe_stream

PACKAGE = Path(pe_stream.__file__).parent

LAYERS = [
    {"cli", "cli_thresholds", "cli_values", "cli_workbench", "__main__", "__init__"},
    {"training"},
    {
        "api",
        "bench",
        "calibration",
        "commands",
        "evaluation",
    },
    {"daemon", "past"},
    {"labelling", "web"},
    {
        "clips",
        "enrolling",
        "enrolment_report",
        "events_table",
        "health",
        "history",
        "memory",
        "search",
        "store",
        "home_assistant",
        "metrics",
        "notifications",
        "plot",
        "timeline",
        "watchdog",
    },
    {"live", "offline"},
    {
        "background",
        "examples",
        "feed",
        "hearing",
        "overlaps",
        "schedules",
        "soundscapes",
        "teaching",
    },
    {"fingerprint", "local_time"},
    {"audio", "broker", "event_store", "model", "memory_store", "mqtt", "score_store"},
    {"config", "config_edit", "config_file", "yaml_edit", "yaml_lines"},
    {
        "activity",
        "addresses",
        "assets",
        "core",
        "database",
        "manifest",
        "requests",
        "spool",
        "synthesis",
        "traces",
    },
    {"errors", "locks", "version"},
]
"""From top to bottom; a part imports only parts below it, and itself."""

EDGES = {"audio", "broker", "event_store", "memory_store", "model", "mqtt", "score_store"}

OWNERS = {
    "torch": {"bench", "model", "training"},
    "transformers": {"bench", "model", "training"},
    "sounddevice": {"audio"},
    "av": {"audio", "assets"},
    "paho": {"bench", "mqtt", "commands"},
    "amqtt": {"broker"},
    "apprise": {"notifications"},
    "astral": {"fingerprint", "local_time"},
    "httpx": {"notifications"},
    "sdnotify": {"watchdog"},
    "prometheus_client": {"metrics"},
    "matplotlib": {"bench", "calibration", "evaluation", "plot"},
    "ai_edge_litert": {"evaluation"},
    "sed_scores_eval": {"evaluation"},
    "argon2": {"web"},
    "fastapi": {"web"},
    "itsdangerous": {"web"},
    "limits": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
}
"""Libraries that only these parts import."""


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def level(name: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if name in layer)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_part_imports_only_what_lies_below(path: Path) -> None:
    own = part(path)
    if own == "__init__":
        return  # the package's own names: the API, which it loads when asked
    for name in imports(path):
        pieces = name.split(".")
        if pieces[0] in OWNERS:
            assert own in OWNERS[pieces[0]], name
        if pieces[0] != "pe_stream" or len(pieces) < 2:
            continue
        other = pieces[1]
        if not any(other in layer for layer in LAYERS):
            continue  # a name of the package itself, not one of its parts
        assert other == own or level(other) >= level(own), name
        assert not (own in EDGES and other in EDGES - {own}), name


def test_the_core_is_pure() -> None:
    allowed = {"__future__", "collections", "dataclasses", "datetime", "enum", "itertools", "json"}
    allowed |= {"math", "numpy", "pe_stream", "re", "typing", "unicodedata", "zlib"}
    for path in (PACKAGE / "core").glob("*.py"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert roots <= allowed, path
        named = {n for n in imports(path) if n.startswith("pe_stream.")}
        assert all(n.startswith("pe_stream.core") for n in named), path


def test_every_part_has_its_layer() -> None:
    assert {part(path) for path in FILES} == set().union(*LAYERS)
