"""Export: write the Slides of a Cohort as another tool reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from featurestore import arrays
from featurestore.config import ExportConfig
from featurestore.errors import ConfigError, FeaturesRefused, StoreDamaged
from featurestore.exchange import files
from featurestore.exchange.bags import ForeignBag
from featurestore.exchange.writers import WRITERS, Outgoing
from featurestore.types import Progress, silent
from featurestore.words import counted, grouped

if TYPE_CHECKING:
    from featurestore.store import FeatureStore

TABLE = "cohort.csv"  # of every export, whatever its tool


@dataclass(frozen=True, kw_only=True)
class ExportSummary:
    """What one export wrote."""

    tool: str
    out: Path
    encoder: str
    slides: int
    tiles: int
    notes: tuple[str, ...] = ()
    failures: dict[str, str] = field(default_factory=dict)  # by slide_id

    def text(self) -> str:
        """How many Slides stand where, what their readers make of them, and what failed."""
        lines = [
            f"{counted(self.slides, 'slide')}, {counted(self.tiles, 'tile')} of encoder "
            f"{self.encoder} are in {self.out}, for {self.tool}"
        ]
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, *grouped("failed", self.failures)])


def export_cohort(
    store: FeatureStore, config: ExportConfig, *, progress: Progress = silent
) -> ExportSummary:
    """Write the Slides of a Cohort, with its labels and splits, as another tool reads them.

    A Slide that lacks what the tool's readers need fails, and stops nothing.

    Raises:
        CohortNotFound: there is no such Cohort.
        ConfigError: several Encoders or Tilings fit and none was named; the folder is the store's.
        FileUnwritable: the folder cannot be written.
    """
    if store.root.resolve() in (config.out.resolve(), *config.out.resolve().parents):
        raise ConfigError(f"{config.out} is in the store {store.root}. Name another folder with -o")
    slides = store.sql("select slide_id, slide_key, mpp, width_px0, height_px0 from slides")
    tilings = store.sql("select tiling_id, tile_px, tile_mpp, min_tissue from tilings")
    bags = store.bags(config.cohort, config.encoder_id, config.tiling_id)
    cohort = bags.join(slides, on=["slide_id", "slide_key"], how="left").join(
        tilings, on="tiling_id"
    )
    write, write_tables = WRITERS[config.tool]
    encoder = store.encoder(cohort["encoder_id"][0])
    failures, notes = dict[str, str](), list[str]()
    before = _stamps(config.out) if (config.out / TABLE).exists() else {}  # an earlier export
    for done, row in enumerate(cohort.iter_rows(named=True), start=1):
        try:
            write(_outgoing(store, row, config.out, encoder.name))
        except (FeaturesRefused, StoreDamaged) as error:
            failures[row["slide_id"]] = f"slide {row['slide_id']!r} {error}"
        progress(done, cohort.height, f"{len(failures)} failed")
    left = cohort.filter(~pl.col("slide_id").is_in(list(failures)))
    if left.height:
        target = store.cohort(config.cohort).target
        columns = ["slide_id", "case_id", "patient_id", "split", "value"]
        files.write_csv(config.out / TABLE, [*columns[:-1], target], left.select(columns).rows())
        notes += write_tables(config.out, left, target)
    if stale := sorted(dict(before.items() & _stamps(config.out).items())):
        notes.append(
            f"of an earlier export {config.out} still has {len(stale):,}, the first is {stale[0]}: "
            "retired slides may be among them. Use a new folder, or remove them"
        )
    return ExportSummary(
        tool=config.tool,
        out=config.out,
        encoder=encoder.name,
        slides=left.height,
        tiles=int(left["n_tiles"].sum()),
        notes=tuple(notes),
        failures=failures,
    )


def _stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """When each file of a folder was written, and which it is."""
    there = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {path: (at.st_mtime_ns, at.st_ino) for path, at in there}


def _outgoing(store: FeatureStore, row: Mapping[str, Any], out: Path, encoder: str) -> Outgoing:
    """A Slide with all that is known of its tiles."""
    name = row["slide_id"]
    if re.search(r"[/\\\0]", name) or name.startswith(".") or not name.isprintable():
        raise FeaturesRefused("has a name that no file can have. Rename it in the manifest")
    ids = (row["slide_key"], row["tiling_id"], row["encoder_id"])
    tiles = store.tiles(*ids[:2])
    said = arrays.embedding_header(store.root, *ids)[1].get("imported", {})
    px = row["tile_px"] or said.get("tile_px")
    px0, mpp, tile_mpp = said.get("tile_px0"), row["mpp"], row["tile_mpp"]
    um = said.get("tile_um") or (px0 and mpp and px0 * mpp) or (px and tile_mpp and px * tile_mpp)
    coords, unit = tiles["coords"].astype(np.float64), said.get("unit", "level0_px")
    if unit == "nm":
        coords, unit = coords / 1000, "um"
    if unit == "um" and mpp:
        coords, unit = np.rint(coords / mpp), "level0_px"  # a tool writes single precision
    tissue = tiles["tissue"]
    bag = ForeignBag(
        rows=store.embeddings(*ids),
        coords=coords,
        unit=unit,
        tile_px=px,
        tile_um=um,
        tile_mpp=um / px if um and px else None,
        tile_px0=px0 or (um / mpp if um and mpp else None),
        min_tissue=row["min_tissue"],
        mpp=mpp,
        size_px0=(row["width_px0"], row["height_px0"]) if row["width_px0"] else None,
        tissue=None if np.isnan(tissue).all() else tissue,
        said=said.get("said", {}),
    )
    plain = re.sub(r"[^\w.+-]+", "_", encoder).strip(".") or "encoder"
    return Outgoing(out=out, slide_id=name, encoder=plain, encoder_id=ids[2], bag=bag)
