"""The plan: what it says comes true, and it changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders.ingest_stores import TINY, Here, content, take_in
from builders.slide_files import write_svs

from featurestore import FeatureStore
from featurestore.device import device_of
from featurestore.types import Failure, Tiling
from ingest.slides.archive import Archive, ArchiveSlide, read_archive
from ingest.slides.config import IngestConfig, PlanConfig
from ingest.slides.encoders import load
from ingest.slides.plan import Plan, plan_archive

TILES = 4  # of a slide


def write(path: Path, green: int, mpp: float | None = 0.5, side: int = 1800) -> None:
    path.parent.mkdir(exist_ok=True)
    image = np.full((side, side, 3), (190, green, 150), np.uint8)
    image = np.pad(image, ((0, 120), (0, 120), (0, 0)), constant_values=245)
    write_svs(path, image, mpp=mpp)


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
    take_in(store, read_archive(slides).slides, load(TINY, "random"), Tiling())
    torn = str(slides / "torn.svs")
    store.record(2 * [Failure(item=torn, stage="open", reason="torn", slide_id="torn")])
    (slides / "no_mpp.svs").unlink()
    return store, slides


def renamed(one: ArchiveSlide, **changes: str) -> ArchiveSlide:
    return replace(one, slide=replace(one.slide, **changes))


BY_TINY = PlanConfig(encoder=TINY, weights="random")


def foresee(
    store: FeatureStore,
    slides: Sequence[ArchiveSlide],
    tiling: Tiling | None = None,
    config: PlanConfig = BY_TINY,
) -> Plan:
    archive = Archive(slides=slides)
    return plan_archive(store, archive, tiling or Tiling(), config, source="here", new_reader=Here)


def test_a_plan_sorts_slides_as_an_ingest_would_and_changes_nothing(
    done: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, slides = done
    a, b, c, d, e, torn = read_archive(slides).slides
    write(tmp_path / "s" / "changed.svs", 60)
    write(tmp_path / "s" / "fresh.svs", 50)
    write(tmp_path / "s" / "unknown_mpp.svs", 40, mpp=None)
    moved = tmp_path / "s" / "moved.svs"
    moved.write_bytes(b.path.read_bytes())
    new = {s.slide_id: s for s in read_archive(tmp_path / "s").slides}
    archive = [
        a,
        renamed(b, path=str(moved)),
        renamed(c, path=new["changed"].slide.path),
        renamed(d, path=str(tmp_path / "gone.svs")),
        renamed(e, slide_id="renamed"),
        torn,
        new["fresh"],
        new["unknown_mpp"],
    ]
    before = content(store.root) | content(slides)
    said = foresee(store, archive, Tiling(), BY_TINY)
    assert content(store.root) | content(slides) == before
    assert (said.total, said.new, said.known, said.moved) == (8, 2, 3, 1)
    assert (said.changed, len(said.missing), said.given_up, said.failed_before) == (1, 1, 1, 1)
    assert (said.missing_mpp, list(said.refused)) == (1, ["unknown_mpp"])
    assert said.tiles == 2 * TILES
    assert not said.text().endswith("--retry-failed")  # others are to be read
    assert foresee(store, [a, torn]).text().endswith("--retry-failed")  # nothing else can be done
    again = foresee(store, [a, b], Tiling(), PlanConfig(measure_s=0))
    assert (again.lacking, again.tiles, again.hours) == (2, 2 * TILES, None)
    assert foresee(store, [a, b], Tiling(min_tissue=0.5), BY_TINY).lacking == 2


def test_hours_and_bytes_are_those_of_earlier_ingests(
    done: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, _ = done
    for i in range(4):
        write(tmp_path / "s" / f"{i}.svs", 20 + 8 * i)
    archive = read_archive(tmp_path / "s").slides
    said = foresee(store, archive, Tiling(), BY_TINY)
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
    written = take_in(store, archive, load(TINY, "random"), Tiling()).stages["write"].bytes
    assert said.store_bytes == pytest.approx(written, rel=0.05)


def test_a_plan_says_itself(done: tuple[FeatureStore, Path]) -> None:
    store, slides = done
    archive, other = read_archive(slides).slides, Tiling(min_tissue=0.2)
    said = foresee(store, archive, other, BY_TINY).text()
    assert "5 known but not by timm:test_vit and these tiles" in said
    assert f"slides: timm:test_vit ({device_of('auto')}) embeds" in said
    assert "Next: trephine ingest here --encoder timm:test_vit" in said
    assert said.endswith("--min-tissue 0.2")
    said = foresee(store, archive, other, PlanConfig(measure_s=0)).text()
    assert "time:     unknown until the first slides are embedded by dinov2-small" in said


def test_a_plan_takes_what_its_ingest_takes_and_times_what_is_asked(
    done: tuple[FeatureStore, Path],
) -> None:
    store, slides = done
    archive, other = read_archive(slides).slides, Tiling(min_tissue=0.2)
    config = replace(BY_TINY, runtime="torch", threads=1, precision="float32", measure_s=0.01)
    said = foresee(store, archive, other, config)
    assert said.rates is not None  # of earlier ingests, but for the encoder
    assert f"(float32 on {device_of('auto')} by torch, timed now)" in said.text()
    assert said.hours is not None
    for asked in ("--precision float32", "--runtime torch", "--threads 1", "--min-tissue 0.2"):
        assert f" {asked}" in said.source
    again = foresee(store, archive, other, replace(BY_TINY, retry_failed=True))
    assert (said.given_up, again.given_up) == (1, 0)


def test_a_plan_without_weights_means_those_of_the_hub_and_says_so(
    done: tuple[FeatureStore, Path],
) -> None:
    store, slides = done
    said = foresee(store, read_archive(slides).slides, config=PlanConfig(encoder=TINY))
    assert (said.known, said.lacking) == (0, 5)  # an ingest would fetch others than are there
    assert "weights of the hub that were not loaded" in said.text()
    assert "add --weights random" in said.text()


@pytest.mark.parametrize("retry_failed", [False, True])
def test_an_ingest_does_what_the_plan_said(
    done: tuple[FeatureStore, Path], tmp_path: Path, retry_failed: bool
) -> None:
    store, slides = done
    write(tmp_path / "s" / f"new{retry_failed}.svs", 30 + 20 * retry_failed)
    a, b, *_, torn = read_archive(slides).slides
    moved = tmp_path / "s" / "moved.svs"
    moved.write_bytes(b.path.read_bytes())
    archive = [a, renamed(b, path=str(moved)), torn, *read_archive(tmp_path / "s").slides[1:]]
    archive.append(renamed(a, slide_id="gone", path=str(tmp_path / "gone.svs")))
    said = foresee(store, archive, Tiling(), BY_TINY)
    config = IngestConfig(retry_failed=retry_failed)
    done_ = take_in(store, archive, load(TINY, "random"), Tiling(), config)
    assert (said.new, said.known, said.moved, len(said.missing)) == (1, 2, 1, 1)
    assert (done_.embedded, done_.known, done_.updated) == (said.new, said.known, said.moved)
    assert done_.failures.keys() == ({"gone", "torn"} if retry_failed else {"gone"})
    assert "gone.svs does not exist" in done_.failures["gone"]


def test_where_no_rate_is_known_the_encoder_is_timed_here(
    done: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    _, slides = done
    timed = replace(BY_TINY, measure_s=0.01)
    said = foresee(FeatureStore.create(tmp_path), read_archive(slides).slides, config=timed)
    assert said.encoder_s_per_tile is not None
    assert said.hours == said.tiles * said.encoder_s_per_tile / 3600 > 0
    assert "for the encoder, timed now: timm:test_vit embeds" in said.text()


@pytest.mark.parametrize("more", [{}, {"threads": 1}, {"precision": "float32", "engine": "ray"}])
def test_where_nothing_is_to_embed_no_time_is_told_as_measured(
    done: tuple[FeatureStore, Path], more: dict[str, Any]
) -> None:
    store, slides = done
    known = read_archive(slides).slides[:5]
    said = foresee(store, known, config=replace(BY_TINY, **more))
    assert (said.known, said.tiles) == (5, 0)
    assert "time:     next to none, as there is no tile to embed" in said.text()
    assert "measured" not in said.text()


def test_what_was_not_opened_is_unknown(done: tuple[FeatureStore, Path]) -> None:
    store, slides = done
    other = Tiling(min_tissue=0.2)
    unseen = foresee(store, read_archive(slides).slides, other, replace(BY_TINY, sample=0))
    assert (unseen.tiles, unseen.store_bytes, unseen.hours) == (None, None, None)
    assert "to embed: unknown, as no slide was opened" in unseen.text()


def test_the_plans_of_all_shards_are_the_plan_of_the_whole(
    done: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, slides = done
    for i in range(6):
        write(tmp_path / "s" / f"part{i}.svs", 23 + 8 * i, side=1808)  # as no other test has them
    archive = [*read_archive(slides).slides[:5], *read_archive(tmp_path / "s").slides]
    n = 3
    parts = [
        foresee(store, archive, config=replace(BY_TINY, shard=f"{i}/{n}")) for i in range(1, n + 1)
    ]
    whole = foresee(store, archive)
    assert whole.tiles == sum(part.tiles or 0 for part in parts) == 6 * TILES
    assert whole.known == sum(part.known for part in parts) == 5
    assert whole.slide_bytes == pytest.approx(sum(part.slide_bytes for part in parts), abs=n)
    for part in parts:
        assert part.new + part.known + part.elsewhere == part.total == len(archive)
        first = part.text().splitlines()[0]
        assert f"{part.elsewhere} of other shards" in first
        assert "opened are of other shards" in part.text()


def test_a_slide_that_would_fail_is_told_by_the_plan_of_one_shard(
    done: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    for i in range(4):
        write(tmp_path / f"torn{i}.svs", 23 + 8 * i, side=1808)
        whole = (tmp_path / f"torn{i}.svs").read_bytes()
        (tmp_path / f"torn{i}.svs").write_bytes(whole[: len(whole) // 3])
    torn = read_archive(tmp_path).slides
    shards = [replace(BY_TINY, shard=f"{i}/3") for i in (1, 2, 3)]
    told = [name for one in shards for name in foresee(done[0], torn, config=one).refused]
    assert sorted(told) == [f"torn{i}" for i in range(4)]
