"""All settings together, and what has to agree between their parts."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
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
from pe_stream.config.notifications import NotificationSettings
from pe_stream.config.search import SearchSettings
from pe_stream.config.sources import SourceSettings
from pe_stream.config.store import StoreSettings
from pe_stream.config.times import LocationSettings
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

    location: Annotated[
        LocationSettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=LocationSettings | None),
    ] = LocationSettings()
    """Where the house is, for times of day."""

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

    search: Annotated[
        SearchSettings,
        BeforeValidator(_none_is_empty, json_schema_input_type=SearchSettings | None),
    ] = SearchSettings()
    """What was heard, kept on disk to search in."""

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

    notifications: Annotated[
        dict[Name, NotificationSettings],
        BeforeValidator(
            _none_is_empty, json_schema_input_type=dict[Name, NotificationSettings] | None
        ),
    ] = Field(default_factory=dict)
    """Messages to people and other services, by name."""

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
            problems += _unknown(value, "sources", info.data["sources"])
        problems += _sunless(value, "schedule", info)
        problems += _sequences(value, info.data.get("sources"))
        labels: dict[str, LabelSettings] = _validated(handler, value, problems)
        return {name: label.named(name) for name, label in labels.items()}

    @field_validator("notifications", mode="wrap")
    @classmethod
    def _notifications_of_what_there_is(
        cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> dict[str, NotificationSettings]:
        problems = _sunless(value, "quiet", info)
        for key in ("labels", "sources", "except_quiet"):
            there = "sources" if key == "sources" else "labels"
            if there in info.data:
                problems += _unknown(value, key, info.data[there])
        problems += _clipless(value, info)
        notifications: dict[str, NotificationSettings] = _validated(handler, value, problems)
        return notifications

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


def _unknown(sections: object, key: str, known: Iterable[str]) -> list[InitErrorDetails]:
    """Sources or labels that a list `key` of a section names and that do not exist."""
    known = list(known)
    kind = "source" if key == "sources" else "label"
    problems: list[InitErrorDetails] = []
    for name, named in _lists(sections, key):
        for index, one in enumerate(named):
            if isinstance(one, str) and one not in known:
                unknown = PydanticCustomError(
                    "unknown_name",
                    "there is no {kind} {name}; {kind}s: {known}",
                    {"kind": kind, "name": repr(one), "known": ", ".join(known) or "none"},
                )
                problems.append(InitErrorDetails(type=unknown, loc=(name, key, index), input=one))
    return problems


def _sunless(sections: object, key: str, info: ValidationInfo) -> list[InitErrorDetails]:
    """Times of day by the sun, in the spans of a list `key` of a section, of no known place."""
    if "location" not in info.data or info.data["location"].has_sun:
        return []
    problems: list[InitErrorDetails] = []
    for name, spans in _lists(sections, key):
        for index, span in enumerate(spans):
            for end, attribute in (("from", "begin"), ("to", "end")):
                time = _get(span, end, attribute)
                if isinstance(time, str) and time.startswith(("sunrise", "sunset")):
                    unknown = PydanticCustomError(
                        "unknown_location",
                        "sunrise and sunset need `location`, with latitude and longitude",
                    )
                    loc = (name, key, index, end)
                    problems.append(InitErrorDetails(type=unknown, loc=loc, input=time))
    return problems


def _sequences(
    labels: object, sources: Mapping[str, SourceSettings] | None
) -> list[InitErrorDetails]:
    """Patterns that wait for a label which is not there, not heard there, or waits for them."""
    if not isinstance(labels, Mapping):
        return []
    then = {name: _get(_get(label, "pattern"), "then") for name, label in labels.items()}
    problems: list[InitErrorDetails] = []
    for name, other in then.items():
        if not isinstance(other, str):
            continue
        chain = [name, other]
        while isinstance(after := then.get(chain[-1]), str) and chain[-1] not in chain[:-1]:
            chain.append(after)
        said = _unheard(labels, name, other, sources)
        if chain[-1] == name:
            said = f"waits for itself: {' -> '.join(chain)}"
        if said is not None:
            error = PydanticCustomError("sequence", "{said}", {"said": said})
            loc = (name, "pattern", "then")
            problems.append(InitErrorDetails(type=error, loc=loc, input=other))
    return problems


def _unheard(
    labels: Mapping[Any, object],
    name: str,
    other: str,
    sources: Mapping[str, SourceSettings] | None,
) -> str | None:
    """Why a sequence of the label `name` could never see an event of `other`."""
    if other not in labels:
        known = ", ".join(str(label) for label in labels)
        return f"there is no label {other!r}; labels: {known}"
    everywhere = list(sources or ())
    mine, theirs = (_get(labels[label], "sources") or everywhere for label in (name, other))
    deaf = [str(source) for source in mine if source not in theirs]
    if deaf and theirs:
        return f"{other!r} does not listen to {', '.join(deaf)}: both must be heard there"
    return None


def _clipless(sections: object, info: ValidationInfo) -> list[InitErrorDetails]:
    """Notifications that would wait for clips which are not made."""
    clips = info.data.get("clips")
    if clips is None or clips.enabled:
        return []
    none = PydanticCustomError("no_clips", "there are no clips: set clips.enabled to true")
    return [
        InitErrorDetails(type=none, loc=(name, "clip"), input=True)
        for name, section in (sections.items() if isinstance(sections, Mapping) else ())
        if _get(section, "clip") is True
    ]


def _lists(sections: object, key: str) -> Iterator[tuple[str, list[Any] | tuple[Any, ...]]]:
    """The list `key` of each section that has one."""
    for name, section in sections.items() if isinstance(sections, Mapping) else ():
        found = _get(section, key)
        if isinstance(found, list | tuple):
            yield name, found


def _get(section: object, key: str, attribute: str | None = None) -> Any:
    """What a section has at `key`, read from a file or made in Python."""
    if isinstance(section, Mapping):
        return section.get(key)
    return getattr(section, attribute or key, None)
