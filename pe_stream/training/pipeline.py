"""From a manifest to a checkpoint folder, stage by stage; each stage's result is kept.

Interrupted and called again, training goes on where it was: finished stages are read from
`OUT/work`, the one under way from its last saved state.
"""

from __future__ import annotations

import csv
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere
from transformers import PreTrainedTokenizerFast

from pe_stream import manifest
from pe_stream.errors import UnavailableError
from pe_stream.evaluation import promptset
from pe_stream.evaluation.yamnet import Classify
from pe_stream.manifest import Clip
from pe_stream.training import bank, concepts, encoder, frontend, opinions, shape, text
from pe_stream.training.concepts import Concept
from pe_stream.training.fit import Plan, fit
from pe_stream.training.mixtures import Batch, Mixer
from pe_stream.training.opinions import Opinions

log = logging.getLogger(__name__)

_STAGES = ("readout", "ideal", "joint")
"""Of the audio side, in their order."""

_OPINIONS = 4
"""Of another model, imitated in each step."""

_BIAS = -5.0
"""Of the logits to begin with: most sounds are absent most of the time."""


@dataclass(frozen=True)
class Recipe:
    """What to train on, and for how long (in steps).

    folds: of the manifest; everything where empty. every_licence: also clips that are not marked
    redistributable. variants: renderings of a clip. synthesised: instances of each made sound.
    opinions: mixtures of which a listening teacher is asked what it hears, where there is one.
    """

    folds: tuple[str, ...] = ()
    every_licence: bool = False
    variants: int = 5
    synthesised: int = 60
    opinions: int = 18_000
    corpus: int = 100_000
    text_steps: int = 9000
    readout_steps: int = 900
    ideal_steps: int = 12_000
    joint_steps: int = 5000
    seed: int = 0


def clips_for(recipe: Recipe, data: Path) -> list[Clip]:
    """The clips of the manifest in `data` to train on.

    Raises UnavailableError where there is no manifest, or none of its clips may be used.
    """
    clips = manifest.without_doubles(manifest.of_folds(manifest.read(data), recipe.folds))
    if not recipe.every_licence:
        clips = [clip for clip in clips if clip.redistributable]
    if not clips:
        raise UnavailableError(
            f"{data}: none of these clips is marked redistributable; "
            "--every-licence takes the others too"
        )
    return clips


def of_concepts(clips: Sequence[Clip], known: Sequence[Concept]) -> list[Clip]:
    """Those of `clips` whose label is a concept's; the others are named in the log.

    Raises UnavailableError where none is left.
    """
    labels = {label for concept in known for label in concept.labels}
    strange = Counter(clip.label for clip in clips if clip.label not in labels)
    if strange:
        named = ", ".join(f"{label!r} ({count})" for label, count in strange.most_common(5))
        log.warning("%d clips left out: phrases.yaml has no such label: %s", strange.total(), named)
    if strange.total() == len(clips):
        raise UnavailableError("no clip has a label that phrases.yaml knows")
    return [clip for clip in clips if clip.label in labels]


def unseen_phrasings() -> list[str]:
    """The phrasings that evaluation keeps for itself."""
    sets = [*promptset.shipped("everyday"), *promptset.shipped("esc50")]
    return [phrasing for label in sets for phrasing in label.unseen]


