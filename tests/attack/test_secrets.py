"""No secret leaves in what the daemon logs, serves or says."""

from __future__ import annotations

import signal
from pathlib import Path

import httpx
import psutil
import pytest
from mosquitto import Mosquitto, Subscriber
from ports import HOST, free_port
from processes import Daemon, level_config
from sounds import noise, write_float_wav

SECRETS = ["S3cretMq", "S3cretTok0123456789abc", "S3cretCam", "S3cretHook", "S3cretNtfy"]
SECRETS += ["S3cretKey", "S3cretHdr"]
PASSWORD, TOKEN, CAMERA, HOOK, NTFY, KEY, HEADER = SECRETS

SET = "pe_stream/test_node/kitchen/loud/set"


@pytest.mark.realtime
def test_no_secret_is_told_and_no_old_command_obeyed(
    tmp_path: Path, level: Path, broker: Mosquitto
) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n", "utf-8")
    (tmp_path / "password").chmod(0o600)
    page, figures = free_port(), free_port()
    sound = write_float_wav(tmp_path / "sound.wav", noise((1, 0.001), (1, 0.2), (60, 0.001)))
    hook = f"http://u:{HOOK}@127.0.0.1:9/{HOOK}?k={HOOK}"
    config = level_config(
        level,
        broker.port,
        sound,
        f"""
notifications:
  hook: {{webhook: "{hook}", secret: {KEY}, headers: {{X: Bearer {HEADER}}}}}
  phone: {{apprise: "ntfy://user:{NTFY}@127.0.0.1:9/house", cooldown_s: 0}}
metrics: {{enabled: true, port: {figures}}}
web: {{enabled: true, port: {page}, token: {TOKEN}}}
log_level: debug
""",
    )
    camera = f"rtsp://admin:{CAMERA}@127.0.0.1:9/x?password={CAMERA}"
    config = config.replace("sources:\n", f'sources:\n  cam: {{url: "{camera}"}}\n')
    login = f", username: u, password_file: {tmp_path}/password}}"
    config = config.replace(f"port: {broker.port}}}", f"port: {broker.port}{login}")
    with Subscriber(broker.port, "none") as mouth:
        mouth.publish(SET, '{"enabled": false}', retain=True)
    with Daemon(tmp_path, config) as daemon:
        daemon.wait_for_log("loud end")  # so the retained message was not obeyed
        base = f"http://{HOST}:{page}/api/v1"
        known = {"authorization": f"Bearer {TOKEN}"}
        said = {
            path: httpx.get(f"{base}/{path}", headers=known, timeout=20).text
            for path in ("info", "sources", "labels", "events", "openapi.json")
        }
        said["metrics"] = httpx.get(f"http://{HOST}:{figures}/metrics", timeout=20).text
        process = psutil.Process(daemon.process.pid)
        said["command line"] = " ".join(process.cmdline())
        daemon.wait_for_log("trying again", 30)  # the camera, which is not there
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code() == 143
        said["log"] = daemon.log
    assert "ignored a retained message" in said["log"]
    assert {where: [s for s in SECRETS if s in text] for where, text in said.items()} == {
        where: [] for where in said
    }
    database = next((tmp_path / "state").rglob("events.db"))
    assert database.stat().st_mode & 0o077 == 0
