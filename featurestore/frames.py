"""Write rows for a person or a program: a table, CSV, JSON or Parquet."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

FORMATS = ("table", "csv", "json", "parquet")


@dataclass(frozen=True)
class Rows:
    """Rows to print, and what is said of them."""

    frame: pl.DataFrame
    notes: Sequence[str] = ()
    columns: Sequence[str] = ()  # those of the table, where not all
    objects: Sequence[str] = ()  # columns of JSON texts

    def said(self, form: str) -> Iterator[str]:
        """Notes on stderr; under a table, how many rows it has."""
        if form == "table":
            yield f"{self.frame.height:,} rows"
        yield from self.notes


def to_text(value: Any) -> str:
    """Any value as JSON for programs and people: letters stand as they are."""
    return json.dumps(value, indent=2, default=str, ensure_ascii=False)


def rendered(rows: Rows, form: str) -> str | bytes:
    """Rows in one of `FORMATS`; Parquet is bytes."""
    import polars as pl

    frame = rows.frame
    if form == "json":
        told = frame.rows(named=True)
        told = [row | {name: json.loads(row[name]) for name in rows.objects} for row in told]
        return to_text(told) + "\n"
    if form == "parquet":
        frame.write_parquet(buffer := io.BytesIO())
        return buffer.getvalue()
    if form == "csv":
        plain = [c for c, kind in frame.schema.items() if kind.is_nested()]
        frame = frame.with_columns(
            pl.col(c).map_elements(lambda v: json.dumps(list(v)), pl.String) for c in plain
        )
        return frame.write_csv()
    frame = frame.select(rows.columns or frame.columns)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=10_000, fmt_str_lengths=200) as shown:
        shown.set_tbl_formatting("UTF8_BORDERS_ONLY")
        shown.set_tbl_hide_column_data_types(True).set_tbl_hide_dataframe_shape(True)
        return f"{frame}\n"
