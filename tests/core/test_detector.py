"""The detector with a stand-in scorer whose scores depend on the whole window."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import count, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.clipper import ClipRule
from pe_stream.core.detector import Detector, Heard
from pe_stream.core.event_builder import Origin
from pe_stream.core.types import (
    FRAME,
    AudioChunk,
    Event,
    Follow,
    FrameScores,
    LabelRule,
    Phase,
    Reason,
    Repetition,
    Rhythm,
    Samples,
    Window,
)
from pe_stream.core.windows import Framing

FRAMING = Framing(window=20, hop=4, lookahead=3)
RULES = [
    LabelRule("loud", 0.5, 0.4, min_on=2, min_off=2, update_every=5),
    LabelRule("soft", 0.3, 0.2, min_off=4),
]


def scores_of(window: Window) -> FrameScores:
    """Frame level, shifted a little by the window's length and mean, so that windows matter."""
    frames = window.samples.reshape(-1, FRAME)
    level = np.sqrt((frames**2).mean(1)) + 0.05 * np.abs(window.samples).mean()
    level += 0.001 * window.frames
    scores: FrameScores = np.stack([level, 0.7 * level], axis=1).astype(np.float32)
    return scores


def detector(
    *, live: bool = False, framing: Framing = FRAMING, clips: ClipRule | None = None
) -> Detector:
    ids = count()
    return Detector(
        Origin("node", "mic", "test"),
        framing,
        RULES,
        live=live,
        new_id=lambda: f"{next(ids)}",
        clips=clips,
    )


def bursts(seconds: float, seed: int = 0) -> Samples:
    """Noise that comes and goes, in runs of a few frames, not aligned to them."""
    rng = np.random.default_rng(seed)
    size = int(seconds * 48_000)
    gains = np.repeat(rng.choice([0.05, 0.3, 0.6, 0.9], size // 5000 + 1), 5000)[:size]
    samples: Samples = (rng.choice([-1.0, 1.0], size) * gains).astype(np.float32)
    return samples


def chunks(samples: Samples, cuts: Iterable[int] = (), start: int = 0) -> list[AudioChunk]:
    edges = [0, *sorted({c for c in cuts if 0 < c < len(samples)}), len(samples)]
    return [
        AudioChunk(start + a, samples[a:b], 0 if a == 0 else None, (start + b) / 48_000)
        for a, b in pairwise(edges)
    ]


def drain(source: Detector, now_s: float = 0.0) -> list[Heard]:
    heard = []
    while (window := source.next_window()) is not None:
        heard.append(source.accept(window, scores_of(window), now_s))
    return heard


def all_events(heard: Iterable[Heard]) -> list[Event]:
    return [replace(event, latency_ms=0.0) for h in heard for event in h.events]


def test_events_have_the_times_of_the_segments_clock() -> None:
    """Of a sound card that is slow by 3 %."""
    samples = bursts(20)
    slow = [
        replace(each, mark=(each.end, round(each.end / 48_000 * 1.03e9)))
        for each in chunks(samples, range(0, len(samples), 4800))
    ]
    source, exact = detector(), detector()
    told, counted = [], []
    for each, plain in zip(slow, chunks(samples, range(0, len(samples), 4800)), strict=True):
        source.feed(each)
        told += drain(source)
        exact.feed(plain)
        counted += drain(exact)
    starts = [event for event in all_events(told) if event.phase is Phase.START]
    assert len(starts) > 5
    for event, plain_event in zip(all_events(told), all_events(counted), strict=True):
        assert event.onset_s == plain_event.onset_s  # what is heard is the same
        onset_s = datetime.fromisoformat(event.onset).timestamp()
        assert onset_s == pytest.approx(1.03 * event.onset_s, abs=0.002)
    assert [heard.start_ns for heard in told] == pytest.approx(
        [heard.start / 48_000 * 1.03e9 for heard in told], abs=1e6
    )


def listen(samples: Samples, cuts: Iterable[int] = ()) -> list[Heard]:
    source, heard = detector(), []
    for chunk in chunks(samples, cuts):
        source.feed(chunk)
        heard += drain(source)
    source.end(None)
    return heard + drain(source)


PATTERNS = [
    LabelRule("thrice", 0.5, 0.4, min_off=2, pattern=Repetition(3, 60, gap=(2, 20))),
    LabelRule("alarm", 0.01, 0.008, pattern=Rhythm((0.1, 0.1, 0.1, 0.1, 0.1, 0.9))),
]


def pulses() -> Samples:
    """Two rhythms of a tone, with bursts of noise after them, off the grid of the frames."""
    beep = 0.4 * np.sin(2 * np.pi * 3000 * np.arange(4800) / 48_000)
    beats = [beep, np.zeros(4800)] * 3 + [np.zeros(38_400)]
    rhythm = np.concatenate([np.zeros(50_123), *beats, *beats, *beats])
    samples: Samples = np.concatenate([rhythm, bursts(4.0, seed=2)]).astype(np.float32)
    return samples


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, len(pulses())), max_size=12))
def test_patterns_are_the_same_in_any_pieces(cuts: list[int]) -> None:
    def patterns(pieces: Iterable[int]) -> list[Event]:
        ids = count()
        origin = Origin("node", "mic", "test")
        source = Detector(origin, FRAMING, PATTERNS, live=False, new_id=lambda: f"{next(ids)}")
        heard = []
        for chunk in chunks(pulses(), pieces):
            source.feed(chunk)
            heard += drain(source)
        source.end(None)
        return all_events([*heard, *drain(source)])

    whole = patterns([])
    assert {event.label for event in whole} == {"thrice", "alarm"}
    alarm = next(e for e in whole if (e.label, e.phase) == ("alarm", Phase.END))
    assert alarm.onset_s == pytest.approx(50_123 / 48_000, abs=0.1)
    assert alarm.duration_s == pytest.approx(2 * 1.4 + 0.5, abs=0.1)
    assert patterns(cuts) == whole


