"""Every benchmark runs to its end and says what it measured; how fast it was is not asked here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
SMALLEST: dict[str, tuple[str, set[str]]] = {
    "order_intake": (
        "--skus 20 --listings 6 --clients 2 --seconds 1 --repeat 1",
        {"orders_per_s", "order_ms_p99"},
    ),
    "throughput": (
        "--offers 200 --accounts 2 --batches 50 --repeat 1",
        {"offers_acknowledged_per_s", "shelves_equal"},
    ),
    "mass_change": (
        "--prices 400 --accounts 2 --quiet-s 0.5 --repeat 1",
        {"rows_per_s", "sale_ms_p99"},
    ),
    "propagation": (
        "--accounts 2 --orders-per-s 5 --webhooks on --skus 40 --seconds 1 --warm-up-s 0.5",
        {"hub_p99_ms", "trendyol_total_p50_ms", "shelves_missing"},
    ),
    "import": ("--products 30 --formats csv google", {"rows_per_s", "grown_mib"}),
    "many_merchants": (
        "--merchants 2 --skus 20 --large-skus 40 --sales-per-s 5 --seconds 1",
        {"rest_hub_cores", "added_ms_p99"},
    ),
    "first_day": ("--skus 20 --minutes 0.2", {"sent", "on_sale"}),
}


def test_every_benchmark_has_its_readme_and_its_smallest_run() -> None:
    folders = {path.parent.name for path in (ROOT / "bench").glob("*/__main__.py")}

    assert folders == SMALLEST.keys()
    assert all((ROOT / "bench" / name / "README.md").exists() for name in folders)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_benchmark_ends_with_one_json_object_of_what_it_measured(name: str) -> None:
    arguments, columns = SMALLEST[name]

    ended = subprocess.run(
        [sys.executable, "-m", f"bench.{name}", "--json", *arguments.split()],
        cwd=ROOT,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
        encoding="utf-8",
    )

    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout.splitlines()[-1])
    assert result["bench"] == name
    assert result["environment"]["cores"] > 0
    assert columns <= set().union(*(row.keys() for row in result["rows"]))
