"""The command line: thin commands that call ``app`` and say what came of it, in two languages."""

from __future__ import annotations

from meschain.cli.tree import root


def main() -> None:
    """The entry point ``meschain``."""
    root.main(prog_name="meschain")


__all__ = ["main", "root"]
