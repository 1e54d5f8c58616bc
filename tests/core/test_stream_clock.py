"""The clock of a stream against made-up senders and networks: see `senders`."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from core.senders import EPOCH_S, Outcome, Sender, days, listen
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.arrival_line import ArrivalLine
from pe_stream.core.stream_clock import Arrival, PlacedAudio, StreamClock


def heard(sender: Sender, seconds: float, stored_s: float) -> Outcome:
    outcome = Outcome()
    listen(StreamClock(), sender.send(0.0, seconds, stored_s), outcome)
    return outcome


STALLS = st.lists(st.tuples(st.floats(0, 60), st.floats(1.5, 20)), max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    speed=st.floats(0.97, 1.03),
    block_s=st.sampled_from([0.02, 0.04, 0.128, 0.32]),
    batch=st.integers(1, 8),
    jitter_s=st.floats(0, 0.3),
    seed=st.integers(0, 1000),
    pauses=STALLS,
    lost=st.booleans(),
    stored_s=st.floats(0, 12),
    steps_s=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_every_sound_has_its_time(
    *,
    speed: float,
    block_s: float,
    batch: int,
    jitter_s: float,
    seed: int,
    pauses: list[tuple[float, float]],
    lost: bool,
    stored_s: float,
    steps_s: float,
) -> None:
    chance = random.Random(seed)
    at_s, stalls = 30.0, []
    for pause_s, length_s in pauses:
        at_s += 30.0 + pause_s
        stalls.append((at_s, length_s))
        at_s += length_s
    sender = Sender(
        speed,
        block_s,
        min(batch, max(1, int(0.32 / block_s))),
        delay=lambda _: 0.02 + chance.uniform(0, jitter_s),
        stalls=tuple(stalls),
        lost=lost,
        stamp=lambda counted_s: counted_s + chance.uniform(-steps_s, steps_s) / 2,
    )
    outcome = heard(sender, at_s + 60, stored_s)
    assert outcome.foretold_s < 1e-5
    unknown_s = abs(speed - 1) * stored_s  # nobody can know how fast was made what came at once
    assert outcome.late_s < 0.5 + unknown_s, "too late"
    assert outcome.early_s > -0.5, "too early"
    assert outcome.stretches == 1 + (len(stalls) if lost else 0)
    assert outcome.lost_s == pytest.approx(sender.missing_s, abs=0.4 * len(stalls) + 1e-6)
    assert outcome.held_s < 3.5


DAYS = days(4.0)  # 24 hours show no more, and take six times as long
BROKEN = {"a stall of 6 s each hour, lost": 5, "64 kB at each of 20 reconnects": 20}


@pytest.mark.heavy
@pytest.mark.parametrize("name", DAYS)
def test_a_part_of_a_day(name: str) -> None:
    outcome, missing_s = DAYS[name]()
    assert outcome.foretold_s < 1e-5
    assert outcome.worst_s < 0.3
    assert outcome.lost_s == pytest.approx(missing_s, abs=0.02 * outcome.stretches)
    assert outcome.stretches == BROKEN.get(name, 1)


def paced(
    clock: StreamClock, begin_s: float, end_s: float, *, stamp_s: float | None = None
) -> list[PlacedAudio]:
    """Sound that comes as it is made, in tenths; stamp_s: the first one."""
    placed = []
    for number in range(round((end_s - begin_s) * 10)):
        at_s = begin_s + (number + 1) / 10
        said_s = None if stamp_s is None else stamp_s + number / 10
        placed += clock.add(Arrival(0.1, at_s, round((EPOCH_S + at_s) * 1e9), said_s))
    return placed


def ends_s(placed: list[PlacedAudio]) -> list[float]:
    return [each.end_ns / 1e9 - EPOCH_S for each in placed]


@pytest.mark.parametrize("step_s", [-86_400.0, -5.0, 0.9, 7.0, 1e6])
def test_stamps_that_jump_while_sound_arrives_steadily_change_nothing(step_s: float) -> None:
    clock = StreamClock()
    placed = paced(clock, 0, 5, stamp_s=0.0) + paced(clock, 5, 10, stamp_s=5.0 + step_s)
    assert [each.begins for each in placed] == [True] + [False] * 99
    assert ends_s(placed) == pytest.approx([(n + 1) / 10 for n in range(100)], abs=1e-3)


def test_a_burst_ends_now_and_begins_in_the_past() -> None:
    clock = StreamClock()
    for _ in range(40):
        assert clock.add(Arrival(0.1, 100.0, round((EPOCH_S + 100) * 1e9))) == []
    assert clock.due_s == pytest.approx(100.5)
    placed = clock.settle()
    assert clock.due_s is None
    assert ends_s(placed) == pytest.approx([96.1 + n / 10 for n in range(40)], abs=1e-3)
    assert [each.captured_s for each in placed] == pytest.approx(ends_s(placed), abs=1e-3)


def test_what_an_earlier_connection_brought_is_left_out_and_a_gap_is_lost() -> None:
    again = StreamClock(after_s=98.0)
    for _ in range(40):
        again.add(Arrival(0.1, 100.0, round((EPOCH_S + 100) * 1e9)))
    placed = again.settle()
    assert sum(each.heard_s for each in placed) == pytest.approx(2.0)
    assert sum(each.lost_s for each in placed) == 0
    late = StreamClock(after_s=90.0)
    for _ in range(40):
        late.add(Arrival(0.1, 100.0, round((EPOCH_S + 100) * 1e9)))
    placed = late.settle()
    assert placed[0].lost_s == pytest.approx(6.0)
    assert sum(each.heard_s for each in placed) == 0


def test_before_the_first_sound_nothing_is_lost_unless_it_was_waited_for() -> None:
    assert paced(StreamClock(), 10, 12)[0].lost_s == 0
    waited = StreamClock()
    waited.waits(3.0)
    waited.waits(4.0)
    assert paced(waited, 10, 12)[0].lost_s == pytest.approx(7.0)


def test_a_part_of_a_stall_may_be_lost() -> None:
    clock = StreamClock()
    paced(clock, 0, 30)
    placed = []
    for _ in range(20):  # 6 s of silence on the line, of which the sender kept the last two
        placed += clock.add(Arrival(0.1, 36.0, round((EPOCH_S + 36) * 1e9)))
    placed += paced(clock, 36, 40)
    begun = [each for each in placed if each.begins]
    assert [each.lost_s for each in begun] == pytest.approx([4.0], abs=0.01)
    assert begun[0].start_ns / 1e9 - EPOCH_S == pytest.approx(34.0, abs=0.01)


def test_a_network_that_catches_up_slowly_loses_nothing() -> None:
    clock = StreamClock()
    paced(clock, 0, 30)
    placed, at_s = [], 40.0
    for _ in range(200):  # twice as fast as it plays: 10 s behind, then 0
        at_s += 0.05
        placed += clock.add(Arrival(0.1, at_s, round((EPOCH_S + at_s) * 1e9)))
    placed += paced(clock, 50, 60)
    assert not any(each.begins for each in placed)
    assert ends_s(placed)[-1] == pytest.approx(60.0, abs=0.01)


def test_a_clock_that_is_set_begins_a_stretch_and_loses_nothing() -> None:
    clock = StreamClock()
    paced(clock, 0, 10)
    placed = []
    for number in range(20):
        at_s = 10 + (number + 1) / 10
        placed += clock.add(Arrival(0.1, at_s, round((EPOCH_S + 3600 + at_s) * 1e9)))
    begun = [each for each in placed if each.begins]
    assert [each.lost_s for each in begun] == [0.0]
    assert begun[0].end_ns / 1e9 - EPOCH_S == pytest.approx(3610.2, abs=0.01)
    assert placed[-1].captured_s == pytest.approx(12.0, abs=0.01)


def test_one_look_at_the_clocks_that_took_long_is_no_change() -> None:
    clock = StreamClock()
    paced(clock, 0, 10)
    odd = clock.add(Arrival(0.1, 10.1, round((EPOCH_S + 12) * 1e9)))
    assert [each.begins for each in odd + paced(clock, 10.1, 12)] == [False] * 20


def test_a_break_that_is_told_of_begins_a_stretch() -> None:
    clock = StreamClock()
    paced(clock, 0, 10)
    placed = clock.add(Arrival(0.1, 13.1, round((EPOCH_S + 13.1) * 1e9), broken=True))
    placed += paced(clock, 13.1, 15)
    assert [each.lost_s for each in placed if each.begins] == pytest.approx([3.0])


def segments(
    clock: StreamClock, offset_s: float, jitter: list[float], said_s: float | None = 0.0
) -> tuple[list[PlacedAudio], list[float]]:
    """Segments of 4 s, made from 0 on, that come whole; also when the end of each was made.

    said_s: by how much the sender's clock is off; None where it does not say.
    """
    placed, true, at_s = [], [], 0.0
    for number in range(len(jitter)):
        made = max(2, number)  # the first three are stored
        at_s = max(at_s, offset_s + 4.0 * (made + 1) + jitter[made])
        while (due_s := clock.due_s) is not None and due_s < at_s:
            placed += clock.settle()
        for part in range(40):
            begun_s = 4.0 * number + part / 10
            sent_s = None if said_s is None else EPOCH_S + begun_s + said_s
            utc_ns = round((EPOCH_S + at_s) * 1e9)
            placed += clock.add(Arrival(0.1, at_s, utc_ns, begun_s, sent_s, batch_s=4.0))
            true.append(begun_s + 0.1)
    return placed + clock.settle(), true


@settings(max_examples=30, deadline=None)
@given(jitter=st.lists(st.floats(0, 4), min_size=5, max_size=30), latency_s=st.floats(0.5, 20))
def test_a_sender_that_tells_the_time_is_believed(jitter: list[float], latency_s: float) -> None:
    placed, true = segments(StreamClock(), latency_s, jitter)
    assert [each.begins for each in placed] == [True] + [False] * (len(true) - 1)
    assert ends_s(placed) == pytest.approx(true, abs=0.01)


@pytest.mark.parametrize("latency_s", [0.2, 1.0])
@pytest.mark.parametrize("said_s", [1.5, 2.0, 2.2, 3.0, 5.0, 7.0, -114.0, -117.0])
def test_a_sender_whose_clock_is_nearly_believed_is_believed_or_not(
    said_s: float, latency_s: float
) -> None:
    chance = random.Random(1)
    jitter = [chance.uniform(0, 0.3) for _ in range(20)]
    placed, _ = segments(StreamClock(), latency_s, jitter, said_s)
    assert sum(each.begins for each in placed) <= 2
    assert sum(each.lost_s for each in placed) == 0
    ends = ends_s(placed)
    assert sum(b < a - 1e-6 for a, b in pairwise(ends)) <= 1


@pytest.mark.parametrize("was_off_s", [-3600.0, -60.0, 60.0])
def test_a_clock_of_ours_that_is_set_moves_a_sender_that_tells_the_time(was_off_s: float) -> None:
    clock = StreamClock()
    placed = []
    for number in range(400):  # tenths, 5 s old
        at_s = 5 + number / 10
        utc_s = EPOCH_S + at_s + (was_off_s if number < 200 else 0.0)
        sent_s = EPOCH_S + number / 10
        placed += clock.add(Arrival(0.1, at_s + 0.1, round((utc_s + 0.1) * 1e9), None, sent_s))
    assert sum(each.lost_s for each in placed) == 0
    assert sum(each.begins for each in placed) == 2
    assert ends_s(placed)[-1] == pytest.approx(40.0, abs=0.01)


def test_a_stall_that_goes_on_after_a_part_has_come_loses_nothing() -> None:
    clock = StreamClock()
    placed = paced(clock, 0, 30)
    for came_s, until_s in ((32.5, 31.7), (34.9, 34.9)):
        while (due_s := clock.due_s) is not None and due_s < came_s:
            placed += clock.settle()
        placed += arrive(clock, came_s, round((until_s - clock.count_s) * 10))
    placed += paced(clock, 34.9, 40)
    assert len(placed) == 400
    assert sum(each.begins for each in placed) == 1
    assert ends_s(placed)[-1] == pytest.approx(40.0, abs=0.01)


def test_what_comes_in_batches_after_a_stall_is_lost_once_no_more_of_it_comes() -> None:
    clock = StreamClock()
    placed: list[PlacedAudio] = []
    for at_s in [2.0, 4.0, 6.0, 8.0, 10.0, 16.0, 18.0, 20.0]:
        while (due_s := clock.due_s) is not None and due_s < at_s:
            placed += clock.settle()
        placed += arrive(clock, at_s, 20)
    placed += clock.settle()
    assert [each.lost_s for each in placed if each.begins] == pytest.approx([0, 4.0], abs=0.01)


@pytest.mark.parametrize("part", [0.06, 0.1])
def test_more_than_slewing_makes_up_for_is_lost(part: float) -> None:
    stalls = tuple((3.0 * number, 3.0 * part) for number in range(1, 200))
    sender = Sender(block_s=0.02, stalls=stalls)
    outcome = heard(sender, 600, 0.0)
    assert outcome.early_s > -2.0
    assert outcome.late_s < 0.1
    assert outcome.stretches > 1
    assert 0 < outcome.lost_s <= sender.missing_s


@settings(max_examples=30, deadline=None)
@given(
    jitter=st.lists(st.floats(0, 4), min_size=5, max_size=30),
    said_s=st.sampled_from([None, 30.0, -3600.0, 1e9]),
)
def test_segments_without_a_usable_time_are_one_stretch_and_never_foretold(
    jitter: list[float], said_s: float | None
) -> None:
    placed, true = segments(StreamClock(), 1.0, jitter, said_s)
    assert [each.begins for each in placed] == [True] + [False] * (len(true) - 1)
    assert sum(each.lost_s for each in placed) == 0
    errors = [said - made for said, made in zip(ends_s(placed), true, strict=True)]
    assert min(errors) > -0.01
    assert max(errors) < 5.5  # a segment, and a second on the way


def test_a_segment_that_is_left_out_is_lost() -> None:
    clock = StreamClock()
    placed: list[PlacedAudio] = []
    for number in [0, 1, 2, 3, 4, 6, 7]:
        at_s = 4.0 * (number + 1) + 1
        while (due_s := clock.due_s) is not None and due_s < at_s:
            placed += clock.settle()
        for part in range(40):
            stamp_s = 4.0 * number + part / 10
            utc_ns = round((EPOCH_S + at_s) * 1e9)
            placed += clock.add(Arrival(0.1, at_s, utc_ns, stamp_s, batch_s=4.0))
    placed += clock.settle()
    assert [each.lost_s for each in placed if each.begins] == pytest.approx([0, 4.0], abs=0.05)


def arrive(
    clock: StreamClock, at_s: float, count: int, *, utc_off_s: float = 0.0
) -> list[PlacedAudio]:
    """Tenths of a second that come at once."""
    placed = []
    for _ in range(count):
        placed += clock.add(Arrival(0.1, at_s, round((EPOCH_S + utc_off_s + at_s) * 1e9)))
    return placed


def test_what_overlaps_within_a_connection_was_not_heard_before() -> None:
    clock = StreamClock(after_s=0.0)
    paced(clock, 0, 10)
    placed = clock.add(Arrival(0.1, 10.1, round((EPOCH_S + 10.1) * 1e9), broken=True))
    placed += arrive(clock, 10.1, 30) + clock.settle()
    assert [each.begins for each in placed] == [True] + [False] * 30
    assert sum(each.heard_s + each.lost_s for each in placed) == 0


def test_what_has_caught_up_is_not_held_any_longer() -> None:
    clock = StreamClock()
    paced(clock, 0, 30)
    assert len(arrive(clock, 36.0, 60)) == 60
    assert clock.due_s is None


def test_what_is_held_comes_before_what_follows_a_clock_that_is_set() -> None:
    clock = StreamClock()
    assert arrive(clock, 10.0, 20) == []
    placed = arrive(clock, 10.1, 2, utc_off_s=3600.0)
    placed += paced(clock, 10.1, 11)
    assert [each.begin_s for each in placed] == pytest.approx([n / 10 for n in range(len(placed))])
    assert len(placed) > 21


@pytest.mark.parametrize(("early_s", "segments"), [(0.8, 1), (4.0, 2)])
def test_a_delay_that_ends_is_squeezed_out_or_begins_a_stretch(
    early_s: float, segments: int
) -> None:
    clock = StreamClock()
    placed = paced(clock, early_s, 10 + early_s)
    placed += arrive(clock, 10 + early_s, round(early_s * 10))
    placed += paced(clock, 10 + early_s, 13 + early_s)
    assert sum(each.begins for each in placed) == segments
    assert sum(each.lost_s for each in placed) == 0
    assert ends_s(placed)[-1] == pytest.approx(13 + early_s, abs=0.01)
    ends = ends_s(placed)
    assert segments > 1 or all(a <= b for a, b in pairwise(ends))


def test_what_is_usual_is_no_loss() -> None:
    chance = random.Random(4)
    sender = Sender(delay=lambda _: chance.choice([0.0, 0.45, 0.62]), block_s=0.32)
    outcome = heard(sender, 1200, 0.0)
    assert (outcome.stretches, outcome.lost_s) == (1, 0.0)


def test_not_everything_is_held() -> None:
    clock = StreamClock()
    assert len(arrive(clock, 100.0, 305)) > 295
    slow = StreamClock()
    placed = []
    for number in range(60):  # ten times as fast as it plays
        placed += slow.add(Arrival(1.0, number / 10, round((EPOCH_S + number / 10) * 1e9)))
    assert placed


def test_a_small_step_of_the_wall_clock_is_slewed_and_no_part_of_latency() -> None:
    clock = StreamClock()
    paced(clock, 0, 10)
    placed = []
    for number in range(300):
        at_s = 10 + (number + 1) / 10
        placed += arrive(clock, at_s, 1, utc_off_s=0.3)
    assert not any(each.begins for each in placed)
    assert ends_s(placed)[-1] == pytest.approx(40.3, abs=0.02)
    assert placed[-1].captured_s == pytest.approx(40.0, abs=0.02)


def test_many_small_steps_of_the_wall_clock_are_slewed_too() -> None:
    clock = StreamClock()
    placed = []
    for number in range(1500):
        at_s = (number + 1) / 10
        placed += arrive(clock, at_s, 1, utc_off_s=0.3 * (number // 300))
    assert sum(each.begins for each in placed) == 1
    assert ends_s(placed)[-1] == pytest.approx(151.2, abs=0.02)
    assert placed[-1].captured_s == pytest.approx(150.0, abs=0.02)


@pytest.mark.parametrize("speed", [0.97, 0.99, 1.03])
def test_a_speed_that_is_known_makes_times_better(speed: float) -> None:
    clock = StreamClock()
    errors: list[float] = []
    waiting = []
    for run in Sender(speed, block_s=0.128).send(0.0, 300.0):
        waiting.append(run)
        ends = ends_s(clock.add(run.arrival))
        errors += [end_s - waiting.pop(0).made_s for end_s in ends]
    assert max(map(abs, errors[len(errors) // 2 :])) < 0.09


def test_a_slope_that_may_be_chance_is_none() -> None:
    line = ArrivalLine()
    for number in range(60):
        line.add(2.0 * number, 1.7 * (number * 7 % 5))
    assert line.at(1120.0) - line.at(120.0) == 0


def test_of_what_comes_together_the_earliest_counts_for_longer() -> None:
    line = ArrivalLine(4.0)
    line.add(0.0, 1.0)
    for number in range(1, 20):
        line.add(4.0 * number, 3.0)
        assert line.at(4.0 * number) == 1.0
