"""The command line: thin commands that call ``app`` and say what came of it, in two languages."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

INTERRUPTED: Final = 130


def main() -> None:
    """The entry point ``meschain``."""
    try:
        import_module("meschain.cli.tree").root.main(prog_name="meschain")
    except KeyboardInterrupt:
        # Reading the program takes a moment. There is nothing yet to end, and no text to say it in.
        sys.exit(INTERRUPTED)
