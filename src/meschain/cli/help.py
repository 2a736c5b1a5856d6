"""Commands whose help comes from the message catalog: its key is the command's own path.

``meschain account add`` is described by ``cli.account.add``, its option ``--tier`` by
``cli.account.add.tier`` or, where several commands share it, by ``cli.option.tier``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING

import click

from meschain.messages import LANGUAGES

if TYPE_CHECKING:
    from meschain.cli.session import Session
    from meschain.messages import Catalog


def session_of(ctx: click.Context) -> Session:
    """The session that ``tree.Root`` began."""
    session: Session = ctx.find_root().obj
    return session


def words_of(ctx: click.Context | None) -> Catalog:
    """The catalog of the session."""
    return session_of(ctx or click.get_current_context()).catalog


def key_of(ctx: click.Context) -> str:
    """``cli`` and the names after ``meschain``, joined by dots."""
    names: list[str] = []
    place: click.Context | None = ctx
    while place is not None and place.parent is not None:
        names.append(place.command.name or "")
        place = place.parent
    return ".".join(["cli", *reversed(names)])


class _Translated(click.Command):
    """Help in the reader's language; what click itself would say in English is not used.

    Every command can be told the language.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx)[:-1], _LANGUAGE, *super().get_params(ctx)[-1:]]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        words = words_of(ctx)
        said = {
            "[OPTIONS]": words.text("cli.help.options_metavar"),
            "COMMAND [ARGS]...": words.text("cli.help.command_metavar"),
        }
        pieces = self.collect_usage_pieces(ctx)
        shown = " ".join(said.get(piece) or _named(piece, words) for piece in pieces)
        formatter.write_usage(ctx.command_path, shown, words.text("cli.help.usage") + " ")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(words_of(ctx).text(key_of(ctx)))

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (_named(param.make_metavar(ctx), words_of(ctx)), self._help_of(param, ctx))
            for param in self.get_params(ctx)
            if isinstance(param, click.Argument)
        ]
        if rows:
            with formatter.section(words_of(ctx).text("cli.help.arguments")):
                formatter.write_dl(rows)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [
            (_named(record[0], words_of(ctx), of="option_value"), self._help_of(param, ctx))
            for param in self.get_params(ctx)
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx))
        ]
        with formatter.section(words_of(ctx).text("cli.help.options")):
            formatter.write_dl(rows)

    @staticmethod
    def _help_of(param: click.Parameter, ctx: click.Context) -> str:
        words = words_of(ctx)
        name = "help" if param.name == "_click_default_help" else param.name
        own = f"{key_of(ctx)}.{name}"
        return words.text(own if own in words else f"cli.option.{name}")


def _named(metavar: str, words: Catalog, *, of: str = "argument") -> str:
    """The names of values in the reader's words: ``--limit SAYI``; one without a word stays."""

    def word(found: re.Match[str]) -> str:
        key = f"cli.{of}.{found[0].lower()}"
        return words.text(key) if key in words else found[0]

    return re.sub(r"[A-Z_]{2,}", word, metavar)


class Command(_Translated):
    """A leaf of the tree."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        super().parse_args(ctx, args)
        if ctx.args and not ctx.resilient_parsing:
            raise Misused("too_many", ctx, name=" ".join(ctx.args))
        return ctx.args


class Group(_Translated, click.Group):
    """A branch of the tree."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        words = words_of(ctx)
        rows = [
            (name, _first_sentence(words.text(f"{key_of(ctx)}.{name}")))
            for name in self.list_commands(ctx)
        ]
        with formatter.section(words.text("cli.help.commands")):
            formatter.write_dl(rows)
        super().format_options(ctx, formatter)

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx  # in the order of the day's work, not of the alphabet
        return list(self.commands)


def _first_sentence(text: str) -> str:
    return text.split("\n", 1)[0].split(". ", 1)[0].rstrip(".")


Group.group_class = Group


# — values —


