"""What the long proofs share: a reader without a process, an ingest to kill, stores to compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from PIL import Image

from featurestore import arrays
from featurestore.store import FeatureStore
from featurestore.types import Tiling
from ingest.slides import embed, encoders
from ingest.slides import worker as reading
from ingest.slides.archive import ArchiveSlide, read_archive
from ingest.synthetic import archive as synthetic

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

    encoder_id = "c" * 16
    dim = 3
    precision = device = "none"
    description = {"name": "mean", "weights": "none", "weights_hash": "", "identity": {}}  # noqa: RUF012

    def embed(self, tiles: np.ndarray) -> np.ndarray:
        return tiles.reshape(len(tiles), -1, 3).mean(axis=1).astype(np.float16)


def write(path: Path, image: np.ndarray, mpp: float, stated: float | None) -> None:
    """Write an image of 2.0 microns per pixel as a slide of another mpp."""
    size = [round(side * 2.0 / mpp) for side in image.shape[1::-1]]
    level0 = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    synthetic.write_svs(path, level0, mpp=stated)


def plain(side: int, green: int = 90) -> np.ndarray:
    """A square of even tissue with a rim of glass at the right and bottom."""
    image = np.full((side, side, 3), (190, green, 150), np.uint8)
    return np.pad(image, ((0, 30), (0, 30), (0, 0)), constant_values=245)


def slide(path: Path, **changes: object) -> ArchiveSlide:
    ids = {"slide_id": path.stem, "case_id": path.stem, "patient_id": path.stem}
    return ArchiveSlide(path=path, patient_made_up=True, **(ids | changes))  # type: ignore[arg-type]


class Here(reading.ReaderProcess):
    """Reads in the calling thread: a process takes seconds to start."""

    def read(self, request: reading.Request) -> Iterator[reading.Message]:
        return reading.read_slide(request)


def ingest_and_tell(folder: Path, root: Path, connection: Connection) -> None:
    """Say when the ingest starts; runs in a process that may be killed at any moment."""
    encoder = encoders.load(TINY, "random")
    connection.send("started")
    embed.ingest(
        FeatureStore(root),
        read_archive(folder),
        encoder,
        Tiling(),
        new_reader=Here,
        retry_failed=True,
    )


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
    ids = sorted(arrays.published(a.root))
    assert ids == sorted(arrays.published(b.root))
    for slide_key, tiling_id, encoder_id in ids:
        one, other = (
            {
                "embeddings": arrays.read_embeddings(s.root, slide_key, tiling_id, encoder_id),
                "thumbnail": arrays.read_thumbnail(s.root, slide_key),
                **arrays.read_tiles(s.root, slide_key, tiling_id),
            }
            for s in (a, b)
        )
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
        assert arrays.attributes(a.root, slide_key) == arrays.attributes(b.root, slide_key)
