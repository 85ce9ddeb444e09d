"""What other tools wrote comes in tile by tile; what is damaged is named and stops nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from builders.foreign_bags import (
    CHOSEN,
    SIZES,
    bag_of,
    by_place,
    made,
)
from builders.foreign_files import (
    EVERY,
    MPP,
    PX,
    PX0,
    clam,
    grid,
    slide2vec,
    stamp,
    tissue,
    trident,
)
from builders.longer import longer

from featurestore import FeatureStore, import_features
from featurestore.config import ImportConfig
from featurestore.types import Case, GivenSlide

pytestmark = pytest.mark.usefixtures("one_reader")


OTHERS = [(kind, *size) for kind in EVERY for size in SIZES if (kind, *size) not in CHOSEN]


@pytest.mark.parametrize(
    ("kind", "n", "dim", "dtype"),
    [*CHOSEN, *(longer(*one) for one in OTHERS)],
)
def test_each_row_stands_at_its_tile_whatever_the_order(
    kind: str, n: int, dim: int, dtype: str, imported: FeatureStore, tmp_path: Path
) -> None:
    tool, write = EVERY[kind]
    rows, coords, slide, folder = (
        made(n, dim, dtype),
        grid(n),
        f"{kind} {n} {dim} {dtype}",
        tmp_path / "of",
    )
    write(folder, "other.of.it", made(3, dim, dtype), grid(3))
    write(folder, slide, rows, coords)
    options = ImportConfig(tool=tool, path=folder, mpp=MPP, name=f"{kind} {dim} {dtype}")
    given = [
        (GivenSlide(slide_id=s, case_id=s, path=f"/{name}.svs"), Case(case_id=s, patient_id="P"))
        for s, name in ((slide, slide), (f"{slide} other", "other.of.it"))
    ]
    told = import_features(imported, options, given)
    assert not told.failures
    got, embeddings, of_tissue = bag_of(imported, slide)
    for one, other in zip(
        by_place(got, embeddings), by_place(coords, rows.astype(np.float16)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    if tool == "slide2vec" and kind != "slide2vec 2":
        np.testing.assert_array_equal(of_tissue, tissue(got).astype(np.float16))


def test_the_files_that_the_tools_wrote_come_in_as_they_are(
    shared: Path, imported: FeatureStore
) -> None:
    files = shared / "data/exchange"
    for n, one in enumerate(json.loads((files / "expected.json").read_text())):
        slide = GivenSlide(slide_id=f"S{n}", case_id="C", path="CASE-02_S1.A.svs")
        given = [(slide, Case(case_id="C", patient_id="P"))]
        folder = files / Path(*Path(one["path"]).parts[: 1 if one["tool"] == "clam" else 2])
        told = import_features(
            imported, ImportConfig(tool=one["tool"], path=folder, mpp=MPP), given
        )
        assert (told.failures, told.imported, told.tiles) == ({}, 1, one["n_tiles"])
        coords, embeddings, _ = bag_of(imported, f"S{n}")
        coords, embeddings = by_place(coords, embeddings)
        half = embeddings.astype(np.float32)
        assert half.sum(dtype=float) == pytest.approx(one["sum"], abs=0.1)
        if one["dtype"] == "float16":
            assert hashlib.sha256(half.tobytes()).hexdigest() == one["sha256_float32_rows_by_y_x"]
        assert coords.sum(axis=0).tolist() == [138_880, 94_080]
        query = "from slides join embeddings using (slide_key) join tilings using (tiling_id)"
        row = imported.sql(f"select mpp, tile_px, tile_mpp {query} where slide_id = 'S{n}'").row(0)
        assert row in [(MPP, one["tile_px"], one["tile_mpp"]), (MPP, None, None)]
    said = b"".join(path.read_bytes() for path in imported.root.rglob("*.json"))
    assert b"/hand" not in said  # paths of theirs


def test_what_is_imported_is_in_the_catalog_whatever_was_there(
    new: FeatureStore, tmp_path: Path
) -> None:
    """Slides that are known already have no row of their own, and their new arrays count."""
    for n, kind in enumerate(("trident 0.3", "clam"), start=1):
        tool, write = EVERY[kind]
        for seed, slide in enumerate(("S", "T")):
            write(tmp_path / kind, slide, made(seed=seed), grid(20))
        told = import_features(new, ImportConfig(tool=tool, path=tmp_path / kind, mpp=MPP))
        assert (told.failures, told.imported) == ({}, 2)
        assert new.sql("select count(*) from embeddings").item() == 2 * n
    assert new.verify(new.root).failures == []


def test_without_mpp_geometry_is_null_and_bags_are_there(new: FeatureStore, tmp_path: Path) -> None:
    for tool, write in (("trident", trident()), ("stamp", stamp()), ("clam", clam())):
        write(tmp_path / tool, tool, made(), grid(20))
        assert import_features(new, ImportConfig(tool=tool, path=tmp_path / tool)).without_mpp == 1
    rows = new.sql("select slide_id, mpp from bags order by slide_id").rows()
    assert rows == [("clam", None), ("stamp", None), ("trident", None)]
    coords, rows, _ = bag_of(new, "stamp")  # microns then
    np.testing.assert_array_equal(by_place(coords)[0], by_place((grid(20) * MPP).astype(int))[0])


@pytest.mark.parametrize("by_manifest", [False, True])
@pytest.mark.parametrize("tool", ["trident", *map(longer, ("stamp", "clam", "slide2vec"))])
def test_the_scale_may_be_given_later(
    new: FeatureStore, tmp_path: Path, tool: str, by_manifest: bool
) -> None:
    write = {"trident": trident(), "stamp": stamp(), "clam": clam(), "slide2vec": slide2vec()}[tool]
    write(tmp_path / "of", "S", made(), grid(20) + 3)  # microns that are not whole
    import_features(new, ImportConfig(tool=tool, path=tmp_path / "of"))
    slide = GivenSlide(slide_id="S", case_id="C", path="", mpp_given=MPP)
    given = [(slide, Case(case_id="C", patient_id="P"))] if by_manifest else []
    mpp = None if by_manifest else MPP
    for name in (None, "another"):  # a second encoder is paired with the tiles that are there
        config = ImportConfig(tool=tool, path=tmp_path / "of", mpp=mpp, name=name)
        told = import_features(new, config, given)
        assert (told.failures, told.without_mpp) == ({}, 0)
        assert (told.known, told.imported) == ((1, 0) if name is None else (0, 1))
    assert new.sql("select mpp from slides").item() == MPP
    assert len(new.sql("select distinct tiling_id from embeddings")) == 1


def test_a_scale_that_is_corrected_ends_in_what_takes_the_tiles_to_their_places(
    new: FeatureStore, tmp_path: Path
) -> None:
    stamp()(tmp_path / "of", "S", made(), grid(20) + 3)
    import_features(new, ImportConfig(tool="stamp", path=tmp_path / "of", mpp=2 * MPP))
    slide = GivenSlide(slide_id="S", case_id="C", path="", mpp_given=MPP)
    given = [(slide, Case(case_id="C", patient_id="P"))]
    told = import_features(new, ImportConfig(tool="stamp", path=tmp_path / "of"), given)
    (said,) = told.failures.values()
    assert f"at places of {2 * MPP:g} microns per pixel, and its slide has {MPP:g} now" in said
    cut = said.partition("--cut ")[2]
    config = ImportConfig(tool="stamp", path=tmp_path / "of", cut=cut)
    assert import_features(new, config, given).imported == 1
    ids = new.sql("select slide_key, tiling_id from embeddings order by embedded_at").rows()[-1]
    coords = new.tiles(*ids)["coords"]
    np.testing.assert_array_equal(by_place(coords)[0], by_place(np.rint(grid(20) + 3))[0])
    assert new.sql("select mpp from slides").item() == MPP


def test_the_manifest_names_slides_cases_and_scale(new: FeatureStore, tmp_path: Path) -> None:
    names = {"a": "a.ome.tif", "b.ome": "b.ome.tiff", "c_d": "c d.svs", "e.f": "e.f.svs"}
    for n, name in enumerate(names):
        trident()(tmp_path, name, made(seed=n), grid(20))
    given = [
        (
            GivenSlide(slide_id=f"S{n}", case_id=f"C{n}", path=f"/gone/{path}", mpp_given=0.25),
            Case(case_id=f"C{n}", patient_id="P"),
        )
        for n, path in enumerate([*names.values(), "never.svs"])
    ]
    told = import_features(new, ImportConfig(tool="trident", path=tmp_path, mpp=MPP), given)
    assert (told.imported, told.without_features, told.failures) == (4, 1, {})
    found = new.sql("select slide_id, case_id, patient_id, mpp from bags order by slide_id").rows()
    assert found == [(f"S{n}", f"C{n}", "P", 0.25) for n in range(4)]
    assert new.sql("select tile_mpp from tilings")["tile_mpp"].to_list() == [1.0]
    again = [(one, Case(case_id=case.case_id, patient_id="Q")) for one, case in given]
    told = import_features(new, ImportConfig(tool="trident", path=tmp_path), again)
    assert (told.imported, told.known) == (0, 4)
    assert set(new.sql("from cases")["patient_id"]) == {"Q"}


def test_a_second_encoder_takes_the_stored_order_by_place(
    new: FeatureStore, tmp_path: Path
) -> None:
    rows, other, coords = made(), made(dim=3), grid(20)
    trident(encoder="a")(tmp_path, "S", rows, coords)
    trident(encoder="b")(tmp_path, "S", other[::-1], coords[::-1])
    told = import_features(new, ImportConfig(tool="trident", path=tmp_path))
    assert (told.imported, told.failures) == (2, {})
    both = new.sql("select e.* from embeddings e join encoders using (encoder_id) order by name")
    first, second = (
        new.embeddings(*row) for row in both.select("slide_key", "tiling_id", "encoder_id").rows()
    )
    of = {one.tobytes(): two.tobytes() for one, two in zip(rows, other, strict=True)}
    half = {
        np.frombuffer(one, np.float32).astype(np.float16).tobytes(): np.frombuffer(two, np.float32)
        for one, two in of.items()
    }
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(half[one.tobytes()].astype(np.float16), two)


def test_what_was_imported_is_never_replaced(new: FeatureStore, tmp_path: Path) -> None:
    config = ImportConfig(tool="trident", path=tmp_path / "job")
    trident()(tmp_path / "job", "S", made(), grid(20))
    import_features(new, config)
    assert import_features(new, config).known == 1
    before = bag_of(new, "S")
    trident()(tmp_path / "job", "S", made(seed=1), grid(20))
    assert "--name" in import_features(new, config).text()
    trident()(tmp_path / "job", "S", made(), grid(20, seed=1))
    assert "--cut" in import_features(new, config).text()
    for one, other in zip(before, bag_of(new, "S"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_tile_that_stands_there_twice_is_taken_once(new: FeatureStore, tmp_path: Path) -> None:
    rows, coords = made(), grid(20)
    twice = np.concatenate([rows, rows[:3]]), np.concatenate([coords, coords[:3]])
    clam()(tmp_path / "of", "S", *twice)
    clam()(tmp_path / "of", "T", np.concatenate([rows, rows[3:4]]), np.r_[coords, coords[:1]])
    told = import_features(new, ImportConfig(tool="clam", path=tmp_path / "of"))
    assert (told.tiles, told.twice, list(map(Path, told.failures))) == (
        20,
        3,
        [tmp_path / "of/features_uni_v1/h5_files/T.h5"],
    )


def test_the_width_of_most_files_is_the_encoders(new: FeatureStore, tmp_path: Path) -> None:
    for n in range(6):
        trident()(tmp_path / "job", f"{n}", made(dim=8 if n else 9), grid(20))
    told = import_features(new, ImportConfig(tool="trident", path=tmp_path / "job"))
    assert [Path(path).stem for path in told.failures] == ["0"]


def test_slides_without_tiles_are_slides(new: FeatureStore, tmp_path: Path) -> None:
    for tool, write in (("trident", trident("0.1")), ("slide2vec", slide2vec())):
        for name, n in ((tool, 20), (f"{tool} empty", 0)):
            path = write(tmp_path / tool, name, made(n), grid(n))
        if tool == "trident":
            path.unlink()  # the patches alone say that there is no tile
        assert not import_features(new, ImportConfig(tool=tool, path=tmp_path / tool)).failures
    query = "select slide_id, n_tiles, quality from slide_overview order by slide_id"
    assert new.sql(query).rows() == [
        ("slide2vec", 20, "ok"),
        ("slide2vec empty", 0, "no tissue"),
        ("trident", 20, "ok"),
        ("trident empty", 0, "no tissue"),
    ]


def test_the_encoder_keeps_who_made_it(new: FeatureStore, tmp_path: Path) -> None:
    stamp()(tmp_path / "of", "S", made(), grid(20))
    import_features(new, ImportConfig(tool="stamp", path=tmp_path / "of"))
    (key,) = new.sql("from encoders")["encoder_id"]
    assert new.encoder(key).identity == {
        "tool": "stamp",
        "name": "uni2",
        "version": "2.1.0",
        "folder": "uni2-0123abcd",
    }
    row = new.sql("from tilings").row(0, named=True)
    assert (row["tile_px"], row["tile_mpp"], row["filter_version"]) == (PX, PX0 * MPP / PX, "stamp")


def test_another_scale_than_an_earlier_import_said_is_told_and_how_to_change_it(
    new: FeatureStore, tmp_path: Path
) -> None:
    clam()(tmp_path, "A", made(), grid(20))
    import_features(new, ImportConfig(tool="clam", path=tmp_path, mpp=25.0))
    told = import_features(new, ImportConfig(tool="clam", path=tmp_path, mpp=0.25))
    assert "by an earlier --mpp, got 0.25. Change it with --manifest" in told.text()
    slide = GivenSlide(slide_id="A", case_id="A", path="", mpp_given=0.25)
    given = [(slide, Case(case_id="A", patient_id="A"))]
    assert not import_features(new, ImportConfig(tool="clam", path=tmp_path), given).failures
    assert new.sql("select mpp from slides").item() == 0.25
