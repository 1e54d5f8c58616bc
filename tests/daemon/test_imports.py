"""What the daemon imports before it is asked for anything."""

from __future__ import annotations

import subprocess
import sys


def test_transformers_waits_until_a_checkpoint_is_loaded() -> None:
    program = "import sys, pe_stream.daemon; sys.exit('transformers' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
