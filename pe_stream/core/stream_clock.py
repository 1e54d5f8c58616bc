"""One clock for a stream: when the sound was made that a sender counts and a network brings.

What is known of a run of audio is how many samples it has, when it came, and what the sender says
of its time. Arrival is the clock that is ours, so it decides; the sender's stamps are believed
where they agree with it. Times are slewed, never stepped, while sound goes on:

- A sound card that runs fast or slow is followed; see `arrival_line`.
- What comes faster than it was made, at the beginning or after a stall, is held until it has come:
  its end is now, its beginning lies in the past.
- After a stall, sound that caught up was late, and nothing is missing. Where it did not, the
  sender lost what would have been there: a new stretch begins, and that is counted.
- Stamps that jump while sound arrives steadily change nothing.
- No sound was made after it came.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pe_stream.core.arrival_line import ArrivalLine
from pe_stream.core.held_audio import (
    HELD_S,
    PACED_AGAIN_S,
    PACED_S,
    CountedRun,
    HeldAudio,
    comes_faster,
)
from pe_stream.core.wall_clock import WallClock

GAP_S = 0.5
"""Sound that stays later than before by more (s), beyond the usual, was lost on the way."""

STEP_S = 1.0
"""Steps of the sender's stamps up to this (s) never say that something was lost."""

_FALL_S = 0.25
"""A burst that brought sound earlier than ever by less (s) is slewed like all else."""

QUIET_S = 0.5
"""... or when nothing has come for so long (s)."""

_SLEW = 0.05
"""Times are slewed by this part at most: a second in twenty."""

_SMOOTH_S = 2.0
"""And over so long (s), where that is slower."""

_USUAL_S = 5.0
"""Over how long the usual lateness is averaged (s)."""

_OLDEST_S = 120.0
"""A sender that says that its sound is older has a wrong clock; so has one that is ahead."""

_AHEAD_S = 1.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """A run of audio as it came.

    duration_s: counted in samples. at_s, utc_ns: when its end was there, monotonic (s) and UTC
    (ns). stamp_s: of its first sample, on the sender's clock, which may begin anywhere; sent_s: the
    same in UTC (s), where the sender knows it. broken: it does not go on from what came before.
    batch_s: audio that the sender makes available together (s), such as segments.
    """

    duration_s: float
    at_s: float
    utc_ns: int
    stamp_s: float | None = None
    sent_s: float | None = None
    broken: bool = False
    batch_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PlacedAudio:
    """A run of audio in time; runs come in the order in which they arrived, each once.

    begin_s, end_s: counted in samples since the first arrival (s). start_ns, end_ns: UTC of both
    ends (ns); captured_s: of its end, monotonic. begins: a new stretch begins with it; lost_s:
    missing before it then. heard_s: so much at its beginning was there before, on an earlier
    connection.
    """

    begin_s: float
    end_s: float
    start_ns: int
    end_ns: int
    captured_s: float
    begins: bool = False
    lost_s: float = 0.0
    heard_s: float = 0.0


