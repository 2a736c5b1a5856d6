"""Sealing what must not lie open: credentials, webhook secrets, buyers' personal data.

Envelope encryption: each merchant's records are sealed with the merchant's data key (AES-256-GCM),
and data keys are sealed with the master key, which lives in a file outside the database. Losing
the master key loses everything sealed: nothing can recover it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class VaultLocked(RuntimeError):
    """The master key does not open this: a wrong key, or a changed record."""


class Vault:
    """Seals and opens records with a master key and per-merchant data keys."""

    def __init__(self, master_key: bytes) -> None:
        """``master_key`` is 32 random bytes."""
        self._master = AESGCM(master_key)
        self._keys: dict[tuple[int, int], AESGCM] = {}

    @classmethod
    def at(cls, path: Path) -> Vault:
        """The vault whose master key lies at ``path``; made at first start, readable by us only."""
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return cls(path.read_bytes())
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        return cls(path.read_bytes())

    def new_data_key(self, merchant_id: int, key_number: int) -> bytes:
        """A fresh data key, sealed for the ``data_key`` table, and loaded for use."""
        context = _context(merchant_id, key_number)
        wrapped = self._seal(self._master, os.urandom(_KEY_BYTES), context)
        self.load_data_key(merchant_id, key_number, wrapped)
        return wrapped

    def load_data_key(self, merchant_id: int, key_number: int, wrapped: bytes) -> None:
        """Open a stored data key. Raises VaultLocked."""
        key = self._open(self._master, wrapped, _context(merchant_id, key_number))
        self._keys[merchant_id, key_number] = AESGCM(key)

    def has_key(self, merchant_id: int, key_number: int) -> bool:
        """Whether that data key is loaded."""
        return (merchant_id, key_number) in self._keys

    def seal(self, merchant_id: int, key_number: int, purpose: str, plain: bytes) -> bytes:
        """Seal a record; it opens only for the same merchant and purpose."""
        key = self._keys[merchant_id, key_number]
        return self._seal(key, plain, f"{merchant_id}:{purpose}".encode())

    def open(self, merchant_id: int, key_number: int, purpose: str, sealed: bytes) -> bytes:
        """Open a record. Raises VaultLocked."""
        key = self._keys[merchant_id, key_number]
        return self._open(key, sealed, f"{merchant_id}:{purpose}".encode())

    @staticmethod
    def _seal(key: AESGCM, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + key.encrypt(nonce, plain, context)

    @staticmethod
    def _open(key: AESGCM, sealed: bytes, context: bytes) -> bytes:
        try:
            return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except InvalidTag as wrong:
            raise VaultLocked(context.decode()) from wrong


def _context(merchant_id: int, key_number: int) -> bytes:
    return f"data-key:{merchant_id}:{key_number}".encode()
