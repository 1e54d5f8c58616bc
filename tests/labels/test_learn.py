"""What a label is taught with: each recording once, against the package's and one's own sounds."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import noise, write_float_wav

from pe_stream.audio import encode
from pe_stream.audio.synthesis import SOUNDS
from pe_stream.cli.commands import check
from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.errors import UnavailableError
from pe_stream.labels import learn
from pe_stream.labels.fingerprint import fingerprint
from pe_stream.labels.prepare import prepare_labels
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.pipeline.scorer import prepare

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module", autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load("embedded", device="cpu", threads=1)


def beep(folder: Path, seed: int) -> str:
    sound = SOUNDS["single beep"](np.random.default_rng(seed)) * np.float32(0.3)
    return str(write_float_wav(folder / f"beep{seed}.wav", sound))


def label(*paths: str, background: tuple[str, ...] = ()) -> LabelSettings:
    keys = {"prompts": "xylophone", "examples": list(paths), "background": list(background)}
    return LabelSettings.model_validate(keys)


def row(checkpoint: Checkpoint, settings: LabelSettings) -> list[float]:
    found: list[float] = prepare_labels(checkpoint, {"ring": settings}).embeddings.rows[0].tolist()
    return found


def test_a_recording_given_twice_counts_once_and_is_told(
    checkpoint: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = beep(tmp_path, 1), beep(tmp_path, 2)
    copy = shutil.copy(first, tmp_path / "copy.wav")
    lossless = tmp_path / "lossless.flac"
    encode.write(lossless, SOUNDS["single beep"](np.random.default_rng(1)) * np.float32(0.3))
    once = row(checkpoint, label(first, second))
    caplog.clear()
    assert row(checkpoint, label(first, second, str(copy), str(lossless))) == once
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        f"labels.ring.examples: {each} is the same recording as {first}: counted once"
        for each in (copy, lossless)
    ]
    assert row(checkpoint, label(first)) != once


def test_check_warns_of_it(tmp_path: Path) -> None:
    first = beep(tmp_path, 1)
    labels = {"ring": label(first, str(shutil.copy(first, tmp_path / "copy.wav")))}
    told = check._labels(labels, [prepare(ModelSettings(device="cpu", threads=1), labels)])
    assert "warning: labels.ring.examples: " in told
    assert "copy.wav is the same recording as" in told
    labels = {"ring": label(first)}
    assert "warning" not in check._labels(
        labels, [prepare(ModelSettings(device="cpu", threads=1), labels)]
    )


def test_background_of_ones_own_is_learned_from(checkpoint: Checkpoint, tmp_path: Path) -> None:
    first = beep(tmp_path, 1)
    room = str(write_float_wav(tmp_path / "room.wav", noise((20.0, 0.05))))
    with_it = label(first, background=(room,))
    against = learn.lesson(checkpoint, "ring", with_it).against
    assert len(against) == len(learn.lesson(checkpoint, "ring", label(first)).against) + 2
    assert row(checkpoint, with_it) != row(checkpoint, label(first))
    keys = {fingerprint("w", each) for each in (with_it, label(first))}
    write_float_wav(tmp_path / "room.wav", noise((20.0, 0.06)))
    assert len(keys | {fingerprint("w", with_it)}) == 3


@pytest.mark.parametrize("key", ["examples", "background"])
def test_what_cannot_be_used_names_label_key_and_file(
    checkpoint: Checkpoint, tmp_path: Path, key: str
) -> None:
    silent = str(write_float_wav(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE, np.float32)))
    settings = label(beep(tmp_path, 1)).model_copy(update={key: (silent,)})
    with pytest.raises(UnavailableError, match=rf"labels\.ring\.{key}: .*silent\.wav: silent"):
        prepare_labels(checkpoint, {"ring": settings})
