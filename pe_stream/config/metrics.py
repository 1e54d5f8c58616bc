"""Settings of the metrics endpoint."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pe_stream.config.values import Host, Section


class MetricsSettings(Section):
    """Figures for Prometheus, over HTTP and without encryption or a password."""

    enabled: bool = False
    """Whether there is an endpoint, http://HOST:PORT/metrics."""

    host: Host = "127.0.0.1"
    """Address to listen on; 0.0.0.0 lets the whole network read."""

    port: Annotated[int, Field(ge=1, le=65535)] = 9464
    """Port to listen on."""
