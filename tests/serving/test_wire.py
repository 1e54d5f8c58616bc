"""Requests and answers as bytes: round trips, and all that is wrong is a WireError."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving.engines import noise

from pe_stream.core.types import FRAME, Window
from pe_stream.serving.heads import MOST_CONTEXT, MOST_ITEMS, VERSION, Coding
from pe_stream.serving.wire import (
    NEED_LABELS,
    HearReply,
    HearRequest,
    Item,
    LabelRows,
    ScoredItem,
    WireError,
    pack_reply,
    pack_request,
    unpack_reply,
    unpack_request,
)

EPOCH = "0123456789abcdef" * 2


def rows(labels: int = 3, negatives: int = 1, width: int = 8) -> LabelRows:
    rng = np.random.default_rng(0)
    return LabelRows(
        rng.standard_normal((labels + negatives, width)).astype(np.float32),
        np.arange(negatives, dtype=np.int64) % labels,
        rng.standard_normal(labels + negatives).astype(np.float32),
    )


def items(count: int = 2, **window: Any) -> list[Item]:
    given = {"start": 5 * FRAME, "samples": noise(4), "done": 1, **window}
    return [Item(f"node/s{i}", EPOCH, Window(**given)) for i in range(count)]


def request(asked: Sequence[Item] | None = None, wire: Coding = "f32") -> bytes:
    return pack_request(
        HearRequest("who", rows().digest(), embed=True, rows=None, items=asked or items()),
        wire=wire,
    )


@settings(max_examples=30, deadline=None)
@given(
    start=st.integers(0, 1 << 50),
    frames=st.integers(1, 6),
    before=st.integers(-2 * FRAME, -1) | st.sampled_from([0, FRAME, 3 * FRAME]),
    last=st.booleans(),
    wire=st.sampled_from(get_args(Coding)),
)
def test_a_request_comes_as_it_went(
    start: int,
    frames: int,
    before: int,
    last: bool,  # noqa: FBT001 - hypothesis gives it
    wire: Coding,
) -> None:
    samples = noise(frames + 3)[: max(1, frames * FRAME + before)].clip(-1, 0.9999)
    before = len(samples) - frames * FRAME
    window = Window(start, samples, last=last, done=frames - 1, before=before)
    sent = rows()
    asked = [Item("a/ä", EPOCH, window)]
    body = pack_request(
        HearRequest("who", sent.digest(), embed=True, rows=sent, items=asked), wire=wire
    )
    read = unpack_request(body)
    assert (read.identity, read.labels, read.embed) == ("who", sent.digest(), True)
    assert read.rows is not None
    assert read.rows.digest() == sent.digest()
    (item,) = read.items
    assert (item.key, item.epoch) == ("a/ä", EPOCH)
    assert replace(item.window, samples=samples) == replace(window, samples=samples)
    assert item.window.samples.dtype == np.float32
    loudest = np.abs(item.window.samples - samples).max()
    assert loudest <= {"f32": 0, "pcm16": 2e-5, "flac": 2e-5, "opus": 3}[wire]


def changed(change: Callable[[dict[str, Any]], object], body: bytes | None = None) -> bytes:
    body = body or request()
    (size,) = struct.unpack("<I", body[:4])
    head = json.loads(body[4 : 4 + size])
    change(head)
    text = json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + body[4 + size :]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda head: head.update(version=VERSION + 1), "version 2 is not understood, 1 is"),
        (lambda head: head.update(labels="x"), "labels"),
        (lambda head: head.pop("identity"), "identity"),
        (lambda head: head.update(items=[]), "items"),
        (lambda head: head.update(items=head["items"] * MOST_ITEMS), "items"),
        (lambda head: head["items"][0].update(epoch="A" * 32), "epoch"),
        (lambda head: head["items"][0].update(key=""), "key"),
        (lambda head: head["items"][0].update(frames=0), "frames"),
        (lambda head: head["items"][0].update(frames=1 << 40), "frames"),
        (lambda head: head["items"][0].update(start=1 << 60), "start"),
        (lambda head: head["items"][0].update(start=0.5), "start"),
        (lambda head: head["items"][0].update(wire="wav"), "wire"),
        (lambda head: head["items"][0].update(done=5), "more frames are done"),
        (lambda head: head["items"][0].update(length=1 << 30), "length"),
        (lambda head: head["items"][0].update(length=100), "bytes for"),
        (lambda head: head["items"][1].update(wire="flac"), r"packet|damaged"),
        (lambda head: head["items"][0].update(begin=5 * FRAME - 1), "none of the window's"),
        (lambda head: head["items"][0].update(begin=9 * FRAME), "none of the window's"),
        (
            lambda head: head["items"][0].update(begin=(4 - MOST_CONTEXT) * FRAME),
            "none of the window's",
        ),
        (lambda head: head["items"][1].update(key="node/s0"), "two windows"),
        (lambda head: head.update(rows={"labels": 1, "negatives": 0, "width": 1}), "not those of"),
        (lambda head: head.update(rows={"labels": 4096, "negatives": 9, "width": 1}), "more than"),
        (
            lambda head: [each.update(frames=1200, wire="flac") for each in head["items"]],
            "more than 4194304 samples",
        ),
    ],
)
def test_what_is_wrong_in_a_head_is_told(
    change: Callable[[dict[str, Any]], object], what: str
) -> None:
    with pytest.raises(WireError, match=what):
        unpack_request(changed(change))


def test_what_a_later_version_adds_is_left_out() -> None:
    assert unpack_request(changed(lambda head: head.update(colour="blue"))).identity == "who"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0\0\0",
        b"\xff\xff\xff\xff{}",
        b"\2\0\0\0{}",
        b"\4\0\0\0null",
        struct.pack("<I", 100_000) + b"[" * 100_000,
        request() + b"\0",
        request()[:-1],
        request(items(samples=np.full(4 * FRAME, np.nan, np.float32))),
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        unpack_request(body)


@pytest.mark.parametrize(
    ("part", "value"),
    [("rows", np.nan), ("offsets", np.inf), ("suppresses", 3), ("suppresses", -1)],
)
def test_rows_that_cannot_be_used_are_refused(part: str, value: float) -> None:
    sent = rows()
    getattr(sent, part).flat[0] = value
    body = pack_request(
        HearRequest("who", sent.digest(), embed=False, rows=sent, items=items()), wire="f32"
    )
    with pytest.raises(WireError):
        unpack_request(body)


def test_a_label_that_is_only_loud_has_a_row_that_hears_nothing() -> None:
    sent = rows()
    sent.offsets[1] = -np.inf
    body = pack_request(
        HearRequest("who", sent.digest(), embed=False, rows=sent, items=items()), wire="f32"
    )
    read = unpack_request(body).rows
    assert read is not None
    assert np.array_equal(read.offsets, sent.offsets)


def scored(*, embed: bool) -> list[ScoredItem | None]:
    rng = np.random.default_rng(1)
    return [
        ScoredItem(
            rng.random((3, 3), np.float32),
            rng.random((3, 5)).astype(np.float16) if embed else None,
            1234 + i,
        )
        if i != 1
        else None
        for i in range(3)
    ]


def reply(items: Sequence[ScoredItem | None]) -> HearReply:
    return HearReply(need_labels=False, context=6, items=items)


@pytest.mark.parametrize("embed", [True, False])
def test_an_answer_comes_as_it_went(*, embed: bool) -> None:
    sent, windows = scored(embed=embed), [item.window for item in items(3)]
    width = 5 if embed else 0
    read = unpack_reply(pack_reply(reply(sent)), windows, 3, width=width)
    assert (read.context, read.need_labels) == (6, False)
    assert read.items[1] is None
    for got, want in zip(read.items, sent, strict=True):
        if got is not None and want is not None:
            assert got.wants == want.wants
            assert np.array_equal(got.scores, want.scores)
            assert (got.embeddings is None) == (not embed)
            assert not embed or np.array_equal(got.embeddings, want.embeddings)  # type: ignore[arg-type]  # there where asked for
    assert unpack_reply(pack_reply(NEED_LABELS), windows, 3, width=width).need_labels


def test_answers_to_something_else_are_refused() -> None:
    windows = [item.window for item in items(3)]
    whole = pack_reply(reply(scored(embed=True)))
    nan = [ScoredItem(np.full((3, 3), np.nan, np.float32), None, 0)] * 3
    for body, asked, labels, width in (
        (whole, windows[:2], 3, 5),
        (whole, windows, 4, 5),
        (whole, windows, 3, 6),
        (whole, [*windows[:2], Window(0, noise(9))], 3, 5),
        (pack_reply(reply(scored(embed=False))), windows, 3, 5),
        (whole[:-1], windows, 3, 5),
        (whole + b"\0", windows, 3, 5),
        (b"<html>", windows, 3, 5),
        (pack_reply(reply(nan)), windows, 3, 0),
    ):
        with pytest.raises(WireError):
            unpack_reply(body, asked, labels, width=width)
