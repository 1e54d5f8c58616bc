"""A daemon's prompts from start to start; in processes of their own, as there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pe_stream.pipeline import text_records
from pe_stream.pipeline.text_records import known_texts

PROGRAM = """\
import json, sys
from pe_stream.config import LabelSettings, ModelSettings
from pe_stream.pipeline.scorer import prepare
from pe_stream.model.codec import Stream
from pe_stream.core.types import Window
import numpy as np
labels = {"bell": LabelSettings.model_validate({"prompts": ["a bell"], "not": ["a horn"]})}
scorer = prepare(ModelSettings(device="cpu"), labels, lasting=sys.argv[1] == "lasting")
audio = np.random.default_rng(0).normal(0, 0.1, 96_000).astype(np.float32)
(scores,) = scorer.engine.hear([Stream()], [Window(0, audio)])
libraries = sorted({"transformers", "tokenizers", "huggingface_hub"} & sys.modules.keys())
print(json.dumps([libraries, scores.tobytes().hex()]))
"""


def start(cache: Path, how: str = "lasting") -> tuple[list[str], str]:
    """Scores of a process that starts as a daemon does; what it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env=os.environ | {"XDG_CACHE_HOME": str(cache), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    libraries, scores = json.loads(done.stdout)
    return libraries, scores


@pytest.mark.heavy
@pytest.mark.timeout(300)  # five processes import torch, one after the other
def test_a_daemon_needs_no_transformers_and_scores_the_same(tmp_path: Path) -> None:
    """Neither at its first start, as another process embeds its prompts, nor later."""
    cache = tmp_path / "cache"
    all_of_it, expected = start(tmp_path / "other", "passing")
    assert "transformers" in all_of_it
    assert not (tmp_path / "other").exists()  # whoever does not stay leaves nothing
    for how in ("lasting", "lasting", "passing"):
        assert start(cache, how) == ([], expected)


def test_whoever_has_transformers_already_starts_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PeAudioFrameLevelModel  # noqa: F401 - it is imported

    from pe_stream.model.audio_side import AudioSide
    from pe_stream.model.checkpoint import load

    def start_one(*_: object, **__: object) -> None:
        raise AssertionError("a process is started")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("subprocess.run", start_one)
    known = known_texts(None, make=True)
    assert isinstance(load("embedded", device="cpu", known=known, texts=["a"]).model, AudioSide)


@pytest.mark.parametrize("fails", [OSError("no more processes"), subprocess.TimeoutExpired("", 1)])
def test_where_no_process_can_be_had_it_is_done_here(
    fails: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pe_stream.model.audio_side import AudioSide
    from pe_stream.model.checkpoint import load

    def start_one(*_: object, **__: object) -> None:
        raise fails

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(text_records, "_MODELLING", "imported nowhere")
    monkeypatch.setattr("subprocess.run", start_one)
    known = known_texts(None, make=True)
    assert not isinstance(load("embedded", device="cpu", known=known, texts=["a"]).model, AudioSide)
