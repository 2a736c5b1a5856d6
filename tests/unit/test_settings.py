"""Settings that nobody can mean are refused, each with the place where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from meschain.cli.tree import root
from meschain.settings import Settings, SettingsInvalid


@pytest.mark.parametrize("line", ["every_hours = 0", "keep_daily = -1", "test_every_days = 0"])
def test_a_plan_of_backups_that_makes_no_sense_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(f"[backup]\n{line}\n", encoding="utf-8")
    with pytest.raises(SettingsInvalid, match=line.partition(" ")[0]):
        Settings.load({"MESCHAIN_HOME": str(tmp_path)})


def test_a_broken_file_in_the_usual_folder_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".local" / "share" / "meschain"
    folder.mkdir(parents=True)
    (folder / "settings.toml").write_text("[backup\n", encoding="utf-8")
    for name in ("MESCHAIN_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MESCHAIN_LANG", "tr")
    result = CliRunner().invoke(root, ["doctor"])
    assert result.exit_code == 1
    assert "Bir ayar anlaşılamadı" in result.stderr
    assert str(folder) in result.stderr
