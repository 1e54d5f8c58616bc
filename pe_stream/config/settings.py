"""All settings together, and what has to agree between their parts."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from pe_stream.config.clips import ClipSettings
from pe_stream.config.history import HistorySettings
from pe_stream.config.home_assistant import HomeAssistantSettings
from pe_stream.config.labels import LabelSettings
from pe_stream.config.metrics import MetricsSettings
from pe_stream.config.model import ModelSettings
from pe_stream.config.mqtt import MqttSettings
from pe_stream.config.sources import SourceSettings
from pe_stream.config.store import StoreSettings
from pe_stream.config.values import LabelName, Name, Section
from pe_stream.config.web import WebSettings
from pe_stream.core.messages import slug
from pe_stream.errors import ConfigError


def default_node() -> str:
    """Name of a node that nobody named: the host name."""
    return socket.gethostname()


def _none_is_empty(value: object) -> object:
    """A section whose keys are all commented out reads as null."""
    return {} if value is None else value


class Settings(Section):
    """All settings of a daemon."""

    node: Name = Field(default_factory=default_node, validate_default=True)
    """Name of this machine in topics and events; default: its host name."""

    model: Annotated[
        ModelSettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=ModelSettings | None),
    ] = ModelSettings()
    """What hears, and how often."""

    sources: Annotated[
        dict[Name, SourceSettings],
        BeforeValidator(_none_is_empty, json_schema_input_type=dict[Name, SourceSettings] | None),
    ] = Field(default_factory=dict)
    """Where sound comes from, by name."""

    labels: Annotated[
        dict[
            LabelName,
            Annotated[
                LabelSettings,
                BeforeValidator(_none_is_empty, json_schema_input_type=LabelSettings | None),
            ],
        ],
        Field(min_length=1),
    ]
    """Sounds to listen for, by name; at least one."""

    mqtt: Annotated[
        MqttSettings, BeforeValidator(_none_is_empty, json_schema_input_type=MqttSettings | None)
    ] = MqttSettings()
    """Where events go."""

    store: Annotated[
        StoreSettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=StoreSettings | None),
    ] = StoreSettings()
    """Events kept on disk."""

    history: Annotated[
        HistorySettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=HistorySettings | None),
    ] = HistorySettings()
    """Scores kept on disk."""

    clips: Annotated[
        ClipSettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=ClipSettings | None),
    ] = ClipSettings()
    """Audio kept with events."""

    home_assistant: Annotated[
        HomeAssistantSettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=HomeAssistantSettings | None),
    ] = HomeAssistantSettings()
    """How we show in Home Assistant."""

    web: Annotated[
        WebSettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=WebSettings | None),
    ] = WebSettings()
    """The page and its API."""

    metrics: Annotated[
        MetricsSettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=MetricsSettings | None),
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

    def hears(self, source: str, label: str) -> bool:
        """Whether `label` listens to `source`, enabled or not; both must exist."""
        sources = self.labels[label].sources
        return sources is None or source in sources

    def labels_of(self, source: str) -> dict[str, LabelSettings]:
        """Labels that listen to `source`, by name, in order; also those not enabled."""
        return {name: label for name, label in self.labels.items() if self.hears(source, name)}

    @field_validator("sources", mode="wrap")
    @classmethod
    def _sources_apart(
        cls, value: object, handler: ValidatorFunctionWrapHandler
    ) -> dict[str, SourceSettings]:
        sources: dict[str, SourceSettings] = _validated(handler, value, _slug_clashes(value))
        return sources

    @field_validator("labels", mode="wrap")
    @classmethod
    def _labels_apart(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, LabelSettings]:
        problems = _slug_clashes(value)
        if "sources" in info.data:
            problems += _unknown_sources(value, info.data["sources"])
        labels: dict[str, LabelSettings] = _validated(handler, value, problems)
        return {name: label.named(name) for name, label in labels.items()}

    @field_validator("clips")
    @classmethod
    def _clips_of_labels_there_are(cls, value: ClipSettings, info: ValidationInfo) -> ClipSettings:
        labels = info.data.get("labels")
        named = {"labels": value.labels or (), "never_when": value.never_when}
        for key, names in (named | {"keep_days_of": tuple(value.keep_days_of)}).items():
            for name in names:
                if labels is not None and name not in labels:
                    known = ", ".join(labels)
                    raise ValueError(f"{key}: there is no label {name!r}; labels: {known}")
        return value


def config_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the configuration, for editors."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return dialect | Settings.model_json_schema() | {"title": "pe_stream configuration"}


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


def _slug_clashes(sections: object) -> list[InitErrorDetails]:
    """Names that would share their MQTT topics."""
    problems: list[InitErrorDetails] = []
    first: dict[str, str] = {}
    for name in sections if isinstance(sections, Mapping) else ():
        part = slug(name) if isinstance(name, str) else ""
        other = first.setdefault(part, name)
        if part and other != name:
            clash = PydanticCustomError(
                "slug_clash",
                "{name} and {other} are both {part} in MQTT topics: rename one of them",
                {"name": repr(name), "other": repr(other), "part": repr(part)},
            )
            problems.append(InitErrorDetails(type=clash, loc=(name,), input=name))
    return problems


def _unknown_sources(labels: object, sources: Iterable[str]) -> list[InitErrorDetails]:
    """Sources that labels name and that do not exist."""
    known = list(sources)
    problems: list[InitErrorDetails] = []
    for label, settings in labels.items() if isinstance(labels, Mapping) else ():
        is_raw = isinstance(settings, Mapping)
        named = settings.get("sources") if is_raw else getattr(settings, "sources", None)
        for index, source in enumerate(named if isinstance(named, list | tuple) else ()):
            if isinstance(source, str) and source not in known:
                unknown = PydanticCustomError(
                    "unknown_source",
                    "there is no source {source}; sources: {known}",
                    {"source": repr(source), "known": ", ".join(known) or "none"},
                )
                problems.append(
                    InitErrorDetails(type=unknown, loc=(label, "sources", index), input=source)
                )
    return problems
