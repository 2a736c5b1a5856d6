"""The real commands against a real database and simulated marketplaces."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import click
import psycopg
import pytest
import pytest_asyncio
from click.testing import CliRunner

from meschain.bootstrap import Hub, HubSettings
from meschain.cli.tree import root
from meschain.messages import LANGUAGES, Catalog
from meschain.registry import marketplaces
from meschain.sandbox.facade import AccountLine
from meschain.sandbox.faults import Fault
from meschain.sandbox.host import SandboxHost
from meschain.sandbox.world import ParcelState, Shelf, ShelfState, Shop
from meschain.store.embedded import EmbeddedPostgres
from meschain.store.embedded.postmaster import home_of
from meschain.sync.account import ServedAccount
from meschain.sync.ownership import Claimed

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value] | None"
DATA = Path(__file__).parent.parent / "data"
CATALOG = """\
model_code;sku;barcode;brand;category;title;list_price;sale_price;quantity;vat_percent;desi
KZK-1042;KZK-1042-M;8690000000012;Kaya;Giyim > Kazak;Kazak;1499,90;1249,90;5;20;2
KZK-1042;KZK-1042-L;8690000000029;Kaya;Giyim > Kazak;Kazak;1499,90;1249,90;7;20;2
TRK-7;TRK-7;TRKX1;Kaya;Giyim > Tişört;Tişört;399,90;349,90;20;10;1
BAD;BAD;8,68E+12;Kaya;Giyim;Bozuk;10,00;5,00;1;20;1
"""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Value]:
        """The one JSON document on standard output."""
        read: dict[str, Value] = json.loads(self.out)
        return read


class Shell:
    """Runs commands in a thread, so that the sandbox lives on in this one."""

    async def __call__(self, *words: str, status: int = 0, given: str = "") -> Said:
        result = await asyncio.to_thread(CliRunner().invoke, root, words, input=given)
        said = Said(result.exit_code, result.stdout, result.stderr)
        assert "Traceback" not in said.out + said.err, said.err
        assert said.status == status, f"{words}: {said.out}\n{said.err}"
        return said


def items(value: Value) -> list[dict[str, Value]]:
    assert isinstance(value, list)
    return [each for each in value if isinstance(each, dict)]


@pytest.fixture
def shell(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("MESCHAIN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    monkeypatch.setenv("MESCHAIN_LOOPBACK_ONLY", "1")
    # The log belongs to the test run here.
    monkeypatch.setattr("meschain.cli.tree.configure_logging", lambda level: level)
    return Shell()


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[SandboxHost]:
    """Both marketplaces, in whose shops two of our SKUs stand, one otherwise than with us."""
    host = SandboxHost(
        {name: market.facade_factory() for name, market in marketplaces().items()},
        port=0,
        settings={
            "trendyol": {"apply_ms_min": "5", "apply_ms_max": "20"},
            "n11": {"hold_s_max": "0.2"},  # how long an answer that never comes is held
        },
    )
    async with host:
        for shop in host.world.shops:
            for code, barcode, quantity, sale in (
                ("KZK-1042-M", "8690000000012", 9, 124_990),
                ("KZK-1042-L", "8690000000029", 7, 99_990),
                ("THEIRS", "X-1", 1, 100),
            ):
                key = code if shop.facts.get("shelf_key") == "stock_code" else barcode
                shelf = Shelf(key, barcode, code, code, quantity, 149_990, sale, 20)
                host.world.add_shelf(shop, shelf)
                host.world.set_state(shop, shelf, ShelfState.ON_SALE)
        yield host


def line_of(host: SandboxHost, marketplace: str) -> AccountLine:
    return next(line for line in host.accounts if line.marketplace == marketplace)


def shop_of(host: SandboxHost, marketplace: str) -> Shop:
    shop = host.world.shop(marketplace, line_of(host, marketplace).seller_id)
    assert shop is not None
    return shop


def shelf_of(host: SandboxHost, marketplace: str, code: str) -> Shelf:
    shelves = shop_of(host, marketplace).shelves.values()
    return next(shelf for shelf in shelves if shelf.stock_code == code)


@pytest.fixture
def accounts_file(sandbox: SandboxHost, tmp_path: Path) -> Path:
    """What ``meschain sandbox --json`` prints."""
    file = tmp_path / "accounts.json"
    lines = [json.dumps(asdict(line)) for line in sandbox.accounts]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest_asyncio.fixture
async def shop(shell: Shell, tmp_path: Path, accounts_file: Path) -> Shell:
    """A merchant with a catalog and both accounts connected, read-only."""
    catalog = tmp_path / "katalog.csv"
    catalog.write_text(CATALOG, encoding="utf-8")
    await shell("merchant", "add", "Kaya Tekstil")
    await shell("import", "products", str(catalog))
    for name in ("trendyol", "n11"):
        await shell("account", "add", name, "--credentials-file", str(accounts_file))
    return shell


# — help and language —


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from leaves(below, (*path, name))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_command_explains_itself_in_every_language_with_an_example(
    shell: Shell, language: str
) -> None:
    paths = list(leaves(root))
    assert len(paths) > 50
    words = Catalog.load(language)
    for path in paths:
        said = await shell(*path, "--help", "--language", language)
        assert words.text("cli.help.usage") in said.out, path
        text = words.text(".".join(("cli", *path)))
        assert text.split("\n")[0][:40] in said.out, path
        if words.text("cli.help.commands") not in said.out:
            assert f" meschain {' '.join(path)}" in said.out, f"{path} has no example"


def test_every_command_that_ends_can_answer_with_json() -> None:
    without = []
    for path in leaves(root):
        command: click.Command = root
        for name in path:
            assert isinstance(command, click.Group)
            below = command.get_command(click.Context(command), name)
            assert below is not None
            command = below
        if not isinstance(command, click.Group):
            options = {option for param in command.params for option in param.opts}
            without += [] if "--json" in options else [path]
    assert without == [("worker",)]


async def test_names_of_values_are_in_the_readers_language_too(shell: Shell) -> None:
    said = (await shell("account", "arm", "--help", "--language", "tr")).out
    assert " account arm [SEÇENEKLER] AD\n" in said
    assert "--max-zero SAYI" in said
    assert not {"NAME", "NUMBER", "TEXT"} & set(said.split())


async def test_mistakes_in_typing_are_explained_in_the_readers_language(shell: Shell) -> None:
    for words, said in (
        (("stok",), "“stok” diye bir komut yok"),
        (("stock", "set", "A"), "“ADET” eksik"),
        (("stock", "set", "A", "-1"), "sıfırın altında olamaz"),
        (("stock", "set", "A", "viel"), "bir tam sayı değil"),
        (("plan", "--limit"), "bir değer ister"),
        (("plan", "--nicht"), "diye bir seçenek yok"),
        (("plan", "a", "b"), "Fazla değer verildi: b"),
    ):
        told = await shell("--language", "tr", *words, status=2)
        assert said in told.err
        assert told.out == ""


# — mapping —


async def test_the_ids_that_the_mapping_table_asks_for_are_found_by_their_names(
    shop: Shell,
) -> None:
    async def found(*words: str) -> dict[str, str]:
        document = (await shop("mapping", "find", *words, "--json")).document
        return {str(each["theirs"]): str(each["name"]) for each in items(document["found"])}

    assert await found("trendyol", "KAZAK") == {"607": "Giyim > Üst Giyim > Kazak"}
    assert await found("trendyol", "ust", "kazak") == await found("trendyol", "kazak")
    assert "1000481" in await found("n11", "gömlek")
    attributes = await found("trendyol", "--category", "607")
    assert attributes["47"] == "Renk"
    assert await found("trendyol", "--category", "607", "renk") == {"47": "Renk"}
    colors = await found("trendyol", "--category", "607", "--attribute", "47")
    assert "Lacivert" in colors.values()
    assert (await found("trendyol", "--brand", "Adımca"))["10407"] == "Adımca"
    told = (await shop("mapping", "find", "trendyol", "--category", "607")).out
    assert [line.split()[-1] for line in told.splitlines() if " Renk " in line] == ["yes"]
    assert "Try fewer" in (await shop("mapping", "find", "trendyol", "yok-böyle")).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--attribute 47", "needs --category"),
        ("--brand", "needs the name"),
        ("x --brand --category 607", "needs the name"),
        ("--category 607 --attribute 9", "It has: "),
        ("--category 99999999", "did not tell it"),
    ],
)
async def test_what_cannot_be_looked_up_is_said(shop: Shell, words: str, said: str) -> None:
    told = await shop("mapping", "find", "trendyol", *words.split(), status=1)
    assert said in told.err
    assert told.out == ""


# — connecting —


async def test_credentials_are_tried_before_they_are_saved_and_never_shown(
    shell: Shell, sandbox: SandboxHost, accounts_file: Path, tmp_path: Path
) -> None:
    await shell("merchant", "add", "Kaya Tekstil")
    line = line_of(sandbox, "trendyol")
    wrong = tmp_path / "wrong.json"
    given = asdict(line) | {"credentials": {**line.credentials, "api_secret": "not-the-secret"}}
    wrong.write_text(json.dumps(given), encoding="utf-8")
    refused = await shell("account", "add", "trendyol", "--credentials-file", str(wrong), status=1)
    assert "nothing was saved" in refused.err
    assert (await shell("account", "list", "--json")).document["accounts"] == []

    added = await shell(
        "account", "add", "trendyol", "--credentials-file", str(accounts_file), "--json"
    )
    assert added.document["state"] == "read_only"
    taken = await shell(
        "account", "add", "trendyol", "--credentials-file", str(accounts_file), status=1
    )
    assert "--name" in taken.err
    shown = await shell("account", "show", "trendyol")
    everything = "".join(s.out + s.err for s in (refused, added, taken, shown))
    for name, value in line.credentials.items():
        if name != "seller_id":
            assert value not in everything
    assert "not-the-secret" not in everything
    assert "Nothing of yours is listed there yet" in (await shell("plan", "trendyol")).out


async def test_new_credentials_are_tried_and_change_nothing_else(
    shop: Shell, accounts_file: Path, tmp_path: Path, database_url: str
) -> None:
    text = accounts_file.read_text(encoding="utf-8")  # noqa: ASYNC240 – small, and a test
    wrong = tmp_path / "wrong.json"
    first = next(line for line in text.splitlines() if '"trendyol"' in line)
    secret = json.loads(first)["credentials"]["api_secret"]
    wrong.write_text(text.replace(secret, "wrong"), encoding="utf-8")

    def stored() -> list[tuple[object, ...]]:
        with psycopg.connect(database_url) as connection:
            return connection.execute(
                "SELECT a.account_id, a.name, a.state, c.updated_at FROM account a"
                " JOIN account_credential c USING (merchant_id, account_id) ORDER BY 1"
            ).fetchall()

    def ask(state: str) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("UPDATE account SET state = %s WHERE name = 'trendyol'", (state,))

    ask("reconnect")
    before = stored()
    again = ("account", "reconnect", "trendyol", "--credentials-file")
    refused = await shop(*again, str(wrong), status=1)
    assert "credentials" in refused.err
    assert stored() == before
    said = await shop(*again, str(accounts_file))
    assert "read-only" in said.out
    assert "meschain account arm trendyol" in said.out
    ask("armed")
    said = await shop(*again, str(accounts_file), "--json")
    assert json.loads(said.out)["state"] == "armed"
    assert [row[:2] for row in stored()] == [row[:2] for row in before]
    assert {row[1]: row[2] for row in stored()} == {"trendyol": "armed", "n11": "read_only"}


async def test_no_option_takes_a_credential(shell: Shell) -> None:
    names = {c.name for market in marketplaces().values() for c in market.manifest.credentials}
    for path in leaves(root):
        command: click.Command = root
        for name in path:
            assert isinstance(command, click.Group)
            below = command.get_command(click.Context(command), name)
            assert below is not None
            command = below
        options = {option.strip("-").replace("-", "_") for p in command.params for option in p.opts}
        assert not options & (names | {"password", "secret", "credential", "credentials"}), path
    await shell("account", "add", "n11", "--app-secret", "x", status=2)


async def test_credentials_come_from_the_environment_and_live_must_be_typed(
    shell: Shell, sandbox: SandboxHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shell("merchant", "add", "Kaya Tekstil")
    line = line_of(sandbox, "n11")
    missing = await shell("account", "add", "n11", "--base-url", "api=http://127.0.0.1:9", status=1)
    assert "MESCHAIN_CREDENTIAL_APP_KEY" in missing.err
    for name, value in line.credentials.items():
        monkeypatch.setenv(f"MESCHAIN_CREDENTIAL_{name.upper()}", value)
    live = marketplaces()["n11"].manifest.hosts["live"]["api"]
    not_typed = await shell("account", "add", "n11", "--base-url", f"api={live}", status=1)
    assert "--live" in not_typed.err
    nowhere = await shell("account", "add", "n11", status=1)
    assert "meschain sandbox --json" in nowhere.err
    refused = await shell("account", "add", "n11", "--live", status=1)
    assert "Only this machine" in refused.err
    url = f"api={line.base_urls['api']}"
    await shell("account", "add", "n11", "--name", "kaya", "--base-url", url)
    assert [each["name"] for each in items((await shell("account", "list", "--json")).document
                                           ["accounts"])] == ["kaya"]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((" ",), "cannot be a merchant's name"),
        (("Kaya", "--currency", "TLR"), "“TLR” is no currency"),
        (("Kaya", "--time-zone", "Istanbul"), "“Istanbul” is no time zone"),
        (("Kaya", "--country", "Turkey"), "“TURKEY” is no country"),
    ],
)
async def test_what_no_merchant_can_have_is_not_stored(
    shell: Shell, words: tuple[str, ...], said: str
) -> None:
    assert said in (await shell("merchant", "add", *words, status=1)).err
    assert (await shell("merchant", "list", "--json")).document["merchants"] == []
    assert "meschain merchant add NAME" in (await shell("merchant", "list")).out


async def test_what_is_in_the_catalog_only_is_to_be_published_next(
    shell: Shell, accounts_file: Path, tmp_path: Path
) -> None:
    await shell("merchant", "add", "Kaya Tekstil")
    arguments = ("account", "add", "n11", "--credentials-file", str(accounts_file))
    assert "“meschain plan a”" in (await shell(*arguments, "--name", "a")).out
    catalog = tmp_path / "katalog.csv"
    catalog.write_text("sku;title;category\nNOT-THERE;Kazak;Giyim\n", encoding="utf-8")
    await shell("import", "products", str(catalog))
    assert "“meschain listing publish b --plan”" in (await shell(*arguments, "--name", "b")).out
    planned = (await shell("listing", "publish", "b", "--plan")).out
    assert "“Giyim” is not mapped" in planned
    assert "“meschain mapping import --help”" in planned


# — the catalog —


async def test_an_import_is_planned_first_and_a_bad_row_blocks_nothing(
    shell: Shell, tmp_path: Path
) -> None:
    await shell("merchant", "add", "Kaya Tekstil")
    catalog, refused = tmp_path / "katalog.csv", tmp_path / "refused.csv"
    catalog.write_text(CATALOG, encoding="utf-8")
    planned = (await shell("import", "products", str(catalog), "--plan", "--json")).document
    counts = planned["counts"]
    assert isinstance(counts, dict)
    assert (counts["variants_created"], counts["refused"]) == (3, 1)
    assert (await shell("stock", "list", "--json")).document["levels"] == []

    said = await shell("import", "products", str(catalog), "--refused", str(refused))
    assert "row 5  BAD" in said.out
    assert "8,68E+12" in refused.read_text(encoding="utf-8-sig")
    again = await shell("import", "products", str(catalog), "--language", "tr")
    assert "3 aynı kalan" in again.out
    missing = await shell("import", "products", "nowhere.csv", status=1)
    assert "There is no nowhere.csv. Check" in missing.err


async def test_net_prices_of_a_dump_are_shown_with_their_vat(shell: Shell) -> None:
    await shell("merchant", "add", "Kaya Tekstil")
    dump = str(DATA / "opencart3.sql")
    turkish = await shell("import", "products", dump, "--plan", "--language", "tr")
    assert "net 100,00 TL + KDV %20 = 120,00 TL" in turkish.out
    english = await shell("import", "products", dump, "--plan")
    assert "net TRY 100.00 + VAT 20% = TRY 120.00" in english.out


# — plan, arm, run, why —


@pytest.mark.slow
async def test_arming_stops_until_the_counts_are_confirmed_and_then_shelves_follow(
    shop: Shell, sandbox: SandboxHost
) -> None:
    await shop("stock", "set", "KZK-1042-L", "0")
    plan = (await shop("plan", "n11", "--json")).document
    rows = {(row["sku"], row["field"]): row for row in items(plan["rows"])}
    row = rows["KZK-1042-M", "quantity"]
    assert (row["quantity_shown"], row["quantity_desired"]) == (9, 5)
    assert row["verdict"] == "read_only"
    said = await shop("plan", "n11", "--language", "tr")
    assert "1.249,90 TL" in said.out
    assert "salt okunur" in said.out

    stopped = await shop("account", "arm", "n11", "--json", status=1)
    assert stopped.document["exceeded"] == ["to_zero", "price_jumps"]
    assert "--confirm-zero 1 --confirm-price-change 1" in stopped.err
    assert shelf_of(sandbox, "n11", "KZK-1042-M").quantity == 9
    confirmed = ("--confirm-zero", "1", "--confirm-price-change", "1")
    await shop("account", "arm", "n11", *confirmed)
    armed = await shop("account", "arm", "n11", *confirmed, status=1)
    assert "armed already" in armed.err

    await shop("sync", "pause", "n11")
    paused = (await shop("plan", "n11", "--json")).document
    assert {row["verdict"] for row in items(paused["rows"])} == {"paused"}
    await shop("sync", "resume", "n11")
    ran = (await shop("sync", "run", "n11", "--timeout", "30", "--json")).document
    assert ran["is_done"] is True
    shelves = [shelf_of(sandbox, "n11", code) for code in ("KZK-1042-M", "KZK-1042-L")]
    assert [(s.quantity, s.sale_minor) for s in shelves] == [(5, 124_990), (0, 124_990)]
    assert "Every shelf shows what it should" in (await shop("plan", "n11")).out

    audited = (await shop("audit", "n11", "--json")).document
    assert (audited["consistency_bps"], audited["checked"]) == (10_000, 2)
    sandbox.world.set_offer(shop_of(sandbox, "n11"), shelves[0], quantity=77, cause="panel")
    drifted = await shop("audit", "n11", "--json", status=1)
    [drift] = items(drifted.document["drift"])
    assert (drift["shown_quantity"], drift["wanted_quantity"]) == (77, 5)
    assert "--repair" not in drifted.err  # an edit goes by the account's rule
    assert "meschain conflict list" in drifted.err
    assert (await shop("audit", "n11", "--repair", "--json")).document["is_repaired"] is False
    await shop("account", "disarm", "n11")  # what such an account shows is no edit of ours
    assert "--repair" in (await shop("audit", "n11", status=1)).err
    assert "is not armed" in (await shop("audit", "n11", "--repair")).out
    status = (await shop("sync", "status", "--json")).document
    assert status["is_measured"] is False


async def test_what_changes_an_account_says_so_to_scripts_too_and_nothing_asked_is_a_mistake(
    shop: Shell,
) -> None:
    stored = (await shop("account", "show", "n11", "--json")).document
    assert "--share" in (await shop("account", "set", "n11", status=1)).err
    both = await shop("account", "set", "n11", "--maximum", "3", "--no-maximum", status=1)
    assert "exclude each other" in both.err
    assert (await shop("account", "show", "n11", "--json")).document == stored
    said = await shop("account", "set", "n11", "--share", "50", "--maximum", "3", "--json")
    policy = {"share_bps": 5_000, "buffer_units": 0, "quantity_max": 3}
    assert said.document == {"account": "n11", **policy, "skus": 2}
    disarmed = (await shop("account", "disarm", "n11", "--json")).document
    assert disarmed == {"account": "n11", "state": "read_only"}
    rests = (await shop("sync", "pause", "n11", "--json")).document
    assert rests == {"account": "n11", "is_paused": True}
    removed = (await shop("account", "remove", "n11", "--yes", "--json")).document
    assert removed == {"account": "n11", "webhooks_ended": True}


@pytest.mark.parametrize("command", ["merchant list", "up --port 0", "doctor"])
async def test_a_data_folder_that_cannot_be_made_is_named_with_what_to_do(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("MESCHAIN_HOME", str(in_the_way / "home"))
    said = await shell(*command.split(), status=1)
    assert str(in_the_way / "home") in said.out + said.err
    if command != "doctor":
        assert "Name a folder in MESCHAIN_HOME" in said.err


async def test_a_file_that_cannot_be_used_is_named_with_what_to_do(
    shell: Shell, tmp_path: Path
) -> None:
    await shell("merchant", "add", "Kaya")
    in_the_way = tmp_path / "file"
    in_the_way.write_text("sku;quantity\n")
    for file, said in (
        (tmp_path, f"{tmp_path} is a folder. Name a file."),
        (in_the_way / "x.csv", "should be a folder is a file. Correct the path."),
        (tmp_path / "x" / "x.csv", f"There is no {tmp_path / 'x'}"),
    ):
        for command in ("import stock", "export stock --to", "merchant import"):
            told = await shell(*command.split(), str(file), status=1)
            assert said in told.err, command
    told = await shell("import", "stock", str(tmp_path), "--language", "tr", status=1)
    assert "bir klasör. Bir dosya adı verin." in told.err


async def test_what_is_written_can_go_to_standard_output_which_then_holds_nothing_else(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await shell("merchant", "add", "Kaya")
    rows, catalog, file = (tmp_path / name for name in ("rows.csv", "catalog.csv", "file.csv"))
    rows.write_text(
        "marketplace,kind,scope,ours,theirs,theirs_name\nn11,category,,Giyim,1000,\n", "utf-8"
    )
    catalog.write_text(CATALOG, "utf-8")
    await shell("mapping", "import", str(rows))
    await shell("import", "products", str(catalog))
    for command in ("mapping export", "export stock --to", "export products --to"):
        said = (await shell(*command.split(), str(file))).out
        piped = await shell(*command.split(), "-")
        assert piped.out == file.read_text("utf-8")  # whose line ends are changed for both
        assert said.replace(str(file), "-").splitlines()[0] in piped.err
    assert not (tmp_path / "-").exists()


@pytest.mark.slow
async def test_an_order_is_read_packed_and_labelled_and_every_number_explains_itself(
    shop: Shell, sandbox: SandboxHost, tmp_path: Path
) -> None:
    for name in ("trendyol", "n11"):
        await shop("account", "arm", name, "--confirm-price-change", "1")
    people = sandbox.economy.people
    for marketplace in ("trendyol", "n11"):
        shelf = shelf_of(sandbox, marketplace, "KZK-1042-M")
        basket = {shelf.key: 2 if marketplace == "trendyol" else 1}
        sandbox.world.place_order(shop_of(sandbox, marketplace), basket, people.person(1))
    await shop("sync", "run", "--timeout", "30")
    orders = items((await shop("order", "list", "--json")).document["items"])
    number = {str(order["account_name"]): str(order["external_id"]) for order in orders}
    assert set(number) == {"trendyol", "n11"}
    assert "2 × KZK-1042-M" in (await shop("order", "list", "--account", "trendyol")).out

    why = (await shop("why", "KZK-1042-M", "trendyol", "--json")).document
    assert (why["available"], why["quantity_desired"], why["quantity_recomputed"]) == (2, 2, 2)
    assert why["agrees"] is True
    assert why["ledger_agrees"] is True
    assert why["quantity_shown"] == shelf_of(sandbox, "trendyol", "KZK-1042-M").quantity == 2
    said = await shop("why", "KZK-1042-M", "trendyol", "--language", "tr")
    assert "elde 5 − ayrılmış 3 − güvenlik stoğu 0 = satılabilir 2" in said.out
    assert f"trendyol siparişi {number['trendyol']}" in said.out
    assert "1.249,90 TL" in said.out

    picked = (await shop("order", "pick", number["trendyol"], "--json")).document
    assert picked["is_taken"] is True
    # What it spent of the quotas is known exactly, so the next command need not wait a window.
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        known = connection.execute("SELECT (pacer ->> 'final')::boolean FROM ownership").fetchall()
    assert known == [(True,), (True,)]
    [package] = items(picked["packages"])
    assert (package["taken_state"], package["wanted_state"]) == ("picking", "picking")
    assert "accepted by the marketplace" in (await shop("order", "show", number["trendyol"])).out
    invoiced = await shop(
        "order", "invoice", number["trendyol"], "--invoice-number", "KAY2026000000001"
    )
    assert "invoiced" in invoiced.out
    lacking = await shop("order", "invoice", number["n11"], status=1)
    assert "N11 has no invoiced status" in lacking.out
    back = await shop("order", "pick", number["trendyol"], status=1)
    assert "cannot become" in back.err
    one = ("--line", "KZK-1042-M=1", "--reason", "out_of_stock")
    await shop("order", "pick", number["n11"])
    last = await shop("order", "cancel", number["n11"], *one, status=1)
    assert "only while the rest of the package is split off" in last.out
    cancelled = await shop("order", "cancel", number["trendyol"], *one, "--json")
    assert (cancelled.document["is_taken"], cancelled.document["is_certain"]) == (True, True)
    other = await shop("order", "split", number["trendyol"], "--group", "KZK-1042-M=1", status=1)
    assert "has begun" in other.err
    await shop("sync", "run", "--timeout", "30")
    shown = (await shop("order", "show", number["trendyol"], "--json")).document["order"]
    assert isinstance(shown, dict)
    states = Counter(str(each["state"]) for each in items(shown["packages"]))
    assert states == Counter({"superseded": 1, "unsupplied": 1, "invoiced": 1})
    person = await shop("order", "show", number["n11"], "--person")
    assert "buyer" in person.out

    label = tmp_path / "label.pdf"
    await shop("order", "label", number["n11"], str(label))
    assert label.read_bytes().startswith(b"%PDF")
    wrong = await shop("order", "label", number["n11"], str(tmp_path / "label.png"), status=1)
    assert ".pdf or .zpl" in wrong.err


@pytest.mark.slow
async def test_a_lost_answer_is_looked_after_and_repeated_only_where_it_did_not_arrive(
    shop: Shell, sandbox: SandboxHost
) -> None:
    shelf = shelf_of(sandbox, "n11", "KZK-1042-M")
    for number in (2, 3):
        person = sandbox.economy.people.person(number)
        sandbox.world.place_order(shop_of(sandbox, "n11"), {shelf.key: 1}, person)
    await shop("sync", "run", "n11", "--timeout", "30")
    orders = items((await shop("order", "list", "--json")).document["items"])
    first, second = sorted(str(order["external_id"]) for order in orders)
    unarmed = await shop("order", "pick", first, status=1)
    assert "not armed" in unarmed.err
    await shop("account", "arm", "n11", "--confirm-price-change", "1")

    sandbox.economy.faults.force(Fault.RESET, count=1, marketplace="n11")
    await shop("order", "pick", first)
    sandbox.economy.faults.force(Fault.TIMEOUT_AFTER_APPLYING, count=1, marketplace="n11")
    applied = await shop("order", "pick", second)
    assert "being packed" in applied.out
    picked = [
        entry
        for entry in sandbox.world.journal
        if entry.kind == "parcel" and "picking" in str(entry.facts)
    ]
    assert len(picked) == 2
    assert (await shop("order", "pick", second)).out.count("being packed") == 1


@pytest.mark.slow
async def test_beside_a_running_hub_a_command_asks_it_and_spends_no_quota_of_its_own(
    shop: Shell,
    sandbox: SandboxHost,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await shop("account", "arm", "trendyol", "--confirm-price-change", "1")
    opened_by: list[Hub] = []
    open_account = Hub.open_account

    async def noted(self: Hub, claimed: Claimed) -> ServedAccount | None:
        opened_by.append(self)
        return await open_account(self, claimed)

    monkeypatch.setattr(Hub, "open_account", noted)
    settings = HubSettings(database_url, tmp_path / "home" / "master.key", loopback_only=True)
    async with Hub.opened(settings) as hub:
        await hub.engine.start()
        shelf = shelf_of(sandbox, "trendyol", "KZK-1042-M")
        person = sandbox.economy.people.person(1)
        order = sandbox.world.place_order(shop_of(sandbox, "trendyol"), {shelf.key: 1}, person)
        run = (await shop("sync", "run", "--json", "--timeout", "30")).document
        assert run["is_done"] is True
        picked = (await shop("order", "pick", order.number, "--json")).document
        assert picked["is_taken"] is True
        await hub.engine.stop()
    states = [order.parcels[0].state]
    assert set(opened_by) == {hub}
    # With nobody there, the command takes the lease itself, and gives it back.
    await shop("order", "invoice", order.number)
    states.append(order.parcels[0].state)
    assert states == [ParcelState.PICKING, ParcelState.INVOICED]
    with psycopg.connect(database_url) as connection:
        held = connection.execute("SELECT owner, pacer IS NOT NULL FROM ownership").fetchall()
    assert (None, True) in held
    assert {owner for owner, _ in held} == {None}


async def test_an_unknown_sku_is_linked_later_and_reserved_from_then_on(
    shop: Shell, sandbox: SandboxHost
) -> None:
    shelf = shelf_of(sandbox, "n11", "THEIRS")
    person = sandbox.economy.people.person(3)
    sandbox.world.place_order(shop_of(sandbox, "n11"), {shelf.key: 1}, person)
    await shop("sync", "run", "n11", "--timeout", "30")
    [order] = items((await shop("order", "list", "--json")).document["items"])
    number = str(order["external_id"])
    assert "unknown" in (await shop("order", "show", number)).out
    await shop("order", "link-line", number, "THEIRS", "NOPE", status=1)
    await shop("order", "link-line", number, "THEIRS", "TRK-7")
    again = await shop("order", "link-line", number, "THEIRS", "TRK-7", status=1)
    assert "no line of an unknown SKU" in again.err
    levels = items((await shop("stock", "list", "--search", "TRK", "--json")).document["levels"])
    assert [(level["on_hand"], level["reserved"]) for level in levels] == [(20, 1)]


# — stock and prices —


@pytest.mark.slow
async def test_stock_and_prices_by_hand_are_booked_and_explained(
    shop: Shell, tmp_path: Path
) -> None:
    await shop("stock", "receive", "TRK-7", "5", "--reason", "iade")
    counted = (await shop("stock", "set", "TRK-7", "22", "--json")).document
    assert (counted["on_hand_before"], counted["on_hand"], counted["delta"]) == (25, 22, -3)
    await shop("stock", "safety", "TRK-7", "2")
    ledger = items((await shop("stock", "ledger", "TRK-7", "--json")).document["movements"])
    assert [(m["kind"], m["on_hand_delta"]) for m in ledger] == [
        ("adjustment", -3),
        ("receipt", 5),
        ("receipt", 20),
    ]
    unknown = await shop("stock", "set", "NOPE", "1", status=1)
    assert "The catalog does not hold: NOPE" in unknown.err

    prices = tmp_path / "prices.csv"
    prices.write_text(
        "sku;list_price;sale_price\nTRK-7;499,90;449,90\nNOPE;1;1\nKZK-1042-M;;9999,00\n",
        encoding="utf-8",
    )
    planned = (await shop("price", "set", "--file", str(prices), "--plan", "--json")).document
    [change] = items(planned["changed"])
    assert (change["sale_before_minor"], change["sale_minor"]) == (34_990, 44_990)
    assert [row["code"] for row in items(planned["refused"])] == [
        "sheet.sku_unknown",
        "price.sale_above_list",
    ]
    done = await shop("price", "set", "--file", str(prices), "--language", "tr")
    assert "449,90 TL" in done.out
    one = await shop("price", "set", "TRK-7", "--sale", "399.90", "--json")
    assert items(one.document["changed"])[0]["sale_before_minor"] == 44_990
    grouped = await shop("price", "set", "TRK-7", "--sale", "1.249,90", status=2)
    assert "without grouping" in grouped.err


# — what goes wrong as expected —


async def test_errors_say_what_happened_and_what_to_do_next(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = await shell("plan", status=1)
    assert "meschain merchant add" in nobody.err
    await shell("merchant", "add", "Kaya")
    await shell("merchant", "add", "Demir")
    which = await shell("plan", status=1)
    assert "--merchant: Kaya, Demir" in which.err
    await shell("plan", "--merchant", "Kaya")
    none = await shell("why", "A", "trendyol", "--merchant", "Kaya", status=1)
    assert "meschain account add" in none.err
    unknown = await shell("account", "add", "amazn", "--merchant", "Kaya", status=1)
    assert "There are: n11, trendyol" in unknown.err
    monkeypatch.setenv("DATABASE_URL", "postgresql://hub@127.0.0.1:1/hub")
    away = await shell("plan", "--language", "tr", status=1)
    assert "Veritabanı yanıt vermiyor" in away.err


# — the embedded database and the hub —


PATIENCE_S = 120.0  # on a busy machine


class Home:
    """A data folder with the embedded server, and commands as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        self._environment = kept | {"MESCHAIN_HOME": str(folder), "MESCHAIN_LANG": "en"}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "meschain", *words],
            env=self._environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str) -> str:
        process = self.start(*words)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        return out


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    yield Home(tmp_path / "home")
    EmbeddedPostgres(tmp_path / "home" / "postgres").remove()


