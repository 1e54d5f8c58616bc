"""Second opinions on recordings: what PE-AV makes of the sound and picture of an event."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from pe_stream.audio import media
from pe_stream.audio.decode import NoTrackError
from pe_stream.audio.film import Film
from pe_stream.audio.picture_track import NoPictureError
from pe_stream.config import ModelSettings
from pe_stream.core.opinion import OpinionTexts, choose, excerpt
from pe_stream.core.ring import Ring
from pe_stream.core.types import FRAME, SAMPLE_RATE, Event, Samples, SecondOpinion
from pe_stream.errors import UnavailableError
from pe_stream.model.second_opinion import (
    OpinionModel,
    SquarePicture,
    load_opinion_model,
)

log = logging.getLogger(__name__)

BEFORE_S = AFTER_S = 4.0
"""What is listened to and looked at, before and after an event's peak (s)."""

PICTURES, MOST_PICTURES = 8, 16
"""Pictures of a stretch that are looked at; and the most that may be asked for."""

PICTURES_PER_S = 2.0
"""Of a film, so many pictures a second are thought of at all."""

LONGEST_S = 30.0
"""Longest stretch that may be asked about (s): PE-AV was taught with clips of so much."""

_TOO_LONG = f"a second opinion is on {LONGEST_S:g} s at most: give start_s and end_s"


