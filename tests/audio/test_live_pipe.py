"""Pipes as sources: live, whoever writes and whenever, and nobody else waits for them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from audio.recordings import bursts, write_wav
from ports import free_port
from processes import Daemon
from timing import within

from pe_stream.audio import encode, media, recording_file
from pe_stream.audio.network import NetworkStream
from pe_stream.audio.source import open_source
from pe_stream.config import SourceSettings
from pe_stream.errors import UnavailableError

pytestmark = pytest.mark.realtime


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("kind", ["wav", "flac"])  # the head of both says how long it is
def test_what_is_written_is_live_and_its_end_no_end(kind: str, tmp_path: Path, fifo: Path) -> None:
    path = write_wav(tmp_path / "a.wav", bursts(16_000), 16_000)
    if kind == "flac":
        path = tmp_path / "a.flac"
        encode.write(path, np.concatenate([c.samples for c in media.read(f"{tmp_path}/a.wav")]))
    wav = path.read_bytes()
    for _ in range(2):  # one writer after the other
        source = open_source(SourceSettings(url=str(fifo)))
        assert isinstance(source, NetworkStream)
        writer = threading.Thread(target=lambda: fifo.write_bytes(wav), daemon=True)
        writer.start()
        heard: list[int] = []
        with pytest.raises(UnavailableError, match="pipe: the stream ended"):
            _hear(source, heard)
        assert sum(heard) > 48_000
        writer.join(within(10))


def _hear(source: NetworkStream, heard: list[int]) -> None:
    for chunk in source:
        heard.append(len(chunk.samples))  # noqa: PERF401 - it raises


def test_a_pipe_that_nobody_writes_is_told_of_and_can_be_closed(
    fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_file, "WRITER_S", 0.1)
    source = open_source(SourceSettings(url=str(fifo)))
    assert source.returns
    with pytest.raises(UnavailableError, match="pipe: this is a pipe into which nobody writes"):
        next(source)
    monkeypatch.setattr(recording_file, "WRITER_S", 60.0)
    source = open_source(SourceSettings(url=str(fifo)))
    threading.Timer(0.1, source.close).start()
    begun_s = time.monotonic()
    with pytest.raises(StopIteration):
        next(source)
    assert time.monotonic() - begun_s < within(2)
    os.close(os.open(fifo, os.O_WRONLY))  # lets the thread go


def test_the_other_source_is_heard_while_nobody_writes(
    tmp_path: Path, fifo: Path, level: Path
) -> None:
    wav = write_wav(tmp_path / "a.wav", bursts(16_000), 16_000)
    model = f"{{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}"
    config = (
        f"model: {model}\nlabels: {{loud: }}\nmqtt: {{port: {free_port()}}}\n"
        f"sources: {{pipe: {{url: {fifo}}}, hall: {{url: {wav}, loop: true}}}}\n"
        "store: {enabled: false}\nhistory: {enabled: false}\n"
    )
    with Daemon(tmp_path, config) as daemon:
        daemon.wait_for_log("hall: receiving audio")
        daemon.wait_for_log("/pipe: this is a pipe into which nobody writes; trying again")
        fifo.write_bytes(wav.read_bytes())
        daemon.wait_for_log("pipe: receiving audio")
        daemon.send(signal.SIGTERM)
        assert daemon.exit_code(20) == 143
