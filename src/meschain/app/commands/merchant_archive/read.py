"""In: the archive is checked whole, then its tables are filled chunk by chunk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError  # noqa: N812 – the standard library's name

import msgspec
import psycopg

from meschain.app.commands.add_account import CREDENTIALS
from meschain.app.commands.merchant_archive.form import (
    CREDENTIALS_PART,
    FORMAT,
    MANIFEST,
    ORDERS_PART,
    VERSION,
    ArchiveProblem,
    ArchiveRefused,
    Manifest,
    Part,
    Seal,
    SealedCredential,
    SealedOrder,
)
from meschain.store.archive import TABLES, put_lines
from meschain.store.erasure import erase
from meschain.store.migrate import migrations
from meschain.sync.intake import PERSON, RAW

if TYPE_CHECKING:
    from meschain.channel.clock import Clock
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database

Progress = Callable[[int, int], None]
_ROWS: Final = 1_000
_MANIFEST_BYTES_MAX: Final = 1 << 20
_LINE_BYTES_MAX: Final = 1 << 24
_CHUNK_BYTES: Final = 1 << 20
# What the schema says of rows that cannot be: they were changed by hand.
_CONTRADICTED: Final = (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError)


class MerchantNameTaken(ValueError):
    """The hub has a merchant of this name."""


@dataclass(frozen=True, slots=True)
class ArchiveDone:
    """A merchant that was brought. ``has_secrets``: its accounts can be served."""

    merchant_id: int
    name: str
    rows: int
    has_secrets: bool
    accounts: int


async def import_archive(
    path: Path,
    database: Database,
    keys: DataKeys,
    clock: Clock,
    *,
    name: str | None,
    known: Mapping[str, int],
    passphrase: bytes | None,
    actor: str,
    on_progress: Progress,
) -> ArchiveDone:
    """Bring a merchant as a new one of this hub, under ``name`` or its own.

    ``known``: the hub's merchants, name → number.

    Other merchants are served meanwhile. What goes wrong takes all of it away again; after a kill,
    what was brought so far lies under the name with ``(importing)`` behind it, and repeating the
    command begins by taking that away. Raises: ArchiveRefused, MerchantNameTaken, OSError.
    """
    with _opened(path) as archive:
        manifest = _manifest(archive)
        seal = _seal(manifest, passphrase)
        _check(archive, manifest)
        called = (name or manifest.merchant.name).strip()
        if called in known:
            raise MerchantNameTaken(called)
        if _half(called) in known:
            await erase(database, known[_half(called)])
        async with database.engine() as engine:
            row = await engine.row("merchant.next_id")
        assert row is not None
        walk = _Walk(archive, manifest, database, keys, clock, int(row[0]), on_progress)
        await walk.begin(_half(called))
        try:
            await walk.take(seal)
            await walk.end(called, actor=actor)
        except BaseException:
            await erase(database, walk.merchant_id)
            raise
    return ArchiveDone(
        merchant_id=walk.merchant_id,
        name=called,
        rows=walk.done,
        has_secrets=seal is not None,
        accounts=sum(part.rows for part in manifest.tables if part.name == "account"),
    )


def _half(name: str) -> str:
    return f"{name} (importing)"


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    try:
        with ZipFile(path) as archive:
            yield archive
    except (BadZipFile, ZlibError, EOFError, NotImplementedError) as damage:
        raise ArchiveRefused(ArchiveProblem.UNREADABLE, path.name) from damage


def _manifest(archive: ZipFile) -> Manifest:
    try:
        if archive.getinfo(MANIFEST).file_size > _MANIFEST_BYTES_MAX:
            raise ArchiveRefused(ArchiveProblem.OTHER, MANIFEST)
        document = archive.read(MANIFEST)
        head = msgspec.json.decode(document, type=dict[str, object])
        if head.get("format") != FORMAT:
            raise ArchiveRefused(ArchiveProblem.OTHER, MANIFEST)
        version, schema = head.get("version"), head.get("schema")
        newest = migrations()[-1].version
        if not (isinstance(version, int) and isinstance(schema, int)):
            raise ArchiveRefused(ArchiveProblem.OTHER, MANIFEST)
        if version > VERSION or schema > newest:
            raise ArchiveRefused(ArchiveProblem.NEWER, f"{version}.{schema}")
        return msgspec.json.decode(document, type=Manifest)
    except (KeyError, msgspec.MsgspecError) as other:
        raise ArchiveRefused(ArchiveProblem.OTHER, MANIFEST) from other


def _seal(manifest: Manifest, passphrase: bytes | None) -> Seal | None:
    if manifest.salt is None:
        return None
    if passphrase is None:
        raise ArchiveRefused(ArchiveProblem.SEALED)
    return Seal.of(manifest, passphrase)


def _check(archive: ZipFile, manifest: Manifest) -> None:
    """Every part is there, of a table we know, and as it was written."""
    if {part.name for part in manifest.tables} - set(TABLES):
        raise ArchiveRefused(ArchiveProblem.OTHER, MANIFEST)
    for member, part in _members(manifest):
        digest = hashlib.sha256()
        try:
            with archive.open(member) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except (KeyError, BadZipFile) as missing:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, member) from missing
        if digest.hexdigest() != part.sha256:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, member)


def _members(manifest: Manifest) -> Iterator[tuple[str, Part]]:
    for part in manifest.tables:
        yield f"tables/{part.name}.jsonl", part
    for part in manifest.sealed:
        yield f"sealed/{part.name}.jsonl", part


class _Account(msgspec.Struct):
    account_id: int


@dataclass(slots=True)
class _Walk:
    archive: ZipFile
    manifest: Manifest
    database: Database
    keys: DataKeys
    clock: Clock
    merchant_id: int
    on_progress: Progress
    done: int = 0

    @property
    def _key(self) -> dict[str, object]:
        return {"merchant": self.merchant_id}

    async def begin(self, name: str) -> None:
        facts = msgspec.structs.asdict(self.manifest.merchant) | {"name": name}
        async with self.database.merchant(self.merchant_id) as unit:
            await unit.run("merchant.add", self._key | facts | {"now": self.clock.now()})

    async def take(self, seal: Seal | None) -> None:
        accounts = await self._accounts()
        parts = {part.name: part for part in self.manifest.tables}
        total = sum(part.rows for part in parts.values())
        for table in TABLES:
            part = parts.get(table)
            if part is None:
                continue  # of a time before the table
            for lines in self._chunks(f"tables/{table}.jsonl"):
                try:
                    async with self.database.merchant(self.merchant_id) as unit:
                        await unit.run("catalog.plan_by_key")
                        await put_lines(unit, table, part.columns, lines, accounts)
                except _CONTRADICTED as wrong:
                    raise ArchiveRefused(ArchiveProblem.DAMAGED, table) from wrong
                self.done += len(lines)
                self.on_progress(self.done, total)
        try:
            async with self.database.merchant(self.merchant_id) as unit:
                await unit.run("archive.add_ownerships", self._key)
                # The merchant's next rows get numbers beyond those it came with.
                await unit.run("archive.pass_identities", self._key | {"tables": list(TABLES)})
        except _CONTRADICTED as wrong:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, MANIFEST) from wrong
        if seal is not None:
            await self._secrets(seal, accounts)

    async def _accounts(self) -> Mapping[str, int]:
        """Numbers for accounts whose own some merchant of this hub has."""
        found: dict[str, int] = {}
        if not any(part.name == "account" for part in self.manifest.tables):
            return found
        async with self.database.engine() as engine:
            taken = {row[0] for row in await engine.rows("archive.accounts_taken")}
        named = {
            msgspec.json.decode(line, type=_Account).account_id
            for lines in self._chunks("tables/account.jsonl")
            for line in lines
        }
        async with self.database.merchant(self.merchant_id) as unit:
            for there in sorted(named & taken):
                here = there
                while here in named | taken:
                    row = await unit.row("archive.next_account")
                    assert row is not None
                    here = int(row[0])
                found[str(there)] = here
        return found

    def _chunks(self, member: str) -> Iterator[list[str]]:
        with self.archive.open(member) as file:
            lines = _lines(file, member)
            while chunk := list(islice(lines, _ROWS)):
                yield chunk

    async def _secrets(self, seal: Seal, accounts: Mapping[str, int]) -> None:
        number = await self.keys.current(self.merchant_id)

        def sealed(text: str, purpose: str) -> bytes:
            plain = seal.open(text, purpose)
            return self.keys.vault.seal(self.merchant_id, number, purpose, plain)

        at = self._key | {"key_number": number, "now": self.clock.now()}
        for lines in self._chunks(f"sealed/{CREDENTIALS_PART}.jsonl"):
            async with self.database.merchant(self.merchant_id) as unit:
                for line in lines:
                    each = msgspec.json.decode(line, type=SealedCredential)
                    account = accounts.get(str(each.account_id), each.account_id)
                    secret = sealed(each.sealed, CREDENTIALS)
                    params = at | {"account": account, "sealed": secret}
                    await unit.run("account.put_credential", params)
        for lines in self._chunks(f"sealed/{ORDERS_PART}.jsonl"):
            orders = [msgspec.json.decode(line, type=SealedOrder) for line in lines]
            async with self.database.merchant(self.merchant_id) as unit:
                await unit.run(
                    "archive.put_sealed_orders",
                    at
                    | {
                        "orders": [order.order_id for order in orders],
                        "persons": [o.person and sealed(o.person, PERSON) for o in orders],
                        "raws": [o.raw and sealed(o.raw, RAW) for o in orders],
                    },
                )

    async def end(self, name: str, *, actor: str) -> None:
        """The books are looked at before the merchant gets its name."""
        facts = {
            "name": name,
            "rows": self.done,
            "exported_at": self.manifest.exported_at.isoformat(),
            "schema": self.manifest.schema,
        }
        async with self.database.merchant(self.merchant_id) as unit:
            wrong = await unit.row("archive.wrong_levels", self._key)
        if wrong is None or wrong[0]:
            raise ArchiveRefused(ArchiveProblem.BOOKS, str(wrong and wrong[0]))
        async with self.database.merchant(self.merchant_id) as unit:
            await unit.run("archive.rename_merchant", self._key | {"name": name})
            await unit.run(
                "catalog.add_audit",
                self._key
                | {
                    "now": self.clock.now(),
                    "actor": actor,
                    "action": "merchant.import",
                    "facts": msgspec.json.encode(facts).decode(),
                },
            )
        async with self.database.merchant(self.merchant_id) as unit:
            await unit.run("keeping.refresh_statistics")


def _lines(file: IO[bytes], member: str) -> Iterator[str]:
    while line := file.readline(_LINE_BYTES_MAX):
        if not line.endswith(b"\n"):
            raise ArchiveRefused(ArchiveProblem.DAMAGED, member)
        yield line.decode().rstrip("\n")
