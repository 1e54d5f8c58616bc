"""Checkpoint folders of somebody who means harm: none runs code, takes all, or asks anything."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from model.damage import Change, both, edit, edit_codec, edit_weights, refused, remove, write
from safetensors.torch import load_file, save_file
from timing import within

import pe_stream
from pe_stream.assets import EMBEDDED
from pe_stream.cli.main import main
from pe_stream.errors import UnavailableError
from pe_stream.model import weights as weights_module
from pe_stream.model.checkpoint import load
from pe_stream.model.prompts import embed

CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\nclass Evil: pass\n"
CLASSES = {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}
TOKENIZER = {"AutoTokenizer": [None, "evil.Evil"]}


@contextmanager
def cheaply() -> Iterator[None]:
    """In seconds, and in memory that is no matter (256 MB, on top of the most there ever was)."""
    begun_s, before_kb = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - begun_s < within(5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 2**18


def audio(**keys: object) -> Change:
    return edit("config.json", lambda c: c["audio_config"].update(keys))


def text(**keys: object) -> Change:
    return edit("config.json", lambda c: c["text_config"].update(keys))


def tokenizer(**keys: object) -> Change:
    return edit("tokenizer.json", lambda c: c.update(keys))


def template(change: Callable[[dict[str, Any]], object]) -> Change:
    return edit("tokenizer.json", lambda c: change(c["post_processor"]))


def fifo(file: str) -> Change:
    def make(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        os.mkfifo(folder / file)

    return make


def index(content: object) -> Change:
    def make(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return make


def header(length: int) -> Change:
    def change(folder: Path) -> None:
        with (folder / "model.safetensors").open("r+b") as file:
            file.write(length.to_bytes(8, "little"))

    return change


def endless(file: str) -> Change:
    def link(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).symlink_to("/dev/zero")

    return link


def large(file: str, size: int) -> Change:
    def grow(folder: Path) -> None:
        with (folder / file).open("r+b") as opened:
            opened.truncate(size)

    return grow


REGEX = {"Regex": "(a+)+$"}
SPLIT = {"type": "Split", "pattern": REGEX, "behavior": "Isolated", "invert": False}
DOUBLED = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
BYTES = {"type": "ByteLevel"}

HOSTILE: dict[str, tuple[Change, str]] = {
    "config.json 100,000 deep": (write("config.json", '{"a":' * 100_000), "config.json cannot be"),
    "config.json 100 deep": (audio(x=json.loads("[" * 100 + "]" * 100)), "more than 64 levels"),
    "config.json of 2 MB": (write("config.json", " " * 2**21 + "{}"), "has 2097154 bytes, more"),
    "config.json without end": (endless("config.json"), "config.json is not a plain file"),
    "config.json a FIFO": (fifo("config.json"), "config.json is not a plain file"),
    "a number of a million digits": (
        write("config.json", '{"model_type": ' + "9" * 10**6 + "}"),
        "config.json cannot be read",
    ),
    "100,000 layers": (
        audio(num_hidden_layers=100_000),
        "num_hidden_layers is 100000, not a whole",
    ),
    "10^18 layers of text": (text(num_hidden_layers=10**18), "num_hidden_layers is 10+, not"),
    "no layer": (audio(num_hidden_layers=0), "num_hidden_layers is 0"),
    "as many layers as are allowed": (
        audio(num_hidden_layers=128),
        "weights cannot be|weights lack",
    ),
    "half a layer": (audio(num_hidden_layers=1.5), "num_hidden_layers is 1.5"),
    "true layers": (audio(num_hidden_layers=True), "num_hidden_layers is True"),
    "2,000,000,000 words": (text(vocab_size=2 * 10**9), "vocab_size is 2000000000"),
    "a giant width": (audio(hidden_size=2**18), "hidden_size is 262144"),
    "the largest width": (audio(hidden_size=16_384), "config.json asks for [0-9]+ numbers"),
    "the largest vocabulary": (text(vocab_size=10**6), "config.json asks for [0-9]+ numbers"),
    "everything the largest": (
        both(audio(hidden_size=16_384, intermediate_size=65_536), audio(num_hidden_layers=128)),
        "numbers, more than 4000000000",
    ),
    "a giant codec": (edit_codec(encoder_hidden_size=1024), "config.json asks for [0-9]+ numbers"),
    "a million ratios": (edit_codec(downsampling_ratios=[1] * 10**5), "ratios is a list, not at"),
    "ratios below 0": (
        edit_codec(downsampling_ratios=[-2, -8, 10, 12]),
        "ratios is a list, not at",
    ),
    "a width of no heads": (
        audio(num_attention_heads=7),
        "it cannot be run|weights cannot be read",
    ),
    "heads that do not fit": (
        audio(head_dim=7),
        "no PE Audio model|weights cannot be read|cannot be run",
    ),
    "NaN": (audio(rms_norm_eps=float("nan")), "rms_norm_eps is nan: out of bounds"),
    "infinity": (audio(rope_parameters={"rope_theta": 1e999}), "rope_parameters is a dict: out of"),
    "a codec of another kind": (edit_codec(model_type="encodec"), "says model_type 'encodec'"),
    "texts by a model of code": (text(model_type="evilmodel"), "says model_type 'evilmodel'"),
    "texts by any other model": (text(model_type="timm_wrapper"), "says model_type 'timm_wrapper'"),
    "a model type of 1 MB": (
        edit("config.json", lambda c: c.update(model_type="x" * 10**6)),
        "type",
    ),
    "a header of 2^62": (header(2**62), "says its header has 4611686018427387904 bytes"),
    "a header without end": (header(2**23), "says its header has 8388608 bytes|cannot be read"),
    "weights a FIFO": (fifo("model.safetensors"), "model.safetensors is not a plain file"),
    "weights without end": (endless("model.safetensors"), "not a plain file"),
    "weights of 65 GB": (large("model.safetensors", 2**36 + 1), "more than 68719476736"),
    "weights of nothing": (large("model.safetensors", 0), "weights cannot be read"),
    "an index that leads outside": (
        index({"metadata": {}, "weight_map": {"a": "../../../../etc/passwd"}}),
        "names '../../../../etc/passwd', which is no file beside it",
    ),
    "an index of files beside": (
        index({"weight_map": {"a": "../outside.safetensors"}}),
        "names '../outside.safetensors', which",
    ),
    "an index of nothing": (index({"weight_map": {}}), "names no files of weights"),
    "an index of lists": (index({"weight_map": {"a": []}}), "names no files of weights"),
    "an index without a map": (index([]), "is not a JSON object"),
    "an index of what is not there": (
        index({"weight_map": {"a": "model-1.safetensors"}}),
        "there is no model-1.safetensors",
    ),
    "an index 200,000 deep": (
        both(index({}), write("model.safetensors.index.json", "[" * 200_000)),
        "index.json cannot be read",
    ),
    "weights that are no numbers": (
        edit_weights(lambda w: w["audio_encoder.norm.weight"].fill_(float("nan"))),
        "its scores are no numbers",
    ),
    "tokenizer.json 200,000 deep": (write("tokenizer.json", "[" * 200_000), "cannot be read"),
    "tokenizer.json of no text": (
        lambda folder: (folder / "tokenizer.json").write_bytes(bytes(range(256))),
        "tokenizer.json cannot be read",
    ),
    "tokenizer.json of 17 MB": (large("tokenizer.json", 17 * 2**20), "more than 16777216"),
    "tokenizer.json without end": (endless("tokenizer.json"), "not a plain file"),
    "a regular expression": (tokenizer(pre_tokenizer=SPLIT), "regular expression, whose cost"),
    "a regular expression within": (
        tokenizer(pre_tokenizer={"type": "Sequence", "pretokenizers": [BYTES, SPLIT]}),
        "regular expression, whose cost",
    ),
    "a regular expression to replace": (
        tokenizer(normalizer={"type": "Replace", "pattern": REGEX, "content": ""}),
        "regular expression, whose cost",
    ),
    "a text that doubles": (
        tokenizer(normalizer={"type": "Sequence", "normalizers": [DOUBLED] * 40}),
        "replaces a text by a longer one",
    ),
    "bytes of bytes": (
        tokenizer(normalizer={"type": "Sequence", "normalizers": [BYTES] * 40}),
        "has 'ByteLevel', or has it twice",
    ),
    "too many parts": (
        tokenizer(
            normalizer={"type": "Sequence", "normalizers": [dict(DOUBLED, content="a")] * 10**5}
        ),
        "more than 64 parts",
    ),
    "a part nobody knows": (tokenizer(normalizer={"type": "Precompiled"}), "has 'Precompiled'"),
    "a part that is a word": (tokenizer(normalizer="NFC"), "tokenizer cannot be read"),
    "a part of a list": (tokenizer(model=[]), "tokenizer cannot be read"),
    "the text twice": (
        template(lambda c: c["single"].extend([{"Sequence": {"id": "A", "type_id": 0}}] * 2)),
        "repeats a text",
    ),
    "100,000 tokens around": (
        template(lambda c: c["special_tokens"]["[CLS]"].update(ids=[1] * 10**5)),
        "puts too much around a text",
    ),
    "a token the model lacks": (
        template(lambda c: c["special_tokens"]["[CLS]"].update(ids=[10**6])),
        "gives token 1000000, and the model has 320",
    ),
    "texts of no length": (
        edit("tokenizer_config.json", lambda c: c.update(model_max_length=-1)),
        "model_max_length is not a number from 1",
    ),
    "tokenizer_config.json 100,000 deep": (
        write("tokenizer_config.json", "[" * 100_000),
        "tokenizer_config.json cannot be read",
    ),
    "tokenizer_config.json a FIFO": (fifo("tokenizer_config.json"), "is not a plain file"),
    "thresholds 100,000 deep": (write("thresholds.json", '{"a":' * 100_000), "thresholds.json"),
    "a rate of a list": (write("preprocessor_config.json", '{"sampling_rate": []}'), r"at \[\] Hz"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_folder_is_refused_in_a_line(case: str, folder: Path) -> None:
    change, message = HOSTILE[case]
    change(folder)
    with cheaply(), refused(str(folder), message):
        load(str(folder), device="cpu", dtype="float32")
    assert not (folder / "ran").exists()


def evil(change: Change, file: str = "evil.py") -> Change:
    return both(write(file, CODE), change)


CODED: dict[str, tuple[Change, str]] = {
    "a tokenizer's": (
        evil(
            edit(
                "tokenizer_config.json",
                lambda c: c.update(auto_map=TOKENIZER, tokenizer_class="Evil"),
            )
        ),
        "evil.py, auto_map of tokenizer_config.json",
    ),
    "another repository's": (
        evil(
            edit(
                "tokenizer_config.json",
                lambda c: c.update(
                    auto_map={"AutoTokenizer": [None, "attacker/repo--evil.Evil"]},
                    tokenizer_class="Evil",
                ),
            )
        ),
        "evil.py, auto_map of tokenizer_config.json",
    ),
    "a model's": (
        evil(edit("config.json", lambda c: c.update(auto_map=CLASSES, trust_remote_code=True))),
        "evil.py, auto_map of config.json",
    ),
    "a text tower's": (evil(text(auto_map=CLASSES)), "evil.py, auto_map of config.json"),
    "only there": (write("modeling.py", CODE), "modeling.py"),
    "a name that writes to the terminal": (write("a\n\x1b[2J.py", CODE), r"a\\n\\x1b\[2J.py"),
    "a pickle beside": (write("pytorch_model.bin", "cos\nsystem\n(S'touch ran'\ntR."), "pytorch_"),
    "a hundred files": (
        lambda folder: [write(f"evil{n:03}.py", CODE)(folder) for n in range(100)],
        "evil000.py, .*, evil004.py and 95 more",
    ),
}


@pytest.mark.parametrize("case", CODED)
def test_code_in_a_folder_is_named_and_ignored(
    case: str, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, named = CODED[case]
    change(folder)
    answers = io.StringIO("y\n" * 10)
    monkeypatch.setattr("sys.stdin", answers)
    before = list(EMBEDDED.iterdir())
    with caplog.at_level(logging.WARNING, "pe_stream"):
        load(str(folder), device="cpu", dtype="float32")
    assert answers.tell() == 0, "nothing was asked"
    assert not list(folder.rglob("ran"))
    (said,) = caplog.messages
    assert re.search(f"are ignored: {named}", said)
    assert said.isprintable()
    assert list(EMBEDDED.iterdir()) == before


IGNORED: dict[str, Change] = {
    "an adapter": write("adapter_config.json", '{"base_model_name_or_path": "attacker/x"}'),
    "quantisation": edit(
        "config.json", lambda c: c.update(quantization_config={"quant_method": "gptq", "bits": 4})
    ),
    "quantisation of a part": text(quantization_config={"quant_method": "bitsandbytes"}),
    "attention from the hub": audio(attn_implementation="kernels-community/flash-attn"),
    "attention from the hub, within": text(_attn_implementation="attacker/kernel"),
    "another file of weights": edit(
        "config.json", lambda c: c.update(transformers_weights="../../etc/passwd.safetensors")
    ),
    "a distributed checkpoint": both(write(".metadata", "cos\nsystem\n."), write("a.distcp", "")),
    "a template of chats": write("chat_template.jinja", "{{ cycler.__init__.__globals__ }}"),
    "more weights that wait": fifo("zz.safetensors"),
    "labels without number": edit(
        "config.json", lambda c: c.update(id2label={str(n): "x" for n in range(10_000)})
    ),
    "an extractor of a list": both(
        remove("preprocessor_config.json"),
        write("processor_config.json", '{"feature_extractor": [1]}'),
    ),
}


@pytest.mark.parametrize("case", IGNORED)
def test_what_is_no_part_of_the_model_changes_nothing(
    case: str, folder: Path, folders: dict[str, Path]
) -> None:
    IGNORED[case](folder)
    with cheaply():
        found = load(str(folder), device="cpu", dtype="float32")
    expected = load_file(folders["small"] / "model.safetensors")
    loaded = found.model.state_dict()
    assert all(torch.equal(expected[key], weight) for key, weight in loaded.items())


def test_weights_in_several_files_are_read(folder: Path, folders: dict[str, Path]) -> None:
    expected = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(expected)
    places: dict[str, str] = {}
    for number, some in enumerate((names[::2], names[1::2])):
        file = f"model-0000{number + 1}-of-00002.safetensors"
        save_file({key: expected[key] for key in some}, folder / file)
        places |= dict.fromkeys(some, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    loaded = load(str(folder), device="cpu", dtype="float32").model.state_dict()
    assert all(torch.equal(expected[key], weight) for key, weight in loaded.items())


@pytest.mark.parametrize(
    "case", ["100,000 layers", "an index that leads outside", "weights a FIFO"]
)
def test_the_command_ends_with_69_and_a_line(
    case: str, folder: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    HOSTILE[case][0](folder)
    demo = str(EMBEDDED.parent / "demo.opus")
    assert main(["detect", demo, "--prompt", "a", "--checkpoint", str(folder)]) == 69
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1


def test_a_panic_of_the_tokenizer_is_an_error_like_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rust's PanicException is no Exception."""
    monkeypatch.setattr("pe_stream.model.tokenizer._check", lambda _: None)
    tokenizer(pre_tokenizer=SPLIT)(folder)
    checkpoint = load(str(folder), device="cpu", dtype="float32")
    with refused(str(folder), "its tokenizer fails on 'aaaa"):
        embed(checkpoint, ["a" * 40 + "!"])


