from __future__ import annotations

import csv
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import openslide
import pytest
from builders.slide_files import write_svs

from featurestore.types import Tiling
from ingest.labels import rules as label_rules
from ingest.slides.reader import open_slide
from ingest.slides.tiling import find_tiles
from ingest.slides.tissue import blur_scores
from ingest.synthetic import archive as synthetic
from ingest.synthetic.marrow import SCANNERS_20X, SCANNERS_40X, Scene
from ingest.synthetic.textures import Textures


@pytest.fixture(scope="module")
def textures() -> Textures:
    return Textures(0)


def rows(file: Path) -> dict[str, dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as table:
        found = list(csv.DictReader(table))
    return {row.get("slide_id", row["case_id"]): row for row in found}


def scene(textures: Textures, cellularity: float, seed: int = 0, n_tiles: int = 12) -> Scene:
    return Scene(
        np.random.default_rng(seed),
        textures,
        scanner=SCANNERS_20X[0],
        drawn_mpp=0.5,
        cellularity=cellularity,
        n_tiles=n_tiles,
        margin_um=300,
    )


def drawn(scene: Scene) -> np.ndarray:
    width, height = scene.size_px
    bands = [
        np.hstack([scene.draw(x, y, 256, 256) for x in range(0, width, 256)])
        for y in range(0, height, 256)
    ]
    return np.vstack(bands).view(np.uint8).reshape(height, width, 4)[..., :3]


def test_openslide_reads_every_good_slide_as_aperio(archive: Path) -> None:
    manifest, truth = rows(archive / "manifest.csv"), rows(archive / "truth.csv")
    assert len(truth) == 6
    for slide_id in truth:
        with openslide.OpenSlide(str(archive / manifest[slide_id]["path"])) as slide:
            assert slide.properties["openslide.vendor"] == "aperio"
            mpp = float(slide.properties["openslide.mpp-x"])
            assert 0.4990 <= mpp <= 0.5016 or 0.2325 <= mpp <= 0.2527
            assert slide.level_downsamples == pytest.approx((1, 4, 16), abs=1e-9)
            assert set(slide.associated_images) == {"thumbnail", "label", "macro"}


def test_the_manifest_names_every_file_and_mends_one_mpp(archive: Path) -> None:
    manifest = rows(archive / "manifest.csv")
    files = {row["path"] for row in manifest.values()}
    assert files == {f"slides/{file.name}" for file in (archive / "slides").iterdir()}
    assert len(files) == len(manifest)
    assert Counter(row["specimen"] for row in manifest.values()) == {"core": 9, "clot": 3}
    assert len({row["patient_id"] for row in manifest.values()}) == 5
    mended = [row for row in manifest.values() if row["mpp"]]
    assert len(mended) == 1
    with openslide.OpenSlide(str(archive / mended[0]["path"])) as slide:
        assert float(slide.properties["openslide.mpp-x"]) != float(mended[0]["mpp"])


def test_broken_slides_are_broken_as_they_claim(archive: Path) -> None:
    manifest, truth = rows(archive / "manifest.csv"), rows(archive / "truth.csv")
    bad = sorted(i for i, row in manifest.items() if row["specimen"] == "core" and i not in truth)
    blank, truncated, no_mpp = sorted(bad, key=lambda slide_id: slide_id.split("-")[-1])
    with openslide.OpenSlide(str(archive / manifest[blank]["path"])) as slide:
        pixels = np.asarray(slide.read_region((0, 0), 1, slide.level_dimensions[1]))[..., :3]
        assert pixels.min() > 230
        assert pixels.std(axis=(0, 1)).max() < 3
    with pytest.raises(openslide.OpenSlideError):
        openslide.OpenSlide(str(archive / manifest[truncated]["path"]))
    with openslide.OpenSlide(str(archive / manifest[no_mpp]["path"])) as slide:
        assert "openslide.mpp-x" not in slide.properties


def test_a_blank_slide_is_drawn_from_any_seed(textures: Textures) -> None:
    for seed in range(12):
        blank = scene(textures, 50, seed=seed, n_tiles=0)
        assert not blank.areas()["tissue"].any()
        assert blank.n_tiles == 0


@pytest.mark.parametrize("wanted", [5, 30, 60, 95])
def test_the_truth_is_what_the_picture_shows(textures: Textures, wanted: int) -> None:
    """Marrow without bone and bleeding, measured on colours: white space is fat."""
    one = scene(textures, wanted)
    pixels = drawn(one)
    assert one.cellularity == pytest.approx(wanted, abs=1.0)
    field = np.ones((4, 4))
    marrow = one.areas()["marrow"]
    white = (pixels.min(axis=2) > 237) & (np.kron(marrow, field) > 0)
    shown = 100 * (1 - white.sum() / np.kron(marrow, field).sum())
    # the walls of fat cells are coloured, but count as fat
    assert shown == pytest.approx(one.cellularity, abs=9)
    assert shown > one.cellularity - 1.5


def test_the_whole_archive_is_spread_as_promised() -> None:
    plans = synthetic.plan_slides(64, 52, 0)
    wanted = np.array([plan.cellularity for plan in plans])
    assert len({plan.patient_id for plan in plans}) == 52
    assert sum(plan.mpp < 0.4 for plan in plans) == 16
    assert all((plan.scanner in SCANNERS_40X) == (plan.mpp < 0.4) for plan in plans)
    assert wanted.min() >= 5
    assert wanted.max() <= 95
    assert ((wanted < 20) | (wanted > 80)).mean() < 0.35
    assert np.corrcoef(wanted, [plan.age_years for plan in plans])[0, 1] < -0.4
    assert min(plan.scanned_on for plan in plans) >= synthetic.FIRST_DAY
    assert max(plan.scanned_on for plan in plans) <= synthetic.LAST_DAY


@pytest.mark.parametrize("seed", range(4))
def test_a_core_is_long_and_thin_and_has_as_many_tiles_as_wanted(
    textures: Textures, seed: int
) -> None:
    core = scene(textures, 50, seed, n_tiles=36)
    assert abs(core.n_tiles - 36) <= 3
    border = np.r_[core.areas()["tissue"][0], core.areas()["tissue"][:, [0, -1]].ravel()]
    assert not border.any()  # no scraps far away
    tissue = core.areas()["tissue"]
    length_um = 2 * np.flatnonzero(tissue.any(1)).size
    width_um = 2 * np.median(tissue.sum(1)[tissue.any(1)])
    assert 300 < width_um < 2000
    assert 5 * width_um < length_um < 15_000
    bone = core.areas()["bone"].sum() / tissue.sum()
    assert 0.01 < bone < 0.5


@pytest.mark.proof
def test_one_seed_gives_the_same_bytes_whatever_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthetic, "TILES", (6, 6))
    monkeypatch.setattr(synthetic, "SLIDES_TO_AN_ARTEFACT", 4)  # three of the four
    made = {}
    for cores in (1, 2):
        monkeypatch.setattr(synthetic.os, "cpu_count", lambda cores=cores: cores)
        synthetic.make_archive(
            tmp_path / str(cores), n_slides=4, n_patients=3, seed=5, faults=False
        )
        files = [file for file in (tmp_path / str(cores)).rglob("*") if file.is_file()]
        made[cores] = {
            str(file.relative_to(tmp_path / str(cores))): file.read_bytes() for file in files
        }
    assert len(made[1]) == 3 + 4
    assert made[1] == made[2]
    truth = rows(tmp_path / "1" / "truth.csv")
    blurred, penned = {}, {}
    for slide_id, row in truth.items():
        with open_slide(tmp_path / "1" / "slides" / f"{slide_id}.svs") as reader:
            found = find_tiles(reader, Tiling())
            penned[row["note"]] = float((found.pen > 0.1).mean())
            tiles = [t for _, t in reader.read_tiles(found.coords[:12], 224, 2.0)]
            blurred[row["note"]] = float(np.median(blur_scores(np.concatenate(tiles))))
    assert penned.keys() == {"", "pen", "fold", "blur"}
    assert min(penned, key=penned.__getitem__) != "pen" == max(penned, key=penned.__getitem__)
    assert max(share for note, share in penned.items() if note != "pen") == 0
    assert blurred.pop("blur") > 0.5 > max(blurred.values())


