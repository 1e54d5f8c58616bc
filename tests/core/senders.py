"""A made-up sender, network and listener: what a stream's clock is tried on.

Nothing here knows how the clock works. A sender's sound card makes audio at its own rate; what it
makes while it is stalled is lost or kept; the network delays, and keeps the order.

    python senders.py       prints the table of simulated days, as the documentation has it
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from pe_stream.core.stream_clock import Arrival, PlacedAudio, StreamClock

EPOCH_S = 1_795_221_349.0
"""UTC of the beginning."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A run of audio.

    begun_s, made_s: when its ends were made; duration_s: as its samples count; came_s: when it
    arrived. stamp_s, sent_s: as in `Arrival`.
    """

    begun_s: float
    made_s: float
    duration_s: float
    came_s: float
    stamp_s: float | None = None
    sent_s: float | None = None

    @property
    def arrival(self) -> Arrival:
        utc_ns = round((EPOCH_S + self.came_s) * 1e9)
        return Arrival(self.duration_s, self.came_s, utc_ns, self.stamp_s, self.sent_s)


@dataclass
class Sender:
    """Sends for ever.

    speed: of its sound card. block_s: audio of a run, in samples. batch: runs that are sent
    together. delay: of each batch, from its number; keeps the order. stalls: (when, how long);
    lost: whether what is made meanwhile is. stamp: what it says of the time of a run, from the
    seconds counted. missing_s: lost so far.
    """

    speed: float = 1.0
    block_s: float = 0.04
    batch: int = 1
    delay: Callable[[int], float] = lambda _: 0.02
    stalls: tuple[tuple[float, float], ...] = ()
    lost: bool = True
    stamp: Callable[[float], float | None] = lambda counted_s: counted_s
    missing_s: float = 0.0

    def send(self, begin_s: float, end_s: float, stored_s: float = 0.0) -> Iterator[Sent]:
        """What is made from begin_s on, of which stored_s before it are sent at once."""
        made_s, came_s, counted_s, number = begin_s - stored_s, begin_s, 0.0, 0
        stalls = list(self.stalls)
        waiting: list[tuple[float, float, float]] = []
        real_s = self.block_s / self.speed
        until_s = 0.0
        while made_s < end_s:
            while stalls and made_s >= stalls[0][0] - 1e-6:
                at_s, length_s = stalls.pop(0)
                if made_s > at_s + length_s:
                    continue
                until_s = at_s + length_s
                if self.lost:
                    begun_s = waiting[0][0] if waiting else made_s  # nor is it sent what waits
                    self.missing_s += until_s - begun_s
                    made_s, counted_s = until_s, counted_s - len(waiting) * self.block_s
                    waiting.clear()
            waiting.append((made_s, made_s + real_s, counted_s))
            made_s += real_s
            counted_s += self.block_s
            if len(waiting) < self.batch:
                continue
            sent_s = max(made_s, begin_s, until_s) + self.delay(number)
            came_s = max(came_s, sent_s)
            for begun, ended, counted in waiting:
                yield Sent(begun, ended, self.block_s, came_s, self.stamp(counted))
            waiting.clear()
            number += 1


@dataclass
class Outcome:
    """What a clock made of it.

    late_s, early_s: worst errors of time (s). lost_s: that it counted; again_s: left out as heard
    before. foretold_s: by how much a sound was put after it came. held_s: longest wait.
    """

    late_s: float = 0.0
    early_s: float = 0.0
    stretches: int = 0
    lost_s: float = 0.0
    again_s: float = 0.0
    foretold_s: float = 0.0
    held_s: float = 0.0

    @property
    def worst_s(self) -> float:
        return max(self.late_s, -self.early_s)


def listen(clock: StreamClock, sent: Iterator[Sent], outcome: Outcome) -> float:
    """Have a clock place all of a connection; returns when its last sound was made, as it says."""
    waiting: list[Sent] = []
    captured_s = 0.0

    def take(placed: list[PlacedAudio], now_s: float) -> None:
        nonlocal captured_s
        for each in placed:
            run = waiting.pop(0)
            outcome.stretches += each.begins
            outcome.lost_s += each.lost_s
            outcome.again_s += each.heard_s
            outcome.held_s = max(outcome.held_s, now_s - run.came_s)
            outcome.foretold_s = max(outcome.foretold_s, each.end_ns / 1e9 - EPOCH_S - now_s)
            captured_s = each.captured_s
            for said, true in ((each.start_ns, run.begun_s), (each.end_ns, run.made_s)):
                error_s = said / 1e9 - EPOCH_S - true
                outcome.late_s = max(outcome.late_s, error_s)
                outcome.early_s = min(outcome.early_s, error_s)

    now_s = 0.0
    for run in sent:
        while (due_s := clock.due_s) is not None and due_s < run.came_s:
            take(clock.settle(), due_s)
        waiting.append(run)
        now_s = run.came_s
        take(clock.add(run.arrival), now_s)
    take(clock.settle(), now_s)
    assert not waiting
    return captured_s


def day(sender: Sender, hours: float = 24.0) -> tuple[Outcome, float]:
    """What comes of one connection, and what was truly lost (s)."""
    outcome = Outcome()
    listen(StreamClock(), sender.send(0.0, hours * 3600), outcome)
    return outcome, sender.missing_s


def reconnecting(hours: float = 24.0) -> tuple[Outcome, float]:
    """Twenty connections, 1 to 8 s apart, that begin with 64 kB of stored MP3 at 128 kbit/s."""
    outcome, stored_s = Outcome(), 65_536 / 16_000
    chance, missing_s, at_s, captured_s = random.Random(20), 0.0, 0.0, None
    for _ in range(20):
        until_s = at_s + hours * 180
        clock = StreamClock(captured_s)
        sender = Sender(block_s=0.512)
        captured_s = listen(clock, sender.send(at_s, until_s, stored_s), outcome)
        at_s = until_s + chance.uniform(1.0, 8.0)
        missing_s += max(0.0, at_s - stored_s - captured_s)
    return outcome, missing_s - max(0.0, at_s - stored_s - (captured_s or 0.0))


def _jittery(most_s: float) -> Callable[[int], float]:
    chance = random.Random(1)
    return lambda _: chance.uniform(0.0, most_s)


def days(hours: float) -> Mapping[str, Callable[[], tuple[Outcome, float]]]:
    """Simulated days of so many hours by name: what was made of it, and what was lost (s)."""
    stalls = tuple((1800.0 + 3606 * hour, 6.0) for hour in range(round(hours)))
    senders = {
        "exact": Sender(block_s=0.96),
        "slow by 0.1 %": Sender(0.999, 0.96),
        "slow by 3 %": Sender(0.97, 0.96),
        "fast by 3 %": Sender(1.03, 0.96),
        "arrival jitters by 0.3 s": Sender(block_s=0.48, delay=_jittery(0.3)),
        "batches of 320 ms, of one stamp each": Sender(
            block_s=0.16, batch=2, stamp=lambda counted_s: counted_s // 0.32 * 0.32
        ),
        "a stall of 6 s each hour, lost": Sender(block_s=0.96, stalls=stalls),
        "a stall of 6 s each hour, caught up": Sender(block_s=0.96, stalls=stalls, lost=False),
    }
    each = {name: lambda sender=sender: day(sender, hours) for name, sender in senders.items()}
    return {**each, "64 kB at each of 20 reconnects": lambda: reconnecting(hours)}


def main() -> None:
    print("| sender | worst error (s) | segments | counted lost (s) | truly lost (s) |")
    print("| --- | --- | --- | --- | --- |")
    for name, run in days(24.0).items():
        outcome, missing_s = run()
        figures = f"{outcome.worst_s:.2f} | {outcome.stretches}"
        print(f"| {name} | {figures} | {outcome.lost_s:.1f} | {missing_s:.1f} |")


if __name__ == "__main__":
    main()
