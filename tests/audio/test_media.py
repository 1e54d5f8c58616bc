"""Recordings of every kind against the truth they were made from."""

from __future__ import annotations

import logging
import os
import time
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from audio.hostile_servers import wav_head
from audio.recordings import LENGTH_S, ONSETS_S, bursts, ffmpeg, onsets_s, write_wav
from av.audio.frame import AudioFrame
from numpy.typing import ArrayLike, NDArray
from timing import within

from pe_stream.audio.decode import Block
from pe_stream.audio.media import Recording, _without_holes, from_array, read
from pe_stream.audio.opening import open_file
from pe_stream.errors import UnavailableError


def samples_of(recording: Recording) -> NDArray[np.float32]:
    """Everything, after a look at the chunks."""
    chunks = list(recording)
    assert chunks[0].start == 0
    assert chunks[0].anchor_ns == recording.started_ns
    for before, after in pairwise(chunks):
        assert after.start == before.end
        assert after.anchor_ns is None
        assert after.captured_s >= before.captured_s > 0
    assert all(chunk.samples.dtype == np.float32 for chunk in chunks)
    assert max(len(chunk.samples) for chunk in chunks) <= 4800
    return np.concatenate([chunk.samples for chunk in chunks])


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_onset_and_length_are_right_at_every_rate(tmp_path: Path, rate: int) -> None:
    samples = samples_of(read(str(write_wav(tmp_path / "a.wav", bursts(rate), rate))))
    assert abs(len(samples) - LENGTH_S * 48_000) <= 1
    assert onsets_s(samples) == pytest.approx(ONSETS_S, abs=0.0005)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.wav", "pcm_s16le"),
        ("a.wav", "pcm_u8"),
        ("a.wav", "pcm_s24le"),
        ("a.wav", "pcm_s32le"),
        ("a.wav", "pcm_f32le"),
        ("a.wav", "pcm_f64le"),
        ("a.wav", "pcm_alaw"),
        ("a.flac", "flac"),
        ("a.mp3", "libmp3lame"),
        ("a.ogg", "libvorbis"),
        ("a.opus", "libopus"),
        ("a.webm", "libopus"),
        ("a.m4a", "aac"),
    ],
)
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_every_format_keeps_the_onsets(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    wav = write_wav(tmp_path / "truth.wav", bursts(rate), rate)
    ffmpeg("-i", wav, "-c:a", codec, tmp_path / name)
    recording = read(str(tmp_path / name))
    samples = samples_of(recording)
    assert onsets_s(samples) == pytest.approx(ONSETS_S, abs=0.001)
    assert np.abs(samples).max() == pytest.approx(0.5, abs=0.1)
    assert len(samples) / 48_000 == pytest.approx(LENGTH_S, abs=0.025)
    assert recording.duration_s == pytest.approx(LENGTH_S, abs=0.05)


@pytest.mark.parametrize("late_s", [0.0, 0.7])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_the_sound_of_a_film_is_timed_by_its_picture(
    tmp_path: Path, name: str, late_s: float
) -> None:
    wav = write_wav(tmp_path / "truth.wav", bursts(48_000), 48_000)
    picture = ("-f", "lavfi", "-i", "testsrc=s=64x64:r=10:d=3")
    codecs = ("-c:v", "mpeg4", "-c:a", "aac" if name == "a.mp4" else "libopus")
    ffmpeg(*picture, "-itsoffset", str(late_s), "-i", wav, *codecs, tmp_path / name)
    expected = [onset + late_s for onset in ONSETS_S]
    assert onsets_s(samples_of(read(str(tmp_path / name)))) == pytest.approx(expected, abs=0.008)


def test_cover_art_is_no_film(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "truth.wav", bursts(44_100), 44_100)
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-frames:v", "1", tmp_path / "cover.png")
    tags = ("-map", "0", "-map", "1", "-c:v", "png", "-disposition:v", "attached_pic")
    ffmpeg("-i", wav, "-i", tmp_path / "cover.png", *tags, tmp_path / "a.mp3")
    assert onsets_s(samples_of(read(str(tmp_path / "a.mp3")))) == pytest.approx(ONSETS_S, abs=0.001)


def test_48_khz_passes_bit_exactly(tmp_path: Path) -> None:
    truth = np.random.default_rng(0).integers(-32768, 32767, 10_000, np.int16)
    path = write_wav(tmp_path / "a.wav", truth / 32767, 48_000)
    assert (samples_of(read(str(path))) * 32768).astype(np.int16).tolist() == truth.tolist()


def test_eight_channels_at_192_khz_are_averaged_or_picked(tmp_path: Path) -> None:
    levels = np.array([0.8, 0, 0, 0, 0.4, 0, 0, 0])
    path = write_wav(tmp_path / "a.wav", np.tile(levels, (19_200, 1)), 192_000)
    inner = slice(1000, -1000)
    assert samples_of(read(str(path)))[inner] == pytest.approx(0.15, abs=1e-4)
    assert samples_of(read(str(path), channel=4))[inner] == pytest.approx(0.4, abs=1e-4)
    with pytest.raises(UnavailableError, match="no channel 8; it has 8, counted from 0"):
        list(read(str(path), channel=8))


def test_lost_packets_leave_silence_not_a_shift(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(0)
    truth = bursts(48_000)
    truth += noise.normal(0, 0.01, len(truth))  # makes packets of about equal size
    wav = write_wav(tmp_path / "truth.wav", truth, 48_000)
    ffmpeg("-i", wav, "-c:a", "aac", "-b:a", "96k", tmp_path / "a.m4a")
    data = bytearray((tmp_path / "a.m4a").read_bytes())
    middle = len(data) * 4 // 10  # between the bursts
    data[middle : middle + 2000] = noise.bytes(2000)
    (tmp_path / "a.m4a").write_bytes(data)
    with caplog.at_level(logging.WARNING):
        recording = read(str(tmp_path / "a.m4a"))
        samples = samples_of(recording)
    assert recording.damaged > 0
    assert f"skipped {recording.damaged} damaged packets" in caplog.text
    assert onsets_s(samples)[-1] == pytest.approx(ONSETS_S[-1], abs=0.002)


def test_a_recording_knows_when_it_began(tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", bursts(48_000), 48_000)
    os.utime(wav, ns=(0, 5_000_000_000))
    assert read(str(wav)).started_ns == 3_000_000_000
    ffmpeg("-i", wav, "-metadata", "creation_time=2026-11-21T02:15:49Z", tmp_path / "a.m4a")
    created = datetime(2026, 11, 21, 2, 15, 49, tzinfo=UTC).timestamp()
    assert read(str(tmp_path / "a.m4a")).started_ns == round(created * 1e9)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_file_of_nothing_but_nan_can_be_told(tmp_path: Path, value: float) -> None:
    (tmp_path / "raw").write_bytes(np.full(4800, value, "<f4").tobytes())
    raw = ("-f", "f32le", "-ar", "48000", "-i", tmp_path / "raw")
    ffmpeg(*raw, "-c:a", "pcm_f32le", tmp_path / "a.wav")
    recording = read(str(tmp_path / "a.wav"))
    assert not samples_of(recording).any()
    assert recording.nonfinite == recording.values == 4800


def test_file_names_are_not_taken_for_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("12:30.wav", "concat:a|b.wav", "Küche %d.wav"):
        write_wav(tmp_path / name, bursts(8000), 8000)
        assert len(samples_of(read(name))) == LENGTH_S * 48_000


def broken_file(folder: Path, kind: str) -> Path:
    path = folder / "a.wav"
    if kind == "text":
        path.write_text("not a sound\n" * 100)
    elif kind == "zero bytes":
        path.touch()
    elif kind == "zero length":
        write_wav(path, np.zeros(0), 48_000)
    elif kind == "folder":
        path.mkdir()
    elif kind == "film without sound":
        path = folder / "a.mp4"
        ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-c:v", "mpeg4", path)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "No such file or directory"),
        ("folder", "this is a folder, not a recording"),
        ("text", "this is no audio that FFmpeg can read"),
        ("zero bytes", "the file is empty"),
        ("zero length", "its audio track is empty"),
        ("film without sound", "it has no audio track"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(
    tmp_path: Path, kind: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = str(broken_file(tmp_path, kind))
    with pytest.raises(UnavailableError) as caught:
        list(read(path))
    assert str(caught.value) == f"{path}: {message}"
    assert capfd.readouterr() == ("", "")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write_wav(tmp_path / "a.wav", bursts(8000), 8000))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    with pytest.raises(UnavailableError, match=r"a\.wav: no permission to read it"):
        read(path)


def test_arrays_of_every_kind_are_the_same_recording() -> None:
    truth = np.round(bursts(48_000) * 16384) / 32768
    whole = samples_of(from_array(truth, 48_000))
    assert whole.tolist() == truth.tolist()
    for same in (
        truth.astype(np.float32),
        (truth * 32768).astype(np.int16),
        (truth * 2**31).astype(np.int32),
        truth[np.newaxis],
        np.stack([truth * 2, truth * 0]),
    ):
        assert samples_of(from_array(same, 48_000)).tolist() == whole.tolist()
    stereo = np.stack([truth, -truth])
    assert not samples_of(from_array(stereo, 48_000)).any()
    assert samples_of(from_array(stereo, 48_000, channel=1)).tolist() == (-truth).tolist()


def test_an_array_is_resampled_and_anchored() -> None:
    recording = from_array(bursts(16_000), 16_000, started_ns=123)
    assert recording.started_ns == 123
    assert recording.duration_s == LENGTH_S
    assert onsets_s(samples_of(recording)) == pytest.approx(ONSETS_S, abs=0.0005)


@pytest.mark.parametrize(
    ("samples", "rate", "channel", "message"),
    [
        (np.zeros(10, np.int64), 48_000, None, "samples are int64"),
        (np.zeros(10, complex), 48_000, None, "samples are complex128"),
        (["a"], 48_000, None, "samples are <U1"),
        (np.zeros((2, 2, 2)), 48_000, None, r"shape \(2, 2, 2\)"),
        (np.zeros(0), 48_000, None, r"shape \(0,\)"),
        (np.zeros((48_000, 2)), 48_000, None, "transpose"),
        (np.zeros(10), 0, None, "sampling rate of 0 Hz"),
        (np.zeros(10), float("nan"), None, "sampling rate of nan Hz"),
        (np.zeros((2, 10)), 48_000, 2, "no channel 2 in 2"),
    ],
)
def test_arrays_that_are_no_audio_are_refused(
    samples: ArrayLike, rate: int, channel: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        from_array(samples, rate, channel=channel)


def seconds_of(path: Path) -> float:
    return sum(len(chunk.samples) for chunk in read(str(path))) / 48_000


@pytest.mark.parametrize(
    ("rate", "channels", "said"),
    [
        (1, 1, "a sample rate of 1 Hz; 1 kHz to 768 kHz can be read"),
        (999, 1, "a sample rate of 999 Hz"),
        (2**31 - 1, 1, "a sample rate of 2147483647 Hz"),
        (0, 1, "no audio that FFmpeg can read"),
        (48_000, 512, "512 channels; 1 to 64 can be read"),
        (48_000, 65_535, "it has no audio track"),  # more than FFmpeg counts
    ],
)
def test_a_file_of_no_sensible_format_ends_at_once(
    tmp_path: Path, rate: int, channels: int, said: str
) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_head(rate, channels) + b"\x80\x90" * (2048 + channels))
    began_s = time.monotonic()
    with pytest.raises(UnavailableError, match=f"a.wav: .*{said}"):
        list(read(str(path)))
    assert time.monotonic() - began_s < within(1)


def test_long_blocks_are_cut_before_they_are_resampled(tmp_path: Path) -> None:
    decoder = open_file(str(write_wav(tmp_path / "a.wav", bursts(48_000), 48_000)))
    ramp = np.linspace(-0.5, 0.5, 2500, dtype=np.float32)
    frame = AudioFrame.from_ndarray(ramp[np.newaxis], format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 1000, 7000, Fraction(1, 1000)
    blocks = list(decoder._blocks(frame))
    assert [block.planes.shape for block in blocks] == [(1, 1000), (1, 1000), (1, 500)]
    assert np.concatenate([block.planes[0] for block in blocks]).tolist() == ramp.tolist()
    assert [block.time_s for block in blocks] == [7.0, 8.0, 9.0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{to}\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", "ffconcat version 1.0\nfile '{to}'\n"),
        ("a.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 40000 RTP/AVP 0\n"),
    ],
)
@pytest.mark.parametrize("to", ["file://{}", "{}", "secret.wav", "http://127.0.0.1:9/x.ts"])
def test_a_file_leads_to_no_other(
    tmp_path: Path, name: str, text: str, to: str, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = write_wav(tmp_path / "secret.wav", bursts(48_000), 48_000)
    path = tmp_path / name
    path.write_text(text.format(to=to.format(secret)), "utf-8")
    said = "it leads to .*: nothing but the file is read" if name == "a.m3u8" else ""
    with pytest.raises(UnavailableError, match=rf"{name}: {said}"):
        list(read(str(path)))
    assert capfd.readouterr() == ("", "")


def test_holes_cannot_make_days_of_a_few_bytes() -> None:
    second = np.zeros((1, 48_000), np.float32)
    stepping = [Block(second, 48_000, 500.0 * number) for number in range(100)]
    with pytest.raises(UnavailableError, match=r"a: by its time stamps, .* they are damaged"):
        list(_without_holes("a", stepping, None, []))
    few = [Block(second, 48_000, 500.0 * number) for number in range(5)]
    assert sum(block.duration_s for block in _without_holes("a", few, None, [])) == 2001


def test_a_recording_that_takes_too_long_to_decode_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_wav(tmp_path / "a.wav", bursts(48_000), 48_000)
    monkeypatch.setattr("pe_stream.audio.limits.FILE_CPU_BURST_S", 0.0)
    monkeypatch.setattr("pe_stream.audio.limits.FILE_CPU_PER_S", 1e-6)
    with pytest.raises(UnavailableError, match=r"a\.wav: too expensive to decode"):
        seconds_of(path)


@pytest.mark.parametrize("rate", [1, 999, 768_001, float("nan"), float("inf")])
def test_an_array_of_no_sensible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="give 1000 to 768000"):
        from_array(np.zeros(100_000), rate)


@pytest.mark.parametrize(("samples", "taken"), [(4_000_000, True), (4_500_000, False)])
def test_a_frame_takes_sixteen_megabytes_at_most(
    samples: int, tmp_path: Path, *, taken: bool
) -> None:
    path = tmp_path / "a.mka"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48_000, layout="mono")
        frame = AudioFrame.from_ndarray(np.zeros((1, samples), np.int16), "s16", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
    if taken:
        assert seconds_of(path) == pytest.approx(samples / 48_000)
        return
    with pytest.raises(UnavailableError, match="samples of 1 channels at once are too many"):
        seconds_of(path)


def test_sizes_that_are_stated_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav_head(48_000, bits=16, size=2_000_000_000) + bytes(range(256)) * 375)
    assert seconds_of(path) == 1.0
    tag = tmp_path / "a.mp3"
    tag.write_bytes(b"ID3\x04\0\0\x7f\x7f\x7f\x7fAPIC\x7f\x7f\x7f\x7f\0\0" + b"x" * 1000)
    picture = tmp_path / "a.svg"
    picture.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="99999" height="99999"/>')
    for each in (tag, picture):
        with pytest.raises(UnavailableError, match=each.name):
            seconds_of(each)


def test_a_film_has_tracks_to_choose_from(tmp_path: Path) -> None:
    wavs = [
        write_wav(tmp_path / f"{level}.wav", np.full(48_000, level), 48_000) for level in (0.1, 0.4)
    ]
    film = tmp_path / "film.mkv"
    both = ("-map", "0:a", "-map", "1:a", "-c:a", "pcm_s16le")
    ffmpeg("-i", wavs[0], "-i", wavs[1], *both, film)
    for track, level in enumerate((0.1, 0.4)):
        (first, *_) = read(str(film), track=track)
        assert first.samples == pytest.approx(level, abs=1e-3)
    with pytest.raises(UnavailableError, match="there is no audio track 2; it has 2, counted from"):
        read(str(film), track=2)
