"""Labels whose score is the level, beside words and without any model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pe_stream import detect
from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples, Window
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.labels.prepare import prepare_labels
from pe_stream.model.checkpoint import load
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.no_model import NoCheckpoint, NoEngine, with_columns
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.pipeline.scorer import prepare

NOWHERE = ModelSettings(checkpoint="/nowhere/at/all", device="cpu", threads=1)


def labels(**keys: dict[str, Any]) -> dict[str, LabelSettings]:
    return {name: LabelSettings.model_validate(each).named(name) for name, each in keys.items()}


def bangs(seconds: float = 20) -> Samples:
    """Noise of -60 dBFS, with one of -20 dBFS from 15 s to 15.4 s."""
    rng = np.random.default_rng(0)
    samples = 1e-3 * rng.standard_normal(round(seconds * SAMPLE_RATE))
    samples[15 * SAMPLE_RATE : round(15.4 * SAMPLE_RATE)] *= 100
    return samples.astype(np.float32)


def test_no_checkpoint_is_needed_where_every_label_is_loud() -> None:
    scorer = prepare(NOWHERE, labels(bang={"loud": True}, crash={"loud": {"above_db": 30}}))
    assert isinstance(scorer.engine, NoEngine)
    assert scorer.engine.labels.names == ("bang", "crash")
    assert scorer.checkpoint.name == "none"
    with pytest.raises(ConfigError, match="no model to hear words with"):
        scorer.probe("a dog")
    with pytest.raises(UnavailableError, match="nowhere"):
        prepare(NOWHERE, labels(bang={"loud": True}, dog={}))
    with pytest.raises(UnavailableError, match="nowhere"):  # to search in what was heard
        prepare(NOWHERE, labels(bang={"loud": True}), embed=True)


def test_a_recording_is_heard_without_a_model() -> None:
    found = list(
        detect(bangs(), labels(bang={"loud": True}), sampling_rate=SAMPLE_RATE, model=NOWHERE)
    )
    [event] = found
    assert (event.onset_s, event.offset_s) == (15.0, 15.4)
    assert (event.label, event.checkpoint, event.threshold) == ("bang", "none", 0.5)
    assert event.peak == pytest.approx(100 / 110, abs=0.02)


def test_scores_of_words_stay_what_they_are_beside_loud_sounds() -> None:
    checkpoint = load("embedded", device="cpu", threads=1)
    words = labels(dog={"not": ["a wolf"]}, cat={"not": ["a lion", "a tiger"]}, bell={})
    mixed = {
        "first": LabelSettings.model_validate({"loud": True}),
        "dog": words["dog"],
        "second": LabelSettings.model_validate({"loud": True}),
        "cat": words["cat"],
        "bell": words["bell"],
    }
    alone, beside = prepare_labels(checkpoint, words), prepare_labels(checkpoint, mixed)
    assert beside.embeddings.names == tuple(mixed) == tuple(rule.name for rule in beside.rules)
    window = Window(0, bangs(4)[: 50 * FRAME])
    engine = Engine(checkpoint, alone.embeddings)
    [expected] = engine.hear([Stream()], [window])
    engine.labels = beside.embeddings
    [found] = engine.hear([Stream()], [window])
    assert found[:, [1, 3, 4]] == pytest.approx(expected, abs=1e-6)
    assert not found[:, [0, 2]].any()


def test_a_loaded_model_may_have_loud_sounds_alone() -> None:
    """As with search, or after the last other label was removed."""
    scorer = prepare(
        ModelSettings(device="cpu", threads=1), labels(bang={"loud": True}), embed=True
    )
    window = Window(0, bangs(4)[: 50 * FRAME])
    [(scores, embeddings)] = scorer.engine.hear_and_embed([Stream()], [window], embed=True)
    assert scores.shape == (50, 1)
    assert not scores.any()
    assert embeddings is not None
    assert len(embeddings) == 50


def test_words_need_a_restart_where_no_model_is_loaded() -> None:
    with pytest.raises(
        ConfigError,
        match=r"labels\.dog: it needs the model.*restart.*with it in the configuration file",
    ):
        prepare_labels(NoCheckpoint(), labels(bang={"loud": True}, dog={}))


def test_windows_without_a_model_have_the_frames_that_are_wanted() -> None:
    engine = NoEngine(NoCheckpoint().columns(["a", "b"]))
    whole, part = Window(0, bangs(1)[: 20 * FRAME]), Window(0, bangs(1)[: 20 * FRAME], done=5)
    assert [each.shape for each in engine.hear([], [whole, part])] == [(20, 2), (15, 2)]


def test_columns_keep_what_suppresses_what() -> None:
    rows = torch.arange(10.0).reshape(5, 2)
    suppresses = torch.tensor([1, 0, 1])
    before = LabelEmbeddings(("x", "y"), rows, suppresses, torch.arange(5.0))
    assert with_columns(before, ["x", "y"]) is before
    after = with_columns(before, ["y", "loud", "x"])
    assert after.names == ("y", "loud", "x")
    assert after.rows.tolist() == [[2, 3], [0, 0], [0, 1], [4, 5], [6, 7], [8, 9]]
    assert after.suppresses.tolist() == [0, 2, 0]
    assert after.offsets.tolist() == [1.0, -torch.inf, 0.0, 2.0, 3.0, 4.0]
