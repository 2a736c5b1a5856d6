"""No command run for one merchant shows or changes anything of another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import ZipFile, is_zipfile

import click
import psycopg
import pytest
from click.testing import CliRunner

from meschain.cli.help import File, OneOf, Pair
from meschain.cli.tree import root
from meschain.registry import marketplaces
from meschain.sandbox.host import SandboxHost
from meschain.sandbox.world import Shelf, ShelfState
from meschain.testing.shop import Shop
from tests.pictures import picture
from tests.simulated.test_cli import CATALOG, Shell, leaves, shelf_of, shop_of
from tests.store.test_isolation import fill, rows_of

# What belongs to the machine and not to a merchant; a new command must be thought about, here.
OF_THE_HUB = {
    *("worker", "sandbox"),  # serve all, and show nothing
    *("backup", "restore", "key status", "key rotate", "key lost"),  # are of the whole database
    *("doctor", "logs"),  # tell of accounts by number: test_doctor.py, test_telemetry.py
    "image prune",  # what no merchant has a picture for any more
    *("merchant add", "merchant list", "merchant import", "merchant delete"),  # name the merchant
}
SERVES = "up"
Run: TypeAlias = Callable[..., Awaitable[dict[str, Any]]]
MARK = "GIZLI"  # stands in every text of the other merchant


def command_at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = root
    for name in path:
        assert isinstance(command, click.Group)
        below = command.get_command(click.Context(command), name)
        assert below is not None
        command = below
    return command


def of_merchants() -> list[tuple[str, ...]]:
    """Paths of all commands that work for a merchant."""
    return [
        path
        for path in leaves(root)
        if not isinstance(command_at(path), click.Group) and " ".join(path) not in OF_THE_HUB
    ]


@pytest.fixture
def shell(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name, value in (
        ("DATABASE_URL", database_url),
        ("MESCHAIN_HOME", str(tmp_path / "home")),
        ("MESCHAIN_LANG", "en"),
        ("MESCHAIN_LOOPBACK_ONLY", "1"),
        ("MESCHAIN_PUBLIC_URL", "https://hub.example"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    return Shell()


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxHost]:
    factories = {name: market.facade_factory() for name, market in marketplaces().items()}
    quick = {"trendyol": {"apply_ms_min": "5", "apply_ms_max": "20"}}
    async with SandboxHost(factories, port=0, settings=quick) as host:
        for shop in host.world.shops:
            key = "TRK-7" if shop.facts.get("shelf_key") == "stock_code" else "TRKX1"
            shelf = Shelf(key, "TRKX1", "TRK-7", "Tişört", 20, 39_990, 34_990, 10)
            host.world.add_shelf(shop, shelf)
            host.world.set_state(shop, shelf, ShelfState.ON_SALE)
        yield host


def make_other(database_url: str) -> int:
    """Another merchant with a row in every table, and the first one's very SKUs and names."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        shop = Shop.open(connection, f"Demir {MARK}")
        fill(shop, MARK)
        for sku in ("KZK-1042-M", "TRK-7"):
            shop.variant(sku, on_hand=77)
        shop.list_on("east", ["TRK-7"])
        connection.execute("UPDATE account SET name = 'trendyol', marketplace = 'trendyol'")
        connection.execute("UPDATE supplier_feed SET name = 'akdeniz'")
        # Nobody here can open its keys; and what is old would be tidied away.
        connection.execute("DELETE FROM data_key")
        connection.execute("UPDATE event SET day = current_date")
        return shop.merchant_id