def test_thresholds_that_follow_are_told_apart_from_those_set() -> None:
    rule = LabelRule("loud", 0.5, 0.4, follow=Follow())
    origin = Origin("node", "mic", "test")
    source = Detector(origin, FRAMING, [rule, RULES[1]], live=False, new_id=str)
    for chunk in chunks((0.42 * np.ones(61 * 48_000)).astype(np.float32)):
        source.feed(chunk)
    drain(source)
    assert source.moved()
    assert not source.moved()
    assert source.rules == [rule, RULES[1]]
    assert source.in_force[0].threshold > 0.5
    assert source.in_force[1] == RULES[1]


@pytest.mark.parametrize("size", [997, 1920, 48_000])
def test_pieces_of_any_size_give_identical_events(size: int) -> None:
    signal = bursts(6.03)
    whole = listen(signal)
    pieces = listen(signal, range(size, len(signal), size))
    assert len(all_events(whole)) > 10
    assert all_events(pieces) == all_events(whole)
    assert np.array_equal(
        np.concatenate([h.scores for h in pieces]), np.concatenate([h.scores for h in whole])
    )


def test_single_samples_give_identical_events() -> None:
    signal = bursts(1.51, seed=3)
    assert all_events(listen(signal, range(1, len(signal)))) == all_events(listen(signal))


