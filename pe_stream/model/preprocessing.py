"""Pictures as PE-AV's own processor hands them to the model, bit by bit, without torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - as everywhere

from pe_stream.model.reading import read_json, unavailable

Rgb = NDArray[np.uint8]
"""A picture, (height, width, 3), red first."""

_BILINEAR = 2
_MOST_PICTURES = 1024
"""Pictures of a clip that a processor may ask for."""

_SECTION = "video_processor"
_FILE, _OLD_FILE = "processor_config.json", "video_preprocessor_config.json"


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """How a checkpoint takes pictures.

    size: of the square that each is squeezed into (pixels). mean, deviation: of a value from 0 to
    255, per colour. pictures: how many of a clip, some several times where there are fewer; None:
    as many as there are.
    """

    size: int
    mean: tuple[float, float, float] = (127.5, 127.5, 127.5)
    deviation: tuple[float, float, float] = (127.5, 127.5, 127.5)
    pictures: int | None = None


def squeeze(picture: Rgb, size: int) -> Tensor:
    """A picture of any size as a square one: (3, size, size) uint8, on the CPU."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    if pixels.shape[-2:] == (size, size):
        return pixels[0].contiguous()
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)[0]


def normalise(squares: Sequence[Tensor], form: PictureFormat) -> Tensor:
    """Squares (3, size, size) uint8 as the tower takes them: (T, 3, size, size) float32."""
    mean, deviation = (torch.tensor(each).view(3, 1, 1) for each in (form.mean, form.deviation))
    return (torch.stack(list(squares)).float() - mean) / deviation


def read_format(name: str, folder: Path, size: int) -> PictureFormat:
    """What the folder says of pictures, for a tower that sees `size` pixels.

    A folder that says nothing means what all published ones say. Raises UnavailableError where it
    asks for something else than what is done here.
    """
    found: Any = {}
    for file in (_FILE, _OLD_FILE):
        if (folder / file).exists():
            content = read_json(name, folder, file)
            found = content.get(_SECTION, {}) if file == _FILE else content
            if found:
                break
    if not isinstance(found, dict) or not _is_known(found, size):
        raise unavailable(
            name,
            f"it takes pictures otherwise than squeezed to {size} x {size} pixels (bilinear), "
            "then normalised, which is all that is done here",
        )
    scale = found.get("rescale_factor", 1 / 255) if found.get("do_rescale", True) else 1.0
    normal = found.get("do_normalize", True)
    mean = found.get("image_mean") or [0.5] * 3 if normal else [0.0] * 3
    deviation = found.get("image_std") or [0.5] * 3 if normal else [1.0] * 3
    if not _is_number(scale) or not _are_colours(mean, 0) or not _are_colours(deviation):
        raise unavailable(name, "what it says of the values of pictures are no numbers above 0")
    wanted = found.get("num_frames") if found.get("do_sample_frames") else None
    if wanted is not None and not (type(wanted) is int and 1 <= wanted <= _MOST_PICTURES):
        raise unavailable(name, f"num_frames is not a whole number from 1 to {_MOST_PICTURES}")
    return PictureFormat(size, _in_bytes(mean, scale), _in_bytes(deviation, scale), wanted)


def _is_known(found: dict[str, Any], size: int) -> bool:
    shape = found.get("size") or {"height": size, "width": size}
    return (
        bool(found.get("do_resize", True))
        and not found.get("do_center_crop")
        and not found.get("do_pad")
        and found.get("resample") in (None, _BILINEAR)
        and isinstance(shape, dict)
        and {key: value for key, value in shape.items() if value is not None}
        == {"height": size, "width": size}
    )


def _is_number(value: object, least: float = 1e-6) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= 1e6


def _are_colours(values: object, least: float = 1e-6) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(_is_number(value, least) for value in values)
    )


def _in_bytes(values: Sequence[float], scale: float) -> tuple[float, float, float]:
    """A value for each colour in units of a byte, rounded as the processor does."""
    red, green, blue = (torch.tensor(values) * (1.0 / scale)).tolist()
    return red, green, blue
