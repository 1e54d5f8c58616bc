"""The engine's HTTP API: who may ask, what is refused, and that no request harms another's."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from ports import free_port
from serving.engines import labels_of, noise, serving
from stand_ins import eventually
from timing import within

from pe_stream.core.types import FRAME, Window
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.prompts import LabelEmbeddings
from pe_stream.serving import application, scoring, server
from pe_stream.serving.application import EngineApplication
from pe_stream.serving.heads import BYTES
from pe_stream.serving.server import EngineServer
from pe_stream.serving.wire import (
    HearReply,
    HearRequest,
    Item,
    LabelRows,
    ScoredItem,
    pack_request,
    unpack_reply,
)

A, B = "a" * 24, "b" * 24
EPOCH = "0f" * 16


@pytest.fixture(scope="module")
def checkpoint(level: Path) -> Checkpoint:
    return load(str(level), device="cpu", dtype="float32", threads=1)


@pytest.fixture(scope="module")
def engine(
    checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineServer]:
    tokens = tmp_path_factory.mktemp("engine") / "tokens"
    tokens.write_text(f"# who may ask\nhouse {A}\n\nshop {B}\n", "utf-8")
    tokens.chmod(0o600)
    with serving(checkpoint, tokens=tokens) as server:
        yield server


class Asker:
    """Asks with a token, as a client of another make would."""

    def __init__(self, server: EngineServer, checkpoint: Checkpoint, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": BYTES}
        self.http = httpx.Client(base_url=server.url, headers=headers, timeout=within(20))
        self._identity = checkpoint.identity
        labels: LabelEmbeddings = labels_of(checkpoint)
        self.rows = LabelRows(
            labels.rows.numpy(), labels.suppresses.numpy(), labels.offsets.numpy()
        )

    def body(
        self, windows: Sequence[Window], key: str = "n/s", epoch: str = EPOCH, *, rows: bool = True
    ) -> bytes:
        items = [Item(f"{key}{i}", epoch, window) for i, window in enumerate(windows)]
        sent = self.rows if rows else None
        request = HearRequest(
            self._identity, self.rows.digest(), embed=False, rows=sent, items=items
        )
        return pack_request(request, wire="f32")

    def post(self, body: bytes, **headers: str) -> httpx.Response:
        return self.http.post("/v1/hear", content=body, headers=headers)

    def hear(self, *windows: Window, key: str = "n/s", epoch: str = EPOCH) -> HearReply:
        answer = self.post(self.body(windows, key, epoch))
        assert answer.status_code == 200, answer.text
        return unpack_reply(answer.content, windows, 2, width=0)

    def scores(self, *windows: Window, key: str = "n/s", epoch: str = EPOCH) -> list[ScoredItem]:
        found = self.hear(*windows, key=key, epoch=epoch).items
        assert all(each is not None for each in found)
        return [each for each in found if each is not None]


@pytest.fixture
def house(engine: EngineServer, checkpoint: Checkpoint) -> Iterator[Asker]:
    asker = Asker(engine, checkpoint, A)
    with asker.http:
        yield asker


@pytest.fixture
def shop(engine: EngineServer, checkpoint: Checkpoint) -> Iterator[Asker]:
    asker = Asker(engine, checkpoint, B)
    with asker.http:
        yield asker


AUDIO = noise(60)


def window(begin: int, end: int) -> Window:
    return Window(begin * FRAME, AUDIO[begin * FRAME : end * FRAME])


def test_without_a_token_nothing_is_told(engine: EngineServer) -> None:
    for headers in ({}, {"Authorization": f"Basic {A}"}, {"Authorization": "Bearer x"}):
        for path in ("/v1/about", "/v1/hear", "/"):
            answer = httpx.get(engine.url + path, headers=headers, timeout=within(20))
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "identity" not in answer.text


def test_about_says_what_it_is(house: Asker, checkpoint: Checkpoint) -> None:
    about = house.http.get("/v1/about").json()
    assert about["identity"] == checkpoint.identity
    assert about["version"] == 1
    assert 1 <= about["context"] <= 16
    assert {"pe_stream", "checkpoint", "describe", "streams", "most_items", "most_frames"} <= set(
        about
    )


def test_what_is_no_request_is_refused(house: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    good = house.body([window(0, 5)])
    assert house.http.get("/v1/hear").status_code == 405
    assert house.http.get("/v2/hear").status_code == 404
    assert house.post(good, **{"Content-Type": "text/plain"}).status_code == 415
    assert house.http.post("/v1/hear", content=iter([good])).status_code == 411
    assert house.post(b"").status_code == 400
    other = good.replace(house._identity.encode(), b"0" * len(house._identity))
    refused = house.post(other)
    assert refused.status_code == 409
    assert "the checkpoint here is" in refused.json()["detail"]
    monkeypatch.setattr(application, "MOST_BODY", 1000)
    assert house.post(good).status_code == 413
    monkeypatch.undo()
    monkeypatch.setattr(application, "MOST_WAITING", 1000)
    busy = house.post(good)
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
    monkeypatch.undo()
    assert house.post(good).status_code == 200


def test_label_rows_are_sent_once_and_are_the_tenants(house: Asker, shop: Asker) -> None:
    flat = LabelRows(house.rows.rows * 2, house.rows.suppresses, house.rows.offsets)
    house.rows = shop.rows = flat
    body = house.body([window(0, 5)], rows=False)
    assert unpack_reply(house.post(body).content, [], 2, width=0).need_labels
    house.hear(window(0, 5))
    assert not unpack_reply(house.post(body).content, [window(0, 5)], 2, width=0).need_labels
    assert unpack_reply(shop.post(body).content, [], 2, width=0).need_labels
    narrow = LabelRows(flat.rows[:, :3], flat.suppresses, flat.offsets)
    house.rows = narrow
    assert house.post(house.body([window(0, 5)])).status_code == 400


def test_label_rows_of_a_tenant_are_bounded(house: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "LABEL_ROWS", 2 * len(house.rows.rows))
    sets = [
        LabelRows(house.rows.rows * factor, house.rows.suppresses, house.rows.offsets)
        for factor in (3, 4, 5)
    ]
    for house.rows in sets:
        house.hear(window(0, 5))
    known = []
    for house.rows in sets:
        answer = house.post(house.body([window(0, 5)], rows=False)).content
        known.append(not unpack_reply(answer, [window(0, 5)], 2, width=0).need_labels)
    assert known == [False, True, True]


def test_a_stream_is_its_tenants_and_its_epochs_alone(house: Asker, shop: Asker) -> None:
    (first,) = house.scores(window(0, 20), key="shared")
    tail = window(0, 30).since(first.wants)
    assert shop.hear(tail, key="shared").items == [None]
    assert house.hear(tail, key="shared", epoch="1e" * 16).items == [None]
    (tail_scores,) = house.scores(tail, key="shared")
    (alone,) = house.scores(window(0, 30), key="shared", epoch="2d" * 16)
    assert np.allclose(tail_scores.scores, alone.scores, atol=1e-6)


def test_what_comes_twice_or_late_does_no_harm(house: Asker) -> None:
    (first,) = house.scores(window(0, 20))
    early = window(0, 30).since(first.wants)
    late = window(10, 42).since(first.wants)
    (a,) = house.scores(early)
    (again,) = house.scores(early)
    assert np.array_equal(a.scores, again.scores)
    (b,) = house.scores(late)
    assert house.hear(early).items == [None], "it is no longer held, and nothing is changed by it"
    (c,) = house.scores(late)
    assert np.array_equal(b.scores, c.scores)
    (whole,) = house.scores(window(0, 20))
    assert np.allclose(whole.scores, first.scores, atol=1e-6)
    assert house.hear(window(12, 50).since(b.wants)).items == [None], "it has begun anew"


def test_requests_of_a_stream_at_once_are_answered_one_after_the_other(
    house: Asker,
) -> None:
    found: list[HearReply] = []
    body = house.body([window(0, 20)], key="together")

    def ask() -> None:
        answer = house.http.post("/v1/hear", content=body)
        found.append(unpack_reply(answer.content, [window(0, 20)], 2, width=0))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(within(20))
    scores = [each.items[0].scores for each in found if each.items[0] is not None]
    assert len(scores) == 6
    assert all(np.array_equal(each, scores[0]) for each in scores)


def test_streams_are_bounded_and_forgotten(
    house: Asker, engine: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [engine._scoring._clock()]
    monkeypatch.setattr(engine._scoring, "_clock", lambda: now_s[0])
    monkeypatch.setattr(engine._scoring, "_most", engine._scoring.streams + 2)
    house.hear(window(0, 5), window(0, 5), key="full")
    full = house.post(house.body([window(0, 5)], key="one more"))
    assert full.status_code == 503
    assert "no room" in full.json()["detail"]
    now_s[0] += scoring.FORGET_S + 1
    house.hear(window(0, 5), key="one more")
    assert engine._scoring.streams == 1


def test_who_holds_most_makes_room_for_others(
    house: Asker, shop: Asker, engine: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [engine._scoring._clock()]
    monkeypatch.setattr(engine._scoring, "_clock", lambda: now_s[0])
    engine._scoring._held.clear()
    monkeypatch.setattr(engine._scoring, "_most", 4)
    for number in range(4):
        now_s[0] += 1
        house.hear(window(0, 20), key=f"house {number} ")
    shop.hear(window(0, 5), key="one")
    shop.hear(window(0, 5), key="two")
    held = [key for _, key, _ in engine._scoring._held]
    assert held == ["house 2 0", "house 3 0", "one0", "two0"], "the oldest of the house went"
    for more in (house, shop):
        assert more.post(more.body([window(0, 5)], key="three")).status_code == 503
    assert [key for _, key, _ in engine._scoring._held] == held
    (again,) = house.hear(window(12, 30).since(25 * FRAME), key="house 0 ").items
    assert again is None, "what went is wanted whole"


def connected(engine: EngineServer) -> socket.socket:
    host, port = engine.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), within(20))


def head_of(body: bytes) -> bytes:
    return (
        f"POST /v1/hear HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {A}\r\n"
        f"Content-Type: {BYTES}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()


def test_no_tenant_keeps_others_from_asking(
    house: Asker, shop: Asker, engine: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = house.body([window(0, 5)], rows=False)
    monkeypatch.setattr(application, "MOST_WAITING", 4 * len(body))
    with connected(engine) as slow:
        slow.sendall(head_of(body) + body[:-1])
        assert eventually(lambda: engine._application._waiting["house"] == len(body) - 1)
        assert house.post(body).status_code == 503
        assert shop.post(body).status_code == 200
    assert eventually(lambda: engine._application._waiting.total() == 0)


def test_a_body_is_no_longer_than_was_stated(engine: EngineServer) -> None:
    """Chunks go before a length, by HTTP."""
    head = (
        f"POST /v1/hear HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {A}\r\n"
        f"Content-Type: {BYTES}\r\nContent-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with connected(engine) as sent:
        sent.sendall(head.encode() + b"10000\r\n" + b"\0" * 0x10000 + b"\r\n")
        assert sent.recv(100).startswith(b"HTTP/1.1 400 ")
    assert eventually(lambda: engine._application._waiting.total() == 0)


def test_an_answer_is_bounded(house: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small may ask for much: the sound was sent before."""
    (a, b) = house.scores(window(0, 20), window(0, 20))
    monkeypatch.setattr(scoring, "MOST_VALUES", 30 * len(house.rows.rows))
    again = [window(0, 20).since(each.wants) for each in (a, b)]
    refused = house.post(house.body(again))
    assert refused.status_code == 400
    assert "values are asked for" in refused.json()["detail"]
    house.scores(*(replace(each, done=5) for each in again))
    house.scores(replace(window(0, 40)))


