"""Whole trainings of a few steps: with and without a teacher, in one go and in pieces.

The sentence encoder is a stand-in: the real one is met in test_command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sounds import noise, write_float_wav
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.core.types import Samples
from pe_stream.errors import UnavailableError
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training import composer, concepts, fit, teachers, text
from pe_stream.workbench.training.batches import Batches
from pe_stream.workbench.training.concepts import Concept
from pe_stream.workbench.training.group import Group
from pe_stream.workbench.training.learned import Learned
from pe_stream.workbench.training.pipeline import Trainer
from pe_stream.workbench.training.progress import Progress
from pe_stream.workbench.training.recipe import Recipe, clips_for, of_concepts, unseen_phrasings
from pe_stream.workbench.training.shards import Shards

pytestmark = pytest.mark.heavy

CPU = torch.device("cpu")
RECIPE = Recipe(
    mixtures=3,
    frames=40,
    phrasings=1,
    corpus=1000,
    ideal_steps=2,
    text_steps=2,
    joint_steps=2,
    seed=1,
)
STAGES = ("ideal", "text", "joint")


class Loudness:
    """A teacher whose classes hear how loud it is."""

    name = "mn04"
    classes: Sequence[str] = ("Dog", "Rain", "Speech")

    def logits(self, samples: Samples, hop_s: float) -> NDArray[np.float32]:
        seconds = samples.reshape(round(len(samples) / 48_000 / hop_s), -1)
        level = np.log(np.square(seconds, dtype=np.float64).mean(1) + 1e-9)
        return np.stack([level, -level, 0 * level - 3], 1).astype(np.float32)


class Encoder:
    """Instead of MiniLM: a vector of its own for each text; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def encode(self, texts: Sequence[str]) -> Tensor:
        self.asked.append(len(texts))
        rows = [torch.randn(384, generator=generator(line)) for line in texts]
        return F.normalize(torch.stack(rows), dim=1)


def generator(line: str) -> torch.Generator:
    return torch.Generator().manual_seed(crc32(line.encode()))


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    encoder = Encoder()
    with pytest.MonkeyPatch.context() as patched:
        known = concepts.read(without=unseen_phrasings(), most=RECIPE.phrasings)
        patched.setattr(concepts, "read", lambda **_: known)  # it takes a second
        words = ("table", "spoon", "carpet")
        patched.setattr(text, "minilm", lambda _: text.SentenceEncoder(encoder.encode, words))
        patched.setattr(
            teachers, "load", lambda folder: Loudness() if folder else teachers._Nobody()
        )
        patched.setattr(composer, "SOUNDS", {"siren": lambda _: noise((1.0, 0.3))})
        patched.setattr(fit, "SAVE_EVERY_S", 0.0)
        yield encoder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = tmp_path_factory.mktemp("clips")
    paths = {
        label: write_float_wav(folder / f"{label}.wav", noise((1.0, 0.0), (seconds, 0.1)))
        for label, seconds in (("dog", 1.0), ("rain", 5.0))
    }
    return [Clip(path=path, key=path.name, label=label) for label, path in paths.items()]


def trainer(out: Path, teacher: Path | None = None, group: Group | None = None) -> Trainer:
    return Trainer(RECIPE, out, CPU, teacher, group)


def weights(model: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def whole(
    encoder: Encoder, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Tensor]]:
    """Trained with a teacher in one go: its folder, its weights."""
    out = tmp_path_factory.mktemp("whole")
    made = trainer(out, out)
    made.train(lambda: made.mixtures(clips))
    return out, weights(made.model)


def kept(out: Path, stage: str) -> dict[str, Any]:
    return dict(torch.load(out / "work" / f"{stage}.pt", weights_only=True))


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def test_each_stage_learns_its_part_and_leaves_the_rest(
    whole: tuple[Path, dict[str, Tensor]],
) -> None:
    out, after = whole
    stages = {stage: kept(out, stage) for stage in STAGES}
    assert all(torch.isfinite(value).all() for value in after.values())
    begun = weights(trainer(out, out).model)
    codec = "audio_encoder.embedder.dac_encoder"
    audio = changed(begun, stages["ideal"]["model"])
    assert not {name for name in audio if name.startswith(("text_model", codec))}
    assert {name.split(".")[0] for name in audio} == {
        "audio_encoder",
        "audio_head",
        "text_audio_logit_bias",
    }
    tower = changed(stages["ideal"]["model"], stages["text"]["model"])
    assert tower
    assert all(name.startswith("text_") and "logit" not in name for name in tower)
    last = changed(stages["text"]["model"], stages["joint"]["model"])
    assert {name.split(".")[0] for name in last} >= {"audio_encoder", "audio_head", "text_model"}
    # The codec is written down, and stays as it was.
    written = (codec, "audio_encoder.embedder.bottleneck")
    assert not {name for name in last | audio if name.startswith(written)}
    learned = changed(stages["ideal"]["learned"], stages["joint"]["learned"])
    assert {"head.offsets", "head.straight.weight", "imitation.slope", "imitation.free.weight"} <= (
        learned
    )