class Files:
    """What commands read, and a folder for what they write."""

    def __init__(self, folder: Path, sandbox: SandboxHost) -> None:
        self._out = folder / "out"
        self._out.mkdir()
        self._in = folder
        (folder / "photos").mkdir()
        picture(folder / "photos" / "TRK-7.jpg")
        lines = [json.dumps(asdict(line)) for line in sandbox.accounts]
        for name, text in {
            "accounts.json": "\n".join(lines),
            "catalog.csv": CATALOG,
            "stock.csv": "sku;quantity\nTRK-7;21\n",
            "prices.csv": "sku;sale_price\nTRK-7;348,90\n",
            "history.csv": (
                "order_number;placed_at;sku;units;unit_price;source\n"
                "H1;2025-03-01;TRK-7;2;33,33;shop\n"
            ),
            "akdeniz.csv": "kod;adet\nAKD-1;4\n",
            "akdeniz.toml": (
                '[columns]\nsku = "kod"\nquantity = "adet"\n[fixed]\ntitle = "Kazak"\n'
            ),
            "mapping.csv": "marketplace;kind;scope;ours;theirs;theirs_name\n",
        }.items():
            (folder / name).write_text(text, encoding="utf-8")

    def given(self, name: str) -> str:
        return str(self._in / name)

    def place(self, command: str) -> str:
        """What that command reads, or where it may write."""
        if command.startswith(("export", "merchant export")) or command == "order label":
            return self.new("out.xlsx" if command.startswith("export") else "out.pdf")
        return self.given(READS.get(command, "catalog.csv"))

    def new(self, name: str) -> str:
        return str(self._out / name)

    def written(self) -> bytes:
        """All that was written, unpacked; and it is gone."""
        found = b""
        for path in self._out.iterdir():
            if is_zipfile(path):
                with ZipFile(path) as archive:
                    found += b"".join(map(archive.read, archive.namelist()))
            else:
                found += path.read_bytes()
            path.unlink()
        return found


async def everything(run: Run, files: Files, sandbox: SandboxHost) -> None:
    """Every command that works for a merchant, in an order in which each finds something to do."""
    await run("import", "products", files.given("catalog.csv"), "--json")
    for name in ("trendyol", "n11"):
        await run("account", "add", name, "--credentials-file", files.given("accounts.json"))
        await run("listing", "link", name)
    await run("mapping", "export", files.new("mapping.csv"))
    for verb in (("mapping", "import"), ("import", "mapping")):
        await run(*verb, files.given("mapping.csv"))
    await run("mapping", "find", "n11", "--limit", "5")
    await run("listing", "publish", "n11", "--plan")
    await run("account", "list")
    await run("account", "show", "trendyol")
    await run("account", "arm", "trendyol")
    await run("account", "arm", "n11")
    await run("account", "pause", "n11")
    await run("account", "resume", "n11")
    await run("account", "set", "trendyol", "--share", "90", "--buffer", "1")
    await run("account", "conflict-rule", "trendyol", "--price", "hub")
    await run("plan")
    await run("sync", "pause", "n11")
    await run("sync", "resume", "n11")
    person = sandbox.economy.people.person(1)
    for name in ("trendyol", "n11"):
        for _ in range(3):
            shelf = shelf_of(sandbox, name, "TRK-7")
            sandbox.world.place_order(shop_of(sandbox, name), {shelf.key: 2}, person)
    await run("sync", "run", "--timeout", "30")
    await run("sync", "status")
    orders = (await run("order", "list", "--json"))["items"]
    first, second, third = (o["external_id"] for o in orders if o["account_name"] == "trendyol")
    n11 = next(o["external_id"] for o in orders if o["account_name"] == "n11")
    await run("order", "show", first, "--person")
    await run("order", "pick", first)
    await run("order", "invoice", first)
    await run("order", "label", n11, files.new("label.pdf"))
    await run("order", "split", second, "--group", "TRK-7=1")
    reason = ("--line", "TRK-7=1", "--reason", "out_of_stock")
    await run("order", "cancel", third, *reason)
    await run("order", "link-line", first, "TRK-7", "TRK-7", status=1)
    await run("stock", "list")
    await run("stock", "ledger", "TRK-7")
    await run("stock", "set", "TRK-7", "22")
    await run("stock", "receive", "TRK-7", "1")
    await run("stock", "safety", "TRK-7", "1")
    await run("price", "set", "TRK-7", "--sale", "347.90")
    for kind in ("stock", "prices"):
        await run("import", kind, files.given(f"{kind}.csv"))
    await run("import", "orders", files.given("history.csv"))
    runs = (await run("import", "list", "--json"))["imports"]
    for kind in ("products", "stock", "prices", "orders", "refused"):
        await run("export", kind, "--to", files.new(f"{kind}.xlsx"))
    source = ("--from", files.given("akdeniz.csv"), "--map", files.given("akdeniz.toml"))
    await run("feed", "add", "akdeniz", *source)
    await run("feed", "run", "akdeniz")
    await run("feed", "list")
    await run("feed", "remove", "akdeniz")
    await run("image", "import", files.given("photos"))
    await run("image", "add", "TRK-7", files.given("photos/TRK-7.jpg"), "--place", "2")
    await run("image", "fetch")
    await run("image", "list")
    await run("image", "remove", "TRK-7", "--place", "2")
    await run("audit", "trendyol")
    await run("audit", "trendyol", "--repair")
    await run("why", "TRK-7", "trendyol")
    await run("listing", "list")
    await run("conflict", "list")
    await run("conflict", "resolve", "TRK-7", "trendyol", "--keep", "hub", status=1)
    await run("problems")
    await run("webhook", "register", "trendyol")
    hooks = (await run("webhook", "list", "trendyol", "--json"))["webhooks"]
    await run("webhook", "remove", "trendyol", hooks[0]["webhook_id"])
    undone = next(each for each in runs if each["kind"].startswith("products"))
    await run("import", "undo", str(undone["import_id"]))
    await run("personal-data", "keep", "trendyol", "--days", "30")
    await run("personal-data", "find", first)
    await run("personal-data", "erase", third, "--when-ended")
    await run("personal-data", "due")
    await run("account", "disarm", "trendyol")
    await run(
        "account", "reconnect", "trendyol", "--credentials-file", files.given("accounts.json")
    )
    await run("account", "remove", "n11", "--yes")
    await run("merchant", "export", "--to", files.new("kaya.zip"))