@settings(max_examples=30, deadline=None)
@given(cuts=st.lists(st.integers(0, 96_000), max_size=12), size=st.integers(1, 96_000))
def test_random_pieces_give_identical_events(cuts: list[int], size: int) -> None:
    signal = bursts(2.0, seed=5)[:size]
    heard = listen(signal, cuts)
    assert all_events(heard) == all_events(listen(signal))
    assert sum(len(h.scores) for h in heard) == -(-size // FRAME)


def test_every_frame_is_scored_as_the_framing_says() -> None:
    """The slow twin: cut each window from the whole signal by hand."""
    signal = bursts(3.0)[: 70 * FRAME]
    final: list[list[float]] = []
    for end in [*range(4, 70, 4), 70]:
        begin = max(0, end - 20)
        scores = scores_of(Window(begin * FRAME, signal[begin * FRAME : end * FRAME]))
        stop = end if end == 70 else end - 3
        final += scores[len(final) - begin : stop - begin].tolist()
    assert np.concatenate([h.scores for h in listen(signal)]).tolist() == final


@pytest.mark.parametrize("size", [997, 48_000])
def test_what_is_final_comes_with_its_audio_and_embeddings(size: int) -> None:
    signal = bursts(3.01)
    source, heard = detector(), []
    for chunk in chunks(signal, range(size, len(signal), size)):
        source.feed(chunk)
        if chunk.end == len(signal):
            source.end(None)
        while (window := source.next_window()) is not None:
            scores = scores_of(window)[window.done :]  # as the engine: without what is done
            numbers = (window.start // FRAME + window.done + np.arange(len(scores)))[:, None]
            heard.append(source.accept(window, scores, 0.0, numbers.astype(np.float16)))
    assert np.array_equal(np.concatenate([h.samples for h in heard]), signal)
    embeddings = [h.embeddings for h in heard if h.embeddings is not None]
    assert [len(each) for each in embeddings] == [len(h.scores) for h in heard]
    assert np.concatenate(embeddings)[:, 0].tolist() == list(range(-(-len(signal) // FRAME)))


def test_a_last_partial_frame_is_padded_by_reflection_and_ends_with_the_audio() -> None:
    signal = np.full(FRAME * 5 + 100, 0.9, np.float32)
    source = detector()
    source.feed(chunks(signal)[0])
    source.end(None)
    windows = []
    while (window := source.next_window()) is not None:
        windows.append(window)
        heard = source.accept(window, scores_of(window), 0.0)
    assert windows[-1].last
    assert windows[-1].frames == 6
    end = heard.events[-1]
    assert end.phase is Phase.END
    assert end.offset_s == round(len(signal) / 48_000, 3)


def test_times_come_from_the_anchor_and_the_latency_from_the_capture() -> None:
    signal = np.zeros(FRAME * 40, np.float32)
    signal[FRAME * 10 : FRAME * 18] = 0.9
    source = detector()
    for chunk in chunks(signal, range(FRAME, len(signal), FRAME), start=480_000):
        anchor = None if chunk.anchor_ns is None else 1_000_000_000
        source.feed(replace(chunk, anchor_ns=anchor))
        heard = drain(source, now_s=chunk.captured_s + 0.1)
        for part in heard:
            assert part.start_ns == 1_000_000_000 + (part.start - 480_000) * 1_000_000 // 48
        for event in (e for h in heard for e in h.events if e.label == "loud"):
            if event.phase is Phase.START:
                start = event
            end = event
    assert (start.onset, start.onset_s, start.offset) == ("1970-01-01T00:00:01.400Z", 0.4, None)
    # decidable with frame 11 (min_on 2), final once frame 14 came, scored with frame 15 (hop 4)
    assert start.latency_ms == pytest.approx(4 * 40 + 100)
    assert (end.phase, end.offset, end.duration_s) == (Phase.END, "1970-01-01T00:00:01.720Z", 0.32)
    assert (end.id, end.latency_ms) == (start.id, start.latency_ms)


def test_a_break_closes_what_is_open_and_the_time_goes_on_from_the_new_anchor() -> None:
    loud = np.full(FRAME * 30, 0.9, np.float32)
    source = detector()
    source.feed(AudioChunk(0, loud, anchor_ns=0))
    source.feed(AudioChunk(len(loud) + 5000, loud, anchor_ns=9_000_000_000))
    source.end(None)
    heard = drain(source)
    assert {h.start_ns for h in heard} >= {0, 9_000_000_000}
    events = [e for e in all_events(heard) if e.label == "loud" and e.phase is Phase.END]
    assert [(e.onset_s, e.offset_s, e.reason) for e in events] == [
        (0.0, 1.2, Reason.GAP),
        (0.0, 1.2, None),
    ]
    assert events[1].onset == "1970-01-01T00:00:09.000Z"
    assert source.account.lost == 5000
    assert source.account.heard == 2 * len(loud)
    assert source.scored_frames == 60


def test_a_chunk_that_does_not_follow_is_refused() -> None:
    source = detector()
    with pytest.raises(ValueError, match="anchor"):
        source.feed(AudioChunk(0, np.zeros(10, np.float32)))
    source.feed(AudioChunk(0, np.zeros(10, np.float32), anchor_ns=0))
    with pytest.raises(ValueError, match="12 follows 10"):
        source.feed(AudioChunk(12, np.zeros(10, np.float32)))


def test_stop_closes_at_once_without_another_score() -> None:
    source = detector()
    source.feed(AudioChunk(0, np.full(FRAME * 10, 0.9, np.float32), anchor_ns=0))
    drain(source)
    events = source.stop(Reason.STOPPED)
    assert [(e.label, e.phase, e.reason) for e in events] == [
        ("loud", Phase.END, Reason.STOPPED),
        ("soft", Phase.END, Reason.STOPPED),
    ]
    assert source.next_window() is None


def test_live_and_behind_the_hop_stretches_and_no_frame_is_lost() -> None:
    source = detector(live=True)
    signal = bursts(20 * FRAME / 48_000)
    source.feed(AudioChunk(0, signal, anchor_ns=0))
    window = source.next_window()
    assert window is not None
    assert (window.start, window.frames) == (0, 20)
    heard = source.accept(window, scores_of(window), 0.0)
    assert len(heard.scores) == 17
    assert source.stretched == 4
    assert source.account.lost == 0


def test_live_and_behind_by_more_than_a_window_the_oldest_audio_is_dropped() -> None:
    source = detector(live=True)
    loud = np.full(FRAME * 80, 0.9, np.float32)
    source.feed(AudioChunk(0, loud[: FRAME * 20], anchor_ns=0))
    drain(source)  # 17 frames final, an event open
    source.feed(AudioChunk(FRAME * 20, loud[: FRAME * 30]))
    window = source.next_window()
    assert window is not None
    assert (window.start, window.frames) == (FRAME * 30, 20)
    heard = source.accept(window, scores_of(window), 0.0)
    ended = [e for e in heard.events if e.phase is Phase.END and e.label == "loud"]
    assert [(e.offset_s, e.reason) for e in ended] == [(17 * 0.04, Reason.GAP)]
    begun = next(e for e in heard.events if e.phase is Phase.START and e.label == "loud")
    assert (begun.onset_s, begun.onset) == (0.0, "1970-01-01T00:00:01.200Z")
    assert source.account.lost == FRAME * 13
    assert source.account.heard + source.account.lost == FRAME * 50


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=12), seed=st.integers(0, 9))
def test_live_heard_and_lost_add_up_and_each_frame_leaves_once(sizes: list[int], seed: int) -> None:
    source, signal = detector(live=True), bursts(30.0, seed)
    fed, heard = 0, []
    for size in sizes:
        source.feed(
            AudioChunk(fed, signal[fed : fed + size * FRAME], None if fed else 0, fed / 48_000)
        )
        fed += size * FRAME
        window = source.next_window()  # one window a turn: the scorer is slow
        if window is not None:
            assert window.frames <= FRAMING.window
            heard.append(source.accept(window, scores_of(window), 0.0))
    source.end(Reason.GAP)
    heard += drain(source)
    assert source.account.heard + source.account.lost == fed
    frames = [h.start + i * FRAME for h in heard for i in range(len(h.scores))]
    assert frames == sorted(set(frames))
    assert len(frames) * FRAME == source.account.heard == source.scored_frames * FRAME
    open_: dict[str, int] = {}
    for event in all_events(heard):
        open_[event.id] = open_.get(event.id, 0) + {"start": 1, "end": -1}.get(event.phase, 0)
    assert not any(open_.values())


def test_labels_change_between_windows_and_lose_nothing() -> None:
    source = detector()
    loud = np.full(FRAME * 40, 0.9, np.float32)
    source.feed(AudioChunk(0, loud[: FRAME * 20], anchor_ns=0))
    drain(source)
    gone = source.change([LabelRule("new", 0.5, 0.4), RULES[1]])
    assert [(e.label, e.phase, e.reason) for e in gone] == [("loud", Phase.END, Reason.STOPPED)]
    source.feed(AudioChunk(FRAME * 20, loud[: FRAME * 20]))
    source.end(None)
    events = all_events(drain(source))
    assert [(e.label, e.phase) for e in events if e.phase is not Phase.UPDATE] == [
        ("new", Phase.START),
        ("new", Phase.END),
        ("soft", Phase.END),
    ]
    assert events[0].onset_s == 17 * 0.04  # the first frame that was not final yet


def test_no_later_event_has_an_onset_before_the_earliest_said() -> None:
    signal, source = bursts(8.0, seed=2), detector()
    bound = 0
    for chunk in chunks(signal, range(FRAME, len(signal), FRAME)):
        source.feed(chunk)
        for heard in drain(source):
            for event in heard.events:
                if event.phase is Phase.START:
                    assert round(event.onset_s * 48_000) >= bound
        bound = source.earliest_onset or 0


def test_scores_that_are_not_finite_make_no_event() -> None:
    source = detector()
    source.feed(AudioChunk(0, np.full(FRAME * 20, 0.9, np.float32), anchor_ns=0))
    window = source.next_window()
    assert window is not None
    heard = source.accept(window, np.full((window.frames, 2), np.nan, np.float32), 0.0)
    assert heard.events == []
    assert not heard.scores.any()


def test_a_quiet_month_keeps_nothing() -> None:
    source = detector()
    silent = np.zeros(FRAME * 4, np.float32)
    for turn in range(500):
        source.feed(AudioChunk(turn * len(silent), silent, None if turn else 0))
        drain(source)
    intake = source._intakes[0]
    assert len(intake.captured) < 20
    assert len(intake.chunks) < 5


def test_a_break_is_counted_but_not_the_beginning() -> None:
    source = detector()
    samples = bursts(1)
    source.feed(AudioChunk(0, samples, 0))
    assert source.account.breaks == 0
    source.feed(AudioChunk(96_000, samples, 2_000_000_000))
    source.silence()
    source.feed(AudioChunk(192_000, samples, 4_000_000_000))
    assert (source.account.breaks, source.account.lost) == (2, 96_000)
    assert source.account.breaks_per_minute == 2.0


class TestAudible:
    def test_without_clips_nothing_may_be_heard(self) -> None:
        source = detector()
        for chunk in chunks(bursts(4)):
            source.feed(chunk)
        assert [run for heard in drain(source) for run in heard.audible] == []

    def test_with_clips_it_is_what_was_scored(self) -> None:
        source, samples = detector(clips=ClipRule(0, 0)), bursts(4.01)
        for chunk in chunks(samples):
            source.feed(chunk)
        source.end(None)
        runs = [run for heard in drain(source) for run in heard.audible]
        np.testing.assert_array_equal(np.concatenate([run[1] for run in runs]), samples)
        assert all(b[0] == a[0] + len(a[1]) for a, b in pairwise(runs))

    @pytest.mark.parametrize("gap", [False, True])
    def test_what_withholds_clips_withholds_it(self, *, gap: bool) -> None:
        """Over all events of a label, from a margin before the onset to one after the end."""
        quiet, loud = np.full(5 * 48_000, 0.05, np.float32), np.full(48_000, 0.9, np.float32)
        samples = np.concatenate([quiet, loud, quiet, loud[:9600], quiet])
        source = detector(clips=ClipRule(0, 0, never_when=frozenset({"loud"})))
        heard: list[Heard] = []
        for chunk in chunks(samples, range(0, len(samples), 4800)):
            source.feed(replace(chunk, anchor_ns=7) if gap and chunk.start == 7 * 48_000 else chunk)
            heard += drain(source)
        source.end(None)
        heard += drain(source)
        made = np.concatenate([run[1] for each in heard for run in each.audible])
        assert len(made) == len(samples)
        silent = np.flatnonzero(made == 0)
        events = [e for e in all_events(heard) if e.label == "loud" and e.phase is Phase.END]
        assert len(events) == 2
        begin_s = 7 if gap else 0
        expected = [
            (round((at + e.onset_s - 1) * 48_000), round((at + (e.offset_s or 0) + 1) * 48_000))
            for e, at in zip(events, [0, begin_s], strict=True)
        ]
        spans = np.concatenate([np.arange(a, b) for a, b in expected])
        missing = np.setdiff1d(spans, silent)
        assert len(missing) == 0
        # while it was on, a little more than that is silence
        assert len(np.setdiff1d(silent, spans)) < 2 * 48_000
        np.testing.assert_array_equal(made[made != 0], samples[made != 0])
        assert not np.isin(np.float32(0.9), made)


def test_what_was_heard_says_which_segment_it_is_of() -> None:
    """A later one may follow without a sample missing."""
    first, second = bursts(3), bursts(2, seed=1)
    source = detector()
    for each in chunks(first):
        source.feed(each)
    source.feed(AudioChunk(len(first), second, 10**9, 5.0))
    source.end(None)
    heard = drain(source)
    of_first = [each for each in heard if each.segment == 0]
    of_second = heard[len(of_first) :]
    assert {each.segment for each in of_second} == {len(first)}
    for of_one in (of_first, of_second):
        assert [each.last for each in of_one] == [False] * (len(of_one) - 1) + [True]
    assert sum(len(each.samples) for each in of_first) == len(first)
    assert sum(len(each.samples) for each in of_second) == len(second)
