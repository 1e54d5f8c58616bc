"""`pe-stream enroll` as a user runs it: recordings in, a label that hears them out."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import virtual_microphone
import yaml
from audio.recordings import write_wav
from processes import Done, pe_stream
from sounds import noise, write_float_wav
from timing import within
from virtual_microphone import VirtualMicrophone

from pe_stream.audio import encode, media
from pe_stream.cli.commands.enroll import run
from pe_stream.cli.options import EnrollOptions
from pe_stream.config.edit import ConflictError
from pe_stream.config.file import load
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.model.engine import Engine
from pe_stream.pipeline.scorer import prepare

CONFIG = """\
# my house
model: {checkpoint: embedded, device: cpu, threads: 1}
sources:
  kitchen: {microphone: default}  # over the table
labels:
  # the neighbour's
  dog_bark: {prompts: ["a dog barking"]}
"""


@pytest.fixture(scope="module", autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "house" / "config.yaml"
    path.parent.mkdir()
    path.write_text(CONFIG, "utf-8")
    return path


def chirps(seed: int) -> Samples:
    """1 s of quiet, 1 s of a warbling tone that no everyday label knows, 2 s of quiet."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    hertz = 700 + 500 * np.sin(2 * np.pi * (6 + rng.uniform(-0.5, 0.5)) * time_s)
    tone = 0.2 * np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE) ** 3
    room = rng.normal(0, 0.0004, 4 * SAMPLE_RATE)
    room[SAMPLE_RATE : 2 * SAMPLE_RATE] += tone
    return room.astype(np.float32)


def recordings(folder: Path, *seeds: int) -> list[Path]:
    return [write_float_wav(folder / f"ring {seed}.wav", chirps(seed)) for seed in seeds]


def untouched(config: Path) -> bool:
    return config.read_text("utf-8") == CONFIG and [p.name for p in config.parent.iterdir()] == [
        config.name
    ]


