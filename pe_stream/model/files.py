"""The files of a checkpoint: where they are, and what those that are not weights say."""

from __future__ import annotations

import hashlib
import math
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pe_stream.assets import EMBEDDED
from pe_stream.core.types import FRAME, SAMPLE_RATE, SMOOTHEST_S, Recommended
from pe_stream.errors import UnavailableError
from pe_stream.model import tokenizer
from pe_stream.model.geometry import audio_part, text_part
from pe_stream.model.reading import (
    EMBEDDED_NAME,
    MOST_BYTES,
    first_line,
    read_json,
    refusing,
    tell_code,
    unavailable,
)

if TYPE_CHECKING:
    from transformers import PeAudioConfig

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")

_BLOCK, _BLOCKS = 2**16, 256
"""Bytes of a block, and blocks of a weights file that are read for its identity (16 MiB)."""

_CONFIGURATIONS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
)
"""Where an `auto_map` may name classes of a checkpoint's own code."""

_RECORD = "training.json"
"""What `pe-stream train` writes of how it was made; not downloaded."""

_DOWNLOADED = (
    *_CONFIGURATIONS,
    "thresholds.json",
    "tokenizer.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
)
"""What is read of a checkpoint, and nothing else: no pickles, no code."""


CLIP_KINDS = ("PeAudioModel", "PeAudioVideoModel")
"""Models that were taught what a whole stretch of sound is like, not what each frame is."""


def find(name: str, revision: str | None = None, cache: Path | None = None) -> Path:
    """Return the folder of checkpoint `name`, downloaded from the hub if need be.

    A hub checkpoint is looked up at the hub each time, for changes; where the hub cannot be
    reached, what was downloaded before is used. Raises UnavailableError.
    """
    if name == EMBEDDED_NAME:
        return EMBEDDED
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(name):
        raise unavailable(name, "there is no such folder, and it is no hub id (owner/name)")
    return _download(name, revision, cache)


def kind_of(name: str, folder: Path) -> str:
    """Which model it says it is: PeAudioFrameLevelModel where it does not say it.

    Raises UnavailableError where its config.json cannot be read.
    """
    found = read_json(name, folder, "config.json")
    if found.get("model_type") == "pe_audio_video":
        return "PeAudioVideoModel"
    named = found.get("architectures")
    return "PeAudioModel" if named == ["PeAudioModel"] else "PeAudioFrameLevelModel"


def read_config(name: str, folder: Path) -> PeAudioConfig:
    """Read the configuration of the audio and text parts; of PeAudioVideoModel, just those.

    Of them, what `geometry` knows. Raises UnavailableError if the model is another or out of
    bounds, or its frames are not FRAME samples at SAMPLE_RATE.
    """
    from transformers import PeAudioConfig  # brings torch, of which the rest here has no need

    found = read_json(name, folder, "config.json")
    kind = found.get("model_type")
    if kind not in {"pe_audio", "pe_audio_video"}:
        said = f"model_type {_shown(kind)}, which is not PE Audio"
        raise unavailable(name, f"its config.json says {said}")
    with refusing(name, "its config.json describes no PE Audio model"):
        if "text_config" not in found:
            raise unavailable(name, "its config.json lacks 'text_config'")
        parts = found if kind == "pe_audio" else found.get("audio_video_config", {})
        if "audio_config" not in parts:
            raise unavailable(name, "its config.json lacks 'audio_config'")
        config = PeAudioConfig(
            text_config=text_part(found["text_config"]),
            audio_config=audio_part(parts["audio_config"]),
        )
        audio: Any = config.audio_config
        frame = math.prod(audio.dac_config.downsampling_ratios)
    rate = _sampling_rate(name, folder, default=audio.dac_config.sampling_rate)
    if (rate, frame) != (SAMPLE_RATE, FRAME):
        raise unavailable(
            name,
            f"it hears frames of {frame} samples at {_shown(rate)} Hz; "
            f"this program is built for {FRAME} at {SAMPLE_RATE} Hz",
        )
    return config


def read_recommended(name: str, folder: Path) -> Mapping[str, Recommended]:
    """Read what is recommended by label: `{"labels": {"dog_bark": 0.42}}`.

    Instead of a threshold alone there may be `{"threshold": 0.42, "off_threshold": 0.2, "smooth_s":
    0.6, "recall": 0.7, "false_alarms_per_hour": 0.2}`, all but the first optional. They are in
    `thresholds.json`, which a checkpoint may lack: then there are none. Raises UnavailableError if
    the file is there and wrong.
    """
    if not (folder / "thresholds.json").exists():
        return MappingProxyType({})
    labels = read_json(name, folder, "thresholds.json").get("labels")
    found = {
        label: _recommended(value)
        for label, value in (labels.items() if isinstance(labels, dict) else ())
    }
    wrong = [label for label, value in found.items() if value is None]
    if not isinstance(labels, dict) or wrong:
        which = f" ({_shown(wrong[0])})" if wrong else ""
        raise unavailable(
            name,
            f'its thresholds.json is not {{"labels": {{name: number from 0 to 1, ...}}}}{which};'
            ' for a number there may be {"threshold": number, "off_threshold": at most that,'
            f' "smooth_s": seconds from 0 to {SMOOTHEST_S:g}, "recall": from 0 to 1,'
            ' "false_alarms_per_hour": number}',
        )
    return MappingProxyType({label: value for label, value in found.items() if value is not None})


