"""A microphone without hardware: a PulseAudio server of our own whose sink can be recorded.

It keeps to a temporary folder, never talks to the user's server, and is always ended. What is
played into the sink is what the microphone hears. PortAudio sees it as the ALSA device "pulse",
which is also "default".
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from timing import within

PACKAGES = "apt install pulseaudio pulseaudio-utils libasound2-plugins libportaudio2"

SINK = "house"
"""What is played into this sink of PulseAudio is heard."""

_ALSA_CONFIG = """</usr/share/alsa/alsa.conf>
pcm.!default {
    type pulse
}
pcm.pulse {
    type pulse
}
"""


class VirtualMicrophone:
    """A running one.

    environment: what a process needs to record from it and play into it.
    """

    def __init__(self, environment: dict[str, str], sink: str) -> None:
        self.environment = environment
        self._sink = sink
        self._module = ""

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        """Start playing an audio file into the microphone."""
        command = ["paplay", f"--device={SINK}", str(path)]
        return subprocess.Popen(command, env=os.environ | self.environment)

    def plug_in(self) -> None:
        """Make the microphone appear; done once at the start."""
        self._module = self._pactl("load-module", "module-null-sink", *self._sink.split())
        self._pactl("set-default-source", f"{SINK}.monitor")

    def unplug(self) -> None:
        """Take the microphone away."""
        self._pactl("unload-module", self._module)

    def _pactl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["pactl", *arguments],
            env=os.environ | self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=within(10),
        )
        return done.stdout.strip()


def missing() -> str | None:
    """What keeps a virtual microphone from working here, as one line with its remedy."""
    for program in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(program) is None:
            return f"{program} is missing: {PACKAGES}"
    if not any(Path("/usr/lib").glob("**/alsa-lib/libasound_module_pcm_pulse.so")):
        return f"ALSA's pulse plugin is missing: {PACKAGES}"
    return None


@contextlib.contextmanager
def virtual_microphone(*, rate: int = 48_000, channels: int = 1) -> Iterator[VirtualMicrophone]:
    """Run one; silence is heard until something is played."""
    with tempfile.TemporaryDirectory(prefix="mic-") as name:
        folder = Path(name)
        folder.chmod(0o700)
        server = f"unix:{folder}/socket"
        (folder / "asound.conf").write_text(_ALSA_CONFIG, "utf-8")
        environment = {
            "HOME": name,
            "XDG_RUNTIME_DIR": name,
            "XDG_CONFIG_HOME": name,
            "PULSE_RUNTIME_PATH": name,
            "PULSE_STATE_PATH": name,
            "PULSE_SERVER": server,
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    "pulseaudio",
                    "-n",
                    "--daemonize=no",
                    "--use-pid-file=no",
                    "--exit-idle-time=-1",
                    "--disable-shm",
                    f"--load=module-native-protocol-unix auth-anonymous=1 socket={folder}/socket",
                ],
                env={k: v for k, v in os.environ.items() if not k.startswith("PULSE_")}
                | {k: v for k, v in environment.items() if k != "PULSE_SERVER"},
                stdout=log,
                stderr=log,
            )
        try:
            _wait_for(folder, process)
            sink = f"sink_name={SINK} format=float32le rate={rate} channels={channels}"
            microphone = VirtualMicrophone(environment, sink)
            microphone.plug_in()
            yield microphone
        finally:
            process.kill()
            process.wait(10)


def _wait_for(folder: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + within(10)
    while not (folder / "socket").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"pulseaudio does not start: {(folder / 'log').read_text('utf-8')}")
        time.sleep(0.02)
