"""Attention as pictures and tables: what stands in them is what the Run weighs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import google_crc32c
import numpy as np
import polars as pl
import pytest
from builders.attended import attention
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cli
from featurestore import FeatureStore
from featurestore.errors import ConfigError, SlideNotFound, StoreDamaged, TrephineError
from featurestore.types import Slide
from trainer import TrainConfig, train
from trainer.heatmap import Geometry, features, file_name, heatmap, levels, overlay, palette

QUICK = TrainConfig(cohort="all", bag_size=16, steps=40)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=30))
def test_colours_rise_with_attention_and_end_at_a_quarter_and_four(relative: list[float]) -> None:
    found = levels(np.sort(relative))
    assert (np.diff(found) >= 0).all()
    assert levels(np.array([0, 0.25, 1, 4, 99])).tolist() == [0, 0, 32, 64, 64]
    colours = palette()
    assert colours[32, 3] == colours[:, 3].min()  # tissue is seen best where nothing is to say
    assert len({tuple(c) for c in colours.tolist()}) == len(colours)


@given(
    side=st.floats(20, 900),
    columns=st.integers(1, 30),
    rows=st.integers(1, 30),
    long_px=st.integers(64, 1024),
)
def test_tiles_cover_their_thumbnail_without_a_gap(
    side: float, columns: int, rows: int, long_px: int
) -> None:
    x, y = np.meshgrid(np.rint(np.arange(columns) * side), np.rint(np.arange(rows) * side))
    tiles = pl.DataFrame({"x_px0": x.ravel(), "y_px0": y.ravel()})
    size_px0 = (int(columns * side) + 1, int(rows * side) + 1)
    scale = min(1, long_px / max(size_px0))
    size = (max(1, round(size_px0[0] * scale)), max(1, round(size_px0[1] * scale)))
    place = Geometry(size_px0=size_px0, side_px0=side)
    drawn = overlay(place.boxes(tiles, size), np.ones(tiles.height), size)
    assert drawn.size == size
    assert (np.asarray(drawn.convert("RGBA"))[..., 3] > 0).all()


@pytest.fixture(scope="module")
def written(learnable: FeatureStore, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    run = train(learnable, QUICK)
    folder = tmp_path_factory.mktemp("maps") / "new"
    made = heatmap(learnable, run.run_id, ["S-0039", "S-0003"], folder)
    assert made.data["slides"] == ["S-0039", "S-0003"]
    assert not made.data["failures"]
    assert "S-0039.png, .csv and .geojson" in made.text()
    return folder, run.run_id


def test_the_tables_are_the_runs_attention(
    learnable: FeatureStore, written: tuple[Path, str]
) -> None:
    folder, run_id = written
    table = pl.read_csv(folder / "S-0039.csv")
    wanted = attention(learnable, run_id, "S-0039")
    assert table["attention"].to_numpy() == pytest.approx(wanted["attention"].to_numpy())
    assert table["side_px0"].unique().to_list() == [896]  # 224 pixels of 2 microns, at 0.5


def test_the_picture_has_the_colour_of_each_tile(
    learnable: FeatureStore, written: tuple[Path, str]
) -> None:
    folder, run_id = written
    tiles = attention(learnable, run_id, "S-0003")
    picture = np.asarray(Image.open(folder / "S-0003.png")).astype(int)
    thumbnail = np.array([214, 150, 190])
    scale, left = 140 / 9_000, (picture.shape[1] - 140) // 2
    seen = 0
    for x_px0, relative in tiles.select("x_px0", "relative").iter_rows():
        x = left + int((x_px0 + 448) * scale)
        *colour, alpha = palette()[levels(np.array([relative]))[0]].tolist()
        share = alpha / 255 * 0.65
        if x < left + 140:  # the rest of this planted slide lies beyond its edge
            seen += 1
            assert (
                np.abs(picture[5, x] - (share * np.array(colour) + (1 - share) * thumbnail)).max()
                <= 2
            )
    assert seen > 5
    assert (picture[40, left : left + 140] == thumbnail).all()  # no tile, no colour


def test_the_geojson_is_what_qupath_reads(written: tuple[Path, str]) -> None:
    folder, _ = written
    table = pl.read_csv(folder / "S-0039.csv")
    made = json.loads((folder / "S-0039.geojson").read_text())
    assert made["type"] == "FeatureCollection"
    for feature, row in zip(made["features"], table.iter_rows(named=True), strict=True):
        (ring,) = feature["geometry"]["coordinates"]
        x, y = row["x_px0"], row["y_px0"]
        assert ring[0] == ring[-1] == [x, y]
        assert ring[2] == [x + 896, y + 896]
        said = feature["properties"]
        assert said["objectType"] == "tile"
        assert len(said["color"]) == 3
        assert said["measurements"]["attention"] == pytest.approx(row["attention"])
    place = Geometry(size_px0=(9, 9), side_px0=2)
    assert features(place, table.clear())["features"] == []


def test_a_damaged_slide_stops_no_other_and_the_command_leaves_with_3(
    learnable: FeatureStore, written: tuple[Path, str], tmp_path: Path
) -> None:
    copy = FeatureStore(shutil.copytree(learnable.root, tmp_path / "store"))
    key = copy.bags("all").filter(pl.col("slide_id") == "S-0039")["slide_key"][0]
    shutil.rmtree(copy.root / "slides" / f"{key}.zarr" / "thumbnail")
    words = ["heatmap", written[1], "S-0039", "S-0003", "--store", str(copy.root)]
    found = CliRunner().invoke(cli.main, [*words, "-o", str(tmp_path / "out")])
    assert found.exit_code == 3
    assert "failed      S-0039" in found.output
    made = {file.name for file in (tmp_path / "out").iterdir()}
    assert made == {"S-0003.png", "S-0003.csv", "S-0003.geojson"}


def test_refusals(learnable: FeatureStore, written: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(SlideNotFound, match="'no', 'such'"):
        heatmap(learnable, written[1], ["S-0039", "no", "such"], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(TrephineError, match="cannot write"):
        heatmap(learnable, written[1], ["S-0039"], tmp_path / "file" / "maps")
    words = ["heatmap", written[1], "S-0039", "--store", str(learnable.root), "-o", ""]
    assert CliRunner().invoke(cli.main, words).exit_code == 2
    pooled = train(learnable, replace(QUICK, model="max", steps=2))
    with pytest.raises(ConfigError, match="max pooling has no attention"):
        heatmap(learnable, pooled.run_id, ["S-0039"], tmp_path)


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_file_name_is_plain_and_no_two_slides_share_one(one: str, other: str) -> None:
    assert Path(file_name(one)).name == file_name(one)
    assert (file_name(one) == file_name(other)) == (one == other)


def test_any_slide_id_is_written_inside_the_folder(tmp_path: Path) -> None:
    assert file_name("S-1") == "S-1"
    assert not {"/", ".", "\\"} & set(file_name("../../etc/passwd"))


def test_a_slide_that_says_no_size_has_that_of_the_catalog(
    learnable: FeatureStore, written: tuple[Path, str], tmp_path: Path
) -> None:
    copy = FeatureStore(shutil.copytree(learnable.root, tmp_path / "store"))
    (slide,) = (one for one in copy.known(Slide) if one.slide_id == "S-0039")
    group = copy.root / "slides" / f"{slide.slide_key}.zarr" / "zarr.json"
    said = json.loads(group.read_text())
    said["attributes"] |= {"size_px0": None, "mpp": None}
    group.write_text(json.dumps(said))
    copy.record([replace(slide, width_px0=60_000, height_px0=9_000, mpp=0.25)])
    heatmap(copy, written[1], ["S-0039"], tmp_path)
    assert pl.read_csv(tmp_path / "S-0039.csv")["side_px0"].unique().to_list() == [1792]


def test_a_slide_with_anothers_places_is_told_and_has_no_picture(
    learnable: FeatureStore, written: tuple[Path, str], tmp_path: Path
) -> None:
    copy = FeatureStore(shutil.copytree(learnable.root, tmp_path / "store"))
    key = copy.bags("all").filter(pl.col("slide_id") == "S-0039")["slide_key"][0]
    (chunk,) = (copy.root / "slides" / f"{key}.zarr").glob("*/tiles/coords/c/0/0")
    data = bytes(255 - byte for byte in chunk.read_bytes()[:-4])
    chunk.write_bytes(data + google_crc32c.value(data).to_bytes(4, "little"))
    with pytest.raises(StoreDamaged, match="another slide"):
        heatmap(copy, written[1], ["S-0039"], tmp_path)
    words = ["report", written[1], "--all", "--store", str(copy.root)]
    found = CliRunner().invoke(cli.main, [*words, "-o", str(tmp_path / "page.html")])
    assert "note: slide S-0039 has no picture" in found.output