def test_one_address_does_not_take_all_places(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 4)
    with serving(checkpoint) as engine, ExitStack() as open_ones:
        first, *_ = (open_ones.enter_context(connected(engine)) for _ in range(3))
        assert first.recv(1) == b"", "it went for the third"


async def asked(app: EngineApplication, bodies: Iterable[bytes], token: str) -> list[int]:
    """The status of each, as a server of HTTP hands them over."""
    statuses: list[int] = []
    for body in bodies:
        come: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        come.put_nowait({"type": "http.request", "body": body})
        headers = {"authorization": f"Bearer {token}", "content-type": BYTES}
        raw = {**headers, "content-length": str(len(body))}

        async def send(message: MutableMapping[str, Any]) -> None:
            if "status" in message:
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/hear",
            "headers": [(name.encode(), value.encode()) for name, value in raw.items()],
        }
        await app(scope, come.get, send)
    return statuses


def damaged(body: bytes, seed: int) -> bytes:
    """Bytes of the head changed, the length wrong, something taken out or put in, or cut off."""
    rng = random.Random(seed)
    made = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        match rng.randrange(4):
            case 0:
                made[rng.randrange(4, 700)] = rng.randrange(256)
            case 1:
                made[rng.randrange(4)] ^= 1 << rng.randrange(8)
            case 2:
                at = rng.randrange(len(made))
                del made[at : at + rng.randint(1, 2000)]
            case 3:
                made[(at := rng.randrange(len(made))) : at] = rng.randbytes(rng.randint(1, 2000))
    return bytes(made)


