from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import MAX_TOKENS
from timing import within
from transformers import AutoTokenizer, PeAudioFrameLevelModel

from pe_stream.core.types import FRAME, Window
from pe_stream.errors import ConfigError
from pe_stream.model import prompts
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.prompts import LabelPrompts, compare, embed, embed_labels

TEXTS = ["speech", "a dog barking", "a dog barking on television", "a bell", "glass breaks twice"]


@pytest.mark.parametrize("name", ["small", "embedded"])
def test_embedding_is_of_the_last_layer_before_any_final_norm(
    name: str, folders: dict[str, Path]
) -> None:
    expected = [_last_layer_embedding(folders[name], text) for text in TEXTS]
    found = embed(load(str(folders[name]), device="cpu"), TEXTS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-5, atol=1e-5)


def test_final_norm_would_change_the_embedding(folders: dict[str, Path], small: Checkpoint) -> None:
    model, tokens = _untouched(folders["small"], "a bell")
    with torch.no_grad():
        states = model.text_model(**tokens).last_hidden_state
        normed = model.text_audio_head(states[:, 0])[0]
    assert (normed - embed(small, ["a bell"])[0]).abs().max() > 0.1


def test_embedding_does_not_depend_on_its_neighbours(small: Checkpoint) -> None:
    together = embed(small, TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(row, embed(small, [text])[0], rtol=1e-6, atol=1e-6)


def test_order_is_that_of_the_texts(small: Checkpoint) -> None:
    backwards = embed(small, TEXTS[::-1]).flip(0)
    torch.testing.assert_close(backwards, embed(small, TEXTS), rtol=1e-6, atol=1e-6)


def test_get_text_audio_embeds_is_not_used(
    small: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("get_text_audio_embeds reads hidden states that it never asked for")

    monkeypatch.setattr(PeAudioFrameLevelModel, "get_text_audio_embeds", refuse)
    embed(small, TEXTS)


def test_text_tower_gets_token_ids_only(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = load(str(folders["small"]), device="cpu")
    names = ["input_ids", "token_type_ids", "attention_mask"]
    monkeypatch.setattr(checkpoint.tokenizer, "model_input_names", names)
    assert "token_type_ids" in checkpoint.tokenizer("a bell")
    given: list[str] = []

    def watch(_module: object, args: tuple[object, ...], kwargs: dict[str, object]) -> None:
        assert not args
        given.extend(kwargs)

    checkpoint.model.text_model.register_forward_pre_hook(watch, with_kwargs=True)
    embed(checkpoint, ["a bell"])
    assert given == ["input_ids"]


def test_text_tower_stays_in_float32(folders: dict[str, Path], small: Checkpoint) -> None:
    half = load(str(folders["small"]), device="cpu", dtype="bfloat16")
    assert torch.equal(embed(half, TEXTS), embed(small, TEXTS))


def test_label_is_the_mean_of_its_prompts(small: Checkpoint) -> None:
    labels = {
        "bell": LabelPrompts(("a bell",)),
        "dog": LabelPrompts(("a dog barking", "speech"), ("a dog barking on television",)),
        "glass": LabelPrompts(("glass breaks twice",), ("a bell", "speech")),
    }
    found = embed_labels(small, labels)
    speech, dog, television, bell, glass = embed(small, TEXTS)
    rows = [bell, (dog + speech) / 2, glass, television, bell, speech]
    assert found.names == ("bell", "dog", "glass")
    assert found.suppresses.tolist() == [1, 2, 2]
    torch.testing.assert_close(found.rows, torch.stack(rows), rtol=1e-5, atol=1e-5)


def test_prompt_may_fill_the_model_and_no_more(small: Checkpoint) -> None:
    fits = "." * (MAX_TOKENS - 2)
    assert embed(small, [fits]).shape == (1, 64)
    with pytest.raises(ConfigError, match=rf"'\.+' is too long .*{MAX_TOKENS + 1} tokens") as error:
        embed(small, ["speech", fits + "."])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_empty_prompt_is_refused(text: str, small: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="prompt is empty"):
        embed(small, ["speech", text])


def test_labels_need_prompts(small: Checkpoint) -> None:
    with pytest.raises(ConfigError, match="label 'dog' has no prompts"):
        embed_labels(small, {"bell": LabelPrompts(("a bell",)), "dog": LabelPrompts(())})
    with pytest.raises(ConfigError, match="no labels"):
        embed_labels(small, {})


def test_fifty_prompts_take_under_two_seconds(embedded: Checkpoint) -> None:
    begun = time.monotonic()
    embed(embedded, [f"the sound of {n} dogs barking in the yard" for n in range(50)])
    assert time.monotonic() - begun < within(2)


def _last_layer_embedding(folder: Path, text: str) -> torch.Tensor:
    """Catch the state in the act: what the text tower's last layer returns, through the head."""
    model, tokens = _untouched(folder, text)
    tower = model.text_model
    layers = tower.layers if hasattr(tower, "layers") else tower.encoder.layer
    caught: list[torch.Tensor] = []

    def catch(_module: object, _args: object, output: torch.Tensor | tuple[torch.Tensor]) -> None:
        caught.append(output[0] if isinstance(output, tuple) else output)

    layers[-1].register_forward_hook(catch)
    with torch.no_grad():
        tower(**tokens)
        embedding: torch.Tensor = model.text_audio_head(caught[0][:, 0])[0]
    return embedding


def _untouched(folder: Path, text: str) -> tuple[PeAudioFrameLevelModel, dict[str, torch.Tensor]]:
    """Load the model as the library does, and tokenize without this program's code."""
    model = PeAudioFrameLevelModel.from_pretrained(folder, dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    return model, {name: tokens[name] for name in ("input_ids", "attention_mask")}


def test_a_text_is_embedded_once(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = load(str(folders["small"]), device="cpu")
    seen: list[int] = []
    checkpoint.model.text_model.register_forward_pre_hook(
        lambda _, __, given: seen.append(len(given["input_ids"])), with_kwargs=True
    )
    first = embed(checkpoint, ["a bell", "speech"])
    assert torch.equal(embed(checkpoint, ["speech", "a bell", "speech"]), first[[1, 0, 1]])
    assert sum(seen) == 2
    monkeypatch.setattr(prompts, "MOST_TEXTS", 2)
    embed(checkpoint, ["rain"])
    assert list(checkpoint.texts) == ["a bell", "rain"]  # what was asked for longest ago goes


def test_any_text_is_compared_with_frames_as_a_label_would_be(small: Checkpoint) -> None:
    engine = Engine(small, embed_labels(small, {"bell": LabelPrompts(("a bell",))}))
    audio = np.random.default_rng(1).normal(0, 0.1, 20 * FRAME).astype(np.float32)
    ((scores, embeddings),) = engine.hear_and_embed([Stream()], [Window(0, audio)])
    assert embeddings is not None
    assert embeddings.dtype == np.float16
    found = compare(small, embeddings, "a bell")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scores[:, 0], atol=2e-3)
    assert np.abs(compare(small, embeddings, "speech") - scores[:, 0]).max() > 1e-3
    ((_, none),) = engine.hear_and_embed([Stream()], [Window(0, audio)], embed=False)
    assert none is None
    with pytest.raises(ConfigError, match="empty"):
        compare(small, embeddings, " ")
