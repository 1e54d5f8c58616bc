"""Features computed once per sample: the same as the plain path's, whatever the windows."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pe_stream.core.types import FRAME, Samples, Window
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.codec import Codec, Stream
from pe_stream.model.codec_layers import lean
from pe_stream.model.engine import Engine
from pe_stream.model.prompts import LabelPrompts, embed_labels

pytestmark = pytest.mark.heavy

NAMES = ("small", "embedded")


@pytest.fixture(scope="module", params=NAMES)
def embedder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Any:
    """In float64, where rounding is far below any real difference."""
    model = load(str(folders[request.param]), device="cpu", dtype="float32").model
    return copy.deepcopy(model.audio_encoder.embedder).double()


def noise(frames: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0.01, 0.5, frames), FRAME)
    return (level * rng.standard_normal(frames * FRAME)).astype(np.float32)


def plain(embedder: Any, samples: Samples) -> torch.Tensor:
    """The model's own way: bottleneck after encoder, over the whole stretch."""
    with torch.inference_mode():
        rows = torch.from_numpy(samples).double()[None, None]
        features: torch.Tensor = embedder.bottleneck(embedder.dac_encoder(rows))
        return features[0].T


def windows(audio: Samples, length: int, hops: list[int]) -> Iterator[Window]:
    """Windows as the detector makes them: growing at first, then of `length` frames."""
    end = 0
    for hop in hops:
        end = min(end + hop, len(audio) // FRAME)
        begin = max(0, end - length)
        yield Window(begin * FRAME, audio[begin * FRAME : end * FRAME])


def test_the_published_codecs_see_what_was_measured(folders: dict[str, Path]) -> None:
    embedder = load(str(folders["small"]), device="cpu", dtype="float32").model.audio_encoder
    codec = Codec(embedder.embedder)
    assert codec.receptive_field == (9953, 11872)
    assert (codec.context, codec.provisional) == (6, 6)


def test_reach_is_neither_too_short_nor_too_long(embedder: Any) -> None:
    """Frame 40 feels the first and the last sample of its reach, and none beyond."""
    before, after = Codec(embedder).receptive_field
    audio = noise(80)
    untouched = plain(embedder, audio)[40]

    def moved(at: int) -> float:
        changed = audio.copy()
        changed[40 * FRAME + at] += 0.5
        return float((plain(embedder, changed)[40] - untouched).abs().max())

    assert moved(-before - 1) == 0
    assert moved(after + 1) == 0
    assert max(moved(-before + i) for i in range(3)) > 0
    assert max(moved(after - i) for i in range(3)) > 0


@settings(max_examples=12, deadline=None)
@given(
    hops=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    length=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_exact_windows_are_those_of_the_plain_call(
    embedder: Any, hops: list[int], length: int, seed: int
) -> None:
    audio = noise(120, seed)
    codec, stream = Codec(embedder, exact=True), Stream()
    for window in windows(audio, length, hops):
        with torch.inference_mode():
            (features,) = codec.hear([stream], [window])
        expected = plain(embedder, window.samples)
        assert (features - expected).abs().max() < 1e-9 * expected.std()


@settings(max_examples=12, deadline=None)
@given(
    hops=st.lists(st.integers(1, 19), min_size=4, max_size=10),
    length=st.integers(40, 60),
    seed=st.integers(0, 99),
)
def test_true_context_is_that_of_the_whole_stream(
    embedder: Any, hops: list[int], length: int, seed: int
) -> None:
    """Each window's features are the same as if all audio so far went through at once."""
    audio = noise(120, seed)
    codec, stream = Codec(embedder), Stream()
    for window in windows(audio, length, hops):
        with torch.inference_mode():
            (features,) = codec.hear([stream], [window])
        end = window.start // FRAME + window.frames
        expected = plain(embedder, audio[: end * FRAME])[window.start // FRAME :]
        assert (features - expected).abs().max() < 1e-9 * expected.std()


def test_only_what_is_new_is_computed(embedder: Any) -> None:
    """The first block, the dearest, sees the new samples and the few that its kernels reach back.

    The later ones add what could not be final yet.
    """
    codec, stream = Codec(embedder), Stream()
    blocks = codec._stateful.layers.blocks
    taken: list[list[int]] = [[] for _ in blocks]
    for block, lengths in zip(blocks, taken, strict=True):
        block.register_forward_pre_hook(lambda _, given, to=lengths: to.append(given[0].shape[3]))
    with torch.inference_mode():
        for window in windows(noise(120), 60, [60, 12, 12, 12]):
            codec.hear([stream], [window])
    assert [lengths[0] for lengths in taken] == [
        60 * FRAME // math.prod(block.stride for block in blocks[:i]) for i in range(len(blocks))
    ]
    assert all(lengths[1] == lengths[2] == lengths[3] for lengths in taken)
    assert taken[0][1] < 12.2 * FRAME
    assert taken[1][1] < 12.2 * FRAME / blocks[0].stride
    assert taken[-1][1] <= (codec.context + 12 + codec.provisional) * blocks[-1].stride


def test_the_end_of_a_stream_computes_nothing(embedder: Any) -> None:
    codec, stream = Codec(embedder), Stream()
    audio = noise(60)
    with torch.inference_mode():
        (before,) = codec.hear([stream], [Window(0, audio)])
        codec._stateful.forward = None  # type: ignore[assignment]
        (again,) = codec.hear([stream], [Window(10 * FRAME, audio[10 * FRAME :])])
    assert torch.equal(again, before[10:])


def test_what_was_heard_need_not_come_again(embedder: Any) -> None:
    """Not one bit differs where only the samples come that the first block wants."""
    codec, whole, tail = Codec(embedder), Stream(), Stream()
    with torch.inference_mode():
        for i, window in enumerate(windows(noise(120), 60, [40, 12, 7, 12, 0, 12])):
            short = window.since(codec.wants(tail)) if i else window
            assert codec.follows(tail, short) == (i > 0)
            (expected,), (features,) = codec.hear([whole], [window]), codec.hear([tail], [short])
            assert (short.frames, short.end) == (window.frames, window.end)
            assert len(short.samples) <= 12.2 * FRAME or not i
            assert torch.equal(features, expected)
        late = window.since(codec.wants(tail) + 1)
        assert not codec.follows(tail, late)
        with pytest.raises(ValueError, match="was not heard"):
            codec.hear([tail], [late])
        (again,) = codec.hear([tail], [short])
    assert torch.equal(again, expected), "nothing was forgotten for it"


def test_with_the_context_before_it_a_window_is_as_if_all_had_been_heard(embedder: Any) -> None:
    codec, known = Codec(embedder), Stream()
    audio = noise(120)
    before = codec.context * FRAME

    def hear(stream: Stream, context: int, end: int) -> torch.Tensor:
        begin = (end - 50) * FRAME
        samples = audio[begin - context : end * FRAME]
        (features,) = codec.hear([stream], [Window(begin, samples, before=context)])
        return features

    with torch.inference_mode():
        for end in range(50, 111, 10):
            expected = hear(known, 0, end)
        exact, rough, new = (
            hear(Stream(), before, 110),
            hear(Stream(), before - FRAME, 110),
            Stream(),
        )
        assert (exact - expected).abs().max() < 1e-9 * expected.std()
        assert (rough - expected).abs().max() > 1e-9 * expected.std()
        hear(new, before, 100)
        assert (hear(new, 0, 110) - expected).abs().max() < 1e-9 * expected.std()


@pytest.mark.parametrize(
    ("start", "end", "begun"),
    [
        (0, 70, 0),
        (39, 70, 0),
        (40, 70, 40),  # a sample before it is missing
        (60, 100, 60),
        (0, 39, 0),  # back in time
        (0, 40, 0),
    ],
)
def test_only_windows_that_overlap_go_on(embedder: Any, start: int, end: int, begun: int) -> None:
    """Others begin again, with zeros before them."""
    audio = noise(110)
    codec, stream = Codec(embedder), Stream()
    with torch.inference_mode():
        codec.hear([stream], [Window(0, audio[: 40 * FRAME])])
        window = Window(start * FRAME, audio[start * FRAME : end * FRAME])
        (features,) = codec.hear([stream], [window])
    assert stream.begun == begun * FRAME
    expected = plain(embedder, audio[begun * FRAME : end * FRAME])[start - begun :]
    assert (features - expected).abs().max() < 1e-9 * expected.std()


def test_another_frame_grid_begins_again(embedder: Any) -> None:
    audio = noise(60)
    codec, stream = Codec(embedder), Stream()
    with torch.inference_mode():
        codec.hear([stream], [Window(0, audio[: 40 * FRAME])])
        (features,) = codec.hear([stream], [Window(1, audio[1 : 50 * FRAME + 1])])
    expected = plain(embedder, audio[1 : 50 * FRAME + 1])
    assert (features - expected).abs().max() < 1e-9 * expected.std()


def test_little_is_kept_of_a_stream(embedder: Any) -> None:
    """Beside the features, and no views of what was computed for all streams together."""
    codec = Codec(embedder)
    streams = [Stream() for _ in range(4)]
    with torch.inference_mode():
        for window in windows(noise(120), 60, [60, 12]):
            codec.hear(streams, [window] * 4)
    stream = streams[0]
    assert stream.features is not None
    kept = [*stream.inputs, stream.features]
    held = sum(each.untyped_storage().nbytes() for each in stream.inputs) / 4
    assert held < 8 * 0.6e6 / 2  # 0.26 MB in bfloat16 at the published width
    assert stream.features.untyped_storage().nbytes() == 60 * stream.features.shape[1] * 8
    assert len(kept) == len(codec._stateful.layers.blocks)


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_no_stream_hears_another(embedder: Any, data: st.DataObject) -> None:
    """Streams that start, pause, jump and end at random, in random batches, score as if alone."""
    codec = Codec(embedder)
    audio = [noise(150, seed) for seed in range(3)]
    together, alone = [Stream() for _ in audio], [Stream() for _ in audio]
    ends = [0, 0, 0]
    for _ in range(6):
        taking = [i for i in range(3) if data.draw(st.booleans())]
        batch = []
        for i in taking:
            ends[i] = min(150, ends[i] + data.draw(st.integers(1, 50)))
            if data.draw(st.integers(0, 9)) == 0:  # a gap: the stream begins again
                together[i], alone[i] = Stream(), Stream()
            begin = max(0, ends[i] - 40)
            batch.append(Window(begin * FRAME, audio[i][begin * FRAME : ends[i] * FRAME]))
        with torch.inference_mode():
            found = codec.hear([together[i] for i in taking], batch)
            for i, window, features in zip(taking, batch, found, strict=True):
                (expected,) = codec.hear([alone[i]], [window])
                assert torch.allclose(features, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_streamed_logits_in_float32_are_those_of_the_window_alone(
    name: str, folders: dict[str, Path]
) -> None:
    checkpoint = load(str(folders[name]), device="cpu", dtype="float32")
    found, expected = streamed(checkpoint, exact=True)
    assert np.abs(found - expected).max() < 1e-3 * expected.std()


@pytest.mark.parametrize("name", NAMES)
def test_true_context_changes_the_first_frames_most(name: str, folders: dict[str, Path]) -> None:
    checkpoint = load(str(folders[name]), device="cpu", dtype="float32")
    found, expected = streamed(checkpoint, exact=False)
    context = Codec(checkpoint.model.audio_encoder.embedder).context
    error = np.abs(found - expected) / expected.std()
    assert error[:context].mean() > 1.2 * error[2 * context :].mean()


def streamed(checkpoint: Checkpoint, *, exact: bool) -> tuple[Any, Any]:
    """Logits of a stream's last window, and those of the same window by itself."""
    labels = {prompt: LabelPrompts((prompt,)) for prompt in ("speech", "a dog", "glass")}
    engine = Engine(checkpoint, embed_labels(checkpoint, labels), exact=exact)
    stream, window = Stream(), Window(0, noise(1))
    for window in windows(noise(90), 50, [50, 12, 12]):
        (found,) = engine.logits([stream], [window])
    (expected,) = engine.logits([Stream()], [window])
    return found, expected


def test_what_no_feature_depends_on_is_left_out(embedder: Any) -> None:
    """Channels and units that nothing reads go; where all are in use, none does."""
    layers = lean(embedder)
    whole = [*embedder.dac_encoder.parameters(), *embedder.bottleneck.parameters()]
    weights = sum(weight.numel() for weight in layers.parameters())
    every = sum(weight.numel() for weight in whole)
    alphas = sum(weight.numel() for name, weight in embedder.named_parameters() if "alpha" in name)
    if embedder.config.dac_config.encoder_hidden_size == 6:
        assert weights < 0.7 * every
    else:  # Snake's are buffers
        assert weights == every - alphas
    with torch.inference_mode():
        audio = noise(30)
        found = layers(torch.from_numpy(audio).double()[None])[0]
    expected = plain(embedder, audio)
    assert (found - expected).abs().max() < 1e-9 * expected.std()
    # One channel of a unit, cut off behind: it is not computed any more, and nothing changes.
    cut = copy.deepcopy(embedder)
    cut.dac_encoder.block[-1].res_unit1.conv2.weight[:, 3] = 0
    smaller = sum(weight.numel() for weight in lean(cut).parameters())
    assert smaller < weights


@pytest.mark.parametrize("taps", [[3], [2, 3, 4], [1, 3, 4], [0, 3]])
def test_outer_taps_that_are_nothing_are_left_out(embedder: Any, taps: list[int]) -> None:
    """On both sides alike, and the features stay as they are."""
    cut = copy.deepcopy(embedder)
    unit = cut.dac_encoder.block[-1].res_unit2
    kept = torch.zeros(7).double()
    kept[taps] = 1
    unit.conv1.weight.data *= kept
    block = lean(cut).blocks[-2].layers
    (made,) = (part for part in block.modules() if getattr(part, "dilation", 1) == (1, 3))
    used = unit.conv1.weight.abs().amax((0, 1)).nonzero().flatten()
    outer = int((used - 3).abs().max())
    assert made.kernel_size == (1, 2 * outer + 1)
    audio = noise(30)
    with torch.inference_mode():
        found = lean(cut)(torch.from_numpy(audio).double()[None])[0]
    expected = plain(cut, audio)
    assert (found - expected).abs().max() < 1e-9 * expected.std()
