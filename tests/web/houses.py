"""A house for the server without a daemon: real store, history, clips and configuration file."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from ports import free_port
from timing import within

from pe_stream.config import ClipSettings, HistorySettings, SearchSettings, Settings
from pe_stream.config.edit import ConfigFile, Edit
from pe_stream.config.file import load
from pe_stream.core.opinion_vectors import STORED, OpinionProbe, OpinionVectors, VectorKind
from pe_stream.core.pooling import Probe
from pe_stream.core.prompt_words import PromptHint, SoundWords
from pe_stream.core.types import Event, FrameEmbeddings, LabelRule, Recommended
from pe_stream.daemon.calibrations import Calibrations
from pe_stream.errors import ConfigError, UnavailableError
from pe_stream.storage.clips import Clips
from pe_stream.storage.embeddings import EmbeddingStore
from pe_stream.storage.event_queries import EventQueries
from pe_stream.storage.events import EventStore
from pe_stream.storage.scores import ScoreStore
from pe_stream.web.daemon_view import Broker, DaemonView
from pe_stream.web.recent_embeddings import RecentEmbeddings
from pe_stream.web.server import Server

CONFIG = """\
node: Test
sources:
  kitchen: {microphone: default}
  porch: {microphone: other}
labels:
  # the neighbour's
  dog: {prompts: ["a dog barking"], threshold: 0.5}
  knock:
    sources: [kitchen]
