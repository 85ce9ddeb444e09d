"""The worklist: what a Slide is to the store, by content rather than by name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from builders.ingest_stores import Recorder, plain, slide, take_in, write

from featurestore import FeatureStore
from featurestore.types import Failure, Slide, Tiling
from ingest.slides.archive import Archive, ArchiveSlide, read_archive
from ingest.slides.config import IngestConfig, PlanConfig
from ingest.slides.plan import plan_archive
from ingest.slides.worklist import MOST_ATTEMPTS, Standing, Work, worklist

TILING, ENCODER = Tiling(), Recorder()
WANTED = [(TILING.tiling_id, ENCODER.encoder_id)]
CONFIG = IngestConfig()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, Path]:
    """A store with two embedded Slides, a and b."""
    folder = tmp_path_factory.mktemp("known")
    for i, name in enumerate("ab"):
        write(folder / f"{name}.svs", plain(300, 60 + 40 * i), mpp=2.0, stated=0.5)
    store = FeatureStore.create(folder / "store")
    archive = [slide(folder / "a.svs"), slide(folder / "b.svs")]
    take_in(store, archive, ENCODER, TILING)
    return store, folder


def look(
    store: FeatureStore,
    one: ArchiveSlide,
    wanted: list[tuple[str, str]] = WANTED,
    config: IngestConfig = CONFIG,
) -> Work:
    return worklist(store, [one], wanted, config)[0]


def test_a_known_slide_is_known_under_any_name_path_and_time(
    known: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, folder = known
    a = folder / "a.svs"
    assert look(store, slide(a)).standing == "known"
    assert look(store, slide(a)).corrected is None
    copy = tmp_path / "a.svs"
    copy.write_bytes(a.read_bytes())
    os.utime(copy, (1, 1))
    for one in (slide(copy), slide(copy, slide_id="other"), slide(a, patient_id="P")):
        work = look(store, one)
        assert work.standing == "known"
        assert work.corrected is not None
        assert work.corrected.path == one.slide.path
        assert work.corrected.slide_id == one.slide_id
        assert work.corrected.slide_key == look(store, slide(a)).same.slide_key  # type: ignore[union-attr]
        assert work.moved == (one.path != a)


def test_another_content_or_mpp_is_another_slide(
    known: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, folder = known
    assert look(store, slide(folder / "a.svs", mpp=0.4)).standing == "changed"
    assert look(store, slide(folder / "a.svs", mpp=0.5)).standing == "known"  # what the file says
    data = (folder / "a.svs").read_bytes()
    swapped, fresh = tmp_path / "a.svs", tmp_path / "fresh.svs"
    for path in (swapped, fresh):
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 255]) + data[5001:])  # of the same size
    assert look(store, slide(swapped)).standing == "changed"
    assert look(store, slide(fresh)).standing == "new"


def test_the_option_is_for_slides_that_state_no_scale(
    known: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, folder = known
    assert (
        look(store, slide(folder / "a.svs"), config=IngestConfig(mpp=0.3)).standing == "known"
    )  # the file's own
    bare = tmp_path / "bare.svs"
    write(bare, plain(300, 20), mpp=2.0, stated=None)
    done = take_in(store, [slide(bare)], ENCODER, TILING, IngestConfig(mpp=0.5))
    assert done.embedded == 1
    for option, standing in ((0.5, "known"), (None, "known"), (0.4, "changed")):
        assert look(store, slide(bare), config=IngestConfig(mpp=option)).standing == standing
    work = look(store, slide(bare, mpp=0.5))
    assert work.standing == "known"
    assert work.corrected is not None
    assert work.corrected.mpp_source == "manifest"
    assert store.sql("select mpp, mpp_file, mpp_source from slide_overview order by 3").rows() == [
        (0.5, 0.5, "file"), (0.5, 0.5, "file"), (0.5, None, "option"),
    ]  # fmt: skip


def test_a_slide_of_an_earlier_version_keeps_its_key(
    known: tuple[FeatureStore, Path],
) -> None:
    store, folder = known
    old = [replace(one, mpp_file=None, mpp_source=None) for one in store.known(Slide)]
    key = {one.slide_id: one.slide_key for one in old}
    a = slide(folder / "a.svs")
    store.record(one for one in old if one.slide_id == "a")
    assert look(store, a).standing == "known"
    assert look(store, a).corrected is None
    by_option = [replace(one, mpp_given=0.5) for one in old if one.slide_id == "a"]
    store.record(by_option)  # or by a manifest: that was not kept
    assert look(store, replace(a, slide=replace(a.slide, mpp_given=0.5))).standing == "known"
    assert look(store, a).standing == "changed"  # its file is asked again
    assert take_in(store, [a], ENCODER, TILING).recognised == 1
    assert look(store, a).same.slide_key == key["a"]  # type: ignore[union-attr]


def test_copies_are_named_in_the_archive_and_in_the_store(
    known: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, folder = known
    copies = []
    for name, like in (("copy", folder / "a.svs"), ("first", None), ("second", None)):
        path = tmp_path / f"{name}.svs"
        path.write_bytes(like.read_bytes() if like else b"II*\0 of the same kind")
        copies.append(slide(path))
    works = worklist(store, [slide(folder / "b.svs"), *copies], WANTED, CONFIG)
    assert [work.copy_of for work in works] == ["", "a", "", "first"]
    other = slide(tmp_path / "copy.svs", mpp=0.4)  # of another scale, so of another slide_key
    assert [work.copy_of for work in worklist(store, [other], WANTED, CONFIG)] == ["a"]


def test_another_encoder_or_tiling_is_lacking(known: tuple[FeatureStore, Path]) -> None:
    store, folder = known
    a = slide(folder / "a.svs")
    assert look(store, a, [(TILING.tiling_id, "f" * 16)]).standing == "lacking"
    assert look(store, a, []).standing == "lacking"
    assert look(store, a, [(TILING.tiling_id, "f" * 16), *WANTED]).standing == "known"
    assert (
        look(store, a, [(Tiling(min_tissue=0.5).tiling_id, ENCODER.encoder_id)]).standing
        == "lacking"
    )


def test_what_cannot_be_read_has_a_reason(known: tuple[FeatureStore, Path], tmp_path: Path) -> None:
    store, folder = known
    gone = look(store, slide(tmp_path / "gone.svs"))
    assert (gone.standing, "gone.svs does not exist" in gone.why) == ("missing", True)
    bare = look(store, slide(tmp_path))
    assert bare.standing == "refused"
    assert bare.why
    odd = look(store, replace(slide(folder / "a.svs"), refused="it is a pipe"))
    assert (odd.standing, odd.why) == ("refused", "it is a pipe")


@pytest.mark.parametrize("is_there", [True, False])
def test_three_failures_give_a_slide_up_until_it_is_asked_for(
    known: tuple[FeatureStore, Path], tmp_path: Path, is_there: bool
) -> None:
    store, _ = known
    torn = slide(tmp_path / "torn.svs")
    if is_there:
        torn.path.write_bytes(b"II*\0 no slide")
    before: Standing = "new" if is_there else "missing"
    for n in range(MOST_ATTEMPTS):
        work = look(store, torn)
        assert (work.standing, work.attempts) == (before, n)
        failure = Failure(item=torn.slide.path, stage="open", reason="torn", slide_id="torn")
        store.record([failure], fold=n % 2 == 0)  # a shard leaves the catalog alone
    assert look(store, torn).standing == "given up"
    assert look(store, torn, config=IngestConfig(retry_failed=True)).standing == before
    store.record([Failure(item=torn.slide.path, mended=True)])
    assert look(store, torn).standing == before


def test_the_parts_of_an_archive_are_disjoint_and_complete(
    known: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, folder = known
    archive = [slide(folder / "a.svs"), slide(folder / "b.svs")]
    archive += [slide(tmp_path / f"{i}.svs") for i in range(8)]  # missing
    seen = [
        {
            work.slide.slide_id
            for work in worklist(store, archive, WANTED, IngestConfig(shard=f"{i}/3"))
            if work.standing != "elsewhere"
        }
        for i in (1, 2, 3)
    ]
    assert sum(map(len, seen)) == len(set().union(*seen)) == len(archive)


def test_a_file_renamed_without_a_manifest_stays_the_same_slide(tmp_path: Path) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    write(folder / "a.svs", plain(300, 60), mpp=2.0, stated=0.5)
    manifest = tmp_path / "m.csv"
    manifest.write_text("path,case_id,patient_id,mpp\nslides/a.svs,C,P,0.4\n")
    store = FeatureStore.create(tmp_path / "store")
    take_in(store, read_archive(manifest).slides, ENCODER, TILING)

    def seen() -> list[tuple[str, str, str, bool]]:
        works = worklist(store, read_archive(folder).slides, WANTED, CONFIG)
        return [(w.slide.slide_id, w.standing, w.copy_of, bool(w.corrected)) for w in works]

    assert seen() == [("a", "known", "", False)]  # a folder does not unsay what a manifest said
    (folder / "a.svs").rename(folder / "b.svs")
    (work,) = worklist(store, read_archive(folder).slides, WANTED, CONFIG)
    assert "stays slide 'a'" in work.renamed
    assert seen() == [("a", "known", "", True)]
    done = take_in(store, read_archive(folder).slides, ENCODER, TILING)
    assert (done.known, done.updated, list(done.renamed)) == (1, 1, ["a"])
    rows = store.sql(
        "select slide_id, case_id, patient_id, path from slides join cases using (case_id)"
    )
    assert rows.rows() == [("a", "C", "P", str(folder / "b.svs"))]
    assert seen() == [("a", "known", "", False)]
    (folder / "c.svs").write_bytes((folder / "b.svs").read_bytes())
    assert seen() == [("a", "known", "", False), ("c", "new", "a", False)]  # at the file's own mpp
    (folder / "b.svs").rename(folder / "d.svs")
    assert sorted(name for name, *_ in seen()) in (["a", "c"], ["a", "d"])  # one alone keeps it


def test_a_slide_that_shows_other_content_is_told_with_its_old_place_and_case(
    tmp_path: Path,
) -> None:
    for i, name in enumerate("abc"):
        write(tmp_path / f"{name}.svs", plain(300 + 60 * i), mpp=2.0, stated=0.5)
    a, b = (slide(tmp_path / f"{name}.svs") for name in "ab")
    store = FeatureStore.create(tmp_path / "store")
    take_in(store, [a, b], ENCODER, TILING)
    new = slide(tmp_path / "c.svs")
    new = replace(new, slide=replace(new.slide, slide_id="a"))  # its case stays that of `c`
    (moved,) = worklist(store, [new], WANTED, CONFIG)
    assert moved.standing == "changed"
    assert f"other content or another scale than the store knew at {a.path}" in moved.renamed
    assert moved.renamed.endswith("of case 'c', no longer 'a'")
    summary = take_in(store, [new], ENCODER, TILING)
    assert moved.renamed in summary.text()


def test_names_that_change_hands_are_one_answer_for_plan_and_ingest(tmp_path: Path) -> None:
    for i, name in enumerate("ab"):
        write(tmp_path / f"{name}.svs", plain(300 + 60 * i), mpp=2.0, stated=0.5)
    a, b = (slide(tmp_path / f"{name}.svs") for name in "ab")
    store = FeatureStore.create(tmp_path / "store")
    take_in(store, [a, b], ENCODER, TILING)
    swapped = [slide(b.path, slide_id="a"), slide(a.path, slide_id="b")]
    for archive in ([swapped[0]], swapped, [a, b]):
        works = worklist(store, archive, WANTED, CONFIG)
        for work in works:
            if work.same and work.same.slide_id != work.slide.slide_id:
                assert f"shows what slide {work.same.slide_id!r} showed" in work.renamed
        said = plan_archive(store, Archive(slides=archive), TILING, PlanConfig(sample=0))
        done = take_in(store, archive, ENCODER, TILING)
        n_known = sum(work.standing == "known" for work in works)
        assert (said.known + said.lacking, said.changed) == (n_known, len(works) - n_known)
        assert (done.known, done.recognised) == (n_known, len(works) - n_known)
        assert done.embedded == 0


def test_the_counts_of_a_plan_add_up(known: tuple[FeatureStore, Path], tmp_path: Path) -> None:
    store, folder = known
    torn = slide(tmp_path / "torn.svs")
    store.record(3 * [Failure(item=torn.slide.path, stage="open", reason="torn", slide_id="torn")])
    write(tmp_path / "new.svs", plain(200), mpp=2.0, stated=0.5)
    archive = [
        slide(folder / "a.svs"),
        slide(folder / "a.svs", slide_id="b", mpp=0.3),
        torn,
        slide(tmp_path / "gone.svs"),
        slide(tmp_path / "new.svs"),
        replace(slide(tmp_path / "odd.svs"), refused="it is a pipe"),
    ]
    said = plan_archive(store, Archive(slides=archive), TILING, PlanConfig(sample=0)).text()
    first = said.splitlines()[0]
    counts = [int(text.split()[0]) for text in first.partition(": ")[2].split(";")[0].split(", ")]
    assert sum(counts) == int(first.split()[0]) == len(archive)
    assert "1 cannot be read" in first
    assert "1 given up" in first


def test_what_was_taken_out_is_not_ingested_again(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"{name}.svs", plain(300, 60), mpp=2.0, stated=0.5)
    store = FeatureStore.create(tmp_path / "store")
    a, b = (slide(tmp_path / f"{name}.svs", patient_id=name) for name in "ab")
    store.record([a.case, Slide(**vars(a.slide), slide_key="0" * 16)])
    store.withdraw("a", "patient", erase=True)
    assert [work.slide.slide_id for work in worklist(store, [a, b], WANTED, CONFIG)] == ["b"]