@pytest.mark.slow
def test_commands_share_the_embedded_server_with_each_other_and_with_a_running_hub(
    home: Home,
) -> None:
    home.run("merchant", "add", "Kaya")
    # Each of these finds the server started by another one, or starts it; none stops it too soon.
    beside = [home.start("merchant", "list", "--json") for _ in range(3)]
    for process in beside:
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        assert json.loads(out)["merchants"][0]["name"] == "Kaya"

    hub = home.start("up", "--port", "0", "--json")
    try:
        assert hub.stdout is not None
        address = json.loads(hub.stdout.readline())
        assert address["url"].startswith("http://127.0.0.1:")
        second = home.start("up", "--port", "0")
        _, err = second.communicate(timeout=PATIENCE_S)
        assert second.returncode == 1
        assert f"process {hub.pid}" in err
        measured = json.loads(home.run("sync", "status", "--json"))
        assert measured["is_measured"] is True, "told by the hub over its API"
    finally:
        began_s = time.monotonic()
        hub.send_signal(signal.SIGINT)
        _, err = hub.communicate(timeout=PATIENCE_S)
    assert hub.returncode == 0, err
    assert time.monotonic() - began_s < 3.0
    assert not (home.folder / "hub.json").exists()
    assert "Kaya" in home.run("merchant", "list")