def peak(config: Path, label: str, samples: Samples) -> float:
    settings = load(config)
    scorer = prepare(settings.model, settings.labels)
    whole = samples[: len(samples) // 1920 * 1920]
    assert isinstance(scorer.engine, Engine)
    (scores,) = scorer.engine.score([whole])
    return float(scores[:, scorer.labels.embeddings.names.index(label)].max())


@pytest.mark.heavy
def test_a_new_label_hears_what_it_was_taught(config: Path, tmp_path: Path) -> None:
    files = recordings(tmp_path, 1, 2, 3)
    done = pe_stream("enroll", "my_warbler", *files, "--prompt", "a strange toy", "-c", config)
    assert done.returncode == 0, done.stderr
    text = config.read_text("utf-8")
    assert all(line in text for line in CONFIG.splitlines())
    written = yaml.safe_load(text)["labels"]["my_warbler"]
    assert written == {
        "prompts": ["a strange toy"],
        "examples": [f"examples/my_warbler/{n:03d}.flac" for n in (1, 2, 3)],
    }
    unheard = chirps(9)
    assert peak(config, "my_warbler", unheard) > 0.5
    plain = tmp_path / "plain.yaml"
    plain.write_text(CONFIG + '  my_warbler: {prompts: ["a strange toy"]}\n', "utf-8")
    assert peak(plain, "my_warbler", unheard) < 0.3


def test_examples_are_trimmed_to_the_sound_and_some_room(config: Path, tmp_path: Path) -> None:
    pe_stream("enroll", "ring", *recordings(tmp_path, 1), "-c", config)
    kept = np.concatenate(
        [c.samples for c in media.read(str(config.parent / "examples/ring/001.flac"))]
    )
    assert len(kept) / SAMPLE_RATE == pytest.approx(2.0, abs=0.1)
    whole = chirps(1)
    start = round(0.5 * SAMPLE_RATE)
    offset = next(
        o for o in range(-3840, 3841, 960) if start + o >= 0
        and np.abs(kept[: 48_000] - whole[start + o : start + o + 48_000]).max() < 1e-4
    )  # fmt: skip
    assert abs(offset) <= 1920


def test_the_report(config: Path, tmp_path: Path) -> None:
    done = pe_stream("enroll", "ring", *recordings(tmp_path, 1, 2, 3), "-c", config)
    lines = done.stdout.splitlines()
    rows = [line for line in lines if re.match(r"00\d\.flac", line)]
    assert len(rows) == 3
    for row in rows:
        found = re.match(r"\S+ +(\d\.\d) of (\d\.\d) s +(\d\.\d\d) +(\d\.\d\d) +(\d\.\d\d)", row)
        assert found is not None, row
        active, length, words, left_out, now = map(float, found.groups())
        assert (active, length) == pytest.approx((1.0, 2.0), abs=0.11)
        assert words < left_out
        assert left_out <= now + 0.05
    assert re.search(r"^  0\.\d\d  dog_bark$", done.stdout, re.MULTILINE)
    assert re.search(r"^  0\.\d\d  .*(beep|tone|alarm|whistle|phone)", done.stdout, re.MULTILINE)
    assert "demo" not in done.stdout


def test_one_example_has_nothing_left_out(config: Path, tmp_path: Path) -> None:
    done = pe_stream("enroll", "ring", *recordings(tmp_path, 1), "-c", config)
    assert re.search(r"001\.flac .* -  +0\.\d\d", done.stdout)
    assert "prompts" not in yaml.safe_load(config.read_text("utf-8"))["labels"]["ring"]


def test_more_examples_for_a_label_that_is_there(config: Path, tmp_path: Path) -> None:
    first, second = recordings(tmp_path, 1, 2)
    assert pe_stream("enroll", "dog_bark", first, "-c", config).returncode == 0
    done = pe_stream("enroll", "dog_bark", second, "--prompt", "woof", "-c", config)
    assert done.returncode == 0, done.stderr
    assert "1 new examples" in done.stdout
    assert "2 in all" in done.stdout
    text = config.read_text("utf-8")
    assert "# the neighbour's" in text
    label = yaml.safe_load(text)["labels"]["dog_bark"]
    assert label["prompts"] == ["a dog barking", "woof"]
    assert label["examples"] == ["examples/dog_bark/001.flac", "examples/dog_bark/002.flac"]


@pytest.mark.heavy
def test_what_it_confuses_with_another_enrolled_label(config: Path, tmp_path: Path) -> None:
    pe_stream("enroll", "ring", *recordings(tmp_path, 1, 2, 3), "-c", config)
    done = pe_stream("enroll", "bell", *recordings(tmp_path, 4, 5, 6), "-c", config)
    own = [line for line in done.stdout.splitlines() if line.endswith("  ring")]
    assert own
    assert float(own[0].split()[0]) > 0.5
    assert re.search(r"^  0\.\d\d  001\.flac of ring$", done.stdout, re.MULTILINE)


def click() -> Samples:
    return noise((1.0, 0.0001), (0.04, 0.2), (1.0, 0.0001))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(2 * SAMPLE_RATE, np.float32), "silent"),
        (np.full(2 * SAMPLE_RATE, np.nan, np.float32), "silent"),
        (np.zeros(0, np.float32), "empty"),
        (click(), "too short"),
        (noise((2.0, 0.003)), "stands out"),
        (noise((61.0, 0.1)), "longer than 60 s"),
    ],
    ids=["silence", "NaN", "nothing", "click", "room", "long"],
)
def test_an_example_without_the_sound_is_named_and_nothing_written(
    config: Path, tmp_path: Path, samples: Samples, message: str
) -> None:
    bad = write_float_wav(tmp_path / "bad.wav", samples)
    done = pe_stream("enroll", "ring", *recordings(tmp_path, 1), bad, "-c", config)
    assert refused(done, 69, f"bad.wav: .*{message}")
    assert untouched(config)


