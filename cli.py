"""The command line: parse, call one function, print its text."""

from __future__ import annotations

import functools
import json
import shlex
import sys
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import MISSING, Field, fields, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featurestore.config import SplitConfig
from featurestore.errors import ConfigError, TrephineError
from featurestore.fields import about, name_of, to_json, types_of
from featurestore.types import Progress, Target, Tiling
from featurestore.words import duration
from ingest.labels.config import LabelConfig, OllamaConfig, ParserConfig, ValueConfig
from ingest.slides.config import IngestConfig, PlanConfig
from ingest.synthetic.demo import DemoConfig
from ingest.table import TableConfig
from trainer.config import SettleConfig, TrainConfig

# Everything else is imported inside the commands: torch alone takes seconds, --help must not.
if TYPE_CHECKING:
    import polars as pl

    from featurestore import FeatureStore

EXIT_REFUSED, EXIT_FAILURES = 1, 3
FORMATS = ("table", "csv", "json", "parquet")
TELL_EVERY_S = 60.0  # where nobody looks
PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


class _Group(click.Group):
    """Print our errors in one line and exit with 1; a traceback is for mistakes of ours."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TrephineError as error:
            if ctx.obj == "raise":
                raise
            click.echo(f"trephine: {error}", err=True)
            ctx.exit(EXIT_REFUSED)


# -- options ---------------------------------------------------------------------------------------


def options_of(*kinds: type[Any]) -> Decorator:
    """Make options and arguments of the fields of configurations.

    The command gets the configurations, checked, as its first parameters. What makes them again is
    `featurestore.fields.arguments_of`.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def call(**given: Any) -> Any:
            configs = [
                kind(**{one.name: given.pop(one.name) for one in shown(kind)}) for kind in kinds
            ]
            return command(*configs, **given)

        made: Command = call
        for kind in reversed(kinds):
            for one in reversed(shown(kind)):
                made = _parameter(one, *types_of(kind)[one.name])(made)
        return made

    return decorate


def shown(kind: type[Any]) -> list[Field[Any]]:
    """The fields of a configuration that the command line takes."""
    return [one for one in fields(kind) if not about(one).hidden]


def _parameter(one: Field[Any], plain: Any, _: bool, choices: Sequence[str]) -> Decorator:
    said, name = about(one), name_of(one)
    many = typing.get_origin(plain) is tuple
    plain = typing.get_args(plain)[0] if many else plain
    kind = click.Choice(choices) if choices else PATH if plain is Path else plain
    if one.default is MISSING:
        return click.argument(one.name, type=kind)
    flag = f"--{name}" if len(name) > 1 else f"-{name}"
    if plain is bool and one.default:
        flag = f"--{name}/--no-{name}"
    return click.option(
        flag,
        one.name,
        type=kind,
        default=one.default,
        is_flag=plain is bool or None,
        multiple=many,
        show_default=plain is not bool or bool(one.default),
        help=said.help + (f"  [default: {said.shown}]" if said.shown else ""),
    )