@pytest.mark.slow
def test_a_command_that_waits_for_another_says_so(home: Home) -> None:
    """It has started the server that the other one uses, and must not take it away."""
    home.run("merchant", "add", "Kaya")
    with (home.folder / "commands.lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        waiting = home.start("merchant", "list")
        assert waiting.stderr is not None
        assert "waiting for it to end" in waiting.stderr.readline()
        assert waiting.poll() is None
    out, err = waiting.communicate(timeout=PATIENCE_S)
    assert waiting.returncode == 0, err
    assert "Kaya" in out


@pytest.mark.slow
def test_an_interrupt_while_the_program_is_read_ends_it_without_a_traceback(
    home: Home, tmp_path: Path
) -> None:
    """A module that takes its time stands for a slow disk."""
    slow = tmp_path / "slow"
    slow.mkdir()
    text = "import sys, time\nprint('reading', flush=True)\ntime.sleep(60)\n"
    (slow / "click.py").write_text(text, encoding="utf-8")
    reading = home.start("merchant", "list", PYTHONPATH=str(slow))
    assert reading.stdout is not None
    assert reading.stdout.readline() == "reading\n"
    reading.send_signal(signal.SIGINT)
    _, err = reading.communicate(timeout=PATIENCE_S)
    assert (reading.returncode, err) == (130, "")


@pytest.mark.slow
def test_a_database_that_is_gone_is_not_taken_for_one_that_was_never_made(home: Home) -> None:
    assert "there is no database yet" in home.run("doctor")
    home.run("merchant", "add", "Kaya")
    home.run("plan")
    cluster = home_of(home.folder / "postgres") / "cluster"
    away = cluster.rename(cluster.with_name("away"))
    looking = home.start("doctor")
    out, _ = looking.communicate(timeout=PATIENCE_S)
    assert looking.returncode == 1
    assert f"{cluster}: the database of this hub is gone" in out
    for words in (("up", "--port", "0"), ("merchant", "list"), ("backup",)):
        refused = home.start(*words)
        _, err = refused.communicate(timeout=PATIENCE_S)
        assert refused.returncode == 1
        assert "is gone" in err
        assert not cluster.exists(), "an empty one would be taken for it"
    away.rename(cluster)
    assert "Kaya" in home.run("merchant", "list")
