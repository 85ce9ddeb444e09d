"""What the long proofs share: a reader without a process, an ingest to kill, stores to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from builders.slide_files import write_svs
from PIL import Image

from featurestore import FeatureStore
from featurestore.types import ArrayIds, Case, EncoderDescription, GivenSlide, Tiling
from ingest.slides import encoders
from ingest.slides.archive import Archive, ArchiveSlide, read_archive
from ingest.slides.config import IngestConfig
from ingest.slides.embed import ingest_archive
from ingest.slides.worker import Message, ReaderProcess, Request, read_slide
from ingest.slides.writer import IngestSummary

TINY = "timm:test_vit"

TABLES = {
    "slides": "* exclude (ingested_at)",
    "cases": "*",
    "tilings": "*",
    "encoders": "*",
    "embeddings": "* exclude (embedded_at)",
    "failures": "item, stage, reason, slide_id",
    "ingest_times": "slide_key, tiling_id, encoder_id, stage, tiles",
}


class Recorder:
    """An encoder whose vector is the mean colour of the tile, so that order can be checked."""

    dim = 3
    precision = device = runtime = how = "none"
    batch_tiles = 32

    def __init__(self, weights: str = "none") -> None:
        self.description = EncoderDescription(
            name="mean", weights=weights, weights_hash=weights, identity={}
        )
        self.encoder_id = self.description.encoder_id

    def embed(self, tiles: np.ndarray) -> np.ndarray:
        return tiles.reshape(len(tiles), -1, 3).mean(axis=1).astype(np.float16)


def write(path: Path, image: np.ndarray, mpp: float, stated: float | None) -> None:
    """Write an image of 2.0 microns per pixel as a slide of another mpp."""
    size = [round(side * 2.0 / mpp) for side in image.shape[1::-1]]
    level0 = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    write_svs(path, level0, mpp=stated)


def plain(side: int, green: int = 90) -> np.ndarray:
    """A square of even tissue with a rim of glass at the right and bottom."""
    image = np.full((side, side, 3), (190, green, 150), np.uint8)
    return np.pad(image, ((0, 30), (0, 30), (0, 0)), constant_values=245)


def slide(
    path: Path, *, slide_id: str = "", mpp: float | None = None, patient_id: str = ""
) -> ArchiveSlide:
    name = slide_id or path.stem
    return ArchiveSlide(
        slide=GivenSlide(slide_id=name, case_id=name, path=str(path), mpp_given=mpp),
        case=Case(case_id=name, patient_id=patient_id or name, patient_made_up=not patient_id),
    )


class Here(ReaderProcess):
    """Reads in the calling thread: a process takes seconds to start."""

    def read(self, request: Request) -> Iterator[Message]:
        return read_slide(request)


def take_in(
    store: FeatureStore,
    slides: Sequence[ArchiveSlide],
    encoder: Any,
    tiling: Tiling | None = None,
    config: IngestConfig | None = None,
    new_reader: Callable[[], ReaderProcess] = Here,
) -> IngestSummary:
    """Ingest some Slides, with a reader that starts at once."""
    archive = Archive(slides=slides)
    return ingest_archive(
        store,
        archive,
        encoder,
        tiling or Tiling(),
        config or IngestConfig(),
        new_reader=new_reader,
    )


def ingest_and_tell(folder: Path, root: Path, connection: Connection) -> None:
    """Say when the ingest starts; runs in a process that may be killed at any moment."""
    encoder = encoders.load(TINY, "random")
    connection.send("started")
    slides = read_archive(folder).slides
    take_in(FeatureStore(root), slides, encoder, config=IngestConfig(retry_failed=True))


def published(store: FeatureStore) -> list[ArrayIds]:
    """Every published Embedding array, by the names of its folders."""
    found = (store.root / "slides").glob("*.zarr/*/embeddings/*/zarr.json")
    return sorted(
        ArrayIds(slide_key=file.parts[-5][:-5], tiling_id=file.parts[-4], encoder_id=file.parts[-2])
        for file in found
    )


def rebuilt(store: FeatureStore) -> FeatureStore:
    """The store with its catalog lost and made anew of everything else."""
    (store.root / "catalog.duckdb").unlink()
    made = FeatureStore.create(store.root)
    made.record()
    return made


def content(folder: Path) -> dict[str, bytes]:
    """Every file under a folder, by its path there."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def same(a: FeatureStore, b: FeatureStore, but: Sequence[str] = ()) -> None:
    """The same rows but for times, and the same arrays."""
    for table in TABLES.keys() - set(but):
        columns = TABLES[table]
        query = f"select {columns} from {table} order by all"
        assert a.sql(query).rows() == b.sql(query).rows(), table
    ids = published(a)
    assert ids == published(b)
    for slide_key, tiling_id, encoder_id in ids:
        one, other = (
            {
                "embeddings": s.embeddings(slide_key, tiling_id, encoder_id),
                "thumbnail": s.thumbnail(slide_key),
                **s.tiles(slide_key, tiling_id),
            }
            for s in (a, b)
        )
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
        assert a.slide_attributes(slide_key) == b.slide_attributes(slide_key)
