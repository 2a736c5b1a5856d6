"""Settings of the embedded server: what our load needs, within what the machine has."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import psutil

MIB: Final = 1024 * 1024
CGROUP_LIMITS: Final = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
SHARED_MEMORY_FOLDER: Final = Path("/dev/shm")  # noqa: S108 -- only its size is looked at
# Parallel queries put their segments there; a container's usual 64 MiB is not enough for them.
SHARED_MEMORY_BYTES_MIN: Final = 256 * MIB


def server_settings(home: Path) -> dict[str, str]:
    """Settings given at every start, so that they follow the machine and our version."""
    wal_bytes_max = min(4096 * MIB, max(256 * MIB, shutil.disk_usage(home).free // 10))
    return {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        # The hub shares the machine with it, and the system's own cache does the rest.
        "shared_buffers": f"{min(2048 * MIB, max(64 * MIB, memory_bytes() // 8)) // MIB}MB",
        "dynamic_shared_memory_type": dynamic_shared_memory_type(),
        # A sale that was answered is a sale that stays.
        "synchronous_commit": "on",
        # Few, spread checkpoints: each makes the next write of every page a whole page in the log.
        "max_wal_size": f"{wal_bytes_max // MIB}MB",
        "checkpoint_timeout": "15min",
        # Measured: compression costs our narrow updates two to four times the time.
        "wal_compression": "off",
        # Our statements are short; compiling them takes longer than running them.
        "jit": "off",
        # An index page costs about the same wherever it lies: solid-state disks are the rule.
        "random_page_cost": "1.1",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "lc_messages": "C",
        # Values in failed statements may be a buyer's personal data: keep them out of the log.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }


def memory_bytes() -> int:
    """Memory of the machine, or of the container when that has less."""
    limits = [psutil.virtual_memory().total]
    for path in CGROUP_LIMITS:
        try:
            limits.append(int(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            # No such control group, or "max": no limit.
            continue
    return min(limits)


def dynamic_shared_memory_type() -> str:
    """`posix` where there is room for it, else files in the data directory."""
    try:
        status = os.statvfs(SHARED_MEMORY_FOLDER)
    except OSError:
        # macOS has POSIX shared memory without such a folder; Linux without the folder has none.
        return "posix" if os.uname().sysname == "Darwin" else "mmap"
    is_roomy = status.f_bavail * status.f_frsize >= SHARED_MEMORY_BYTES_MIN
    is_open = SHARED_MEMORY_FOLDER.stat().st_mode & 0o002
    return "posix" if is_roomy and is_open else "mmap"
