"""The plan: what it says comes true, and it changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders.ingest_stores import content
from click.testing import CliRunner

import cli
from featurestore import catalog
from featurestore.store import FeatureStore
from featurestore.types import Tiling
from ingest.slides import embed
from ingest.slides.archive import ArchiveSlide, plan, read_archive
from ingest.slides.encoders import load
from ingest.synthetic import archive as synthetic

TINY = "timm:test_vit"
TILES = 4  # of a slide


def write(path: Path, green: int, mpp: float | None = 0.5, side: int = 1800) -> None:
    path.parent.mkdir(exist_ok=True)
    image = np.full((side, side, 3), (190, green, 150), np.uint8)
    image = np.pad(image, ((0, 120), (0, 120), (0, 0)), constant_values=245)
    synthetic.write_svs(path, image, mpp=mpp)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, Path]:
    """Five known slides, one without mpp, one that failed three times."""
    folder = tmp_path_factory.mktemp("plan")
    slides = folder / "slides"
    for i, name in enumerate("abcde"):
        write(slides / f"{name}.svs", 80 + 8 * i)
    write(slides / "no_mpp.svs", 70, mpp=None)
    (slides / "torn.svs").write_bytes(b"II*\\0 no slide")
    store = FeatureStore.create(folder / "store")
    embed.ingest(store, read_archive(slides), load(TINY, "random"), Tiling())
    torn = {"item": str(slides / "torn.svs"), "stage": "open", "reason": "torn", "mended": False}
    store.record("failures", 2 * [{**torn, "slide_id": "torn", "seen_at": catalog.now()}])
    (slides / "no_mpp.svs").unlink()
    return store, slides


def listed(slides: Path) -> list[ArchiveSlide]:
    return read_archive(slides)


def test_a_plan_sorts_slides_as_an_ingest_would_and_changes_nothing(
    done: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, slides = done
    a, b, c, d, e, torn = listed(slides)
    write(tmp_path / "s" / "changed.svs", 60)
    write(tmp_path / "s" / "fresh.svs", 50)
    write(tmp_path / "s" / "unknown_mpp.svs", 40, mpp=None)
    moved = tmp_path / "s" / "moved.svs"
    moved.write_bytes(b.path.read_bytes())
    new = {s.slide_id: s for s in listed(tmp_path / "s")}
    archive = [
        a,
        replace(b, path=moved),
        replace(c, path=new["changed"].path),
        replace(d, path=tmp_path / "gone.svs"),
        replace(e, slide_id="renamed", path=e.path),
        torn,
        new["fresh"],
        new["unknown_mpp"],
    ]
    before = content(store.root) | content(slides)
    said = plan(store, archive, Tiling(), encoder=TINY)
    assert content(store.root) | content(slides) == before
    assert (said.total, said.new, said.known, said.moved) == (8, 2, 3, 1)
    assert (said.changed, said.missing, said.given_up, said.failed_before) == (1, 1, 1, 1)
    assert (said.missing_mpp, list(said.refused)) == (1, ["unknown_mpp"])
    assert said.tiles == 2 * TILES
    again = plan(store, [a, b], Tiling(), encoder="dinov2-base")
    assert (again.lacking, again.tiles, again.hours) == (2, 2 * TILES, None)
    assert plan(store, [a, b], Tiling(min_tissue=0.5), encoder=TINY).lacking == 2


def test_hours_and_bytes_are_those_of_earlier_ingests(
    done: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, _ = done
    for i in range(4):
        write(tmp_path / "s" / f"{i}.svs", 20 + 8 * i)
    archive = listed(tmp_path / "s")
    said = plan(store, archive, Tiling(), encoder=TINY)
    assert said.rates is not None
    assert (said.rates["slides"], said.rates["tiles"]) == (5, 5 * TILES)
    took = store.sql(
        "select stage, sum(seconds) as s, sum(bytes)::double as n from ingest_times group by 1"
    )
    s = dict(zip(took["stage"], took["s"], strict=True))
    slowest = max((s["open"] + s["read"]) / 2, s["embed"], s["write"])
    assert said.hours == pytest.approx(slowest / 3600 * 4 / 5)  # like slides: time by their number
    n = dict(zip(took["stage"], took["n"], strict=True))
    assert said.store_bytes == pytest.approx(n["write"] * 4 / 5, rel=0.01)
    assert said.read_bytes == pytest.approx((n["open"] + n["read"]) * 4 / 5, rel=0.01)
    written = embed.ingest(store, archive, load(TINY, "random"), Tiling()).stages["write"].bytes
    assert said.store_bytes == pytest.approx(written, rel=0.05)


def test_the_command_says_where_its_hours_come_from(done: tuple[FeatureStore, Path]) -> None:
    store, slides = done
    words = ["plan", str(slides), "--store", str(store.root), "--min-tissue", "0.2"]
    out = CliRunner().invoke(cli.main, [*words, "--encoder", TINY]).stdout
    assert "5 known but not by timm:test_vit and these tiles" in out
    assert "slides: timm:test_vit on cpu embeds" in out
    out = CliRunner().invoke(cli.main, words).stdout
    assert "unknown until the first slides are embedded by dinov2-small" in out
    said = json.loads(CliRunner().invoke(cli.main, [*words, "--json"]).stdout)
    assert (said["hours"], said["given_up"]) == (None, 1)