def filled(param: click.Parameter) -> tuple[str, ...]:
    """What may be typed for it."""
    value = param.type.choices[0] if isinstance(param.type, OneOf) else "1"
    value = "1=1" if isinstance(param.type, Pair) else value
    return (value,) if isinstance(param, click.Argument) else (param.opts[0], value)


# — what the other calls its own —

# What an argument or option names, by its name on the command line.
NAMES = {
    **dict.fromkeys(("account", "account_option", "name"), "account"),
    **dict.fromkeys(("sku", "skus", "code"), "sku"),
    **dict.fromkeys(("number", "numbers", "text", "buyer"), "order"),
    "location": "location",
    "webhook_id": "webhook",
}
OTHERWISE = {  # where the same word names something else
    ("account add", "name"): "",  # a name to be given
    ("feed add", "name"): "",
    ("feed run", "name"): "feed",
    ("feed remove", "name"): "feed",
    ("import undo", "number"): "import",
}
# Free text that names nothing of a merchant's; a new option must be thought about, here.
NAMES_NOTHING = {
    "credentials of the file that is given": {"seller"},
    "a fact of the marketplace": {
        *("marketplace", "tier", "url", "words", "category", "attribute"),
    },
    "looked for within the order that is named": {"item", "package_id", "lines", "groups"},
    "only narrows one's own list": {"search", "cursor", "after"},
    "said of what is brought in": {"invoice_number", "reason", "source", "currency"},
    "how a file is to be read or written": {
        *("content_language", "sheet", "table_prefix", "shop_url"),
    },
}
# One's own, narrowed to nothing: it refuses nothing or does not say what, and shows nothing.
NARROWS = {
    *(("conflict list", "sku"), ("conflict resolve", "sku"), ("listing publish", "skus")),
    *(("image list", "code"), ("image add", "code"), ("personal-data find", "text")),
}
READS = {
    "image add": "photos/TRK-7.jpg",
    "import stock": "stock.csv",
    "import prices": "prices.csv",
    "import orders": "history.csv",
    "import mapping": "mapping.csv",
    "mapping import": "mapping.csv",
}
INSTEAD = {  # of the arguments, where an option stands for them
    "account_option": ("--all", "--yes", "--keep", "hub"),
    "buyer": ("--when-ended",),
}
ALSO = {
    "account set": ("--share", "90"),
    "listing publish": ("--plan",),
    "account conflict-rule": ("--price", "hub"),
    "account remove": ("--yes",),
    "price set": ("--sale", "1"),
}


