"""What the vault says of what it cannot open."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from meschain.store.vault import Vault, VaultLocked


@pytest.mark.parametrize("length", [0, 1, 11, 12, 40])
def test_what_is_cut_or_strange_is_locked_and_no_defect(length: int, tmp_path: Path) -> None:
    vault = Vault.at(tmp_path / "master.key")
    with pytest.raises(VaultLocked):
        vault.load_data_key(1, 1, secrets.token_bytes(length))
