"""Soundscapes: the truth is true in the mixed audio, the bytes come again, errors are plain."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from processes import Done, pe_stream
from sounds import write_float_wav

from pe_stream.audio import media
from pe_stream.audio.synthesis import SOUNDS, room_response
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench import manifest
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.soundscapes import hours
from pe_stream.workbench.soundscapes.everyday import add
from pe_stream.workbench.soundscapes.folder import background_of, is_made
from pe_stream.workbench.soundscapes.hours import Hours
from pe_stream.workbench.soundscapes.scene import Room, Scene
from pe_stream.workbench.soundscapes.sources import ROOM, Background, Sound, SoundLibrary, cut

pytestmark = pytest.mark.heavy

TONES_HZ = {"beep": 1000.0, "peep": 3000.0}
BEEP_S, PEEP_S = 0.6, 1.3


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def tone(hz: float, seconds: float) -> Samples:
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(0.3 * np.sin(2 * np.pi * hz * time_s), np.float32)


def hiss(seconds: float, seed: int = 0) -> Samples:
    noise = np.random.default_rng(seed).standard_normal(round(seconds * SAMPLE_RATE))
    return np.asarray(0.05 * noise, np.float32)


def rumbling_speech(seconds: float, seed: int = 0) -> Samples:
    """Noise from 200 to 1500 Hz: far from where an alarm of 3 kHz is."""
    spectrum = np.fft.rfft(hiss(seconds, seed))
    hz = np.fft.rfftfreq(round(seconds * SAMPLE_RATE), 1 / SAMPLE_RATE)
    spectrum[(hz < 200) | (hz > 1500)] = 0
    return np.asarray(np.fft.irfft(spectrum), np.float32)


CLIPS: dict[str, tuple[str, str, str, Samples]] = {
    # Repeated and padded with silence, as the clips of ESC-50 are.
    "beep.wav": (
        "a",
        "beep",
        "1",
        np.concatenate([silence(0.7), tone(1000, BEEP_S), silence(1.1), tone(1000, BEEP_S)]),
    ),
    "peep.wav": (
        "a",
        "peep",
        "2",
        np.concatenate([silence(0.333), tone(3000, PEEP_S), silence(2.0)]),
    ),
    "hiss1.wav": ("background", "hiss", "1", hiss(3.0, 1)),
    "hiss2.wav": ("background", "hiss", "2", hiss(4.0, 2)),
    "word1.wav": ("a", "speech", "3", np.concatenate([silence(0.2), rumbling_speech(0.8, 3)])),
    "word2.wav": ("a", "speech", "3", np.concatenate([silence(0.1), rumbling_speech(0.5, 4)])),
    "bird.wav": ("a", "chirping birds", "3", tone(4000, 0.5)),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    with (folder / manifest.NAME).open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        columns = "path dataset clip_id label fold licence redistributable attribution"
        rows.writerow(columns.split())
        for name, (dataset, label, fold, samples) in CLIPS.items():
            write_float_wav(folder / name, samples)
            free = str(fold == "1").lower()
            rows.writerow([name, dataset, name, label, fold, f"L{fold}", free, f"by {name}"])
    return folder


def make(clips: Path, out: Path, *arguments: str | Path) -> list[Clip]:
    """Soundscapes of tones over noise at 15 dB, unless told otherwise; returns their manifest."""
    done = pe_stream("soundscapes", clips, out, "--fold", "1", "2", *common(arguments))
    assert (done.returncode, done.stderr) == (0, "")
    return manifest.read(out)


def common(arguments: tuple[str | Path, ...]) -> tuple[str | Path, ...]:
    return ("--count", "5", "--seconds", "8", "--snr", "15", "15", "--synthesised", *arguments)


@pytest.fixture(scope="module")
def made(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return make(clips, tmp_path_factory.mktemp("made"), "--count", "20")


def audio(path: Path) -> Samples:
    return np.concatenate([chunk.samples for chunk in media.read(str(path))])


def envelope(samples: Samples, hz: float) -> Samples:
    """The level of one frequency at every sample, over 10 ms."""
    turning = samples * np.exp(-2j * np.pi * hz * np.arange(len(samples)) / SAMPLE_RATE)
    sums = np.cumsum(np.concatenate([np.zeros(240), turning, np.zeros(240)]))
    return np.asarray(np.abs(sums[480:] - sums[:-480]) / 480, np.float32)


def sounding(samples: Samples, hz: float, near: slice) -> tuple[float, float]:
    """First and last moment (s) near that span at which the tone is over half its level in it."""
    level = envelope(samples, hz)
    start, stop = max(0, near.start - SAMPLE_RATE // 4), near.stop + SAMPLE_RATE // 4
    usual = np.median(level[near.start + 4800 : near.start + 24000])
    loud = start + np.flatnonzero(level[start:stop] > 0.5 * usual)
    return loud[0] / SAMPLE_RATE, loud[-1] / SAMPLE_RATE


def span(clip: Clip) -> slice:
    assert clip.onset_s is not None
    assert clip.offset_s is not None
    return slice(round(clip.onset_s * SAMPLE_RATE), round(clip.offset_s * SAMPLE_RATE))


def test_onsets_are_where_the_tones_begin(made: list[Clip]) -> None:
    events = [clip for clip in made if clip.label]
    assert len(events) >= 12
    for event in events:
        onset_s, offset_s = sounding(audio(event.path), TONES_HZ[event.label], span(event))
        assert event.onset_s == pytest.approx(onset_s, abs=0.02)
        assert event.offset_s is not None
        assert offset_s - 0.02 <= event.offset_s <= offset_s + 0.5  # where there is a room
        lasts_s = {"beep": BEEP_S, "peep": PEEP_S}[event.label]
        assert lasts_s - 0.04 <= offset_s - onset_s <= lasts_s + 0.2


def test_without_a_room_offsets_are_where_the_tones_end(clips: Path) -> None:
    rng = np.random.default_rng(0)
    rows = {clip.label: clip for clip in manifest.read(clips)}
    for label, hz in TONES_HZ.items():
        scene = Scene(Background("hiss", hiss(5.0) / np.float32(0.05)))
        scene.place(cut(rng, rows[label]), 70_000, 15.0)
        made = scene.finish(rng)
        (event,) = made.events
        found = sounding(made.samples, hz, slice(event.start, event.end))
        assert (event.onset_s, event.offset_s) == pytest.approx(found, abs=0.02)


def test_in_a_room_the_event_ends_with_its_reverberation() -> None:
    rng = np.random.default_rng(0)
    scene = Scene(
        Background("none", np.full(4 * SAMPLE_RATE, 1e-9, np.float32)),
        Room(room_response(rng, rt60_s=0.6), wet_db=-3.0),
    )
    scene.place(Sound("beep", tone(1000, BEEP_S)), 48_000, 20.0)
    made = scene.finish(rng)
    (event,) = made.events
    level = envelope(made.samples, 1000)
    dry_end = 48_000 + round(BEEP_S * SAMPLE_RATE)
    assert event.start == 48_000
    assert dry_end + 4800 < event.end < dry_end + 0.4 * SAMPLE_RATE
    assert level[event.end + 2400 :].max() < 10 ** (-25 / 20) * level[60_000]
    assert level[dry_end : event.end - 1920].max() > 10 ** (-30 / 20) * level[60_000]


def test_snr_is_as_asked_for(made: list[Clip]) -> None:
    measured = [found for path in {c.path for c in made} for found in measured_snrs(path, made)]
    assert len(measured) >= 8
    assert measured == pytest.approx([15.0] * len(measured), abs=0.5)


def measured_snrs(path: Path, made: list[Clip]) -> list[float]:
    """Of the events over recorded noise that no other overlaps, against all of the quiet."""
    events = [clip for clip in made if clip.path == path and clip.label]
    samples = audio(path).astype(float)
    quiet = np.ones(len(samples), bool)
    for event in events:
        quiet[span(event).start - 480 : span(event).stop + 48_000] = False
    if not events or noted(events[0])["background"] != "hiss" or quiet.sum() < SAMPLE_RATE:
        return []
    noise = np.mean(samples[quiet] ** 2)
    alone = [
        event
        for event in events
        if all(
            other is event
            or span(other).start > span(event).stop
            or span(other).stop + 48_000 < span(event).start
            for other in events
        )
    ]
    return [10 * np.log10(np.mean(samples[span(e)] ** 2) / noise - 1) for e in alone]


def noted(clip: Clip) -> dict[str, str]:
    """What the note of a row says."""
    with (clip.path.parent / manifest.NAME).open(encoding="utf-8", newline="") as file:
        notes = {
            (row["path"], row["onset_s"]): row["note"].split("; ") for row in csv.DictReader(file)
        }
    onset = "" if clip.onset_s is None else f"{clip.onset_s:.4f}"
    said = [part.partition(": ") for part in notes[clip.key, onset]]
    return {name: value for name, _, value in said}


def test_every_fifth_has_a_background_and_no_event(made: list[Clip]) -> None:
    keys = list(dict.fromkeys(clip.key for clip in made))
    empty = [clip for clip in made if not clip.label]
    assert [keys.index(clip.key) for clip in empty] == [4, 9, 14, 19]
    for clip in empty:
        assert clip.onset_s is None
        assert noted(clip)["background"] in {"hiss", "quiet room"}
        samples = audio(clip.path)
        for hz in TONES_HZ.values():
            assert envelope(samples, hz).max() < 0.5 * samples.std()


def test_levels_differ_and_nothing_clips(made: list[Clip]) -> None:
    sounds = [audio(path) for path in {clip.path for clip in made}]
    dbfs = [20 * np.log10(samples.std()) for samples in sounds]
    assert min(dbfs) >= -45.5
    assert max(dbfs) <= -11.5
    assert max(dbfs) - min(dbfs) > 10
    assert all(np.abs(samples).max() <= 0.91 for samples in sounds)


def test_two_events_of_a_label_are_apart_or_left_out() -> None:
    rng = np.random.default_rng(0)
    scene = Scene(Background("hiss", hiss(4.0)))
    placed = [add(rng, scene, Sound("beep", tone(1000, BEEP_S)), 10.0) for _ in range(10)]
    assert len(scene.events) == sum(placed) >= 2
    assert not all(placed)
    events = scene.finish(rng).events
    assert all(late.onset_s - early.offset_s >= 0.5 for early, late in pairwise(events))
    assert add(rng, scene, Sound("peep", tone(3000, PEEP_S)), 10.0)  # another may overlap them


def test_same_seed_same_bytes_whatever_the_count(clips: Path, tmp_path: Path) -> None:
    make(clips, tmp_path / "one", "--seed", "3")
    make(clips, tmp_path / "two", "--seed", "3", "--count", "6")
    make(clips, tmp_path / "again", "--seed", "3")
    make(clips, tmp_path / "other", "--seed", "4")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == ["manifest.csv", *(f"soundscape_000{n}.flac" for n in range(5))]
    for name in names:
        first = (tmp_path / "one" / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == first
        assert (tmp_path / "other" / name).read_bytes() != first
        if name != "manifest.csv":
            assert (tmp_path / "two" / name).read_bytes() == first


def test_only_clips_of_the_folds_are_used(clips: Path, tmp_path: Path) -> None:
    done = pe_stream("soundscapes", clips, tmp_path / "out", "--fold", "1", *common(()))
    assert done.returncode == 0
    rows = manifest.read(tmp_path / "out")
    assert {clip.label for clip in rows} == {"beep", ""}
    assert {clip.fold for clip in rows} == {"1"}
    assert {clip.licence for clip in rows} <= {"L1", ""}
    assert all(clip.redistributable for clip in rows)
    assert {clip.attribution for clip in rows} <= {
        "by beep.wav",
        "by hiss1.wav; by beep.wav",
        "by hiss1.wav",
        "",
    }


def test_a_mixture_is_as_free_as_its_least_free_part(made: list[Clip]) -> None:
    for clip in made:
        assert clip.redistributable == ("L2" not in clip.licence)
    assert {clip.redistributable for clip in made} == {True, False}


def test_columns_and_rows(made: list[Clip]) -> None:
    with (made[0].path.parent / manifest.NAME).open(encoding="utf-8") as file:
        assert file.readline() == (
            "path,dataset,clip_id,label,fold,duration_s,sample_rate,licence,redistributable,"
            "attribution,freesound_id,note,onset_s,offset_s\n"
        )
        first = next(csv.reader(file))
    assert first[1:3] == ["soundscapes", "soundscape_0000"]
    assert first[4:7] == ["1+2", "8.000", "48000"]


def test_sounds_are_made_from_formulas_only_where_asked_for(clips: Path, tmp_path: Path) -> None:
    ours = {"", "beep", "peep", "speech", "chirping birds"}
    everything = ["--count", "12", "--seconds", "12"]
    for name, given, made in (
        ("none", [], set()),
        ("two", ["--synthesised", "smoke_alarm", "siren"], {"smoke alarm", "siren"}),
        ("all", ["--synthesised", "all"], set(SOUNDS)),
    ):
        done = pe_stream("soundscapes", clips, tmp_path / name, *everything, *given)
        assert done.returncode == 0
        rows = manifest.read(tmp_path / name)
        there = {clip.label for clip in rows} - ours
        assert there <= made
        assert len(there) >= min(2, len(made))
        assert {clip.label for clip in rows if is_made(clip.note)} == there
    assert len(there) > 5


def test_several_folders_are_mixed_together(clips: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    write_float_wav(more / "gong.wav", tone(700, 1.0))
    write_float_wav(more / "hiss.wav", hiss(3.0, 7))
    (more / manifest.NAME).write_text(
        "path,label,fold,dataset\ngong.wav,gong; door,1,new\nhiss.wav,rain,1,background\n", "utf-8"
    )
    rows = make(clips, tmp_path / "both", "--also", more, "--count", "12")
    assert {clip.label for clip in rows} == {"beep", "peep", "gong", ""}, "a clip's first label"
    assert {"hiss", "rain"} <= {background_of(clip.note) for clip in rows}
    done = pe_stream("soundscapes", clips, tmp_path / "o", "--also", tmp_path / "no")
    assert_refused(done, 69, f"{tmp_path / 'no' / manifest.NAME}: No such file")


def test_clips_of_which_nobody_knows_when_are_left_out(clips: Path) -> None:
    """Wanted besides the first label: neither an event, whose time were unknown, nor behind one."""
    path = next(clip for clip in manifest.read(clips) if clip.label == "peep").path
    rows = [
        manifest.first_label(Clip(path, label, label, dataset=dataset))
        for label, dataset in (
            ("gong; dog", ""),
            ("dog ; wind", ""),
            ("dog", ""),
            ("hiss;dog", "background"),
            ("hum; wolf", "background"),
            ("hum;", "background"),
        )
    ]
    assert [(clip.label, clip.also) for clip in rows[:2]] == [
        ("gong", ("dog",)),
        ("dog", ("wind",)),
    ]
    sources = SoundLibrary(rows, (), {"gong", "dog"}, {"wolf"})
    assert [clip.key for clip in sources.clips["dog"]] == ["dog ; wind", "dog"]
    assert "gong" not in sources.clips
    rng = np.random.default_rng(0)
    drawn = [sources.draw_background(rng, SAMPLE_RATE) for _ in range(30)]
    assert {each.clip.key for each in drawn if each.clip} == {"hum;"}


def test_labels_from_prompt_sets(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "set.yaml").write_text("bell: {sounds: [peep]}\n", "utf-8")
    rows = make(clips, tmp_path / "out", "--labels-from", tmp_path / "set.yaml")
    assert {clip.label for clip in rows} == {"peep", ""}
    done = pe_stream(
        *("soundscapes", clips, tmp_path / "none", "--labels-from", "esc50"),
        *("--count", "4", "--seconds", "10"),
    )
    assert done.returncode == 0
    assert {clip.label for clip in manifest.read(tmp_path / "none")} == {"chirping birds"}


def test_what_a_set_calls_related_is_no_background(clips: Path, tmp_path: Path) -> None:
    row = next(clip for clip in manifest.read(clips) if clip.label == "hiss")
    behind = [Clip(row.path, row.key, label, dataset="background") for label in ("pub", "hum")]
    rng = np.random.default_rng(0)
    for related, left in (
        ((), {"pub", "hum"}),
        (("pub",), {"hum"}),
        (("pub crawl",), {"pub", "hum"}),
    ):
        sources = SoundLibrary(behind, {"siren"}, {"siren"}, related)
        drawn = {sources.draw_background(rng, SAMPLE_RATE).label for _ in range(40)}
        assert drawn == {*left, "quiet room"}
    (tmp_path / "set.yaml").write_text("bell: {sounds: [peep], related: [hiss]}\n", "utf-8")
    rows = make(clips, tmp_path / "out", "--labels-from", tmp_path / "set.yaml", "--count", "9")
    assert {noted(clip)["background"] for clip in rows} == {"quiet room"}


def test_clips_of_other_labels_can_be_backgrounds_too(clips: Path, tmp_path: Path) -> None:
    row = next(clip for clip in manifest.read(clips) if clip.label == "hiss")
    rows = [Clip(row.path, row.key, label) for label in ("mill", "dog", "wolf", "brook")]
    rng = np.random.default_rng(0)
    sources = SoundLibrary(rows, (), {"dog"}, {"wolf"}, {"mill", "dog", "wolf"})
    drawn = {sources.draw_background(rng, SAMPLE_RATE).label for _ in range(40)}
    assert drawn == {"mill", "quiet room"}


def test_backgrounds_are_asked_for_by_name(tmp_path: Path) -> None:
    source = tmp_path / "clips"
    source.mkdir()
    write_float_wav(source / "peep.wav", tone(3000, 1.0))
    write_float_wav(source / "mill.wav", hiss(3.0))
    rows = "path,label\npeep.wav,peep\nmill.wav,water mill\n"
    (source / manifest.NAME).write_text(rows, "utf-8")
    (tmp_path / "set.yaml").write_text("bell: {sounds: [peep]}\n", "utf-8")
    options = ("--labels-from", tmp_path / "set.yaml", *("--count", "9", "--seconds", "5"))
    for asked, expected in (
        ((), {"quiet room"}),
        (("--background", "water_mill"), {"quiet room", "water mill"}),
    ):
        out = tmp_path / f"out{len(asked)}"
        done = pe_stream("soundscapes", source, out, *options, *asked)
        assert (done.returncode, done.stderr) == (0, "")
        assert {noted(clip)["background"] for clip in manifest.read(out)} == expected
    for wrong, message in (
        ("water mil", "there is no clip of 'water mil': did you mean 'water mill'?\n"),
        ("zzz", "there is no clip of 'zzz'\n"),
    ):
        done = pe_stream("soundscapes", source, tmp_path / "no", "--background", wrong)
        assert done.returncode == 2
        assert done.stderr.endswith(message)
        assert not (tmp_path / "no").exists()


def test_notes_name_the_background(made: list[Clip]) -> None:
    assert {background_of(clip.note) for clip in made} == {"hiss", "quiet room"}
    for clip in made:
        assert background_of(clip.note) == noted(clip)["background"]
    assert background_of("name matched by waveform") == ""


def test_of_a_clip_in_two_data_sets_the_better_copy_is_used(tmp_path: Path) -> None:
    source = tmp_path / "clips"
    source.mkdir()
    for name, hz in (("low.wav", 1000), ("high.wav", 3000)):
        write_float_wav(source / name, tone(hz, 1.0))
    (source / manifest.NAME).write_text(
        "path,dataset,clip_id,label,sample_rate,freesound_id\n"
        "low.wav,esc50,1-A,beep,16000,1\n"
        "high.wav,esc10,1-A,beep,44100,1\n",
        "utf-8",
    )
    done = pe_stream("soundscapes", source, tmp_path / "out", *common(()))
    assert done.returncode == 0
    rows = [clip for clip in manifest.read(tmp_path / "out") if clip.label]
    assert {noted(clip)["of high.wav"] for clip in rows} == {""}


def test_no_event_has_a_word_of_the_background(clips: Path) -> None:
    (row, *_) = manifest.read(clips)
    rain, dog = (Clip(row.path, row.key, label) for label in ("rain", "dog"))
    sources = SoundLibrary([rain, dog], made=())
    rng = np.random.default_rng(0)
    assert {sources.draw_label(rng, unlike="heavy rain") for _ in range(30)} == {"dog"}
    assert {sources.draw_label(rng, unlike="wind") for _ in range(30)} == {"dog", "rain"}
    assert SoundLibrary([rain], made=()).draw_label(rng, unlike="rain") is None


def test_events_are_cut_to_10_s(tmp_path: Path) -> None:
    path = write_float_wav(tmp_path / "long.wav", np.concatenate([silence(1), tone(500, 14)]))
    sound = cut(np.random.default_rng(0), Clip(path, "long.wav", "hum"))
    assert len(sound.samples) == 10 * SAMPLE_RATE
    assert np.abs(sound.samples[1000:]).max() > 0.2


def test_strong_labels_are_cut_where_they_say(tmp_path: Path) -> None:
    path = write_float_wav(tmp_path / "two.wav", np.concatenate([tone(500, 1), tone(900, 1)]))
    sound = cut(np.random.default_rng(0), Clip(path, "two.wav", "x", onset_s=1.0, offset_s=1.5))
    assert len(sound.samples) == SAMPLE_RATE // 2
    assert envelope(sound.samples, 900)[12_000] == pytest.approx(0.15, abs=0.01)


def test_what_is_quiet_in_a_clip_is_no_event(tmp_path: Path) -> None:
    parts = [tone(500, 0.5), silence(1), tone(900, 0.5) * np.float32(0.22), silence(1)]
    path = write_float_wav(tmp_path / "x.wav", np.concatenate(parts))
    for seed in range(10):
        sound = cut(np.random.default_rng(seed), Clip(path, "x.wav", "x"))
        assert np.abs(sound.samples).max() > 0.2


def test_a_scene_without_speech_at_all_says_so(clips: Path, tmp_path: Path) -> None:
    done = pe_stream("soundscapes", clips, tmp_path / "o", "--fold", "1", "--scene", "smoke-alarm")
    assert_refused(done, 69, "labelled 'speech'")
    assert not any(tmp_path.iterdir())


@pytest.fixture(scope="module")
def smoke(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    out = tmp_path_factory.mktemp("smoke")
    done = pe_stream(
        *("soundscapes", clips, out, "--scene", "smoke-alarm", "--fold", "3"),
        *("--count", "12", "--seconds", "15", "--snr", "30", "30"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    return manifest.read(out)


def test_smoke_alarms_sound_in_every_other_file(smoke: list[Clip]) -> None:
    labels: dict[str, set[str]] = {}
    for clip in smoke:
        labels.setdefault(clip.key, set()).add(clip.label)
    for n, found in enumerate(labels.values()):
        if n % 2 == 0:
            assert found == {"smoke alarm", "speech"}
        else:
            assert found <= {"microwave beep", "single beep", "chirping birds"}


def test_alarms_are_made_and_what_they_are_heard_over_is_not(smoke: list[Clip]) -> None:
    made = {clip.label for clip in smoke if is_made(clip.note)}
    real = {clip.label for clip in smoke if clip.label and not is_made(clip.note)}
    assert made == {"smoke alarm", "microwave beep", "single beep"}
    assert real == {"speech", "chirping birds"}
    assert all("of several clips" in clip.note for clip in smoke if clip.label == "speech")
    assert not is_made("a rain of bits; of synthesised"), "of somebody's own manifest"


def test_smoke_alarms_over_music(clips: Path, tmp_path: Path) -> None:
    """As loud as it: 0 dB over the alarm, low music against a high alarm."""
    options = (
        "--scene",
        "smoke-alarm-music",
        "--count",
        "8",
        "--seconds",
        "15",
        "--snr",
        "30",
        "30",
    )
    done = pe_stream("soundscapes", clips, tmp_path / "none", *options)
    assert_refused(done, 69, "the scene needs clips of music; the manifest has none")
    more = tmp_path / "more"
    more.mkdir()
    write_float_wav(more / "tune.wav", rumbling_speech(4.0, 9))
    write_float_wav(more / "beat.wav", tone(4000, 2.0))
    (more / manifest.NAME).write_text(
        "path,label,fold,dataset\ntune.wav,piano music,3,x\nbeat.wav,drum,3,music\n", "utf-8"
    )
    done = pe_stream(
        *("soundscapes", clips, tmp_path / "o", "--also", more, "--fold", "3"), *options
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = manifest.read(tmp_path / "o")
    labels: dict[str, set[str]] = {}
    for clip in rows:
        labels.setdefault(clip.key, set()).add(clip.label)
    assert list(labels.values())[::2] == [{"smoke alarm", "music"}] * 4
    for clip in [clip for clip in rows if clip.label == "smoke alarm"][::2]:
        samples = audio(clip.path)[span(clip)]
        power = np.abs(np.fft.rfft(samples)) ** 2
        hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        ratio_db = 10 * np.log10(power[hz > 2000].sum() / power[hz < 2000].sum())
        assert ratio_db == pytest.approx(0, abs=0.5)
    for clip in rows:
        if clip.label == "music":
            length = span(clip)
            quiet = np.abs(audio(clip.path)[length]).reshape(-1)[: -SAMPLE_RATE // 2]
            assert np.median(quiet) > 0, "without a pause"
            assert not is_made(clip.note)


def test_smoke_alarms_are_as_loud_as_the_speech(smoke: list[Clip]) -> None:
    """Powers below and above 2 kHz over the alarm's duration; speech and alarm share neither."""
    high = [clip for clip in smoke if clip.label == "smoke alarm"][::2]
    assert len(high) == 3
    for clip in high:
        samples = audio(clip.path)[span(clip)]
        power = np.abs(np.fft.rfft(samples)) ** 2
        hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        ratio_db = 10 * np.log10(power[hz > 2000].sum() / power[hz < 2000].sum())
        assert ratio_db == pytest.approx(0, abs=0.5)


