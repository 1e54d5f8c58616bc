from __future__ import annotations

import re
from pathlib import Path

import pytest
from huggingface_hub import constants
from model.damage import Change, both, edit, edit_codec, refused, remove, write
from model.hub import COMMIT, serve

from pe_stream.assets import EMBEDDED
from pe_stream.core.types import Recommended
from pe_stream.model.files import find, identity, read_config, read_recommended

TINY = "someone/pe-a-frame-tiny"


def test_identity_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    before = identity(folder)
    moved = folder.rename(tmp_path / "moved")
    (moved / "thresholds.json").write_text('{"labels": {}}', encoding="utf-8")
    assert identity(moved) == before  # neither makes a score
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        file = moved / name
        content = file.read_bytes()
        file.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        assert identity(moved) != before, name
        file.write_bytes(content)
    assert identity(moved) == before


@pytest.mark.parametrize("at", [0, 2**24 + 5, 2**25 - 1])
def test_large_weights_are_sampled_from_first_to_last(at: int, tmp_path: Path) -> None:
    def digest(*changed: int) -> str:
        with (tmp_path / "model.safetensors").open("wb") as file:
            file.truncate(2**25)  # sparse
            for place in changed:
                file.seek(place)
                file.write(b"x" * 2**17)  # no gap between blocks is as long
            file.truncate(2**25)
        return identity(tmp_path)

    assert digest(at) != digest()
    assert digest(at) == digest(at)


def test_embedded_checkpoint_and_its_card_are_in_the_package() -> None:
    assert find("embedded") == EMBEDDED
    assert "What it reaches" in (EMBEDDED / "README.md").read_text(encoding="utf-8")


def test_folder_is_found_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    assert find(str(folder)) == find(f"~/{folder.name}") == folder


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "~/nothing/here", "nothing"])
def test_missing_folder_is_refused(name: str) -> None:
    with refused(name, "no such folder"):
        find(name)


UNFIT: dict[str, tuple[Change, str]] = {
    "no config": (remove("config.json"), "no config.json in "),
    "broken config": (write("config.json", "{"), "config.json cannot be read"),
    "config is a list": (write("config.json", "[]"), "config.json is not a JSON object"),
    "another model": (edit("config.json", lambda c: c.update(model_type="bert")), "'bert'.* not"),
    "no model type": (edit("config.json", lambda c: c.pop("model_type")), "None.* not PE Audio"),
    "no text tower": (edit("config.json", lambda c: c.pop("text_config")), "lacks 'text_config'"),
    "text tower is a word": (
        edit("config.json", lambda c: c.update(text_config="bert")),
        "no PE Audio model",
    ),
    "another frame": (edit_codec(downsampling_ratios=[2, 8, 10, 6]), "960 samples at 48000 Hz"),
    "another rate": (
        edit("preprocessor_config.json", lambda c: c.update(sampling_rate=44_100)),
        "1920 samples at 44100 Hz",
    ),
    "another rate, in processor_config.json": (
        both(
            remove("preprocessor_config.json"),
            write("processor_config.json", '{"feature_extractor": {"sampling_rate": 16000}}'),
        ),
        "at 16000 Hz",
    ),
    "another rate, of the codec": (
        both(remove("preprocessor_config.json"), edit_codec(sampling_rate=44_100)),
        "at 44100 Hz",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit_configuration_is_refused(case: str, folder: Path) -> None:
    change, message = UNFIT[case]
    change(folder)
    with refused("mine", message):
        read_config("mine", folder)


def test_codecs_own_rate_gives_way_to_the_extractors(folder: Path) -> None:
    edit_codec(sampling_rate=16_000)(folder)
    read_config("mine", folder)


def test_recommended_thresholds_are_read(folder: Path) -> None:
    assert read_recommended("mine", folder) == {}
    (folder / "thresholds.json").write_text('{"labels": {"dog_bark": 0.42, "speech": 1}}')
    assert read_recommended("mine", folder) == {
        "dog_bark": Recommended(0.42),
        "speech": Recommended(1.0),
    }


def test_recommended_smoothing_and_off_thresholds_are_read(folder: Path) -> None:
    (folder / "thresholds.json").write_text(
        '{"labels": {"dog_bark": {"threshold": 0.56, "off_threshold": 0.2, "smooth_s": 0.6}, '
        '"cough": {"threshold": 0.3, "recall": 0.2, "false_alarms_per_hour": 1.5}, "siren": 0.7}}'
    )
    assert read_recommended("mine", folder) == {
        "dog_bark": Recommended(0.56, 0.6, off_threshold=0.2),
        "cough": Recommended(0.3, recall=0.2, false_alarms_per_hour=1.5),
        "siren": Recommended(0.7),
    }


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"labels": []}',
        '{"labels": {"a": 1.1}}',
        '{"labels": {"a": true}}',
        '{"labels": {"a": "0.5"}}',
        '{"labels": {"a": NaN}}',
        '{"labels": {"a": {}}}',
        '{"labels": {"a": {"smooth_s": 0.6}}}',
        '{"labels": {"a": {"threshold": 0.5, "smooth_s": 2.1}}}',
        '{"labels": {"a": {"threshold": 0.5, "smooth_s": -0.1}}}',
        '{"labels": {"a": {"threshold": 0.5, "smooth_s": "0.5"}}}',
        '{"labels": {"a": {"threshold": 0.5, "smooth": 0.5}}}',
        '{"labels": {"a": {"threshold": 0.5, "recall": 1.1}}}',
        '{"labels": {"a": {"threshold": 0.5, "false_alarms_per_hour": -1}}}',
        '{"labels": {"a": {"threshold": 0.5, "off_threshold": 0.51}}}',
        '{"labels": {"a": {"off_threshold": 0.2}}}',
        '{"labels": {"a": [0.5, 0.6]}}',
        '{"labels": {"a": {"threshold": 0.5, "false_alarms_per_hour": ' + "9" * 400 + "}}}",
        '{"labels": {"a": {"threshold": 0.5, "false_alarms_per_hour": Infinity}}}',
        '{"labels": {"' + "a" * 5000 + '": 1.1}}',
    ],
)
def test_wrong_thresholds_are_refused(text: str, folder: Path) -> None:
    (folder / "thresholds.json").write_text(text)
    with refused("mine", "its thresholds.json"):
        read_recommended("mine", folder)


