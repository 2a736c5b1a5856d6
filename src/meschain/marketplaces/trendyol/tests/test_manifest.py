"""The manifest and the texts agree with the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec

from meschain.channel.contract import Channel
from meschain.domain.order import PackageState
from meschain.marketplaces.trendyol.channel import SETTINGS, connect
from meschain.marketplaces.trendyol.facade.settings import Settings
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


def test_every_advice_and_credential_has_a_text_in_both_languages() -> None:
    texts = tomllib.loads((FOLDER / "messages.toml").read_text())
    used = set(re.findall(r'"(advice\.trendyol\.[a-z_]+)"', SOURCE))
    used |= {f"credential.trendyol.{each.name}" for each in channel()[0].manifest.credentials}
    assert texts["en"].keys() == texts["tr"].keys() == used


def test_the_channel_satisfies_the_contract() -> None:
    offered = {name for name in vars(Channel) if not name.startswith("_")}
    assert offered <= set(dir(channel()[0]))
    assert callable(connect)


def _settings_told(readme: Path) -> dict[str, list[str]]:
    """Name → what its row in the tables lists in backticks, the default first."""
    told: dict[str, list[str]] = {}
    for line in readme.read_text().splitlines():
        cells = line.split(" | ")
        for name in re.findall(r"`([a-z_0-9]+)`", cells[0]) if len(cells) > 2 else ():
            told[name] = re.findall(r"`([^`]+)`", cells[1])
    return told


def test_the_facades_readme_tells_every_setting_with_its_values_and_its_default_first() -> None:
    told = _settings_told(FOLDER / "facade" / "README.md")
    hints = get_type_hints(Settings)
    for name, default in msgspec.structs.asdict(Settings()).items():
        values = get_args(hints[name]) or (default,)
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        assert shown in told[name], name
        if len(values) > 1:
            assert (told[name][0], set(told[name])) == (default, set(values)), name


def test_the_readme_tells_every_setting_of_an_account() -> None:
    told = _settings_told(FOLDER / "README.md")
    for name, values in SETTINGS.items():
        assert set(values) <= set(told[name]), name