def test_in_pieces_it_ends_as_in_one_go(
    whole: tuple[Path, dict[str, Tensor]],
    clips: list[Clip],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in the middle of every stage, each time gone on by another process, as it were."""
    stopped: list[str] = []
    report = Progress.__call__

    def stop(self: Progress, step: int, loss: float) -> None:
        report(self, step, loss)
        if self._stage in STAGES and self._stage not in stopped:
            stopped.append(self._stage)
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "__call__", stop)
    for _ in STAGES:
        made = trainer(tmp_path, tmp_path)
        with pytest.raises(KeyboardInterrupt):
            made.train(lambda made=made: made.mixtures(clips))  # type: ignore[misc]
    made = trainer(tmp_path, tmp_path)
    tokenizer = made.train(lambda: made.mixtures(clips))
    assert tuple(stopped) == STAGES
    assert changed(whole[1], weights(made.model)) == set()
    assert tokenizer.get_vocab() == trained_tokenizer(whole[0]).get_vocab()
    assert not list((tmp_path / "work").glob("*.state.pt"))


def trained_tokenizer(out: Path) -> Any:
    def none() -> Shards:
        raise AssertionError("nothing is to be made for a finished training")

    return trainer(out, out).train(none)


def test_a_finished_training_needs_no_mixtures(whole: tuple[Path, dict[str, Tensor]]) -> None:
    out, after = whole
    again = trainer(out, out)
    assert again.finished()
    assert changed(after, weights(again.model)) == set()
    assert trained_tokenizer(out).tokenize("siren")


def test_without_a_teacher_it_learns_all_the_same(
    encoder: Encoder, clips: list[Clip], tmp_path: Path
) -> None:
    made = trainer(tmp_path)
    made.train(lambda: made.mixtures(clips))
    assert all(torch.isfinite(value).all() for value in made.model.state_dict().values())
    learned = kept(tmp_path, "joint")["learned"]
    assert all(torch.isfinite(value).all() for value in learned.values())
    assert learned["head.offsets"].any()
    assert learned["imitation.slope"].shape == (0,)


class Counting(Group):
    """A group of one that counts how often it would have waited."""

    def __init__(self, rank: int = 0) -> None:
        super().__init__(rank, 1)
        self.waited = 0

    def wait(self) -> None:
        self.waited += 1


def test_vectors_are_made_once_by_the_first_and_waited_for_by_all(
    encoder: Encoder, tmp_path: Path
) -> None:
    encoder.asked.clear()
    with pytest.raises(FileNotFoundError):  # the first has made none, and this is not the first
        trainer(tmp_path, None, Counting(1))._words()
    assert encoder.asked == []
    waits = []
    for rank in (0, 1, 0, 1):
        group = Counting(rank)
        words = trainer(tmp_path, None, group)._words()
        waits.append(group.waited)
        assert torch.equal(words.wordings.vectors, Encoder().encode(words.texts))
    assert encoder.asked == [len(words.texts)]
    assert waits == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "before", [{"texts": ["other"], "vectors": torch.zeros(1, 384)}, torch.zeros(2, 384)]
)
def test_vectors_of_other_texts_are_not_taken(
    before: object, encoder: Encoder, tmp_path: Path
) -> None:
    made = trainer(tmp_path)
    torch.save(before, tmp_path / "work" / "vectors.pt")
    vectors = made._vectors("vectors.pt", ["a", "b"], lambda: text.minilm(CPU))
    assert torch.equal(vectors, Encoder().encode(["a", "b"]))


def test_a_finished_stage_is_waited_for_as_often_as_one_to_do(
    whole: tuple[Path, dict[str, Tensor]], encoder: Encoder, tmp_path: Path
) -> None:
    """A process may come late, when the first has already finished what was saved at its end."""
    for out in (whole[0], tmp_path):
        group = Counting()
        one_stage(trainer(out, out, group), "ideal")
        assert group.waited == 1


def one_stage(made: Trainer, name: str) -> list[int]:
    """A stage of two steps on next to nothing; the numbers of its batches."""
    weight, seen = made.model.text_audio_logit_bias, []

    def batch(number: int) -> int:
        seen.append(number)
        return number

    plan = fit.Plan(steps=2, rates=(0.1,), bf16=False)
    made._stage(name, plan, batch, lambda _: weight.square().sum(), groups=[[weight]])
    return seen


def test_stages_have_examples_of_their_own(encoder: Encoder, tmp_path: Path) -> None:
    made = trainer(tmp_path)
    numbers = [number for name in STAGES for number in one_stage(made, name)]
    assert len(set(numbers)) == 2 * len(STAGES)


def test_the_phrasings_held_out_are_no_lessons(
    whole: tuple[Path, dict[str, Tensor]], clips: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(whole[0], whole[0])
    mixtures = made.mixtures(clips)
    batches = Batches(mixtures, made.concepts, made._classes, frames=40, seed=1)
    words = made._words()
    learned = Learned(made.model, words, batches, mixtures)
    out = {made.concepts[3].name: words.texts[-1]}
    monkeypatch.setattr(concepts, "held_out", lambda _: out)
    seen: list[str] = []
    lessons = text.TextBatches

    def noted(tokenizer: Any, texts: list[str], targets: Tensor, seed: int) -> text.TextBatches:
        seen.extend(texts)
        assert len(texts) == len(targets)
        return lessons(tokenizer, texts, targets, seed)

    monkeypatch.setattr(text, "TextBatches", noted)
    made._lessons(learned, words)
    assert words.texts[-1] not in seen
    assert set(words.texts[:-1]) <= set(seen)


KNOWN = [Concept("dog", "a dog", ("a dog",), ("dog",)), Concept("owl", "an owl", (), ("owl",))]


def test_clips_of_no_concept_are_left_out_and_named(caplog: pytest.LogCaptureFixture) -> None:
    labels = ["dog", "cat", "owl; cat", "cat", "emu"]
    clips = [Clip(path=Path(x), key=x, label=x) for x in labels]
    assert [clip.label for clip in of_concepts(clips, KNOWN)] == ["dog", "owl; cat"]
    (record,) = caplog.records
    assert record.getMessage() == (
        "3 clips left out: phrases.yaml has no such label: 'cat' (2), 'emu' (1)"
    )
    with pytest.raises(UnavailableError, match="no clip has a label"):
        of_concepts(clips[1:2], KNOWN)


def manifest(folder: Path, *rows: str) -> Path:
    folder.mkdir()
    for row in rows:
        (folder / row.split(",")[0]).write_bytes(b"")
    table = ["path,label,fold,redistributable", *rows]
    (folder / "manifest.csv").write_text("\n".join(table) + "\n", "utf-8")
    return folder


def test_clips_come_from_all_folders_of_the_folds_and_licences_asked_for(tmp_path: Path) -> None:
    one = manifest(tmp_path / "one", "a.wav,dog,1,true", "b.wav,dog,2,true", "c.wav,dog,1,false")
    two = manifest(tmp_path / "two", "d.wav,owl,train,true", "e.wav,owl,train,false")

    def names(every: bool, *folds: str) -> str:  # noqa: FBT001 - read as a table
        clips = clips_for(Recipe(folds=folds, every_licence=every), (one, two))
        return "".join(clip.key[0] for clip in clips)

    assert names(False) == "abd"
    assert names(True) == "abcde"
    assert names(False, "1", "train") == "ad"
    assert names(True, "1", "train") == "acde"
    with pytest.raises(UnavailableError, match="fold"):
        names(False, "9")
    shut = manifest(tmp_path / "shut", "a.wav,dog,1,false")
    with pytest.raises(UnavailableError, match="--every-licence"):
        clips_for(Recipe(), (shut,))


def test_progress_is_told_twice_a_minute_and_at_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    monkeypatch.setattr(time, "monotonic", clock)
    caplog.set_level("INFO", "pe_stream")
    report = Progress("ideal", 10)
    for step in range(10):
        now[0] += 8
        report(step, float(step))
    assert [record.getMessage() for record in caplog.records] == [
        "ideal: 4 of 10, loss 1.5000, 8.00 s each",
        "ideal: 8 of 10, loss 5.5000, 8.00 s each",
        "ideal: 10 of 10, loss 8.5000, 8.00 s each",
    ]