"""

IDENTITY = "ab" * 32


def ask(url: str, **params: str) -> httpx.Response:
    """Get it, however busy the machine is."""
    return httpx.get(url, params=params, timeout=within(20))


def hints_of(prompts: Sequence[str]) -> list[PromptHint]:
    """Hints of a checkpoint that knows two words."""
    words = SoundWords(["dog", "barking"])
    return [hint for prompt in prompts if (hint := words.hint(prompt))]


def event_probe_of(text: str) -> OpinionProbe:
    """Looks at the first dimension of what was heard, and the second of what was seen."""
    if text == "away":
        raise UnavailableError("no second opinions at present: loading")
    if text == "refused":
        raise ConfigError("prompt 'refused' is too long")
    rows: dict[VectorKind, NDArray[np.float32]] = {
        "sound": np.array([1, 0], np.float32),
        "picture": np.array([0, 1], np.float32),
    }
    return OpinionProbe(IDENTITY, rows, {"sound": 0.0, "picture": 0.0})


@dataclass
class Standing:
    """What a test can reach into."""

    folder: Path
    file: ConfigFile
    store: EventStore
    history: ScoreStore
    clips: Clips
    recent: RecentEmbeddings
    memory: EmbeddingStore
    settings: Settings
    server: Server
    rules: dict[str, list[LabelRule]] = field(default_factory=dict)
    rules_as_set: dict[str, list[LabelRule]] | None = None
    edits: list[Edit] = field(default_factory=list)
    failed: list[BaseException] = field(default_factory=list)
    alive: bool = True
    version: str | None = None
    """Of what is in force; None is that of the file."""

    @property
    def url(self) -> str:
        return self.server.url

    def load(self) -> None:
        """Take the configuration as it is now, as after SIGHUP."""
        self.settings = load(self.file.path)
        self.rules = rules_of(self.settings)
        self.server.labels({}, {})

    def remember(
        self, told: Event, sound: float, picture: float | None = None, identity: str = IDENTITY
    ) -> None:
        """An event and its vectors, with these logits; see `event_probe_of`."""
        self.store.record(told, [])
        vectors: dict[VectorKind, NDArray[np.float16]] = {"sound": np.array([sound, 9], STORED)}
        if picture is not None:
            vectors["picture"] = np.array([9, picture], STORED)
        self.store.record_vectors(told.id, OpinionVectors("an old one", identity, vectors))
        self.store.no_clip("no event's")  # which waits until all before it is written

    def client(self, **options: Any) -> httpx.Client:
        headers = {"content-type": "application/json"} | options.pop("headers", {})
        return httpx.Client(base_url=self.url, headers=headers, timeout=within(20), **options)


@contextmanager
def standing(
    folder: Path, web: str = "", *, clips: bool = True, more: str = ""
) -> Iterator[Standing]:
    """Serve a house. web: keys of its section in YAML; more: other sections."""
    path = folder / "config.yaml"
    stores = f"history: {{path: {folder}/scores.db}}\nstore: {{path: {folder}/events.db}}\n"
    web = f"web: {{enabled: true, port: {free_port()}{web}}}\n"
    path.write_text(f"{CONFIG}{stores}{web}{more}", "utf-8")
    settings = load(path)
    store = EventStore(folder / "events.db", keep_days=30, limit=100)
    history = ScoreStore(HistorySettings(path=str(folder / "scores.db")))
    history.start()
    memory = EmbeddingStore(SearchSettings(enabled=True, folder=str(folder / "heard")))
    memory.start(IDENTITY, "level")
    kept = Clips(ClipSettings(enabled=clips, folder=str(folder / "clips")))
    kept.start()
    house_of: list[Standing] = []
    lock = threading.Lock()

    def change(edit: Edit, version: str) -> str:
        there = house_of[0]
        with lock:
            draft = there.file.draft(edit, version)
            rules = rules_of(draft.settings)
            told = there.file.write(draft)
            there.settings, there.rules = draft.settings, rules
            there.edits.append(edit)
            return told

    def compare(embeddings: FrameEmbeddings, text: str) -> NDArray[np.float32]:
        if text == "refused":
            raise ConfigError("prompt 'refused' is too long")
        return embeddings[:, 0].astype(np.float32)

    def probe(text: str) -> Probe:
        compare(np.zeros((1, 3), np.float16), text)
        return Probe(np.array([1, 0, 0], np.float32), 0.0, IDENTITY)

    recent = RecentEmbeddings()
    failed: list[BaseException] = []
    calibrations = Calibrations(
        ConfigFile(path),
        lambda: house_of[0].settings,
        lambda: house_of[0].version or house_of[0].file.version,
        failed.append,
    )
    house = DaemonView(
        checkpoint="level",
        settings=lambda: house_of[0].settings,
        health=lambda: {name: source_state() for name in house_of[0].settings.sources},
        alive=lambda: house_of[0].alive,
        rules=lambda: house_of[0].rules,
        rules_as_set=lambda: house_of[0].rules_as_set or house_of[0].rules,
        recommended={"dog": Recommended(0.7)},
        broker=lambda: Broker(connected=True, waiting=3),
        shortage=lambda: None,
        config=ConfigFile(path),
        version=lambda: house_of[0].file.version,
        change=change,
        compare=compare,
        probe=probe,
        event_probe=event_probe_of,
        hints=hints_of,
        report=lambda label: [f"what {label} takes for itself:", "  0.70  a kettle"],
        calibrations=calibrations,
        recent=recent,
        clips=kept,
        events=store,
        event_queries=EventQueries(folder / "events.db"),
        scores=history,
        embeddings=memory,
    )
    server = Server(settings.web, house, on_failure=failed.append)
    there = Standing(
        folder, ConfigFile(path), store, history, kept, recent, memory, settings, server
    )
    there.rules, there.failed = rules_of(settings), failed
    house_of.append(there)
    try:
        server.start()
        yield there
    finally:
        server.stop()
        calibrations.stop()
        kept.stop()
        memory.stop()
        history.stop()
        store.close()
        assert not failed


def rules_of(settings: Settings) -> dict[str, list[LabelRule]]:
    return {
        source: [label.rule(name) for name, label in settings.labels.items()]
        for source in settings.sources
    }


def source_state() -> dict[str, Any]:
    return {
        "state": "hearing",
        "since": "2026-11-21T02:15:49.320Z",
        "heard_s": 12.0,
        "lost_s": 0.0,
        "breaks_per_minute": 0.0,
        "engine": "ok",
        "engine_away_s": 0.0,
        "second_opinion": None,
        "picture": None,
        "flat_s": 0.0,
        "clipped_s": 0.0,
        "level_dbfs": -40.5,
        "rtf": 0.1,
        "store": "ok",
        "sound_level": {
            "at": "2026-11-21T02:16:01.320Z",
            "seconds": 1.0,
            "mean_dbfs": -40.5,
            "peak_dbfs": -21.0,
            "a_mean_dbfs": -44.1,
            "a_peak_dbfs": -25.0,
        },
    }