def test_smoke_alarms_are_of_both_kinds_by_turns(smoke: list[Clip]) -> None:
    for n, clip in enumerate(clip for clip in smoke if clip.label == "smoke alarm"):
        samples = audio(clip.path)[span(clip)]
        power = np.abs(np.fft.rfft(samples)) ** 2
        hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
        power[(hz > 200) & (hz < 450)] = 0  # the speech
        strongest_hz = hz[np.argmax(power * (hz > 450))]
        assert (strongest_hz > 2700) == (n % 2 == 0)


def assert_refused(done: Done, code: int, reason: str) -> None:
    assert done.returncode == code
    assert reason in done.stderr
    assert done.stderr.startswith("pe-stream: ")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["--fold", "9"], 69, "no clip of fold 9; there are 1, 2, 3"),
        (["--count", "0"], 2, "--count 0: there should be at least one"),
        (["--snr", "10", "0"], 2, "--snr 10 0: give the lower figure (dB) first"),
        (["--snr", "nan", "0"], 2, "--snr nan 0"),
        (["--seconds", "0.5"], 2, "--seconds 0.5: give 1 to 3600"),
        (["--seconds", "inf"], 2, "--seconds inf"),
        (["--seed", "-1"], 2, "--seed -1: give 0 or more"),
        (["--synthesised", "smok_alarm"], 2, "did you mean 'smoke alarm'?"),
        (["--labels-from", "none.yaml"], 78, "none.yaml: cannot be read"),
        (["--synthesised", "all", "smoke_alarm"], 2, "no formula for 'all'"),
        (["--scene", "smoke-alarm", "--synthesised", "tone"], 2, "chooses its sounds"),
        (["--scene", "smoke-alarm-music", "--labels-from", "esc50"], 2, "chooses its sounds"),
    ],
)
def test_bad_arguments_are_refused_in_a_line(
    clips: Path, tmp_path: Path, arguments: list[str], code: int, reason: str
) -> None:
    out = tmp_path / "out"
    assert_refused(pe_stream("soundscapes", clips, out, *arguments), code, reason)
    assert not any(tmp_path.iterdir())


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    done = pe_stream("soundscapes", tmp_path, tmp_path / "out")
    assert_refused(done, 69, f"{tmp_path / 'manifest.csv'}: No such file")


