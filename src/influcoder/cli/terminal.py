"""Where commands print to."""

import sys

from rich.console import Console

# Where nobody looks at a terminal (a file, a pipe), 80 columns would break every table.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