class StreamClock:
    """Places what arrives in time; single-threaded, pure.

    Call `add` for every arrival, `settle` once `due_s` has come with nothing arriving, and at the
    end.
    """

    def __init__(self, after_s: float | None = None) -> None:
        """Begin a connection.

        after_s: when the last sound of the connection before was made (monotonic), if there was
        one.
        """
        self._batch_s = 0.0
        self._line = ArrivalLine()
        self._count_s = 0.0
        self._end_s = after_s
        self._wall = WallClock()
        self._stamp_s: float | None = None
        self._trusted = self._distrusted = False
        self._usual_s = self._last_s = 0.0
        self._hold: HeldAudio | None = HeldAudio()
        # The line is not known: of a connection, or of what follows a break.
        self._fresh = self._connecting = True
        self._begins = False

    @property
    def count_s(self) -> float:
        """Audio that has arrived (s), counted in samples."""
        return self._count_s

    @property
    def _together_s(self) -> float:
        """Audio that comes together (s): no matter where the sender says when it was made."""
        return 0.0 if self._trusted else self._batch_s

    @property
    def due_s(self) -> float | None:
        """When to call `settle` if nothing arrives (monotonic); None while nothing waits for it."""
        if self._hold is None or not self._hold.runs:
            return None
        first, last = self._hold.runs[0], self._hold.runs[-1]
        # Of what comes together, the next may be on its way.
        due_s = last.came_s + QUIET_S + (self._together_s / 2 if self._fresh else 0.0)
        if not self._fresh and self._is_late(last):  # a stall that goes on has lost nothing yet
            due_s = max(due_s, first.came_s + HELD_S)
        return self._wall.monotonic_s(due_s)

    def waits(self, since_s: float) -> None:
        """Nothing has come since then (monotonic), if nothing has come at all: that is lost."""
        if self._end_s is None:
            self._end_s = since_s

    def add(self, arrival: Arrival) -> list[PlacedAudio]:
        """Take the next arrival; returns what can be placed by now."""
        placed: list[PlacedAudio] = []
        is_set = self._wall.read(arrival.at_s, arrival.utc_ns)
        if is_set:
            placed += self.settle()
            self._begins = not self._fresh
            self._distrusted = False
        sent_s = self._sent_s(arrival)
        trusts = sent_s is not None
        moved = trusts is not self._trusted or (is_set and trusts)
        if arrival.broken or moved or not self._count_s:
            placed += self._restart(arrival, trusts=trusts, moved=moved)
        run = self._run(arrival, sent_s)
        if self._hold is not None and self._hold.paced_before(run):
            placed += self.settle()
        if self._hold is None:
            line_s = self._line.at(run.at_s)
            early = comes_faster(run.late_s, line_s, run.at_s - self._last_s)
            if not early and not self._is_late(run):
                return [*placed, self._go_on(run)]
            self._hold = HeldAudio(PACED_S if early else PACED_AGAIN_S)
        self._hold.add(run)
        if self._caught_up(self._hold) or self._hold.full:
            placed += self.settle()
        return placed

    def _caught_up(self, hold: HeldAudio) -> bool:
        """Whether what came late is as late as ever again."""
        first, last = hold.runs[0], hold.runs[-1]
        return not self._fresh and self._is_late(first) and not self._is_late(last)

    def _is_late(self, run: CountedRun) -> bool:
        """Whether it comes later than is usual."""
        return run.late_s - self._line.at(run.at_s) > GAP_S + self._usual_s

    def _restart(self, arrival: Arrival, *, trusts: bool, moved: bool) -> list[PlacedAudio]:
        """Begin anew with what comes next; returns what was held before.

        trusts: whether the sender's clock is believed from now on. moved: times are of another
        clock than before.
        """
        placed: list[PlacedAudio] = []
        held: list[CountedRun] = []
        if self._hold is not None and self._fresh and moved and not trusts:
            held = [replace(run, at_s=run.came_s) for run in self._hold.runs]
        else:
            placed = self.settle()
        if moved and not self._fresh:
            self._end_s = None  # what lies between is not missing
        together_s = self._together_s
        self._trusted, self._batch_s = trusts, arrival.batch_s
        if together_s != self._together_s:
            self._line = ArrivalLine(self._together_s)
        self._hold, self._fresh = HeldAudio(), True
        for run in held:
            self._hold.add(run)
        return placed

    def settle(self) -> list[PlacedAudio]:
        """Place what is held, as no more comes for now."""
        hold, self._hold = self._hold, None
        if hold is None or not hold.runs:
            self._hold = hold
            return []
        last = hold.runs[-1]
        floor_s = min(run.late_s for run in hold.runs)
        if self._fresh:
            return self._begin(hold.runs, floor_s)
        rise_s = floor_s - self._line.at(last.at_s)
        lost_s = self._lost_s(hold, rise_s)
        if lost_s:
            return self._begin(hold.runs, self._line.at(last.at_s) + lost_s)
        if rise_s < -_FALL_S:
            return self._squeeze(hold.runs, floor_s, -rise_s)
        return [self._go_on(run) for run in hold.runs]

    def _lost_s(self, hold: HeldAudio, rise_s: float) -> float:
        """How much the sender lost (s) where sound comes later than before; 0 for nothing."""
        if hold.full and hold.runs[0].late_s - hold.runs[-1].late_s > GAP_S:
            return 0.0  # it is still catching up
        if rise_s > GAP_S + self._usual_s + 1.5 * self._together_s:
            return rise_s
        first, last = hold.runs[0], hold.runs[-1]
        if first.expected_s is None or last.stamp_s is None:
            return 0.0
        stepped_s = last.stamp_s - first.expected_s - hold.audio_s
        if stepped_s > STEP_S and rise_s > stepped_s / 2 - self._together_s:
            return stepped_s if self._together_s else max(0.0, rise_s)
        return 0.0

    def _begin(self, runs: list[CountedRun], late_s: float) -> list[PlacedAudio]:
        """A new stretch: what is missing before it is lost, what overlaps was heard."""
        start_s = runs[0].begin_s + late_s
        missing_s = 0.0 if self._end_s is None else start_s - self._end_s
        heard_s = -missing_s if self._connecting and missing_s < -GAP_S else 0.0
        self._fresh = self._connecting = False
        self._line.restart()
        self._usual_s = 0.0
        placed = []
        for run in runs:
            self._line.add(run.at_s, max(run.late_s, late_s))
            skipped_s = min(heard_s, run.duration_s)
            begins = run is runs[0]
            self._end_s = min(run.begin_s + late_s, run.came_s) if begins else self._end_s
            placed.append(
                self._placed(
                    run, run.end_s + late_s, begins=begins, lost_s=missing_s, heard_s=skipped_s
                )
            )
            heard_s -= skipped_s
        return placed

    def _squeeze(self, runs: list[CountedRun], late_s: float, fallen_s: float) -> list[PlacedAudio]:
        """Sound came earlier than it could, as it was counted: what is before it was late."""
        begin_s, end_s = runs[0].begin_s, runs[-1].end_s
        before_s = runs[0].at_s if self._end_s is None else self._end_s
        if fallen_s > STEP_S + self._together_s:
            self._end_s = None
            return self._begin(runs, late_s)
        part = max(0.0, end_s + late_s - before_s) / (end_s - begin_s)
        self._line.restart()
        placed = []
        for run in runs:
            self._line.add(run.at_s, run.late_s)
            placed.append(self._placed(run, before_s + (run.end_s - begin_s) * part))
        return placed

    def _go_on(self, run: CountedRun) -> PlacedAudio:
        """Place a run after the one before, and slew."""
        line_s = self._line.at(run.at_s)
        usual_s = GAP_S + self._usual_s
        ahead_s = run.late_s - line_s
        duration_s = run.duration_s
        if ahead_s <= usual_s + 1.5 * self._together_s:
            self._line.add(run.at_s, run.late_s)
            line_s = self._line.at(run.at_s)
        if self._end_s is not None:
            behind_s = run.begin_s + line_s - self._end_s
            if behind_s > STEP_S + self._usual_s + 1.5 * self._together_s:
                return self._begin([run], line_s)[0]  # more is lost than slewing makes up for
        if ahead_s <= usual_s:
            self._usual_s += (max(0.0, ahead_s) - self._usual_s) * min(1, duration_s / _USUAL_S)
        before_s = run.begin_s + line_s if self._end_s is None else self._end_s
        counted_s = before_s + duration_s
        astray_s = (run.end_s + line_s - counted_s) * min(1.0, duration_s / _SMOOTH_S)
        most_s = _SLEW * duration_s
        return self._placed(run, counted_s + max(-most_s, min(most_s, astray_s)))

    def _placed(
        self,
        run: CountedRun,
        end_s: float,
        *,
        begins: bool = False,
        lost_s: float = 0.0,
        heard_s: float = 0.0,
    ) -> PlacedAudio:
        begins, self._begins = begins or self._begins, False
        self._last_s = run.at_s
        end_s = min(end_s, run.came_s)
        start_s = end_s if self._end_s is None else self._end_s
        self._end_s = max(start_s, end_s)
        return PlacedAudio(
            run.begin_s,
            run.end_s,
            self._wall.utc_ns(start_s),
            self._wall.utc_ns(self._end_s),
            self._wall.monotonic_s(self._end_s),
            begins,
            max(0.0, lost_s) if begins else 0.0,
            heard_s,
        )

    def _run(self, arrival: Arrival, sent_s: float | None) -> CountedRun:
        begin_s, expected_s = self._count_s, self._stamp_s
        self._count_s += arrival.duration_s
        self._stamp_s = None
        if arrival.stamp_s is not None:
            self._stamp_s = arrival.stamp_s + arrival.duration_s
        came_s = self._wall.on_line(arrival.at_s)
        at_s = came_s if sent_s is None else sent_s + arrival.duration_s
        return CountedRun(begin_s, self._count_s, came_s, at_s, self._stamp_s, expected_s)

    def _sent_s(self, arrival: Arrival) -> float | None:
        """When the first sample was made, as the sender says, unless that could not be once."""
        if arrival.sent_s is None or self._distrusted:
            return None
        sent_s = self._wall.from_utc(arrival.sent_s)
        old_s = self._wall.on_line(arrival.at_s) - sent_s - arrival.duration_s
        self._distrusted = not -_AHEAD_S <= old_s <= _OLDEST_S
        return None if self._distrusted else sent_s
