"""The manifest and the texts agree with the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from meschain.channel.contract import Channel
from meschain.domain.order import PackageState
from meschain.marketplaces.trendyol.channel import connect
from meschain.marketplaces.trendyol.tests.playback import channel

FOLDER = Path(__file__).parents[1]
SOURCE = "\n".join(
    path.read_text()
    for path in [FOLDER / "channel.py", FOLDER / "client.py", *FOLDER.glob("mapping/*.py")]
)


def test_every_operation_has_quotas_that_exist_and_a_source() -> None:
    manifest = channel()[0].manifest
    groups = {quota.group for quota in manifest.quotas}
    for operation in manifest.operations.values():
        assert operation.source
        assert "burst" in operation.quotas
        assert set(operation.quotas) <= groups
    for quota in manifest.quotas:
        assert set(quota.limit) <= set(manifest.tiers)


def test_the_operations_of_the_client_are_those_of_the_manifest() -> None:
    named = set(re.findall(r'"([a-z_]+)"', (FOLDER / "client.py").read_text()))
    splits = {"multi_split", "quantity_split", "split_packages"}  # named after their endpoints
    assert set(channel()[0].manifest.operations) <= named | splits


def test_every_state_of_the_machine_is_a_neutral_state() -> None:
    states = channel()[0].manifest.states
    assert set(map(PackageState, states.values())) == set(PackageState)


def test_every_advice_has_a_text_in_both_languages() -> None:
    texts = tomllib.loads((FOLDER / "messages.toml").read_text())
    used = set(re.findall(r'"(advice\.trendyol\.[a-z_]+)"', SOURCE))
    assert texts["en"].keys() == texts["tr"].keys() == used


def test_the_channel_satisfies_the_contract() -> None:
    offered = {name for name in vars(Channel) if not name.startswith("_")}
    assert offered <= set(dir(channel()[0]))
    assert callable(connect)
