"""The model card: what the checkpoint is, how it was made, what it reaches, whose sounds it heard.

`pe-stream train` writes it without figures. `python -m pe_stream.workbench.training.card FOLDER
FIGURES...` rewrites it with those of `pe-stream eval --json`, in the order given.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pe_stream.errors import PeStreamError, UnavailableError
from pe_stream.workbench.evaluation.report import as_table
from pe_stream.workbench.manifest import Clip
from pe_stream.workbench.training import agreement, codec_error
from pe_stream.workbench.training.export import THRESHOLDS

_FACTS = "training.json"
"""What training knows of the checkpoint, beside it for when the card is rewritten."""

_CALIBRATED = {
    True: "Scale and bias of the logits, and the recommended thresholds, were fitted on scenes.",
    False: "The scores are not calibrated; no thresholds are recommended.",
}

_LISTENED = (
    "A teacher, {}, said second by second what it hears in the mixtures, and the encoder learned "
    "to tell that too; so {} is not only compared with here, some of what it knows is in these "
    "weights."
)

_TEACHERS = {"mn04": "EfficientAT's mn04 (MIT)", "YAMNet": "YAMNet (Apache-2.0)"}

_LICENCES = {
    True: "Clips of every licence, also such as forbid redistribution",
    False: "Only clips that may be redistributed",
}


def write(
    folder: Path,
    recipe: Mapping[str, Any],
    clips: Sequence[Clip],
    codec: Mapping[str, Sequence[float]],
    agreed: Mapping[str, Sequence[float]],
) -> None:
    """Write the card of a checkpoint just trained by `recipe` on `clips`.

    codec: the errors of its codec, as `codec_error.measured` gives them. agreed: with the
    teacher, by `agreement.measured`.
    """
    sources = Counter((clip.dataset, clip.licence) for clip in clips)
    facts = {
        "recipe": dict(recipe),
        "sources": [[*source, count] for source, count in sorted(sources.items())],
        "attributions": attributions(clips),
        "codec": dict(codec),
        "agreement": dict(agreed),
    }
    (folder / _FACTS).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    _write(folder, facts, [])


def attributions(clips: Sequence[Clip]) -> list[str]:
    """One line for each recording whose licence asks for its author to be named, sorted."""
    named = {
        " ".join(f"{clip.attribution} ({clip.licence})".split())
        for clip in clips
        if clip.attribution and clip.licence not in {"CC0", "PD", "public domain"}
    }
    return sorted(named)


def _write(folder: Path, facts: Mapping[str, Any], figures: Sequence[str]) -> None:
    made = {
        "figures": "\n\n".join(figures) or "None measured yet: see `pe-stream eval --help`.",
        "thresholds": _thresholds(folder / THRESHOLDS),
        "codec": codec_error.as_table(facts.get("codec", {})),
        "agreement": agreement.as_text(facts.get("agreement", {})),
        "calibrated": _CALIBRATED[facts["recipe"]["calibrated"]],
        "listened": _listened(facts["recipe"]),
        "licences": _LICENCES[facts["recipe"]["every_licence"]],
        "weights": f"{(folder / 'model.safetensors').stat().st_size / 1e6:.1f}",
        "recipe": "\n".join(
            f"| {key} | {_cell(value)} |" for key, value in facts["recipe"].items()
        ),
        "sources": "\n".join(
            f"| {dataset} | {licence} | {count} |" for dataset, licence, count in facts["sources"]
        ),
        "attributions": "\n".join(f"- {line}" for line in facts["attributions"]),
    }
    template = Path(__file__).with_name("card.md").read_text("utf-8")
    for name, text in made.items():
        template = template.replace(f"<!-- {name} -->", text)
    (folder / "README.md").write_text(template, "utf-8")


def _listened(recipe: Mapping[str, Any]) -> str:
    """What the teacher taught: its name is in the recipe, or, of old, only that there was one."""
    teacher = recipe.get("teacher")
    name = "YAMNet" if teacher is True else teacher
    return _LISTENED.format(_TEACHERS[name], name) if name else ""


def _thresholds(path: Path) -> str:
    """A table of what is recommended, worst first; labels that it cannot hear are named."""
    if not path.exists():
        return "None."
    labels = json.loads(path.read_text("utf-8"))["labels"]
    known = {
        name: value
        for name, value in labels.items()
        if isinstance(value, dict) and "recall" in value
    }
    if not known:
        return "In `thresholds.json`; what they reach was not noted."
    rows = [
        f"| {name} | {each['threshold']:g} | {each.get('off_threshold', 'in proportion')} |"
        f" {each.get('smooth_s', 0):g} | {each['recall']:.2f} | {each['false_alarms_per_hour']:g} |"
        for name, each in sorted(known.items(), key=lambda item: item[1]["recall"])
    ]
    deaf = sorted(name for name, each in known.items() if not each["recall"])
    said = f"\n\nNot heard in these scenes: {', '.join(deaf)}." if deaf else ""
    head = (
        "| label | threshold | off_threshold | smooth_s | recall | false alarms an hour |\n"
        "|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + said


def _cell(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _titled(path: Path) -> str:
    try:
        report = json.loads(path.read_text("utf-8"))
        title, command = path.stem.replace("_", " "), report["command"]
        return f"### {title}\n\n```sh\n{command}\n```\n\n{as_table(report)}"
    except (OSError, ValueError, KeyError) as error:
        raise UnavailableError(f"{path}: not written by pe-stream eval --json: {error}") from error


def main(arguments: Sequence[str]) -> int:
    """Rewrite the card of FOLDER with the tables of the FIGURES."""
    if not arguments:
        print(
            "usage: python -m pe_stream.workbench.training.card FOLDER FIGURES...", file=sys.stderr
        )
        return 2
    folder, *figures = map(Path, arguments)
    try:
        facts = json.loads((folder / _FACTS).read_text("utf-8"))
        _write(folder, facts, [_titled(path) for path in figures])
    except (OSError, ValueError, KeyError, PeStreamError) as error:
        print(f"card: {error}", file=sys.stderr)
        return 69
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
