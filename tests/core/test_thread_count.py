"""How many threads score, by what the kernel counted."""

from __future__ import annotations

import pytest

from pe_stream.core.thread_count import LEAST_S, UP_S, CoreUsage, ThreadCount


class Machine:
    """Cores that others take part of; we take what our threads take of the rest."""

    def __init__(self, cores: int = 4) -> None:
        self.cores = cores
        self.now_s = self.busy_s = self.idle_s = self.own_s = 0.0

    def run(self, seconds: float, others: float, own: float = 0.0) -> CoreUsage:
        """Let time pass. others, own: cores in use."""
        used = min(self.cores, others + own)
        self.now_s += seconds
        self.busy_s += used * seconds
        self.idle_s += (self.cores - used) * seconds
        self.own_s += own * seconds
        return self.read()

    def read(self) -> CoreUsage:
        return CoreUsage(self.now_s, self.cores, self.busy_s, self.idle_s, self.own_s)


def after(
    count: ThreadCount, machine: Machine, seconds: float, others: float, own: float = 0
) -> int:
    """What it is at the end, looked at twice a second."""
    for _ in range(round(2 * seconds)):
        count.update(machine.run(0.5, others, own))
    return count.threads


def settled(machine: Machine, threads: int = 4) -> ThreadCount:
    count = ThreadCount(threads, machine.cores)
    count.update(machine.read())
    return count


@pytest.mark.parametrize(
    ("others", "expected"), [(0, 4), (0.4, 4), (0.6, 3), (1, 3), (2.6, 1), (4, 1), (9, 1)]
)
def test_taken_cores_are_left_at_once(others: float, expected: int) -> None:
    machine = Machine()
    count = settled(machine)
    assert count.update(machine.run(LEAST_S, others)) == expected


@pytest.mark.parametrize(("others", "expected"), [(0, 4), (0.2, 4), (0.4, 3), (1.2, 3), (3.9, 1)])
def test_free_cores_are_taken_after_a_while(others: float, expected: int) -> None:
    machine = Machine()
    count = settled(machine, threads=1)
    assert after(count, machine, UP_S - 0.5, others) == 1
    assert after(count, machine, 0.5, others) == expected


def test_what_comes_between_counts_as_much_as_it_took() -> None:
    machine = Machine()
    count = settled(machine, threads=1)
    after(count, machine, UP_S - 0.5, others=0)
    assert count.update(machine.run(0.5, others=4)) == 3, "0.4 of a core in the mean"
    assert after(count, machine, UP_S, others=0) == 4


def test_short_work_of_others_leaves_idle_cores_to_us() -> None:
    """A fifth of a second every four: by hops of half a second, that is nearly half of a core."""
    machine = Machine(cores=2)
    count = settled(machine, threads=1)
    seen = []
    for hop in range(200):
        count.update(machine.run(0.5, others=0.4 if hop % 8 == 7 else 0.0, own=0.5))
        seen.append(count.threads)
    assert set(seen[:9]) == {1}
    assert set(seen[10:]) == {2}


def test_after_a_core_was_left_the_wait_begins_anew() -> None:
    machine = Machine()
    count = settled(machine)
    after(count, machine, UP_S - 0.5, others=0)
    count.update(machine.run(0.5, others=4))
    assert after(count, machine, UP_S - 0.5, others=0) == 1
    assert after(count, machine, 0.5, others=0) == 4


def test_no_more_are_taken_than_were_free_in_the_mean() -> None:
    machine = Machine()
    count = settled(machine, threads=1)
    after(count, machine, UP_S - 0.5, others=2)
    assert after(count, machine, 0.5, others=0) == 2


def test_between_taking_and_leaving_nothing_changes() -> None:
    """A third of a core: too much for another thread, too little to let go of one."""
    for threads in (3, 4):
        machine = Machine()
        count = settled(machine, threads)
        assert after(count, machine, 4 * UP_S, others=0.35) == threads


def test_our_own_work_takes_nothing_from_us() -> None:
    machine = Machine()
    count = settled(machine, threads=1)
    assert after(count, machine, 2 * UP_S, others=0, own=1) == 4
    assert after(count, machine, 2 * UP_S, others=0, own=4) == 4


def test_a_quota_is_the_most() -> None:
    machine = Machine(cores=8)
    count = ThreadCount(4, 2)
    assert count.threads == 2
    count.update(machine.read())
    assert after(count, machine, 2 * UP_S, others=1) == 2
    assert after(count, machine, 1, others=7) == 1
    assert after(count, machine, 2 * UP_S, others=0) == 2


def test_readings_soon_after_each_other_are_one() -> None:
    machine = Machine()
    count = settled(machine)
    for _ in range(4):
        assert count.update(machine.run(LEAST_S / 5, others=4)) == 4
    assert count.update(machine.run(LEAST_S / 5, others=4)) == 1


@pytest.mark.parametrize("counted", ["nothing", "backwards", "other cores"])
def test_what_cannot_be_believed_changes_nothing(counted: str) -> None:
    """Sandboxes count nothing; counters of a core that was off begin anew."""
    machine = Machine()
    machine.run(100, others=1)
    count = settled(machine, threads=2)
    before = machine.read()
    for second in range(1, 20):
        at_s = before.at_s + second
        made = {
            "nothing": CoreUsage(at_s, 4, before.busy_s, before.idle_s, before.own_s + second),
            "backwards": CoreUsage(
                at_s, 4, before.busy_s - 9 * second, before.idle_s + 60 * second, 0
            ),
            "other cores": CoreUsage(
                at_s, 4 + second, before.busy_s + 90 * second, before.idle_s, 0
            ),
        }
        assert count.update(made[counted]) == 2
