"""An import that is killed, and the same command again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psycopg
import pytest

Connection = psycopg.Connection[tuple[object, ...]]
PRODUCTS = 8_000
HEADER = "model_code;sku;barcode;title;sale_price;quantity;vat_percent;bundle\n"
# Whatever the catalog holds, by its own names; ids differ between two merchants.
CATALOG = (
    "SELECT p.model_code, p.search_text, c.title, v.sku, v.barcode, v.sale_price_minor,"
    " s.on_hand, (SELECT sum(m.on_hand_delta) FROM stock_movement m"
    " WHERE m.merchant_id = v.merchant_id AND m.variant_id = v.variant_id),"
    " (SELECT count(*) FROM stock_movement m"
    " WHERE m.merchant_id = v.merchant_id AND m.variant_id = v.variant_id),"
    " (SELECT string_agg(o.sku || '*' || b.units, '|') FROM bundle_component b"
    " JOIN variant o ON o.merchant_id = b.merchant_id AND o.variant_id = b.component_variant_id"
    " WHERE b.merchant_id = v.merchant_id AND b.bundle_variant_id = v.variant_id)"
    " FROM merchant JOIN product p USING (merchant_id) JOIN variant v USING (merchant_id,"
    " product_id) LEFT JOIN product_content c USING (merchant_id, product_id)"
    " LEFT JOIN stock_level s USING (merchant_id, variant_id)"
    " WHERE merchant.name = %s ORDER BY v.sku"
)


class Said(msgspec.Struct):
    """What a finished import prints."""

    import_id: int
    continued: int
    counts: dict[str, int]
    refused: list[dict[str, object]]


@dataclass(frozen=True, slots=True)
class Hub:
    """The program itself, as processes of its own."""

    url: str
    home: Path

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """A command, in a process group of its own."""
        environment = os.environ | {
            "DATABASE_URL": self.url,
            "MESCHAIN_HOME": str(self.home),
            "MESCHAIN_LANG": "en",
        }
        return subprocess.Popen(
            [sys.executable, "-m", "meschain", *words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def run(self, *words: str) -> bytes:
        """A command to its end."""
        process = self.start(*words)
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        return out

    def take(self, file: Path, merchant: str) -> Said:
        """Import the file for a merchant."""
        out = self.run("import", "products", str(file), "--merchant", merchant, "--json")
        return msgspec.json.decode(out, type=Said)


@pytest.fixture
def hub(database_url: str, tmp_path: Path) -> Hub:
    hub = Hub(database_url, tmp_path / "home")
    for name in ("Kaya", "Demir"):
        hub.run("merchant", "add", name)
    return hub


def write(file: Path, products: int, units: int) -> None:
    """Single products, a set above its parts, one bad row, one SKU twice."""
    with file.open("w", encoding="utf-8") as target:
        target.write(HEADER)
        target.write("SET;SET-1;;Set;100,00;;20;S-3*2|S-4\n")
        for n in range(products):
            vat = 18 if n == 100 else 20
            target.write(f"M-{n // 2};S-{n};INT-{n};Kazak {n // 2};49,90;{units};{vat};\n")
        target.write("M-0;S-1;;Kazak 0;49,90;9;20;\n")


def killed_at(hub: Hub, connection: Connection, file: Path, steps: int) -> None:
    """Import for Kaya, and kill -9 once so many chunks are in."""
    process = hub.start("import", "products", str(file), "--merchant", "Kaya", "--json")
    try:
        until_s = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until_s:
            row = connection.execute("SELECT count(*) FROM import_step").fetchone()
            if row is not None and int(str(row[0])) >= steps:
                break
            time.sleep(0.005)
        assert process.poll() is None, "it ended before it was killed"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_killed_and_said_again_it_ends_as_if_it_had_not_been_killed(
    hub: Hub, tmp_path: Path, database_url: str
) -> None:
    file = tmp_path / "catalog.csv"
    write(file, PRODUCTS, units=5)
    with psycopg.connect(database_url, autocommit=True) as connection:
        killed_at(hub, connection, file, steps=2)
        # One unit of the first chunk is sold before the import goes on: it must stay sold.
        connection.execute(
            "SELECT move_stock(merchant_id, location_id, 'sale', ARRAY[variant_id], ARRAY[-1],"
            " 'test', 'test', now(), 1) FROM variant JOIN location USING (merchant_id)"
            " WHERE sku = 'S-10'"
        )
        again = hub.take(file, "Kaya")
        assert 2_000 <= again.continued < PRODUCTS
        whole = hub.take(file, "Demir")
        assert whole.continued == 0
        assert again.counts == whole.counts
        assert again.counts["variants_created"] == PRODUCTS
        assert again.refused == whole.refused
        assert [each["sku"] for each in again.refused] == ["S-100", "S-1"]
        runs = connection.execute(
            "SELECT counts FROM import_run WHERE ended_at IS NOT NULL ORDER BY import_id"
        ).fetchall()
        assert [row[0] for row in runs] == [again.counts, whole.counts]

        kaya = connection.execute(CATALOG.encode(), ("Kaya",)).fetchall()
        demir = connection.execute(CATALOG.encode(), ("Demir",)).fetchall()
        sold = {row[3]: row for row in kaya}.pop("S-10")
        assert sold[6:9] == (4, 4, 2)
        assert [row for row in kaya if row[3] != "S-10"] == [r for r in demir if r[3] != "S-10"]

        # All of it is one import: put back, nothing is left but what was sold of.
        hub.run("import", "undo", str(again.import_id), "--merchant", "Kaya")
        left = connection.execute(CATALOG.encode(), ("Kaya",)).fetchall()
        assert [row[3] for row in left] == ["S-10"]


def test_a_changed_file_or_another_way_to_read_it_begins_anew(
    hub: Hub, tmp_path: Path, database_url: str
) -> None:
    file = tmp_path / "catalog.csv"
    write(file, PRODUCTS, units=5)
    with psycopg.connect(database_url, autocommit=True) as connection:
        killed_at(hub, connection, file, steps=1)
        said = hub.run(
            *("import", "products", str(file), "--merchant", "Kaya", "--json"),
            *("--decimal", ","),
        )
        assert msgspec.json.decode(said, type=Said).continued == 0
        killed_at(hub, connection, file, steps=PRODUCTS // 1_000 + 3)
        with file.open("a", encoding="utf-8") as target:
            target.write("M-X;S-X;;Şal;10,00;1;20;\n")
        assert hub.take(file, "Kaya").continued == 0
