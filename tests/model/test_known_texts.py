"""Vectors of texts from an earlier start: the same scores to the last bit, without a text tower."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pe_stream.core.types import FRAME, Window
from pe_stream.errors import UnavailableError
from pe_stream.model import checkpoint as checkpoint_module
from pe_stream.model import known_texts, text_tower
from pe_stream.model.audio_side import AudioShape, AudioSide
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.files import identity
from pe_stream.model.known_texts import KnownTexts, TextRecord, key_of
from pe_stream.model.prompts import LabelPrompts, embed, embed_labels
from pe_stream.model.text_record import make_record

LABELS = {
    "dog": LabelPrompts(("a dog barking", "dog bark"), ("a wolf",)),
    "bell": LabelPrompts(("a bell",)),
}
TEXTS = ("a dog barking", "dog bark", "a bell", "a wolf")
CPU = torch.device("cpu")


def whole(folder: Path) -> Checkpoint:
    return load(str(folder), device="cpu", dtype="float32")


def from_record(folder: Path, known: KnownTexts, texts: Sequence[str] = TEXTS) -> Checkpoint:
    return load(str(folder), device="cpu", dtype="float32", known=known, texts=texts)


def scores(checkpoint: Checkpoint) -> Any:
    audio = np.random.default_rng(1).normal(0, 0.1, 50 * FRAME).astype(np.float32)
    engine = Engine(checkpoint, embed_labels(checkpoint, LABELS))
    ((found, embeddings),) = engine.hear_and_embed([Stream()], [Window(0, audio)])
    assert embeddings is not None
    return found, embeddings


@pytest.fixture
def known(tmp_path: Path) -> KnownTexts:
    return KnownTexts(tmp_path / "texts")


@pytest.fixture
def no_tower(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> None:
        raise AssertionError("the text tower is read")

    monkeypatch.setattr(checkpoint_module, "read_model", read)


@pytest.fixture(scope="session")
def record_file(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of the small checkpoint. Not to be changed."""
    folder = tmp_path_factory.mktemp("record") / "texts"
    assert make_record(KnownTexts(folder), folders["small"], "cpu", None, TEXTS)
    (file,) = folder.iterdir()
    return file


@pytest.fixture
def file(record_file: Path, known: KnownTexts) -> Path:
    """The same in the folder of `known`."""
    assert known._usable()
    return Path(shutil.copy2(record_file, known._folder))


@pytest.mark.parametrize("size", ["small", "large", "embedded"])
def test_scores_are_the_same_to_the_last_bit(
    size: str, folders: dict[str, Path], known: KnownTexts, request: pytest.FixtureRequest
) -> None:
    model = whole(folders[size])
    expected, described = scores(model), model.describe()
    assert make_record(known, folders[size], "cpu", None, TEXTS)
    request.getfixturevalue("no_tower")
    alone = from_record(folders[size], known)
    assert isinstance(alone.model, AudioSide)
    assert alone.describe() == described
    for found, wanted in zip(scores(alone), expected, strict=True):
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("written", ["model.safetensors", "tokenizer_config.json"])
def test_a_checkpoint_that_was_written_meanwhile_gives_no_vectors(
    written: str, folders: dict[str, Path], known: KnownTexts, tmp_path: Path
) -> None:
    """Of a text that is new: its own would be of another checkpoint than what hears."""
    folder = tmp_path / "own"
    shutil.copytree(folders["small"], folder)
    assert make_record(known, folder, "cpu", None, TEXTS)
    alone = from_record(folder, known)
    assert isinstance(alone.model, AudioSide)
    os.utime(folder / written, (1, 1))
    with pytest.raises(UnavailableError, match="was changed since it was loaded: begin again"):
        embed(alone, ["rain"])
    assert not isinstance(from_record(folder, known).model, AudioSide), "the record is not of it"


@pytest.mark.usefixtures("file")
def test_in_bfloat16_too(folders: dict[str, Path], known: KnownTexts) -> None:
    read = partial(load, str(folders["small"]), device="cpu", dtype="bfloat16")
    for found, wanted in zip(scores(read(known=known, texts=TEXTS)), scores(read()), strict=True):
        assert found.tobytes() == wanted.tobytes()


