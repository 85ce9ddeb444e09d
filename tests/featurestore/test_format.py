"""docs/format.md is enough: a reader that knows it alone reads stores of now and of version 1."""

from __future__ import annotations

import ast
import tarfile
from pathlib import Path

import numpy as np
import pytest
from builders import stranger
from builders.embedding_stores import build, freeze, planted
from builders.foreign_files import grid, stamp

from featurestore import FeatureStore, compacting, import_features, where_query
from featurestore.config import ImportConfig, SplitConfig
from featurestore.types import ArrayIds, Slide

TESTS = Path(__file__).parents[1]


@pytest.fixture(params=["now", "compacted", "v1"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "v1":
        with tarfile.open(TESTS / "golden/v1.tgz") as packed:
            packed.extractall(tmp_path, filter="data")
        return tmp_path / "store"
    embeddings, values = planted(6, [1, 3, 5, 7, 9, 11], 4)
    store = build(tmp_path / "store", embeddings, values)
    freeze(store)
    if request.param == "compacted":
        store.record(store.known(Slide))
        store.create_cohort("later", where_query("true"), split=SplitConfig(method="random"))
        assert compacting.compact(store.root, at_least=2).keys() >= {"slides", "cohorts"}
    return store.root


def test_the_stranger_knows_nothing_of_us() -> None:
    tree = ast.parse((TESTS / "builders/stranger.py").read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = [getattr(node, "module", None) or node.names[0].name for node in found]
    names = {name.split(".")[0] for name in modules}
    known = {"__future__", "hashlib", "json", "math", "struct", "pathlib", "typing"}
    assert names <= known | {"numpy", "polars"}


def test_a_stranger_reads_what_we_read(root: Path) -> None:
    theirs = stranger.bags(root, "all")
    store = FeatureStore.create(root)
    ours = store.bags("all", *encoder_of(store))
    assert set(ours["slide_id"]) == {
        slide for slide, one in theirs.items() if ours["encoder_id"][0] in one["bags"]
    }
    for row in ours.iter_rows(named=True):
        one = theirs[row["slide_id"]]
        assert (one["split"], one["value"]) == (row["split"], row["value"])
        bag = one["bags"][row["encoder_id"]]
        ids = ArrayIds(row["slide_key"], row["tiling_id"], row["encoder_id"])
        np.testing.assert_array_equal(bag["rows"], store.embeddings(*ids))
        tiles = store.tiles(*ids[:2])
        np.testing.assert_array_equal(bag["coords"], tiles["coords"])
        for name, score in bag["scores"].items():
            np.testing.assert_array_equal(score, tiles[name])


def encoder_of(store: FeatureStore) -> tuple[str, str]:
    """The array that the Run of the store, or most Slides, have."""
    query = "select encoder_id, tiling_id from embeddings group by all order by count(*) desc"
    return store.sql(query).row(0)  # type: ignore[return-value]


def test_a_stranger_reads_imported_bags_without_geometry(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    for name, n in (("S", 5), ("T", 0)):
        stamp()(tmp_path / "of", name, np.ones((n, 3), np.float16), grid(n))
    import_features(store, ImportConfig(tool="stamp", path=tmp_path / "of"))
    for row in stranger.ledger(store.root, "slides", "slide_id").values():
        assert (row["mpp"], row["reader"]) == (None, "import stamp")
        (tiling,) = stranger.tilings(store.root, row["slide_key"])
        (array,) = (tiling / "embeddings").glob("*/")
        assert stranger.array(array).shape == ({"S": 5, "T": 0}[row["slide_id"]], 3)
        coords = stranger.array(tiling / "tiles" / "coords")
        assert stranger.is_in_order(coords, row["slide_key"])
        said = stranger.header(array)["attributes"]
        assert (said["imported"]["unit"], said["imported"]["tile_um"]) == ("um", 448.0)
        assert said["encoder"]["identity"]["tool"] == "stamp"
