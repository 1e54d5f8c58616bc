"""Scores by the level of frames, against a slow twin, and through the detector."""

from __future__ import annotations

from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pe_stream.core.background_level import BackgroundLevel
from pe_stream.core.detector import Detector, Heard
from pe_stream.core.event_builder import Origin
from pe_stream.core.frame_levels import AROUND, FrameLevels
from pe_stream.core.types import (
    FRAME,
    AudioChunk,
    LabelRule,
    Loud,
    Phase,
    Reason,
    Samples,
)
from pe_stream.core.windows import Framing

BANG = LabelRule("bang", 0.5, 0.4, min_on=2, loud=Loud(20.0))
FULL = LabelRule("full", 0.5, 0.4, loud=Loud(-12.0, over_background=False))
MODEL = LabelRule("dog", 0.5, 0.4, least_db=-30.0)
PLAIN = LabelRule("cat", 0.5, 0.4)
RULES = [BANG, PLAIN, MODEL, FULL]


def noise(frames: float, level_dbfs: float, seed: int = 0) -> Samples:
    """White noise whose RMS has that level, nearly."""
    rng = np.random.default_rng(seed)
    return (10 ** (level_dbfs / 20) * rng.standard_normal(round(frames * FRAME))).astype(np.float32)


def room(seed: int, seconds: float = 13) -> Samples:
    """Noise of -60 dBFS with sounds in it."""
    rng = np.random.default_rng(seed)
    samples = noise(seconds * 25, -60, seed)
    for _ in range(6):
        at, length = int(rng.integers(0, len(samples) - 9)), int(rng.integers(1000, 60_000))
        samples[at : at + length] *= np.float32(10 ** (rng.uniform(5, 45) / 20))
    samples[len(samples) // 3 :][:9600] = 0.0
    return samples


def levels_of(samples: Samples) -> NDArray[np.float64]:
    """Mean squares of frames, the last perhaps not whole."""
    return np.array(
        [
            np.square(samples[at : at + FRAME], dtype=np.float64).mean()
            for at in range(0, len(samples), FRAME)
        ]
    )


def slow(samples: Samples, background: BackgroundLevel, after: int = 6) -> NDArray[np.float64]:
    """Scores (frames, 4) of RULES, of a model that says 0.9: the slow, obvious twin."""
    rows = []
    for frame, power in enumerate(levels_of(samples)):
        begin = max(0, frame - (12 - after)) * FRAME
        around = np.square(samples[begin : (frame + after + 1) * FRAME], dtype=np.float64).mean()
        limit = 10 * np.sqrt(background.power)
        own = np.sqrt(power)
        bang = own / (own + limit) if np.isfinite(limit) else 0.0
        rows.append([bang, 0.9, 0.9 if around >= 1e-3 else 0.0, own / (own + 10 ** (-12 / 20))])
        if power:
            background.hear(power)
    return np.array(rows)


def listen(
    *segments: Samples,
    cuts: tuple[int, ...] = (),
    framing: Framing = Framing(window=50, hop=5, lookahead=7),  # noqa: B008 - frozen
    rules: list[LabelRule] | None = None,
    refiltered_at: int | None = None,
) -> list[Heard]:
    """What a detector makes of segments, with a model that always says 0.9.

    refiltered_at: one of the cuts, from which on the first segment has another gain.
    """
    rules = RULES if rules is None else rules
    ids = count()
    source = Detector(
        Origin("node", "mic", "test"), framing, rules, live=False, new_id=lambda: f"{next(ids)}"
    )
    told, start = list[Heard](), 0

    def drain() -> None:
        while (window := source.next_window()) is not None:
            scores = np.full((window.frames, len(rules)), 0.9, np.float32)
            told.append(source.accept(window, scores, 0.0))

    for samples in segments:
        edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(samples)}), len(samples)]
        for a, b in pairwise(edges):
            anchor_ns, other = 0 if a == 0 else None, start + a == refiltered_at
            source.feed(AudioChunk(start + a, samples[a:b], anchor_ns, refiltered=other))
            drain()
        start += len(samples) + FRAME // 3  # something is lost
        source.end(Reason.GAP)
        drain()
    return told


