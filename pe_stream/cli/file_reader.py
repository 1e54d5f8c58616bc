"""What reads the files of `pe-stream detect`: one after the other, or in bulk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from pe_stream.audio import media
from pe_stream.audio.media import Recording
from pe_stream.cli.audio_rate import AudioRate
from pe_stream.cli.options import DetectOptions
from pe_stream.config import Settings
from pe_stream.config.second_opinion import texts_of
from pe_stream.core.types import Event, FrameScores, Samples
from pe_stream.pipeline.bulk import Bulk
from pe_stream.pipeline.offline import detect
from pe_stream.pipeline.scorer import Scorer, prepare
from pe_stream.pipeline.second_opinion import (
    SecondOpinions,
    prepare_second_opinions,
    refuse_pipe,
)


@dataclass(frozen=True, slots=True)
class FileReader:
    """What reads files.

    opinions: where a second opinion is asked for. rate: of all that was read. bulk: what files are
    read by that `taking` was told of.
    """

    scorer: Scorer
    node: str
    options: DetectOptions
    opinions: SecondOpinions | None
    rate: AudioRate = field(default_factory=AudioRate)
    bulk: Bulk | None = None

    @classmethod
    def begin(cls, settings: Settings, options: DetectOptions) -> FileReader:
        """Load what is needed; raises UnavailableError or ConfigError."""
        opinions = None
        if options.second_opinion is not None:
            texts = {name: texts_of(label) for name, label in settings.labels.items()}
            opinions = prepare_second_opinions(options.second_opinion, settings.model, texts)
        scorer = prepare(settings.model, settings.labels, fast=options.fast)
        return cls(scorer, settings.node, options, opinions)

    @contextmanager
    def taking(self, files: Sequence[str]) -> Iterator[FileReader]:
        """What reads these files, in this order, each once."""
        if not self.options.fast:
            yield self
            return
        opens = [partial(self._open, file) for file in files]
        with Bulk(opens, self.scorer, node=self.node) as bulk:
            yield replace(self, bulk=bulk)

    def open(self, file: str) -> Recording:
        """Begin with a file; raises UnavailableError."""
        return self._open(file) if self.bulk is None else self.bulk.open()

    def events(
        self,
        file: str,
        recording: Recording,
        listen: Callable[[Samples], None],
        keep: Callable[[FrameScores], None] | None,
    ) -> Iterator[Event]:
        """The events of a file: as they come, or at its end, each with a second opinion."""
        if self.bulk is not None:
            found = self.bulk.events(recording, on_audio=listen, on_scores=keep)
        else:
            found = detect(recording, self.scorer, node=self.node, on_audio=listen, on_scores=keep)
        if self.opinions is None:
            yield from found
        elif events := list(found):
            yield from self.opinions.of_events(file, events)

    def _open(self, file: str) -> Recording:
        if self.opinions is not None:
            refuse_pipe(file)  # before it is heard to its end
        return media.read(file)