def test_a_long_text_is_refused_before_it_is_looked_at(folder: Path) -> None:
    checkpoint = load(str(folder), device="cpu", dtype="float32")
    with pytest.raises(Exception, match="has 10001 characters, more than 10000"):
        embed(checkpoint, ["a" * 10_001])


def test_nothing_is_built_that_is_not_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on parameters holds where each width is within its own."""
    monkeypatch.setattr(weights_module, "MOST_PARAMETERS", 10_000)
    with pytest.raises(UnavailableError, match="numbers, more than 10000"):
        load(str(folder), device="cpu")


def test_sizes_of_the_published_checkpoints_are_far_within_bounds(tmp_path: Path) -> None:
    """hidden/layers/heads/intermediate of facebook/pe-a-frame-*, and their text tower."""
    from pe_stream.model.geometry import audio_part, text_part

    for hidden, layers, heads, intermediate in (
        (768, 12, 6, 2048),
        (1024, 16, 8, 2752),
        (1792, 28, 14, 4800),
    ):
        found = {
            "model_type": "pe_audio_encoder",
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "intermediate_size": intermediate,
            "head_dim": 128,
            "max_position_embeddings": 10_000,
            "rms_norm_eps": 1e-5,
            "rope_parameters": {"rope_theta": 20_000, "rope_type": "default"},
            "dac_config": {
                "model_type": "dac",
                "encoder_hidden_size": 64,
                "downsampling_ratios": [2, 8, 10, 12],
                "codebook_dim": 128,
                "sampling_rate": 48_000,
            },
        }
        assert audio_part(found) == found
        quadruple = {
            key: 4 * value if isinstance(value, int) and key != "max_position_embeddings" else value
            for key, value in found.items()
        }
        assert audio_part(quadruple) == quadruple
    tower = {"model_type": "modernbert", "vocab_size": 50_368, "hidden_size": 1024}
    tower |= {"num_hidden_layers": 28, "max_position_embeddings": 8192, "pad_token_id": 50_283}
    assert text_part(tower) == tower


NO_CODE: dict[str, str] = {}
"""Calls of `from_pretrained` that need not say it, each with the reason."""


def test_no_from_pretrained_trusts_code() -> None:
    package = Path(pe_stream.__file__).parent
    calls = {
        f"{path.relative_to(package)}:{node.lineno}": node
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute | ast.Name | ast.Constant)
        and "from_pretrained" in (getattr(node, "attr", ""), getattr(node, "id", ""))
    }
    assert calls, "there is one"
    said = {
        f"{path.relative_to(package)}:{node.func.lineno}"
        for path in sorted(package.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("from_pretrained")
        and any(
            each.arg == "trust_remote_code"
            and isinstance(each.value, ast.Constant)
            and each.value.value is False
            for each in node.keywords
        )
    }
    assert calls.keys() - said == NO_CODE.keys()


def test_nothing_unpickles_and_nothing_loads_code() -> None:
    """Of what could run a checkpoint's content, nothing is called."""
    package = Path(pe_stream.__file__).parent
    words = (
        r"\b(pickle\.loads?|joblib|dill|trust_remote_code=True|weights_only=False|Auto[A-Z]\w+)\b"
    )
    for path in package.rglob("*.py"):
        assert not re.search(words, path.read_text("utf-8")), path
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                kept = {each.arg: ast.unparse(each.value) for each in node.keywords}
                assert kept.get("weights_only") == "True", path


def test_a_folder_is_left_as_it_was(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    load(str(folder), device="cpu", dtype="float32")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    shutil.rmtree(folder)