@pytest.mark.heavy
def test_ten_thousand_damaged_bodies_are_refused_and_nothing_grows(
    house: Asker, engine: EngineServer
) -> None:
    (first,) = house.scores(window(0, 20), key="kept")
    body = house.body([window(0, 4), window(0, 3)], key="other")

    def damage(seeds: range) -> Counter[int]:
        bodies = (damaged(body, seed) for seed in seeds)
        return Counter(asyncio.run(asked(engine._application, bodies, A)))

    statuses = damage(range(1000))
    held_bytes = psutil.Process().memory_info().rss
    statuses += damage(range(1000, 10_000))
    assert psutil.Process().memory_info().rss - held_bytes < 10_000_000
    assert statuses.total() == 10_000
    assert set(statuses) <= {200, 400, 409}
    assert statuses[200] < 500, "as where a letter of a key is another"
    assert engine._application._waiting.total() == 0
    tail = window(0, 30).since(first.wants)
    assert house.hear(tail, key="kept").items != [None], "no other stream was touched"


def any_window(rng: random.Random) -> Window:
    """What a request may hold, and no daemon would send: of any begin, and of no grid."""
    frames = rng.randint(1, 30)
    start = rng.choice([0, 0, 5, 20, -7, 1 << 40]) * FRAME + rng.choice([0, 0, 0, 3])
    before = rng.choice([0, rng.randint(0, 16) * FRAME, -rng.randrange(frames * FRAME)])
    samples = noise(frames + 16)[: frames * FRAME + before]
    done = rng.randint(0, frames)
    return Window(start, samples, last=rng.random() < 0.2, done=done, before=before)


