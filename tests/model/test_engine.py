from __future__ import annotations

import io
import shutil
import subprocess
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor

from pe_stream.core.types import FRAME, SAMPLE_RATE, Samples, Window
from pe_stream.model import checkpoint as checkpoint_module
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.codec import Stream, batches
from pe_stream.model.engine import Engine
from pe_stream.model.prompts import LabelPrompts, embed_labels

PROMPTS = ("a dog barking", "a door bell rings twice", "speech", "glass")
LABELS = {prompt: LabelPrompts((prompt,)) for prompt in PROMPTS}


@pytest.mark.parametrize("name", ["small", "base", "large", "embedded"])
def test_logits_equal_the_models_own_forward(name: str, folders: dict[str, Path]) -> None:
    checkpoint = load(str(folders[name]), device="cpu", dtype="float32")
    window = _noise(25)
    expected = _forward(checkpoint, window)
    [found] = _logits(_engine(checkpoint, LABELS), [window])
    assert found.shape == (25, 4)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-3 * expected.std()
    assert expected.std(axis=0).min() > 0.01  # the frames differ, so a mix-up would show


def test_feature_extractor_leaves_a_window_as_it_is(folders: dict[str, Path]) -> None:
    extractor = AutoFeatureExtractor.from_pretrained(folders["small"])
    window = _noise(7)
    extracted = extractor(window, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_values"]
    assert np.array_equal(np.asarray(extracted)[0, 0], window)


def test_windows_of_any_length_score_as_if_alone(small: Checkpoint) -> None:
    engine = _engine(small, LABELS)
    windows = [_noise(frames, seed) for seed, frames in enumerate([5, 12, 1, 12, 5, 30])]
    together = _logits(engine, windows)
    for window, found in zip(windows, together, strict=True):
        assert found.shape == (len(window) // FRAME, 4)
        np.testing.assert_allclose(found, _logits(engine, [window])[0], rtol=1e-5, atol=1e-4)


def test_batches_are_bounded_and_never_masked(small: Checkpoint) -> None:
    seen: list[tuple[int, ...]] = []

    def watch(_module: object, args: tuple[torch.Tensor]) -> None:
        seen.append(tuple(args[0].shape))

    engine = _engine(small, LABELS)
    engine._encoder.register_forward_pre_hook(watch)
    engine.score([_noise(2)] * (engine.most_together + 5) + [_noise(3)])
    config: Any = small.model.config.audio_config
    width = config.dac_config.codebook_dim
    assert seen == [(8, 2, width), (4, 2, width), (1, 2, width), (1, 3, width)]


@pytest.mark.parametrize("name", ["small", "embedded"])
def test_frames_that_are_done_are_only_left_out(name: str, folders: dict[str, Path]) -> None:
    """What is left is what it was; and it is batched with windows that want as many."""
    engine = _engine(load(str(folders[name]), device="cpu", dtype="float32"), LABELS)
    whole = [_noise(20, seed) for seed in range(3)]
    all_frames = engine.score(whole)
    done = (15, 15, 0, 20)
    windows = [Window(0, audio, done=n) for audio, n in zip([*whole, whole[0]], done, strict=True)]
    found = engine.hear([Stream() for _ in windows], windows)
    assert [scores.shape for scores in found] == [(5, 4), (5, 4), (20, 4), (0, 4)]
    for scores, expected in zip(found[:3], all_frames, strict=True):
        np.testing.assert_allclose(scores, expected[-len(scores) :], rtol=1e-3, atol=1e-6)


def test_few_long_windows_are_computed_together() -> None:
    cpu = torch.device("cpu")
    assert [len(batch) for batch in batches([(250,)] * 9, cpu)] == [4, 4, 1]
    assert [len(batch) for batch in batches([(5000,)] * 2, cpu)] == [1, 1]
    assert batches([(3,), (5,), (3,)], cpu) == [[0, 2], [1]]


@pytest.mark.parametrize("samples", [0, 1, FRAME - 1, FRAME + 1])
def test_part_of_a_frame_is_refused(samples: int, small: Checkpoint) -> None:
    with pytest.raises(ValueError, match="whole frames of 1920"):
        _engine(small, LABELS).score([np.zeros(samples, np.float32)])


def test_nothing_to_score_is_no_score(small: Checkpoint) -> None:
    assert _engine(small, LABELS).score([]) == []


def test_scores_are_the_sigmoid_of_the_logits(small: Checkpoint) -> None:
    engine = _engine(small, LABELS)
    [scores], [logits] = engine.score([_noise(10)]), _logits(engine, [_noise(10)])
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), rtol=1e-5, atol=1e-7)
    assert engine.labels.names == PROMPTS


