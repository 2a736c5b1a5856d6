"""Credentials come from a file, the environment or a prompt – never from the command line."""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click
import msgspec

from meschain.cli.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from meschain.channel.capability import Manifest
    from meschain.cli.output import Output

_PREFIX: Final = "MESCHAIN_CREDENTIAL_"
_FILE_BYTES_MAX: Final = 1_000_000


class _Entry(msgspec.Struct, frozen=True):
    """A line of ``meschain sandbox --json``, or a file of the merchant's with any part of it."""

    marketplace: str = ""
    seller_id: str = ""
    base_urls: dict[str, str] = {}
    credentials: dict[str, str] = {}
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Given:
    """What a credentials file says."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    base_urls: Mapping[str, str] = field(default_factory=dict)
    tier: str = ""


def read_credentials_file(path: Path, manifest: Manifest, seller: str | None) -> Given:
    """JSON, TOML or the lines of a sandbox; ``-`` is standard input. Raises Failure, OSError."""
    if str(path) == "-":
        raw = sys.stdin.buffer.read(_FILE_BYTES_MAX)
    else:
        raw = path.read_bytes()[:_FILE_BYTES_MAX]
    entries = _entries(raw, path)
    market = manifest.identity.name
    fitting = [entry for entry in entries if entry.marketplace in {"", market}]
    if seller is not None:
        fitting = [entry for entry in fitting if entry.seller_id == seller]
    if not fitting:
        raise Failure("credentials_not_in_file", file=str(path), marketplace=market)
    if len(fitting) > 1:
        known = ", ".join(entry.seller_id for entry in fitting)
        raise Failure("credentials_which", file=str(path), known=known)
    chosen = fitting[0]
    return Given(chosen.credentials, chosen.base_urls, chosen.tier)


def _entries(raw: bytes, path: Path) -> list[_Entry]:
    try:
        text = raw.decode("utf-8-sig")
        lines = [line for line in text.splitlines() if line.strip()]
        if lines and lines[0].lstrip().startswith("{"):
            try:
                trees: list[object] = [msgspec.json.decode(line) for line in lines]
            except msgspec.DecodeError:
                trees = [msgspec.json.decode(text)]  # one document over many lines
        else:
            trees = [tomllib.loads(text)]
        return [_entry(tree) for tree in trees]
    except (ValueError, msgspec.MsgspecError) as wrong:
        # The words of a parser may quote the file: nothing of them is repeated.
        raise Failure("credentials_unreadable", file=str(path)) from wrong


def _entry(tree: object) -> _Entry:
    if isinstance(tree, dict) and "credentials" not in tree:
        # The merchant's own file may simply name the values.
        plain = {"marketplace", "seller_id", "base_urls", "tier"} if "base_urls" in tree else set()
        values = {name: value for name, value in tree.items() if name not in plain}
        tree = {"credentials": values} | {name: tree[name] for name in plain & tree.keys()}
    return msgspec.convert(tree, _Entry)


def collect(manifest: Manifest, given: Given, out: Output) -> dict[str, str]:
    """Every credential that the manifest names. Raises Failure when one cannot be had."""
    values: dict[str, str] = {}
    missing: list[str] = []
    for credential in manifest.credentials:
        name = credential.name
        value = given.values.get(name) or os.environ.get(_PREFIX + name.upper())
        if not value and sys.stdin.isatty():
            key = f"credential.{manifest.identity.name}.{name}"
            label = out.catalog.text(key) if key in out.catalog else name
            value = click.prompt(label, hide_input=credential.secret, err=True, type=str)
        if value:
            values[name] = value.strip()
        else:
            missing.append(name)
    if missing:
        raise Failure(
            "credentials_missing",
            names=", ".join(missing),
            variables=", ".join(_PREFIX + name.upper() for name in missing),
        )
    return values
