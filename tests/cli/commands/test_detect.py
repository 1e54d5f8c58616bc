"""`pe-stream detect` as a user runs it, on a checkpoint whose scores are known."""

from __future__ import annotations

import csv
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from audio.films import Drawn
from audio.hostile_servers import wav_head
from PIL import Image
from processes import pe_stream, standard_input
from sounds import noise, write_float_wav
from timing import within

from pe_stream.audio import media
from pe_stream.core.messages import event_schema

RATE = 48_000


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Loud from 1 to 1.6 s and from 3 s to the end at 4.21 s."""
    signal = noise((1.0, 0.001), (0.6, 0.2), (1.4, 0.001), (1.21, 0.2))
    return write_float_wav(tmp_path_factory.mktemp("wav") / "bursts.wav", signal)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, level: Path) -> Path:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(
        f"model: {{checkpoint: {level}, window_s: 1.0, hop_s: 0.2, lookahead_s: 0.2, threads: 1}}\n"
        "labels:\n  loud: {}\n  never: {threshold: 0.9999}\n",
        "utf-8",
    )
    return path


def test_jsonl_is_finished_events_in_order_of_onset(config: Path, wav: Path) -> None:
    done = pe_stream("detect", wav, wav, "-c", config)
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    for event in events:
        jsonschema.validate(event, event_schema())
    assert [(e["phase"], e["label"], e["source"]) for e in events] == [
        ("end", "loud", str(wav))
    ] * 4
    assert [e["onset_s"] for e in events] == pytest.approx([1.0, 3.0] * 2, abs=0.041)
    assert [e["offset_s"] for e in events] == pytest.approx([1.6, 4.21] * 2, abs=0.041)
    assert len({e["id"] for e in events}) == 4


def test_tsv_and_audacity(config: Path, wav: Path) -> None:
    table = pe_stream("detect", wav, "-c", config, "--format", "tsv").stdout
    rows = list(csv.DictReader(io.StringIO(table), delimiter="\t"))
    assert list(rows[0]) == ["file", "onset_s", "offset_s", "label", "peak", "mean"]
    assert [(row["file"], row["label"]) for row in rows] == [(str(wav), "loud")] * 2
    labels = pe_stream("detect", wav, "-c", config, "--format", "audacity").stdout
    onset, offset, label = labels.splitlines()[0].split("\t")
    assert (float(onset), float(offset), label) == (
        float(rows[0]["onset_s"]),
        float(rows[0]["offset_s"]),
        "loud",
    )


def test_scores_and_plot_are_written_per_file(config: Path, wav: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    done = pe_stream("detect", wav, "-c", config, "--scores", out, "--plot", out)
    assert done.returncode == 0, done.stderr
    with np.load(out / "bursts.npz") as saved:
        assert set(saved) == {"labels", "scores", "frame_s"}
        assert saved["labels"].tolist() == ["loud", "never"]
        scores = saved["scores"]
        assert float(saved["frame_s"]) == 0.04
    assert (scores.shape, scores.dtype) == ((106, 2), np.float32)
    assert scores[30:38].min() > 0.9
    assert scores[45:70].max() < 0.1
    with Image.open(out / "bursts.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000


def test_prompts_need_no_config_and_are_the_labels(level: Path, wav: Path, tmp_path: Path) -> None:
    done = pe_stream(
        "detect", wav, "--checkpoint", level, "--prompt", "a dog", "--prompt", "Ein Hund, laut",
        cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [e["label"] for e in events] == ["a dog", "Ein Hund, laut"] * 2


def test_threshold_overrides_every_label(config: Path, wav: Path) -> None:
    done = pe_stream("detect", wav, "-c", config, "--threshold", "0.6")
    labels = [json.loads(line)["label"] for line in done.stdout.splitlines()]
    assert labels == ["loud", "never"] * 2
    assert {json.loads(line)["threshold"] for line in done.stdout.splitlines()} == {0.6}


@pytest.mark.parametrize("rate", [8000, 44_100, 192_000])
def test_any_rate_and_any_number_of_channels(
    config: Path, wav: Path, tmp_path: Path, rate: int
) -> None:
    other = tmp_path / f"{rate}.wav"
    pan = "pan=8c|" + "|".join(f"c{channel}=c0" for channel in range(8))
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", wav, "-ar", str(rate), "-af", pan, other], check=True
    )
    events = [
        [json.loads(line) for line in pe_stream("detect", f, "-c", config).stdout.splitlines()]
        for f in (wav, other)
    ]
    assert len(events[1]) == 2
    for key in ("onset_s", "offset_s"):
        wanted = [e[key] for e in events[0]]
        assert [e[key] for e in events[1]] == pytest.approx(wanted, abs=0.041)


@pytest.fixture
def bad(tmp_path: Path) -> dict[str, Path]:
    """Files that cannot be used, by what is wrong with them."""
    files = {
        "silent": write_float_wav(tmp_path / "silent.wav", np.zeros(RATE, np.float32)),
        "NaN": write_float_wav(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32)),
        "empty": write_float_wav(tmp_path / "none.wav", np.zeros(0, np.float32)),
        "text": tmp_path / "text.wav",
        "zero": tmp_path / "zero.wav",
        "missing": tmp_path / "missing.wav",
        "folder": tmp_path,
    }
    files["text"].write_text("this is no audio\n" * 50, "utf-8")
    files["zero"].touch()
    return files


@pytest.mark.parametrize("kind", ["silent", "NaN", "empty", "text", "zero", "missing", "folder"])
def test_a_bad_file_is_one_clear_line_and_the_others_go_on(
    config: Path, wav: Path, bad: dict[str, Path], kind: str
) -> None:
    done = pe_stream("detect", bad[kind], wav, "-c", config)
    assert done.returncode == 69
    assert len(done.stdout.splitlines()) == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"pe-stream: {bad[kind]}: ")
    assert "Traceback" not in line


def test_second_opinions_are_in_the_events(
    config: Path, wav: Path, pe_av: Path, tmp_path: Path
) -> None:
    """Of a film and of sound alone, one after the other; what is asked is the labels' prompts."""
    film = Drawn(seconds=7.0, flash_s=5.0).save(tmp_path / "film.mp4")
    done = pe_stream("detect", wav, film, "-c", config, "--second-opinion", pe_av)
    assert (done.returncode, done.stderr) == (0, "")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    plain = pe_stream("detect", wav, film, "-c", config)
    without = {"id": "", "latency_ms": 0.0, "second_opinion": None}
    assert [event | without for event in events] == [
        json.loads(line) | without for line in plain.stdout.splitlines()
    ]
    for event in events:
        jsonschema.validate(event, event_schema())
        opinion = event["second_opinion"]
        assert (opinion["checkpoint"], event["source"]) == (str(pe_av), event["source"])
        begin_s, end_s = opinion["span_s"]
        assert begin_s == pytest.approx(max(0, event["peak_s"] - 4), abs=0.041)
        assert end_s <= event["peak_s"] + 4.04
        seen = [opinion["picture"], opinion["both"], opinion["together"]]
        assert all(score is None for score in seen) == (event["source"] == str(wav))
        assert opinion["pictures"] == (0 if event["source"] == str(wav) else 8)
    assert [event["source"] for event in events] == [str(wav)] * 2 + [str(film)]