class Whole(click.ParamType[int]):
    """A whole number from ``least`` on."""

    name = "number"

    def __init__(self, least: int = 0, most: int = 2**31 - 1) -> None:
        self._least = least
        self._most = most

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            number = int(value)
        except ValueError:
            number = self._least - 1
        if not self._least <= number <= self._most:
            words = words_of(ctx).text(
                "cli.value.whole", value=str(value), least=self._least, most=self._most
            )
            self.fail(words, param, ctx)
        return number


class Exact(click.ParamType[Decimal]):
    """An exact number, ``1249.90`` or ``1249,90``; thousands are not grouped."""

    name = "amount"

    def convert(
        self, value: str | Decimal, param: click.Parameter | None, ctx: click.Context | None
    ) -> Decimal:
        try:
            number = Decimal(str(value).replace(",", "."))
        except InvalidOperation:
            number = Decimal(-1)
        if not number.is_finite() or number < 0:
            self.fail(words_of(ctx).text("cli.value.amount", value=str(value)), param, ctx)
        return number


class OneOf(click.ParamType[str]):
    """One of some words."""

    name = "word"

    def __init__(self, *choices: str) -> None:
        self.choices: Sequence[str] = choices

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return f"[{'|'.join(self.choices)}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.choices:
            known = ", ".join(self.choices)
            self.fail(words_of(ctx).text("cli.value.one_of", value=value, known=known), param, ctx)
        return value


class Pair(click.ParamType[tuple[str, str]]):
    """``name=value``."""

    name = "name=value"

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        del param, ctx
        return "NAME=VALUE"

    def convert(
        self,
        value: str | tuple[str, str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, said = value.partition("=")
        if not (name and equals):
            self.fail(words_of(ctx).text("cli.value.pair", value=value), param, ctx)
        return name, said


class File(click.ParamType[Path]):
    """A path; whether it can be used is found out by using it."""

    name = "file"

    def convert(
        self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        del param, ctx
        return Path(value)


class Address(click.ParamType[str]):
    """A path or ``s3://…``, as it stands: to a path the two strokes would be one."""

    name = "address"


# — options that many commands share —

# Read before anything is parsed (tree._language_in); here so that it is allowed and described.
_LANGUAGE = click.Option(["--language"], type=OneOf(*LANGUAGES), expose_value=False)


def _set_merchant(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        session_of(ctx).merchant_name = value


def _set_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 – click's call
    session_of(ctx).out.as_json = value


for_merchant = click.option("--merchant", expose_value=False, callback=_set_merchant)
reports = click.option("--json", is_flag=True, expose_value=False, callback=_set_json)


# — misuse, said in the reader's language —


class Misused(click.UsageError):
    """A command that was not typed as it can be; ``cli.usage.<kind>``."""

    def __init__(self, kind: str, ctx: click.Context | None, **params: str | int) -> None:
        super().__init__(words_of(ctx).text(f"cli.usage.{kind}", **params), ctx)


def misuse(error: click.UsageError, catalog: Catalog) -> str:
    """What a usage error says to the reader."""
    match error:
        case Misused():
            said = error.message
        case click.NoSuchCommand():
            said = catalog.text("cli.usage.no_command", name=error.command_name)
        case click.NoSuchOption() if error.option_name[1:2].isdigit():
            said = catalog.text("cli.usage.negative", value=error.option_name)
        case click.NoSuchOption():
            said = catalog.text("cli.usage.no_option", name=error.option_name)
        case click.MissingParameter():
            said = catalog.text("cli.usage.missing", name=_name_of(error, catalog))
        case click.BadParameter():
            name = _name_of(error, catalog)
            said = catalog.text("cli.usage.bad_value", name=name, words=error.message)
        case click.BadOptionUsage():
            said = catalog.text("cli.usage.needs_value", name=error.option_name)
        case _:
            said = error.format_message()
    if error.ctx is None:
        return said
    return f"{said}\n{catalog.text('cli.usage.see_help', command=error.ctx.command_path)}"


def _name_of(error: click.BadParameter, catalog: Catalog) -> str:
    if error.param is None:
        return ""
    if isinstance(error.param, click.Option):
        return error.param.opts[0]
    return _named((error.param.name or "").upper(), catalog)
