"""Parquet, for all others: a file of tiles a Slide, and one of the Slides."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from featurestore.errors import write_beside
from featurestore.exchange.bags import Outgoing


def write(it: Outgoing) -> None:
    """Write one Slide: unit, x, y (null where nobody knows them), tissue, embedding."""
    coords, rows, order = it.sorted(1, 0)
    placed = it.bag.unit != "row"
    frame = pl.DataFrame(
        {
            "x": coords[:, 0] if placed else [None] * len(rows),
            "y": coords[:, 1] if placed else [None] * len(rows),
            "tissue": None if it.bag.tissue is None else it.bag.tissue[order],
            "embedding": rows,
        },
        schema_overrides={"x": pl.Int32, "y": pl.Int32, "tissue": pl.Float32},
    ).with_columns(unit=pl.lit(it.bag.unit if placed else None, pl.String))
    with write_beside(it.out / "tiles" / f"{it.slide_id}.parquet") as work:
        frame.write_parquet(work)


def write_tables(out: Path, cohort: pl.DataFrame, target: str) -> list[str]:
    """Write the Slides of the Cohort: names, split, the Target's value, geometry."""
    with write_beside(out / "slides.parquet") as work:
        cohort.with_columns(target=pl.lit(target)).write_parquet(work)
    return []