def test_second_opinions_that_cannot_be_had(
    config: Path, wav: Path, pe_av: Path, tmp_path: Path
) -> None:
    done = pe_stream("detect", wav, "-c", config, "--second-opinion", "embedded")
    assert (done.returncode, done.stdout) == (69, "")
    (line,) = done.stderr.splitlines()
    assert "second opinion: checkpoint 'embedded': it is a PeAudioFrameLevelModel" in line
    pipe, end = os.pipe()  # of which the end is not waited for
    with standard_input(pipe):
        piped = pe_stream("detect", "-", "-c", config, "--second-opinion", pe_av)
    os.close(end)
    os.close(pipe)
    assert (piped.returncode, piped.stdout) == (69, "")
    assert "reads a recording twice: give a file, no pipe" in piped.stderr


def test_second_opinions_count_for_resume(
    config: Path, wav: Path, pe_av: Path, tmp_path: Path
) -> None:
    journal = ("--resume", tmp_path / "journal")
    first = pe_stream("detect", wav, "-c", config, "--second-opinion", pe_av, *journal)
    assert first.returncode == 0, first.stderr
    again = pe_stream("detect", wav, "-c", config, "--second-opinion", pe_av, *journal)
    assert (again.returncode, again.stdout) == (0, "")
    assert pe_stream("detect", wav, "-c", config, *journal).returncode != 0


