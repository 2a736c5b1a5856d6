"""In: the archive is checked whole, then its tables are filled chunk by chunk."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from zipfile import BadZipFile, ZipFile
from zlib import error as ZlibError  # noqa: N812 – the standard library's name

import msgspec
import psycopg

from meschain.app.commands.add_account import CREDENTIALS
from meschain.app.commands.add_merchant import (
    IMPORTING,
    MerchantInvalid,
    NewMerchant,
    check_merchant,
)
from meschain.app.commands.merchant_archive.form import (
    CREDENTIALS_PART,
    FEED_SOURCE,
    FEEDS_PART,
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
    SealedFeed,
    SealedOrder,
)
from meschain.app.commands.merchant_archive.pictures import check_images, take_images
from meschain.app.feeds.feed import sealed_source
from meschain.messages import LANGUAGES
from meschain.store.archive import TABLES, put_lines
from meschain.store.erasure import erase
from meschain.store.migrate import migrations
from meschain.sync.intake import PERSON, RAW

if TYPE_CHECKING:
    from meschain.app.images.store import ImageStore
    from meschain.channel.clock import Clock
    from meschain.store.keys import DataKeys
    from meschain.store.unit_of_work import Database

Progress = Callable[[int, int], None]
_ROWS: Final = 1_000
_MANIFEST_BYTES_MAX: Final = 1 << 20
_LINE_BYTES_MAX: Final = 1 << 24
_ROWS_BYTES: Final = 1 << 24  # a statement's rows go on until they have so many
_CHUNK_BYTES: Final = 1 << 20
_ENCRYPTED: Final = 1  # the bit of a member that another program put a password on
# What the schema says of rows that cannot be: they were changed by hand.
_CONTRADICTED: Final = (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError)
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError)


class MerchantNameTaken(ValueError):
    """The hub has a merchant of this name."""


class ArchiveBusy(RuntimeError):
    """Another command is bringing a merchant of this name."""


@dataclass(frozen=True, slots=True)
class ArchiveDone:
    """A merchant that was brought. ``has_secrets``: its accounts can be served.

    ``feeds`` wait until somebody looks at them.
    """

    merchant_id: int
    name: str
    rows: int
    has_secrets: bool
    accounts: int
    feeds: int


async def import_archive(
    path: Path,
    database: Database,
    keys: DataKeys,
    clock: Clock,
    *,
    images: ImageStore,
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
    command begins by taking that away.
    Raises: ArchiveRefused, ArchiveBusy, MerchantNameTaken, MerchantInvalid, OSError.
    """
    with _opened(path) as archive:
        manifest = _manifest(archive)
        seal = _seal(manifest, passphrase)
        _check(archive, manifest)
        if seal is not None:
            _try(archive, seal)
        called = _called(manifest, name, clock)
        if called in known:
            raise MerchantNameTaken(called)
        async with _alone(database, called):
            if called + IMPORTING in known:
                await erase(database, known[called + IMPORTING])
            async with database.engine() as engine:
                row = await engine.row("merchant.next_id")
            assert row is not None
            walk = _Walk(archive, manifest, database, keys, clock, int(row[0]), on_progress)
            try:
                await walk.begin(called + IMPORTING)
                async with images.used():
                    await take_images(archive, manifest, images)
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
        feeds=sum(part.rows for part in manifest.tables if part.name == "supplier_feed"),
    )


def _called(manifest: Manifest, name: str | None, clock: Clock) -> str:
    """The name here. Raises: MerchantInvalid for one that was given, else ArchiveRefused."""
    facts = manifest.merchant
    told = NewMerchant(
        name=facts.name if name is None else name.strip(),
        country=facts.country,
        currency=facts.currency,
        time_zone=facts.time_zone,
        language=facts.language,
    )
    try:
        check_merchant(told, clock.now().date())
    except MerchantInvalid as wrong:
        if wrong.field == "name" and name is not None:
            raise
        raise ArchiveRefused(ArchiveProblem.DAMAGED, MANIFEST) from wrong
    if facts.language not in LANGUAGES:
        raise ArchiveRefused(ArchiveProblem.DAMAGED, MANIFEST)
    return told.name


