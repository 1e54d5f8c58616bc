"""A machine that listens and one that scores, as a user has them: two commands and a broker."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from mosquitto import Mosquitto, wait_until
from ports import HOST, free_port
from processes import Daemon, MosquittoSub, Process, level_config
from serving.test_client import answering, saying
from sounds import noise, write_float_wav
from timing import within

from pe_stream.cli.main import main

pytestmark = pytest.mark.realtime


def engine(level: Path, port: int, *more: str) -> Process:
    arguments = ["engine", "serve", "--checkpoint", str(level), "--device", "cpu"]
    return Process([*arguments, "--port", str(port), *more], dict(os.environ))


def config(level: Path, broker: int, sound: Path, engine: str, more: str = "") -> str:
    made = level_config(level, broker, f"{{url: {sound}, loop: true}}", more)
    patience_s = min(30.0, within(10))
    far = f"engine: '{engine}', engine_timeout_s: {patience_s:g}"
    return made.replace("threads: 1", f"threads: 1, {far}")


def test_the_house_goes_on_without_its_engine_and_hears_again_with_it(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    sound = write_float_wav(tmp_path / "sound.wav", noise((0.8, 0.001), (0.8, 0.3)))
    port = free_port()
    text = config(level, broker.port, sound, f"http://{HOST}:{port}")
    health = "pe_stream/test_node/kitchen/health"
    with MosquittoSub(broker.port) as house, Daemon(tmp_path, text) as daemon:
        away = f"http://{HOST}:{port}: Connection refused"
        daemon.wait_for_log(f"engine: {away}; listening goes on, and asks again")
        house.wait_for(health, json.dumps(away))
        with engine(level, port) as far:
            far.wait_for_log(f"engine: http://{HOST}:{port}: ")
            daemon.wait_for_log("engine: answers again after")
            daemon.wait_for_log("kitchen: loud end")
            far.send(signal.SIGTERM)
            assert far.exit_code() == 143
        wait_until(lambda: daemon.log.count("listening goes on") > 1, "it is away again", 60)
        with engine(level, port):
            wait_until(
                lambda: daemon.log.count("engine: answers again after") > 1, "it answers again", 60
            )
            wait_until(
                lambda: json.loads(house.payloads(health)[-1])["engine"] == "ok", "it is told", 60
            )
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
        told = [json.loads(each) for each in house.payloads(health)]
    assert away in {each["engine"] for each in told}
    assert max(each["engine_away_s"] for each in told) > 0


def test_check_says_what_the_engine_is_or_why_it_cannot_be_asked(
    tmp_path: Path,
    level: Path,
    broker: Mosquitto,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pe_stream.outputs.mqtt.trial.ANSWER_S", within(30))
    sound = write_float_wav(tmp_path / "sound.wav", noise((3, 0.1)))
    port = free_port()
    path = tmp_path / "config.yaml"
    more = "store: {enabled: false}\nhistory: {enabled: false}"
    plain = config(level, broker.port, sound, f"http://{HOST}:{port}", more)
    path.write_text(plain, "utf-8")
    assert main(["check", "-c", str(path)]) == 69
    refused = f"FAILED engine: http://{HOST}:{port}: Connection refused"
    assert refused in capsys.readouterr().out
    tokens = tmp_path / "tokens"
    tokens.write_text(f"house {'t' * 24}\n", "utf-8")
    tokens.chmod(0o600)
    with engine(level, port, "--tokens", str(tokens)) as far:
        far.wait_for_log(f"engine: http://{HOST}:{port}: ")
        assert main(["check", "-c", str(path)]) == 69
        assert "it does not take the token: see model.engine_token_file" in capsys.readouterr().out
        token = tmp_path / "token"
        token.write_text("t" * 24, "utf-8")
        token.chmod(0o600)
        text = path.read_text("utf-8").replace("engine:", f"engine_token_file: {token}, engine:")
        path.write_text(text, "utf-8")
        assert main(["check", "-c", str(path)]) == 0
        assert f"ok     engine: http://{HOST}:{port}: {level} (" in capsys.readouterr().out
        path.write_text(text.replace(str(level), "embedded"), "utf-8")
        assert main(["check", "-c", str(path)]) == 69
        assert "and not the same: model.checkpoint has to be" in capsys.readouterr().out
    about = json.dumps({"version": 7, "pe_stream": "9.9"}).encode()
    with answering(saying(200, about)) as address:
        path.write_text(plain.replace(f"http://{HOST}:{port}", address), "utf-8")
        assert main(["check", "-c", str(path)]) == 69
        refused = f"FAILED engine: {address}: it is of another version of pe_stream (9.9)"
        assert refused in capsys.readouterr().out
    level_alone = plain.replace("{min_on_s: 0.12}", "{loud: {above_db: 20, of: background}}")
    path.write_text(level_alone, "utf-8")
    assert main(["check", "-c", str(path)]) == 0
    assert "ok     engine: not asked: every label is loud" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (["--host", "0.0.0.0"], 78, "give --tokens"),
        (["--tokens", "/nowhere"], 78, "cannot read /nowhere"),
        (["--key", "/nowhere"], 78, "go together"),
        (["--device", "meta"], 69, "not available"),
    ],
)
def test_an_engine_that_cannot_be_offered_says_why(
    more: list[str], code: int, said: str, level: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["engine", "serve", "--checkpoint", str(level), *more]) == code
    assert said in capsys.readouterr().err
