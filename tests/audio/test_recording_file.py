"""Pipes and other things in the place of a recording: read, or told of; nothing waits for ever."""

from __future__ import annotations

import os
import pty
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sounds import noise, write_float_wav
from timing import within

from pe_stream.audio import media, recording_file
from pe_stream.errors import UnavailableError


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo.wav"
    os.mkfifo(path)
    return path


def samples(path: Path) -> int:
    return sum(len(chunk.samples) for chunk in media.read(str(path)))


def test_a_pipe_is_read_like_the_file_that_comes_through_it(tmp_path: Path, fifo: Path) -> None:
    wav = write_float_wav(tmp_path / "x.wav", noise((1.0, 0.1)))
    writer = threading.Thread(target=lambda: fifo.write_bytes(wav.read_bytes()), daemon=True)
    writer.start()
    assert samples(fifo) == samples(wav) == 48_000
    writer.join(within(10))


def test_a_pipe_without_a_writer_is_told_of(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_file, "WRITER_S", 0.1)
    begun_s = time.monotonic()
    with pytest.raises(
        UnavailableError, match=r"fifo\.wav: this is a pipe into which nobody writes"
    ):
        media.read(str(fifo))
    assert time.monotonic() - begun_s < within(2)


def test_a_pipe_out_of_which_nothing_more_comes_is_told_of(
    tmp_path: Path, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_file, "PIPE_S", 0.2)
    wav = write_float_wav(tmp_path / "x.wav", np.tile(noise((1.0, 0.1)), 20))
    descriptor = os.open(fifo, os.O_RDWR)  # stays a writer
    try:
        os.write(descriptor, wav.read_bytes()[:60_000])
        with pytest.raises(UnavailableError, match="nothing came out of this pipe for 0 s"):
            samples(fifo)
    finally:
        os.close(descriptor)


def test_a_terminal_and_a_socket_are_no_recordings(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with pytest.raises(UnavailableError, match="this is a terminal, not a recording"):
        media.read(os.ttyname(theirs))
    os.close(ours)
    os.close(theirs)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(UnavailableError, match="No such device or address"):
            media.read(str(tmp_path / "s"))


@pytest.mark.parametrize("moment", [99_999_999_999_999, -99_999_999_999_999])
def test_a_date_that_no_calendar_has_is_now(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wav = write_float_wav(tmp_path / "x\n.wav", noise((0.5, 0.1)))
    monkeypatch.setattr(media, "_modified_ns", lambda *_: moment * 10**9)  # few disks keep it
    assert abs(media.read(str(wav)).started_ns - time.time_ns()) < within(10) * 10**9
    assert caplog.messages == [
        f"{tmp_path}/x\\n.wav: its date cannot be used; taken as recorded now"
    ]


def test_an_address_is_no_file() -> None:
    with pytest.raises(
        UnavailableError, match=r"http://\*+@h/x\.mp3: this is an address, not a fi"
    ):
        media.read("http://u:password@h/x.mp3")
