"""From manifests to a checkpoint folder, stage by stage; each stage's result is kept.

Interrupted and called again, training goes on where it was: finished stages are read from
`OUT/work`, the one under way from its last saved state.

    clips      decode what there is to train on
    mixtures   mix it, and ask the teacher what it hears
    ideal      teach the encoder, and the head of the texts, on ideal features
    text       teach the text tower what head and sentence encoder do together
    joint      teach encoder and text tower together, on the codec's own features
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everywhere
from transformers import PreTrainedTokenizerFast

from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training import (
    agreement,
    concepts,
    encoder,
    frontend,
    recordings,
    shape,
    shards,
    teachers,
    text,
)
from pe_stream.workbench.training.batches import Batch, Batches
from pe_stream.workbench.training.fit import Plan, fit
from pe_stream.workbench.training.group import Group
from pe_stream.workbench.training.learned import Learned, Words
from pe_stream.workbench.training.progress import Progress
from pe_stream.workbench.training.recipe import Recipe, unseen_phrasings
from pe_stream.workbench.training.shards import Shards
from pe_stream.workbench.training.start import Start
from pe_stream.workbench.training.wordings import Wordings

log = logging.getLogger(__name__)

_STAGES = ("ideal", "text", "joint")
"""Stages of the model, in their order."""

_BIAS = -5.0
"""Initial bias of the logits: most sounds are absent most of the time."""

_BY_TOWER = 96
"""Texts whose vectors come from the text tower itself in a step of the last stage."""

_LESSON = 2.0
"""How much it counts there that the tower keeps what it was taught."""


class Trainer:
    """Trains by a `Recipe` in the folder `out`, with a teacher if there is one."""

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        device: torch.device,
        teacher: Path | None,
        group: Group | None = None,
    ) -> None:
        self._recipe = recipe
        self._work = out / "work"
        self._device = device
        self._teacher = teacher
        self._group = group or Group()
        self._start = None if recipe.start is None else Start(recipe.start)
        self.concepts = concepts.read(without=unseen_phrasings(), most=recipe.phrasings)
        self._classes = teachers.classes(teacher)
        self.model = shape.new_model(recipe.seed, device)
        for weight in self.model.parameters():
            weight.requires_grad_(False)
        nn.init.constant_(self.model.text_audio_logit_scale, encoder.SCALE)
        nn.init.constant_(self.model.text_audio_logit_bias, _BIAS)
        frontend.build(self.model.audio_encoder.embedder)
        self._work.mkdir(parents=True, exist_ok=True)

    def finished(self) -> bool:
        """Whether every stage was finished before; the model is then as the last one left it."""
        return self._done(_STAGES[-1])

    def mixtures(self, clips: Sequence[Clip]) -> Shards:
        """What there is to hear: mixtures of clips and made sounds, with the teacher's answers."""
        if self._group.first:
            report = Progress("clips", len(clips))
            recordings.decode(clips, self._work / "clips", lambda count: report(count, 0.0))
        self._group.wait()
        concept_of = {label: c.name for c in self.concepts for label in c.labels}
        job = shards.Job(
            self._work / "clips",
            self._work / "mixtures",
            self._teacher,
            self._recipe.seed,
            concept_of,
        )
        if self._group.first:
            report = Progress("mixtures", self._recipe.mixtures)
            # Where a GPU trains, this process is alone, and the CPUs are free.
            processes = max(self._group.size, torch.get_num_threads())
            shards.make(job, self._recipe.mixtures, processes, lambda n: report(n - 1, 0.0))
        self._group.wait()
        return shards.read(job)

    def train(self, make: Callable[[], Shards]) -> PreTrainedTokenizerFast:
        """All stages, on what `make` gives; returns the text tower's tokenizer."""
        if self.finished():
            kept: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
                self._work / "text", local_files_only=True, trust_remote_code=False
            )
            return kept
        recipe, mixtures = self._recipe, make()
        batches = Batches(
            mixtures, self.concepts, self._classes, frames=recipe.frames, seed=recipe.seed
        )
        words = self._words()
        learned = Learned(self.model, words, batches, mixtures).to(self._device)
        self._ideal(learned, words, batches)
        tokenizer = self._tower(learned, words)
        # It is never learned; but the stages done may have been those of a version with another.
        frontend.build(self.model.audio_encoder.embedder)
        self._joint(learned, words, batches, tokenizer)
        if self._group.first:
            rows = words.wordings.starts[: len(self._classes)].tolist()
            plain = dict(zip(self._classes, (words.texts[n] for n in rows), strict=True))
            agreement.save(self._work, agreement.measured(learned, tokenizer, batches, plain))
        return tokenizer

    def _words(self) -> Words:
        """The texts that stand for classes and concepts, by the sentence encoder."""
        phrasings = [
            *concepts.class_phrasings(self._classes, most=self._recipe.phrasings),
            *(concept.phrasings for concept in self.concepts),
        ]
        texts = [text for some in phrasings for text in some]
        vectors = self._vectors("wordings.pt", texts, lambda: text.minilm(self._device))
        return Words(Wordings.of(vectors.to(self._device), [*map(len, phrasings)]), texts)

    def _vectors(
        self, name: str, texts: list[str], teacher: Callable[[], text.SentenceEncoder]
    ) -> Tensor:
        """The sentence encoder's vectors of `texts`, made by the first process and kept.

        All processes come here and wait, or the next that they wait for would be another.
        """
        path = self._work / name
        if self._group.first and not (path.exists() and _load(path).get("texts") == texts):
            _save({"texts": texts, "vectors": teacher().encode(texts)}, path)
        self._group.wait()
        vectors: Tensor = _load(path)["vectors"]
        return vectors

    def _ideal(self, learned: Learned, words: Words, batches: Batches) -> None:
        """Teach encoder and head of the texts, on the features that the codec approximates."""
        if not self._done("ideal"):
            if self._start is not None:
                self._start.begin(self.model)
                if self._start.has_texts(self.model):
                    self._start.begin_head(learned.head, words, self.model)
            else:
                examples = [batches.batch(number).outputs.to(self._device) for number in range(24)]
                seen = torch.cat([frontend.features(some).flatten(0, 1) for some in examples])
                encoder.whiten(self.model, seen)

        def loss(batch: Batch) -> Tensor:
            batch = batch.to(self._device)
            texts = learned.head.draw(words.wordings, batch.number, self._recipe.seed)
            return learned.loss(batch, frontend.features(batch.outputs), texts).total

        plan = Plan(self._recipe.ideal_steps, (8e-4, 8e-4), average=0.9995, hold=0.7)
        groups = [learned.encoder_weights(), learned.own_weights()]
        self._stage("ideal", plan, batches.batch, loss, groups=groups, learned=learned)

    def _tower(self, learned: Learned, words: Words) -> PreTrainedTokenizerFast:
        """Teach the text tower; returns its tokenizer."""
        recipe, folder = self._recipe, self._work / "text"
        if self._done("text", learned):
            finished: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
            return finished
        lessons, tokenizer = self._lessons(learned, words)
        plan = Plan(recipe.text_steps, (2e-3,), decay=0.01, average=0.998, bf16=False)
        groups = [text.weights(self.model)]
        if self._group.first:
            tokenizer.save_pretrained(folder)
        self._stage(
            "text",
            plan,
            lessons.batch,
            lambda x: text.loss(self.model, x),
            groups=groups,
            learned=learned,
        )
        self._validate(tokenizer)
        return tokenizer

    def _validate(self, tokenizer: PreTrainedTokenizerFast) -> None:
        """Say how well the tower places the phrasings held out, if there are any."""
        kept = concepts.held_out(self.concepts)
        if not kept:
            return
        with torch.no_grad():
            plain = [concept.plain for concept in self.concepts]
            rows = text.embed(self.model, tokenizer, [*kept.values(), *plain])
        names = [concept.name for concept in self.concepts]
        found = text.retrieval(rows[: len(kept)], list(kept), rows[len(kept) :], names)
        log.info(
            "text: %.0f %% of the phrasings held out are nearest to their concept", 100 * found
        )

    def _lessons(
        self, learned: Learned, words: Words
    ) -> tuple[text.TextBatches, PreTrainedTokenizerFast]:
        """What the text tower is taught: texts, and where the trained head places them."""
        recipe = self._recipe
        teacher = text.minilm(self._device)
        texts = concepts.corpus(
            self.concepts, words.texts, teacher.words, recipe.corpus, recipe.seed
        )
        log.info("%d texts; the sentence encoder's vectors take some minutes", len(texts))
        vectors = self._vectors("vectors.pt", texts, lambda: teacher)
        targets = text.targets(learned.head, words.wordings, vectors)
        out = set(concepts.held_out(self.concepts).values())
        own = [i for i, line in enumerate(words.texts) if line not in out]
        placed = text.own_targets(learned.head, words.wordings)
        # The phrasings themselves are a fifth of the lessons.
        often = max(1, len(texts) // (4 * len(own)))
        if self._start is not None and self._start.has_texts(self.model):
            tokenizer = self._start.tokenizer()
        else:
            tokenizer = text.tokenizer_for([*texts, *words.texts])
        return text.TextBatches(
            tokenizer,
            [*texts, *([words.texts[i] for i in own] * often)],
            torch.cat([targets, *([placed[own]] * often)]),
            recipe.seed,
        ), tokenizer

    def _joint(
        self,
        learned: Learned,
        words: Words,
        batches: Batches,
        tokenizer: PreTrainedTokenizerFast,
    ) -> None:
        """Teach everything together, as it is used: codec features, texts by the tower."""
        seed = self._recipe.seed

        def loss(batch: Batch) -> Tensor:
            batch = batch.to(self._device)
            texts = learned.head.draw(words.wordings, batch.number, seed)
            generator = torch.Generator().manual_seed(hash((seed, batch.number, 2)))
            some = torch.randperm(len(texts), generator=generator)[:_BY_TOWER]
            picks = words.wordings.picks(batch.number, seed)[some]
            rows = text.embed(self.model, tokenizer, [words.texts[i] for i in picks.tolist()])
            kept = F.mse_loss(rows.float(), texts[some].detach())
            texts = texts.index_copy(0, some.to(texts.device), rows.float())
            features = encoder.read_out(self.model, batch.outputs)
            return learned.loss(batch, features, texts).total + _LESSON * kept

        plan = Plan(self._recipe.joint_steps, (3e-4, 3e-4, 2e-4), average=0.9995, hold=0.3)
        groups = [
            learned.encoder_weights(),
            learned.own_weights(),
            text.weights(self.model),
        ]
        self._stage("joint", plan, batches.batch, loss, groups=groups, learned=learned)

    def _stage(
        self,
        name: str,
        plan: Plan,
        batch: Callable[[int], Any],
        loss: Callable[[Any], Tensor],
        *,
        groups: list[list[nn.Parameter]],
        learned: Learned | None = None,
    ) -> None:
        if self._done(name, learned):
            self._group.wait()  # for the first, if it has just finished what had been saved last
            return
        # Every stage has examples of its own.
        first = 10**7 * (1 + _STAGES.index(name))
        fit(
            lambda number: batch(first + number),
            loss,
            groups,
            plan,
            self._work / f"{name}.state.pt",
            device=self._device,
            report=Progress(name, plan.steps),
            group=self._group,
        )
        if self._group.first:
            self._finish(name, learned)
        self._group.wait()

    def _done(self, name: str, learned: Learned | None = None) -> bool:
        """Take the model as stage `name` left it, if it was finished before."""
        path = self._work / f"{name}.pt"
        if not path.exists():
            return False
        kept = torch.load(path, map_location=self._device, weights_only=True)
        self.model.load_state_dict(kept["model"])
        if learned is not None:
            learned.load_state_dict(kept["learned"])
        return True

    def _finish(self, name: str, learned: Learned | None) -> None:
        state = learned.state_dict() if learned is not None else None
        _save({"model": self.model.state_dict(), "learned": state}, self._work / f"{name}.pt")
        (self._work / f"{name}.state.pt").unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any]:
    kept = torch.load(path, weights_only=True)
    return kept if isinstance(kept, dict) else {}


def _save(what: Any, path: Path) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(what, part)
    part.replace(path)
