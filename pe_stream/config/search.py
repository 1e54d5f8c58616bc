"""Settings of what is kept to search in what was heard."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pe_stream.config.values import PathText, Section


class SearchSettings(Section):
    """What was heard, 0.4 s by 0.4 s, as the model understands it; no audio."""

    enabled: bool = False
    """Whether it is kept, for `pe-stream search` and the page. Whoever can read the folder, or may
    see the page, can then ask for any sound of the last days, also of those nobody had a label for;
    and with a checkpoint that is not the embedded one it is 220 MB a day and source."""

    folder: PathText | None = None
    """Folder; default: `heard` in the service's or the user's state folder."""

    keep_days: Annotated[float, Field(gt=0, le=36500)] = 7.0
    """Days after which it is forgotten. A day of a source takes 45 MB with the embedded checkpoint,
    225 MB with the published ones."""

    max_gb: Annotated[float, Field(ge=0.01, le=100_000)] = 2.0
    """Gigabytes of the folder; beyond, the oldest hours are forgotten."""
