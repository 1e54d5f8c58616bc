"""Second opinions on films and recordings: which sound and which pictures they are about."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audio.films import Drawn
from model.pe_av import SIZE
from numpy.typing import NDArray
from sounds import noise, write_float_wav
from stand_ins import event

import pe_stream
from pe_stream.audio import film, limits, media
from pe_stream.audio.picture_track import NoPictureError
from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.config.second_opinion import texts_of
from pe_stream.core.opinion import OpinionTexts
from pe_stream.core.types import FRAME, Event, Phase, SecondOpinion
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model.second_opinion import ClipVectors, OpinionScores, SquarePicture
from pe_stream.pipeline.second_opinion import SecondOpinions, prepare_second_opinions

RATE = 48_000
TEXTS = {"smoke_alarm": OpinionTexts(("a smoke alarm",), ("a kitchen",), ("a film",))}
CPU = ModelSettings(device="cpu", dtype="float32")


class Witness:
    """Stands in for the model: keeps what it was shown. sees: whether it takes pictures."""

    name = "witness"

    def __init__(self, *, sees: bool = True) -> None:
        self.sees = sees
        self.shown: list[tuple[NDArray[np.float32] | None, list[tuple[float, int]]]] = []
        self.asked: list[OpinionTexts] = []

    def see(self) -> None:
        assert self.sees

    def square(self, picture: NDArray[np.uint8], key: Any) -> SquarePicture:
        return SquarePicture((key[1], int(picture.mean())), None)  # type: ignore[arg-type]  # a witness looks no further

    def embed(self, samples: Any, pictures: Any = ()) -> ClipVectors:
        self.shown.append((samples, [each.key for each in pictures]))
        return ClipVectors(None, None, None)

    def judge(self, _: ClipVectors, texts: OpinionTexts) -> OpinionScores:
        self.asked.append(texts)
        return OpinionScores(0.123456, None, 0.5, 1.0)


def at(*peaks_s: float) -> list[Event]:
    """An event with each peak."""
    return [event(i, Phase.END, peak_s=peak_s) for i, peak_s in enumerate(peaks_s)]


def opinions_on(path: Path, peaks_s: tuple[float, ...], witness: Witness) -> list[SecondOpinion]:
    told = SecondOpinions(witness, TEXTS).of_events(str(path), at(*peaks_s))  # type: ignore[arg-type]  # a witness, no model
    assert [replace(each, second_opinion=None) for each in told] == at(*peaks_s)
    opinions = [each.second_opinion for each in told]
    assert None not in opinions
    return [each for each in opinions if each is not None]


@pytest.mark.parametrize("later_s", [0.0, 1.5])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_pictures_lie_around_the_peak_and_the_flash_is_seen(
    name: str, later_s: float, tmp_path: Path
) -> None:
    """Also where the sound begins later than the picture."""
    path = Drawn(later_s=later_s, codec="mpeg4").save(tmp_path / name)
    samples = np.concatenate([chunk.samples for chunk in media.read(str(path))])
    peak = int(np.flatnonzero(np.abs(samples) > 0.1)[0])
    witness = Witness()
    (opinion,) = opinions_on(path, (peak / RATE,), witness)
    ((heard, shown),) = witness.shown
    assert heard is not None
    begin, end = (round(second * RATE) for second in opinion.span_s)
    assert np.array_equal(heard, samples[begin:end][: len(heard)])
    assert (begin % FRAME, len(heard) % FRAME) == (0, 0)
    assert abs(begin / RATE - (peak / RATE - 4)) < 0.041
    assert 0 <= end / RATE - (peak / RATE + 4) < 0.041
    times = [time_s for time_s, _ in shown]
    assert len(times) == opinion.pictures == 8
    assert all(0.3 < after - before < 1.6 for before, after in pairwise(times))
    white = [time_s for time_s, mean in shown if mean > 240]
    assert len(white) == 1  # drawn at the peak, on the grid of half seconds


def test_sound_is_whole_frames_and_zeros_after_the_end(tmp_path: Path) -> None:
    signal = noise((0.5, 0.3))[: 24_000 - 7]
    path = write_float_wav(tmp_path / "a.wav", signal)
    witness = Witness()
    opinion, other = opinions_on(path, (0.1, 0.4999), witness)
    heard, _ = witness.shown[0]
    assert heard is not None
    assert len(heard) == 13 * FRAME
    assert np.array_equal(heard[: 24_000 - 7], signal)
    assert not heard[24_000 - 7 :].any()
    assert opinion.span_s == other.span_s == (0.0, 0.5)
    assert (opinion.pictures, opinion.sound, opinion.both) == (0, 0.1235, 0.5)


def test_events_may_have_their_peaks_in_any_order(tmp_path: Path) -> None:
    signal = (np.arange(60 * RATE) / (60 * RATE)).astype(np.float32)
    path = write_float_wav(tmp_path / "a.wav", signal)
    witness = Witness()
    peaks = (50.0, 3.0, 30.0, 30.5, 59.99)
    opinions = opinions_on(path, peaks, witness)
    for peak_s, opinion in zip(peaks, opinions, strict=True):
        assert opinion.span_s[0] == pytest.approx(max(0.0, peak_s - 4), abs=0.041)
        assert opinion.span_s[1] == pytest.approx(min(60.0, peak_s + 4), abs=0.041)
    by_begin = sorted(opinions, key=lambda each: each.span_s)
    for (heard, _), opinion in zip(witness.shown, by_begin, strict=True):
        begin, end = (round(second * RATE) for second in opinion.span_s)
        assert heard is not None
        assert np.array_equal(heard[: end - begin], signal[begin:end])
    assert witness.asked == [TEXTS["smoke_alarm"]] * 5


def test_a_model_that_does_not_see_is_shown_nothing(tmp_path: Path) -> None:
    path = Drawn(seconds=3.0, flash_s=2.0).save(tmp_path / "a.mp4")
    (opinion,) = opinions_on(path, (2.0,), Witness(sees=False))
    assert opinion.pictures == 0


def test_a_picture_that_fails_leaves_the_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = Drawn(codec="mpeg4").save(tmp_path / "a.mp4")
    witness = Witness()
    monkeypatch.setattr(film.Film, "_picture", _fails)
    opinions = opinions_on(path, (2.0, 6.0, 9.0), witness)
    assert [each.pictures for each in opinions] == [0, 0, 0]
    assert all(heard is not None for heard, _ in witness.shown)
    assert caplog.messages == ["no second opinion on a picture: it is broken"]


def _fails(*_: object) -> None:
    raise NoPictureError("it is broken")


def test_a_film_whose_picture_costs_too_much_leaves_the_sound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = Drawn(codec="mpeg4").save(tmp_path / "a.mp4")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(limits.FileLimits, "spend_cpu", _too_costly)
        patched.setattr(media, "open_file", _unlimited)
        (opinion,) = opinions_on(path, (6.0,), Witness())
    assert opinion.pictures == 0
    assert "too expensive" in caplog.text


def _too_costly(_: object, _cpu_s: float, _audio_s: float) -> None:
    raise UnavailableError("too expensive to decode")


def _unlimited(path: str, part: Any = None, *, track: int | None = None) -> Any:
    from pe_stream.audio.opening import open_file

    return open_file(path, part, spend=lambda _cpu_s, _audio_s: None, track=track)


def test_a_pipe_is_refused_before_it_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnavailableError, match="reads a recording twice: give a file, no pipe"):
        opinions_on(tmp_path / "pipe", (1.0,), Witness())


def test_labels_are_asked_about_by_their_prompts_and_what_they_see() -> None:
    keys = {"prompts": ["a dog", "a bark"], "not": ["a film"]}
    prompts = ("a dog", "a bark")
    label = LabelSettings.model_validate(keys)
    assert texts_of(label) == OpinionTexts(prompts, prompts, ("a film",))
    label = LabelSettings.model_validate(keys | {"see": "a dog on a lawn"})
    assert texts_of(label) == OpinionTexts(prompts, ("a dog on a lawn",), ("a film",))
    label = LabelSettings.model_validate({"loud": True, "see": "a lorry"})
    assert texts_of(label) == OpinionTexts((), ("a lorry",), ())


def test_without_words_there_is_no_score_of_them(pe_av: Path, tmp_path: Path) -> None:
    """A label that is loud has none; whether sound and picture go together needs none."""
    path = Drawn(seconds=3.0, flash_s=2.0, codec="mpeg4").save(tmp_path / "a.mp4")
    texts = {"loud": OpinionTexts((), ()), "seen": OpinionTexts((), ("a dog",))}
    opinions = prepare_second_opinions(str(pe_av), CPU, texts)
    loud, seen = (opinions.of_part(str(path), label) for label in ("loud", "seen"))
    assert (loud.sound, loud.picture, loud.both, loud.pictures) == (None, None, None, 6)
    assert (seen.sound, seen.both, seen.together) == (None, None, loud.together)
    assert None not in (loud.together, seen.picture)


def opinion(path: Path, pe_av: Path, prompts: Any = "speech", **more: Any) -> SecondOpinion:
    return pe_stream.opinion(path, prompts, checkpoint=str(pe_av), model=CPU, **more)


def test_an_opinion_on_a_film_from_python(pe_av: Path, tmp_path: Path) -> None:
    drawn = Drawn(seconds=5.0, flash_s=2.0, codec="mpeg4")
    path = drawn.save(tmp_path / "a.mp4")
    found = opinion(path, pe_av)
    assert (found.pictures, found.checkpoint) == (8, str(pe_av))
    assert found.span_s == pytest.approx((0.0, 5.0), abs=0.05)
    scores = (found.sound, found.picture, found.both, found.together)
    assert all(score is not None and 0 <= score <= 1 for score in scores)
    other = opinion(path, pe_av, see=["a door bell rings"], pictures=3, start_s=1.0, end_s=4.0)
    assert (other.pictures, other.span_s) == (3, (1.0, 4.0))
    assert opinion(path, pe_av, negatives=("speech", "a dog barking")).took_ms >= 0
    silent = opinion(replace(drawn, sound=False).save(tmp_path / "silent.mp4"), pe_av)
    assert (silent.sound, silent.both, silent.together, silent.pictures) == (None, None, None, 8)
    # Nothing of a part hangs on what lies around it.
    alike = opinion(path, pe_av, see=["a door bell rings"], pictures=3, start_s=1.0, end_s=4.0)
    assert replace(alike, took_ms=0) == replace(other, took_ms=0)


def test_what_is_seen_is_of_the_picture_alone(pe_av: Path, tmp_path: Path) -> None:
    path = Drawn(seconds=3.0, flash_s=2.0, codec="mpeg4").save(tmp_path / "a.mp4")
    opinions = prepare_second_opinions(
        str(pe_av),
        CPU,
        {
            "one": OpinionTexts(("speech",), ("speech",)),
            "two": OpinionTexts(("speech",), ("a dog barking",)),
        },
    )
    one, two = (opinions.of_part(str(path), label) for label in ("one", "two"))
    assert (one.sound, one.both, one.together) == (two.sound, two.both, two.together)
    assert one.picture != two.picture


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "on 30 s at most: give start_s and end_s"),
        ({"start_s": 1.0, "end_s": 31.5}, "on 30 s at most"),
        ({"start_s": 3.0, "end_s": 3.0}, "from 3 to 3 s there is nothing"),
        ({"start_s": -1.0, "end_s": 3.0}, "from -1 to 3 s there is nothing"),
        ({"start_s": 100.0, "end_s": 103.0}, "ends before 100 s"),
        ({"start_s": 100.0}, "ends before 100 s"),
        ({"pictures": 0}, "0 pictures: give 1 to 16"),
        ({"pictures": 17}, "17 pictures: give 1 to 16"),
    ],
)
def test_parts_that_cannot_be(more: Any, message: str, pe_av: Path, tmp_path: Path) -> None:
    path = write_float_wav(tmp_path / "a.wav", noise((31.0, 0.1)))
    with pytest.raises(ValueError, match=message):
        opinion(path, pe_av, **more)


def test_thirty_seconds_may_be(pe_av: Path, tmp_path: Path) -> None:
    path = write_float_wav(tmp_path / "a.wav", noise((30.0, 0.1)))
    assert opinion(path, pe_av).span_s == (0.0, 30.0)
    assert opinion(path, pe_av, start_s=1.0, end_s=99.0 - 68.0).span_s == (1.0, 30.0)


@pytest.mark.parametrize("given", [{"prompts": []}, {"prompts": "speech", "see": []}])
def test_there_must_be_words(given: Any, pe_av: Path, tmp_path: Path) -> None:
    path = write_float_wav(tmp_path / "a.wav", noise((1.0, 0.1)))
    with pytest.raises(ConfigError, match="nothing to compare with"):
        opinion(path, pe_av, **given)


def test_files_that_cannot_be_read(pe_av: Path, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        opinion(tmp_path / "a.mp4", pe_av)
    (tmp_path / "b.mp4").write_bytes(b"no film")
    with pytest.raises(UnavailableError, match="no audio that FFmpeg can read"):
        opinion(tmp_path / "b.mp4", pe_av)


def test_the_small_checkpoint_sees_small_pictures(pe_av: Path) -> None:
    """What the tests' model is, so that nobody takes its figures for those of a real one."""
    opinions = prepare_second_opinions(str(pe_av), CPU, TEXTS)
    assert opinions._model.see().form.size == SIZE
