"""What the long proofs share: a reader without a process, an ingest to kill, stores to compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from test_embed import TINY

from featurestore import arrays
from featurestore.store import FeatureStore
from featurestore.types import Tiling
from ingest import embed, encoders, reading
from ingest.archive import read_archive

TABLES = {
    "slides": "* exclude (ingested_at)",
    "cases": "*",
    "tilings": "*",
    "encoders": "*",
    "embeddings": "* exclude (embedded_at)",
    "failures": "item, stage, reason, slide_id",
    "ingest_times": "slide_key, tiling_id, encoder_id, stage, tiles",
}


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
