"""What sed_scores_eval says of a few events whose figures are known."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from workbench.evaluation.made import columns, file, sounds, system, track

from pe_stream.errors import UnavailableError
from pe_stream.workbench.evaluation.standard import Standard, frame_mask, require, standard
from pe_stream.workbench.evaluation.truth import Span

LABELS = ("onset", "a|b\\c")
"""The library has columns of its own by the first name, and refuses the second."""


def of(*scores: Any, near: bool = False) -> Standard:
    files = [
        file("0", {LABELS[0]: [(1, 2)]}, {LABELS[1]: [(8, 9)]} if near else None),
        file("1", {LABELS[1]: [(3, 5)], LABELS[0]: [(6, 7)]}),
        file("2"),
    ]
    found = standard(sounds(*files, duration_s=10.0), system(LABELS, *scores))
    assert found is not None
    return found


PERFECT = (
    columns(track(250, (1, 2, 0.9)), track(250)),
    columns(track(250, (6, 7, 0.9)), track(250, (3, 5, 0.9))),
    columns(track(250), track(250)),
)


def test_perfect_scores() -> None:
    found = of(*PERFECT)
    assert found.psds == {"psds1": 1.0, "psds2": 1.0}
    for figures in (found.f1, found.frame_f1, found.best_f1):
        assert figures == dict.fromkeys(LABELS, 1.0)
    assert all(0 < found.best_threshold[name] < 0.9 for name in LABELS)


def test_a_late_onset_is_wrong_for_f1_and_right_for_psds2() -> None:
    late = columns(track(250, (1.4, 2, 0.9)), track(250))
    found = of(late, *PERFECT[1:])
    # one of two right, one false: 2 * 1 / (2 * 1 + 1 + 1)
    assert found.f1 == {LABELS[0]: 0.5, LABELS[1]: 1.0}
    assert found.label_psds["psds1"][LABELS[0]] == pytest.approx(0.5)  # 60 % is not 70 %
    assert found.label_psds["psds2"][LABELS[0]] == 1.0


def test_false_alarms_cost_psds() -> None:
    noisy = columns(track(250, (4, 5, 0.95)), track(250))
    found = of(*PERFECT[:2], noisy)
    # one false alarm in 30 s is 120 per hour, beyond the 100 that count
    assert found.label_psds["psds1"][LABELS[0]] == 0.0
    assert found.f1[LABELS[0]] == pytest.approx(2 * 2 / (2 * 2 + 1))


def test_the_threshold_that_is_best_is_found() -> None:
    faint = tuple(scores * np.float32(0.3) for scores in PERFECT)
    found = of(*faint)
    assert found.f1 == dict.fromkeys(LABELS, 0.0)
    assert found.best_f1 == dict.fromkeys(LABELS, 1.0)
    assert all(0 < found.best_threshold[name] < 0.3 for name in LABELS)


def test_what_is_near_does_not_count() -> None:
    barking = columns(track(250, (1, 2, 0.9)), track(250, (8, 9, 0.9)))
    assert of(barking, *PERFECT[1:], near=False).f1[LABELS[1]] == pytest.approx(2 / 3)
    near = of(barking, *PERFECT[1:], near=True)
    assert near.f1[LABELS[1]] == near.best_f1[LABELS[1]] == near.psds["psds1"] == 1.0


def test_one_single_label() -> None:
    heard = sounds(file("0", {"dog": [(1, 2)]}))
    found = standard(heard, system(["dog"], columns(track(250, (1, 2, 0.9)))))
    assert found is not None
    assert found.psds == {"psds1": 1.0, "psds2": 1.0}


def test_nothing_to_find() -> None:
    assert standard(sounds(file("0")), system(["dog"], columns(track(250)))) is None


def test_a_frame_sounds_where_its_centre_does() -> None:
    assert frame_mask([Span(0.05, 0.14)], 5).tolist() == [False, True, True, False, False]


def test_without_the_library_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in sys.modules if name.startswith("sed_scores_eval")]:
        monkeypatch.delitem(sys.modules, name)

    class Hidden:
        def find_spec(self, name: str, path: Sequence[str] | None, target: object = None) -> None:
            if name.startswith("sed_scores_eval"):
                raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    with pytest.raises(UnavailableError, match=r'pip install "pe-stream\[eval\]"') as raised:
        require()
    assert "\n" not in str(raised.value)


def test_scenarios_are_those_of_desed() -> None:
    from pe_stream.workbench.evaluation.standard import COLLAR, PSDS

    first: Mapping[str, Any] = PSDS["psds1"]
    assert (first["dtc_threshold"], first["gtc_threshold"], first["alpha_ct"]) == (0.7, 0.7, 0)
    assert PSDS["psds2"]["cttc_threshold"] == 0.3
    assert COLLAR["onset_collar"] == COLLAR["offset_collar_rate"] == 0.2
