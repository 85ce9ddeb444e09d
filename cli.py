"""The command line: parse, call one function, print its text."""

from __future__ import annotations

from featurestore import starting

if starting.is_program():
    starting.guard()

import functools
import gc
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if sys.argv[1:2] == ["sql"]:
    from featurestore import user_sql

    user_sql.start()  # while all else is imported, which takes as long
elif sys.argv[1:2] == ["train"] and not {"-h", "--help"} & set(sys.argv):
    from trainer import preload

    preload.start()

import click
from click.core import ParameterSource

from featurestore.config import ExportConfig, ImportConfig, SplitConfig
from featurestore.options import (
    FILE,
    FOLDER,
    PATH,
    Command,
    Listing,
    Main,
    catalog_option,
    options_of,
    other_slides_option,
    prints_result,
    prints_rows,
    shows,
    sql_options,
    store_folder_option,
    store_option,
    target_option,
    where_help,
    yes_option,
)
from featurestore.types import Tiling
from featurestore.words import progress
from ingest.config import TableConfig
from ingest.labels.config import LabelConfig, OllamaConfig, ParserConfig, ValueConfig
from ingest.slides.config import IngestConfig, PlanConfig
from ingest.synthetic.demo import DemoConfig, in_shell
from trainer.config import CurveConfig, SeedsConfig, SettleConfig, SweepConfig, TrainConfig

# Everything else is imported inside the commands: torch alone takes seconds, --help must not.
if TYPE_CHECKING:
    from featurestore import FeatureStore, Readable


def like_option(command: Command) -> Command:
    """Give `train` --like RUN: what the command line does not say is as that Run had it."""

    @functools.wraps(command)
    def call(store: FeatureStore, like: str | None, **given: Any) -> Any:
        if like is not None:
            from trainer import runs

            said = click.get_current_context().get_parameter_source
            own, typed = vars(runs.load(store, like).again()), ParameterSource.COMMANDLINE
            whole = {"fold"} if said("cohort") == typed else set()  # its folds are its own
            given |= {k: own[k] for k in own.keys() & given.keys() - whole if said(k) != typed}
        elif given["cohort"] is None:
            raise click.UsageError("give COHORT or --like RUN")
        return command(store=store, **given)

    for one in command.__click_params__:  # type: ignore[attr-defined]
        one.required = False
    return click.option(
        "--like", metavar="RUN", help="What is not said is as in RUN; its fold, without COHORT."
    )(call)


# -- commands --------------------------------------------------------------------------------------


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trephine")
def main() -> None:
    """Feature store and attention-MIL trainer for slides of bone marrow core biopsies.

    An archive is tiled and embedded once; every experiment after that runs from the store.
    Folders that are missing of what -o or a file's name says are made.

    \b
    A first session:
        trephine init
        trephine ingest slides/manifest.csv
        trephine label reports.csv
        trephine cohort create all --where "cellularity is not null"
        trephine train all

    \b
    Completion in bash, for ~/.bashrc (zsh_source and fish_source are others):
        eval "$(_TREPHINE_COMPLETE=bash_source trephine)"
    """
    starting.must_be_somewhere()


@main.command()
@store_folder_option
@click.option("--shared", is_flag=True, help="Let the folder's group read and write it, too.")
@prints_result
def init(store: Path, shared: bool) -> Any:
    """Make an empty store, its owner's alone, or bring an older one to this version."""
    from featurestore import FeatureStore, overview
    from ingest.slides.files import require_no_slides

    require_no_slides(store)
    return overview.made(FeatureStore.create(store, shared=shared))


@main.command()
@catalog_option
@prints_result
def status(store: Readable) -> Any:
    """Say what is in the store, how large it is, and what to do next."""
    from featurestore import overview

    return overview.status(store)


@main.command()
@click.argument("name")
@store_option
@prints_result
def show(name: str, store: FeatureStore) -> Any:
    """Show everything known of a SLIDE, CASE, COHORT or RUN, by its id or the beginning of it."""
    from featurestore import overview

    return overview.show(store, name)


