"""The labels in force: of the configuration, edited, reloaded, set over MQTT, by the clock.

With a reload come, too, gain and filters of sources, and whether one may listen live.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from pe_stream.config import Settings, SourceSettings, local_time
from pe_stream.config.edit import ConfigFile, ConflictError, Draft, Edit, NotWritableError
from pe_stream.config.local_time import LocalTime
from pe_stream.config.worker import Worker
from pe_stream.core.messages import slug
from pe_stream.core.prompt_words import PromptHint
from pe_stream.core.types import LabelRule
from pe_stream.daemon.watchdog import tell_systemd
from pe_stream.errors import PeStreamError, UnavailableError, UnfinishedError
from pe_stream.labels.prepare import PreparedLabels, prepare_labels
from pe_stream.labels.prompt_hints import PromptHints
from pe_stream.labels.schedules import Schedules
from pe_stream.outputs.mqtt import SetCommand
from pe_stream.outputs.shortage import shortage
from pe_stream.pipeline.live import Live
from pe_stream.pipeline.scorer import Scorer

log = logging.getLogger(__name__)

TURN_S = 5.0
"""An edit waits so long for the one before it, or for a reload."""

ADOPT_S = 10.0
"""And so long for the end of a scoring: before anything is written, and for what was to be in
force, which is between two scorings."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Labels as of a moment, and schedules that begin then."""

    labels: PreparedLabels
    schedules: Schedules


def labels_by_source(settings: Settings) -> dict[str, list[str]]:
    """The labels that each source is listened to for."""
    return {source: list(settings.labels_of(source)) for source in settings.sources}