store_folder_option = click.option(
    "--store",
    type=FOLDER,
    envvar="TREPHINE_STORE",
    default="store",
    show_default=True,
    help="Folder of the store; also the variable TREPHINE_STORE.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
target_option = click.option("--target", default=Target.name, show_default=True, help="Of what.")


def store_option(command: Command) -> Command:
    """Give a command --store, and the opened store."""

    @functools.wraps(command)
    def call(*made: Any, store: Path, **given: Any) -> Any:
        from featurestore import FeatureStore

        opened = FeatureStore(store)
        try:
            return command(*made, store=opened, **given)
        finally:
            with suppress(TrephineError):
                click.echo(opened.set_aside(), err=True, nl=False)

    return store_folder_option(call)


def prints_result(command: Command) -> Command:
    """Give a command --json, and print what it returns; leave with 3 where some of it failed."""

    @functools.wraps(command)
    def call(*made: Any, as_json: bool, **given: Any) -> None:
        result = command(*made, **given)
        click.echo(_json(to_json(result)) if as_json else result.text())
        if getattr(result, "failures", None):
            sys.exit(EXIT_FAILURES)

    return json_option(call)


def format_option(command: Command) -> Command:
    """Give a command --format, and --json as another word for one of them: `form`."""

    @functools.wraps(command)
    def call(*made: Any, form: str, as_json: bool, **given: Any) -> Any:
        return command(*made, form="json" if as_json else form, **given)

    kind, said = click.Choice(FORMATS), "How rows are printed.  [default: table]"
    shape = click.option("--format", "form", type=kind, default="table", help=said)
    return shape(json_option(call))


def sql_options(folder: str) -> Decorator:
    """Give a command --file, --named with the texts of a folder of `sql/`, and -p."""
    import sql

    names = ", ".join(Path(name).name for name in sql.names(folder))
    pair: dict[str, Any] = {"multiple": True, "metavar": "NAME=VALUE", "help": "Named parameter."}
    options: list[Decorator] = [
        click.option("-p", "parameters", **pair),
        click.option("--named", help=f"A query that comes along: {names}."),
        click.option("--file", "file", type=FILE, help="File with one SELECT."),
    ]
    return lambda command: functools.reduce(lambda made, option: option(made), options, command)


# -- commands --------------------------------------------------------------------------------------


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trephine")
def main() -> None:
    """Feature store and attention-MIL trainer for slides of bone marrow core biopsies.

    An archive is tiled and embedded once; every experiment after that runs from the store.

    \b
    A first session:
        trephine init
        trephine ingest slides/manifest.csv
        trephine label reports.csv
        trephine cohort create all --where "cellularity is not null"
        trephine train all
    """


@main.command()
@store_folder_option
def init(store: Path) -> None:
    """Make an empty store, or bring an older one to this version."""
    from featurestore import FeatureStore

    FeatureStore.create(store)
    click.echo(f"The store is at {store}. Next: trephine plan SLIDES")


@main.command()
@click.argument("slides", type=PATH)
@store_option
@options_of(PlanConfig, Tiling)
@prints_result
def plan(config: PlanConfig, tiling: Tiling, slides: Path, store: FeatureStore) -> Any:
    """Say what an ingest of SLIDES would do and cost; changes nothing.

    SLIDES is a slide, a folder, or a manifest: a table (.csv, .xlsx, .parquet, .jsonl) with the
    column path. Hours are those of earlier ingests into this store.

    \b
    Example:
        trephine plan archive/manifest.csv --encoder dinov2-base
    """
    from ingest.slides.plan import plan as foresee

    return foresee(store, slides, tiling, config)


@main.command()
@click.argument("slides", type=PATH, required=False)
@store_option
@options_of(IngestConfig, Tiling)
@click.option("--adopt-only", is_flag=True, help="Only fold what shards wrote into the catalog.")
@prints_result
def ingest(
    config: IngestConfig, tiling: Tiling, slides: Path | None, store: FeatureStore, adopt_only: bool
) -> Any:
    """Tile and embed every slide of SLIDES that the store lacks.

    A slide that fails is recorded and told, and never stops the rest. Several processes share an
    archive with --shard; one call with --adopt-only then makes their slides visible.

    \b
    Example:
        trephine ingest archive/manifest.csv --encoder dinov2-base
    """
    from ingest.slides import embed

    if (slides is None) != adopt_only:
        raise click.UsageError("give SLIDES or --adopt-only, one of the two")
    if slides is None:
        return embed.adopt(store)
    with progress("slides") as show:
        return embed.ingest(store, slides, tiling, config, progress=show)


@main.command()
@json_option
def encoders(as_json: bool) -> None:
    """List the encoders that `ingest --encoder` knows."""
    from ingest.slides.encoders import ENCODERS

    if as_json:
        return click.echo(_json([{"name": k, "architecture": v[0]} for k, v in ENCODERS.items()]))
    for name, (architecture, _) in ENCODERS.items():
        click.echo(f"{name:20} {architecture}")
    click.echo(f"{'timm:MODEL':20} any model of timm\nNext: trephine ingest SLIDES --encoder NAME")


@main.command()
@click.argument("reports", type=PATH, required=False)
@store_option
@click.option("--table", type=FILE, help="Labels of people: case_id, value[, low, high].")
@options_of(LabelConfig, OllamaConfig, ValueConfig)
@prints_result
def label(
    config: LabelConfig, ollama: OllamaConfig, how: ValueConfig, store: FeatureStore, **given: Any
) -> Any:
    """Read a label for each case from REPORTS, or from --table.

    REPORTS is a table with case_id, text and, where known, reported_on, or a folder of text files.
    Report texts are not copied into the store.

    \b
    Example:
        trephine label reports.csv --parser rules
        trephine label --table relapse.xlsx --target relapse --kind binary
    """
    from ingest.labels import recording

    if (given["reports"] is None) == (given["table"] is None):
        raise click.UsageError("give REPORTS or --table FILE, one of the two")
    if given["reports"] is None:
        return recording.label_table(store, given["table"], config, how)
    with progress("reports") as show:
        return recording.label_reports(store, given["reports"], config, ollama, how, progress=show)


@main.command("evaluate-labels")
@click.argument("gold", type=PATH)
@options_of(ParserConfig, OllamaConfig, TableConfig)
@click.option("--errors", is_flag=True, help="List what was read wrong.")
@json_option
def evaluate_labels(
    config: ParserConfig, ollama: OllamaConfig, how: TableConfig, gold: Path, **given: bool
) -> None:
    """Measure a parser on GOLD, a table of id, text, value (missing: none stated) and tags.

    \b
    Example:
        trephine evaluate-labels gold.jsonl --parser rules --errors
    """
    from ingest.labels.scores import evaluate_file

    with progress("reports") as show:
        got = evaluate_file(gold, config, ollama, how, progress=show)
    if given["as_json"]:
        told = to_json(got) if given["errors"] else to_json(got) | {"errors": len(got.errors)}
        return click.echo(_json(told))
    click.echo(got.text(errors=given["errors"]))


@main.group()
def review() -> None:
    """Let a person judge disputed and unsupported labels."""


@review.command("export")
@click.argument("file", type=FILE)
@store_option
@click.option("--reports", type=PATH, help="Reports, for an excerpt beside each label.")
@target_option
@options_of(TableConfig)
@prints_result
def review_export(
    columns: TableConfig, file: Path, store: FeatureStore, reports: Path | None, target: str
) -> Any:
    """Write the labels that need a person to FILE, a CSV with an empty column value.

    \b
    Example:
        trephine review export todo.csv --reports reports.csv
    """
    from ingest.labels.review import export_review

    return export_review(store, file, target, reports, columns)


@review.command("import")
@click.argument("file", type=FILE)
@store_option
@target_option
@options_of(ValueConfig)
@prints_result
def review_import(columns: ValueConfig, file: Path, store: FeatureStore, target: str) -> Any:
    """Take the values a person filled into FILE as labels of method human, which win.

    \b
    Example:
        trephine review import todo.csv
    """
    from ingest.labels.review import import_review

    return import_review(store, file, target, columns)


@main.command()
@click.argument("query", required=False)
@store_option
@sql_options("named")
@format_option
def sql(query: str | None, store: FeatureStore, form: str, **chosen: Any) -> None:
    """Ask the catalog one SELECT; read-only.

    Tables: cases, slides, embeddings, encoders, tilings, reports, labels, best_labels, cohorts,
    cohort_slides, runs, metrics, predictions, failures. Views: slide_overview, bags, cohort_bags.

    \b
    Example:
        trephine sql "select specimen, count(*) from slide_overview group by all"
    """
    _print_frame(store.sql(*_chosen_sql("named", 'give "select ..."', query, **chosen)), form)


@main.group()
def cohort() -> None:
    """Freeze sets of slides with their labels and a split by patient."""


@cohort.command("create")
@click.argument("name")
@store_option
@click.option("--where", help="SQL condition over the view bags.")
@sql_options("cohorts")
@click.option(
    "--split", default="time", show_default=True, help="time, random, folds:K or table:FILE.csv."
)
@options_of(SplitConfig)
@target_option
@json_option
def cohort_create(
    config: SplitConfig, name: str, store: FeatureStore, split: str, as_json: bool, **chosen: Any
) -> None:
    """Freeze the slides that a condition or query chooses as cohort NAME.

    Takes specimen core or unknown unless the SQL says otherwise.

    \b
    Example:
        trephine cohort create adults --where "age_years >= 18 and cellularity between 5 and 95"
    """
    from featurestore import where_query

    where, target = chosen.pop("where"), chosen.pop("target")
    given = where_query(where) if where is not None else None
    query, parameters = _chosen_sql("cohorts", "give --where EXPR", given, **chosen)
    store.create_cohort(name, query, parameters, split=_split(split, config), target=target)
    _print_cohort(store, name, as_json)


def _split(text: str, config: SplitConfig) -> SplitConfig:
    """The way to split that one word says: `time`, `random`, `folds:5` or `table:split.csv`."""
    method, _, argument = text.partition(":")
    if method not in types_of(SplitConfig)["method"][2] or (method == "table" and not argument):
        raise ConfigError(f"split must be time, random, folds:K or table:FILE.csv, got {text!r}")
    said: dict[str, Any] = {"method": method}
    if method == "folds" and argument:
        if not argument.isdecimal():
            raise ConfigError(
                f"folds must be a whole number, got {argument!r}. Say: --split folds:5"
            )
        said["folds"] = int(argument)
    if method == "table":
        from ingest.table import read_split

        said["table"] = read_split(Path(argument))
    return replace(config, **said)


@cohort.command("list")
@store_option
@format_option
def cohort_list(store: FeatureStore, form: str) -> None:
    """List the cohorts."""
    _print_frame(store.named("queries/cohorts"), form)


@cohort.command("show")
@click.argument("name")
@store_option
@json_option
def cohort_show(name: str, store: FeatureStore, as_json: bool) -> None:
    """Show a cohort: its SQL, split, counts and what was left out."""
    _print_cohort(store, name, as_json)


def _print_cohort(store: FeatureStore, name: str, as_json: bool) -> None:
    made, splits = store.cohort(name), store.splits(name)
    if as_json:
        return click.echo(_json(to_json(made) | {"splits": [to_json(side) for side in splits]}))
    click.echo(f"{made.text(splits)}\nNext: trephine train {name}")


@main.command()
@store_option
@options_of(TrainConfig)
@click.option("--tensorboard", type=FOLDER, help="Folder for TensorBoard events, one a run.")
@json_option
def train(
    config: TrainConfig, store: FeatureStore, tensorboard: Path | None, as_json: bool
) -> None:
    """Train an attention-MIL model on COHORT and predict its test slides.

    Reads the store alone: the slides may be gone. A training that was broken off goes on from its
    last evaluation when the same command is given again, to the same result.

    \b
    Example:
        trephine train adults --bag-size 256
    """
    from trainer import train as fit

    with progress("steps") as show:
        run = fit(store, config, show, tensorboard=tensorboard)
    click.echo(_json(to_json(run.record)) if as_json else run.text())


@main.command()
@click.argument("run")
@click.argument("cohort", required=False)
@store_option
@click.option("--where", help="SQL condition over the view bags, instead of a cohort.")
@click.option("--resamples", type=int, help="Bags per slide.  [default: as in training]")
@format_option
def predict(run: str, store: FeatureStore, form: str, **options: Any) -> None:
    """Apply RUN to a COHORT or to the slides of a condition, with or without labels.

    \b
    Example:
        trephine predict latest --where "scanned_on >= '2024-01-01'" --format csv
    """
    from trainer.inference import notes, predict
    from trainer.runs import load

    frame = predict(store, run, **options)
    _print_frame(frame, form)
    for note in notes(load(store, run), frame):
        click.echo(note, err=True)


@main.command()
@click.argument("run")
@click.argument("cohort", required=False)
@store_option
@click.option("--where", help="SQL condition over the view bags, instead of a cohort.")
@options_of(SettleConfig)
@click.option("--curve", is_flag=True, help="Print a row for every number of bags.")
@format_option
def settle(
    config: SettleConfig, run: str, store: FeatureStore, curve: bool, form: str, **which: Any
) -> None:
    """Measure how many resampled bags RUN needs: how their mean settles, by bag size.

    On the run's test slides, unless a COHORT or a condition is given.

    \b
    Example:
        trephine settle latest --bag-size 64 --bag-size 256
    """
    from trainer.settling import ENOUGH, settling, summary

    frame = settling(store, run, config, **which)
    _print_frame(frame if curve else summary(frame, store.run(run).about()), form)
    click.echo(ENOUGH, err=True)


@main.command()
@store_option
@json_option
def runs(store: FeatureStore, as_json: bool) -> None:
    """List every run with its configuration and R2, the newest first."""
    frame = store.runs()
    if as_json:
        rows = frame.rows(named=True)
        return click.echo(_json([row | {"config": json.loads(row["config"])} for row in rows]))
    if frame.is_empty():
        return click.echo("There is no run yet. Next: trephine train COHORT")
    columns = ["run_id", "cohort", "encoder", "model", "bag_size", "seed", "n_train", "n_test"]
    _print_frame(frame.select(*columns, "r2", "mae", "ridge_r2", "seconds"), "table")


@main.command()
@click.argument("run", nargs=-1, required=True)
@store_option
@click.option("-o", "--out", type=FILE, default="report.html", show_default=True, help="HTML file.")
@click.option("--truth", type=FILE, help="Table of what is known better: slide_id and the target.")
@click.option("--rounding", type=float, help="Step of the labels.  [default: found in them]")
def report(
    run: tuple[str, ...], store: FeatureStore, out: Path, truth: Path | None, rounding: float | None
) -> None:
    """Write one HTML page about one or several RUNs; `latest` is the newest.

    \b
    Example:
        trephine report latest -o cellularity.html
    """
    from ingest.table import read_truth
    from trainer import write_page

    known = functools.partial(read_truth, truth) if truth is not None else None
    write_page(store, list(run), out, truth=known, rounding=rounding)
    click.echo(f"The page is {out}. Open it in a browser.")


@main.command()
@options_of(DemoConfig)
def demo(config: DemoConfig) -> None:
    """Run the whole main job on a synthetic archive in FOLDER, printing each command."""
    from featurestore import FeatureStore
    from ingest.synthetic.archive import make_archive
    from ingest.table import read_truth
    from trainer.evaluate import against_truth

    started = time.monotonic()
    click.echo(f"Drawing a synthetic archive of {config.slides} slides in {config.archive} ...")
    with progress("slides") as show:
        n: Any = {"n_slides": config.slides, "n_patients": config.patients, "seed": config.seed}
        made = make_archive(config.archive, **n, progress=show)
    click.echo(made.text())
    for command in config.commands():
        _run_shown(command)
    click.secho(f"\nDone in {duration(time.monotonic() - started)}.", bold=True)
    known = functools.partial(read_truth, config.truth)
    found = against_truth(FeatureStore(config.store), "latest", known)
    click.echo(f"{found.text()}\n{config.next_steps()}")


def _run_shown(command: list[str]) -> None:
    words = [f'"{one}"' if "'" in one and '"' not in one else shlex.quote(one) for one in command]
    click.secho(f"\n$ trephine {' '.join(words)}", bold=True)
    try:
        main.main(command, standalone_mode=False, obj="raise")
    except SystemExit as stop:
        if stop.code not in (0, EXIT_FAILURES):
            raise


# -- what was given --------------------------------------------------------------------------------


def _chosen_sql(
    folder: str, words: str, given: str | None, file: Path | None, named: str | None, **said: Any
) -> tuple[str, dict[str, Any]]:
    """The one SQL text that was given, as it stands, in a file or by name; and its parameters."""
    import sql as texts

    if sum(one is not None for one in (given, file, named)) != 1:
        raise click.UsageError(f"{words}, --file F.sql or --named NAME, one of the three")
    if file is not None:
        try:
            given = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} cannot be read: {error}. Give a text in UTF-8.") from error
    if named is not None:
        known = [Path(name).name for name in texts.names(folder)]
        if named not in known:
            raise ConfigError(f"there is no SQL named {named!r}; there is {', '.join(known)}")
        given = texts.read(f"{folder}/{named}")
    return str(given), dict(map(_parameter_value, said["parameters"]))


