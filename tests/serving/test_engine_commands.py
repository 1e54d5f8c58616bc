"""`pe-stream engine config`, `environment`, `status` and `load`; a cluster is in test_cluster."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ports import HOST, free_port
from serving.engines import serving
from timing import within

from pe_stream.cli.commands import engine_queries
from pe_stream.cli.main import main
from pe_stream.config import ModelSettings
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.serving.connection import EngineConnection, settings_for
from pe_stream.serving.route import EngineAway
from pe_stream.serving.serve_config import ENVIRONMENT, IMPORT_PATH

LINE = re.compile(
    r"[0-9a-f]{8}: .* on cpu, float32: (\d+) streams, (\d+) windows, batches p50 \S+ ms, "
    r"p99 \S+ ms, (\d+) wanted whole, (\d+) refused\n"
)


@pytest.fixture(scope="module")
def checkpoint(level: Path) -> Checkpoint:
    return load(str(level), device="cpu", dtype="float32", threads=1)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine on a busy machine has time to answer."""

    def with_time(*given: Any) -> ModelSettings:
        more = {"engine_timeout_s": min(30.0, within(10))}
        return settings_for(*given).model_copy(update=more)

    monkeypatch.setattr(engine_queries, "settings_for", with_time)


def test_the_configuration_is_what_serve_takes(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--replicas", "3", "--gpus", "1", "--host", "0.0.0.0", "--tokens", "tokens"]
    assert main(["engine", "config", *given]) == 0
    printed = capsys.readouterr().out
    assert "#" not in printed
    made = yaml.safe_load(printed)
    assert made["http_options"]["host"] == "0.0.0.0"
    (application,) = made["applications"]
    assert application["import_path"] == IMPORT_PATH
    assert application["args"]["tokens"] == str(Path("tokens").absolute())
    (deployment,) = application["deployments"]
    assert deployment["num_replicas"] == 3
    assert deployment["ray_actor_options"]["num_gpus"] == 1
    assert deployment["max_ongoing_requests"] > 100
    assert main(["engine", "config"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("# For one node: ")
    assert yaml.safe_load(printed)["http_options"]["host"] == HOST


def test_an_address_that_one_node_has_is_not_configured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--host", "10.0.0.1", "--tokens", "tokens"]
    assert main(["engine", "config", *given]) == 78
    said = capsys.readouterr()
    assert "--host 10.0.0.1 is one node's, and every node listens there: give 0.0.0.0" in said.err
    assert said.out == ""


def test_a_cluster_that_anybody_could_ask_is_not_configured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["engine", "config", "--host", "0.0.0.0"]) == 78
    said = capsys.readouterr()
    assert "on 0.0.0.0 the whole network reaches the engine: give --tokens" in said.err
    assert said.out == ""


def test_the_environment_is_the_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["engine", "environment"]) == 0
    script = capsys.readouterr().out + "".join(
        f"\nprintf '%s\\0' \"${name}\"" for name in ENVIRONMENT
    )
    told = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.split("\0")[:-1] == list(ENVIRONMENT.values())
    assert ENVIRONMENT["RAY_AUTH_MODE"] == "token"
    assert ENVIRONMENT["RAY_USAGE_STATS_ENABLED"] == "0"
    assert all(shlex.quote(name) == name for name in ENVIRONMENT)


def test_an_engine_is_given_something_to_do_and_tells_of_it(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(checkpoint) as server:
        where = ["--url", server.url]
        assert main(["engine", "status", *where]) == 0
        before = LINE.fullmatch(capsys.readouterr().out)
        assert before is not None
        assert before.groups() == ("0", "0", "0", "0")
        assert main(["engine", "load", *where, "--sources", "6", "--seconds", "4"]) == 0
        done = re.fullmatch(
            r"6 sources, 4 s: (\d+) windows answered, 0 not; after \d+ ms \(p50\), "
            r"\d+ ms \(p99\), \d+ ms at most\n",
            capsys.readouterr().out,
        )
        assert done is not None
        assert 6 <= int(done[1]) <= 6 * 9
        assert main(["engine", "status", *where]) == 0
        after = LINE.fullmatch(capsys.readouterr().out)
        assert after is not None
        assert int(after[1]) == 6
        assert int(done[1]) <= int(after[2]) <= int(done[1]) + 6


def ended_with(words: list[str]) -> object:
    """The exit code, argparse's too."""
    try:
        return main(words)
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["load", "--url", "https://ears.example:8443"], 2, "is on another machine"),
        (["status", "--url", "http://ears.example:8443"], 78, "everybody on the way can listen in"),
        (["status", "--url", "ears"], 78, "is no address of an engine"),
        (["load", "--sources", "100000"], 2, "is not a number from 1 to 2000"),
    ],
)
def test_what_cannot_be_asked_is_told_in_a_line(
    words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended_with(["engine", *words]) == code
    assert said in capsys.readouterr().err


def test_status_tells_of_those_that_answer_where_one_does_not(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As behind a cluster's way in, where one replica of several hangs."""
    get = EngineConnection.get
    asked = 0

    def some(connection: EngineConnection, path: str) -> dict[str, object]:
        nonlocal asked
        asked += 1
        if asked == 2:
            raise EngineAway("http://ears", "no answer within 2 s")
        return get(connection, path)

    monkeypatch.setattr(EngineConnection, "get", some)
    with serving(checkpoint) as server:
        assert main(["engine", "status", "--url", server.url]) == 69
    told = capsys.readouterr()
    assert LINE.fullmatch(told.out)
    assert "http://ears: no answer within 2 s" in told.err
    assert asked == engine_queries.SESSIONS


@pytest.mark.parametrize("action", ["status", "load"])
def test_an_engine_that_is_not_there(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://{HOST}:{free_port()}"
    assert main(["engine", action, "--url", url]) == 69
    assert f"{url}: Connection refused" in capsys.readouterr().err