def test_usage_errors(config: Path, wav: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (["detect"], "FILE"),
        (["detect", wav, "--threshold", "1.5"], "above 0 and below 1"),
        (["detect", wav, wav, "--format", "audacity", "-c", config], "one FILE"),
        (["detect", wav, wav, "--plot", tmp_path, "-c", config], "bursts"),
        (["detect", wav, "--format", "xml"], "invalid choice"),
        (["detect", wav, "--format", "tsv", "--second-opinion", "x"], "tsv has no place"),
        (["dance"], "invalid choice"),
        ([], "COMMAND"),
    ):
        done = pe_stream(*arguments)
        assert done.returncode == 2, arguments
        assert message in done.stderr
        assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--prompt", " "], 78, "empty"),
        (["--prompt", "a dog", "--prompt", "a dog"], 78, "more than once"),
        (["--prompt", "a", "--checkpoint", "/no/such/folder"], 69, "/no/such/folder"),
        (["-c", "/no/such/config.yaml"], 78, "/no/such/config.yaml"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(
    wav: Path, arguments: list[str], code: int, message: str
) -> None:
    done = pe_stream("detect", wav, *arguments)
    assert done.returncode == code
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_output_folder_that_cannot_be_made(config: Path, wav: Path) -> None:
    done = pe_stream("detect", wav, "-c", config, "--plot", wav / "below")
    assert done.returncode == 69
    assert str(wav / "below") in done.stderr


def test_an_output_file_that_cannot_be_written(config: Path, wav: Path, tmp_path: Path) -> None:
    (tmp_path / "bursts.npz").mkdir()
    done = pe_stream("detect", wav, "-c", config, "--scores", tmp_path)
    assert done.returncode == 69
    assert "bursts.npz: cannot be written" in done.stderr


@pytest.mark.heavy
def test_a_reader_that_goes_away_is_no_fault(config: Path, wav: Path) -> None:

    done = subprocess.run(
        f"{sys.executable} -m pe_stream detect {wav} {wav} -c {config} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        timeout=within(100),
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_a_hostile_file_ends_with_a_word_and_the_others_go_on(
    config: Path, wav: Path, tmp_path: Path
) -> None:
    hostile = tmp_path / "slow.wav"
    hostile.write_bytes(wav_head(1) + b"\x80\x90" * 2048)
    began_s = time.monotonic()
    done = pe_stream("detect", wav, hostile, wav, "-c", config)
    assert time.monotonic() - began_s < within(10)
    assert done.returncode == 69
    said = "a sample rate of 1 Hz; 1 kHz to 768 kHz can be read"
    assert done.stderr == f"pe-stream: {hostile}: {said}\n"
    assert len(done.stdout.splitlines()) == 4


ODD_NAMES = [
    b"-dash.wav",
    "100% \u00e4 \u5f55 \U0001f514.wav".encode(),
    b"new\nline.wav",
    b"latin1-\xe4.wav",
    b"12:30:00.wav",
    b"a$_{1$.wav",
    b"back\\slash\ttab.wav",
    b"\x1b[31mred.wav",
    b"*.wav",
    b" .wav",
]


def odd_files(folder: Path, wav: Path) -> list[str]:
    for name in ODD_NAMES:
        os.symlink(wav, os.path.join(os.fsencode(folder), name))  # noqa: PTH118, PTH211 - bytes
    return [os.fsdecode(name) for name in ODD_NAMES]


@pytest.mark.heavy
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_files_of_any_name_are_told_of(
    config: Path, wav: Path, tmp_path: Path, locale: str
) -> None:
    names = odd_files(tmp_path, wav)
    # Both in one process: importing torch takes longer than all that it reads.
    program = """
import sys
from pe_stream.cli.main import program
common = sys.argv[1:]
for options in (["--plot", "p"], ["--format", "tsv"]):
    sys.argv[1:] = ["detect", *options, *common]
    print(end=f"\\0{program()}\\0")
"""
    done = subprocess.run(
        [*map(os.fsencode, [sys.executable, "-c", program, "-c", str(config), "--"]), *ODD_NAMES],
        cwd=tmp_path,
        env=os.environ | {"LC_ALL": locale},
        capture_output=True,
        check=False,
    )
    assert done.stderr.decode() == ""
    lines, code, table, *end = done.stdout.decode("utf-8").split("\0")
    assert (code, end) == ("0", ["0", ""])
    events = [json.loads(line) for line in lines.splitlines()]
    assert [e["source"] for e in events] == [name for name in names for _ in range(2)]
    pictures = set(os.listdir(tmp_path / "p"))  # noqa: PTH208 - names as they are
    assert pictures == {f"{Path(name).stem}.png" for name in names}
    rows = table.split("\n")
    assert len(rows) == 1 + 2 * len(names) + 1
    told = [row.split("\t")[0] for row in rows[1:-1:2]]
    assert told[2:4] == ["new\\nline.wav", "latin1-\\xe4.wav"]
    assert told[6:8] == ["back\\\\slash\\ttab.wav", "\\x1b[31mred.wav"]


def test_a_bad_file_of_any_name_is_one_line(config: Path, tmp_path: Path) -> None:
    for name in ODD_NAMES:
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_text("no audio")  # noqa: PTH118
    done = pe_stream("detect", "-c", config, "--", *map(os.fsdecode, ODD_NAMES), cwd=tmp_path)
    head, *lines = done.stderr.splitlines()
    assert head == "pe-stream: 10 of 10 files could not be used:"
    assert len(lines) == 10
    assert lines[2] == "pe-stream: new\\nline.wav: this is no audio that FFmpeg can read"
    assert lines[3].startswith("pe-stream: latin1-\\xe4.wav: ")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], set[str]]:
    """1,000 files, and which of them are bad; of the first 240, nine of each kind."""
    folder = tmp_path_factory.mktemp("many")
    good = write_float_wav(folder / "good", noise((0.3, 0.001), (0.5, 0.2), (0.3, 0.001)))
    head = good.read_bytes()[:44]
    files, bad = [], set()
    for number in range(1000):
        path = folder / f"{number:04d}.wav"
        kind = number % 10
        if kind not in (1, 4, 7):
            path.symlink_to(good)
        else:
            bad.add(str(path))
            match number // 10 % 8:
                case 0:
                    path.write_text("this is no audio\n" * 50)
                case 1:
                    path.touch()
                case 2:
                    path.mkdir()
                case 3:
                    pass  # missing
                case 4:
                    path.write_bytes(head[: 20 + number % 20])
                case 5:
                    path.symlink_to(path)
                case 6:
                    write_float_wav(path, np.zeros(4800, np.float32))
                case _:
                    write_float_wav(path, np.full(4800, np.nan, np.float32))
        files.append(str(path))
    return files, bad


