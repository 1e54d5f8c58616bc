"""The daemon: sources and scorer on one side, outputs and page on the other."""

from pe_stream.daemon.service import Daemon

__all__ = ["Daemon"]
