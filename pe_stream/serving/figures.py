"""Figures of an engine for Prometheus, by tenant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from pe_stream.serving.work import Work

KIND = CONTENT_TYPE_PLAIN_0_0_4
"""The content type of `exposition`."""

_COUNTS = {
    "windows": "Windows that were scored.",
    "wanted_whole": "Windows whose whole sound was wanted, as what was known did not reach.",
    "refused": "Requests for which there was no room or time, or that were wrong.",
}


def exposition(replica: str, works: Mapping[str, Work], streams: Mapping[str, int]) -> bytes:
    """Figures of tenants, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Figures(replica, works, streams))
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, replica: str, works: Mapping[str, Work], streams: Mapping[str, int]) -> None:
        self._replica, self._works, self._streams = replica, works, streams

    def collect(self) -> Iterator[Metric]:
        for name, meaning in _COUNTS.items():
            made = CounterMetricFamily(
                f"pe_stream_engine_{name}", meaning, labels=["replica", "tenant"]
            )
            for tenant, work in self._works.items():
                made.add_metric([self._replica, tenant], work.counts()[name])
            yield made
        held = GaugeMetricFamily(
            "pe_stream_engine_streams", "Streams that are known.", labels=["replica", "tenant"]
        )
        for tenant in self._works:
            held.add_metric([self._replica, tenant], self._streams.get(tenant, 0))
        yield held