def scores(told: list[Heard]) -> NDArray[np.float32]:
    return np.concatenate([heard.scores for heard in told])


@pytest.mark.parametrize("lookahead", [0, 3, 6, 12])
def test_scores_are_those_of_the_slow_twin(lookahead: int) -> None:
    samples, background = room(1), BackgroundLevel()
    framing = Framing(window=50, hop=5, lookahead=lookahead)
    ours = scores(listen(samples[:-500], framing=framing))
    expected = slow(samples[:-500], background, min(6, lookahead))
    assert ours == pytest.approx(expected, abs=1e-6)
    assert not expected[:250, 0].any()
    assert expected[250:, 0].max() > 0.5 > expected[250:, 0].min()
    assert 0 < np.count_nonzero(expected[:, 2]) < len(expected)


def test_a_break_cuts_the_half_second_and_keeps_the_room() -> None:
    """Frames count on, levels do not reach over the break."""
    first, second = noise(30 * 25, -60), np.concatenate([noise(100, -29), noise(10.5, -60)])
    background = BackgroundLevel()
    expected = np.concatenate([slow(first, background), slow(second, background)])
    ours = scores(listen(first, second))
    assert ours == pytest.approx(expected, abs=1e-6)
    assert expected[30 * 25, 0] > 0.5  # the room of before the break is known
    assert ours[30 * 25, 2] > 0
    assert ours[30 * 25 - 1, 2] == 0


@given(
    st.integers(0, 1000),
    st.lists(st.integers(1, 600_000), max_size=12),
    st.sampled_from([(50, 5, 7), (50, 7, 2), (20, 1, 0), (40, 20, 20)]),
)
@settings(max_examples=8, deadline=None)
def test_chunks_and_hops_do_not_matter(
    seed: int, cuts: list[int], framing: tuple[int, int, int]
) -> None:
    samples = room(seed)[: -seed - 1]
    window, hop, lookahead = framing
    told = listen(samples, cuts=tuple(cuts), framing=Framing(window, hop, lookahead))
    whole = listen(samples, framing=Framing(window, hop, lookahead))
    assert scores(told).tobytes() == scores(whole).tobytes()
    assert [h.events for h in told if h.events] == [h.events for h in whole if h.events]
    other = scores(listen(samples, framing=Framing(window, 10, min(lookahead, window - 10))))
    assert scores(told).tobytes() == other.tobytes()


def test_another_gain_makes_another_room() -> None:
    """Else it would be loud for minutes, or nothing would."""
    at = 20 * 25 * FRAME + 700  # within a frame
    sound = noise(45 * 25, -60)
    sound[at:] *= 30
    sound[40 * 25 * FRAME :][: 5 * FRAME] *= 30
    for cuts in ((at,), (at, at + 100, at + 9000), (FRAME, at, 30 * 25 * FRAME)):
        told = listen(sound, cuts=cuts, rules=[BANG], refiltered_at=at)
        found = scores(told)[:, 0]
        # What one may compare with is known ten seconds later, and from the new sound alone.
        assert not found[20 * 25 : 30 * 25].any()
        quiet = np.delete(found[30 * 25 + 1 :], slice(10 * 25 - 1, 10 * 25 + 4))
        assert (quiet > 0.05).all()
        assert (quiet < 0.15).all()
        assert (found[40 * 25 :][:5] > 0.7).all()
    assert (scores(listen(sound, rules=[BANG]))[21 * 25 : 40 * 25, 0] > 0.7).all()  # as it was


