"""What is said between a daemon and an engine elsewhere: bytes to requests and answers, and back.

    u32 length, so many bytes of JSON (the head), then the bodies that it lists, one after the other

All numbers are little-endian. Nothing here is run by being read; whatever is wrong is a WireError.
Audio is named by absolute sample indices, so that a request may come twice, late, or never.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pe_stream.audio import packets
from pe_stream.core.types import FRAME, FrameEmbeddings, FrameScores, Samples, Window
from pe_stream.serving.heads import (
    MOST_CONTEXT,
    MOST_HEAD,
    MOST_ROWS,
    MOST_SAMPLES,
    VERSION,
    Coding,
    ItemHead,
    ReplyHead,
    RequestHead,
    RowsHead,
    WireHead,
)

_SIZE = struct.Struct("<I")
_H = TypeVar("_H", bound=WireHead)


class WireError(ValueError):
    """What came is not what was to come."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelRows:
    """A label set: as `model.prompts.LabelEmbeddings`, without names.

    rows: (labels + negatives, D) float32; suppresses: (negatives,) int64; offsets: (labels +
    negatives,) float32.
    """

    rows: NDArray[np.float32]
    suppresses: NDArray[np.int64]
    offsets: NDArray[np.float32]

    @property
    def count(self) -> int:
        """Number of labels."""
        return len(self.rows) - len(self.suppresses)

    def to_bytes(self) -> bytes:
        """The three, one after the other."""
        parts = (self.rows, "<f4"), (self.suppresses, "<i8"), (self.offsets, "<f4")
        return b"".join(np.ascontiguousarray(part, kind).tobytes() for part, kind in parts)

    def digest(self) -> str:
        """SHA-256 of sizes and content."""
        sizes = f"{self.count} {len(self.suppresses)} {self.rows.shape[1]}\n".encode()
        return hashlib.sha256(sizes + self.to_bytes()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A window to score, its audio as it was sent; `key` and `epoch` as an ItemHead's."""

    key: str
    epoch: str
    window: Window


@dataclass(frozen=True, slots=True, eq=False)
class HearRequest:
    """A request for scores.

    identity: of the checkpoint. labels: SHA-256 of the label set; rows: the set itself, where it
    comes along. embed: whether embeddings are wanted.
    """

    identity: str
    labels: str
    embed: bool
    rows: LabelRows | None
    items: Sequence[Item]


@dataclass(frozen=True, slots=True, eq=False)
class ScoredItem:
    """Scores (frames, labels), embeddings (frames, D) where they were wanted, and `wants`."""

    scores: FrameScores
    embeddings: FrameEmbeddings | None
    wants: int


@dataclass(frozen=True, slots=True, eq=False)
class HearReply:
    """An answer. need_labels: the request is to come again with its rows.

    items: None where the whole window is wanted, with `context` frames ahead of it.
    """

    need_labels: bool
    context: int
    items: Sequence[ScoredItem | None]


NEED_LABELS = HearReply(need_labels=True, context=0, items=())
"""The answer to a request whose label set is not known."""


def pack_request(request: HearRequest, *, wire: Coding) -> bytes:
    """A request as bytes."""
    rows = request.rows
    bodies = [] if rows is None else [rows.to_bytes()]
    heads = []
    for item in request.items:
        window = item.window
        bodies.append(_coded(window.samples, wire))
        heads.append(
            {
                "key": item.key,
                "epoch": item.epoch,
                "start": window.start,
                "begin": window.begin,
                "frames": window.frames,
                "done": window.done,
                "last": window.last,
                "wire": wire,
                "length": len(bodies[-1]),
            }
        )
    head: dict[str, Any] = {
        "version": VERSION,
        "identity": request.identity,
        "labels": request.labels,
        "embed": request.embed,
        "items": heads,
    }
    if rows is not None:
        sizes = {"labels": rows.count, "negatives": len(rows.suppresses)}
        head["rows"] = sizes | {"width": rows.rows.shape[1]}
    return _packed(head, bodies)


def unpack_request(body: bytes) -> HearRequest:
    """Read a request, of whoever sent it; raises WireError."""
    head, rest = _unpacked(body, RequestHead)
    _check_version(head.version)
    rows = None
    if head.rows is not None:
        rows = _rows(head.rows, rest)
        if rows.digest() != head.labels:
            raise WireError("the rows are not those of the label set that is named")
    if sum(max(0, each.count) for each in head.items) > MOST_SAMPLES:
        raise WireError(f"more than {MOST_SAMPLES} samples")
    items = [Item(each.key, each.epoch, _window(each, rest)) for each in head.items]
    rest.end()
    if len({(each.key, each.epoch) for each in items}) < len(items):
        raise WireError("a stream has two windows in a request")
    return HearRequest(head.identity, head.labels, head.embed, rows, items)


def pack_reply(reply: HearReply) -> bytes:
    """An answer as bytes."""
    if reply.need_labels:
        return _packed({"version": VERSION, "need": "labels"}, [])
    scored = [each for each in reply.items if each is not None]
    embeddings = [each.embeddings for each in scored if each.embeddings is not None]
    bodies = [np.ascontiguousarray(each.scores, "<f4").tobytes() for each in scored]
    bodies += [np.ascontiguousarray(each, "<f2").tobytes() for each in embeddings]
    head = {
        "version": VERSION,
        "context": reply.context,
        "labels": scored[0].scores.shape[1] if scored else 0,
        "width": embeddings[0].shape[1] if embeddings else 0,
        "items": [
            {"need": "window"}
            if each is None
            else {"frames": len(each.scores), "wants": each.wants}
            for each in reply.items
        ],
    }
    return _packed(head, bodies)


def unpack_reply(body: bytes, windows: Sequence[Window], labels: int, *, width: int) -> HearReply:
    """Read the answer to a request for these windows and so many labels; raises WireError.

    width: of the embeddings that were wanted; 0: none were.
    """
    head, rest = _unpacked(body, ReplyHead)
    _check_version(head.version)
    if head.need is not None:
        return NEED_LABELS
    if len(head.items) != len(windows):
        raise WireError("an answer to another request")
    scored = [
        (each, window)
        for each, window in zip(head.items, windows, strict=True)
        if each.need is None
    ]
    if scored and (head.labels != labels or (width and head.width != width)):
        raise WireError("an answer for other labels")
    for each, window in scored:
        if each.frames != window.frames - window.done:
            raise WireError("an answer about other frames")
    scores = [rest.array("<f4", each.frames, labels) for each, _ in scored]
    embeddings = [rest.array("<f2", each.frames, width) for each, _ in scored if width]
    rest.end()
    if not all(np.isfinite(each).all() for each in scores):
        raise WireError("scores that are no numbers")
    found = iter(
        ScoredItem(each, embeddings[i] if width else None, scored[i][0].wants)
        for i, each in enumerate(scores)
    )
    items = [None if each.need is not None else next(found) for each in head.items]
    return HearReply(need_labels=False, context=head.context, items=items)


class _Bodies:
    """The bodies of a message, taken one after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def take(self, size: int) -> memoryview:
        if size > len(self._data):
            raise WireError("it is shorter than its head says")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def array(self, kind: str, *shape: int) -> NDArray[Any]:
        values = np.dtype(kind)
        return np.frombuffer(self.take(int(np.prod(shape)) * values.itemsize), values).reshape(
            shape
        )

    def end(self) -> None:
        if len(self._data):
            raise WireError("it is longer than its head says")


def _packed(head: dict[str, Any], bodies: Sequence[bytes]) -> bytes:
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join([_SIZE.pack(len(text)), text, *bodies])


def _unpacked(body: bytes, kind: type[_H]) -> tuple[_H, _Bodies]:
    rest = _Bodies(memoryview(body))
    (size,) = _SIZE.unpack(rest.take(_SIZE.size))
    if size > MOST_HEAD:
        raise WireError(f"a head of more than {MOST_HEAD} bytes")
    try:
        return kind.model_validate_json(bytes(rest.take(size))), rest
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise WireError(f"{where or 'head'}: {first['msg']}") from None


def _check_version(version: int) -> None:
    if version != VERSION:
        raise WireError(f"version {version} is not understood, {VERSION} is")


def _rows(head: RowsHead, rest: _Bodies) -> LabelRows:
    total = head.labels + head.negatives
    if total > MOST_ROWS:
        raise WireError(f"more than {MOST_ROWS} labels and negatives")
    rows = rest.array("<f4", total, head.width)
    suppresses = rest.array("<i8", head.negatives)
    offsets = rest.array("<f4", total)
    # A label that is only loud has an offset of -inf: it scores 0.
    if not np.isfinite(rows).all() or not (offsets < np.inf).all():
        raise WireError("rows that are no numbers")
    if ((suppresses < 0) | (suppresses >= head.labels)).any():
        raise WireError("a negative of no label")
    return LabelRows(rows, suppresses, offsets)


def _window(head: ItemHead, rest: _Bodies) -> Window:
    before = head.start - head.begin
    if head.count < 1 or before > MOST_CONTEXT * FRAME or (before > 0 and before % FRAME):
        raise WireError("audio that is none of the window's")
    if head.done > head.frames:
        raise WireError("more frames are done than there are")
    samples = _decoded(rest.take(head.length), head.wire, head.count)
    return Window(head.start, samples, last=head.last, done=head.done, before=before)


def _coded(samples: Samples, wire: Coding) -> bytes:
    if wire == "f32":
        return np.ascontiguousarray(samples, "<f4").tobytes()
    if wire == "pcm16":
        return packets.to_pcm16(samples).astype("<i2").tobytes()
    return packets.encode(samples, wire)


def _decoded(data: memoryview, wire: Coding, count: int) -> Samples:
    if wire in {"f32", "pcm16"}:
        size = 4 if wire == "f32" else 2
        if len(data) != size * count:
            raise WireError(f"{len(data)} bytes for {count} samples")
        if wire == "pcm16":
            return packets.from_pcm16(np.frombuffer(data, "<i2"))
        samples: Samples = np.frombuffer(data, "<f4").astype(np.float32)
        if not np.isfinite(samples).all():
            raise WireError("samples that are no numbers")
        return samples
    try:
        return packets.decode(bytes(data), "flac" if wire == "flac" else "opus", count)
    except ValueError as error:
        raise WireError(str(error)) from None
