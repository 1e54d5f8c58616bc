"""One source from audio to events: feed it chunks, score the windows it asks for.

    detector.feed(chunk)
    while (window := detector.next_window()) is not None:
        heard = detector.accept(window, scores_of(window), now_s)

Every chunk size gives the same windows, hence the same events. `end` says that no more audio of
the segment will come; its last frames are then still scored. `stop` closes at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pe_stream.core.audible import AudibleRun
from pe_stream.core.clipper import ClipRule, Piece, held
from pe_stream.core.event_builder import EventBuilder, Origin
from pe_stream.core.frame_levels import FrameLevels
from pe_stream.core.intake import Intake
from pe_stream.core.label_trackers import LabelTrackers, Said
from pe_stream.core.ledger import Account, Ledger
from pe_stream.core.recorder import Recorder
from pe_stream.core.ring import Ring
from pe_stream.core.stitch import Stitcher
from pe_stream.core.timebase import Segment
from pe_stream.core.tracker import Detection
from pe_stream.core.types import (
    FRAME,
    AudioChunk,
    Event,
    FrameEmbeddings,
    FrameScores,
    LabelRule,
    Reason,
    Samples,
    Window,
)
from pe_stream.core.windows import Framing, cut


@dataclass(frozen=True, slots=True)
class Heard:
    """Result of a scored window: frames now final, and events.

    start: absolute sample index of the first of the frames, start_ns: its UTC (ns since 1970);
    scores: (frames, labels). segment: that of the segment's first; last: that ends with them.
    samples: their audio, (n,); less than whole frames only where the segment ends in one.
    embeddings: (frames, D) where the engine was asked for them.
    audible: with clips, what one may listen to by now: later than `samples` where an event to come
    may withhold it.
    """

    start: int
    start_ns: int
    scores: FrameScores
    events: list[Event]
    samples: Samples
    embeddings: FrameEmbeddings | None = None
    audible: Sequence[AudibleRun] = ()
    segment: int = 0
    last: bool = False


class Detector:
    """The engine-side state of one source; single-threaded, pure.

    With `live`, being behind first leaves out windows (the hop stretches, no frame is lost) and
    then, past the window length, drops the oldest audio, which ends the segment. Otherwise
    nothing is ever left out.
    """

    def __init__(
        self,
        origin: Origin,
        framing: Framing,
        rules: Sequence[LabelRule],
        *,
        live: bool,
        new_id: Callable[[], str],
        clips: ClipRule | None = None,
        context: int = 0,
    ) -> None:
        """Begin with no audio; `rules` are in the order of the score columns.

        clips: which audio `clips` returns; None is none. context: frames that go ahead of windows.
        """
        self._framing, self._context, self._live = framing, context * FRAME, live
        self._label_trackers = LabelTrackers(rules)
        self._builder = EventBuilder(origin, new_id)
        self._ledger = Ledger()
        self._intakes: deque[Intake] = deque()
        self._next = 0
        self._heard_before = False
        self._levels = FrameLevels(framing.lookahead, rules)
        self._ring = Ring(held(framing.window * FRAME, clips) + self._context)
        self._recorder = None if clips is None else Recorder(clips, self._ring)
        self._segment: Segment | None = None
        self._stitcher = Stitcher(framing.lookahead)
        self._scored = self._frames = self._stretched = 0
        self._owed: list[Event] = []
        self._now_s = 0.0
        """When scores were handed on last."""

    @property
    def rules(self) -> list[LabelRule]:
        """The rules as they were set, in the order of the score columns."""
        return self._label_trackers.rules

    @property
    def in_force(self) -> list[LabelRule]:
        """The same with the thresholds at present, where they follow the room."""
        return self._label_trackers.in_force

    def moved(self) -> bool:
        """Whether thresholds have followed the room since the last time."""
        return self._label_trackers.moved()

    @property
    def account(self) -> Account:
        """The source's audio so far, as counts."""
        return self._ledger.account

    @property
    def scored_frames(self) -> int:
        """Frames made final since the source began."""
        return self._frames + (self._stitcher.final if self._segment else 0)

    @property
    def stretched(self) -> int:
        """Windows left out because scoring was behind."""
        return self._stretched

    @property
    def urgency(self) -> tuple[bool, int]:
        """The greater, the sooner its next window should be scored.

        First what has ended, as events are to be closed; then by the samples that have arrived and
        are in no window yet.
        """
        arrived = sum(intake.end - intake.start for intake in self._intakes)
        waiting = arrived - (self._scored * FRAME if self._segment else 0)
        return bool(self._intakes) and self._intakes[0].ended, waiting

    @property
    def earliest_onset(self) -> int | None:
        """No event yet to come has an onset before this absolute sample; None before any audio."""
        return None if self._segment is None else self._settled(self._label_trackers.onset)

    def feed(self, chunk: AudioChunk) -> None:
        """Take the next audio. Raises ValueError where it neither follows on nor has an anchor."""
        if chunk.anchor_ns is not None:
            self.end(Reason.GAP)
            self._ledger.lose(chunk.start - self._next)
            if self._heard_before:
                self._ledger.break_off()
            self._heard_before = True
            self._intakes.append(Intake(chunk.start, chunk.anchor_ns, chunk.start))
        elif not self._intakes or self._intakes[-1].ended or chunk.start != self._next:
            raise ValueError(f"a chunk at {chunk.start} follows {self._next} without an anchor")
        self._intakes[-1].add(chunk)
        if chunk.refiltered:
            self._levels.forget_room(chunk.start)
        self._ledger.hear(chunk.samples)
        self._next = chunk.end

    def end(self, reason: Reason | None) -> None:
        """The segment ends here; what is open then is closed with `reason` once scored."""
        if self._intakes and not self._intakes[-1].ended:
            self._ledger.settle()
            self._intakes[-1].ended, self._intakes[-1].reason = True, reason

    def silence(self) -> None:
        """The source delivers nothing any more: ends the segment as a gap and accounts for it."""
        self.end(Reason.GAP)
        self._ledger.silence()

    def next_window(self) -> Window | None:
        """The next window to score, or None until more audio comes.

        Its scores go to `accept`; asked again without, it is the newest that is due then.
        """
        while self._intakes:
            intake = self._intakes[0]
            if self._segment is None:
                self._begin(intake)
            if self._live:
                self._drop_unreachable(intake)
            window = self._due(intake)
            if window is not None or not intake.ended:
                return window
            self._finish()
        return None

    def accept(
        self,
        window: Window,
        scores: FrameScores,
        now_s: float,
        embeddings: FrameEmbeddings | None = None,
    ) -> Heard:
        """Take the scores (frames, labels) of the window asked for.

        Those of frames that it has done may be left out. now_s: the monotonic time at which they
        are handed on, on the clock of `captured_s`.
        embeddings: of the same frames; they only come back with those that became final.
        """
        segment, intake = self._current()
        self._now_s = now_s
        begin = (window.start - segment.start) // FRAME
        first = segment.first_frame + self._stitcher.final
        clean = np.nan_to_num(scores, nan=0.0, posinf=0.0, neginf=0.0)
        given = begin + window.frames - len(clean)
        skipped = self._stitcher.final - given
        self._levels.listen(first, segment, self._ring)
        final = self._levels.applied(first, self._stitcher.accept(given, clean, last=window.last))
        if embeddings is not None:
            embeddings = embeddings[skipped : skipped + len(final)]
        before, self._scored = self._scored, begin + window.frames
        self._stretched += max(0, (self._scored - before - 1) // self._framing.hop)
        events = self.owed()
        start = segment.sample(first)
        samples = self._ring.read(start, min(segment.sample(first + len(final)), self._ring.end))
        intake.forget(segment.sample(first - self._label_trackers.behind))
        self._label_trackers.listen(first, samples)
        for frame, row in enumerate(final.tolist(), first):
            events += self._told(self._label_trackers.step(frame, row))
        if window.last:
            events += self._close(intake.reason)
        self._cut(last=window.last)
        audible: Sequence[AudibleRun] = ()
        if self._recorder is not None:
            settled = self._settled(self._label_trackers.onset_of(self._recorder.never_when))
            audible = self._recorder.audible(start, samples, settled, last=window.last)
        if window.last:
            self._finish()
        of_segment = audible, segment.start, window.last
        return Heard(start, segment.utc_ns(start), final, events, samples, embeddings, *of_segment)

    def owed(self) -> list[Event]:
        """Events whose audio was given up; who does not ask has them with the next scores."""
        events, self._owed = self._owed, []
        return events

    def stop(self, reason: Reason) -> list[Event]:
        """Close what is open at once, leaving unscored what was not scored yet."""
        events = self.owed() + self._close(reason)
        self._cut(last=True)
        self._ledger.settle()
        self._intakes.clear()
        self._segment = None
        return events

    def clips(self) -> list[Piece]:
        """Audio of clips that has come since the last time; after the events it belongs to."""
        return [] if self._recorder is None else self._recorder.clips()

    def change(self, rules: Sequence[LabelRule]) -> list[Event]:
        """Go on under other rules, in the order of the score columns from now on.

        Labels are known by name; an event of a label that is gone, disabled or of another pattern
        ends.
        """
        self._levels.change(rules)
        return self._told(self._label_trackers.change(rules))

    def _due(self, intake: Intake) -> Window | None:
        """Cut the window that is due, if its audio has arrived."""
        segment, framing = self._current()[0], self._framing
        samples = intake.end - intake.start
        end = framing.due(self._scored, samples // FRAME, stretch=self._live)
        total = -(-samples // FRAME) if intake.ended else None
        if total and (end is None or self._live):
            end = total
        if end is None:
            return None
        begin = segment.start + framing.begin(end) * FRAME
        stop = min(segment.start + end * FRAME, intake.end)
        for piece in intake.take(stop - self._ring.end):
            self._ring.append(piece)
        done = max(0, self._stitcher.final - framing.begin(end))
        oldest = max(segment.start, begin - self._context)
        return cut(self._ring, oldest, begin, stop, last=end == total, done=done)

    def _drop_unreachable(self, intake: Intake) -> None:
        """Being behind by more than a window, begin a new segment that one window can reach."""
        segment = self._current()[0]
        available = -(-(intake.end - intake.start) // FRAME)
        lost = self._framing.lost(self._stitcher.final, available)
        if not lost:
            return
        done = segment.start + self._stitcher.final * FRAME
        start = done + lost * FRAME
        held = self._ring.read(start, self._ring.end) if start < self._ring.end else None
        for _ in intake.take(start - self._ring.end):
            pass
        if held is not None:
            intake.chunks.appendleft(held)
        self._owed += self._close(Reason.GAP)
        self._cut(last=True)
        self._ledger.drop(start - done)
        self._frames += self._stitcher.final
        intake.start, intake.anchor_ns = start, segment.utc_ns(start)
        self._begin(intake)

    def _told(self, said: Said) -> list[Event]:
        """Events of what was decided, with the scores that were handed on last."""
        return [self._event(label, detection) for label, detection in said]

    def _event(self, label: str, detection: Detection) -> Event:
        """The event of a phase of a label; its clip is cut from now on, or up to its end."""
        segment, intake = self._current()
        event = self._builder.build(label, detection, segment, intake, self._now_s)
        if self._recorder is not None:
            offset = min(segment.sample(detection.offset), intake.end)
            self._recorder.event(event, segment.sample(detection.onset), offset)
        return event

    def _cut(self, *, last: bool) -> None:
        """Cut what has come out of the ring; last: the segment ends here."""
        if self._recorder is not None:
            self._recorder.cut(None if last else self.earliest_onset)

    def _settled(self, onset: int | None) -> int:
        """The sample before which no event begins, by its frame; None: by what was scored."""
        frames = self.scored_frames
        return self._current()[0].sample(frames if onset is None else min(frames, onset))

    def _close(self, reason: Reason | None) -> list[Event]:
        return self._told(self._label_trackers.close(reason))

    def _begin(self, intake: Intake) -> None:
        self._segment = Segment(intake.start, intake.anchor_ns, self._frames, intake.clock)
        self._ring.restart(intake.start)
        self._levels.begin(self._frames)
        self._stitcher = Stitcher(self._framing.lookahead)
        self._scored = 0

    def _finish(self) -> None:
        self._frames += self._stitcher.final
        self._segment = None
        self._intakes.popleft()

    def _current(self) -> tuple[Segment, Intake]:
        if self._segment is None:
            raise ValueError("no window was asked for")
        return self._segment, self._intakes[0]
