"""What an archive is made of, and how its secrets are sealed."""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT: Final = "meschain-merchant"
VERSION: Final = 1
MANIFEST: Final = "archive.json"
CREDENTIALS_PART: Final = "account_credential"
ORDERS_PART: Final = "orders"
FEEDS_PART: Final = "supplier_feed"
FEED_SOURCE: Final = "supplier_feed.source"  # what its seal is for
IMAGES: Final = "images"
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
# Source: RFC 7914, and OWASP's Password Storage Cheat Sheet (N = 2^17 takes 128 MB).
_SCRYPT: Final = {"n": 1 << 17, "r": 8, "p": 1, "maxmem": 1 << 28, "dklen": 32}


class ArchiveProblem(StrEnum):
    """Why an archive is not taken in; texts are ``cli.failure.<value>``."""

    UNREADABLE = "archive_unreadable"
    OTHER = "archive_other"
    NEWER = "archive_newer"
    DAMAGED = "archive_damaged"
    SEALED = "archive_sealed"
    BOOKS = "archive_books"


class ArchiveRefused(ValueError):
    """The archive is not taken in; nothing of it stays. ``part`` names what is wrong."""

    def __init__(self, problem: ArchiveProblem, part: str = "") -> None:
        super().__init__(f"{problem} {part}")
        self.problem = problem
        self.part = part


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One member of the archive: JSON lines. ``sha256`` is of its bytes."""

    name: str
    rows: int
    sha256: str
    columns: tuple[str, ...]


class ImagePart(msgspec.Struct, frozen=True, kw_only=True):
    """A member ``images/NAME``; its name begins with the SHA-256 of its bytes."""

    name: str
    content_bytes: int


class MerchantFacts(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    country: str
    currency: str
    time_zone: str
    language: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """``archive.json``. ``salt`` is there where secrets are; without it they were left out."""

    format: str
    version: int
    schema: int
    exported_at: datetime
    merchant: MerchantFacts
    tables: list[Part]
    sealed: list[Part]
    left_out: dict[str, str]
    images: list[ImagePart] = []
    salt: str | None = None


class Seal:
    """Secrets of an archive under a passphrase: AES-256-GCM, its key by scrypt."""

    def __init__(self, passphrase: bytes, salt: bytes) -> None:
        key = hashlib.scrypt(passphrase, salt=salt, **_SCRYPT)
        self._key = AESGCM(key)
        self.salt = base64.b64encode(salt).decode()

    @classmethod
    def new(cls, passphrase: bytes) -> Seal:
        return cls(passphrase, os.urandom(_SALT_BYTES))

    @classmethod
    def of(cls, manifest: Manifest, passphrase: bytes) -> Seal:
        """Raises: ArchiveRefused."""
        assert manifest.salt is not None
        try:
            salt = base64.b64decode(manifest.salt)
        except ValueError as wrong:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, MANIFEST) from wrong
        return cls(passphrase, salt)

    def close(self, plain: bytes, purpose: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._key.encrypt(nonce, plain, purpose.encode())
        return base64.b64encode(sealed).decode()

    def open(self, text: str, purpose: str) -> bytes:
        """Raises: ArchiveRefused."""
        try:
            sealed = base64.b64decode(text)
            return self._key.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
        except InvalidTag as wrong:
            raise ArchiveRefused(ArchiveProblem.SEALED) from wrong
        except ValueError as wrong:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, "sealed") from wrong


class SealedCredential(msgspec.Struct, frozen=True):
    account_id: int
    sealed: str


class SealedFeed(msgspec.Struct, frozen=True):
    """An address with what may be secret in it: user, password, query."""

    feed_id: int
    source: str


class SealedOrder(msgspec.Struct, frozen=True):
    """Buyer with addresses, and the raw reply; None: erased."""

    order_id: int
    person: str | None
    raw: str | None
