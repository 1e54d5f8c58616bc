"""The page of a running daemon, where the extra `web` is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pe_stream.config import WebSettings
from pe_stream.errors import UnavailableError
from pe_stream.web.daemon_view import DaemonView

if TYPE_CHECKING:  # an extra may be missing
    from pe_stream.web.server import Server


def page(
    settings: WebSettings, view: DaemonView, on_failure: Callable[[BaseException], None]
) -> Server:
    """The server of the page, not yet started. on_failure: called with what ended its thread.

    Raises UnavailableError where its packages are not installed, ConfigError where the password or
    token cannot be used.
    """
    try:
        from pe_stream.web.server import Server
    except ImportError as error:
        raise UnavailableError(
            f"web: {error.name} is not installed: pip install 'pe-stream[web]', or set "
            "web.enabled: false"
        ) from error
    return Server(settings, view, on_failure=on_failure)