def refused(done: Done, code: int, message: str) -> bool:
    (line,) = done.stderr.splitlines()
    assert re.search(f"^pe-stream: .*{message}", line), line
    assert (done.returncode, done.stdout) == (code, "")
    return True


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["ring"], 2, "either FILES or --record"),
        (["ring", "{wav}", "--record"], 2, "either FILES or --record"),
        (["ring", "{wav}", "{wav}"], 2, "more than once"),
        (["ring", "--background", "{wav}"], 2, "ring has no examples yet"),
        (["ring", "{wav}", "--background", "/no/such.wav"], 69, "/no/such.wav: No such file"),
        (
            ["ring", "{wav}", "--background", "a.wav", "a.wav"],
            2,
            "--background: a.wav is given more",
        ),
        (["ring", "{wav}", "--prompt", "a\nring"], 78, "control character"),
        (["ring", "--record", "--source", "attic"], 2, "no source 'attic'; sources: kitchen"),
        (["ring", "/no/such.wav"], 69, "/no/such.wav: No such file"),
        (["any", "{wav}"], 78, "reserved"),
        (["Dog-bark", "{wav}", "--prompt", " "], 78, "empty"),
        (["dog-Bark", "{wav}"], 0, ""),
    ],
)
def test_what_cannot_be_writes_nothing(
    config: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    (wav,) = recordings(tmp_path, 1)
    done = pe_stream("enroll", *(a.replace("{wav}", str(wav)) for a in arguments), "-c", config)
    assert done.returncode == code
    if code:
        assert re.search(message, done.stderr), done.stderr
        assert untouched(config)


def test_a_configuration_that_is_changed_meanwhile_is_left_alone(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring = write_float_wav(tmp_path / "ring.wav", noise((0.5, 0.001), (0.5, 0.2), (0.5, 0.001)))

    def changed(*_: object) -> str:
        raise ConflictError("changed by someone else")

    monkeypatch.setattr("pe_stream.config.edit.ConfigFile.write", changed)
    before = config.read_bytes()
    with pytest.raises(UnavailableError, match="changed by someone else"):
        run(EnrollOptions("bell", (str(ring),), prompts=("a bell",), config=config))
    assert config.read_bytes() == before
    assert not (config.parent / "examples").exists()


def test_the_same_recording_twice(config: Path, tmp_path: Path) -> None:
    (wav,) = recordings(tmp_path, 1)
    other = shutil.copy(wav, tmp_path / "other.wav")
    done = pe_stream("enroll", "ring", wav, other, "-c", config)
    assert refused(done, 69, "other.wav: the same recording as .*ring 1.wav")
    assert untouched(config)


@pytest.mark.parametrize("form", ["itself", "copy", "flac", "link", "stored"])
def test_a_recording_that_the_label_has_already(config: Path, tmp_path: Path, form: str) -> None:
    (wav,) = recordings(tmp_path, 1)
    assert pe_stream("enroll", "ring", wav, "-c", config).returncode == 0
    before = config.read_text("utf-8")
    again = {
        "itself": wav,
        "copy": tmp_path / "copy.wav",
        "flac": tmp_path / "copy.flac",
        "link": tmp_path / "link.wav",
        "stored": config.parent / "examples" / "ring" / "001.flac",
    }[form]
    if form == "copy":
        shutil.copy(wav, again)
    elif form == "link":
        again.symlink_to(wav)
    elif form == "flac":
        encode.write(again, chirps(1))
    done = pe_stream("enroll", "ring", again, "-c", config)
    assert refused(
        done, 69, f"{again.name}: the same recording as .*001.flac, which the label has already"
    )
    assert config.read_text("utf-8") == before
    assert len(list((config.parent / "examples" / "ring").iterdir())) == 1


def room(folder: Path, *, ring: int | None = None, seconds: float = 12) -> Path:
    """A room with a fan and a buzz, in which it may have rung."""
    samples = noise((seconds, 0.01))
    samples[48_000:72_000] += np.sign(np.sin(np.arange(24_000) / 30)).astype(np.float32) * 0.1
    if ring is not None:
        at = 5 * SAMPLE_RATE + 1_111
        samples[at : at + 4 * SAMPLE_RATE] = chirps(ring)
    return write_float_wav(folder / "room.wav", samples)


@pytest.mark.heavy
def test_a_background_of_ones_own(config: Path, tmp_path: Path) -> None:
    files = recordings(tmp_path, 1, 2)
    heard = room(tmp_path)
    done = pe_stream("enroll", "ring", *files, "--background", heard, "-c", config)
    assert done.returncode == 0, done.stderr
    label = yaml.safe_load(config.read_text("utf-8"))["labels"]["ring"]
    assert label["background"] == ["examples/ring/background/001.flac"]
    kept = config.parent / label["background"][0]
    stored = np.concatenate([c.samples for c in media.read(str(kept))])
    whole = np.concatenate([c.samples for c in media.read(str(heard))])
    assert stored == pytest.approx(whole, abs=1e-4)
    assert (kept.parent.stat().st_mode & 0o777) == (kept.parent.parent.stat().st_mode & 0o777)
    assert re.search(r"^  0\.\d\d  your background 001\.flac at 0:\d\d$", done.stdout, re.MULTILINE)
    assert "background kept in" in done.stdout

    more = write_float_wav(tmp_path / "more.wav", noise((3.0, 0.02)))
    done = pe_stream("enroll", "ring", "--background", more, "-c", config)
    assert done.returncode == 0, done.stderr
    label = yaml.safe_load(config.read_text("utf-8"))["labels"]["ring"]
    assert len(label["background"]) == len(label["examples"]) == 2
    assert "new examples" not in done.stdout


def test_a_background_that_cannot_be(config: Path, tmp_path: Path) -> None:
    (wav,) = recordings(tmp_path, 1)
    silent = write_float_wav(tmp_path / "silent.wav", np.zeros(2 * SAMPLE_RATE, np.float32))
    empty = write_float_wav(tmp_path / "empty.wav", np.zeros(0, np.float32))
    copy = Path(shutil.copy(wav, tmp_path / "copy.wav"))
    rang = room(tmp_path, ring=1)
    for each, message in (
        (silent, "silent.wav: silent"),
        (empty, "empty.wav: .*empty"),
        (wav, "the example .*ring 1.wav is in it"),
        (copy, "the example .*ring 1.wav is in it"),
        (rang, "room.wav: the example .*ring 1.wav is in it: background is what is without"),
    ):
        done = pe_stream("enroll", "ring", wav, "--background", each, "-c", config)
        assert refused(done, 69, message)
        assert untouched(config)
    still = room(tmp_path)
    twice = Path(shutil.copy(still, tmp_path / "again.wav"))
    done = pe_stream("enroll", "ring", wav, "--background", still, twice, "-c", config)
    assert refused(done, 69, "again.wav: the same recording as .*room.wav")
    assert untouched(config)


def test_a_background_that_is_there_already(config: Path, tmp_path: Path) -> None:
    files, heard = recordings(tmp_path, 1), room(tmp_path)
    assert pe_stream("enroll", "ring", *files, "--background", heard, "-c", config).returncode == 0
    done = pe_stream("enroll", "ring", "--background", heard, "-c", config)
    assert refused(done, 69, "room.wav: the same recording as .*001.flac, which is background")
    assert len(list((config.parent / "examples/ring/background").iterdir())) == 1


def test_a_prompt_too_long_leaves_no_example(config: Path, tmp_path: Path) -> None:
    long = "very " * 500 + "loud"
    done = pe_stream("enroll", "ring", *recordings(tmp_path, 1), "--prompt", long, "-c", config)
    assert done.returncode == 78
    assert "too long" in done.stderr
    assert untouched(config)


def test_a_folder_in_the_way(config: Path, tmp_path: Path) -> None:
    (config.parent / "examples").touch()
    done = pe_stream("enroll", "ring", *recordings(tmp_path, 1), "-c", config)
    assert refused(done, 69, "examples.*cannot be written")
    assert config.read_text("utf-8") == CONFIG


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMicrophone]:
    if absent := virtual_microphone.missing():
        pytest.skip(absent)
    with virtual_microphone.virtual_microphone() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.mark.realtime
def test_recording_from_the_configured_microphone(
    config: Path, tmp_path: Path, virtual: VirtualMicrophone
) -> None:
    steady = np.tile(chirps(1)[SAMPLE_RATE : 2 * SAMPLE_RATE], 20)
    player = virtual.play(write_wav(tmp_path / "steady.wav", steady, SAMPLE_RATE))
    try:
        begun_s = time.monotonic()
        done = pe_stream("enroll", "ring", "--record", "--seconds", "2", "-c", config)
    finally:
        player.kill()
        player.wait(10)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun_s < within(60)
    kept = np.concatenate(
        [c.samples for c in media.read(str(config.parent / "examples/ring/001.flac"))]
    )
    assert len(kept) / SAMPLE_RATE == pytest.approx(2.0, abs=0.9)
    assert np.abs(kept).max() == pytest.approx(0.2, abs=0.05)


@pytest.mark.realtime
def test_recording_silence_writes_nothing(config: Path, virtual: VirtualMicrophone) -> None:
    done = pe_stream("enroll", "ring", "--record", "--seconds", "1", "-c", config)
    assert done.returncode == 69
    assert "the recording: silent" in done.stderr
    assert untouched(config)