def _parameter_value(pair: str) -> tuple[str, Any]:
    """Read NAME=VALUE; a value is a whole number, a number, a date or a text."""
    name, equals, text = pair.partition("=")
    if not equals:
        raise click.UsageError(f"a parameter is NAME=VALUE, got {pair!r}")
    for read in (int, float, date.fromisoformat):
        with suppress(ValueError):
            return name, read(text)
    return name, text


# -- what is shown ---------------------------------------------------------------------------------


@contextmanager
def progress(unit: str) -> Iterator[Progress]:
    """Show on stderr how work goes on, with a rate and the time left.

    A bar on a terminal; where nobody looks, a line a minute.
    """
    from tqdm import tqdm

    started = told = time.monotonic()

    def tell(done: int, total: int, also: str) -> None:
        nonlocal told
        if bar.disable and time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            left = (told - started) / max(1, done) * (total - done)
            note = f", {also}" if also else ""
            click.echo(f"{done:,} of {total:,} {unit}{note}, {duration(left)} left", err=True)
        bar.total = total
        bar.set_postfix_str(also, refresh=False)
        bar.update(done - bar.n)

    with tqdm(unit=f" {unit}", disable=None, file=sys.stderr) as bar:
        yield tell


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str)


def _print_frame(frame: pl.DataFrame, form: str) -> None:
    import polars as pl

    if form == "json":
        return click.echo(_json(frame.rows(named=True)))
    if form == "parquet":
        return frame.write_parquet(sys.stdout.buffer)
    if form == "csv":
        plain = [c for c, kind in frame.schema.items() if kind.is_nested()]
        frame = frame.with_columns(
            pl.col(c).map_elements(lambda v: json.dumps(list(v)), pl.String) for c in plain
        )
        return click.echo(frame.write_csv(), nl=False)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=10_000, fmt_str_lengths=200) as shown:
        shown.set_tbl_formatting("UTF8_BORDERS_ONLY")
        shown.set_tbl_hide_column_data_types(True).set_tbl_hide_dataframe_shape(True)
        click.echo(frame)
    click.echo(f"{frame.height:,} rows", err=True)


if __name__ == "__main__":
    main()
