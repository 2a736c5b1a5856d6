"""The commands of docs/guides run as they stand, in order, in a home of their own.

A guide that has something to run says so by a comment that its reader does not see:
``<!-- test`` holds lines of shell that prepare or check what stands around it,
``<!-- background -->`` before a block says that its command serves until it is ended.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from meschain.store.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
TIMEOUT_S = 240
PIECES = re.compile(
    r"^<!-- test\n(?P<hidden>.*?)^-->"
    r"|(?P<background>^<!-- background -->\n)?^```(?:sh)?\n(?P<block>meschain .*?)^```",
    re.MULTILINE | re.DOTALL,
)
PREAMBLE = """
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
# control METHOD PATH [BODY]: the sandbox's control interface
control() {
    "$PYTHON" - "$@" <<'END'
import json, sys, urllib.request
method, path, *body = sys.argv[1:]
with open("accounts.json", encoding="utf-8") as lines:
    url = json.loads(lines.readline())["control_url"] + "/control" + path
data = body[0].encode() if body else None
request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
print(urllib.request.urlopen(request, timeout=10).read().decode())
END
}
# eventually TEXT COMMAND…: until the command says it
eventually() {
    for _ in $(seq 60); do
        if "${@:2}" 2>&1 | grep -qF -- "$1"; then return; fi
        sleep 0.5
    done
    echo "never said: $1" >&2
    return 1
}
"""


def script_of(guide: str) -> str:
    """What the guide has its reader type, with what the reader does not see."""
    lines = [PREAMBLE]
    for piece in PIECES.finditer(guide):
        if piece["background"]:
            command = piece["block"].strip()
            lines.append(
                f"{command} > accounts.json &\nuntil [ -s accounts.json ]; do sleep 0.1; done"
            )
        else:
            lines.append(piece["hidden"] or f"set -x\n{piece['block']}{{ set +x; }} 2>/dev/null")
    return "\n".join(lines)


TRANSLATED = {"ilk-gun": "first-day"}  # the same commands in the same order, other files


def words_of(guide: str) -> list[list[str]]:
    """Of each command that its reader types, what is the program's own: no names of files."""
    text = (GUIDES / f"{guide}.md").read_text("utf-8")
    typed = [piece["block"] for piece in PIECES.finditer(text) if piece["block"]]
    return [
        [word for word in line.split() if re.fullmatch(r"meschain|[a-z]+|--[a-z-]+", word)][:3]
        + re.findall(r"--[a-z-]+", line)
        for line in "\n".join(typed).splitlines()
        if line.startswith("meschain ")
    ]


@pytest.mark.parametrize(("guide", "original"), TRANSLATED.items())
def test_a_translated_guide_gives_the_same_commands(guide: str, original: str) -> None:
    assert words_of(guide) == words_of(original)
    assert len(words_of(guide)) > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        path
        for path in sorted(GUIDES.glob("*.md"))
        if "<!-- test" in path.read_text("utf-8") and path.stem not in TRANSLATED
    ],
    ids=lambda path: path.stem,
)
def test_a_guides_commands_do_what_it_says(path: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "meschain"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c '
        f'"import sys; from meschain.cli import main; sys.exit(main())" "$@"\n',
        encoding="utf-8",
    )
    program.chmod(0o755)
    folder = tmp_path / "shop"
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    process = subprocess.Popen(
        ["bash", "-c", script_of(path.read_text("utf-8"))],  # noqa: S607 -- wherever it is
        cwd=folder,
        env=kept
        | {
            "PATH": f"{program.parent}:{kept.get('PATH', os.defpath)}",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT / "src"),
            "MESCHAIN_HOME": str(tmp_path / "home"),
            "MESCHAIN_LANG": "en",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        pytest.fail(f"does not end:\n{said}")
    finally:
        # As root it lies outside the home, and would stay there.
        EmbeddedPostgres(tmp_path / "home" / "postgres").remove()
    assert process.returncode == 0, said


def test_the_sandboxs_guide_names_every_operation() -> None:
    guide = (GUIDES / "sandbox.md").read_text("utf-8")
    source = (ROOT / "src" / "meschain" / "sandbox" / "control.py").read_text("utf-8")
    paths = set(re.findall(r'web\.(?:get|post|put)\("/control/([a-z/-]+)"', source))
    assert len(paths) > 15
    assert {path for path in paths if f"/{path}" not in guide} == set()
