"""As whom the server runs: ourselves, or, since PostgreSQL refuses root, someone with less."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from meschain.store.embedded.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from collections.abc import Sequence

# With a user `meschain` on the machine, the server shares its user with no other program.
UNPRIVILEGED_NAMES: Final = ("meschain", "nobody")
SWITCH_TIMEOUT_S: Final = 10


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user and group ids of the server; `is_other` when the hub must switch to them."""

    uid: int
    gid: int
    is_other: bool

    @property
    def name(self) -> str | None:
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return None

    def run(
        self, command: Sequence[str | Path], *, cwd: Path, timeout_s: float, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end as this user, with next to no environment of ours.

        Raises: EmbeddedPostgresError `pg.user_switch_forbidden` when we may not become this user;
        OSError when the program is out of this user's reach.
        """
        try:
            return subprocess.run(
                command,
                cwd=cwd,
                env=bare_environment(**environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
                text=True,
                errors="replace",
                timeout=timeout_s,
                umask=0o077,
                user=self.uid if self.is_other else None,
                group=self.gid if self.is_other else None,
                extra_groups=[] if self.is_other else None,
            )
        except OSError as error:
            # Not letting us in is EACCES; not letting us become someone is EPERM, or EINVAL where
            # a container has no such user id.
            if self.is_other and error.errno in (errno.EPERM, errno.EINVAL):
                raise EmbeddedPostgresError(
                    "pg.user_switch_forbidden",
                    user=self.name or self.uid,
                    reason=os.strerror(error.errno),
                ) from error
            raise

    def spawn(
        self, command: Sequence[str | Path], *, cwd: Path, log: int
    ) -> subprocess.Popen[bytes]:
        """Start a program as this user in a session of its own, so that Ctrl-C reaches only us."""
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=bare_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=0o077,
            user=self.uid if self.is_other else None,
            group=self.gid if self.is_other else None,
            extra_groups=[] if self.is_other else None,
        )

    def can_run(self, programs: Sequence[Path], *, timeout_s: float) -> bool:
        """Whether this user reaches and can load every one of `programs`, tried with --version."""
        try:
            return all(
                self.run([each, "--version"], cwd=Path("/"), timeout_s=timeout_s).returncode == 0
                for each in programs
            )
        except OSError:
            return False

    def check_switch(self) -> None:
        """Raise `pg.user_switch_forbidden` unless we may become this user."""
        # A folder can be run by nobody; what counts is whether we get as far as trying.
        self.can_run([Path("/")], timeout_s=SWITCH_TIMEOUT_S)

    def can_enter(self, folder: Path) -> bool:
        """Whether this user may pass every folder from the root down to and including `folder`."""
        whole = folder.resolve()
        return all(self._may_pass(each) for each in (whole, *whole.parents))

    def _may_pass(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def choose_server_user(cluster: Path) -> ServerUser:
    """Choose whom the server over `cluster` runs as; an existing cluster keeps its owner.

    Raises: EmbeddedPostgresError `pg.wrong_owner`, `pg.no_unprivileged_user`.
    """
    owner = cluster.stat() if cluster.exists() else None
    ourselves = ServerUser(os.geteuid(), os.getegid(), is_other=False)
    if ourselves.uid != 0:
        if owner is not None and owner.st_uid != ourselves.uid:
            raise EmbeddedPostgresError(
                "pg.wrong_owner", cluster=cluster, owner=owner.st_uid, user=ourselves.uid
            )
        return ourselves
    if owner is not None and owner.st_uid != 0:
        return ServerUser(owner.st_uid, owner.st_gid, is_other=True)
    for name in UNPRIVILEGED_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerUser(entry.pw_uid, entry.pw_gid, is_other=True)
    raise EmbeddedPostgresError("pg.no_unprivileged_user")


def bare_environment(**more: str) -> dict[str, str]:
    """An environment in which neither our PG* variables nor our locale can reach the server."""
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **more}