class Trainer:
    """Trains by a `Recipe` in the folder `out`."""

    def __init__(self, recipe: Recipe, out: Path, device: torch.device) -> None:
        self._recipe = recipe
        self._work = out / "work"
        self._device = device
        self.concepts = concepts.read(without=unseen_phrasings())
        self.model = shape.new_model(recipe.seed, device)
        for weight in self.model.parameters():
            weight.requires_grad_(False)
        torch.nn.init.constant_(self.model.text_audio_logit_scale, encoder.SCALE)
        torch.nn.init.constant_(self.model.text_audio_logit_bias, _BIAS)
        frontend.build(self.model.audio_encoder.embedder.dac_encoder)
        self._work.mkdir(parents=True, exist_ok=True)

    def text_tower(self) -> PreTrainedTokenizerFast:
        """Teach the text tower; returns its tokenizer."""
        recipe, folder = self._recipe, self._work / "text"
        if self._done("text"):
            finished: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
            return finished
        teacher = text.minilm(self._device)
        texts = concepts.corpus(self.concepts, teacher.words, recipe.corpus, recipe.seed)
        log.info("%d texts; their teacher's vectors take some minutes", len(texts))
        vectors = self._kept("vectors", lambda: teacher.encode(texts))
        space = text.Space.of(self.concepts, teacher.encode)
        tokenizer = text.tokenizer_for(texts)
        # The phrasings themselves are a fifth of the lessons.
        own = {phrasing for concept in self.concepts for phrasing in concept.phrasings}
        index = [i for i, line in enumerate(texts) if line in own]
        index = [*range(len(texts)), *(index * max(1, len(texts) // (4 * len(index))))]
        lessons = text.Lessons(
            tokenizer, [texts[i] for i in index], space.targets(vectors)[index], recipe.seed
        )
        fit(
            lessons.batch,
            lambda lesson: text.loss(self.model, lesson),
            [text.weights(self.model)],
            Plan(recipe.text_steps, (2e-3,), decay=0.01, average=0.998, bf16=False),
            self._work / "text.state.pt",
            device=self._device,
            report=_Report("text", recipe.text_steps),
        )
        found = self._found_again(tokenizer)
        log.info(
            "text: %.0f %% of the phrasings held out are nearest to their concept", 100 * found
        )
        tokenizer.save_pretrained(folder)
        self._finish("text")
        return tokenizer

    def _found_again(self, tokenizer: PreTrainedTokenizerFast) -> float:
        kept = concepts.held_out(self.concepts)
        with torch.no_grad():
            plain = [concept.plain for concept in self.concepts]
            rows = text.embed(self.model, tokenizer, [*kept.values(), *plain])
        names = [concept.name for concept in self.concepts]
        return text.retrieval(rows[: len(kept)], list(kept), rows[len(kept) :], names)

    def finished(self) -> bool:
        """Whether every stage was finished before; the model is then as the last one left it."""
        return self._done(_STAGES[-1])

    def sounds(self, data: Path, clips: Sequence[Clip]) -> list[bank.Sound]:
        """The sounds to mix: `clips`, with the teacher outputs beside them, and made ones."""
        files = sorted(data.glob("teacher_*.npz"))
        table = data / "audioset_classes.csv"
        classes: list[str] = []
        if table.exists():
            with table.open(encoding="utf-8", newline="") as lines:
                classes = [row["display_name"] for row in csv.DictReader(lines)]
        by_window = [file for file in files if "clip" not in file.name] if classes else []
        teacher = bank.Teacher(by_window, classes, self.concepts)
        renderer = bank.Renderer(self._recipe.variants, self._recipe.seed)
        report = _Report("sounds", None)
        return bank.collect(
            clips,
            self.concepts,
            teacher,
            renderer,
            synthesised=self._recipe.synthesised,
            seed=self._recipe.seed,
            progress=lambda count: report(count, 0.0),
        )

    def read_out(self, mixer: Mixer) -> None:
        """Teach the codec's read-out the features that the filterbank's outputs define."""

        def imitation(batch: Batch) -> Tensor:
            outputs = batch.outputs.to(self._device)
            return F.mse_loss(encoder.read_out(self.model, outputs), frontend.features(outputs))

        if not self._done("readout"):
            examples = (mixer.batch(number).outputs.to(self._device) for number in range(24))
            frontend.solve_read_out(self.model.audio_encoder.embedder, examples)
        weights = [encoder.read_out_weights(self.model)]
        plan = Plan(self._recipe.readout_steps, (6e-4,), decay=0.0, average=0.99, bf16=False)
        self._stage("readout", plan, mixer, imitation, weights)

    def opinions(self, clips: Sequence[Clip], classify: Classify) -> Opinions:
        """What `classify` makes of mixtures of `clips` and made sounds."""

        def make() -> Opinions:
            renderer = bank.Renderer(1, self._recipe.seed)
            listener = opinions.Listener(clips, classify, renderer)
            report = _Report("opinions", self._recipe.opinions)
            return listener.collect(
                self._recipe.opinions, self._recipe.seed, lambda count: report(count - 1, 0.0)
            )

        return opinions.kept(self._work / "opinions.pt", make)

    def encoder(
        self, mixer: Mixer, tokenizer: PreTrainedTokenizerFast, heard: Opinions | None
    ) -> None:
        """Teach the encoder to hear: on ideal features, then together with the read-out.

        heard: another model's opinions, to imitate besides.
        """
        recipe, model = self._recipe, self.model
        prompts = _Prompts(model, tokenizer, self.concepts, recipe.seed)
        read_out, rest = encoder.read_out_weights(model), encoder.encoder_weights(model)
        # Only while training: the teachers' classes from the encoder's frames.
        width = model.audio_encoder.config.hidden_size
        imitate = torch.nn.Linear(width, max(1, mixer.classes), device=self._device)
        agree = torch.nn.Linear(width, heard.classes if heard else 1, device=self._device)

        def disagreement(features: Callable[[Tensor], Tensor], number: int) -> Tensor | float:
            if heard is None:
                return 0.0
            outputs, wanted = heard.batch(number, _OPINIONS, recipe.seed)
            frames = encoder.hear(model, features(outputs.to(self._device)))
            return encoder.disagreement(agree(frames), wanted.to(self._device))

        def hearing(features: Callable[[Tensor], Tensor]) -> Callable[[Batch], Tensor]:
            def loss(batch: Batch) -> Tensor:
                batch = batch.to(self._device)
                frames = encoder.hear(model, features(batch.outputs))
                embeddings = model.audio_head(frames)
                own = encoder.losses(
                    embeddings.float(),
                    prompts.draw(batch.number),
                    model.text_audio_logit_bias,
                    batch,
                    choices=prompts.labelled,
                    imitation=imitate(frames).float(),
                )
                return own.total + disagreement(features, batch.number)

            return loss

        def from_codec(outputs: Tensor) -> Tensor:
            return encoder.read_out(model, outputs)

        rest += [model.text_audio_logit_bias, *imitate.parameters(), *agree.parameters()]
        if not self._done("ideal"):
            examples = [mixer.batch(number).outputs.to(self._device) for number in range(24)]
            seen = torch.cat([frontend.features(outputs).flatten(0, 1) for outputs in examples])
            encoder.whiten(model, seen)
        features = hearing(frontend.features), hearing(from_codec)
        self._stage("ideal", Plan(recipe.ideal_steps, (5e-4,)), mixer, features[0], [rest])
        self._keep(torch.nn.ModuleList([imitate, agree]), self._work / "heads.pt")
        joint = Plan(recipe.joint_steps, (5e-4, 1e-4))
        self._stage("joint", joint, mixer, features[1], [rest, read_out])

    def _stage(
        self,
        name: str,
        plan: Plan,
        mixer: Mixer,
        loss: Callable[[Batch], Tensor],
        groups: list[list[torch.nn.Parameter]],
    ) -> None:
        if self._done(name):
            return
        # Every stage has examples of its own.
        first = 10**6 * (1 + _STAGES.index(name))
        fit(
            lambda number: mixer.batch(first + number),
            loss,
            groups,
            plan,
            self._work / f"{name}.state.pt",
            device=self._device,
            report=_Report(name, plan.steps),
        )
        self._finish(name)

    @staticmethod
    def _keep(module: torch.nn.Module, path: Path) -> None:
        """What is not the model's, and is gone on with: from `path`, or saved there."""
        if path.exists():
            module.load_state_dict(torch.load(path, weights_only=True))
        else:
            torch.save(module.state_dict(), path)

    def _kept(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        path = self._work / f"{name}.pt"
        if path.exists():
            kept: Tensor = torch.load(path, weights_only=True)
            return kept
        made = make()
        torch.save(made, path)
        return made

    def _done(self, name: str) -> bool:
        """Take the model as stage `name` left it, if it was finished before."""
        path = self._work / f"{name}.pt"
        if not path.exists():
            return False
        self.model.load_state_dict(torch.load(path, map_location=self._device, weights_only=True))
        return True

    def _finish(self, name: str) -> None:
        part = self._work / f"{name}.part"
        torch.save(self.model.state_dict(), part)
        part.replace(self._work / f"{name}.pt")
        (self._work / f"{name}.state.pt").unlink(missing_ok=True)


class _Prompts:
    """Embeddings of all phrasings, of which each step draws one for each concept."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerFast,
        known: Sequence[Concept],
        seed: int,
    ) -> None:
        texts = [phrasing for concept in known for phrasing in concept.phrasings]
        with torch.no_grad():
            self._rows = text.embed(model, tokenizer, texts)
        self._counts = torch.tensor([len(concept.phrasings) for concept in known])
        self._starts = self._counts.cumsum(0) - self._counts
        self._seed = seed
        labelled = [i for i, concept in enumerate(known) if concept.labels]
        self.labelled = torch.tensor(labelled, device=self._rows.device)

    def draw(self, number: int) -> Tensor:
        """(C, D): of each concept the plain prompt, four times in ten, or any phrasing of it.

        Always the same for the batch of one `number`.
        """
        generator = torch.Generator().manual_seed(hash((self._seed, number)))
        other = (torch.rand(len(self._counts), generator=generator) * self._counts).long()
        plain = torch.rand(len(self._counts), generator=generator) < 0.4
        return self._rows[self._starts + torch.where(plain, 0, other)]


class _Report:
    """Says how far a stage is, every ten seconds, with the mean loss since it last did."""

    def __init__(self, stage: str, steps: int | None) -> None:
        self._stage = stage
        self._steps = steps
        self._sum = 0.0
        self._count = 0
        self._last = time.monotonic()

    def __call__(self, step: int, loss: float) -> None:
        self._sum += loss
        self._count += 1
        if time.monotonic() - self._last < 10 and step + 1 != self._steps:
            return
        of = f" of {self._steps}" if self._steps else ""
        each = (time.monotonic() - self._last) / self._count
        mean = self._sum / self._count
        log.info("%s: %d%s, loss %.4f, %.2f s each", self._stage, step + 1, of, mean, each)
        self._sum, self._count, self._last = 0.0, 0, time.monotonic()
