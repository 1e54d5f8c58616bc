from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from audio.films import Drawn
from sounds import noise, write_float_wav

from pe_stream.audio import media
from pe_stream.audio.film import Film, FilmPicture
from pe_stream.audio.limits import TooCostlyError
from pe_stream.audio.picture_track import NoPictureError
from pe_stream.errors import UnavailableError


def times(pictures: list[FilmPicture]) -> list[float]:
    return [round(each.time_s, 3) for each in pictures]


def bar(picture: FilmPicture) -> int:
    """How far the bar reaches (pixels)."""
    return int((picture.rgb[picture.rgb.shape[0] // 2, :, 0] > 120).sum())


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts", "a.mov", "a.avi"])
def test_a_stretch_has_the_first_picture_of_each_half_second(name: str, tmp_path: Path) -> None:
    drawn = Drawn(sound=False, codec="mpeg4" if name == "a.avi" else "libx264")
    opened = Film(str(drawn.save(tmp_path / name)))
    start_s = opened.start_s
    for begin_s, end_s in ((7.0, 9.1), (0.0, 1.0), (3.0, 5.5), (11.0, 60.0)):
        found = list(opened.between(start_s + begin_s, start_s + end_s, 2.0))
        expected = [half / 2 for half in range(24) if begin_s <= half / 2 < end_s]
        assert [each.time_s - start_s for each in found] == pytest.approx(expected, abs=0.041)
        for each in found:
            assert abs(bar(each) - drawn.bar(each.time_s - start_s)) <= 1
    opened.close()


def test_other_stretches_have_the_same_pictures(tmp_path: Path) -> None:
    opened = Film(str(Drawn(sound=False, fps=30, key=1000).save(tmp_path / "a.mp4")))
    whole = times(list(opened.between(0.0, 12.0, 2.0)))
    assert len(whole) == 24
    for begin_s in (5.0, 4.77, 8.03, 0.4):
        found = times(list(opened.between(begin_s, begin_s + 3.0, 2.0)))
        assert found == [time_s for time_s in whole if begin_s <= time_s < begin_s + 3.0]


def test_what_is_still_shown_stands_for_a_stretch_without_a_picture(tmp_path: Path) -> None:
    drawn = Drawn(sound=False, fps=1, key=4)
    opened = Film(str(drawn.save(tmp_path / "a.mp4")))
    assert times(list(opened.between(5.2, 5.8, 2.0))) == [5.0]
    assert times(list(opened.between(20.0, 28.0, 2.0))) == [11.0]
    assert times(list(opened.between(4.0, 8.0, 2.0))) == [4.0, 5.0, 6.0, 7.0]


def test_stretches_before_the_first_picture_have_none(tmp_path: Path) -> None:
    opened = Film(str(Drawn(sound=False).save(tmp_path / "a.mp4")))
    assert list(opened.between(-5.0, -1.0, 2.0)) == []


@pytest.mark.parametrize(
    ("turn", "shape", "red"),
    [
        (0, (64, 96), "left"),
        (90, (96, 64), "bottom"),
        (180, (64, 96), "right"),
        (-90, (96, 64), "top"),
    ],
)
def test_pictures_are_upright(turn: int, shape: tuple[int, int], red: str, tmp_path: Path) -> None:
    """As FFmpeg's own player shows them."""
    opened = Film(str(Drawn(sound=False, turn=turn).save(tmp_path / "a.mp4")))
    (found,) = opened.between(6.5, 7.0, 2.0)
    assert found.rgb.shape == (*shape, 3)
    edges = {"left": (shape[0] // 2, 2), "right": (shape[0] // 2, -3)}
    edges |= {"top": (2, shape[1] // 2), "bottom": (-3, shape[1] // 2)}
    at = {edge: int(found.rgb[place][0]) for edge, place in edges.items()}
    opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[red]
    assert (at[red] > 150, at[opposite] < 100) == (True, True)


@pytest.mark.parametrize("codec", ["mpeg4", "mjpeg", "libvpx-vp9", "libx265"])
def test_pictures_of_other_codecs(codec: str, tmp_path: Path) -> None:
    drawn = Drawn(sound=False, codec=codec, seconds=3.0, flash_s=2.9)
    opened = Film(str(drawn.save(tmp_path / "a.mkv")))
    found = list(opened.between(1.0, 2.0, 2.0))
    assert times(found) == [1.0, 1.52]
    assert [abs(bar(each) - drawn.bar(each.time_s)) <= 2 for each in found] == [True, True]


def _without_picture(path: Path) -> None:
    write_float_wav(path, noise((1.0, 0.1)))


def _with_a_cover(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        audio = container.add_stream("aac", rate=48_000, layout="mono")
        cover = container.add_stream("mjpeg")
        assert isinstance(cover, av.VideoStream)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame: Any = av.VideoFrame(64, 64, "yuvj420p")
        container.mux(cover.encode(frame))
        container.mux(cover.encode())
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), "fltp", "mono")
        sound.rate = 48_000
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def _of_another_kind(path: Path) -> None:
    with av.open(str(path), "w", format="avi") as container:
        video = container.add_stream("huffyuv", rate=25)
        assert isinstance(video, av.VideoStream)
        video.width = video.height = 64
        video.pix_fmt = "yuv422p"
        for number in range(5):
            frame = av.VideoFrame(64, 64, "yuv422p")
            frame.pts = number
            container.mux(video.encode(frame))


def _of_an_unknown_kind(path: Path) -> None:
    film = Drawn(seconds=1.0, flash_s=0.5, sound=False).save(path.with_suffix(".mp4"))
    path.write_bytes(film.read_bytes().replace(b"avc1", b"none"))


WITHOUT: dict[str, tuple[Callable[[Path], object], str]] = {
    "sound alone": (_without_picture, "has no moving picture"),
    "a cover": (_with_a_cover, "has no moving picture"),
    "a kind that nobody knows": (_of_an_unknown_kind, "has no moving picture"),
    "a kind that is not read": (_of_another_kind, r"huffyuv, 64 x 64\) is of a kind"),
}


@pytest.mark.parametrize("case", WITHOUT)
def test_what_has_no_picture_says_so(case: str, tmp_path: Path) -> None:
    make, message = WITHOUT[case]
    make(tmp_path / "a")
    with pytest.raises(NoPictureError, match=message):
        Film(str(tmp_path / "a"))


def test_large_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Drawn(sound=False, seconds=1.0, flash_s=0.5).save(tmp_path / "a.mp4")
    monkeypatch.setattr("pe_stream.audio.picture_track.MOST_PIXELS", 96 * 64 - 1)
    with pytest.raises(NoPictureError, match="h264, 96 x 64"):
        Film(str(path))


def test_a_film_that_takes_too_long_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Drawn(sound=False, seconds=3.0, flash_s=2.0).save(tmp_path / "a.mp4")
    for name in ("FILE_CPU_BURST_S", "FILE_CPU_PER_S"):
        monkeypatch.setattr(f"pe_stream.audio.limits.{name}", 1e-9)
    with pytest.raises(TooCostlyError, match=r"a\.mp4: .*too expensive to decode"):
        list(Film(str(path)).between(0.0, 3.0, 2.0))


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_of_a_film_that_ends_early_there_is_what_there_is(part: float, tmp_path: Path) -> None:
    whole = Drawn(sound=False).save(tmp_path / "whole.ts").read_bytes()
    (tmp_path / "a.ts").write_bytes(whole[: int(part * len(whole))])
    opened = Film(str(tmp_path / "a.ts"))
    start_s = opened.start_s
    found = list(opened.between(start_s, start_s + 12.0, 2.0))
    assert 24 * part - 6 < len(found) < 24 * part + 6


def test_damaged_pictures_are_left_out(tmp_path: Path) -> None:
    path = Drawn(sound=False, key=10).save(tmp_path / "a.ts")
    content = bytearray(path.read_bytes())
    for start in range(1000, len(content) - 1000, 3000):
        content[start : start + 100] = np.random.default_rng(start).bytes(100)
    path.write_bytes(content)
    opened = Film(str(path))
    assert list(opened.between(opened.start_s, opened.start_s + 12.0, 2.0))


def test_files_that_are_no_film(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film at all")
    for path, said in ((tmp_path / "a.mp4", "this is no audio"), (tmp_path / "b", "No such file")):
        with pytest.raises(UnavailableError, match=said):
            Film(str(path))


@pytest.mark.parametrize("later_s", [0.0, 1.5])
def test_a_recording_knows_the_films_clock(later_s: float, tmp_path: Path) -> None:
    """Where the sound begins later than the picture there is silence before it."""
    path = Drawn(later_s=later_s).save(tmp_path / "a.mkv")
    recording = media.read(str(path))
    assert recording.time_of(1.0) is None  # nothing was read
    samples = np.concatenate([chunk.samples for chunk in recording])
    loud = np.flatnonzero(np.abs(samples) > 0.1)[0] / 48_000
    time_s = recording.time_of(loud)
    assert time_s is not None
    white = [each for each in Film(str(path)).between(5.9, 6.2, 25.0) if each.rgb.min() > 200]
    assert [each.time_s for each in white] == pytest.approx([time_s], abs=0.025)


def test_without_time_stamps_there_is_no_clock() -> None:
    recording = media.from_array(np.zeros(4800, np.float32), 48_000)
    list(recording)
    assert recording.time_of(0.05) is None
