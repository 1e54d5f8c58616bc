"""`pe-stream train`: a manifest of labelled audio to a checkpoint folder."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training import (
    agreement,
    calibration,
    card,
    codec_error,
    concepts,
    group,
    teachers,
    text,
)
from pe_stream.workbench.training.export import save
from pe_stream.workbench.training.group import Group
from pe_stream.workbench.training.options import TrainOptions
from pe_stream.workbench.training.pipeline import Trainer
from pe_stream.workbench.training.recipe import Recipe, clips_for, of_concepts

log = logging.getLogger(__name__)

EMBEDDED = Path(__file__).with_name("embedded.yaml")
"""The recipe of the checkpoint that comes with the package."""


def run(options: TrainOptions) -> int:
    """Train, or go on; returns the exit code.

    Raises UnavailableError on missing data or packages, ConfigError on a wrong recipe and on one
    that is not the one training began with.
    """
    logging.getLogger("pe_stream").setLevel(logging.INFO)
    recipe = _recipe(options)
    device = _device(options.device)
    if options.threads:
        torch.set_num_threads(options.threads)
    text.require()
    clips = of_concepts(clips_for(recipe, (options.data, *options.more)), concepts.read())
    teacher = teachers.load(options.teacher)
    scenes = calibration.scenes(options.calibrate) if options.calibrate else None
    _remember(options, recipe)
    processes = 1 if device.type == "cuda" else torch.get_num_threads()
    meet = options.out / "work" / "meet"
    group.run(processes, meet, _train, options, recipe, device, clips)
    if scenes is not None:
        calibration.calibrate(options.out, scenes, options.device, options.threads)
    made = {
        **dataclasses.asdict(recipe),
        "calibrated": scenes is not None,
        "teacher": teacher.name,
    }
    errors = codec_error.measured(options.out, clips)
    card.write(options.out, made, clips, errors, agreement.read(options.out / "work"))
    print(options.out)
    return 0


def _train(
    own: Group,
    options: TrainOptions,
    recipe: Recipe,
    device: torch.device,
    clips: Sequence[Clip],
) -> None:
    """What every process of the group does; the first writes the checkpoint."""
    trainer = Trainer(recipe, options.out, device, options.teacher, own)
    tokenizer = trainer.train(lambda: trainer.mixtures(clips))
    if own.first:
        save(trainer.model, tokenizer, options.out)


def _recipe(options: TrainOptions) -> Recipe:
    given: Any = {}
    if options.recipe is not None:
        path = EMBEDDED if options.recipe == EMBEDDED.stem else Path(options.recipe)
        try:
            given = yaml.safe_load(path.read_text("utf-8")) or {}
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{options.recipe}: {error}") from error
    known = {field.name: field for field in dataclasses.fields(Recipe)}
    if not isinstance(given, dict):
        raise ConfigError(f"{options.recipe}: not a mapping; known keys: {', '.join(known)}")
    for key, value in given.items():
        if key not in known or key in {"folds", "every_licence"}:
            steps = [name for name in known if name not in {"folds", "every_licence"}]
            raise ConfigError(f"{options.recipe}: unknown key {key!r}; known: {', '.join(steps)}")
        if key == "start":
            if not isinstance(value, str):
                raise ConfigError(f"{options.recipe}: start: not a checkpoint: {value!r}")
            continue
        least = 0 if key == "seed" else 1
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(
                f"{options.recipe}: {key}: not a whole number from {least}: {value!r}"
            )
    return Recipe(folds=options.folds, every_licence=options.every_licence, **given)


def _remember(options: TrainOptions, recipe: Recipe) -> None:
    """Refuse to go on in OUT with another recipe than it was begun with."""
    now = {
        **dataclasses.asdict(recipe),
        "folds": list(recipe.folds),
        "data": [str(data.resolve()) for data in (options.data, *options.more)],
        "teacher": options.teacher is not None,
    }
    path = options.out / "work" / "recipe.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            before = dict(json.loads(path.read_text("utf-8")))
            changed = sorted(key for key in now if before.get(key) != now[key])
            if changed:
                raise ConfigError(
                    f"{options.out} was begun with another {', '.join(changed)}: "
                    "go on with the same, or choose another folder"
                )
            log.info("going on in %s", options.out)
            return
        path.write_text(json.dumps(now, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise UnavailableError(f"{options.out}: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise UnavailableError(f"{path}: damaged: {error}") from error


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise UnavailableError(f"device {name!r} is not available") from error
    return device