@main.command()
@store_option
@prints_result
def clean(store: FeatureStore) -> Any:
    """Remove unfinished trainings older than a week, as `status` names them."""
    from featurestore import overview

    return overview.clean(store)


@main.command()
@store_folder_option
@click.option("--repair", is_flag=True, help="Set what is broken aside; ingest embeds it again.")
@click.option("--rebuild", is_flag=True, help="Make the catalog anew from all the rest.")
@prints_result
def verify(store: Path, **mend: bool) -> Any:
    """Read every byte of the store and tell all that is not as it was written."""
    from featurestore import FeatureStore

    with progress("slides") as show:
        return FeatureStore.verify(store, progress=show, **mend)


@main.command()
@click.argument("slides", type=PATH)
@store_option
@options_of(PlanConfig, Tiling)
@prints_result
def plan(config: PlanConfig, tiling: Tiling, slides: Path, store: FeatureStore) -> Any:
    """Say what an ingest of SLIDES would do and cost; changes nothing.

    SLIDES is a slide, a folder, or a manifest: a table (.csv, .xlsx, .parquet, .jsonl) with the
    column path. Hours are those of earlier ingests into this store.

    Example: trephine plan archive/manifest.csv --encoder dinov2-base
    """
    from ingest.slides import archive, plan

    found = archive.read_archive(slides, config)
    return plan.plan_archive(store, found, tiling, config, source=str(slides))


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

    Example: trephine ingest archive/manifest.csv --encoder dinov2-base
    """
    if (slides is None) != adopt_only:
        raise click.UsageError("give SLIDES or --adopt-only, one of the two")
    from ingest.slides import embed

    if slides is None:
        return embed.adopt(store)
    with progress("slides") as show:
        return embed.ingest(store, slides, tiling, config, progress=show)


@main.command()
@prints_result
def encoders() -> Any:
    """List the encoders that `ingest --encoder` knows."""
    from ingest.slides.encoders import listed

    return listed()


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

    REPORTS is a table with case_id, text and, where known, reported_on, heading (also section or
    specimen: what a row is about) and status, or a folder of text files. Report texts are not
    copied into the store.

    Example: trephine label reports.csv --parser rules
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
@options_of(ParserConfig, OllamaConfig, ValueConfig)
@click.option("--errors", is_flag=True, help="List what was read wrong.")
@prints_result
def evaluate_labels(
    config: ParserConfig, ollama: OllamaConfig, how: ValueConfig, gold: Path, errors: bool
) -> Any:
    """Measure a parser on GOLD, a table of id, text, value (missing: none stated) and tags.

    Example: trephine evaluate-labels gold.jsonl --parser rules --errors
    """
    from ingest.labels.scores import evaluate_file

    with progress("reports") as show:
        return evaluate_file(gold, config, ollama, how, progress=show).told(errors=errors)


@main.group()
def review() -> None:
    """Let a person judge disputed and unsupported labels."""


@review.command("export")
@click.argument("file", type=FILE)
@store_option
@click.option("--reports", type=PATH, help="Reports, for an excerpt beside each label.")
@click.option("--suspects", metavar="RUN", help="The labels that `suspects RUN` tells, instead.")
@target_option
@options_of(TableConfig)
@prints_result
def review_export(
    columns: TableConfig, file: Path, store: FeatureStore, suspects: str | None, **given: Any
) -> Any:
    """Write the labels that need a person to FILE, a CSV with an empty column value.

    Example: trephine review export todo.csv --reports reports.csv
    """
    from ingest.labels.review import export_review

    if suspects is not None:
        from trainer.suspects import suspects as rank

        ranked, typed = rank(store, suspects), click.get_current_context().get_parameter_source
        about = given["target"] if typed("target") == ParameterSource.COMMANDLINE else None
        given |= {"suspects": ranked.reasons(about), "target": ranked.target.name}
    return export_review(store, file, config=columns, **given)


@review.command("import")
@click.argument("file", type=FILE)
@store_option
@target_option
@options_of(ValueConfig)
@prints_result
def review_import(columns: ValueConfig, file: Path, store: FeatureStore, target: str) -> Any:
    """Take the values a person filled into FILE as labels of method human, which win.

    Example: trephine review import todo.csv
    """
    from ingest.labels.review import import_review

    return import_review(store, file, target, columns)


@main.command()
@click.argument("text", required=False, metavar="[QUERY]")
@sql_options("named", "text", 'give "select ..."')
@catalog_option
@prints_rows
def sql(store: Readable, query: str | None, parameters: dict[str, Any]) -> Any:
    """Ask the catalog one SELECT; read-only. Alone it lists tables and views with their columns.

    It may take 60 s, 4 GB of memory, and yield 10,000,000 rows or 2 GB.

    Example: trephine sql "select specimen, count(*) from slide_overview group by all"
    """
    from featurestore import overview

    return overview.relations(store) if query is None else store.question(query, parameters)


@main.group()
def cohort() -> None:
    """Freeze sets of slides with their labels and a split by patient."""


@cohort.command("create")
@click.argument("name", metavar="NAME", required=False)  # --named alone lists what there is
@click.option("--where", help=where_help)
@sql_options("cohorts", "where", "give --where EXPR")
@store_option
@click.option("--split", default="time", help="time, random, folds:K or table:FILE.csv.", **shows)
@options_of(SplitConfig, TableConfig)
@target_option
@prints_result
def cohort_create(
    config: SplitConfig,
    how: TableConfig,
    name: str | None,
    store: FeatureStore,
    split: str,
    target: str,
    **chosen: Any,
) -> Any:
    """Freeze the slides that a condition or query chooses as cohort NAME.

    Takes specimen core or unknown unless the SQL says otherwise.

    Example: trephine cohort create adults --where "age_years >= 18 and cellularity > 5"
    """
    from featurestore import overview
    from ingest.table import read_split

    if name is None:
        raise click.UsageError("give the cohort's NAME: trephine cohort create NAME --where EXPR")
    by = config.by(split, functools.partial(read_split, config=how))
    store.create_cohort(name, **chosen, split=by, target=target)
    return overview.shown(store, "cohort", name)


@cohort.command("list")
@catalog_option
@prints_rows
def cohort_list(store: Readable) -> Any:
    """List the cohorts."""
    return store.named("queries/cohorts")


@cohort.command("show")
@click.argument("name")
@store_option
@prints_result
def cohort_show(name: str, store: FeatureStore) -> Any:
    """Show a cohort: its SQL, split, counts and what was left out."""
    from featurestore import overview

    return overview.shown(store, "cohort", name)


@cohort.command("delete")
@click.argument("name", nargs=-1, required=True)
@store_option
@yes_option
@prints_result
def cohort_delete(name: tuple[str, ...], store: FeatureStore) -> Any:
    """Take every cohort NAME out by a tombstone; names are free again. Their runs go first."""
    return store.withdraw(name, "cohort")


@main.command("import")
@store_option
@options_of(ImportConfig)
@click.option("--manifest", type=FILE, help="Names, cases and mpp of slides, by path or slide_id.")
@prints_result
def import_(config: ImportConfig, store: FeatureStore, manifest: Path | None) -> Any:
    """Take in the embeddings that TOOL wrote under PATH; no slide is touched.

    A file that is damaged or unfinished is recorded and told, and never stops the rest.

    Example: trephine import trident jobs/bone --mpp 0.25
    """
    from featurestore import import_features
    from ingest.slides.archive import read_given

    with progress("slides") as show:
        return import_features(store, config, read_given(manifest), progress=show)


@main.command()
@store_option
@options_of(ExportConfig)
@prints_result
def export(config: ExportConfig, store: FeatureStore) -> Any:
    """Write the embeddings, labels and splits of COHORT as TOOL reads them.

    Example: trephine export clam adults -o for-clam
    """
    from featurestore import export_cohort

    with progress("slides") as show:
        return export_cohort(store, config, progress=show)


@main.command()
@click.argument("name")
@store_option
@click.option("--erase", is_flag=True, help="Remove its arrays, labels and rows for good, too.")
@click.option("--kind", type=click.Choice(["slide", "case", "patient"]), help="What NAME is.")
@prints_result
def retire(name: str, store: FeatureStore, **how: Any) -> Any:
    """Take the slide, case or patient NAME out of every later cohort, prediction and page."""
    return store.withdraw(name, **how)


@main.command()
@store_option
@like_option
@options_of(TrainConfig, SeedsConfig)
@click.option("--tensorboard", type=FOLDER, help="Folder for TensorBoard events, one a run.")
@prints_result
def train(
    config: TrainConfig, how: SeedsConfig, store: FeatureStore, tensorboard: Path | None
) -> Any:
    """Train an attention-MIL model on COHORT and predict its test slides.

    A cohort of folds is cross-validated: one run a fold. Reads the store alone: the slides may be
    gone. What was broken off goes on when the same command is given again, to the same result.

    Example: trephine train adults --bag-size 256
    """
    from trainer.holdout import divide_ahead, refuse_early

    refuse_early(store, config)
    divide_ahead(store, config)
    gc.disable()  # what is imported stays: to look through it takes a tenth of the time
    from trainer.sweep import train as fit

    gc.freeze()
    gc.enable()
    with progress("steps") as show:
        return fit(store, config, how.seeds, show, tensorboard=tensorboard)


@main.command()
@store_option
@options_of(TrainConfig, often=True)
@options_of(SweepConfig)
@prints_result
def sweep(config: TrainConfig, factors: Any, how: SweepConfig, store: FeatureStore) -> Any:
    """Train every combination of options given several times, but for runs that are done; compare.

    Example: trephine sweep adults --encoder uni2-h --encoder dinov2 --bag-size 16 --bag-size 256
    """
    from trainer.holdout import refuse_early

    refuse_early(store, config)
    from trainer.sweep import sweep as compare

    with progress("runs") as show:
        return compare(store, config, factors, seeds=how.number(factors), engine=how, progress=show)


@main.command()
@store_option
@options_of(TrainConfig, CurveConfig)
@prints_result
def curve(config: TrainConfig, how: CurveConfig, store: FeatureStore) -> Any:
    """Measure what more patients are worth: train on more and more of COHORT's."""
    from trainer.holdout import refuse_early

    refuse_early(store, config)
    from trainer.curve import curve as measure

    with progress("runs") as show:
        return measure(store, config, how, progress=show)


