"""What commands are made of: options from configurations, opened stores, printed results.

Apart from `cli.py` the one place that knows click.
"""

import functools
import os
import re
import shlex
import signal
import sys
import threading
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import FrameType
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from featurestore import starting, user_sql
from featurestore.errors import ConfigError, TrephineError, disk_fault
from featurestore.fields import about, flag_of, name_of, to_json, types_of
from featurestore.frames import FORMATS, Rows, rendered, to_text
from featurestore.types import Target
from featurestore.words import Told

EXIT_REFUSED, EXIT_FAILURES, EXIT_STOPPED = 1, 3, 130
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)


class Folder(click.Path):
    """A folder's name; an empty one, as of a variable that is not set, is no name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse an empty name."""
        if value == "":
            self.fail("expected a folder, got an empty name.", param, ctx)
        return super().convert(value, param, ctx)


FOLDER = Folder(path_type=Path, file_okay=False)

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]

NAMING = {  # arguments that name things of the store, by the kinds they are of
    "cohort": "cohort",
    "run": "run",
    "first": "run",
    "second": "run",
    "runs": "run cohort",
    "slides": "slide",
    "name": "cohort run slide case",
}
KEPT = {  # by a Ctrl-C
    "ingest": "Every finished slide is kept; the same command goes on with the rest.",
    "label": "Every label that was written is kept; the same command goes on with the rest.",
    "train": "It is kept but for its last seconds; the same command goes on from there.",
    "sweep": "Every finished run is kept; the same command goes on with the rest.",
    "import": "Every slide that was taken in is kept; the same command goes on with the rest.",
}

STORE = "trephine.store"  # in what contexts share: the one that was named, and no default
NEXT = re.compile(r"(?m)(?:^|(?<=[:;] )|(?<=  )|(?<=or )|(?<=what ))trephine(?: [a-z-]+)+")


class Once(click.Command):
    """A command that is told once what may be said once: click itself takes the last, unasked."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse an option that is given again."""
        swept = getattr(ctx.find_root().command, "commands", {}).get("sweep", self).params
        for one, n in Counter(self.make_parser(ctx).parse_args(list(args))[2]).items():
            if n > 1 and isinstance(one, click.Option) and not (one.multiple or one.is_eager):
                many = any(one.opts == other.opts and other.multiple for other in swept)
                hint = " For several values use: trephine sweep" if many else ""
                raise click.UsageError(f"{one.opts[0]} is given {n} times, expected once.{hint}")
        return super().parse_args(ctx, args)


class Group(click.Group):
    """Commands in the order of their work, each with its whole first sentence."""

    command_class = Once
    group_class: Any = type  # groups inside are of this kind, too

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, as they were added."""
        return list(self.commands)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command whose arguments that name things of the store are completed in a shell."""
        cmd.short_help = cmd.help and " ".join(cmd.help.partition("\n\n")[0].split())
        for one in cmd.params:
            if isinstance(one, click.Argument) and one.name in NAMING and one.type is click.STRING:
                one.shell_complete = functools.partial(_completed, NAMING[one.name])  # type: ignore[method-assign]
        super().add_command(cmd, name)


class Listing(Group):
    """A group that lists without a word."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take what is no command for arguments of `list`."""
        named = {*self.commands, *ctx.help_option_names}.intersection(args[:1])
        return super().parse_args(ctx, args if named else ["list", *args])


class Main(Group):
    """Print our errors in one line and exit with 1; a traceback is for mistakes of ours."""

    group_class = Group

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run as a program; what click prints itself, as --help, may find a full disk, too."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            said, code = self._sentence(error, "it")
            if not said or not extra.get("standalone_mode", True):
                raise
            click.echo(f"trephine: {said}", err=True)
            sys.exit(code)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; leave with 1 where it was refused, 130 where it was stopped.

        It is stopped by Ctrl-C, and in the same way by the other signals of `starting.STOPPING`.
        """
        if sys.stdout is None:  # what is opened first would stand in its place
            click.echo("trephine: stdout is closed. Give it a file, or /dev/null", err=True)
            ctx.exit(EXIT_REFUSED)
        with _stoppable() as stops:
            try:
                return super().invoke(ctx)
            except BaseException as error:
                why = KeyboardInterrupt() if stops else error
                said, code = self._sentence(why, str(ctx.invoked_subcommand))
                if said and ctx.obj != "raise":
                    click.echo(f"trephine: {_of_this_store(said, ctx)}", err=True)
                    ctx.exit(code)
                raise

    def _sentence(self, error: BaseException, command: str) -> tuple[str, int]:
        if isinstance(error, click.ClickException | click.exceptions.Exit):
            return "", EXIT_REFUSED  # click has a sentence of its own
        if isinstance(error, TrephineError):
            return str(error), EXIT_REFUSED
        if isinstance(error, KeyboardInterrupt):
            kept = KEPT.get(command, "Nothing is lost: give the same command again.")
            return f"{command} was stopped. {kept}", EXIT_STOPPED
        if fault := disk_fault(error):
            with suppress(OSError):  # what is left in the buffer of stdout finds no room either
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            kept = "What is finished is kept; mend it and run the same command again."
            return f"the disk refused: {fault}. {kept}", EXIT_REFUSED
        return "", EXIT_REFUSED


@contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Let signals stop what runs; they are listed, for libraries make errors of them."""
    stops: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(number)
        signal.default_int_handler(number, frame)

    plain = (signal.SIG_DFL, signal.default_int_handler, starting.stop)  # another is nohup's
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {one: signal.getsignal(one) for one in starting.STOPPING if is_main}
    mine = {one: handler for one, handler in handlers.items() if handler in plain}
    for one in mine:
        signal.signal(one, stop)
    try:
        yield stops
    finally:
        for one, handler in mine.items():
            signal.signal(one, handler)


