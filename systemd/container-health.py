#!/usr/bin/python3
"""Health check of the container: fails where the page says that no score advances, or hangs.

Where the page is switched off or speaks TLS there is nothing to ask, and the container is well
while it runs: it ends with the daemon. PE_STREAM_HEALTH names another address than the default.
"""

import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("PE_STREAM_HEALTH", "http://127.0.0.1:8765/api/v1/health")

try:
    urllib.request.urlopen(URL, timeout=8).close()  # noqa: S310 - whoever starts it names it
except urllib.error.HTTPError as error:
    sys.exit(f"{URL}: {error}")
except urllib.error.URLError as error:
    if not isinstance(error.reason, ConnectionError):
        sys.exit(f"{URL}: {error}")
except ConnectionError:
    pass
except OSError as error:
    sys.exit(f"{URL}: {error}")