@pytest.mark.parametrize("name", ["small", "base", "large", "embedded"])
def test_bfloat16_hears_the_same(
    name: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    window = _noise(250)
    found = []
    monkeypatch.setattr(checkpoint_module, "fast_dtype", lambda _: torch.bfloat16)
    for dtype in ("float32", "auto"):
        engine = _engine(load(str(folders[name]), device="cpu", dtype=dtype), LABELS)
        engine._encoder.register_forward_hook(lambda _, __, frames: found.append(frames[0]))
        engine.score([window])
    expected, rounded = found
    assert not torch.equal(expected, rounded)
    assert rounded.dtype == torch.float32
    cosine = torch.nn.functional.cosine_similarity(expected, rounded)
    assert len(cosine) == 250
    assert float(cosine.min()) >= 0.999


def test_negatives_suppress_where_they_score_higher(small: Checkpoint) -> None:
    window = _noise(40)
    plain = _engine(small, LABELS)
    [logits], [scores] = _logits(plain, [window]), plain.score([window])
    louder = logits[:, 1] > logits[:, 0]
    assert 0 < louder.sum() < len(louder)  # both kinds of frame are there

    labels = LABELS | {PROMPTS[0]: LabelPrompts((PROMPTS[0],), (PROMPTS[1],))}
    [suppressed] = _engine(small, labels).score([window])
    expected = scores.copy()
    expected[louder, 0] = 0
    np.testing.assert_allclose(suppressed, expected, rtol=1e-5, atol=1e-7)


def test_strongest_of_several_negatives_counts(small: Checkpoint) -> None:
    window = _noise(40)
    [logits] = _logits(_engine(small, LABELS), [window])
    louder = logits[:, 1:].max(axis=1) > logits[:, 0]
    assert 0 < louder.sum() < len(louder)  # both kinds of frame are there
    labels = {"dog": LabelPrompts(PROMPTS[:1], PROMPTS[1:])}
    [suppressed] = _engine(small, labels).score([window])
    assert suppressed.shape == (40, 1)
    assert np.array_equal(suppressed[:, 0] == 0, louder)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_zero(broken: float, small: Checkpoint) -> None:
    window = _noise(10)
    window[FRAME] = broken
    labels = LABELS | {"glass": LabelPrompts(("glass",), ("speech",))}
    scores, intact = _engine(small, labels).score([window, _noise(10)])
    assert np.array_equal(scores, np.zeros((10, 4)))
    assert intact.any()


def test_other_labels_change_the_columns(small: Checkpoint) -> None:
    engine = _engine(small, LABELS)
    [before] = engine.score([_noise(10)])
    engine.labels = embed_labels(small, {"glass": LABELS["glass"]})
    [after] = engine.score([_noise(10)])
    assert engine.labels.names == ("glass",)
    np.testing.assert_allclose(after[:, 0], before[:, 3], rtol=1e-5, atol=1e-7)


def test_embedded_checkpoint_hears_speech(embedded: Checkpoint) -> None:
    if not shutil.which("espeak-ng"):
        pytest.skip("espeak-ng is missing; install the Debian package espeak-ng")
    window = _spoken("Good morning. Today it will rain in the north, and the wind will rise.")
    labels = {name: LabelPrompts((name,)) for name in ("speech", "a dog barking")}
    [logits] = _logits(_engine(embedded, labels), [window])
    speech, dog = logits.mean(axis=0)
    assert speech > dog + 1


def _logits(engine: Engine, windows: Sequence[Samples]) -> list[NDArray[np.float32]]:
    """Of windows that have nothing to do with each other."""
    return engine.logits([Stream() for _ in windows], [Window(0, window) for window in windows])


def _engine(checkpoint: Checkpoint, labels: Mapping[str, LabelPrompts]) -> Engine:
    return Engine(checkpoint, embed_labels(checkpoint, labels))


def _noise(frames: int, seed: int = 0) -> Samples:
    """Noise whose level changes from frame to frame."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0.01, 0.5, frames), FRAME)
    return (level * rng.standard_normal(frames * FRAME)).astype(np.float32)


def _forward(checkpoint: Checkpoint, window: Samples) -> NDArray[np.float32]:
    """PeAudioFrameLevelModel.forward on one window, texts padded as its processor does."""
    tokens = checkpoint.tokenizer(list(PROMPTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        output = checkpoint.model(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            input_values=torch.from_numpy(window)[None, None],
        )
    logits: NDArray[np.float32] = np.asarray(output.logits_audio_text[0].T)
    return logits


def _cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Cosine of the labels' courses over the frames, each without its mean; the worst label."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return float(((a * b).sum(axis=0) / norms).min())


def _spoken(text: str) -> Samples:
    """Speak `text` with espeak-ng: 48 kHz, whole frames."""
    command = ["espeak-ng", "--stdout", text]
    spoken = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(spoken)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(file.readframes(-1), np.int16).astype(np.float32) / 32768
    resampled: Samples = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
    return resampled[: len(resampled) // FRAME * FRAME]


def test_windows_of_one_stream_together_score_as_one_after_the_other(small: Checkpoint) -> None:
    engine = _engine(small, LABELS)
    audio = [_noise(60, seed) for seed in range(2)]
    plan = [(0, 0, 30), (0, 10, 40), (1, 0, 30), (0, 20, 50), (1, 15, 45), (0, 30, 60)]

    def cut(source: int, begin: int, end: int) -> Window:
        return Window(begin * FRAME, audio[source][begin * FRAME : end * FRAME], done=5)

    streams = [Stream(), Stream()]
    alone = [engine.hear([streams[i]], [cut(i, *at)])[0] for i, *at in plan]
    streams = [Stream(), Stream()]
    together = engine.hear([streams[i] for i, *_ in plan], [cut(i, *at) for i, *at in plan])
    for one, other in zip(alone, together, strict=True):
        assert one.shape == (25, 4)
        np.testing.assert_allclose(one, other, atol=1e-5)
    fresh = engine.hear([Stream()], [cut(0, 20, 50)])[0]
    assert np.abs(fresh - together[3]).max() > 1e-4  # without what came before, it is another