@contextmanager
def hardly_a_file_more() -> Iterator[None]:
    """64 more can be open at a time than now: none of the good ones may stay open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    with ExitStack() as between:  # numbers below the highest that are free
        while (number := os.dup(0)) < highest:
            between.callback(os.close, number)
        os.close(number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 64, before[1]))
        yield
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.heavy
@pytest.mark.usefixtures("forked_pools")
@pytest.mark.parametrize(("jobs", "count"), [(1, 1000), (2, 240)])
def test_of_many_files_every_good_one_is_read_and_every_bad_one_named_once(
    config: Path, many: tuple[list[str], set[str]], jobs: int, count: int
) -> None:
    files = many[0][:count]
    bad = many[1].intersection(files)
    assert len(bad) == 0.3 * count
    # Processes of a pool may have begun before: they would not have the limit, or keep it.
    with hardly_a_file_more() if jobs == 1 else nullcontext():
        done = pe_stream("detect", *files, "-c", config, "--jobs", str(jobs))
    assert done.returncode == 69
    sources = [json.loads(line)["source"] for line in done.stdout.splitlines()]
    assert sources == [file for file in files if file not in bad]
    head, *lines = done.stderr.splitlines()
    assert head == f"pe-stream: {len(bad)} of {count} files could not be used:"
    named = [line.removeprefix("pe-stream: ").split(": ")[0] for line in lines]
    assert named == [file for file in files if file in bad]


def test_a_fault_of_ours_with_one_file_keeps_no_other_from_being_read(
    config: Path, wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = media.read

    def read(path: str) -> media.Recording:
        if path == "breaks.wav":
            raise ZeroDivisionError("of ours")
        return real(path)

    monkeypatch.setattr(media, "read", read)
    done = pe_stream("detect", "none.wav", "breaks.wav", wav, "-c", config)
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-3:] == [
        "pe-stream: 2 of 3 files could not be used:",
        "pe-stream: none.wav: No such file or directory",
        "pe-stream: breaks.wav: a fault of pe_stream: ZeroDivisionError('of ours')",
    ]


@pytest.mark.heavy
@pytest.mark.usefixtures("forked_pools")
def test_files_side_by_side_are_told_in_order(config: Path, wav: Path, tmp_path: Path) -> None:
    files = [wav, tmp_path / "none.wav", wav, wav]
    alone = pe_stream("detect", *files, "-c", config, "--format", "tsv")
    beside = pe_stream("detect", *files, "-c", config, "--format", "tsv", "--jobs", "3")
    assert (beside.stdout, beside.stderr, beside.returncode) == (
        alone.stdout,
        alone.stderr,
        alone.returncode,
    )
    for jobs in ("0", "x", "257"):
        assert pe_stream("detect", wav, "--jobs", jobs).returncode == 2


@pytest.mark.heavy
@pytest.mark.usefixtures("forked_pools")
def test_side_by_side_what_keeps_all_from_being_read_is_one_line(wav: Path) -> None:
    done = pe_stream("detect", wav, wav, "--prompt", "x", "--checkpoint", "/none", "--jobs", "2")
    assert done.returncode == 69
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "/none" in line


def test_standard_input_is_a_file_too(config: Path, wav: Path) -> None:
    with subprocess.Popen(["cat", wav], stdout=subprocess.PIPE) as cat:
        assert cat.stdout is not None
        with standard_input(cat.stdout.fileno()):
            done = pe_stream("detect", "-", "-c", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == ["/dev/stdin"] * 2


@pytest.mark.heavy
@pytest.mark.usefixtures("forked_pools")
def test_what_is_done_is_left_out_by_resume(config: Path, wav: Path, tmp_path: Path) -> None:
    journal = tmp_path / "done.jsonl"
    other = tmp_path / "other.wav"
    other.write_bytes(wav.read_bytes())
    how = ("-c", config, "--format", "tsv", "--resume", journal)
    late = tmp_path / "late.wav"
    first = pe_stream("detect", wav, late, *how)
    assert (first.returncode, len(first.stdout.splitlines())) == (69, 3)
    late.write_bytes(wav.read_bytes())
    second = pe_stream("detect", wav, late, other, *how, "--jobs", "2")
    assert second.returncode == 0
    assert [row.split("\t")[0] for row in second.stdout.splitlines()] == [str(late)] * 2 + [
        str(other)
    ] * 2  # no second header
    assert "1 of 3 files are done already" in second.stderr
    again = pe_stream("detect", wav, late, other, *how)
    assert (again.returncode, again.stdout) == (0, "")
    write_float_wav(other, noise((1.0, 0.001), (0.6, 0.2)))  # has changed
    changed = pe_stream("detect", wav, other, *how)
    assert [row.split("\t")[0] for row in changed.stdout.splitlines()] == [str(other)]


def test_a_file_that_broke_off_is_read_again(config: Path, wav: Path, tmp_path: Path) -> None:
    journal = tmp_path / "done.jsonl"
    pe_stream("detect", wav, "-c", config, "--resume", journal)
    whole = journal.read_bytes()
    for cut in (0, 10, whole.index(b"\n"), whole.index(b"\n") + 1, len(whole) - 1):
        journal.write_bytes(whole[:cut])
        done = pe_stream("detect", wav, "-c", config, "--resume", journal)
        assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
        assert journal.read_bytes() == whole


def test_resume_goes_on_whatever_engine_live_sources_have(
    config: Path, wav: Path, tmp_path: Path
) -> None:
    journal = tmp_path / "done.jsonl"
    pe_stream("detect", wav, "-c", config, "--resume", journal)
    text = config.read_text()
    assert "model: {" in text
    config.write_text(text.replace("model: {", "model: {engine: https://gpu-box:8770, "))
    again = pe_stream("detect", wav, "-c", config, "--resume", journal)
    assert (again.returncode, again.stdout) == (0, ""), again.stderr


def test_resume_takes_no_other_file(config: Path, wav: Path, tmp_path: Path) -> None:
    journal = tmp_path / "done.jsonl"
    pe_stream("detect", wav, "-c", config, "--resume", journal)
    other = pe_stream("detect", wav, "-c", config, "--resume", journal, "--threshold", "0.6")
    assert other.returncode == 2
    assert "it is of other labels or options" in other.stderr
    for text in ("my results\n", "[1]\n", "unended", "{}\n"):
        journal.write_text(text)
        done = pe_stream("detect", wav, "-c", config, "--resume", journal)
        assert done.returncode == 2
        assert "this is not a file that --resume has made" in done.stderr
        assert journal.read_text() == text
    done = pe_stream("detect", wav, "-c", config, "--resume", tmp_path)
    assert done.returncode == 69
    assert "cannot be written: Is a directory" in done.stderr
