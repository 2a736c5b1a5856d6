"""The tree of commands, and the edge at which everything that goes wrong becomes a sentence."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

import click

from meschain import __version__
from meschain.cli import INTERRUPTED
from meschain.cli.failure import Failure, explain
from meschain.cli.help import Group, misuse
from meschain.cli.session import Session
from meschain.settings import Settings, SettingsInvalid
from meschain.telemetry import configure_logging

if TYPE_CHECKING:
    from meschain.messages import Catalog

log = logging.getLogger(__name__)

# Command → module and name there; loaded when it is called, for each brings what only it needs.
_COMMANDS: Final = {
    "up": "hub:up",
    "worker": "hub:worker",
    "sandbox": "hub:sandbox",
    "merchant": "merchant:merchant",
    "account": "account:account",
    "import": "catalog:import_",
    "export": "files.export:export",
    "feed": "imports.feed:feed",
    "image": "images.image:image",
    "mapping": "catalog:mapping",
    "listing": "listing:listing",
    "stock": "stock:stock",
    "price": "stock:price",
    "order": "order:order",
    "personal-data": "personal_data.command:personal_data",
    "sync": "sync:sync",
    "plan": "plan:plan",
    "why": "why:why",
    "audit": "audit:audit",
    "conflict": "conflict:conflict",
    "problems": "problems:problems",
    "webhook": "webhook:webhook",
    "backup": "backup:backup",
    "restore": "backup:restore",
    "key": "key:key",
    "doctor": "doctor:doctor",
    "logs": "logs:logs",
}
_DEFECT: Final = 70
_MISUSED: Final = 2


class Root(Group):
    """Begins the session and ends it with a status."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        place = _COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        command = getattr(import_module(f"meschain.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read us has had enough, as `head` does. Nothing more can be said to them, and
            # nothing went wrong: click would end with a status that says so.
            sys.stdout = None
            return 0

    def main(  # type: ignore[override]  # never a value: what click would do itself is done here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: object
    ) -> NoReturn:
        del extra
        sys.exit(self._run(list(sys.argv[1:] if args is None else args), prog_name or "meschain"))

    def _run(self, argv: list[str], prog_name: str) -> int:
        try:
            session = Session.begin(Settings.load(), _language_in(argv))
        except SettingsInvalid as wrong:
            session = Session.begin(Settings.without_file(), _language_in(argv))
            session.out.warn(explain(wrong, session.catalog) or str(wrong))
            return 1
        configure_logging(session.settings.log_level)
        _end_on_sigterm()
        try:
            status = super().main(argv, prog_name, standalone_mode=False, obj=session)
        except click.exceptions.NoArgsIsHelpError as helped:
            session.out.line(helped.message)
            return _MISUSED
        except click.UsageError as wrong:
            session.out.warn(misuse(wrong, session.catalog))
            return _MISUSED
        except (click.Abort, KeyboardInterrupt):
            session.out.note("cli.interrupted")
            return INTERRUPTED
        except Exception as defect:  # noqa: BLE001 – the process edge: nobody reads a traceback
            return _end(defect, session.out.warn, session.catalog)
        return status if isinstance(status, int) else 0


def _end(defect: Exception, warn: Callable[[str], None], catalog: Catalog) -> int:
    said = explain(defect, catalog)
    if said is None:
        log.error("command failed", exc_info=defect)
        warn(catalog.text("cli.failure.defect", words=f"{type(defect).__name__}: {defect}"))
        return _DEFECT
    log.debug("command ended", exc_info=defect)
    warn(said)
    return defect.status if isinstance(defect, Failure) else 1


def _language_in(argv: Sequence[str]) -> str | None:
    """The language asked for, known before anything is parsed: mistakes are told in it too."""
    for place, word in enumerate(argv):
        if word.startswith("--language="):
            return word.partition("=")[2]
        if word == "--language" and place + 1 < len(argv):
            return argv[place + 1]
    return None


def _end_on_sigterm() -> None:
    """A plain `kill` ends a command as Ctrl-C does: what it has started is stopped."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


@click.group(cls=Root)
@click.version_option(__version__, message="MesChain-Sync %(version)s")
def root() -> None:
    pass