def _of_this_store(text: str, ctx: click.Context | None = None) -> str:
    """A text whose next steps name the store, where they would take another one without."""
    ctx = ctx or click.get_current_context()
    if STORE not in ctx.meta:
        return text
    root, option = ctx.find_root().command, ["--store", shlex.quote(str(ctx.meta[STORE]))]

    def named(found: re.Match[str]) -> str:
        at, words, n = root, found[0].split(" "), 1
        while isinstance(at, click.Group) and words[n:] and words[n] in at.commands:
            at, n = at.commands[words[n]], n + 1
        takes = isinstance(at, Listing) or any(one.name == "store" for one in at.params)
        return " ".join([*words[:n], *(option if takes else ()), *words[n:]])

    lines = text.splitlines(keepends=True)
    return "".join(line if "--store" in line else NEXT.sub(named, line) for line in lines)


def _completed(kinds: str, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """What a shell offers for the beginning of a name; nothing where there is no store."""
    with suppress(Exception):  # a shell that completes must not be told errors
        from featurestore import Readable

        store = Readable(ctx.params.get("store") or "store")
        found = store.named("queries/named_things", {"word": incomplete, "kinds": kinds}).rows()
        return [CompletionItem(name, help=kind) for name, kind in found]
    return []


def options_of(*kinds: type[Any], often: bool = False) -> Decorator:
    """Make options of the fields of configurations; the command gets these, checked, first.

    `often`: what is given several times is in a dictionary behind them, by field: its values.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(*made: Any, **given: Any) -> Any:
            said = [{one.name: given.pop(one.name) for one in shown(kind)} for kind in kinds]
            several: list[Any] = []
            if often:
                lists = {name: v for name, v in said[0].items() if isinstance(v, tuple)}
                once = {name: v[0] for name, v in lists.items() if v}
                said = [{k: v for k, v in said[0].items() if k not in lists} | once]
                several = [{name: list(v) for name, v in lists.items() if v[1:]}]
            configs = [kind(**own) for kind, own in zip(kinds, said, strict=True)]
            return command(*made, *configs, *several, **given)

        made: Command = call
        for kind in reversed(kinds):
            for one in reversed(shown(kind)):
                made = _parameter(one, *types_of(kind)[one.name], often)(made)
        return made

    return decorate


class _Choice(click.Choice[str]):
    """One of some words, or what has another form, with a colon."""

    def __init__(self, choices: Sequence[str], also: str) -> None:
        super().__init__([*choices, *filter(None, [also])])
        self._also = also

    def convert(self, value: Any, *context: Any) -> Any:
        """The word, or the other as it is: what uses it knows its form."""
        other = self._also and ":" in str(value)
        return value if other else super().convert(value, *context)


def shown(kind: type[Any]) -> list[Field[Any]]:
    """The fields of a configuration that the command line takes."""
    return [one for one in fields(kind) if not about(one).hidden]


def _parameter(
    one: Field[Any], plain: Any, _: bool, choices: Sequence[str], often: bool
) -> Decorator:
    said, name = about(one), name_of(one)
    many = typing.get_origin(plain) is tuple
    plain = typing.get_args(plain)[0] if many else plain
    flags = plain is bool and not often
    kind = _Choice(choices, said.also) if choices else PATH if plain is Path else plain
    if one.default is MISSING:
        return click.argument(one.name, type=kind)
    flag = flag_of(one)
    if flags and one.default:
        flag = f"--{name}/--no-{name}"
    return click.option(
        flag,
        one.name,
        type=kind,
        default=None if often else one.default,
        is_flag=flags or None,
        multiple=many or often,
        show_default=not flags or bool(one.default),
        help=said.help + (f"  [default: {said.shown}]" if said.shown else ""),
    )


shows: dict[str, Any] = {"show_default": True}


def _remember(ctx: click.Context, param: click.Parameter, store: Path) -> Path:
    plain = Path(os.environ.get("TREPHINE_STORE") or "store")
    if ctx.get_parameter_source(str(param.name)) == ParameterSource.COMMANDLINE and store != plain:
        ctx.meta[STORE] = store
    return store


store_folder_option = click.option(
    "--store",
    type=FOLDER,
    envvar="TREPHINE_STORE",
    default="store",
    help="Folder of the store; also the variable TREPHINE_STORE.",
    callback=_remember,
    **shows,
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
target_option = click.option("--target", default=Target.name, help="Of what.", **shows)
where_help = "SQL condition over the view bags."
other_slides_option = click.option("--where", help=f"{where_help[:-1]}, instead of a cohort.")


def _confirm(ctx: click.Context, _: click.Parameter, yes: bool) -> None:
    if not yes:
        from featurestore import Readable, overview

        named = next(one.name for one in ctx.command.params if isinstance(one, click.Argument))
        names = dict.fromkeys(ctx.params[str(named)])
        for one in names:
            overview.must_have(Readable(ctx.params["store"]), str(named), one)
        what, verb = ", ".join(names), "was" if len(names) == 1 else "were"
        try:
            click.confirm(f"Delete {what}?", abort=True, err=True)
        except click.Abort as abort:
            click.echo(err=True)  # what follows has a line of its own
            raise ConfigError(
                f"{what} {verb} not deleted, for nobody said yes. Answer y, or give --yes."
            ) from abort


yes_option = click.option(
    "--yes", is_flag=True, expose_value=False, callback=_confirm, help="Do not ask."
)


def store_option(command: Command, kind: str = "FeatureStore") -> Command:
    """Give a command --store, and the opened store; it leaves with 3 where damage was left out."""

    @functools.wraps(command)
    def call(*made: Any, store: Path, trust: bool = False, **given: Any) -> Any:
        import featurestore

        opened = getattr(featurestore, kind)(store, trust=trust)
        try:
            result = command(*made, store=opened, **given)
            if opened.notes:  # on what was left out
                click.get_current_context().exit(EXIT_FAILURES)
            return result
        finally:
            with suppress(TrephineError):
                click.echo(_of_this_store(opened.set_aside()), err=True, nl=False)

    trusting = click.option("--trust", is_flag=True, help="Skip the checksums of embeddings.")
    return store_folder_option(trusting(call) if kind == "FeatureStore" else call)


catalog_option = functools.partial(store_option, kind="Readable")  # reads the catalog alone


def _tell(result: Any, as_json: bool) -> None:
    data = result.json() if hasattr(result, "json") else to_json(result)
    if isinstance(data, dict) and isinstance(data.get("next"), str):
        data = data | {"next": _of_this_store(data["next"])}
    click.echo(to_text(data) if as_json else _of_this_store(result.text()))


def prints_result(command: Command) -> Command:
    """Give a command --json, and print what it returns: what has `text()`, and fields or `json()`.

    Leaves with 3 where some of it failed.
    """

    @functools.wraps(command)
    def call(*made: Any, as_json: bool, **given: Any) -> None:
        result = command(*made, **given)
        _tell(result, as_json)
        if getattr(result, "failures", None) or getattr(result, "gave_up", None):
            click.get_current_context().exit(EXIT_FAILURES)

    return json_option(call)


def prints_rows(command: Command) -> Command:
    """Give a command --format and --json, and print the frame it returns, notes to stderr."""

    @functools.wraps(command)
    def call(*made: Any, form: str, as_json: bool, **given: Any) -> None:
        result = command(*made, **given)
        form = "json" if as_json else form
        if isinstance(result, Told):
            return _tell(result, form == "json")
        text, notes = rendered(result if isinstance(result, Rows) else Rows(result), form)
        click.echo(text, nl=False)
        for note in notes:
            click.echo(_of_this_store(note), err=True)
        if getattr(result, "failures", None):
            click.get_current_context().exit(EXIT_FAILURES)

    said = "How rows are printed; JSON has null for NaN and infinity.  [default: table]"
    shape = click.option("--format", "form", type=click.Choice(FORMATS), default="table", help=said)
    return shape(json_option(call))


def sql_options(folder: str, given: str, words: str) -> Decorator:
    """Give a command `query` and `parameters`: a text `given`, of a file, or one of a folder."""
    from featurestore import queries

    names = f"A query that comes along: {', '.join(queries.known(folder))}; alone: what they do."
    pair = "Named parameter, of the type that it is compared with, or NAME:int=VALUE."

    def decorate(command: Command) -> Command:
        @click.option("--file", "file", type=FILE, help="File with one SELECT.")
        @click.option("--named", is_flag=False, flag_value="", metavar="NAME", help=names)
        @click.option("-p", "pairs", multiple=True, metavar="NAME=VALUE", help=pair)
        @functools.wraps(command)
        def call(*made: Any, pairs: tuple[str, ...], **said: Any) -> Any:
            text, file, named = said.pop(given), said.pop("file"), said.pop("named")
            if text is not None and given == "where":
                text = queries.where_query(text)
            if named == "":
                return _tell(queries.listed(folder), said["as_json"] or said.get("form") == "json")
            user_sql.start()  # it takes its time, as what comes now
            n = sum(one is not None for one in (text, file, named))
            if n != 1 and not (n == 0 and folder == "named"):
                raise click.UsageError(f"{words}, --file F.sql or --named NAME, one of the three")
            said["query"] = queries.chosen(folder, text, file, named) if n else None
            said["parameters"] = queries.parameters(pairs)
            return command(*made, **said)

        return call

    return decorate