@main.command()
@click.argument("run")
@click.argument("cohort")
@store_option
@prints_result
def evaluate(run: str, cohort: str, store: FeatureStore) -> Any:
    """Validate RUN on another labelled COHORT, of patients that it has not seen."""
    from trainer.external import validate

    return validate(store, run, cohort)


@main.command()
@click.argument("run")
@store_option
@prints_result
def suspects(run: str, store: FeatureStore) -> Any:
    """Rank the labels of RUN's cohort that models do not believe that did not learn from them."""
    from trainer.suspects import suspects as rank

    with progress("models") as show:
        return rank(store, run, progress=show)


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN... [COHORT]")
@store_option
@other_slides_option
@click.option("--resamples", type=int, help="Bags per slide.  [default: as in training]")
@prints_rows
def predict(runs: tuple[str, ...], store: FeatureStore, **options: Any) -> Any:
    """Apply RUN, or several as one, to a COHORT or other slides; marks what was seen in training.

    Example: trephine predict latest --where "scanned_on >= '2024-01-01'" --format csv
    """
    from trainer.inference import predict_together as apply

    return apply(store, runs, **options)


@main.command()
@click.argument("run")
@click.argument("cohort", required=False)
@store_option
@other_slides_option
@options_of(SettleConfig)
@click.option("--curve", is_flag=True, help="Print a row for every number of bags.")
@prints_rows
def settle(config: SettleConfig, run: str, store: FeatureStore, **which: Any) -> Any:
    """Measure how many resampled bags RUN needs: how their mean settles, by bag size.

    On the run's test slides, unless a COHORT or a condition is given.

    Example: trephine settle latest --bag-size 64 --bag-size 256
    """
    from trainer.settling import settle as measure

    return measure(store, run, config, **which)