@asynccontextmanager
async def _alone(database: Database, name: str) -> AsyncIterator[None]:
    """While this command brings a merchant of that name; the server ends it with us."""
    async with database.session() as session:
        row = await session.row("archive.claim_name", {"name": name})
        if row is None or not row[0]:
            raise ArchiveBusy(name)
        yield


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
    sealed = {part.name for part in manifest.sealed}
    if manifest.salt is not None and not sealed >= {CREDENTIALS_PART, ORDERS_PART}:
        raise ArchiveRefused(ArchiveProblem.DAMAGED, MANIFEST)
    check_images(archive, manifest)
    for member, part in _members(manifest):
        digest = hashlib.sha256()
        try:
            if archive.getinfo(member).flag_bits & _ENCRYPTED:
                raise ArchiveRefused(ArchiveProblem.OTHER, member)
            with archive.open(member) as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
        except (KeyError, BadZipFile) as missing:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, member) from missing
        if digest.hexdigest() != part.sha256:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, member)


def _try(archive: ZipFile, seal: Seal) -> None:
    """Whether the passphrase is right, before all rows are brought. Raises: ArchiveRefused."""
    member = f"sealed/{CREDENTIALS_PART}.jsonl"
    with archive.open(member) as file:
        for line in islice(_lines(file, member), 1):
            try:
                seal.open(msgspec.json.decode(line, type=SealedCredential).sealed, CREDENTIALS)
            except msgspec.MsgspecError as wrong:
                raise ArchiveRefused(ArchiveProblem.DAMAGED, member) from wrong


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
        try:
            async with self.database.merchant(self.merchant_id) as unit:
                await unit.run("merchant.add", self._key | facts | {"now": self.clock.now()})
        except psycopg.errors.UniqueViolation as taken:
            raise MerchantNameTaken(name) from taken

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
                # The merchant's next rows get numbers beyond those it came with.
                await unit.run("archive.pass_identities", self._key | {"tables": list(TABLES)})
        except _CONTRADICTED as wrong:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, MANIFEST) from wrong
        if seal is not None:
            try:
                await self._secrets(seal, accounts)
            except (*_CONTRADICTED, *_UNREADABLE) as wrong:
                raise ArchiveRefused(ArchiveProblem.DAMAGED, "sealed") from wrong

    async def _accounts(self) -> Mapping[str, int]:
        """Number there → number here, drawn so that no account added meanwhile can get the same."""
        found: dict[str, int] = {}
        if not any(part.name == "account" for part in self.manifest.tables):
            return found
        try:
            named = {
                msgspec.json.decode(line, type=_Account).account_id
                for lines in self._chunks("tables/account.jsonl")
                for line in lines
            }
        except msgspec.MsgspecError as wrong:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, "account") from wrong
        async with self.database.merchant(self.merchant_id) as unit:
            for there in sorted(named):
                row = await unit.row("archive.next_account")
                assert row is not None
                found[str(there)] = int(row[0])
        return found

    def _chunks(self, member: str) -> Iterator[list[str]]:
        chunk: list[str] = []
        size = 0
        with self.archive.open(member) as file:
            for line in _lines(file, member):
                chunk.append(line)
                size += len(line)
                if len(chunk) == _ROWS or size >= _ROWS_BYTES:
                    yield chunk
                    chunk, size = [], 0
        if chunk:
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
        if any(part.name == FEEDS_PART for part in self.manifest.sealed):
            for lines in self._chunks(f"sealed/{FEEDS_PART}.jsonl"):
                async with self.database.merchant(self.merchant_id) as unit:
                    for line in lines:
                        feed = msgspec.json.decode(line, type=SealedFeed)
                        source = seal.open(feed.source, FEED_SOURCE).decode()
                        kept = await sealed_source(self.keys, self.merchant_id, source)
                        await unit.run("feed.seal", self._key | kept | {"feed": feed.feed_id})
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
        said = {
            "now": self.clock.now(),
            "actor": actor,
            "action": "merchant.import",
            "facts": msgspec.json.encode(facts).decode(),
        }
        try:
            async with self.database.merchant(self.merchant_id) as unit:
                await unit.run("archive.rename_merchant", self._key | {"name": name})
                await unit.run("catalog.add_audit", self._key | said)
                # From here on its accounts are served, with all that they need.
                await unit.run("archive.add_ownerships", self._key)
        except psycopg.errors.UniqueViolation as taken:
            raise MerchantNameTaken(name) from taken
        async with self.database.merchant(self.merchant_id) as unit:
            await unit.run("keeping.refresh_statistics")


def _lines(file: IO[bytes], member: str) -> Iterator[str]:
    while line := file.readline(_LINE_BYTES_MAX):
        if not line.endswith(b"\n"):
            raise ArchiveRefused(ArchiveProblem.DAMAGED, member)
        try:
            yield line.decode().rstrip("\n")
        except UnicodeDecodeError as wrong:
            raise ArchiveRefused(ArchiveProblem.DAMAGED, member) from wrong
