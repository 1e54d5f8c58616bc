"""Makes the demo recording: `python -m pe_stream.workbench.make_demo FOLDER`.

About a minute of a made-up house: two synthetic voices (espeak-ng) and sounds made from formulas
(pe_stream.audio.synthesis), in one room, over its noise. Writes `demo.opus` and `demo.csv`, the
truth of what was put in: onset and offset (s), label and a few words. The same espeak-ng gives the
same samples.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soxr

from pe_stream.audio import synthesis
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import PeStreamError, UnavailableError

RECORDING, TRUTH = "demo.opus", "demo.csv"
"""Names of the two files written."""

_SEED = 20
_LENGTH_S = 63.0
_NOISE_DBFS = -60.0
_PIECE = 960
"""Samples handed to the encoder at a time: one Opus packet, 20 ms."""

_AUDIBLE_DB = -40.0
"""A sound is on from the first to the last sample within this of its peak."""


@dataclass(frozen=True, slots=True)
class DemoSound:
    """Something put into the recording.

    samples: (n,) mono float32 at 48 kHz, peak 1, without the room.
    onset_s: where its first audible sample is; level_dbfs: its peak there.
    """

    onset_s: float
    label: str
    text: str
    level_dbfs: float
    samples: Samples

    @property
    def offset_s(self) -> float:
        """End of its last audible sample (s)."""
        return self.onset_s + len(self.audible) / SAMPLE_RATE

    @property
    def audible(self) -> Samples:
        """The samples from the first to the last audible one."""
        loud = np.flatnonzero(np.abs(self.samples) >= 10 ** (_AUDIBLE_DB / 20))
        return self.samples[loud[0] : loud[-1] + 1]


def main(folder: Path) -> None:
    """Write the recording and its truth into `folder`, which is made where it is missing.

    Raises UnavailableError where espeak-ng is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(_SEED)
    sounds = arrange(rng)
    write_opus(folder / RECORDING, mix(sounds, rng))
    with (folder / TRUTH).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["onset_s", "offset_s", "label", "text"])
        for sound in sounds:
            rows.writerow(
                [f"{sound.onset_s:.2f}", f"{sound.offset_s:.2f}", sound.label, sound.text]
            )


def arrange(rng: np.random.Generator) -> list[DemoSound]:
    """Everything that happens, in order of onset; `rng` decides the details of the sounds."""
    evening = say("en-gb", "Good evening. Somebody is at the door, I will open it.")
    dinner = say("en-us+f3", "Dinner is ready, please come to the kitchen.")
    return [
        DemoSound(1.5, "door_knock", "four knocks on a door", -8, synthesis.knocks(rng)),
        DemoSound(5.5, "glass_break", "a pane breaks", -8, synthesis.glass_breaking(rng)),
        DemoSound(9.5, "dog_bark", "a dog barks three times", -10, synthesis.dog_barks(rng)),
        DemoSound(13.5, "rooster", "a rooster crows", -12, synthesis.rooster(rng)),
        DemoSound(18.0, "car_horn", "a car horn, twice", -12, synthesis.car_horn()),
        DemoSound(22.5, "telephone", "a telephone rings twice", -14, synthesis.telephone()),
        DemoSound(30.0, "siren", "a siren wails", -14, synthesis.siren()),
        DemoSound(39.0, "speech", "a man speaks", -8, evening),
        DemoSound(44.5, "speech", "a woman speaks ...", -8, dinner),
        DemoSound(45.5, "door_knock", "... while somebody knocks", -10, synthesis.knocks(rng)),
        DemoSound(50.0, "clock_alarm", "an alarm clock beeps", -16, synthesis.alarm_clock()),
        DemoSound(
            55.5, "smoke_alarm", "a smoke alarm beeps three times", -12, synthesis.smoke_alarm()
        ),
        DemoSound(60.5, "tone", "a plain tone of 1 kHz, no label's", -16, synthesis.tone()),
    ]


def say(voice: str, text: str) -> Samples:
    """`text` spoken by espeak-ng's `voice`, (n,) float32 at 48 kHz, peak 1.

    Raises UnavailableError where espeak-ng is not installed.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        message = "espeak-ng is not installed; it speaks in the demo: apt install espeak-ng"
        raise UnavailableError(message)
    with tempfile.TemporaryDirectory() as folder:
        spoken = Path(folder) / "spoken.wav"
        subprocess.run([program, "-v", voice, "-s", "150", "-w", spoken, text], check=True)
        with wave.open(str(spoken)) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            rate = file.getframerate()
    samples = soxr.resample(pcm.astype(np.float32), rate, SAMPLE_RATE)
    return np.asarray(samples / np.abs(samples).max(), np.float32)


def mix(sounds: list[DemoSound], rng: np.random.Generator) -> Samples:
    """The sounds in one room over its noise, (n,) float32 at 48 kHz."""
    count = round(_LENGTH_S * SAMPLE_RATE)
    out = _gain(_NOISE_DBFS) * synthesis.room_noise(rng, count)
    response = synthesis.room_response(rng)
    for sound in sounds:
        at = round(sound.onset_s * SAMPLE_RATE)
        heard = _gain(sound.level_dbfs) * synthesis.in_room(sound.audible, response)
        out[at : at + len(heard)] += heard[: count - at]
    return np.asarray(out, np.float32)


def write_opus(path: Path, samples: Samples) -> None:
    """Encode (n,) float32 at 48 kHz as Ogg Opus, mono, 72 kbit/s."""
    # Without "bitexact" the muxer would number the stream at random.
    with av.open(path, "w", format="ogg", options={"fflags": "bitexact"}) as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE)
        stream.layout = "mono"
        stream.bit_rate = 72_000
        for start in range(0, len(samples), _PIECE):
            piece = samples[np.newaxis, start : start + _PIECE]
            frame = av.AudioFrame.from_ndarray(piece, format="flt", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _gain(db: float) -> np.float32:
    return np.float32(10 ** (db / 20))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pe_stream.workbench.make_demo FOLDER")
    try:
        main(Path(sys.argv[1]))
    except PeStreamError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
