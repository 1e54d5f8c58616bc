"""How far what is learned agrees with the teacher, on mixtures that were not trained on.

By texts, as a user asks; and by a linear head of the teacher's classes on the same frames, which
no text holds back: what is lost between the two is the texts' fault.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from pe_stream.workbench.training import encoder, text
from pe_stream.workbench.training.batches import Batches
from pe_stream.workbench.training.learned import Learned
from pe_stream.workbench.training.mixture import FRAMES
from pe_stream.workbench.training.shards import HOP_FRAMES

_LEAST = 20
"""Mixtures, with fewer of which nothing is said."""

_WORST = 8
"""Classes that the card names."""

_TINY = 1e-6
_FILE = "agreement.json"


@torch.no_grad()
def measured(
    learned: Learned,
    tokenizer: PreTrainedTokenizerFast,
    batches: Batches,
    phrasings: Mapping[str, str],
) -> dict[str, list[float]]:
    """Correlations with the teacher's logits of each second, by class: [by text, by a free head].

    phrasings: of each of the teacher's classes, in the order of its logits, the text it is asked
    for by. Empty where there is no teacher, or hardly any mixture to tell from; without classes
    that never change.
    """
    held, classes = batches.held_out, [*phrasings]
    if len(held) < _LEAST or not classes:
        return {}
    model = learned.model
    rows = text.embed(model, tokenizer, [*phrasings.values()]).float()
    taught, by_text, free = [], [], []
    for number in held:
        batch = batches.whole(number).to(rows.device)
        frames = encoder.hear(model, encoder.read_out(model, batch.outputs)).float()
        logits = encoder.SCALE * model.audio_head(frames) @ rows.T + model.text_audio_logit_bias
        seconds = (FRAMES // HOP_FRAMES, HOP_FRAMES)
        present = logits[0].unflatten(0, seconds).sigmoid().mean(1).clamp(_TINY, 1 - _TINY)
        by_text.append(present.logit())
        free.append(learned.free(frames[0].unflatten(0, seconds).mean(1))[:, : len(classes)])
        taught.append(batch.taught[0, :, : len(classes)])
    wanted = torch.cat(taught)
    found = zip(
        classes,
        _correlations(torch.cat(by_text), wanted),
        _correlations(torch.cat(free), wanted),
        strict=True,
    )
    # A class whose logit is always the same has none.
    return {n: [round(a, 3), round(b, 3)] for n, a, b in found if math.isfinite(a + b)}


def save(folder: Path, found: Mapping[str, Sequence[float]]) -> None:
    """Keep what was measured in a training's working folder."""
    (folder / _FILE).write_text(json.dumps(found), "utf-8")


def read(folder: Path) -> dict[str, list[float]]:
    """What was kept there; nothing where an older version trained."""
    path = folder / _FILE
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def as_text(found: Mapping[str, Sequence[float]]) -> str:
    """For the card; empty where nothing was measured."""
    if not found:
        return ""
    by_text, free = (torch.tensor([pair[n] for pair in found.values()]) for n in (0, 1))
    behind = sorted(found, key=lambda name: found[name][0] - found[name][1])[:_WORST]
    told = ", ".join(f"{name} {found[name][0]:.2f} ({found[name][1]:.2f})" for name in behind)
    return (
        "On mixtures that were not trained on, its scores correlate with the teacher's logits"
        f" (median of {len(found)} classes) at {by_text.median():.2f} where it is asked by text,"
        f" and at {free.median():.2f} by a linear head on the same frames. Texts are furthest"
        f" behind for: {told}."
    )


def _correlations(found: Tensor, wanted: Tensor) -> list[float]:
    """Pearson's, column by column, of (n, K) and (n, K)."""
    a, b = (x.double() - x.double().mean(0) for x in (found, wanted))
    values: list[float] = ((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).tolist()
    return values