def test_reports_say_what_is_true_with_the_habits_of_people(tmp_path: Path) -> None:
    """Read by rules: near the truth, multiples of five, and a few without a figure."""
    plans = synthetic.plan_slides(64, 52, 3)
    synthetic.write_tables(tmp_path, plans, 3)
    truth: dict[str, list[float]] = {}
    for plan in plans:
        truth.setdefault(plan.case_id, []).append(plan.cellularity)
    scanned = {plan.case_id: plan.scanned_on for plan in plans}
    reports = rows(tmp_path / "reports.csv")
    assert set(reports) == set(truth)
    silent, off = 0, []
    for case_id, row in reports.items():
        assert 0 < (date.fromisoformat(row["reported_on"]) - scanned[case_id]).days < 15
        reading = label_rules.parse(row["text"])
        if reading.value is None:
            silent += 1
            continue
        assert reading.value % 5 == 0
        assert abs(reading.value - np.mean(truth[case_id])) <= 28
        off.append(reading.value - np.mean(truth[case_id]))
    assert 1 <= silent == len(reports) // 14
    assert 5.5 < np.std(off) < 10  # two pathologists differ by about 7, and then they round
    assert abs(np.mean(off)) < 3


@pytest.mark.parametrize("sizes", [None, [(250, 150), (63, 38)], [(251, 150), (62, 37)]])
def test_any_picture_becomes_a_slide(tmp_path: Path, sizes: list[tuple[int, int]] | None) -> None:
    picture = np.full((600, 1000, 3), 240, np.uint8)
    picture[200:400, 300:700] = (200, 60, 140)
    write_svs(tmp_path / "a.svs", picture, mpp=0.2468, level_sizes=sizes)
    with openslide.OpenSlide(str(tmp_path / "a.svs")) as slide:
        assert slide.dimensions == (1000, 600)
        assert list(slide.level_dimensions[1:]) == (sizes or [(250, 150), (62, 38)])
        assert float(slide.properties["openslide.mpp-x"]) == 0.2468
        back = np.asarray(slide.read_region((0, 0), 0, (1000, 600)))[..., :3].astype(int)
    assert np.abs(back - picture).mean() < 2
