"""`pe-stream bench --second-opinion`, on scaled-down checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import pe_stream

from pe_stream.model.checkpoint import load
from pe_stream.model.second_opinion import load_opinion_model
from pe_stream.model.sight import Sight, SightConfig, _our_name, stored_name
from pe_stream.workbench.bench import random_weights
from pe_stream.workbench.bench.shapes import CHEAP, VECTOR

pytestmark = pytest.mark.heavy

TOWER = {
    "model_type": "timm_wrapper",
    "architecture": "vit_pe_core_tiny_patch16_384",
    "model_args": {
        "img_size": [32, 32],
        "patch_size": 8,
        "embed_dim": 32,
        "depth": 2,
        "num_heads": 2,
    },
}


def test_random_weights_make_a_checkpoint_as_any_other() -> None:
    with random_weights.pe_av_folder(CHEAP, TOWER) as folder:
        model = load_opinion_model(str(folder), ["a dog"], device="cpu", dtype="float32")
        assert model.sees
        sight = model.see()
        assert model.bytes_on_disk > 2 * sum(each.numel() for each in sight.parameters())
        assert load(str(folder), device="cpu", clips=True).model is not None
        config = SightConfig("a", folder, VECTOR)
        with torch.device("meta"):
            made = Sight(config, 32, 32)
    assert not folder.exists()
    for key, _ in made.named_parameters():
        assert _our_name(stored_name(key)) == key


def test_what_an_opinion_costs_is_told(pe_av: Path, tmp_path: Path) -> None:
    out = tmp_path / "cost.json"
    done = pe_stream(
        *("bench", "--second-opinion", "--checkpoint", pe_av, "--runs", "1", "--json", out),
        *("--device", "cpu", "--dtype", "float32"),
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(out.read_text("utf-8"))
    assert (made["model"], made["threads"], made["seconds"]) == (str(pe_av), 1, 8.0)
    assert made["disk_mb"] == pytest.approx(1.17, abs=0.05)
    for key, count in (("sound", 0), ("pictures", 8)):
        assert made[key]["count"] == count
        assert made[key]["cpu_s"] > 0
        assert made["loaded_mb"] <= made[key]["peak_mb"]
    assert "| an opinion on 8 s, 8 pictures |" in done.stdout
    assert "| an opinion on 8 s of sound |" in done.stdout


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--checkpoint", "embedded"), 2, "the embedded checkpoint has none"),
        (("--plot", "a.png"), 2, "there is no picture"),
        (("--checkpoint", "none/at/all"), 69, "no second opinion could be given"),
    ],
)
def test_what_cannot_be_measured(more: tuple[str, ...], code: int, said: str) -> None:
    done = pe_stream("bench", "--second-opinion", *more)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
