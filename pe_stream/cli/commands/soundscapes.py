"""`pe-stream soundscapes`: labelled clips to soundscapes with known onsets and offsets."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

import numpy as np
from tqdm import tqdm

from pe_stream.audio.synthesis import SOUNDS
from pe_stream.cli.options import SoundscapesOptions
from pe_stream.core.types import SAMPLE_RATE
from pe_stream.errors import UnavailableError, UsageError
from pe_stream.workbench import manifest
from pe_stream.workbench.evaluation import promptset
from pe_stream.workbench.evaluation.options import SetName
from pe_stream.workbench.soundscapes import everyday, folder, smoke_alarm
from pe_stream.workbench.soundscapes.sources import SoundLibrary

_COMPOSERS = {
    "everyday": everyday.compose,
    "smoke-alarm": smoke_alarm.compose,
    "smoke-alarm-music": smoke_alarm.over_music,
}

ALL = "all"
"""`--synthesised all`: every label that there is a formula of."""

_SHORTEST_S, _LONGEST_S = 1.0, 3600.0


def run(options: SoundscapesOptions) -> int:
    """Fill the folder `out`, all or nothing, and print what it holds; returns the exit code.

    Soundscape n depends on the manifest, the options and n alone, not on how many there are.
    Raises UsageError or UnavailableError.
    """
    _refuse_nonsense(options)
    _refuse_full(options.out)
    folders = (options.manifest, *options.also)
    clips = [manifest.first_label(clip) for each in folders for clip in manifest.read(each)]
    clips = manifest.of_folds(clips, options.folds)
    clips = manifest.of_part(manifest.without_doubles(clips), *options.part)
    made = _made(options.synthesised)
    if options.scene != "everyday":
        made = {*made, *smoke_alarm.COUNTER_EXAMPLES}
    wanted, related = _wanted(options.labels_from)
    behind = _behind(options.backgrounds, clips)
    sources = SoundLibrary(clips, made, wanted, related, behind)
    compose = _COMPOSERS[options.scene]
    rows: list[folder.Row] = []
    with _becoming(options.out) as made_folder:
        for index in tqdm(range(options.count), unit="file", disable=None, leave=False):
            rng = np.random.default_rng([options.seed, index])
            soundscape = compose(rng, index, sources, options.seconds, options.snr_db)
            rows += folder.add(made_folder, index, soundscape, "+".join(options.folds))
        folder.write_manifest(made_folder, rows)
    empty = sum(not row["label"] for row in rows)
    hours = options.count * round(options.seconds * SAMPLE_RATE) / SAMPLE_RATE / 3600
    print(
        f"{options.out}: {options.count} files, {hours:.2f} h,"
        f" {len(rows) - empty} events, {empty} files without any"
    )
    return 0


def _refuse_nonsense(options: SoundscapesOptions) -> None:
    low, high = options.snr_db
    if options.count < 1:
        raise UsageError(f"--count {options.count}: there should be at least one soundscape")
    if not _SHORTEST_S <= options.seconds <= _LONGEST_S:
        raise UsageError(
            f"--seconds {options.seconds:g}: give {_SHORTEST_S:g} to {_LONGEST_S:g} seconds"
        )
    if options.seed < 0:
        raise UsageError(f"--seed {options.seed}: give 0 or more")
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UsageError(f"--snr {low:g} {high:g}: give the lower figure (dB) first")
    if options.scene != "everyday" and (options.labels_from or options.synthesised):
        raise UsageError(
            f"--scene {options.scene} chooses its sounds: no --labels-from, --synthesised"
        )


def _refuse_full(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: this is a file; give a folder to make")
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(f"{out}: there is something in it; give a new folder or an empty one")


def _made(names: Sequence[str]) -> set[str]:
    """Labels of SOUNDS, of names that may have underscores for spaces."""
    labels = {name.replace("_", " ") for name in names}
    if labels == {ALL}:
        return set(SOUNDS)
    for label in sorted(labels - SOUNDS.keys()):
        near = get_close_matches(label, SOUNDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(SOUNDS))}"
        raise UsageError(f"--synthesised: no formula for {label!r}: {hint}")
    return labels


def _behind(names: Sequence[str], clips: Sequence[manifest.Clip]) -> set[str]:
    """Labels of clips, of names that may have underscores for spaces."""
    labels = {name.replace("_", " ") for name in names}
    known = {clip.label for clip in clips}
    for label in sorted(labels - known):
        near = get_close_matches(label, known, n=1)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"--background: there is no clip of {label!r}{hint}")
    return labels


def _wanted(sets: Sequence[str]) -> tuple[set[str], set[str]]:
    """The manifest labels that prompt sets ask for, and those they call related.

    The sets are those that come with the package, or files.
    """
    wanted: set[str] = set()
    related: set[str] = set()
    for name in sets:
        shipped = next((known for known in get_args(SetName) if known == name), None)
        labels = promptset.shipped(shipped) if shipped else promptset.from_file(Path(name))
        wanted |= {sound for label in labels for sound in label.sounds}
        related |= {sound for label in labels for sound in label.related}
    return wanted, related


@contextmanager
def _becoming(out: Path) -> Iterator[Path]:
    """An empty folder that is `out` once all has gone well, and else is gone."""
    out = out.resolve()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as near:
            made = Path(near) / "made"
            made.mkdir()
            yield made
            made.replace(out)
    except OSError as error:
        raise UnavailableError(f"{out}: cannot be written: {error.strerror or error}") from error