@pytest.mark.usefixtures("file")
def test_a_new_text_has_the_tower_read_and_let_go_after(
    folders: dict[str, Path], known: KnownTexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, now_s = from_record(folders["small"], known), [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    assert torch.equal(embed(alone, ["rain"]), embed(whole(folders["small"]), ["rain"]))
    first = alone.tower.side()
    alone.tower.rest(100.0 + text_tower.IDLE_S - 1)
    assert alone.tower.side() is first
    assert not hasattr(first.model, "audio_encoder")  # it is in memory once
    alone.tower.rest(100.0 + text_tower.IDLE_S)
    assert alone.tower.side() is not first


def test_a_whole_checkpoint_keeps_its_tower(small: Checkpoint) -> None:
    first = small.tower.side()
    small.tower.rest(1e12)
    assert small.tower.side() is first


@pytest.mark.usefixtures("file")
def test_a_text_that_is_not_known_has_all_of_it_read(
    folders: dict[str, Path], known: KnownTexts
) -> None:
    assert not isinstance(from_record(folders["small"], known, [*TEXTS, "rain"]).model, AudioSide)
    assert not isinstance(from_record(folders["base"], known).model, AudioSide)


def test_what_lacks_texts_is_made_and_keeps_what_was_known(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    made: list[Sequence[str]] = []
    plain = KnownTexts(tmp_path / "texts")

    def make(folder: Path, device: str, texts: Sequence[str]) -> None:
        made.append(texts)
        make_record(plain, folder, device, None, texts)

    known = KnownTexts(tmp_path / "texts", make)
    for texts in (TEXTS, ("rain",), TEXTS, (*TEXTS, "rain")):
        assert isinstance(from_record(folders["small"], known, texts).model, AudioSide)
    assert made == [TEXTS, ("rain",)]


def test_nobody_else_can_read_it(record_file: Path) -> None:
    file = record_file
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def open_to_others(file: Path) -> None:
    file.chmod(0o620)


def a_link(file: Path) -> None:
    file.rename(file.with_suffix(".other"))
    file.symlink_to(file.with_suffix(".other"))


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def too_large(file: Path) -> None:
    os.truncate(file, known_texts._MOST_BYTES + 1)


def rewritten(file: Path, **changed: Any) -> None:
    """The file as it would be with other content, and right checksums."""
    with np.load(file) as saved:
        found: dict[str, Any] = {name: saved[name] for name in saved.files}
    with file.open("wb") as out:
        np.savez(out, allow_pickle=False, **(found | changed))


def no_numbers(file: Path) -> None:
    rewritten(file, rows=np.full((4, 64), np.nan, np.float32))


def too_few_rows(file: Path) -> None:
    rewritten(file, rows=np.zeros((3, 64), np.float32))


def another_kind(file: Path) -> None:
    rewritten(file, rows=np.zeros((4, 64), np.float64))


def no_json(file: Path) -> None:
    rewritten(file, about=np.frombuffer(b"{" * 5000, np.uint8))


def heard_something_else(file: Path) -> None:
    rewritten(file, heard=np.ones((1, 100, 64), np.float32))


def heard_less(file: Path) -> None:
    with np.load(file) as saved:
        heard = saved["heard"]
    rewritten(file, heard=heard[:, :50])


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        empty,
        open_to_others,
        a_link,
        a_pipe,
        too_large,
        no_numbers,
        too_few_rows,
        another_kind,
        no_json,
        heard_something_else,
        heard_less,
    ],
)
def test_a_damaged_record_is_told_and_not_used(
    damage: Any,
    file: Path,
    folders: dict[str, Path],
    known: KnownTexts,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damage(file)
    with caplog.at_level(logging.WARNING):
        assert not isinstance(from_record(folders["small"], known).model, AudioSide)
    assert "cannot be used, texts are embedded anew" in caplog.text
    assert not file.exists()


def test_no_single_changed_byte_changes_a_score(
    file: Path, folders: dict[str, Path], known: KnownTexts
) -> None:
    content, rng = file.read_bytes(), np.random.default_rng(0)
    own = key_of(folders["small"], identity(folders["small"]))
    true = known.read(own, CPU)
    assert true is not None
    for place in rng.integers(0, len(content), 100):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        found = known.read(own, CPU)
        if found is None:
            continue
        assert found.shape == true.shape
        assert found.heard.tobytes() == true.heard.tobytes()
        assert found.rows.keys() == true.rows.keys()
        for text, row in found.rows.items():
            assert row.tobytes() == true.rows[text].tobytes()


@pytest.mark.usefixtures("file")
def test_sizes_that_only_the_sound_tells_apart_are_told_apart(
    folders: dict[str, Path], known: KnownTexts, caplog: pytest.LogCaptureFixture
) -> None:
    own = key_of(folders["small"], identity(folders["small"]))
    record = known.read(own, CPU)
    assert record is not None
    known.keep(own, CPU, replace(record, shape=replace(record.shape, theta=10_000.0)))
    assert not isinstance(from_record(folders["small"], known).model, AudioSide)
    assert "the checkpoint hears something else" in caplog.text


@pytest.mark.parametrize(
    "changed",
    [
        {"width": 49},
        {"layers": 10**9},
        {"layers": True},
        {"ratios": 5},
        {"ratios": [2, -8, 10, 12]},
        {"eps": float("inf")},
        {"bias": 1},
        {"more": 1},
    ],
)
def test_sizes_that_are_none_are_refused(
    changed: dict[str, Any], folders: dict[str, Path], small: Checkpoint
) -> None:
    shape = AudioShape.of(small.model.config)
    assert shape is not None
    kept = shape.to_dict() | {"ratios": list(shape.ratios)}
    assert AudioShape.from_dict(kept) == shape
    with pytest.raises(ValueError, match=r"\w"):
        AudioSide(AudioShape.from_dict(kept | changed), stored_weights(folders["small"]))


def stored_weights(folder: Path) -> dict[str, Any]:
    from safetensors import safe_open

    content: Any = safe_open(folder / "model.safetensors", framework="pt")
    return {key: content.get_slice(key) for key in content.keys()}  # noqa: SIM118 - no mapping


@pytest.mark.usefixtures("file")
def test_other_libraries_and_devices_have_records_of_their_own(
    folders: dict[str, Path], known: KnownTexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = key_of(folders["small"], identity(folders["small"]))
    assert known.read(own, CPU) is not None
    assert known.read(own, torch.device("meta")) is None
    monkeypatch.setattr(known_texts, "version", lambda _: "0")
    assert known.read(own, CPU) is None


def test_the_cache_is_bounded(
    small: Checkpoint, known: KnownTexts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_texts, "MOST_TEXTS", 3)
    monkeypatch.setattr(known_texts, "MOST_RECORDS", 2)
    shape = AudioShape.of(small.model.config)
    assert shape is not None
    heard, row = np.zeros((1, 2, 64), np.float32), np.zeros(64, np.float32)

    def keep(own: str, *texts: str) -> None:
        known.keep(own, CPU, TextRecord(shape, 1, dict.fromkeys(texts, row), heard))

    keep("a", "1", "2")
    keep("a", "3", "4")
    kept = known.read("a", CPU)
    assert kept is not None
    assert list(kept.rows) == ["3", "4", "1"]
    for number, own in enumerate("abc"):
        keep(own, "1")
        os.utime(known._path(own, CPU), (number, number))
    assert [known.read(own, CPU) is None for own in "abc"] == [True, False, False]


@pytest.mark.parametrize("place", ["/proc/none", "/dev/null/texts"])
def test_without_a_folder_it_goes_on_without(
    place: str, folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    def make(*_: object) -> None:
        raise AssertionError("there is nowhere to keep it")

    with caplog.at_level(logging.INFO):
        found = from_record(folders["small"], KnownTexts(Path(place), make))
    assert not isinstance(found.model, AudioSide)
    assert f"{place} cannot be written: texts are embedded at every start" in caplog.text
