"""Manifests: what is read, folds, parts, doubles, and what is refused by file and line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pe_stream.errors import UnavailableError
from pe_stream.workbench import manifest
from pe_stream.workbench.manifest import Clip


def written(folder: Path, *lines: str) -> Path:
    """A folder with that manifest, and empty files a.wav and b.wav."""
    for name in ("a.wav", "b.wav"):
        (folder / name).touch()
    (folder / manifest.NAME).write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def clip(recording: str, label: str, dataset: str = "", clip_id: str = "", rate: int = 0) -> Clip:
    key = f"{dataset}/{recording}"
    return Clip(Path(key), key, label, "", dataset, clip_id, recording=recording, sample_rate=rate)


def test_all_columns_are_read(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        "path,dataset,clip_id,label,fold,sample_rate,licence,redistributable,attribution,"
        "freesound_id,note,onset_s,offset_s",
        'a.wav,one,7, dog ,2,44100,CC-BY,true,"Ann, of B",99,loud,0.5,1.25',
        "b.wav,one,8,,2,,,no,,,,,",
    )
    assert manifest.read(folder) == [
        Clip(
            path=folder / "a.wav",
            key="a.wav",
            label="dog",
            fold="2",
            dataset="one",
            clip_id="7",
            recording="99",
            redistributable=True,
            licence="CC-BY",
            attribution="Ann, of B",
            onset_s=0.5,
            offset_s=1.25,
            sample_rate=44100,
            note="loud",
        ),
        Clip(folder / "b.wav", "b.wav", "", "2", "one", "8", recording="8"),
    ]


def test_path_and_label_are_enough(tmp_path: Path) -> None:
    (read,) = manifest.read(written(tmp_path, "label,path", "dog,a.wav"))
    assert read == Clip(tmp_path / "a.wav", "a.wav", "dog", recording="a.wav")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a.wav", "fewer cells than columns"),
        ("a.wav,dog,1", "fewer cells than columns"),
        ("a.wav,dog,1,2,Ann, of B", "more cells than columns"),
        ("c.wav,dog,,", "no such file: .*c.wav"),
        (",dog,,", "no such file"),
        ("a.wav,dog,soon,", "not a time in seconds, from 0: 'soon'"),
        ("a.wav,dog,nan,1", "not a time in seconds, from 0: 'nan'"),
        ("a.wav,dog,1,inf", "not a time in seconds, from 0: 'inf'"),
        ("a.wav,dog,-0.5,1", "not a time in seconds, from 0: '-0.5'"),
        ("a.wav,dog,2,1", "offset_s 1 is not after onset_s 2"),
        ("a.wav,dog,2,2", "offset_s 2 is not after onset_s 2"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, row: str, said: str) -> None:
    folder = written(tmp_path, "path,label,onset_s,offset_s", "b.wav,dog,,", row)
    with pytest.raises(UnavailableError, match=f"{folder / manifest.NAME}:3: {said}"):
        manifest.read(folder)


def test_a_sample_rate_is_a_whole_number(tmp_path: Path) -> None:
    folder = written(tmp_path, "path,label,sample_rate", "b.wav,dog,44.1k")
    with pytest.raises(UnavailableError, match=r"csv:2: sample_rate is no whole number: '44.1k'"):
        manifest.read(folder)


def test_a_wrong_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="No such file"):
        manifest.read(tmp_path)
    with pytest.raises(UnavailableError, match="no column path and no column label"):
        manifest.read(written(tmp_path, "file,sound", "a.wav,dog"))
    with pytest.raises(UnavailableError, match="has no rows"):
        manifest.read(written(tmp_path, "path,label"))
    (tmp_path / manifest.NAME).write_bytes("path,label\na.wav,Gebläse\n".encode("latin-1"))
    with pytest.raises(UnavailableError, match="not a CSV table in UTF-8"):
        manifest.read(tmp_path)


def test_folds() -> None:
    one, two = (Clip(Path("a"), "a", "dog", fold) for fold in "12")
    assert manifest.of_folds([one, two], ["2"]) == [two]
    assert manifest.of_folds([one, two], []) == [one, two]
    with pytest.raises(UnavailableError, match="no clip of fold 3, 4; there are 1, 2"):
        manifest.of_folds([one, two], ["4", "2", "3"])


LABELLED = [clip(f"{label}{n}", label) for label in ("ape", "bee", "cow") for n in range(5)]


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_every_part_has_as_many_recordings_of_every_label(parts: int) -> None:
    found = [manifest.of_part(LABELLED, part, parts) for part in range(1, parts + 1)]
    for label in ("ape", "bee", "cow"):
        counts = [Counter(c.label for c in part)[label] for part in found]
        assert max(counts) - min(counts) <= 1
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1  # what is left over does not go to the same part each time
    assert sorted((c for part in found for c in part), key=LABELLED.index) == LABELLED


def test_labels_with_one_recording_each_go_to_the_parts_by_turns() -> None:
    rare = [clip(str(n), f"label {n}") for n in range(8)]
    assert [len(manifest.of_part(rare, part, 2)) for part in (1, 2)] == [4, 4]


def test_a_recording_is_in_one_part_whatever_its_takes_labels_and_data_sets() -> None:
    shared = [clip(c.recording, label, "other") for c in LABELLED for label in ("a", "z")]
    clips = [*LABELLED, *LABELLED, *shared]
    one, two = (manifest.of_part(clips, part, 2) for part in (1, 2))
    assert len(one) + len(two) == len(clips)
    assert not {c.recording for c in one} & {c.recording for c in two}


def test_a_label_whose_recordings_have_another_label_too_is_shared_out_all_the_same() -> None:
    """Of `cow` one recording is dealt as `ape`: the other goes elsewhere."""
    clips = [clip("x", "ape"), clip("w", "bee"), clip("x", "cow"), clip("y", "cow")]
    parts = [{c.recording for c in manifest.of_part(clips, part, 2)} for part in (1, 2)]
    assert parts == [{"x"}, {"w", "y"}]


def test_parts_do_not_depend_on_the_order_of_rows() -> None:
    first = {c.recording for c in manifest.of_part(LABELLED, 1, 2)}
    again = {c.recording for c in manifest.of_part(LABELLED[::-1], 1, 2)}
    assert first == again
    assert first == {
        *("ape1", "ape2", "ape4"),
        *("bee0", "bee3"),
        *("cow1", "cow2", "cow4"),
    }  # and are the same in every process


def test_of_doubles_the_better_copy_is_kept() -> None:
    low = clip("9", "dog", "esc50", "1-9-A", 16_000)
    high = clip("9", "dog", "esc10", "1-9-A", 44_100)
    other = clip("9", "dog", "esc50", "1-9-B", 16_000)  # another take of the recording
    for clips in ([low, high, other], [high, low, other]):
        assert manifest.without_doubles(clips) == [high, other]
        assert manifest.without_doubles(clips, ["esc10", "esc50"]) == [high, other]
        assert manifest.without_doubles(clips, ["esc50", "esc10"]) == [low, other]
        assert manifest.without_doubles(clips, ["esc50"]) == [low, other]


def test_of_doubles_as_good_as_each_other_the_first_is_kept() -> None:
    one, two = (clip("9", "dog", dataset, "1") for dataset in ("b", "a"))
    assert manifest.without_doubles([one, two]) == [one]
    assert manifest.without_doubles([two, one]) == [two]


def test_what_only_shares_a_name_is_no_double() -> None:
    clips = [
        clip("wind", "wind", "antum", "wind", 44_100),
        clip("217506", "wind", "background", "wind", 16_000),  # another recording
        clip("", "dog", "x"),
        clip("", "dog", "y"),  # without an id, nobody knows
        clip("7", "dog", "x", "7"),
        clip("7", "cat", "y", "7"),  # another sound in it
        clip("8", "dog", "x", "8"),
        clip("8", "dog", "x", "8"),  # two events of one file
    ]
    assert manifest.without_doubles(clips) == clips
