"""`python -m pe_stream`."""

import sys

from pe_stream.cli import main

sys.exit(main())
