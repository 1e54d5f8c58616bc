"""Settings of the scores kept on disk."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pe_stream.config.values import PathText, Section


class HistorySettings(Section):
    """Scores of every label on disk, frame by frame; no audio."""

    enabled: bool = True
    """Whether scores are kept; without, nothing can be said about what another threshold would
    have made of the last days, and events have no curve."""

    path: PathText | None = None
    """File of the database; default: `scores.db` in the service's or the user's state folder."""

    keep_days: Annotated[float, Field(gt=0, le=36500)] = 7.0
    """Days after which scores are forgotten. A day of a label takes about 1.6 MB."""

    max_gb: Annotated[float, Field(ge=0.01, le=100_000)] = 2.0
    """Gigabytes of the database; beyond, the oldest scores are forgotten."""