@main.group(cls=Listing)
def runs() -> None:
    """List, compare and delete runs; without a word, list."""


@runs.command("list")
@store_option
@click.option("--where", default="true", help='SQL, as "bag_size = 16 and r2 > 0.8".')
@prints_rows
def runs_list(store: FeatureStore, where: str) -> Any:
    """List runs with their configuration and scores, the newest first."""
    from featurestore import overview

    return overview.runs(store, where)


@runs.command("compare")
@click.argument("first")
@click.argument("second")
@store_option
@prints_result
def runs_compare(first: str, second: str, store: FeatureStore) -> Any:
    """Show what differs between two runs, and their paired differences slide by slide."""
    from trainer.compare import compare

    return compare(store, first, second)


@runs.command("delete")
@click.argument("run", nargs=-1, required=True)
@store_option
@yes_option
@click.option("--erase", is_flag=True, help="Remove their folders for good, too.")
@prints_result
def runs_delete(run: tuple[str, ...], store: FeatureStore, erase: bool) -> Any:
    """Take every RUN out of all lists by a tombstone; where one is none, nothing is deleted."""
    return store.withdraw(run, "run", erase=erase)


@main.command()
@click.argument("run", nargs=-1, required=True)
@store_option
@click.option("-o", "--out", type=FILE, help="HTML file.  [default: report.html]")
@click.option("--truth", type=FILE, help="Table of what is known better: slide_id and the target.")
@options_of(TableConfig)
@click.option("--rounding", type=float, help="Step of the labels.  [default: found in them]")
@click.option("--all", "every", is_flag=True, help="Pictures of all test slides, not of 60 in all.")
@click.option("--text", "in_text", is_flag=True, help="Print top, errors by range and a plot.")
@prints_result
def report(
    how: TableConfig,
    run: tuple[str, ...],
    store: FeatureStore,
    out: Path | None,
    in_text: bool,
    **given: Any,
) -> Any:
    """Write one HTML page about one or several RUNs; `latest` is the newest.

    Several are compared, slide by slide. Without --all the page holds the pictures of 60 slides,
    the worst, the best and typical ones; several runs share them: three have 20 each.

    Example: trephine report latest -o cellularity.html
    """
    from ingest.table import read_truth
    from trainer.page import page_text, write_page, written

    if in_text:
        of_a_file = {"-o": out, "--all": given["every"]}
        of_a_file |= {f"--{name}": given[name] for name in ("truth", "rounding")}
        if said := [flag for flag, value in of_a_file.items() if value]:
            raise click.UsageError(f"--text writes no file: leave out {' and '.join(said)}")
        return page_text(store, run)
    given["truth"] = given["truth"] and functools.partial(read_truth, given["truth"], config=how)
    page = write_page(store, run, out or Path("report.html"), **given)
    return written(store, run, page)


