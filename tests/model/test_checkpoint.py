from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from model.damage import Change, edit, edit_weights, refused, remove, write
from safetensors.torch import load_file

from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model import checkpoint as checkpoint_module
from pe_stream.model import precision
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.precision import fast_dtype


def test_embedded_checkpoint_describes_itself(embedded: Checkpoint) -> None:
    assert embedded.name == "embedded"
    dtype = str(embedded.dtype).removeprefix("torch.")
    assert embedded.describe() == f"embedded (9.5 M parameters) on cpu, {dtype}"
    assert len(embedded.recommended) == 23
    assert all(0 < each.threshold < 1 for each in embedded.recommended.values())


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_folder_is_loaded_whole(size: str, folders: dict[str, Path]) -> None:
    checkpoint = load(str(folders[size]), device="cpu", dtype="float32")
    stored = load_file(folders[size] / "model.safetensors")
    loaded = checkpoint.model.state_dict()
    assert set(stored) - set(loaded) == {"text_model.final_norm.weight"}
    assert all(torch.equal(stored[key], weight) for key, weight in loaded.items())
    assert checkpoint.name == str(folders[size])
    assert not checkpoint.model.training


def test_loading_is_silent(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    load(str(folders["small"]), device="cpu")
    load("embedded", device="cpu")
    assert capfd.readouterr() == ("", "")


AUDIO_VISUAL_LAYOUTS = {
    # What save_pretrained writes: shared weights once, under the first of their names ...
    "transformers 5.23": [("text_model.", "text_model."), ("", "audio_model.")],
    # ... or wherever they occur. Both were compared with real PeAudioVideoModels.
    "transformers 5.0": [
        ("text_model.", "text_model."),
        ("text_model.", "video_model.text_model."),
        ("audio_encoder.", "audio_video_encoder.embedder.audio_encoder."),
        ("", "audio_model."),
    ],
    "under the last of their names": [
        ("text_model.", "video_model.text_model."),
        ("audio_encoder.", "audio_video_encoder.embedder.audio_encoder."),
        ("", "audio_model."),
    ],
}


@pytest.mark.parametrize("layout", AUDIO_VISUAL_LAYOUTS)
def test_audio_part_of_an_audio_visual_checkpoint(
    layout: str, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    expected = load_file(folder / "model.safetensors")
    _make_audio_visual(folder, AUDIO_VISUAL_LAYOUTS[layout], once=layout != "transformers 5.0")
    loaded = load(str(folder), device="cpu", dtype="float32").model.state_dict()
    assert all(torch.equal(expected[key], weight) for key, weight in loaded.items())
    (told,) = caplog.messages  # the parts for video are left out without a word
    assert "is a PeAudioVideoModel: it was taught what a whole clip is like" in told


def test_weights_that_are_never_used_may_be_missing(folder: Path) -> None:
    edit_weights(lambda weights: weights.pop("text_model.final_norm.weight"))(folder)
    load(str(folder), device="cpu")


def _truncate(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def _pickle(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")


UNFIT: dict[str, tuple[Change, str]] = {
    "no config": (remove("config.json"), "no config.json in "),
    "layers are a word": (
        edit("config.json", lambda c: c["audio_config"].update(num_hidden_layers="many")),
        "no PE Audio model|weights cannot be read",
    ),
    "no weights": (remove("model.safetensors"), "weights cannot be read .*safetensors"),
    "pickled weights": (_pickle, "weights cannot be read .*safetensors"),
    "half of the weights file": (_truncate, "weights cannot be read"),
    "a weight missing": (
        edit_weights(lambda w: w.pop("audio_encoder.norm.weight")),
        r"lack audio_encoder\.norm\.weight \(1 missing in all\)",
    ),
    "a weight of another shape": (
        edit_weights(lambda w: w.update({"audio_encoder.norm.weight": torch.ones(3)})),
        "weights cannot be read",
    ),
    "no tokenizer": (remove("tokenizer.json"), "no tokenizer.json in "),
    "broken tokenizer": (write("tokenizer.json", "{}"), "tokenizer cannot be read"),
    "wrong thresholds": (write("thresholds.json", "{}"), "thresholds.json is"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unfit_folder_is_refused(case: str, folder: Path) -> None:
    change, message = UNFIT[case]
    change(folder)
    with refused(str(folder), message):
        load(str(folder), device="cpu")


def test_bfloat16_is_for_the_audio_encoders_weights(folders: dict[str, Path]) -> None:
    checkpoint = load(str(folders["small"]), device="cpu", dtype="bfloat16")
    named = list(checkpoint.model.audio_encoder.named_parameters())
    codec = [w.dtype for name, w in named if "dac_encoder" in name or "bottleneck" in name]
    assert set(codec) == {torch.float32}
    assert {w.dtype for _, w in named[:]} == {torch.float32, torch.bfloat16}
    assert len([w for _, w in named if w.dtype == torch.float32]) == len(codec)
    assert checkpoint.model.audio_encoder.rotary_emb.inv_freq.dtype == torch.float32
    others = (checkpoint.model.text_model, checkpoint.model.audio_head)
    assert {w.dtype for part in others for w in part.parameters()} == {torch.float32}
    assert checkpoint.describe().endswith("M parameters) on cpu, bfloat16")


def test_device_and_dtype_are_chosen(folders: dict[str, Path]) -> None:
    checkpoint = load(str(folders["small"]))
    assert checkpoint.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert checkpoint.dtype == fast_dtype(checkpoint.device)


def test_the_codec_is_rounded_only_where_it_bears_it(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The embedded codec holds numbers that bfloat16 rounds away; asking for it gets it."""
    monkeypatch.setattr(checkpoint_module, "fast_dtype", lambda _: torch.bfloat16)
    assert load("embedded", device="cpu").codec_dtype == torch.float32
    assert "quiet" not in caplog.text
    assert load("embedded", device="cpu", dtype="bfloat16").codec_dtype == torch.bfloat16
    assert "its codec loses quiet sounds in bfloat16" in caplog.text
    monkeypatch.setattr(precision, "LEAST_COSINE", 0.9)
    assert load(str(folders["small"]), device="cpu").codec_dtype == torch.bfloat16


@pytest.mark.parametrize("device", ["cuda:99", "meta", "abacus"])
def test_absent_device_is_refused(device: str) -> None:
    with pytest.raises(UnavailableError, match=f"device '{device}' is not available") as error:
        load("embedded", device=device)
    assert "\n" not in str(error.value)


def test_unknown_dtype_is_refused() -> None:
    with pytest.raises(ConfigError, match="dtype 'int8' is unknown; use auto, float32 or bfloat16"):
        load("embedded", device="cpu", dtype="int8")


@pytest.mark.parametrize(("cores", "threads", "expected"), [(8, None, 4), (1, None, 1), (8, 3, 3)])
def test_threads_are_those_given_else_half_of_the_cores(
    folders: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    cores: int,
    threads: int | None,
    expected: int,
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr("pe_stream.model.cores.available", lambda: cores)
    try:
        load(str(folders["small"]), device="cpu", threads=threads)
        assert torch.get_num_threads() == expected
    finally:
        torch.set_num_threads(before)


def _make_audio_visual(folder: Path, layout: list[tuple[str, str]], *, once: bool) -> None:
    """Store the checkpoint as a PeAudioVideoModel's, among weights of the parts for video.

    layout: pairs of a prefix here and there; with `once`, only the first that fits counts.
    """

    def nest(config: dict[str, Any]) -> None:
        config["model_type"] = "pe_audio_video"
        config["architectures"] = ["PeAudioVideoModel"]
        config["audio_video_config"] = {"audio_config": config.pop("audio_config")}

    def rename(weights: dict[str, torch.Tensor]) -> None:
        audio = dict(weights)
        weights.clear()
        for key, weight in audio.items():
            names = [
                there + key.removeprefix(here) for here, there in layout if key.startswith(here)
            ]
            weights.update({name: weight.clone() for name in (names[:1] if once else names)})
        weights["audio_video_encoder.norm.weight"] = torch.zeros(48)
        weights["video_model.text_video_logit_scale"] = torch.zeros(1)

    edit("config.json", nest)(folder)
    edit_weights(rename)(folder)
