"""`FeatureStore`: the one public way into a store."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from featurestore import arrays, catalog, cohorts, layout, ledger
from featurestore.errors import (
    CohortError,
    CohortNotFound,
    ConfigError,
    RunNotFound,
    StoreNotFound,
    TrephineError,
)
from featurestore.types import Target, content_id


class FeatureStore:
    """A folder of per-slide arrays, a ledger, Runs and the catalog over them (DESIGN section 4).

    Args:
        root: the store's folder, made by `FeatureStore.create`.

    Raises:
        StoreNotFound: there is no store at `root`.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        if not catalog.path_of(self.root).exists():
            raise StoreNotFound(
                f"there is no store at {self.root}. "
                f"Make one with: trephine init --store {self.root}"
            )

    @classmethod
    def create(cls, root: Path | str) -> FeatureStore:
        """Make an empty store, or bring an older one to this version; keeps what is there."""
        root = Path(root)
        folders = [layout.slides_dir(root), layout.runs_dir(root), layout.tmp_dir(root)]
        folders += [layout.ledger_dir(root, kind) for kind in layout.LEDGER_KINDS]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        catalog.migrate(root)
        return cls(root)

    # -- catalog ------------------------------------------------------------------------------

    def sql(
        self, query: str, parameters: Mapping[str, Any] | None = None, *, timeout_s: float = 60.0
    ) -> pl.DataFrame:
        """Run one SELECT over the tables and views; read-only, without files or network."""
        return catalog.query(self.root, query, parameters, timeout_s=timeout_s)

    def named(self, query: str, parameters: Mapping[str, Any] | None = None) -> pl.DataFrame:
        """Run one of our own SQL texts of `sql/queries/`."""
        return catalog.read_frame(self.root, f"queries/{query}", parameters)

    def record(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to the ledger and fold them into the catalog."""
        if rows:
            ledger.append(self.root, kind, rows)
        catalog.fold(self.root)

    def target(self, name: str = "cellularity") -> Target:
        """Return a Target that Labels were given for."""
        found = self.sql("from targets where target = $name", {"name": name})
        if found.is_empty():
            raise ConfigError(
                f"no label of target {name!r} is in the store. Add some with: trephine label"
            )
        row = found.row(0, named=True)
        return Target(name=name, kind=row["kind"], low=row["low"], high=row["high"])

    def encoder(self, encoder_id: str) -> dict[str, Any]:
        """Return name, dim, weights and identity of an Encoder."""
        found = self.sql("from encoders where encoder_id = $id", {"id": encoder_id})
        if found.is_empty():
            raise ConfigError(
                f"encoder {encoder_id!r} is not in the store. "
                "List its encoders with: trephine sql 'from encoders'"
            )
        return found.row(0, named=True)

    # -- cohorts ------------------------------------------------------------------------------

    def create_cohort(
        self,
        name: str,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        split: cohorts.SplitConfig | None = None,
        target: str = "cellularity",
    ) -> dict[str, Any]:
        """Freeze the Slides that a SELECT yields, with their Labels and a split by Patient.

        Args:
            name: of the Cohort; a taken name is refused, since Cohorts never change.
            query: one SELECT with a column slide_id; see `where_query` for a bare condition.
            parameters: its named parameters.
            split: the split's method and options; by time into halves unless said otherwise.
            target: the Target whose Labels are frozen.

        Returns:
            The Cohort as `cohort` gives it.

        Raises:
            CohortError: the name is taken, or no Slide has tiles and a Label, or the split fails.
        """
        split = split or cohorts.SplitConfig()
        if not re.fullmatch(r"[\w.-]+", name):
            raise CohortError(f"a cohort's name is letters, digits, '_', '-' and '.', got {name!r}")
        if not self.sql("from cohorts where cohort = $name", {"name": name}).is_empty():
            raise CohortError(
                f"cohort {name!r} exists, and cohorts never change. Choose another name, or see it "
                f"with: trephine cohort show {name}"
            )
        chosen = self.sql(query, parameters)
        if "slide_id" not in chosen.columns:
            raise CohortError(
                f"the SQL of a cohort must yield a column slide_id, got {', '.join(chosen.columns)}"
            )
        labelled = catalog.read_frame(self.root, "queries/cohort_labels", {"target": target})
        slides = labelled.join(chosen.select("slide_id").unique(), on="slide_id", how="semi")
        dropped = {"without tiles": chosen["slide_id"].n_unique() - slides.height}
        if not re.search(r"\bspecimen\b", query, re.IGNORECASE):
            core = pl.col("specimen").is_null() | (pl.col("specimen") == "core")
            dropped["specimen other than core"] = slides.filter(~core).height
            slides = slides.filter(core)
        dropped[f"without a label of {target}"] = slides["value"].null_count()
        slides = slides.filter(pl.col("value").is_not_null())
        if slides.is_empty():
            raise CohortError(
                f"no slide is left for cohort {name!r}: the SQL yields {chosen.height}, of which "
                + ", ".join(f"{n} are {why}" for why, n in dropped.items())
                + ". Try the condition with: trephine sql 'from bags'"
            )
        slides, late = cohorts.split(slides, split)
        slides = slides.sort("slide_id")
        made_up = int(slides["patient_made_up"].sum())
        frozen = slides.select(
            "slide_id",
            "slide_key",
            "case_id",
            "patient_id",
            "dated",
            "split",
            "value",
            "low",
            "high",
        ).rows(named=True)
        cohort = {
            "cohort": name,
            "cohort_id": content_id([target, frozen]),
            "target": target,
            "query": query,
            "parameters": json.dumps(dict(parameters or {}), default=str),
            "split_method": split.method,
            "options": json.dumps(
                {
                    "test_fraction": split.test_fraction,
                    "seed": split.seed,
                    "folds": split.folds,
                    "late_slides": split.late_slides,
                    "undated": split.undated,
                    "patients_made_up": made_up,
                }
            ),
            "dropped": json.dumps({why: n for why, n in (dropped | late).items() if n}),
            "created_at": catalog.now(),
        }
        self.record("cohorts", [{**cohort, **row} for row in frozen])
        return self.cohort(name)

    def cohort(self, name: str) -> dict[str, Any]:
        """Return a Cohort's row; its JSON columns are read, and counts are per split."""
        found = self.sql("from cohorts where cohort = $name", {"name": name})
        if found.is_empty():
            raise CohortNotFound(
                f"cohort {name!r} is not in the store. List its cohorts with: trephine cohort list"
            )
        row = found.row(0, named=True)
        for column in ("parameters", "options", "dropped"):
            row[column] = json.loads(row[column])
        counts = self.sql(
            "select split, count(*) as slides, count(distinct patient_id) as patients,"
            " min(dated) as first, max(dated) as last, avg(value) as mean"
            " from cohort_slides where cohort = $name group by split order by first, split",
            {"name": name},
        )
        return row | {"splits": counts.rows(named=True)}

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
        frame = self.sql(
            "from cohort_bags where cohort = $name order by slide_id", {"name": cohort}
        )
        return _one_array(frame.drop("cohort"), encoder_id, tiling_id)

    def bags_where(
        self, condition: str, encoder_id: str | None = None, tiling_id: str | None = None
    ) -> pl.DataFrame:
        """Return the same columns for Slides chosen by a condition; value may be null."""
        frame = self.sql(f"from bags where ({condition}\n) order by slide_id")
        frame = frame.with_columns(
            pl.col("cellularity").alias("value"), pl.lit("none").alias("split")
        )
        return _one_array(frame, encoder_id, tiling_id)

    def rows(self, bags: pl.DataFrame, max_open: int = 64) -> arrays.RowReader:
        """Open a reader of Embedding rows; Slide i is row i of `bags`."""
        columns = bags.select("slide_key", "tiling_id", "encoder_id").iter_rows()
        chunks = [layout.chunk(layout.embedding_dir(self.root, *ids), 2) for ids in columns]
        dims = bags["dim"].unique().to_list()
        if len(dims) != 1:
            raise ConfigError(f"expected embeddings of one width, got {dims}. Name one --encoder.")
        return arrays.RowReader(chunks, bags["n_tiles"].to_list(), dims[0], max_open)

    def tiles(self, slide_key: str, tiling_id: str) -> dict[str, np.ndarray]:
        """Return coords int32 (N, 2) and tissue, blur, pen float16 (N,) in stored order."""
        return arrays.read_tiles(self.root, slide_key, tiling_id)

    def scores(
        self, slide_key: str, tiling_id: str, n_tiles: int, names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """Return the named scores of a Slide's tiles, float16 (N,) each, in stored order."""
        return arrays.read_scores(self.root, slide_key, tiling_id, n_tiles, names)

    def thumbnail(self, slide_key: str) -> np.ndarray:
        """Return a Slide's thumbnail, uint8 (h, w, 3)."""
        return arrays.read_thumbnail(self.root, slide_key)

    def slide_attributes(self, slide_key: str) -> dict[str, Any]:
        """Return what was measured of a Slide: size_px0, mpp, fingerprint and provenance."""
        return arrays.attributes(self.root, slide_key)

    # -- runs ---------------------------------------------------------------------------------

    def publish_run(self, work: Path, run_id: str) -> Path:
        """Move a finished Run into place and fold it into the catalog."""
        target = layout.runs_dir(self.root) / run_id
        arrays.publish_folder(work, target)
        catalog.fold(self.root)
        return target

    def runs(self) -> pl.DataFrame:
        """Return one row per Run, the newest first, with its test metrics."""
        return catalog.read_frame(self.root, "queries/runs")

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a Run as its run.json has it; `latest` is the newest."""
        if run_id == "latest":
            newest = self.runs()
            run_id = newest["run_id"][0] if newest.height else run_id
        file = layout.runs_dir(self.root) / run_id / "run.json"
        if not file.exists():
            raise RunNotFound(f"run {run_id!r} is not in the store. List its runs: trephine runs")
        return json.loads(file.read_text())

    def predictions(self, run_id: str) -> pl.DataFrame:
        """Return a Run's Predictions, one row per Slide."""
        return self.sql(
            "select * exclude (run_id) from predictions where run_id = $run_id order by slide_id",
            {"run_id": run_id},
        )


def where_query(condition: str) -> str:
    """Turn a bare condition over `bags` into the SELECT of a Cohort."""
    return f"select distinct bags.slide_id\nfrom bags\nwhere ({condition}\n)"


def _one_array(frame: pl.DataFrame, encoder_id: str | None, tiling_id: str | None) -> pl.DataFrame:
    if frame.is_empty():
        raise ConfigError(
            "no slide has embeddings and fits. Try the condition with: trephine sql 'from bags'"
        )
    for column, wanted in (("encoder_id", encoder_id), ("tiling_id", tiling_id)):
        option = f"--{column.removesuffix('_id')}"
        found = sorted(frame[column].unique().to_list())
        if wanted is not None:
            if wanted not in found:
                raise ConfigError(f"no slide has {column} {wanted!r}; there is {', '.join(found)}")
            frame = frame.filter(pl.col(column) == wanted)
        elif len(found) > 1:
            raise ConfigError(
                f"these slides have {len(found)} values of {column}: {', '.join(found)}. "
                f"Choose one with {option}."
            )
    return frame


__all__ = ["FeatureStore", "TrephineError", "where_query"]
