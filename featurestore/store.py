"""`FeatureStore`: the one public way into a store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import polars as pl

import sql
from featurestore import (
    arrays,
    catalog,
    cohorts,
    compacting,
    creation,
    folding,
    layout,
    ledger,
    queries,
    repair,
    withdrawal,
    workplaces,
)
from featurestore.bookkeeping import Gone
from featurestore.checksums import SealedRun, meant_run, read_runs, write_run
from featurestore.config import SplitConfig
from featurestore.errors import (
    CatalogBusy,
    CohortNotFound,
    ConfigError,
    NotFinite,
    RunNotFound,
    StoreDamaged,
    TrephineError,
)
from featurestore.exchange import python_bags
from featurestore.fields import from_json
from featurestore.reading import Readable
from featurestore.rows import Chunks, RowReader
from featurestore.types import ArrayIds, Cohort, FrozenSlide, Prediction, RunRecord, Split

P = ParamSpec("P")
T = TypeVar("T")
NO_ROW = "the catalog has no row of it. Mend it with: trephine verify --repair"
LEDGER = "ledger"  # what a store claims of rows that are not folded
COPIES = "checks/slides_of_two_patients"


def _of_root(function: Callable[Concatenate[Path, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A method of what is a function of the store's folder."""

    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return function(self.root, *args, **kwargs)

    functools.update_wrapper(method, function)
    return method


