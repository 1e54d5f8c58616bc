"""Settings of how we show in Home Assistant."""

from __future__ import annotations

from pe_stream.config.values import Section, TopicPrefix


class HomeAssistantSettings(Section):
    """MQTT discovery: a device for each source, without configuring anything there."""

    enabled: bool = False
    """Whether Home Assistant is told what there is."""

    prefix: TopicPrefix = "homeassistant"
    """Its discovery prefix, as set there."""