def test_a_folder_with_something_in_it_is_left_alone(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x", "utf-8")
    assert_refused(pe_stream("soundscapes", clips, tmp_path), 2, "there is something in it")
    assert_refused(pe_stream("soundscapes", clips, tmp_path / "mine"), 2, "this is a file")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_nowhere_to_write_is_said(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    out = tmp_path / "file" / "out"
    assert_refused(pe_stream("soundscapes", clips, out, *common(())), 69, "cannot be written")


def test_a_clip_that_cannot_be_decoded_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "bad.wav").write_bytes(b"no audio" * 100)
    (folder / manifest.NAME).write_text("path,label\nbad.wav,dog\n", "utf-8")
    done = pe_stream("soundscapes", folder, tmp_path / "out", "--synthesised")
    assert_refused(done, 69, f"{folder / 'bad.wav'}: this is no audio")
    assert [path.name for path in tmp_path.iterdir()] == ["clips"]


def test_a_silent_clip_is_named(tmp_path: Path) -> None:
    path = write_float_wav(tmp_path / "hush.wav", silence(2))
    with pytest.raises(UnavailableError, match=r"hush\.wav: it is silent"):
        cut(np.random.default_rng(0), Clip(path, "hush.wav", "dog"))


def test_no_sound_at_all_is_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "set.yaml").write_text("bell: {sounds: [gong]}\n", "utf-8")
    done = pe_stream("soundscapes", clips, tmp_path / "out", "--labels-from", tmp_path / "set.yaml")
    assert_refused(done, 69, "no sound of any label wanted")


