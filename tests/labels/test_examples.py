"""Examples of a sound: where the sound is in them, what is refused, and that it is done once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import noise, write_float_wav

from pe_stream.audio.synthesis import SOUNDS
from pe_stream.config import LabelSettings
from pe_stream.config.file import effective, parse
from pe_stream.core.types import SAMPLE_RATE, Samples
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.labels import examples
from pe_stream.labels.examples import Embedder
from pe_stream.labels.fingerprint import fingerprint
from pe_stream.labels.prepare import prepare_labels
from pe_stream.model.checkpoint import Checkpoint, load

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module", autouse=True)
def cached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder / "pe-stream" / "embeddings"


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return load("embedded", device="cpu", threads=1)


@pytest.fixture
def beep(tmp_path: Path) -> Path:
    sound = SOUNDS["single beep"](np.random.default_rng(3)) * np.float32(0.3)
    return write_float_wav(tmp_path / "beep.wav", sound)


def test_the_active_part_is_what_is_loud() -> None:
    samples = noise((1.0, 0.0001), (0.4, 0.1), (1.0, 0.0001), (0.2, 0.05), (0.5, 0.0001))
    active = examples.active_part(samples, "it")
    (where,) = np.nonzero(active)
    assert where.tolist() == [*range(25, 35), *range(60, 65)]


def test_a_steady_sound_is_all_active() -> None:
    assert examples.active_part(noise((2.0, 0.05)), "it").all()


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.zeros(SAMPLE_RATE, np.float32), "silent"),
        (noise((1.0, 0.0005)), "silent"),
        (noise((1.0, 0.0001), (0.08, 0.1), (1.0, 0.0001)), "too short: 0.08 s"),
        (noise((3.0, 0.003)), "stands out"),
        (noise((0.01, 0.1)), "too short"),
    ],
    ids=["zeros", "faint", "click", "room", "piece"],
)
def test_what_holds_no_sound_is_refused(samples: Samples, message: str) -> None:
    with pytest.raises(UnavailableError, match=f"ring.wav: .*{message}"):
        examples.active_part(samples, "ring.wav")


def test_a_faint_sound_that_stands_out_is_taken() -> None:
    assert examples.active_part(noise((1, 0.0001), (0.5, 0.004), (1, 0.0001)), "it").sum() == 13


def test_too_long_is_refused(tmp_path: Path) -> None:
    path = write_float_wav(tmp_path / "long.wav", noise((61.0, 0.1)))
    with pytest.raises(UnavailableError, match=r"long.wav: longer than 60 s"):
        examples.read(str(path))


def test_an_example_is_embedded_once(
    checkpoint: Checkpoint, beep: Path, cached: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = examples.load(Embedder(checkpoint), str(beep))
    assert first.embeddings.shape == (len(first.active), 192)
    assert 0 < first.active.sum() < len(first.active)
    monkeypatch.setattr(Embedder, "embed", None)
    again = examples.load(Embedder(checkpoint), str(beep))
    assert again.embeddings.tobytes() == first.embeddings.tobytes()
    assert again.active.tolist() == first.active.tolist()
    beep.write_bytes(write_float_wav(beep.with_name("o.wav"), noise((1, 0.1))).read_bytes())
    with pytest.raises(TypeError, match="not callable"):  # another content
        examples.load(Embedder(checkpoint), str(beep))


def test_a_damaged_cache_is_made_again(checkpoint: Checkpoint, beep: Path, cached: Path) -> None:
    first = examples.load(Embedder(checkpoint), str(beep))
    newest = max(cached.glob("*.npz"), key=lambda path: path.stat().st_mtime)
    newest.write_bytes(newest.read_bytes()[:100])
    assert (
        examples.load(Embedder(checkpoint), str(beep)).embeddings.tobytes()
        == first.embeddings.tobytes()
    )


def test_a_cache_that_cannot_be_written_is_told_and_no_error(
    checkpoint: Checkpoint, beep: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(examples.load(Embedder(checkpoint), str(beep)).embeddings)
    assert "not kept for the next start" in caplog.text


def test_labels_with_examples_have_vectors_and_keys_of_their_own(
    checkpoint: Checkpoint, beep: Path
) -> None:
    plain = LabelSettings.model_validate({"prompts": "xylophone"})
    taught = LabelSettings.model_validate({"prompts": "xylophone", "examples": str(beep)})
    labels = prepare_labels(checkpoint, {"plain": plain, "taught": taught})
    rows = labels.embeddings.rows
    assert not np.allclose(rows[0].numpy(), rows[1].numpy())
    assert labels.keys["plain"] != labels.keys["taught"]
    before = fingerprint("w", taught)
    beep.write_bytes(write_float_wav(beep.with_name("o.wav"), noise((1, 0.1))).read_bytes())
    assert fingerprint("w", taught) != before


def test_an_example_that_is_gone_names_label_and_file(checkpoint: Checkpoint) -> None:
    label = LabelSettings.model_validate({"prompts": "x", "examples": "/no/such/a.wav"})
    with pytest.raises(UnavailableError, match=r"labels\.ring\.examples: /no/such/a\.wav: No such"):
        prepare_labels(checkpoint, {"ring": label})


def test_paths_are_from_the_folder_of_the_file(tmp_path: Path) -> None:
    text = "labels:\n  ring: {examples: [a.wav, sub/b.wav, /c.wav]}\n"
    settings = parse(text, str(tmp_path / "config.yaml"))
    wanted = (str(tmp_path / "a.wav"), str(tmp_path / "sub" / "b.wav"), "/c.wav")
    assert settings.labels["ring"].examples == wanted
    assert parse(effective(settings), "/elsewhere/config.yaml") == settings
    room = parse(text.replace("]}", "], background: r.wav}"), str(tmp_path / "config.yaml"))
    assert room.labels["ring"].background == (str(tmp_path / "r.wav"),)
    link = tmp_path / "link" / "config.yaml"
    link.parent.mkdir()
    (tmp_path / "config.yaml").touch()
    link.symlink_to(tmp_path / "config.yaml")
    assert parse(text, str(link)) == settings


@pytest.mark.parametrize(
    ("background", "message"),
    [
        ("[r.wav, r.wav]", "given twice"),
        ("a.wav", "'a.wav' is among the label's examples"),
        ("[1]", "text"),
    ],
)
def test_a_wrong_background_is_refused_by_key(background: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"labels\.ring\.background.*{message}"):
        parse(f"labels:\n  ring: {{examples: [a.wav], background: {background}}}\n")


def test_a_background_without_examples_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"labels\.ring\.background: .*there are none"):
        parse("labels:\n  ring: {background: r.wav}\n")


@pytest.mark.parametrize(
    ("examples_", "message"),
    [("[a.wav, a.wav]", "given twice"), ("[1]", "text"), ("{a: 1}", "list"), ('[" "]', "blank")],
)
def test_wrong_examples_are_refused_by_key(examples_: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"labels\.ring\.examples.*{message}"):
        parse(f"labels:\n  ring: {{examples: {examples_}}}\n")