def test_a_score_rises_with_the_level_and_is_a_half_at_the_limit() -> None:
    levels_dbfs = np.arange(-100.0, 6.0, 0.5)
    frames = [noise(1, -60, 1)] * 1500  # the background
    frames += [noise(1, level, 1) for level in levels_dbfs]
    found = scores(listen(np.concatenate(frames), rules=[BANG, FULL]))[1500:]
    at_limit = {BANG.name: -40.0, FULL.name: -12.0}
    for column, rule in enumerate((BANG, FULL)):
        track = found[:, column]
        assert (np.diff(track) > 0).all()
        assert 0 <= track.min() < 0.01
        assert track.max() <= 1
        crossed = levels_dbfs[np.searchsorted(track, 0.5)]
        assert crossed == pytest.approx(at_limit[rule.name], abs=1.0)
        below = levels_dbfs[np.searchsorted(track, rule.off_threshold)]
        assert crossed - below == pytest.approx(3.5, abs=0.5)


@pytest.mark.parametrize("constant", [0.0, 0.25])
def test_a_constant_is_silence_and_no_room(constant: float) -> None:
    """Of a microphone that is switched off, with an offset or without."""
    dead = np.full(20 * 48_000, constant, np.float32)
    assert not scores(listen(dead, rules=[BANG, FULL, MODEL])).any()
    alive = np.concatenate([dead, noise(9 * 25, -20)])
    assert not scores(listen(alive, rules=[BANG])).any()  # no background level yet


def test_events_are_those_of_any_label() -> None:
    """Onset and offset to the frame, a gap that ends one, and none in the first ten seconds."""
    samples = noise(40 * 25, -60)
    for begin, end in ((100, 150), (500, 505), (600, 601), (980, 1000)):
        samples[begin * FRAME : end * FRAME] *= np.float32(100)  # 40 dB
    told = [event for heard in listen(samples, rules=[BANG]) for event in heard.events]
    starts = [event for event in told if event.phase is Phase.START]
    ends = [event for event in told if event.phase is Phase.END]
    assert [event.onset_s for event in starts] == [20.0, 39.2]  # a frame is too short
    assert [(event.offset_s, event.reason) for event in ends] == [(20.2, None), (40.0, "gap")]
    assert starts[0].peak == pytest.approx(100 / 110, abs=0.01)


def test_quiet_sounds_of_a_label_are_no_event() -> None:
    samples = np.concatenate([noise(100, -50), noise(100, -25), noise(100, -50)])
    told = [event for heard in listen(samples, rules=[MODEL]) for event in heard.events]
    [start, end] = [event for event in told if event.phase is not Phase.UPDATE]
    # Within the half second around, a fifth of it at -25 dBFS has -32.
    assert start.onset_s == pytest.approx(4.0, abs=0.2)
    assert end.offset_s == pytest.approx(8.0, abs=0.2)


def test_rules_are_changed_while_it_runs() -> None:
    levels = FrameLevels(7, [PLAIN])
    assert not levels.used
    ones = np.full((20, 1), 0.9, np.float32)
    assert levels.applied(0, ones) is ones
    levels.change([replace(PLAIN, least_db=-30.0)])
    # The next frames are not the first of the segment; what was not heard is not there.
    levels.hear(40, np.concatenate([noise(20, -20), noise(20, -60)]))
    found = levels.applied(40, np.full((33, 1), 0.9, np.float32))
    assert found[:20].all()
    assert not found[27:].any()
    levels.change([replace(PLAIN, least_db=-90.0)])
    levels.hear(80, noise(10, -60))
    assert levels.applied(73, np.full((10, 1), 0.9, np.float32)).all()


def test_memory_does_not_grow() -> None:
    levels = FrameLevels(12, RULES)
    for hop in range(50):
        levels.hear(12 * hop, noise(12, -40))
        if hop:
            levels.applied(12 * (hop - 1), np.zeros((12, len(RULES)), np.float32))
    assert levels.next == 600
    assert len(levels._sums) <= 12 + AROUND
