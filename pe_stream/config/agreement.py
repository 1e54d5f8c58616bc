"""What has to agree between parts of the settings; what does not, as errors of pydantic's.

Each takes a section as it was read from a file or made in Python, not validated yet, so that all
that is wrong is told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from pe_stream.config.second_opinion import SecondOpinionSettings
from pe_stream.config.sources import SourceSettings
from pe_stream.core.messages import slug

SPARE_S = 2.0
"""Pictures are looked for so long (s) after the last of them has come."""


def slug_clashes(sections: object) -> list[InitErrorDetails]:
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


def unknown_names(sections: object, key: str, known: Iterable[str]) -> list[InitErrorDetails]:
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


def sunless(sections: object, key: str, info: ValidationInfo) -> list[InitErrorDetails]:
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


def sequences(
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


def clipless(sections: object, info: ValidationInfo) -> list[InitErrorDetails]:
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


def opinionless(sections: object, info: ValidationInfo) -> list[InitErrorDetails]:
    """Notifications that would wait for second opinions where none are asked for."""
    if info.data.get("second_opinion", ...) is not None:  # not in it where it is wrong itself
        return []
    none = PydanticCustomError(
        "no_opinions", "there are no second opinions: set second_opinion.checkpoint"
    )
    return [
        InitErrorDetails(type=none, loc=(name, "min_opinion"), input=value)
        for name, section in (sections.items() if isinstance(sections, Mapping) else ())
        if (value := _get(section, "min_opinion")) is not None
    ]


def unlooked_at(
    sources: Mapping[str, SourceSettings], second: SecondOpinionSettings | None
) -> list[InitErrorDetails]:
    """Pictures that nobody would look at, or that are gone before anybody does."""
    problems: list[InitErrorDetails] = []
    for name, source in sources.items():
        picture = source.picture
        if picture is None:
            continue
        if second is None:
            said = "pictures are for second opinions: set second_opinion.checkpoint"
            loc: tuple[str, ...] = ("sources", name, "picture")
        elif (least_s := second.before_s + second.after_s + SPARE_S) > picture.keep_s:
            said = f"second opinions look at pictures of {least_s:g} s: keep as many, or more"
            loc = ("sources", name, "picture", "keep_s")
        else:
            continue
        error = PydanticCustomError("pictures", "{said}", {"said": said})
        problems.append(InitErrorDetails(type=error, loc=loc, input=None))
    return problems


def _lists(sections: object, key: str) -> Iterator[tuple[str, list[Any] | tuple[Any, ...]]]:
    """The list `key` of each section that has one."""
    for name, section in sections.items() if isinstance(sections, Mapping) else ():
        found = _get(section, key)
        if isinstance(found, list | tuple):
            yield name, found


def _get(section: object, key: str, attribute: str | None = None) -> Any:
    """The value of a section at `key`, whether read from a file or made in Python."""
    if isinstance(section, Mapping):
        return section.get(key)
    return getattr(section, attribute or key, None)