@pytest.mark.parametrize("rate", ["a\nb\x1b[31m", "9" * 5000, ["x\r"] * 500])
def test_a_wrong_rate_is_told_short_and_in_one_line(rate: object, folder: Path) -> None:
    edit("preprocessor_config.json", lambda c: c.update(sampling_rate=rate))(folder)
    with refused("mine", "it hears frames of 1920 samples at"):
        read_config("mine", folder)


def test_weights_that_may_not_be_read_are_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The superuser may read all, so the system's answer is made up."""
    (folder / "evil\n\udcff.safetensors").write_bytes(b"x")
    given = Path.open

    def refuse(path: Path, mode: str = "r") -> object:
        if path.name.startswith("evil"):
            raise PermissionError(13, "Permission denied", str(path))
        return given(path, mode)

    monkeypatch.setattr(Path, "open", refuse)
    with refused(str(folder), r"its 'evil.n.udcff.safetensors' cannot be read .*denied"):
        identity(folder)


def test_hub_checkpoint_is_downloaded_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "thresholds.json").write_text('{"labels": {}}')
    with serve(TINY, folder) as hub:
        _point_to(hub.url, monkeypatch)
        found = find(TINY, cache=tmp_path / "cache")
        assert find(TINY, cache=tmp_path / "cache") == found
        assert find(TINY, revision=COMMIT, cache=tmp_path / "cache") == found
    expected = ["config.json", "model.safetensors", "preprocessor_config.json", "thresholds.json"]
    expected += ["tokenizer.json", "tokenizer_config.json"]
    assert sorted(hub.served) == expected
    assert sorted(path.name for path in found.iterdir()) == expected
    assert found.is_relative_to(tmp_path / "cache")
    assert capfd.readouterr().err == ""  # no terminal, no progress bar
    # The hub is gone; what was downloaded is still found.
    assert find(TINY, cache=tmp_path / "cache") == found


def test_hub_without_the_checkpoint(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(TINY, folder) as hub:
        _point_to(hub.url, monkeypatch)
        with refused("someone/else", "the hub has no such checkpoint"):
            find("someone/else", cache=tmp_path)
        with refused(TINY, "no such checkpoint at revision 'v9'"):
            find(TINY, revision="v9", cache=tmp_path)


def test_unreachable_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _point_to("http://127.0.0.1:9", monkeypatch)
    with refused("facebook/pe-a-frame-small", "cannot be downloaded"):
        find("facebook/pe-a-frame-small", cache=tmp_path)


def test_offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with refused("facebook/pe-a-frame-small", "not in the cache"):
        find("facebook/pe-a-frame-small", cache=tmp_path)


def _point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `url` the hub, as HF_ENDPOINT would before the client is imported."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = re.sub(r"^https?://[^/]+", url, constants.HUGGINGFACE_CO_URL_TEMPLATE)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