@pytest.mark.heavy
def test_no_order_of_windows_ends_the_engine(house: Asker, engine: EngineServer) -> None:
    """Windows of a few streams, at random: each is scored, or wanted whole."""
    rng = random.Random(0)
    house.hear(window(0, 5))
    outcomes: Counter[bool] = Counter()
    for _ in range(300):
        names = rng.sample(range(4), rng.randint(1, 4))
        windows = [any_window(rng) for _ in names]
        items = [
            Item(f"mad/{name}", EPOCH, each) for name, each in zip(names, windows, strict=True)
        ]
        asked = HearRequest("", house.rows.digest(), embed=True, rows=None, items=items)
        read = engine._scoring.ask("house", asked).result(within(20))
        outcomes.update(item is None for item in read.items)
        assert all(
            each.before < 0 for each, item in zip(windows, read.items, strict=True) if item is None
        )
    assert min(outcomes.values()) > 100


def test_nothing_is_computed_for_whoever_has_gone(
    house: Asker, engine: EngineServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    busy, over = threading.Event(), threading.Event()
    hear = engine._scoring._engine.hear_labelled

    def slow(streams: Sequence[Any], *given: Any, **more: Any) -> Any:
        scored.append(len(streams))
        busy.set()
        assert over.wait(within(60))
        return hear(streams, *given, **more)

    monkeypatch.setattr(engine._scoring._engine, "hear_labelled", slow)
    first = threading.Thread(target=house.hear, args=(window(0, 5),), kwargs={"key": "first"})
    first.start()
    assert busy.wait(within(20))
    body = house.body([window(0, 5)] * 3, key="gone")
    with connected(engine) as goes:
        goes.sendall(head_of(body) + body)
        assert eventually(lambda: engine._scoring._queue.qsize() == 1)
    assert eventually(lambda: engine._application._waiting.total() < 2 * len(body))
    over.set()
    first.join(within(20))
    house.hear(window(0, 5), key="last")
    assert sum(scored) == 2


def test_it_lets_nobody_in_unasked(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--tokens"), serving(checkpoint, host="0.0.0.0"):
        pass
    tokens = tmp_path / "tokens"
    for text, why in (
        ("", "has no token"),
        ("house", "TENANT TOKEN"),
        ("house short", "fewer than 20"),
        (f"house ä{A}", "other characters than ASCII"),
        (f"ho/use {A}", "TENANT TOKEN"),
        (f"house {A}\nshop {A}", "two tenants"),
        (f"local {A}", "no tenant may be named 'local'"),
        ("\xff", "TENANT TOKEN"),
    ):
        tokens.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=why) as raised, serving(checkpoint, tokens=tokens):
            pass
        assert A not in str(raised.value)
    with (
        pytest.raises(ConfigError, match="cannot read"),
        serving(checkpoint, tokens=tmp_path / "x"),
    ):
        pass
    with pytest.raises(ConfigError, match="go together"), serving(checkpoint, certificate=tokens):
        pass
    with (
        pytest.raises(UnavailableError, match="cannot be used"),
        serving(checkpoint, certificate=tokens, key=tokens),
    ):
        pass
    port = free_port()
    with (
        serving(checkpoint, port=port),
        pytest.raises(UnavailableError, match="give --host and --port"),
        serving(checkpoint, port=port),
    ):
        pass


def test_figures_are_each_tenants_own_and_the_operators_see_all(
    house: Asker, shop: Asker, engine: EngineServer
) -> None:
    house.hear(window(0, 5), key="figures")
    figures = house.http.get("/v1/metrics")
    assert figures.headers["content-type"].startswith("text/plain")
    windows = f'pe_stream_engine_windows_total{{replica="{engine._application._name}",tenant='
    assert f'{windows}"house"}}' in figures.text
    assert "shop" not in figures.text
    assert f'{windows}"shop"}}' in shop.http.get("/v1/metrics").text
    assert shop.http.post("/v1/metrics").status_code == 405
    assert engine._application._figures("operator").count(b"house") == 4
    told = {of: engine._application.about(of) for of in ("house", "shop", "operator", "new")}
    done = {of: about["work"]["windows"] for of, about in told.items()}
    assert done["house"] > 0 == done["new"]
    assert done["operator"] >= done["house"] + done["shop"]
    assert told["house"]["streams"] > 0 == told["new"]["streams"]
    asked = shop.http.get("/v1/about").json()
    assert asked["work"]["windows"] == done["shop"]
