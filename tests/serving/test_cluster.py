"""Engines on Ray Serve: a real cluster on loopback. `make test-cluster` runs it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from serving.engines import labels_of, noise
from serving.ray_cluster import TOKENS, RayCluster
from timing import within

from pe_stream.config import ModelSettings
from pe_stream.core.detector import Detector, Heard
from pe_stream.core.event_builder import Origin
from pe_stream.core.types import FRAME, AudioChunk, LabelRule, Samples
from pe_stream.core.windows import Framing
from pe_stream.model.checkpoint import Checkpoint, load
from pe_stream.model.codec import Stream
from pe_stream.model.engine import Engine
from pe_stream.model.live_engine import Asked
from pe_stream.serving.client import RemoteEngine, remote_engine

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

FRAMES, SOURCES = 900, 20
FRAMING = Framing(250, 12, 12)
RULES = [LabelRule("dog", 0.6, 0.5, min_on=2), LabelRule("bell", 0.6, 0.5, min_on=2)]


@pytest.fixture(scope="module")
def cluster(level: Path) -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    made = RayCluster(level)
    try:
        made.start(2)
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def checkpoint(level: Path) -> Checkpoint:
    return load(str(level), device="cpu", dtype="float32", threads=1)


class Ears:
    """Sources that are heard as fast as they are scored; nothing is ever left out."""

    def __init__(self, audio: Mapping[str, Samples], context: int) -> None:
        self.heard: dict[str, list[Heard]] = {name: [] for name in audio}
        self.detectors = {}
        for name, samples in audio.items():
            self.detectors[name] = Detector(
                Origin("n", name, "level"),
                FRAMING,
                RULES,
                live=False,
                new_id=map(str, count()).__next__,
                context=context,
            )
            self.detectors[name].feed(AudioChunk(0, samples, 0))
            self.detectors[name].end(None)

    def takes(self, name: str, window: Any, scores: Any) -> None:
        self.heard[name].append(self.detectors[name].accept(window, scores, 0.0))

    def events(self) -> list[tuple[Any, ...]]:
        return [
            (name, event.id, event.phase, event.label, event.onset_s, event.offset_s)
            for name, all_heard in self.heard.items()
            for heard in all_heard
            for event in heard.events
        ]

    def scores(self, name: str) -> Any:
        """Of all frames, which come one after the other."""
        starts = [heard.start for heard in self.heard[name]]
        counts = [len(heard.scores) * FRAME for heard in self.heard[name]]
        assert starts == [0, *np.cumsum(counts)[:-1]]
        return np.concatenate([heard.scores for heard in self.heard[name]])


def remote(
    cluster: RayCluster, checkpoint: Checkpoint, tmp_path: Path, **given: Any
) -> RemoteEngine:
    token = tmp_path / "token"
    token.write_text(TOKENS["house"], "utf-8")
    token.chmod(0o600)
    settings = ModelSettings.model_validate(
        {"engine": cluster.url, "engine_token_file": str(token), "engine_wire": "f32"} | given
    )
    return remote_engine(settings, checkpoint.identity, labels_of(checkpoint), "n", _raise)


def _raise(error: BaseException) -> None:
    raise error


def hear_far(engine: RemoteEngine, ears: Ears, at_hop: Mapping[int, Any]) -> list[str]:
    """Have all scored; returns why windows were not answered. at_hop: what is done then, once."""
    streams = {name: engine.stream(name) for name in ears.detectors}
    windows = {name: ears.detectors[name].next_window() for name in streams}
    reasons: list[str] = []
    hops, asked_for = 0, set[str]()
    due = dict(at_hop)
    until_s = time.monotonic() + within(200)
    while any(window is not None for window in windows.values()):
        assert time.monotonic() < until_s
        asked = [
            Asked(name, streams[name], window)
            for name, window in windows.items()
            if window is not None and name not in asked_for and engine.takes(streams[name])
        ]
        asked_for |= {each.source for each in asked}
        engine.ask(asked, embed=False)
        for came in engine.answers():
            asked_for -= {each.source for each in came.asked}
            if came.found is None:
                reasons += [came.reason] if came.reason is not None else []
                continue
            for each, (scores, _) in zip(came.asked, came.found, strict=True):
                ears.takes(each.source, each.window, scores)
                windows[each.source] = ears.detectors[each.source].next_window()
                hops += 1
        for hop in [hop for hop in due if hops >= hop]:
            due.pop(hop)()
        time.sleep(0.002)
    return reasons


def hear_here(checkpoint: Checkpoint, ears: Ears) -> None:
    engine = Engine(checkpoint, labels_of(checkpoint))
    for name, detector in ears.detectors.items():
        stream = Stream()
        while (window := detector.next_window()) is not None:
            ears.takes(name, window, engine.hear([stream], [window])[0])


def test_a_replica_that_is_killed_costs_no_frame_and_no_event(
    cluster: RayCluster, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    wait_for_replicas(cluster, 2)
    audio = {f"s{i}": noise(FRAMES, i) for i in range(SOURCES)}
    engine = remote(cluster, checkpoint, tmp_path, engine_lane=2)
    far, here = Ears(audio, engine.context), Ears(audio, 0)
    used = {cluster.ask(f"n-{i + 1}")["replica"] for i in range(SOURCES // 2)}
    assert len(used) == 2, "lanes are with both"

    killed = []

    def kill() -> None:
        killed.append(cluster.replicas()[0])
        killed[0].send_signal(signal.SIGKILL)
        killed[0].wait(within(5))

    hear_far(engine, far, {SOURCES * 37: kill})  # the way in may ask another before anybody notices
    engine.close()
    assert killed, "midway"
    hear_here(checkpoint, here)
    assert sum(len(far.scores(name)) for name in audio) == SOURCES * FRAMES == 18_000
    for name in audio:
        np.testing.assert_allclose(far.scores(name), here.scores(name), atol=1e-5)
    assert far.events() == here.events()
    assert len(far.events()) > 100


def test_who_has_no_token_is_refused_and_tenants_are_apart(cluster: RayCluster) -> None:
    for headers in ({}, {"Authorization": "Bearer " + "x" * 24}):
        assert httpx.get(f"{cluster.url}/v1/about", headers=headers).status_code == 401
    assert cluster.ask("a", "shop")["replica"] == cluster.ask("a", "house")["replica"]
    without = {**cluster.environment, "RAY_AUTH_TOKEN_PATH": "/nowhere"}
    cluster_environment, cluster.environment = cluster.environment, without
    try:
        with pytest.raises(AssertionError, match=r"(?i)token|auth"):
            cluster.ray("list", "nodes")
    finally:
        cluster.environment = cluster_environment


def lanes_of(cluster: RayCluster, sessions: Sequence[str]) -> dict[str, str]:
    return {each: cluster.ask(each)["replica"] for each in sessions}


def test_sessions_stay_where_they_are_and_few_move_with_the_number_of_replicas(
    cluster: RayCluster,
) -> None:
    wait_for_replicas(cluster, 2)
    sessions = [f"lane-{i}" for i in range(40)]
    two = lanes_of(cluster, sessions)
    assert lanes_of(cluster, sessions) == two
    assert len(set(two.values())) == 2
    errors: list[Exception] = []
    over = threading.Event()

    def asks() -> None:
        while not over.is_set():
            try:
                cluster.ask("steady")
            except httpx.HTTPError as error:
                errors.append(error)
            time.sleep(0.05)

    steady = threading.Thread(target=asks)
    steady.start()
    try:
        cluster.deploy(3)
        wait_for_replicas(cluster, 3)
        three = lanes_of(cluster, sessions)
        cluster.deploy(2)
        wait_for_replicas(cluster, 2)
        again = lanes_of(cluster, sessions)
    finally:
        over.set()
        steady.join(within(30))
    assert errors == []
    for before, after in ((two, three), (three, again)):
        moved = sum(before[each] != after[each] for each in sessions)
        assert 0 < moved <= 0.45 * len(sessions)


def wait_for_replicas(cluster: RayCluster, count: int) -> None:
    """Until the way in goes to so many."""
    until_s = time.monotonic() + within(60)
    while True:
        try:
            found = {cluster.ask(f"looks-{i}")["replica"] for i in range(24)}
        except httpx.HTTPError:
            found = set()
        if len(found) == count:
            return
        assert time.monotonic() < until_s, found
        time.sleep(0.5)


@pytest.fixture
def twelve(
    cluster: RayCluster, checkpoint: Checkpoint, tmp_path: Path
) -> Iterator[tuple[RemoteEngine, Ears]]:
    """Sources of 12 s, and the engine that they are heard by, which is with two replicas."""
    wait_for_replicas(cluster, 2)
    engine = remote(cluster, checkpoint, tmp_path, engine_lane=2, engine_timeout_s=within(2))
    yield engine, Ears({f"s{i}": noise(300, i) for i in range(12)}, engine.context)
    engine.close()


def test_a_frozen_replica_is_left_within_seconds(
    cluster: RayCluster, twelve: tuple[RemoteEngine, Ears]
) -> None:
    engine, ears = twelve
    frozen = cluster.replicas()[0]
    longest_s = [0.0]

    def freeze() -> None:
        frozen.send_signal(signal.SIGSTOP)
        longest_s[0] = time.monotonic()

    try:
        reasons = hear_far(engine, ears, {12 * 10: freeze})
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert all("no answer within" in reason for reason in reasons)
    assert 1 <= len(reasons) <= 2 * 6, "lanes that were with it, once or twice"
    assert sum(len(ears.scores(name)) for name in ears.detectors) == 12 * 300
    assert time.monotonic() - longest_s[0] < within(15)


def test_a_node_that_is_killed_costs_no_frame(
    cluster: RayCluster, twelve: tuple[RemoteEngine, Ears]
) -> None:
    """The last one: the node stays away."""
    engine, ears = twelve
    before = len(cluster.replicas())
    after = []

    def kill() -> None:
        cluster.kill_other_node()
        after.append(len(cluster.replicas()))

    hear_far(engine, ears, {12 * 10: kill})
    assert after[0] < before, "an engine was on it"
    assert sum(len(ears.scores(name)) for name in ears.detectors) == 12 * 300