def taught_by_us(name: str, folder: Path) -> bool:
    """Whether `pe-stream train` made it, so that its texts are known: see assets.SOUND_WORDS.

    Of any other, also where the record of its training is damaged, no more is known than it says.
    """
    try:
        recipe = read_json(name, folder, _RECORD).get("recipe")
    except UnavailableError:
        return False
    return isinstance(recipe, dict) and {"corpus", "phrasings", "text_steps"} <= recipe.keys()


def look_for_code(name: str, folder: Path) -> None:
    """Log what in a checkpoint's folder could be run, and is not."""
    mapped = []
    for file in _CONFIGURATIONS:
        if (folder / file).exists():
            most = tokenizer.MOST_BYTES if file.startswith("tokenizer") else MOST_BYTES
            found = read_json(name, folder, file, most)
            parts = (found, *found.values())
            if any(isinstance(part, dict) and "auto_map" in part for part in parts):
                mapped.append(file)
    tell_code(name, folder, mapped)


def identity(folder: Path) -> str:
    """Return a digest of what makes a checkpoint's scores: configuration, tokenizer and weights.

    Of weights beyond 16 MiB, blocks spread evenly: training changes them everywhere, and all of
    large ones would take seconds. Raises UnavailableError for a file that cannot be read.
    """
    digest = hashlib.sha256()
    named = ("config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json")
    files = [folder / name for name in named]
    for file in [*files, *sorted(folder.glob("*.safetensors"))]:
        try:
            _digest(file, digest)
        except OSError as error:
            what = f"its {_shown(file.name)} cannot be read ({first_line(error)})"
            raise unavailable(str(folder), what) from error
    return digest.hexdigest()


def _digest(file: Path, digest: hashlib._Hash) -> None:
    """Add name, size and blocks of a plain file, if it is there."""
    if file.is_file():  # else opening it may wait for ever
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode(errors="surrogateescape"))
        with file.open("rb") as content:
            for start in _starts(size):
                content.seek(start)
                digest.update(content.read(_BLOCK))


def _starts(size: int) -> list[int]:
    """Offsets of the blocks: all of a small file, else evenly from first to last."""
    if size <= _BLOCK * _BLOCKS:
        return list(range(0, size, _BLOCK))
    return [(size - _BLOCK) * number // (_BLOCKS - 1) for number in range(_BLOCKS)]


def _download(name: str, revision: str | None, cache: Path | None) -> Path:
    # The hub's client takes a sixth of a second to import, and mostly there is nothing to download.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f" at revision {revision!r}" if revision else ""
    try:
        with _progress_on_terminals_only():
            return Path(
                snapshot_download(
                    name, revision=revision, cache_dir=cache, allow_patterns=list(_DOWNLOADED)
                )
            )
    except GatedRepoError as error:
        raise unavailable(
            name, "the hub wants its terms accepted first (log in with: hf auth login)"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise unavailable(name, f"the hub has no such checkpoint{at}") from error
    # The client lets errors of its HTTP library through, and which library that is varies.
    except Exception as error:
        raise unavailable(
            name, f"it is not in the cache and cannot be downloaded{at} ({first_line(error)})"
        ) from error


@contextmanager
def _progress_on_terminals_only() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    hide = not sys.stderr.isatty() and not are_progress_bars_disabled()
    if hide:
        disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            enable_progress_bars()


def _sampling_rate(name: str, folder: Path, default: object) -> object:
    """Return the rate (Hz) of the feature extractor; without one, the codec's (`default`).

    Nothing in the model reads the codec's rate, so a checkpoint may well carry DacConfig's
    default of 16 kHz there.
    """
    if (folder / "preprocessor_config.json").exists():
        extractor = read_json(name, folder, "preprocessor_config.json")
    elif (folder / "processor_config.json").exists():
        extractor = read_json(name, folder, "processor_config.json").get("feature_extractor", {})
    else:
        return default
    return extractor.get("sampling_rate", default) if isinstance(extractor, dict) else default


def _shown(value: object) -> str:
    """What a file says, short and in one line."""
    return ascii(value)[:100]


_MOST = {
    "threshold": 1.0,
    "off_threshold": 1.0,
    "smooth_s": SMOOTHEST_S,
    "recall": 1.0,
    "false_alarms_per_hour": sys.float_info.max,
}
"""Highest values that may be recommended for a label; the lowest is 0."""


def _recommended(value: object) -> Recommended | None:
    """The recommendation for a label; None where it is invalid."""
    given: dict[str, Any] = value if isinstance(value, dict) else {"threshold": value}
    if "threshold" not in given or not given.keys() <= _MOST.keys():
        return None
    if not all(_is_number(number, _MOST[key]) for key, number in given.items()):
        return None
    if given.get("off_threshold", 0.0) > given["threshold"]:
        return None
    return Recommended(**{key: float(number) for key, number in given.items()})


def _is_number(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
