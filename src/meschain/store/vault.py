"""Sealing what must not lie open: credentials, webhook secrets, buyers' personal data.

Envelope encryption: each merchant's records are sealed with the merchant's data key (AES-256-GCM),
and data keys are sealed with the master key, which lives in a file outside the database. Losing
the master key loses everything sealed: nothing can recover it.

The file holds the master key, and behind it those it has replaced, 32 bytes each: older backups
are sealed with them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class VaultLocked(RuntimeError):
    """The master key does not open this: a wrong key, or a changed record."""


class MasterKeyMissing(VaultLocked):
    """There are sealed records, and no master key where it belongs (the argument)."""


class MasterKeyInvalid(VaultLocked):
    """The file (the argument) holds no master key: not a multiple of 32 bytes."""


class Vault:
    """Seals and opens records with master keys, the newest first, and per-merchant data keys."""

    def __init__(self, master_keys: bytes, path: Path | None = None) -> None:
        """``master_keys`` is 32 random bytes, or several such; ``path`` where they came from."""
        self._path = path
        self._take(master_keys)
        self._keys: dict[tuple[int, int], AESGCM] = {}

    def _take(self, master_keys: bytes) -> None:
        if not master_keys or len(master_keys) % _KEY_BYTES:
            raise MasterKeyInvalid(str(self._path))
        self._bytes = master_keys
        self._masters = [
            AESGCM(master_keys[at : at + _KEY_BYTES])
            for at in range(0, len(master_keys), _KEY_BYTES)
        ]

    @classmethod
    def at(cls, path: Path) -> Vault:
        """The vault whose master key lies at ``path``; made at first start, readable by us only.

        Raises MasterKeyInvalid.
        """
        with contextlib.suppress(FileExistsError):
            write_master_keys(path, os.urandom(_KEY_BYTES), is_first=True)
        return cls(path.read_bytes(), path)

    @property
    def fingerprint(self) -> str:
        """Names the master key without telling it."""
        return fingerprint(self._bytes)

    @property
    def newest(self) -> bytes:
        """The master key alone, without those it has replaced."""
        return self._bytes[:_KEY_BYTES]

    @property
    def replaced(self) -> int:
        """How many older master keys the file still holds."""
        return len(self._masters) - 1

    def with_new_key(self) -> bytes:
        """A fresh master key, and behind it those it replaces; for the file."""
        return os.urandom(_KEY_BYTES) + self._bytes

    def new_data_key(self, merchant_id: int, key_number: int) -> bytes:
        """A fresh data key, sealed for the ``data_key`` table, and loaded for use."""
        context = _context(merchant_id, key_number)
        self._read_again()  # a rotation may just have replaced the master key
        wrapped = self._seal(self._masters[0], os.urandom(_KEY_BYTES), context)
        self.load_data_key(merchant_id, key_number, wrapped)
        return wrapped

    def load_data_key(self, merchant_id: int, key_number: int, wrapped: bytes) -> None:
        """Open a stored data key. Raises VaultLocked."""
        key, _ = self._unwrap(merchant_id, key_number, wrapped)
        self._keys[merchant_id, key_number] = AESGCM(key)

    def rewrap(self, merchant_id: int, key_number: int, wrapped: bytes) -> bytes | None:
        """The data key sealed with the newest master key; None: it is. Raises VaultLocked."""
        key, place = self._unwrap(merchant_id, key_number, wrapped)
        if place == 0:
            return None
        return self._seal(self._masters[0], key, _context(merchant_id, key_number))

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

    def _unwrap(self, merchant_id: int, key_number: int, wrapped: bytes) -> tuple[bytes, int]:
        """The data key, and which master key it was sealed with."""
        context = _context(merchant_id, key_number)
        for is_last_try in (False, True):
            for place, master in enumerate(self._masters):
                with contextlib.suppress(VaultLocked):
                    return self._open(master, wrapped, context), place
            if is_last_try or not self._read_again():
                break
        raise VaultLocked(context.decode())

    def _read_again(self) -> bool:
        """Whether the file holds other keys now: a rotation beside a running hub."""
        if self._path is None:
            return False
        try:
            found = self._path.read_bytes()
        except OSError:
            return False
        if found == self._bytes:
            return False
        self._take(found)
        return True

    @staticmethod
    def _seal(key: AESGCM, plain: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + key.encrypt(nonce, plain, context)

    @staticmethod
    def _open(key: AESGCM, sealed: bytes, context: bytes) -> bytes:
        try:
            return key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as wrong:  # the latter: too short to hold a nonce
            raise VaultLocked(context.decode()) from wrong


def joined(ours: bytes, theirs: bytes) -> bytes:
    """Our master keys, and behind them those of ``theirs`` that we lack."""
    pieces = [ours[at : at + _KEY_BYTES] for at in range(0, len(ours), _KEY_BYTES)]
    others = [theirs[at : at + _KEY_BYTES] for at in range(0, len(theirs), _KEY_BYTES)]
    return b"".join([*pieces, *(each for each in others if each not in pieces)])


def fingerprint(master_keys: bytes) -> str:
    """Names the newest of them without telling it."""
    return hashlib.sha256(b"meschain master key" + master_keys[:_KEY_BYTES]).hexdigest()[:12]


def write_master_keys(path: Path, master_keys: bytes, *, is_first: bool = False) -> None:
    """Put the file there whole, readable by us only. ``is_first``: raises FileExistsError."""
    descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(master_keys)
            file.flush()
            os.fsync(file.fileno())
        if is_first:
            os.link(name, path)
        else:
            Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _context(merchant_id: int, key_number: int) -> bytes:
    return f"data-key:{merchant_id}:{key_number}".encode()