class FeatureStore(Readable):
    """A folder of per-slide arrays, a ledger, Runs and the catalog over them (docs/format.md).

    Args:
        root: the store's folder, made by `FeatureStore.create`.
        trust: whether Embeddings are used without a look at their checksums.

    Raises:
        StoreNotFound: there is no store at `root`.
    """

    def __init__(self, root: Path | str, *, trust: bool = False) -> None:
        super().__init__(root, trust=trust)
        self.older = ""  # what `create` did to an older one
        self.__setstate__({})

    def __getstate__(self) -> dict[str, Any]:
        """What is read ahead or claimed is this process's alone."""
        own = ("_ahead", "_arrays", "_claim")
        return {k: v for k, v in super().__getstate__().items() if k not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a process that reads and claims for itself."""
        vars(self).update(state)
        self._ahead: dict[Hashable, Future[Any]] = {}
        self._arrays: pl.DataFrame | None = None  # `know_arrays`
        self._claim = workplaces.Lease(layout.slides_dir(self.root))

    @classmethod
    def create(cls, root: Path | str, *, shared: bool = False) -> FeatureStore:
        """Make an empty store, or bring an older one to this version; keeps what is there.

        `shared`: its group may read and write, too; else a new one is its owner's alone.
        """
        older = creation.make(Path(root), shared)
        store = cls(root)
        store.older = older
        return store

    @classmethod
    def of(cls, store: FeatureStore) -> Self:
        """A store opened anew as this class; one that was pickled opens in any process."""
        return cls(store.root, trust=store.trust)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives; a store of many Runs makes it once (`trainer.shared_store`)."""
        return make()

    # -- catalog ------------------------------------------------------------------------------

    def record(
        self,
        rows: Iterable[Any] = (),
        *,
        published: Iterable[ArrayIds] | None = None,
        fold: bool = True,
        wait_s: float = catalog.LOCK_TIMEOUT_S,
    ) -> None:
        """Append nouns to the ledger, then fold into the catalog what it does not have yet.

        Without rows it takes over what killed or sharded processes left. `published` are the arrays
        to look for, all of the store's unless given; without `fold` a later call folds the rows in.

        Raises:
            CatalogBusy: another process held the catalog for `wait_s`; nothing was written.
            StoreUnwritable: the disk is full or read-only.
        """
        rows, published = list(rows), None if published is None else list(published)
        if not fold:
            self._claim.add(LEDGER)  # until the next fold
            ledger.append(self.root, rows)
        elif rows or published is None or published:
            self._write(lambda _: rows, published, wait_s)

    def _write(
        self,
        act: folding.Act,
        published: Iterable[ArrayIds] | None = (),
        wait_s: float = catalog.LOCK_TIMEOUT_S,
        undo: Iterable[folding.Undo] = (),
    ) -> None:
        """The one way to write: check, append and fold under the catalog's lock, or nothing."""
        self._asked = None
        self._recovered = self._recovered or self._recover()
        there = self._claim.things if published is None else published
        folding.fold(self.root, act=act, published=published, timeout_s=wait_s, undo=undo)
        self._claim.drop([*there, LEDGER])

    def compact(self) -> None:
        """Write the many small ledger files of a kind as one, unless the catalog is busy."""
        with suppress(CatalogBusy), workplaces.alone(self.root, timeout_s=0):
            compacting.compact(self.root)

    def known(self, noun: type[T]) -> list[T]:
        """Every Slide, Case or golden tile: as the catalog and then the ledger's news have them."""
        frame = self.ask(f"from {ledger.kind_of(noun)}")
        return [*ledger.nouns_of(noun, frame), *self.pending(noun)]

    def pending(self, noun: type[T]) -> list[T]:
        """What the ledger has of a noun that the catalog does not know yet, in the order said."""
        return ledger.nouns_of(noun, catalog.pending(self.root, ledger.kind_of(noun)))

    def withdrawn(self) -> Gone:
        """The Slides, Cases and Patients that were taken out."""
        return Gone(set(self.ask("select kind, name from tombstones").iter_rows()))

    erased = _of_root(ledger.erased)
    turn = _of_root(workplaces.turn)
    withdraw = _of_root(withdrawal.withdraw)
    add_bags = python_bags.add_bags
    record_labels = python_bags.record_labels
    new_labels = python_bags.new_labels
    verify = staticmethod(repair.verify)

    # -- cohorts ------------------------------------------------------------------------------

    def create_cohort(
        self,
        name: str,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        split: SplitConfig | None = None,
        target: str = "cellularity",
    ) -> Cohort:
        """Freeze the Slides that a SELECT yields, with their Labels and a split by Patient.

        It has a column slide_id (see `where_query`); the split is by time into halves unless said.

        Raises:
            CohortError: the name is taken, no Slide has tiles and a Label, the split fails, one
                content stands under two Patients, or links of the catalog are broken.
        """
        with catalog.reader(self.root) as con:
            cohorts.check_free(con, name)
        chosen = cohorts.ids_of(self.sql(query, parameters))
        cohort, frozen = cohorts.freeze(
            name,
            chosen,
            catalog.read_frame(
                self.root, "queries/cohort_labels", {"target": target}, chosen=chosen
            ),
            query=query,
            parameters=parameters or {},
            config=split or SplitConfig(),
            target=target,
        )
        with catalog.reader(self.root) as con:
            checks = {
                Path(check).name: catalog.frame_of_query(con, check)
                for check in sql.names("checks")
                if check != COPIES  # judged above, as the split says
            }
        if broken := cohorts.broken_links(frozen, checks):
            cohort = replace(cohort, options={**cohort.options, "broken": broken})
        whole = frozen.join(ledger.frame_of(Cohort, [cohort]), how="cross")
        schema = pl.Schema(ledger.schema_of(FrozenSlide))
        rows = ledger.Many(noun=FrozenSlide, frame=whole.select(*schema).cast(schema))

        def act(con: catalog.Connection) -> list[ledger.Many]:
            cohorts.check_free(con, name)  # again: another process may have taken it meanwhile
            return [rows]

        self._write(act)
        return self.cohort(name)

    def cohort(self, name: str) -> Cohort:
        """Return a Cohort as it was frozen.

        Raises:
            CohortNotFound: there is none of that name.
        """
        found = self.ask("from cohorts where cohort = $name", {"name": name})
        if found.is_empty():
            raise CohortNotFound.of(name)
        return from_json(Cohort, found.row(0, named=True))

    def splits(self, cohort: str) -> list[Split]:
        """Return the sides of a Cohort in numbers, the earliest first."""
        self.cohort(cohort)
        rows = self.named("queries/cohort_splits", {"cohort": cohort}).iter_rows(named=True)
        return [from_json(Split, row) for row in rows]

    # -- bags ---------------------------------------------------------------------------------

    def bags(
        self, cohort: str, encoder_id: str | None = None, tiling_id: str | None = None
    ) -> pl.DataFrame:
        """Return one row per Slide of a Cohort with its Embeddings, sorted by slide_id.

        Columns: slide_id, slide_key, case_id, patient_id, split, value, low, high, dated,
        specimen, stain, scanner, scanned_on, age_years, tiling_id, encoder_id, n_tiles, dim.

        Raises:
            CohortNotFound: there is no such Cohort.
            ConfigError: several Encoders or Tilings fit and none was named.
        """
        self.cohort(cohort)
        of = "select * exclude (cohort) from cohort_bags where cohort = $name order by slide_id"
        return self._one_array(self.ask(of, {"name": cohort}), encoder_id, tiling_id)

    def read_ahead(self, key: Hashable, make: Callable[[], object]) -> None:
        """Let a thread make what `taken` waits for, while the caller imports what is slow."""
        self._ahead[key] = ThreadPoolExecutor(1).submit(make)

    def taken(self, key: Hashable, make: Callable[[], T]) -> T:
        """What is read ahead under a key, once; else what `make` gives."""
        ahead: Future[T] | None = self._ahead.pop(key, None)
        return make() if ahead is None else ahead.result()

    def bags_where(
        self, condition: str, encoder_id: str | None = None, tiling_id: str | None = None
    ) -> pl.DataFrame:
        """Return the same columns for Slides chosen by a condition; value may be null."""
        frame = self.sql(f"from bags where {queries.condition(condition)} order by slide_id")
        frame = frame.with_columns(
            pl.col("cellularity").alias("value"), pl.lit("none").alias("split")
        )
        return self._one_array(frame, encoder_id, tiling_id)

    def publish(self, made: arrays.SlideArrays) -> int:
        """Write what the store lacks of a Slide, and return its bytes; see `arrays.publish`.

        Until `record`, `verify` takes it for work that goes on.
        """
        self._claim.add(ArrayIds(made.slide_key, made.tiling.tiling_id, made.encoder_id))
        return arrays.publish(self.root, made)

    has = _of_root(arrays.has)
    tiles = _of_root(arrays.read_tiles)
    scores = _of_root(arrays.read_scores)
    thumbnail = _of_root(arrays.read_thumbnail)
    slide_attributes = _of_root(arrays.attributes)

    def rows(self, bags: pl.DataFrame, max_open: int = 64) -> RowReader:
        """Open a reader of Embedding rows; Slide i is row i of `bags`."""
        ids = bags.select(ArrayIds._fields)
        found = catalog.with_digests(self.root, ids, self._arrays)
        dims = bags["dim"].unique().to_list()
        if len(dims) != 1:
            raise ConfigError(f"expected embeddings of one width, got {dims}. Name one --encoder.")
        return RowReader(
            Chunks(self.root, *(bags[one].to_list() for one in ArrayIds._fields)),
            bags["n_tiles"].to_list(),
            dims[0],
            max_open,
            digests=found["digest"].to_list(),
            checked=None if self.trust else found.select("size_bytes", "mtime_ns", "inode").row,
            names=bags["slide_id"].to_list() if "slide_id" in bags.columns else (),
        )

    def know_arrays(self, bags: pl.DataFrame) -> None:
        """Ask the catalog once what the arrays of `bags` must be, for all `rows` of this store."""
        ids = bags.select(ArrayIds._fields)
        if (known := self._arrays) is not None:
            ids = ids.join(known, on=ids.columns, how="anti")
        if ids.height:
            found = catalog.with_digests(self.root, ids)
            self._arrays = found if known is None else pl.concat([known, found])

    def sound_bags(self, bags: pl.DataFrame) -> pl.DataFrame:
        """The Slides whose Embeddings are as they were written; others are left out, with a note.

        Raises:
            StoreDamaged, NotFinite: none is.
        """
        broken: dict[str, StoreDamaged | NotFinite] = {}
        with self.rows(bags) as reader:
            for i, slide_id in enumerate(bags["slide_id"]):
                try:
                    reader.check(i)
                except (StoreDamaged, NotFinite) as error:
                    broken[slide_id] = error
        if len(broken) == bags.height:
            raise next(iter(broken.values()))
        for why in broken.values():
            self.note(f"left out: {why}")
        return bags.filter(~pl.col("slide_id").is_in(list(broken)))

    # -- runs ---------------------------------------------------------------------------------

    def workplace(self, key: str) -> AbstractContextManager[Path]:
        """Lend the folder of the unfinished work `key`, with what a broken-off call left there."""
        return workplaces.lend(layout.tmp_dir(self.root), key)

    def publish_run(self, work: Path, record: RunRecord, predictions: Sequence[Prediction]) -> Path:
        """Write a Run's record and Predictions beside its weights, move it into place, fold it in.

        Slides that were taken out meanwhile are left out, with a note. `work` is the Run's
        unfinished folder, from `workplace`.
        """
        target = self.run_folder(record.run_id)

        def act(con: catalog.Connection) -> tuple[()]:
            last = con.execute("select coalesce(max(sequence), 0) from runs").fetchall()[0][0]
            number = max(last + 1, ledger.next_sequence(self.root))
            made, kept = replace(record, sequence=number), list(predictions)
            about = {"ids": list({one.slide_id for one in kept})}
            gone = catalog.frame_of_query(con, "queries/withdrawn", about)["slide_id"].to_list()
            if gone:  # while the Run was made; its weights and metrics had them
                note = f"{len(gone)} slides that were taken out meanwhile have no prediction"
                self.note(f"run {record.run_id}: {note}")
                made = replace(made, notes=(*made.notes, note))
                kept = [one for one in kept if one.slide_id not in gone]
            write_run(work, made, kept)
            arrays.publish_folder(work, target)
            return ()

        back = [lambda: work.exists() or target.rename(work)]  # to be published another time
        # hours of work do not fail over a busy catalog
        self._write(act, wait_s=float("inf"), undo=back)
        return target

    def run_folder(self, run_id: str) -> Path:
        """Folder of a finished Run: weights.safetensors, run.json, figures.

        Raises:
            RunNotFound: the id is none, but a path.
        """
        if run_id != Path(run_id).name or run_id in ("", ".."):
            raise RunNotFound(f"run {run_id!r} is no id. List its runs: trephine runs")
        return layout.runs_dir(self.root) / run_id

    def runs(self, where: str = "true") -> pl.DataFrame:
        """Return one row per Run that a condition over these columns fits, the newest first.

        Columns are those of sql/queries/runs.sql: configuration, and test metrics.
        """
        lines = sql.read("queries/runs").splitlines()
        every = " ".join(line for line in lines if not line.startswith("--"))  # theirs is line 1
        newest_first = "order by sequence desc, started_at desc, run_id desc"
        there = {folder.name for folder in layout.runs_dir(self.root).glob("*/")}
        frame = self.sql(
            f"select * from ({every}) as runs where {queries.condition(where)} {newest_first}"
        )
        known = self.ask("select run_id from runs union select name from tombstones")["run_id"]
        for run_id in sorted(there - set(known)):
            self.note(f"run {run_id} is left out: {NO_ROW}")
        return self.sound_runs(frame).drop("sequence", "digest")

    def sound_runs(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of Runs (`run_id`) whose folders are as they were sealed.

        Others are left out, with a note.
        """
        of = "select run_id, digest from runs where list_contains($ids, run_id)"
        digests = dict(self.ask(of, {"ids": rows["run_id"].unique().to_list()}).iter_rows())
        read = read_runs([self.run_folder(one) for one in sorted(digests)], digests)
        broken = {folder.name: why for folder, why in read if isinstance(why, TrephineError)}
        for run_id, why in broken.items():
            self.note(f"run {run_id} is left out: {why}")
        return rows.filter(~pl.col("run_id").is_in(list(broken)))

    def run(self, run_id: str) -> RunRecord:
        """Return a Run's record, named by its id or an unambiguous prefix; `latest` is the newest.

        Raises:
            RunNotFound: the store has no such Run.
        """
        return self._sealed(run_id)[0]

    def _sealed(self, run_id: str) -> SealedRun:
        text = "select run_id, digest from runs order by sequence, started_at, run_id"
        return meant_run(self.root, dict(self.ask(text).iter_rows()), run_id)

    def predictions(self, run_id: str) -> pl.DataFrame:
        """Return a Run's Predictions, one row per Slide, as they stand in its sealed folder.

        Raises:
            RunNotFound: the store has no such Run.
            StoreDamaged: they are not what was written.
        """
        record, sealed, _ = self._sealed(run_id)
        about = {"run_id": record.run_id}
        return catalog.read_frame(self.root, "queries/predictions", about, sealed=sealed)