def named_by(path: str, param: click.Parameter) -> str:
    """What it names; "": nothing. A text that nobody has thought about fails."""
    name = param.name or ""
    if (path, name) in OTHERWISE:
        return OTHERWISE[path, name]
    if name in NAMES:
        return NAMES[name]
    if param.type is click.STRING and param.opts != ["--merchant"]:
        assert any(name in names for names in NAMES_NOTHING.values()), (path, name)
    return ""


def typed(param: click.Parameter, value: str) -> tuple[str, ...]:
    return (value,) if isinstance(param, click.Argument) else (param.opts[0], value)


def told_of(
    path: tuple[str, ...], param: click.Parameter, word: str, ours: dict[str, str], files: Files
) -> list[str]:
    """The command with that word for the parameter, and everything else as it should be."""
    name = " ".join(path)
    if param.name in INSTEAD:
        return [*path, *INSTEAD[param.name], *typed(param, word)]
    words = [*path, *ALSO.get(name, ())]
    for each in command_at(path).params:
        kind = named_by(name, each)
        if each is param:
            words += typed(each, word)
        elif isinstance(each, click.Argument) and kind:
            words.append(ours[kind])
        elif each.required and isinstance(each.type, File):
            words += typed(each, files.place(name))
        elif each.required:
            words += filled(each)
    return words


def those_that_name() -> list[tuple[tuple[str, ...], click.Parameter, str]]:
    """Every parameter of every command that names something of a merchant, and what."""
    return [
        (path, param, kind)
        for path in of_merchants()
        if " ".join(path) != SERVES
        for param in command_at(path).params
        if (kind := named_by(" ".join(path), param))
    ]


@pytest.mark.slow
async def test_every_command_refuses_what_another_merchant_calls_its_own(
    shell: Shell, sandbox: SandboxHost, database_url: str, tmp_path: Path
) -> None:
    """Also with all else right: nothing of the other is read, shown or changed."""
    files = Files(tmp_path, sandbox)
    kaya = ("--merchant", "Kaya")
    with psycopg.connect(database_url, autocommit=True) as connection:
        ours, theirs = make_both(connection)
        other = int(theirs["merchant"])
        credentials = ("--credentials-file", files.given("accounts.json"))
        await shell("account", "add", "trendyol", *credentials, "--name", ours["account"], *kaya)
        before = await asyncio.to_thread(rows_of, connection, other)
        wrong = []
        for path, param, kind in those_that_name():
            word = theirs[kind]
            words = told_of(path, param, word, ours, files)
            result = await asyncio.to_thread(CliRunner().invoke, root, [*words, *kaya])
            spoken = result.stdout + result.stderr
            is_refused = result.exit_code == 1 and word in spoken
            narrows = (" ".join(path), param.name) in NARROWS and result.exit_code in {0, 1}
            if not is_refused and not narrows:
                wrong.append((words, result.exit_code, spoken))
            assert MARK not in spoken.replace(word, ""), words
            assert MARK.encode() not in files.written(), words
            assert await asyncio.to_thread(rows_of, connection, other) == before, words
    assert wrong == []


