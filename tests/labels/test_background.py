"""What examples are set against: named sounds of the package, and recordings of the user's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import noise, write_float_wav

from pe_stream.config import LabelSettings
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import UnavailableError
from pe_stream.labels import background
from pe_stream.labels.examples import Embedder
from pe_stream.labels.learn import lesson
from pe_stream.model import engine
from pe_stream.model.checkpoint import Checkpoint, load

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module", autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load("embedded", device="cpu", threads=1)


def test_the_packages_own_are_sounds_that_people_know(checkpoint: Checkpoint) -> None:
    found = background.made(Embedder(checkpoint))
    assert {"a man speaks", "a rooster crows", "smoke alarm", "soft pink noise"} <= set(found)
    assert not any("demo" in name or "label" in name or name.endswith(".") for name in found)
    assert all(each.shape[1] == 192 and len(each) > 10 for each in found.values())
    assert len(found["a man speaks"]) == round((42.61 - 39.0) / 0.04)


def test_of_ones_own_the_loudest_frames_are_kept(checkpoint: Checkpoint, tmp_path: Path) -> None:
    samples = noise((12.04, 0.01))
    loud = 77  # frame
    samples[loud * 1920 : (loud + 1) * 1920] *= 20
    path = write_float_wav(tmp_path / "room.wav", samples)
    found = background.load(Embedder(checkpoint), str(path))
    assert len(found) == 25 + 6
    whole = Embedder(checkpoint).embed(samples[: 10 * SAMPLE_RATE])
    assert found[7] == pytest.approx(whole[loud], abs=0.02)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(480_100, [480_100]), (528_000, [480_000, 48_000]), (1_000_000, [480_000, 520_000])],
)
def test_no_scrap_is_embedded_by_itself(tmp_path: Path, count: int, sizes: list[int]) -> None:
    path = str(write_float_wav(tmp_path / "room.wav", noise((count / SAMPLE_RATE, 0.01))))
    assert [len(each) for each in background.windows(path)] == sizes


def test_it_is_embedded_once(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_float_wav(tmp_path / "room.wav", noise((2.0, 0.01))))
    first = background.load(Embedder(checkpoint), path)
    monkeypatch.setattr(Embedder, "embed", None)
    assert background.load(Embedder(checkpoint), path).tobytes() == first.tobytes()


def test_an_hour_is_embedded_with_one_engine(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(write_float_wav(tmp_path / "hall.wav", noise((35.0, 0.02))))
    ring = str(write_float_wav(tmp_path / "ring.wav", noise((1.0, 0.001), (0.5, 0.2))))
    engines: list[object] = []
    make = engine.Engine.__init__

    def counted(made: engine.Engine, *given: object, **how: object) -> None:
        engines.append(made)
        make(made, *given, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(engine.Engine, "__init__", counted)
    label = LabelSettings.model_validate({"examples": [ring], "background": [path]})
    lesson(checkpoint, "ring", label)
    assert len(engines) == 1
    lesson(checkpoint, "ring", label)
    assert len(engines) == 1, "all is in the cache"


@pytest.mark.parametrize(("seconds", "count"), [(0.4, 1), (15, 1), (30, 3), (3600, 24)])
def test_it_counts_as_all_of_the_packages_at_most(seconds: float, count: int) -> None:
    loudest = np.zeros((round(seconds / 0.4), 2), np.float16)
    found = background.pieces(loudest)
    assert len(found) == count
    assert sum(map(len, found)) == len(loudest)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(11 * SAMPLE_RATE, np.float32), "silent: .*-inf dBFS"),
        (noise((1.0, 0.0005)), "silent"),
        (np.zeros(0, np.float32), "empty"),
    ],
    ids=["zeros", "faint", "nothing"],
)
def test_a_background_without_anything_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, samples: Samples, message: str
) -> None:
    path = str(write_float_wav(tmp_path / "room.wav", samples))
    with pytest.raises(UnavailableError, match=f"room.wav: .*{message}"):
        background.look_over(path)
    with pytest.raises(UnavailableError, match=f"room.wav: .*{message}"):
        background.load(Embedder(checkpoint), path)


def test_longer_than_an_hour_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "LONGEST_S", 3.0)
    path = str(write_float_wav(tmp_path / "room.wav", noise((3.5, 0.01))))
    with pytest.raises(UnavailableError, match=r"room.wav: longer than an hour"):
        background.look_over(path)
