"""What a cluster of Ray is told: the configuration of Serve, and the environment of its nodes."""

from __future__ import annotations

import shlex
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

from pe_stream.config.addresses import is_loopback
from pe_stream.errors import ConfigError

DEPLOYMENT = "engine"
IMPORT_PATH = "pe_stream.serving.cluster:application"

MOST_REQUESTS = 1000
"""Requests that a replica takes at a time: more than there are lanes, so that all wait in its own
queue, which is in the order of their age and never longer than the lanes are many."""

_ONE_NODE = """# For one node: ways in don't reach replicas on others. With more:
# --host 0.0.0.0 --tokens FILE.
"""

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - who asks for it has to give tokens
"""All addresses of a machine."""

ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    # Serve has no setting for the second line, and writes this one as it is.
    "RAY_SERVE_HAPROXY_BALANCE_ALGORITHM": "hdr(x-session-id)\n    hash-type consistent",
    "RAY_SERVE_HAPROXY_RETRIES": "3",
    "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
    "RAY_ROTATION_MAX_BYTES": "10000000",
    "RAY_ROTATION_BACKUP_COUNT": "3",
}
"""Of everything of Ray's on every node: who may run code is asked for a token, nothing is sent to
Ray's makers, requests of a session go to the same replica, logs are bounded."""


class ReplicaSettings(BaseModel):
    """What a replica is; paths are on its node. streams: most that it knows at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    checkpoint: str
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    tokens: str | None = None
    streams: int = 4096


def configuration(
    replica: ReplicaSettings, *, host: str, port: int, replicas: int, gpus: float, proxies: str
) -> str:
    """The YAML for `serve deploy`.

    host, port: where the ways in listen. Replicas have the same host, and ways in on other nodes
    reach them by their nodes' addresses: it is all addresses, or a loopback one where there is one
    node. gpus: of a replica. proxies: EveryNode or HeadOnly. Raises ConfigError where host is
    another, or where anybody at all might ask.
    """
    if not is_loopback(host) and host not in EVERYWHERE:
        raise ConfigError(
            f"--host {host} is one node's, and every node listens there: "
            f"give {EVERYWHERE[0]}, or nothing where there is one node only"
        )
    if replica.tokens is None and not is_loopback(host):
        raise ConfigError(
            f"on {host} the whole network reaches the engine: give --tokens, a file "
            "with a line TENANT TOKEN for each who may ask"
        )
    told: dict[str, Any] = {
        "proxy_location": proxies,
        "http_options": {"host": host, "port": port, "keep_alive_timeout_s": 90},
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
        "applications": [
            {
                "name": "pe_stream",
                "route_prefix": "/",
                "import_path": IMPORT_PATH,
                "args": replica.model_dump(exclude_none=True),
                "deployments": [
                    {
                        "name": DEPLOYMENT,
                        "num_replicas": replicas,
                        "max_ongoing_requests": MOST_REQUESTS,
                        "health_check_period_s": 2,
                        "health_check_timeout_s": 10,
                        "graceful_shutdown_wait_loop_s": 1,
                        "graceful_shutdown_timeout_s": 5,
                        "ray_actor_options": {"num_gpus": gpus, "num_cpus": 1},
                    }
                ],
            }
        ],
    }
    text: str = yaml.safe_dump(told, sort_keys=False)
    return f"{_ONE_NODE}{text}" if is_loopback(host) else text


def environment() -> str:
    """The same as lines for a shell."""
    lines = [f"export {name}={_quoted(value)}" for name, value in ENVIRONMENT.items()]
    return "\n".join(lines)


def _quoted(value: str) -> str:
    if "\n" in value:
        escaped = value.replace("\n", "\\n")
        return f"$'{escaped}'"
    return shlex.quote(value)
