"""`python -m pe_stream`."""

import sys

from pe_stream.cli.main import program

sys.exit(program())