def make_both(
    connection: psycopg.Connection[tuple[Any, ...]],
) -> tuple[dict[str, str], dict[str, str]]:
    """Two merchants with a row in every table; what they call their own, by kind."""
    both: list[dict[str, str]] = []
    for name, mark in (("Kaya", "OURS"), (f"Demir {MARK}", MARK)):
        shop = Shop.open(connection, name)
        fill(shop, mark)
        merchant = shop.merchant_id
        for table, column in (("account", "name"), ("supplier_feed", "name"), ("location", "code")):
            connection.execute(
                f"UPDATE {table} SET {column} = %s WHERE merchant_id = %s",  # noqa: S608 – constants
                (f"{table}-{mark}", merchant),
            )
        row = connection.execute(
            "SELECT (SELECT min(import_id) FROM import_run WHERE merchant_id = %(m)s),"
            " (SELECT min(webhook_id) FROM webhook WHERE merchant_id = %(m)s)",
            {"m": merchant},
        ).fetchone()
        assert row is not None
        both.append(
            {
                "merchant": str(merchant),
                "account": f"account-{mark}",
                "sku": f"A{mark}",
                "order": f"O{mark}",
                "location": f"location-{mark}",
                "feed": f"supplier_feed-{mark}",
                "import": str(row[0]),
                "webhook": str(row[1]),
            }
        )
    connection.execute("DELETE FROM data_key")  # nobody here can open them, nor what they seal
    connection.execute(
        "UPDATE orders SET person_sealed = NULL, raw_sealed = NULL, key_number = NULL"
    )
    connection.execute("UPDATE account SET marketplace = 'trendyol'")
    both[0]["account"] = "ours"  # which is added with real credentials
    return both[0], both[1]


async def test_every_command_asks_for_whom_where_there_are_several(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("Kaya", "Demir"):
        await shell("merchant", "add", name)
    for path in of_merchants():
        command = command_at(path)
        assert any("--merchant" in option.opts for option in command.params), path
        if " ".join(path) == SERVES:
            continue  # serves all; the option only says whose page is shown
        needed = [word for each in command.params if each.required for word in filled(each)]
        said = await shell(*path, *needed, status=1)
        assert "--merchant: Kaya, Demir" in said.err, path
        assert "MESCHAIN_MERCHANT" in said.err
    monkeypatch.setenv("MESCHAIN_MERCHANT", "Demir")
    assert (await shell("stock", "list", "--json")).document["levels"] == []
    monkeypatch.setenv("MESCHAIN_MERCHANT", "Nobody")
    unknown = await shell("stock", "list", status=1)
    assert "There are: Kaya, Demir" in unknown.err
    await shell("stock", "list", "--merchant", "Kaya")


@pytest.mark.slow
async def test_no_command_shows_or_changes_anything_of_another_merchant(
    shell: Shell, sandbox: SandboxHost, database_url: str, tmp_path: Path
) -> None:
    files = Files(tmp_path, sandbox)
    done: set[tuple[str, ...]] = set()
    await shell("merchant", "add", "Kaya")
    with ExitStack() as stack:
        connection = stack.enter_context(psycopg.connect(database_url, autocommit=True))
        merchant = 0
        before: dict[str, list[str]] = {}

        async def run(*words: str, status: int = 0) -> dict[str, Any]:
            """One command for the first merchant, and a look at the other."""
            path = next(path for path in of_merchants() if words[: len(path)] == path)
            done.add(path)
            said = await shell(*words, "--merchant", "Kaya", status=status)
            assert MARK not in said.out + said.err, words
            assert MARK.encode() not in files.written(), words
            after = await asyncio.to_thread(rows_of, connection, merchant)
            changed = [table for table, rows in after.items() if rows != before[table]]
            assert changed == [], words
            is_json = said.out.startswith("{")
            return json.loads(said.out) if is_json else {}

        merchant = await asyncio.to_thread(make_other, database_url)
        before = await asyncio.to_thread(rows_of, connection, merchant)
        assert sum(MARK in row for rows in before.values() for row in rows) >= 30
        await everything(run, files, sandbox)
    missing = {" ".join(path) for path in of_merchants()} - {" ".join(path) for path in done}
    assert missing == {SERVES}  # what its page shows: tests/store/test_views.py