@main.command()
@click.argument("run")
@click.argument("slides", nargs=-1, required=True)
@store_option
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder for the files.")
@prints_result
def heatmap(run: str, slides: tuple[str, ...], store: FeatureStore, out: Path) -> Any:
    """Write RUN's attention on SLIDES: a PNG each, and its tiles as CSV and QuPath's GeoJSON.

    Example: trephine heatmap latest S-0017 S-0018 -o attention
    """
    from trainer.heatmap import heatmap

    return heatmap(store, run, slides, out)


@main.command()
@options_of(DemoConfig)
def demo(config: DemoConfig) -> None:
    """Run the whole main job on a synthetic archive in FOLDER, printing each command."""
    from featurestore import FeatureStore
    from ingest.synthetic.archive import make_archive
    from ingest.table import read_truth
    from trainer.floor import against_truth

    started, known = time.monotonic(), functools.partial(read_truth, config.truth)
    click.echo(f"Drawing a synthetic archive of {config.slides} slides in {config.archive} ...")
    with progress("slides") as show:
        click.echo(make_archive(config.archive, **config.size(), progress=show))
    for command in config.commands():
        click.secho(f"\n$ {in_shell(command)}", bold=True)
        main.main(command, standalone_mode=False, obj="raise")
    seconds = time.monotonic() - started
    found = against_truth(FeatureStore(config.store), "latest", known).text()
    click.echo(f"\n{config.done(seconds, against_truth=found)}")


if __name__ == "__main__":
    main()
