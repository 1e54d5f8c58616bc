#!/usr/bin/python3
"""Health check of the container: fails where the page says that scores do not advance, or hangs.

Nothing else is a reason to start the daemon again: where the page is switched off, speaks TLS or
refuses, the container is well while it runs, as it ends with the daemon. PE_STREAM_HEALTH names
another address than the default.
"""

import json
import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("PE_STREAM_HEALTH", "http://127.0.0.1:8765/api/v1/health")

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    direct.open(URL, timeout=8).close()
except urllib.error.HTTPError as error:
    try:
        status = json.loads(error.read(1000))["status"]
    except (OSError, ValueError, TypeError, KeyError):
        status = None
    if status == "failing":
        sys.exit(f"{URL}: {status}")
except OSError as error:  # URLError is one
    if isinstance(getattr(error, "reason", error), TimeoutError):
        sys.exit(f"{URL}: no answer")