@dataclass(frozen=True, slots=True)
class LabelMoment:
    """What is asked about: a label, and when it is heard best, from a recording's beginning (s)."""

    label: str
    time_s: float


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Samples `begin` up to `end` of a recording, at 48 kHz; moment: the one it is about."""

    begin: int
    end: int
    moment: int | None = None


class SecondOpinions:
    """Gives second opinions; single-threaded. texts: by label, what to compare with."""

    def __init__(
        self,
        model: OpinionModel,
        texts: Mapping[str, OpinionTexts],
        pictures: int = PICTURES,
    ) -> None:
        """pictures: of a stretch that are looked at, at most."""
        self._model = model
        self._texts = texts
        self._pictures = pictures

    @property
    def checkpoint(self) -> str:
        """The one that is asked, as it was named."""
        return self._model.name

    def of_events(self, path: str, events: Sequence[Event]) -> list[Event]:
        """The events of a recording, in their order, each with an opinion on it; see `of_moments`.

        path: of a file, which is read once more.
        """
        opinions = self.of_moments(path, [LabelMoment(each.label, each.peak_s) for each in events])
        return [
            replace(event, second_opinion=opinion)
            for event, opinion in zip(events, opinions, strict=True)
        ]

    def of_moments(self, path: str, moments: Sequence[LabelMoment]) -> list[SecondOpinion]:
        """An opinion on each of these moments of a recording, in their order.

        Raises UnavailableError where it cannot be read, or the checkpoint cannot be used.
        """
        places = [_samples(each.time_s) for each in moments]
        parts = [
            Excerpt(*excerpt(place, _samples(BEFORE_S), _samples(AFTER_S)), place)
            for place in places
        ]
        order = sorted(range(len(parts)), key=lambda i: parts[i].begin)
        told: dict[int, SecondOpinion] = {}
        with _FilmReader(path) as reader:
            sounds = reader.sounds([parts[i] for i in order])
            for i, (part, sound) in zip(order, sounds, strict=True):
                told[i] = self._opinion(reader, part, sound, self._texts[moments[i].label])
        return [told[i] for i in range(len(parts))]

    def of_part(
        self, path: str, label: str, start_s: float = 0.0, end_s: float | None = None
    ) -> SecondOpinion:
        """The opinion on a part of a recording, of a film without sound too.

        Raises ValueError where the part is empty or longer than LONGEST_S, and UnavailableError.
        """
        with _FilmReader(path) as reader:
            end_s = reader.silent_film_s if end_s is None else end_s
            longest = end_s is None
            end = _samples(start_s + LONGEST_S) + 1 if end_s is None else _samples(end_s)
            part = Excerpt(_samples(start_s), end)
            if not 0 <= part.begin < part.end:
                raise ValueError(f"from {start_s:g} to {end_s:g} s there is nothing")
            if end_s is not None and part.end - part.begin > _samples(LONGEST_S):
                raise ValueError(_TOO_LONG)
            ((part, sound),) = reader.sounds([part])
            if longest and part.end == end:
                raise ValueError(_TOO_LONG)
            if part.end <= part.begin:
                raise ValueError(f"{path} ends before {start_s:g} s")
            return self._opinion(reader, part, sound, self._texts[label])

    def _opinion(
        self, reader: _FilmReader, part: Excerpt, sound: Samples | None, texts: OpinionTexts
    ) -> SecondOpinion:
        sees = self._model.sees and reader.is_film
        if sees:
            self._model.see()  # read once, which is no part of what an opinion takes
        begun_s = time.monotonic()
        pictures = reader.pictures(part, self._model, self._pictures) if sees else []
        if sound is None and not pictures:
            raise UnavailableError(f"{reader.path}: there is nothing to hear, and nothing to see")
        scores = self._model.judge(self._model.embed(sound, pictures), texts)
        span_s = round(part.begin / SAMPLE_RATE, 3), round(part.end / SAMPLE_RATE, 3)
        took_s = time.monotonic() - begun_s
        return scores.opinion(len(pictures), span_s, self._model.name, took_s)


class _FilmReader:
    """A recording that is read again, sound and picture; a context manager.

    silent_film_s: the end of a film without sound, on its own clock from its beginning (s).
    """

    _count = itertools.count()

    def __init__(self, path: str) -> None:
        """Open it. Raises UnavailableError where there is neither sound nor picture, or no file."""
        self.path = path
        self._number = next(self._count)
        self._recording: media.Recording | None = None
        self._film: Film | None = None
        self.silent_film_s: float | None = None
        refuse_pipe(path)
        try:
            self._recording = media.read(path)
        except NoTrackError:
            self._film = Film(path)
            self.silent_film_s = self._film.duration_s
            return
        try:
            self._film = Film(path)
        except NoPictureError as error:
            log.debug("no second opinion on a picture: %s", error)
        except UnavailableError as error:
            log.warning("no second opinion on a picture: %s", error)

    @property
    def is_film(self) -> bool:
        """Whether it has a picture that can be read, as far as is known."""
        return self._film is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._film is not None:
            self._film.close()

    def sounds(self, parts: Sequence[Excerpt]) -> Iterator[tuple[Excerpt, Samples | None]]:
        """Each of `parts`, which are in the order of their beginnings, as far as there is sound.

        With its samples: whole frames, the last filled up with zeros; None in a film without sound.
        """
        if self._recording is None:
            yield from ((part, None) for part in parts)
            return
        ring = Ring(_samples(LONGEST_S + 2))
        for part in parts:
            while ring.end < part.end and (chunk := next(self._recording, None)) is not None:
                ring.append(chunk.samples)
            there = replace(part, end=min(part.end, ring.end))
            if there.end <= there.begin:
                yield there, None
                continue
            samples = ring.read(there.begin, there.end)
            yield there, np.pad(samples, (0, -len(samples) % FRAME))

    def pictures(self, part: Excerpt, model: OpinionModel, most: int) -> list[SquarePicture]:
        """At most so many that stand for a part; none where they cannot be had: that is told once.

        The model's seeing half has been read.
        """
        begin_s = part.begin / SAMPLE_RATE
        at_s = self._film_time(begin_s if part.moment is None else part.moment / SAMPLE_RATE)
        if self._film is None or at_s is None:
            return []
        places: list[int] = []
        squares: list[SquarePicture] = []
        try:
            for each in self._film.between(
                begin_s + at_s, part.end / SAMPLE_RATE + at_s, PICTURES_PER_S
            ):
                places.append(_samples(each.time_s - at_s))
                squares.append(model.square(each.rgb, (self._number, each.time_s)))
        except UnavailableError as error:
            log.warning("no second opinion on a picture: %s", error)
            self._film.close()
            self._film = None
            return []
        return [squares[i] for i in choose(places, most, part.moment)]

    def _film_time(self, position_s: float) -> float | None:
        """By how much the film's clock is ahead of the recording's (s), at a moment of that."""
        if self._recording is None:
            return None if self._film is None else self._film.start_s
        time_s = self._recording.time_of(position_s)
        return None if time_s is None else time_s - position_s


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLE_RATE)


def refuse_pipe(path: str) -> None:
    """Raise UnavailableError for what cannot be read twice."""
    if Path(path).exists() and not Path(path).is_file():
        raise UnavailableError(
            f"{path}: a second opinion reads a recording twice: give a file, no pipe"
        )


def prepare_second_opinions(
    checkpoint: str,
    model: ModelSettings,
    texts: Mapping[str, OpinionTexts],
    pictures: int = PICTURES,
) -> SecondOpinions:
    """Load a PE-AV checkpoint. model: where it is kept and computed, as the other one is.

    texts: by label, what will be asked about. pictures: as of SecondOpinions. Raises
    UnavailableError and ConfigError.
    """
    loaded = load_opinion_model(
        checkpoint,
        [text for each in texts.values() for text in each.every],
        revision=model.revision if checkpoint == model.checkpoint else None,
        cache=Path(model.cache) if model.cache else None,
        device=model.device,
        dtype=model.dtype,
        threads=model.threads,
    )
    return SecondOpinions(loaded, texts, pictures)
