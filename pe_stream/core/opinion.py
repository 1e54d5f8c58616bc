"""What a second opinion is about: texts, and which sound and pictures around a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pe_stream.core.types import FRAME, SecondOpinion


@dataclass(frozen=True, slots=True)
class OpinionTexts:
    """What a second opinion compares with.

    heard: averaged, for the sound, and for sound and picture together. seen: likewise, for the
    picture. Where there are none, there is no score. negatives: where one of them scores higher,
    the score is 0.
    """

    heard: tuple[str, ...]
    seen: tuple[str, ...]
    negatives: tuple[str, ...] = ()

    @property
    def every(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.heard, *self.seen, *self.negatives)


def excerpt(moment: int, before: int, after: int) -> tuple[int, int]:
    """First and last sample (exclusive) around `moment`: on the grid of frames, from 0 on.

    All in samples at 48 kHz.
    """
    begin = max(0, moment - before) // FRAME * FRAME
    return begin, -(-(moment + after) // FRAME) * FRAME


def choose(places: Sequence[int], most: int, moment: int | None = None) -> list[int]:
    """Indices of at most so many pictures, evenly from the first to the last one, in their order.

    places: sample index of each picture, ascending. moment: the picture nearest to it is among
    them; it takes the place of its neighbour.
    """
    count = len(places)
    chosen = spread(count, min(most, count))
    if moment is not None and chosen:
        nearest = min(range(count), key=lambda i: abs(places[i] - moment))
        if nearest not in chosen:
            given_up = min(range(len(chosen)), key=lambda i: abs(chosen[i] - nearest))
            chosen[given_up] = nearest
    return chosen


def spread(count: int, wanted: int) -> list[int]:
    """Indices of `wanted` of `count` things, from first to last, as PE-AV's own processor has them.

    Where there are fewer things, some come several times.
    """
    if wanted <= 1 or count <= 1:
        return [0] * (wanted if count else 0)
    # As the processor computes it, rounding included.
    return [int(i * (count - 1) / (wanted - 1)) for i in range(wanted)]


def main_score(opinion: SecondOpinion) -> float | None:
    """The score that says most of the label's words: of sound and picture, else of the sound.

    None where there is neither, as the label has no words.
    """
    return opinion.sound if opinion.both is None else opinion.both


def in_words(opinion: SecondOpinion) -> str:
    """Its scores for people: "sound 0.71, picture 0.12 (uncalibrated)"."""
    scores = {name: getattr(opinion, name) for name in ("sound", "picture", "both", "together")}
    told = [f"{name} {score:.2f}" for name, score in scores.items() if score is not None]
    return f"{', '.join(told) or 'none'} (uncalibrated)"


@dataclass(frozen=True, slots=True)
class OpinionStatus:
    """How those who give second opinions on live events do, since the start.

    reason: why there are none at present, in words; None where there are. asked: requests; of them
    answered and given_up, the rest waits. restarts: of their process. seconds: that opinions took.
    """

    reason: str | None
    asked: int = 0
    answered: int = 0
    given_up: int = 0
    restarts: int = 0
    seconds: float = 0.0
