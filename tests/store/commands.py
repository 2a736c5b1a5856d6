"""Commands of the hub, run in the test's own process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from meschain.cli.tree import root


def invoke(*words: str, status: int = 0) -> Result:
    """A command that ends with ``status``, and never with a traceback."""
    result = CliRunner().invoke(root, words)
    assert "Traceback" not in result.output
    assert result.exit_code == status, result.output
    return result


def document(*words: str, status: int = 0) -> dict[str, Any]:
    """The JSON document that it prints."""
    read: dict[str, Any] = json.loads(invoke(*words, "--json", status=status).stdout)
    return read
