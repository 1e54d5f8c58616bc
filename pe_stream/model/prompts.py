"""Text prompts to embeddings, once; the engine then only multiplies.

A logit is linear in the prompt's embedding, so a label with several prompts needs one row: the
mean of their embeddings gives the mean of their logits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pe_stream.core.pooling import Probe
from pe_stream.core.types import FrameEmbeddings
from pe_stream.core.words import has_control_characters
from pe_stream.errors import ConfigError
from pe_stream.model.checkpoint import Checkpoint
from pe_stream.model.known_texts import MOST_TEXTS
from pe_stream.model.tokenizer import LONGEST, tokenize


@dataclass(frozen=True, slots=True)
class LabelPrompts:
    """Prompts of a label.

    prompts: averaged; at least one.
    negatives: where one of these scores higher than the label, the label is suppressed.
    """

    prompts: tuple[str, ...]
    negatives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LabelEmbeddings:
    """Labels as the engine multiplies with them.

    names: the labels, in the order of the engine's columns.
    rows: (labels + negatives, D) float32, on the checkpoint's device; labels first.
    suppresses: (negatives,) int64, same device: the label that each negative suppresses.
    offsets: (labels + negatives,) float32, same device: added to the logits; 0 for words alone.
    """

    names: tuple[str, ...]
    rows: Tensor
    suppresses: Tensor
    offsets: Tensor


def embed_labels(checkpoint: Checkpoint, labels: Mapping[str, LabelPrompts]) -> LabelEmbeddings:
    """Embed every label's prompts and negatives, keeping the mapping's order.

    Raises ConfigError on no labels, a label without prompts, and prompts that `embed` refuses.
    """
    if not labels:
        raise ConfigError("there are no labels; describe at least one sound")
    for name, label in labels.items():
        if not label.prompts:
            raise ConfigError(f"label {name!r} has no prompts; give it at least one")
    counts = [len(label.prompts) for label in labels.values()]
    prompts = [text for label in labels.values() for text in label.prompts]
    negatives = [text for label in labels.values() for text in label.negatives]
    suppresses = [i for i, label in enumerate(labels.values()) for _ in label.negatives]
    positive, negative = torch.split(
        embed(checkpoint, prompts + negatives), [len(prompts), len(negatives)]
    )
    means = [rows.mean(dim=0) for rows in torch.split(positive, counts)]
    rows = torch.cat([torch.stack(means), negative])
    return LabelEmbeddings(
        names=tuple(labels),
        rows=rows,
        suppresses=torch.tensor(suppresses, dtype=torch.int64, device=checkpoint.device),
        offsets=torch.zeros(len(rows), device=checkpoint.device),
    )


def label_embeddings(
    rows: NDArray[np.float32],
    suppresses: NDArray[np.int64],
    offsets: NDArray[np.float32],
    device: torch.device | str,
) -> LabelEmbeddings:
    """Labels that were embedded elsewhere, on that device; their names are numbers."""
    return LabelEmbeddings(
        names=tuple(str(i) for i in range(len(rows) - len(suppresses))),
        rows=torch.tensor(rows, device=device),
        suppresses=torch.tensor(suppresses, device=device),
        offsets=torch.tensor(offsets, device=device),
    )


def embed(checkpoint: Checkpoint, texts: Sequence[str]) -> Tensor:
    """Embed `texts` into the space of the audio frames: (n, D) float32 on the checkpoint's device.

    PE Audio's embedding of a text is its first token's state in the text tower's last layer,
    before any final norm, through the text head. Texts of equal length go in together and nothing
    is padded, so an embedding does not depend on its neighbours.

    Those of the last MOST_TEXTS texts are remembered.

    Raises ConfigError on a blank text, one with control characters, and one too long for the
    checkpoint; UnavailableError where the checkpoint's tokenizer fails.
    """
    # Other threads do the same: what one of them has just let go is embedded again.
    asked = {text: checkpoint.texts.get(text) for text in texts}
    known = {text: embedding for text, embedding in asked.items() if embedding is not None}
    new = [text for text in dict.fromkeys(texts) if text not in known]
    known.update(zip(new, _embed(checkpoint, new), strict=True))
    for text, embedding in known.items():  # to the end: the first is what was asked for longest ago
        checkpoint.texts.pop(text, None)
        checkpoint.texts[text] = embedding
    for text in list(checkpoint.texts)[:-MOST_TEXTS]:
        checkpoint.texts.pop(text, None)
    if not texts:
        return torch.empty(0, checkpoint.width, device=checkpoint.device)
    return torch.stack([known[text] for text in texts])


def probe(checkpoint: Checkpoint, text: str) -> Probe:
    """A text to compare frames, and what was kept of them, with; raises ConfigError as `embed`."""
    model = checkpoint.model
    (row,) = embed(checkpoint, [text]).cpu().numpy()
    scale, bias = model.text_audio_logit_scale.item(), model.text_audio_logit_bias.item()
    return Probe(row * np.float32(scale), bias, checkpoint.identity)


def compare(checkpoint: Checkpoint, embeddings: FrameEmbeddings, text: str) -> NDArray[np.float32]:
    """Score frames (frames, D) for any text: (frames,) in 0..1, as a label of that one prompt.

    Raises ConfigError as `embed`.
    """
    asked = probe(checkpoint, text)
    logits: NDArray[np.float32] = embeddings.astype(np.float32) @ asked.row + np.float32(asked.bias)
    scores: NDArray[np.float32] = np.nan_to_num(1 / (1 + np.exp(-logits.clip(-50, 50))))
    return scores


def text_states(checkpoint: Checkpoint, texts: Sequence[str]) -> dict[str, Tensor]:
    """What every head embeds of a text: by text, the state (H,) of its first token.

    Raises as `embed`.
    """
    return {
        texts[i]: state
        for chosen, states in _states(checkpoint, texts)
        for i, state in zip(chosen, states, strict=True)
    }


def _embed(checkpoint: Checkpoint, texts: Sequence[str]) -> Tensor:
    """Embed texts that are not known yet."""
    embeddings = torch.empty(len(texts), checkpoint.width, device=checkpoint.device)
    with torch.inference_mode():
        for chosen, states in _states(checkpoint, texts):
            embeddings[chosen] = checkpoint.tower.side().model.text_audio_head(states)
    return embeddings


@torch.inference_mode()
def _states(checkpoint: Checkpoint, texts: Sequence[str]) -> list[tuple[list[int], Tensor]]:
    """The texts of each length, as indices, and their states (n, H)."""
    tokens = [_tokenize(checkpoint, text) for text in texts]
    made = []
    for length in sorted(set(map(len, tokens))):
        chosen = [i for i, ids in enumerate(tokens) if len(ids) == length]
        ids = torch.tensor([tokens[i] for i in chosen], device=checkpoint.device)
        # Not get_text_audio_embeds(): it asks for hidden states it never requested.
        states = checkpoint.tower.side().model.text_model(input_ids=ids).last_hidden_state
        made.append((chosen, states[:, 0]))
    return made


def _tokenize(checkpoint: Checkpoint, text: str) -> list[int]:
    """Return the token ids of `text` with the special tokens around it."""
    if not text.strip():
        raise ConfigError("a prompt is empty; describe the sound in words")
    if has_control_characters(text):
        raise ConfigError(f"the prompt {text!r} has a control character: words only")
    if len(text) > LONGEST:
        raise ConfigError(f"a prompt has {len(text)} characters, more than {LONGEST}")
    text_config: Any = checkpoint.tower.side().model.config.text_config
    ids = tokenize(checkpoint.name, checkpoint.tokenizer, text, text_config.vocab_size)
    limit = min(checkpoint.tokenizer.model_max_length, text_config.max_position_embeddings)
    if len(ids) > limit:
        raise ConfigError(
            f"prompt {text!r} is too long for checkpoint {checkpoint.name!r}: "
            f"{len(ids)} tokens, {limit} at most"
        )
    return ids
