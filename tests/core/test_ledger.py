import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pe_stream.core.ledger import BLOCK, Account, Ledger, SourceState

NOISE = np.random.default_rng(1).normal(0, 0.1, 40 * BLOCK).astype(np.float32)
ZEROS = np.zeros(40 * BLOCK, np.float32)


def state(ledger: Ledger) -> SourceState:
    return ledger.account.state


def test_level_is_the_rms_of_the_last_block() -> None:
    ledger = Ledger()
    assert state(ledger) is SourceState.STARTING
    tone = np.sin(2 * np.pi * 1000 * np.arange(BLOCK) / 48_000).astype(np.float32)
    ledger.hear(0.5 * tone)
    assert ledger.account.level_dbfs == pytest.approx(-9.0, abs=0.1)
    assert state(ledger) is SourceState.HEARING


@pytest.mark.parametrize("value", [0.0, 0.25, -1.0])
def test_a_constant_is_flat_after_two_seconds_and_hears_again_after_half_a_second(
    value: float,
) -> None:
    ledger = Ledger()
    ledger.hear(NOISE)
    ledger.hear(np.full(19 * BLOCK, value, np.float32))
    assert state(ledger) is SourceState.HEARING
    ledger.hear(np.full(BLOCK, value, np.float32))
    assert state(ledger) is SourceState.FLAT
    assert ledger.account.flat == 20 * BLOCK
    ledger.hear(NOISE[: 4 * BLOCK])
    assert state(ledger) is SourceState.FLAT
    ledger.hear(NOISE[:BLOCK])
    assert state(ledger) is SourceState.HEARING


def test_quiet_is_not_deaf() -> None:
    ledger = Ledger()
    ledger.hear(NOISE * 1e-4)
    assert state(ledger) is SourceState.HEARING
    assert ledger.account.flat == 0


def test_a_square_wave_at_full_scale_is_clipped() -> None:
    ledger = Ledger()
    ledger.hear(np.tile(np.array([1, -1], np.float32), BLOCK))
    assert ledger.account.clipped == 2 * BLOCK


def test_lost_and_dropped_add_up_and_a_silent_source_is_lost() -> None:
    ledger = Ledger()
    ledger.hear(NOISE[:1000])
    ledger.lose(300)
    ledger.drop(200)
    ledger.silence()
    account = ledger.account
    assert (account.heard, account.lost, account.state) == (800, 500, SourceState.LOST)
    ledger.hear(NOISE[:BLOCK])
    assert state(ledger) is SourceState.HEARING


@given(cuts=st.lists(st.integers(0, 6 * BLOCK), max_size=20))
def test_the_sizes_of_chunks_do_not_matter(cuts: list[int]) -> None:
    signal = np.concatenate([NOISE[: 2 * BLOCK], ZEROS[: 3 * BLOCK + 7], NOISE[:BLOCK] * 20])

    def account(pieces: list[int]) -> Account:
        ledger = Ledger()
        for a, b in zip([0, *pieces], [*pieces, len(signal)], strict=True):
            ledger.hear(signal[a:b])
        ledger.settle()
        return ledger.account

    assert account(sorted(cuts)) == account([])


def test_breaks_are_counted_and_those_of_the_last_minutes_are_a_rate() -> None:
    ledger = Ledger()
    assert (ledger.account.breaks, ledger.account.breaks_per_minute) == (0, 0.0)
    for _ in range(3):
        ledger.hear(NOISE)  # 4 s
        ledger.break_off()
    assert (ledger.account.breaks, ledger.account.breaks_per_minute) == (3, 3.0)
    ledger.lose(48_000 * 60 * 3 - 3 * len(NOISE))
    assert ledger.account.breaks_per_minute == 1.0
    ledger.lose(48_000 * 60 * 2 - 1)
    assert ledger.account.breaks_per_minute == 0.6
    ledger.lose(48_000 * 60)
    assert (ledger.account.breaks, ledger.account.breaks_per_minute) == (3, 0.0)