class ActiveLabels:
    """Changes labels while everything goes on; safe to use from any thread.

    settings: what is in force, or is between this scoring and the next; only its labels, what is
    done to the sound of its sources, and `web.listen` ever change. version: of the file it is from.
    """

    def __init__(
        self,
        settings: Settings,
        scorer: Scorer,
        live: Live,
        local: LocalTime,
        at: datetime,
        *,
        file: ConfigFile | None,
        version: str,
        read: Callable[[], Settings],
        on_failure: Callable[[BaseException], None],
        refilter: Callable[[Mapping[str, SourceSettings]], None] = lambda _: None,
    ) -> None:
        """Begin with the labels that `live` has, at a moment (aware).

        file: where the page may edit them. read: reads the configuration again; raises
        ConfigError where it is wrong. refilter: sets gain and filters of sources. on_failure:
        called with what ended a thread, if that was an error of ours. Raises ConfigError where a
        schedule cannot be followed.
        """
        self.settings = settings
        self.version = version
        self._scorer = scorer
        self._live = live
        self._local = local
        self._file = file
        self._read = read
        self._on_failure = on_failure
        self._refilter = refilter
        # One change of all labels at a time, however long its prompts take to embed; and the
        # moment in which it is made.
        self._changing, self._taking = threading.Lock(), threading.Lock()
        self._none_waits = threading.Semaphore()
        self._to_reload = False  # set on any thread, seen to on the main one
        self._schedules = self._schedules_of(settings, at)
        self._hints = PromptHints(words_known=scorer.checkpoint.words_known)
        self._tell_hints(settings)

    def reload(self) -> None:
        """Reload labels, prompts and thresholds from the configuration, if it is valid.

        On the main thread; it is done on a thread of its own, as embedding prompts and examples
        takes a while.
        """
        self._to_reload = False
        if self._none_waits.acquire(blocking=False):
            try:
                Worker("reload", self._reload_in_turn, self._on_failure).start()
            except UnavailableError as error:
                self._none_waits.release()
                self._to_reload = True
                log.error("not reloaded yet, trying again: %s", error)  # noqa: TRY400 - expected; its message is enough

    def retry(self) -> None:
        """Reload where it could not be begun; on the main thread."""
        if self._to_reload:
            self.reload()

    def edit(self, edit: Edit, version: str) -> str:
        """Change a label in the configuration file and go on with it; see `DaemonView.change`.

        What MQTT has set of other labels stays. On a thread of the page, which waits for it.
        """
        file = self._file
        if file is None:
            raise NotWritableError("the labels are not in a file")
        with self._turn():
            try:
                draft = file.draft(edit, version)
                prepared = self._prepared(draft.settings)
                self._live.ready(ADOPT_S)  # else it would be written, and not in force
                over = self._take_edit(file, edit, draft, prepared)
            except ConflictError:
                self._take_anew(ADOPT_S)  # what was saved by hand comes into force
                raise
            try:
                over.result(ADOPT_S)
            except (TimeoutError, CancelledError):
                raise UnfinishedError(
                    f"{file.path.name} is saved, and comes into force after the scoring that goes "
                    "on, or at the next start"
                ) from None
            return self.version

    def hints(self, prompts: Sequence[str]) -> list[PromptHint]:
        """What is odd about prompts; on any thread."""
        return self._hints.of(prompts)

    def set(self, source_slug: str, label_slug: str, command: SetCommand) -> None:
        """Obey a `set` message; on the MQTT thread."""
        source = _by_slug(self.settings.sources, source_slug)
        label = _by_slug(self.settings.labels, label_slug)
        if source is None or label is None or not self.settings.hears(source, label):
            log.warning("set: no source %s that listens for %s", source_slug, label_slug)
            return
        try:
            self._live.set_rule(source, label, command.threshold, enabled=command.enabled)
        except PeStreamError as error:
            log.error("set: %s %s: %s", source, label, error)  # noqa: TRY400 - expected; its message is enough
        else:
            changes = {"threshold": command.threshold, "enabled": command.enabled}
            said = ", ".join(f"{key} {to}" for key, to in changes.items() if to is not None)
            log.info("set: %s %s: %s", source, label, said)

    def follow(self, at: datetime) -> None:
        """Put labels under the rules of that moment (aware); on the main thread. Never waits.

        What is left, where labels are just being changed, is done the next time. Raises
        UnavailableError once scoring has ended.
        """
        if self._taking.acquire(blocking=False):
            try:
                self._schedules.follow(at, self._switch)
            finally:
                self._taking.release()

    def _reload_in_turn(self) -> None:
        with self._changing:
            self._none_waits.release()  # what is changed from now on is another reload's
            tell_systemd("RELOADING=1")
            self._take_anew(None)
            tell_systemd("READY=1")

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._changing.acquire(timeout=TURN_S):
            raise UnavailableError("the labels are just being changed or reloaded; try again")
        try:
            yield
        finally:
            self._changing.release()

    def _take_anew(self, patience_s: float | None) -> None:
        """Reload, or say why not. patience_s: how long a scoring may take; None is as it takes."""
        try:
            version = self._file.version if self._file else ""
            wanted = self._read()
            prepared = self._prepared(wanted)
            self._live.ready(patience_s)  # so that one change waits, however often this is asked
            with self._taking:
                self.version = version
                self._adopt(wanted, prepared, keep=())
            log.info("reloaded: %d labels", len(wanted.labels))
            self._tell_hints(wanted)
        except PeStreamError as error:
            # What had run out is no fault of the file: it is read again when that has passed.
            self._to_reload = self._to_reload or shortage(error.__context__) is not None
            log.error("not reloaded, the labels stay as they were: %s", error)  # noqa: TRY400 - expected; its message is enough

    def _take_edit(
        self, file: ConfigFile, edit: Edit, draft: Draft, prepared: _Prepared
    ) -> Future[None]:
        with self._taking:
            # What is kept goes on as it is due, not as it was.
            self._schedules.follow(local_time.now(), self._switch)
            self.version = file.write(draft)
            now, wanted = self.settings.labels, draft.settings.labels
            same = {name for name in wanted if name != edit.label and now.get(name) == wanted[name]}
            log.info("labels.%s was changed over the page", edit.label)
            return self._adopt(draft.settings, prepared, keep=same)

    def _prepared(self, wanted: Settings) -> _Prepared:
        """Other labels, made ready; raises ConfigError."""
        at = local_time.now()
        schedules = self._schedules_of(wanted, at)
        holds = partial(self._local.holds, at=at)
        return _Prepared(prepare_labels(self._scorer.checkpoint, wanted.labels, holds), schedules)

    def _adopt(
        self, wanted: Settings, prepared: _Prepared, *, keep: Collection[str]
    ) -> Future[None]:
        """Go on with other labels. keep: those whose rules stay as they are in force.

        Returns what is done when they are in force.
        """
        settings = self.settings.with_reloadable(wanted)
        for part in sorted(type(wanted).model_fields):
            if getattr(wanted, part) != getattr(settings, part):
                log.warning("%s has changed in the configuration: that needs a restart", part)
        self._refilter(settings.sources)
        # First, as whoever is told that they are in force may ask for them.
        self.settings, self._schedules = settings, prepared.schedules
        return self._live.change(prepared.labels, settings.hears, keep=keep)

    def _tell_hints(self, settings: Settings) -> None:
        """Say which prompts the scores may say nothing about, once; no two threads at a time."""
        for name, hints in self._hints.untold(settings.labels):
            log.warning("labels.%s: %s", name, hints)

    def _schedules_of(self, settings: Settings, at: datetime) -> Schedules:
        recommended = self._scorer.checkpoint.recommended
        return Schedules(settings.labels, recommended, self._local, at)

    def _switch(self, label: str, rule: LabelRule) -> None:
        """Put a label under another rule wherever it is listened for."""
        settings = self.settings
        listening = [source for source in settings.sources if settings.hears(source, label)]
        self._live.put_under(rule, listening)
        state = f"threshold {rule.threshold:g}" if rule.enabled else "off"
        log.info("by the clock: %s: %s", label, state)


def _by_slug(names: Iterable[str], wanted: str) -> str | None:
    return next((name for name in names if slug(name) == wanted), None)