def house(folder: Path, count: int = 12) -> tuple[list[Clip], Clip]:
    """Beeps, each of a pitch of its own, the last two of one recording; and an ambience of 20 s."""
    clips = []
    for n in range(count):
        path = write_float_wav(folder / f"{n}.wav", tone(500 + 100 * n, 0.5))
        clips.append(Clip(path, path.name, "beep", recording=str(min(n, count - 2))))
    rising = np.concatenate([(1 + n) * hiss(5.0, n) for n in range(4)])
    path = write_float_wav(folder / "ambience.wav", rising)
    return clips, Clip(path, path.name, "hiss", dataset="background", recording="ambience")


def test_hours_share_no_recording_and_have_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours, "SCENES", 3)
    clips, ambience = house(tmp_path)
    made = Hours(clips, [ambience], 2, seed=1)
    of_hours = [list(made.scenes(hour)) for hour in range(2)]
    placed = [[e.clip for scene in scenes for e in scene.events] for scenes in of_hours]
    assert [len(each) for each in of_hours] == [3, 3]
    assert sorted(c.key for of_hour in placed for c in of_hour if c) == sorted(c.key for c in clips)
    recordings = [{clip.recording for clip in of_hour if clip} for of_hour in placed]
    assert not recordings[0] & recordings[1]
    assert sorted(map(len, recordings)) == [5, 6]
    again = list(Hours(clips, [ambience], 2, seed=1).scenes(1))
    assert all(
        np.array_equal(a.samples, b.samples) for a, b in zip(again, of_hours[1], strict=True)
    )
    other = list(Hours(clips, [ambience], 2, seed=2).scenes(1))
    assert not np.array_equal(other[0].samples, again[0].samples)
    shared = [e.clip.recording for scene in other for e in scene.events if e.clip]
    assert set(shared) != recordings[1]
    assert {len(scene.samples) for scene in again} == {30 * SAMPLE_RATE}


def test_hours_have_different_parts_of_an_ambience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows louder from quarter to quarter, and is brought to one level."""
    monkeypatch.setattr(hours, "SCENES", 6)
    monkeypatch.setattr(hours, "SNR_DB", (-60.0, -60.0))
    clips, ambience = house(tmp_path)
    parts = [Hours(clips, [ambience], 4, seed=0)._part(ambience, n) for n in range(4)]
    levels = [float(np.sqrt(np.mean(np.square(part)))) for part in parts]
    assert np.allclose(np.array(levels) / levels[0], [1, 2, 3, 4], rtol=0.05)
    scenes = list(Hours(clips, [ambience], 4, seed=0).scenes(1))
    assert {scene.background for scene in scenes} <= {"hiss", ROOM}
    assert "hiss" in {scene.background for scene in scenes}
    short = list(Hours(clips, [ambience], 6, seed=0).scenes(1))
    assert {scene.background for scene in short} == {ROOM}  # 3.3 s are too little of it


def test_hours_without_a_recording_for_each_are_refused(tmp_path: Path) -> None:
    clips, ambience = house(tmp_path, 3)
    with pytest.raises(UnavailableError, match="2 recordings are too few for 3 hours"):
        Hours(clips, [ambience], 3, seed=0)
