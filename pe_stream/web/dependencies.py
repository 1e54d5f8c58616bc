"""Parameters that FastAPI gives a route: the daemon, and the gate.

Both are found on the loop, or each would cost a thread.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request

from pe_stream.web.daemon_view import DaemonView
from pe_stream.web.gate import Gate


async def _view(request: Request) -> DaemonView:
    return cast("DaemonView", request.app.state.daemon)


DaemonDep = Annotated[DaemonView, Depends(_view)]
"""The daemon, in a route."""


async def _gate(request: Request) -> Gate:
    return cast("Gate", request.app.state.gate)


Turns = Annotated[Gate, Depends(_gate)]
"""The gate, in a route."""
