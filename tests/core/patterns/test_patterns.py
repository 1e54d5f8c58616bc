"""Patterns over known scores: what makes an event together, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.label_trackers import LabelTrackers, Said
from pe_stream.core.patterns.repetition import RepetitionTracker
from pe_stream.core.patterns.watcher import watch
from pe_stream.core.tracker import Detection, Tracker
from pe_stream.core.types import LabelRule, Phase, Reason, Repetition, Sequence

KNOCKS = LabelRule(
    "knock",
    threshold=0.5,
    off_threshold=0.4,
    max_length=1000,
    update_every=0,
    pattern=Repetition(times=3, within=30, gap=(2, 8)),
)


def track(text: str) -> list[float]:
    """`#` is loud, `.` quiet, a digit so many tenths; a frame each."""
    levels = {"#": 0.9, ".": 0.1}
    return [levels.get(sign) or int(sign) / 10 for sign in text]


def heard(rule: LabelRule, scores: list[float]) -> list[Detection]:
    watcher = watch(rule)
    said = [each for frame, score in enumerate(scores) for each in watcher.step(frame, score)]
    return said + watcher.close(None)


def ends(said: list[Detection]) -> list[tuple[int, int]]:
    assert [each.phase for each in said[::2]] == [Phase.START] * len(said[::2])
    return [(each.onset, each.offset) for each in said if each.phase is Phase.END]


class TestRepetition:
    def test_three_knocks_are_one_event(self) -> None:
        start, end = heard(KNOCKS, track("..##...7#...##" + 20 * "."))
        assert (start.phase, start.onset, start.offset) == (Phase.START, 2, 14)
        assert end == replace(start, phase=Phase.END)
        assert (end.peak, end.peak_frame) == (0.9, 2)
        assert end.mean == pytest.approx((5 * 0.9 + 0.7) / 6), "over the elements, not the gaps"

    def test_it_is_told_when_the_third_has_ended(self) -> None:
        watcher = RepetitionTracker(KNOCKS)
        scores = track("##..##..##..")
        said = {frame: watcher.step(frame, score) for frame, score in enumerate(scores)}
        assert [frame for frame, each in said.items() if each] == [10]

    @pytest.mark.parametrize(
        "scores",
        [
            "##...##" + 20 * ".",
            "##.##.##.##" + 20 * ".",
            "##" + 9 * "." + "##" + 9 * "." + "##",
            "##...##" + 9 * "." + "##...##" + 20 * ".",
        ],
        ids=["two", "too near", "too far", "two and two"],
    )
    def test_what_is_no_event(self, scores: str) -> None:
        assert heard(KNOCKS, track(scores)) == []

    def test_all_must_be_within(self) -> None:
        slow = track("##" + 8 * "." + "##" + 8 * "." + "##")
        assert len(heard(replace(KNOCKS, pattern=Repetition(3, 22, gap=(2, 8))), slow)) == 2
        assert heard(replace(KNOCKS, pattern=Repetition(3, 21, gap=(2, 8))), slow) == []

    def test_the_first_may_be_left_out_to_be_within(self) -> None:
        scores = track("##" + 8 * "." + "##...##...##" + 20 * ".")
        rule = replace(KNOCKS, pattern=Repetition(3, 12, gap=(2, 8)))
        assert ends(heard(rule, scores)) == [(10, 22)]

    def test_one_of_another_length_breaks_the_series(self) -> None:
        rule = replace(KNOCKS, pattern=Repetition(3, 60, length=(2, 3)))
        assert heard(rule, track("##...##...######...##" + 70 * ".")) == []
        assert ends(heard(rule, track("##...##...##...######...##" + 70 * "."))) == [(0, 12)]

    def test_it_goes_on_while_they_do_and_says_so(self) -> None:
        rule = replace(KNOCKS, update_every=25)
        said = heard(rule, track("##...##...##...##...##" + 30 * "."))
        assert [each.phase for each in said] == ["start", "update", "update", "end"]
        assert [each.offset for each in said] == [12, 17, 22, 22]

    def test_it_ends_when_no_other_can_follow(self) -> None:
        watcher = RepetitionTracker(KNOCKS)
        scores = track("##..##..##" + 30 * ".")
        said = [(frame, d.phase) for frame, s in enumerate(scores) for d in watcher.step(frame, s)]
        assert said == [(10, "start"), (18, "end")]
        assert watcher.onset is None

    def test_a_gap_takes_the_last_with_it(self) -> None:
        watcher = RepetitionTracker(KNOCKS)
        for frame, score in enumerate(track("##..##..##")):
            assert watcher.step(frame, score) == []
        assert watcher.onset == 0
        assert watcher.close(Reason.GAP) == []
        assert watcher.onset is None

    def test_the_end_of_a_recording_does_not(self) -> None:
        start, end = heard(KNOCKS, track("##..##..##"))
        assert (start.phase, end.phase, end.reason) == (Phase.START, Phase.END, None)

    def test_an_open_one_ends_with_the_gap(self) -> None:
        watcher = RepetitionTracker(KNOCKS)
        for frame, score in enumerate(track("##..##..##..##.")):
            watcher.step(frame, score)
        (end,) = watcher.close(Reason.GAP)
        assert (end.offset, end.reason) == (14, Reason.GAP)

    def test_cooldown_is_the_whole_events(self) -> None:
        scores = track(("##...##...##" + 20 * ".") * 2)
        assert len(ends(heard(KNOCKS, scores))) == 2
        assert ends(heard(replace(KNOCKS, cooldown=25), scores)) == [(0, 12)]

    def test_max_length_is_the_whole_events(self) -> None:
        said = heard(replace(KNOCKS, max_length=20), track("##..##..##..##..##..##..##"))
        assert [each.reason for each in said if each.phase is Phase.END] == ["max_length"]

    def test_switched_off_it_ends_and_hears_nothing(self) -> None:
        watcher = RepetitionTracker(KNOCKS)
        scores = track("##..##..##..")
        for frame, score in enumerate(scores):
            watcher.step(frame, score)
        (end,) = watcher.change(replace(KNOCKS, enabled=False))
        assert end.reason is Reason.STOPPED
        assert [watcher.step(20 + f, s) for f, s in enumerate(scores)] == [[]] * len(scores)

    @settings(max_examples=300)
    @given(
        st.lists(st.tuples(st.integers(1, 5), st.integers(1, 9)), max_size=25),
        st.integers(1, 4),
        st.integers(4, 40),
        st.tuples(st.integers(0, 3), st.integers(3, 9)),
        st.tuples(st.integers(0, 2), st.integers(2, 5)),
    )
    def test_equals_all_elements_at_once(
        self,
        beats: list[tuple[int, int]],
        times: int,
        within: int,
        gap: tuple[int, int],
        length: tuple[int, int],
    ) -> None:
        scores = track("".join("#" * on + "." * off for on, off in beats) + "." * 50)
        pattern = Repetition(times, within, length, gap)
        rule = replace(KNOCKS, pattern=pattern)
        tracker = Tracker(replace(rule, pattern=None))
        said = [each for frame, score in enumerate(scores) for each in tracker.step(frame, score)]
        elements = [(each.onset, each.offset) for each in said if each.phase is Phase.END]
        assert ends(heard(rule, scores)) == slow_twin(elements, pattern)


def slow_twin(elements: list[tuple[int, int]], pattern: Repetition) -> list[tuple[int, int]]:
    """Series that nothing breaks, and of each what begins with the first fit."""
    series: list[list[tuple[int, int]]] = [[]]
    for onset, offset in elements:
        fits = pattern.length[0] <= offset - onset <= pattern.length[1]
        apart = onset - series[-1][-1][1] if series[-1] else pattern.gap[0]
        most = min(pattern.gap[1], pattern.within)
        if not fits or not pattern.gap[0] <= apart <= most:
            series.append([])
        if fits:
            series[-1].append((onset, offset))
    found = []
    for each in series:
        for last in range(pattern.times - 1, len(each)):
            firsts = [f for f in range(last + 1) if each[last][1] - each[f][0] <= pattern.within]
            if firsts and last - firsts[0] + 1 >= pattern.times:
                found.append((each[firsts[0]][0], each[-1][1]))
                break
    return found


DOG = LabelRule("dog", 0.5, 0.4, update_every=0, pattern=Sequence("glass", 5))
GLASS = LabelRule("glass", 0.5, 0.4, update_every=0)
DOOR = LabelRule("door", 0.5, 0.4, update_every=0, pattern=Sequence("dog", 5))


def together(rules: list[LabelRule], *tracks: str, ensemble: LabelTrackers | None = None) -> Said:
    ensemble = ensemble or LabelTrackers(rules)
    said: Said = []
    for frame, row in enumerate(zip(*map(track, tracks), strict=True)):
        said += ensemble.step(frame, row)
    return said + ensemble.close(None)


def spans(said: Said, label: str) -> list[tuple[int, int]]:
    return ends([each for name, each in said if name == label])


class TestSequence:
    def test_one_then_the_other(self) -> None:
        said = together([DOG, GLASS], "..##.........", ".....7#......")
        assert spans(said, "glass") == [(5, 7)], "that one goes on to make its own"
        start, end = [each for name, each in said if name == "dog"]
        assert (start.phase, start.onset) == (Phase.START, 2)
        assert (end.onset, end.offset, end.peak, end.peak_frame) == (2, 7, 0.9, 2)
        assert end.mean == pytest.approx((3 * 0.9 + 0.7) / 4)

    @pytest.mark.parametrize(
        ("dog", "glass"),
        [
            ("....##......", ".##........."),
            ("##..........", "........##.."),
            ("....##......", "....##......"),
            ("##..........", "............"),
        ],
        ids=["the other way round", "too late", "at once", "alone"],
    )
    def test_what_is_no_event(self, dog: str, glass: str) -> None:
        assert spans(together([DOG, GLASS], dog, glass), "dog") == []

    def test_the_first_may_still_sound(self) -> None:
        said = together([DOG, GLASS], "########....", "......##....")
        assert spans(said, "dog") == [(0, 8)]

    def test_the_latest_of_several_is_the_first(self) -> None:
        said = together([DOG, GLASS], "##..##......", ".......##...")
        assert spans(said, "dog") == [(4, 9)]

    def test_each_counts_once(self) -> None:
        said = together([DOG, GLASS], "##............", "...##..##.....")
        assert spans(said, "dog") == [(0, 5)]

    def test_the_order_of_the_columns_does_not_matter(self) -> None:
        one = together([DOG, GLASS], "..##.........", ".....##......")
        other = together([GLASS, DOG], ".....##......", "..##.........")
        assert spans(one, "dog") == spans(other, "dog") == [(2, 7)]

    def test_a_chain(self) -> None:
        rules = [DOOR, DOG, GLASS]
        said = together(rules, "##..........", "...##.......", "......##....")
        assert spans(said, "dog") == [(3, 8)]
        assert spans(said, "door") == [(0, 8)]

    def test_a_circle_is_refused(self) -> None:
        with pytest.raises(ValueError, match="waits for itself"):
            LabelTrackers([DOG, replace(GLASS, pattern=Sequence("dog", 3))])

    def test_one_that_begins_earlier_may_be_decided_later(self) -> None:
        late = replace(DOG, min_on=6)
        said = together([late, GLASS], "#######.....", "..#######...")
        assert spans(said, "dog") == [(0, 9)]

    def test_a_gap_ends_both(self) -> None:
        ensemble = LabelTrackers([DOG, GLASS])
        for frame, row in enumerate(zip(track("##...."), track("...###"), strict=True)):
            ensemble.step(frame, row)
        said = ensemble.close(Reason.GAP)
        assert [(name, each.phase, each.reason) for name, each in said] == [
            ("dog", Phase.END, Reason.GAP),
            ("glass", Phase.END, Reason.GAP),
        ]

    @pytest.mark.parametrize("rules", [[DOG], [DOG, replace(GLASS, enabled=False)]])
    def test_it_ends_where_the_other_is_gone_or_off(self, rules: list[LabelRule]) -> None:
        ensemble = LabelTrackers([DOG, GLASS])
        for frame, row in enumerate(zip(track("##...."), track("...###"), strict=True)):
            ensemble.step(frame, row)
        said = ensemble.change(rules)
        assert [(name, each.reason) for name, each in said] == [
            ("dog", Reason.STOPPED),
            ("glass", Reason.STOPPED),
        ]

    def test_nothing_is_kept_for_ever(self) -> None:
        ensemble = LabelTrackers([DOG, GLASS])
        for frame, row in enumerate(zip(track("##" + 8 * "."), track(10 * "."), strict=True)):
            ensemble.step(frame, row)
        assert ensemble.onset is None

    def test_what_may_still_become_one_holds_the_onset(self) -> None:
        ensemble = LabelTrackers([DOG, GLASS])
        for frame, row in enumerate(zip(track(".##..."), track("......"), strict=True)):
            ensemble.step(frame, row)
        assert ensemble.onset == 1


class TestEnsemble:
    def test_another_pattern_ends_the_event(self) -> None:
        ensemble = LabelTrackers([GLASS])
        ensemble.step(0, [0.9])
        said = ensemble.change([replace(GLASS, pattern=Repetition(2, 20))])
        assert [each.reason for _, each in said] == [Reason.STOPPED]
        said = [each for f, s in enumerate(track("#..#....")) for each in ensemble.step(1 + f, [s])]
        assert [each.phase for _, each in said] == [Phase.START]

    def test_the_same_pattern_goes_on(self) -> None:
        ensemble = LabelTrackers([KNOCKS])
        said: Said = []
        for frame, score in enumerate(track("##..##..")):
            said += ensemble.step(frame, [score])
        said += ensemble.change([replace(KNOCKS, threshold=0.6)])
        for frame, score in enumerate(track("##.."), 8):
            said += ensemble.step(frame, [score])
        assert [(each.phase, each.onset, each.threshold) for _, each in said] == [
            (Phase.START, 0, 0.6)
        ]
