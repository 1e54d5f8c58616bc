"""All settings together, and what has to agree between their parts."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from pe_stream.config import agreement
from pe_stream.config.clips import ClipSettings
from pe_stream.config.history import HistorySettings
from pe_stream.config.home_assistant import HomeAssistantSettings
from pe_stream.config.labels import LabelSettings
from pe_stream.config.levels import LevelSettings
from pe_stream.config.metrics import MetricsSettings
from pe_stream.config.model import ModelSettings
from pe_stream.config.mqtt import MqttSettings
from pe_stream.config.notifications import NotificationSettings
from pe_stream.config.search import SearchSettings
from pe_stream.config.second_opinion import SecondOpinionSettings
from pe_stream.config.sources import SourceSettings
from pe_stream.config.store import StoreSettings
from pe_stream.config.times import LocationSettings
from pe_stream.config.values import LabelName, Name, Section, none_is_empty
from pe_stream.config.web import WebSettings
from pe_stream.errors import ConfigError

MOST_SOURCES = 500
"""Ten times what was tried on one machine; each takes a thread, and a process or connection."""

MOST_LABELS = 2000
"""Four times the classes of AudioSet; each is a column of every score, and a topic per source."""

MOST_PROMPTS_IN_ALL = 20_000
"""Prompts of all labels, those that suppress included: minutes of a start, with a large model."""


def default_node() -> str:
    """Name of a node that nobody named: the host name."""
    return socket.gethostname()


class Settings(Section):
    """All settings of a daemon."""

    node: Name = Field(default_factory=default_node, validate_default=True)
    """Name of this machine in topics and events; default: its host name."""

    location: Annotated[
        LocationSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=LocationSettings | None),
    ] = LocationSettings()
    """Where the house is, for times of day."""

    model: Annotated[
        ModelSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=ModelSettings | None),
    ] = ModelSettings()
    """What hears, and how often."""

    sources: Annotated[
        dict[Name, SourceSettings],
        BeforeValidator(none_is_empty, json_schema_input_type=dict[Name, SourceSettings] | None),
    ] = Field(default_factory=dict, max_length=MOST_SOURCES)
    """Where sound comes from, by name; at most 500."""

    labels: Annotated[
        dict[
            LabelName,
            Annotated[
                LabelSettings,
                BeforeValidator(none_is_empty, json_schema_input_type=LabelSettings | None),
            ],
        ],
        Field(min_length=1, max_length=MOST_LABELS),
    ]
    """Sounds to listen for, by name; at least one, at most 2000, with 20,000 prompts in all."""

    mqtt: Annotated[
        MqttSettings, BeforeValidator(none_is_empty, json_schema_input_type=MqttSettings | None)
    ] = MqttSettings()
    """Where events go."""

    store: Annotated[
        StoreSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=StoreSettings | None),
    ] = StoreSettings()
    """Events kept on disk."""

    history: Annotated[
        HistorySettings,
        BeforeValidator(none_is_empty, json_schema_input_type=HistorySettings | None),
    ] = HistorySettings()
    """Scores kept on disk."""

    search: Annotated[
        SearchSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=SearchSettings | None),
    ] = SearchSettings()
    """What was heard, kept on disk to search in."""

    levels: Annotated[
        LevelSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=LevelSettings | None),
    ] = LevelSettings()
    """Level sensors."""

    clips: Annotated[
        ClipSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=ClipSettings | None),
    ] = ClipSettings()
    """Audio kept with events."""

    second_opinion: SecondOpinionSettings | None = None
    """Another model's opinion on events; default: none, and none is asked."""

    home_assistant: Annotated[
        HomeAssistantSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=HomeAssistantSettings | None),
    ] = HomeAssistantSettings()
    """How we show in Home Assistant."""

    notifications: Annotated[
        dict[Name, NotificationSettings],
        BeforeValidator(
            none_is_empty, json_schema_input_type=dict[Name, NotificationSettings] | None
        ),
    ] = Field(default_factory=dict)
    """Messages to people and other services, by name."""

    web: Annotated[
        WebSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=WebSettings | None),
    ] = WebSettings()
    """The page and its API."""

    metrics: Annotated[
        MetricsSettings,
        BeforeValidator(none_is_empty, json_schema_input_type=MetricsSettings | None),
    ] = MetricsSettings()
    """Figures for Prometheus."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least serious messages that are logged."""

    def require_sources(self) -> None:
        """Raise ConfigError where there is nothing to listen to."""
        if not self.sources:
            raise ConfigError(
                "sources: there is none; add one, for example `kitchen: {microphone: default}` "
                "(`pe-stream devices` lists microphones)"
            )

    def with_reloadable(self, wanted: Settings) -> Self:
        """These settings with all of others that a daemon takes while it runs."""
        sources = {
            name: spec.filtered_as(wanted.sources.get(name, spec))
            for name, spec in self.sources.items()
        }
        web = self.web.model_copy(update={"listen": wanted.web.listen})
        return self.model_copy(update={"labels": wanted.labels, "sources": sources, "web": web})

    def hears(self, source: str, label: str) -> bool:
        """Whether `label` listens to `source`, enabled or not; both must exist."""
        sources = self.labels[label].sources
        return sources is None or source in sources

    def has_opinion(self, label: str) -> bool:
        """Whether events of `label` get a second opinion: of a label without words there is none.

        False for a label that there is not.
        """
        wanted = self.second_opinion is not None and self.second_opinion.wants(label)
        return wanted and label in self.labels and bool(self.labels[label].prompts)

    @property
    def asked_labels(self) -> dict[str, LabelSettings]:
        """Labels whose events get a second opinion, by name."""
        return {name: label for name, label in self.labels.items() if self.has_opinion(name)}

    def labels_of(self, source: str) -> dict[str, LabelSettings]:
        """Labels that listen to `source`, by name, in order; also those not enabled."""
        return {name: label for name, label in self.labels.items() if self.hears(source, name)}

    @field_validator("sources", mode="wrap")
    @classmethod
    def _sources_apart(
        cls, value: object, handler: ValidatorFunctionWrapHandler
    ) -> dict[str, SourceSettings]:
        sources: dict[str, SourceSettings] = _validated(
            handler, value, agreement.slug_clashes(value)
        )
        return sources

    @field_validator("labels", mode="wrap")
    @classmethod
    def _labels_apart(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, LabelSettings]:
        problems = agreement.slug_clashes(value)
        if "sources" in info.data:
            problems += agreement.unknown_names(value, "sources", info.data["sources"])
        problems += agreement.sunless(value, "schedule", info)
        problems += agreement.sequences(value, info.data.get("sources"))
        labels: dict[str, LabelSettings] = _validated(handler, value, problems)
        prompts = sum(len((*each.prompts, *each.negatives, *each.see)) for each in labels.values())
        if prompts > MOST_PROMPTS_IN_ALL:
            raise ValueError(
                f"there are {prompts} prompts in all, more than {MOST_PROMPTS_IN_ALL}: "
                "give each label fewer"
            )
        return {name: label.named(name) for name, label in labels.items()}

    @field_validator("notifications", mode="wrap")
    @classmethod
    def _notifications_of_what_there_is(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, NotificationSettings]:
        problems = agreement.sunless(value, "quiet", info)
        for key in ("labels", "sources", "except_quiet"):
            there = "sources" if key == "sources" else "labels"
            if there in info.data:
                problems += agreement.unknown_names(value, key, info.data[there])
        problems += agreement.clipless(value, info)
        problems += agreement.opinionless(value, info)
        notifications: dict[str, NotificationSettings] = _validated(handler, value, problems)
        return notifications

    @field_validator("second_opinion")
    @classmethod
    def _opinions_of_labels_there_are(
        cls, value: SecondOpinionSettings | None, info: ValidationInfo
    ) -> SecondOpinionSettings | None:
        there = info.data.get("labels")
        if value is not None and there is not None:
            _require_labels("labels", value.labels or (), there)
        return value

    @field_validator("clips")
    @classmethod
    def _clips_of_labels_there_are(cls, value: ClipSettings, info: ValidationInfo) -> ClipSettings:
        labels = info.data.get("labels")
        named = {"labels": value.labels or (), "never_when": value.never_when}
        for key, names in (named | {"keep_days_of": tuple(value.keep_days_of)}).items():
            if labels is not None:
                _require_labels(key, names, labels)
        return value

    @model_validator(mode="after")
    def _pictures_are_looked_at(self) -> Self:
        problems = agreement.unlooked_at(self.sources, self.second_opinion)
        if problems:
            raise ValidationError.from_exception_data("settings", problems, hide_input=True)
        return self


def config_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the configuration, for editors."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | Settings.model_json_schema() | {"title": "pe_stream configuration"}


def _require_labels(key: str, names: Iterable[str], there: Iterable[str]) -> None:
    known = list(there)
    for name in names:
        if name not in known:
            raise ValueError(f"{key}: there is no label {name!r}; labels: {', '.join(known)}")


def _validated(
    handler: ValidatorFunctionWrapHandler,
    value: object,
    problems: list[InitErrorDetails],
) -> Any:
    """What `handler` makes of `value`; raises its errors and `problems` together."""
    result = None
    try:
        result = handler(value)
    except ValidationError as error:
        problems = [
            InitErrorDetails(
                type=details["type"],
                loc=details["loc"],
                input=details["input"],
                ctx=details.get("ctx", {}),
            )
            for details in error.errors()
        ] + problems
    if problems:
        raise ValidationError.from_exception_data("settings", problems, hide_input=True)
    return result
