"""The page: what it says of a Run, that it needs nothing beside it, and that text stays text."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from builders import embedding_stores as es
from hypothesis import given
from hypothesis import strategies as st

from featurestore import FeatureStore
from featurestore.errors import ConfigError, RunNotFound
from featurestore.types import Label, Target
from trainer import TrainConfig, conformal, evaluate, train, write_page
from trainer.page import page_text, templates, written
from trainer.runs import Run

QUICK = TrainConfig(cohort="all", bag_size=16, steps=40)
HOSTILE = """</script><script>hacked()</script><img src=x onerror="hacked()">'"&<b>\u2028"""


class Read(HTMLParser):
    """The elements of a page with their attributes, and the JSON that its script reads."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.data: list[Any] = []
        self._json = False
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._json = tag == "script" and dict(attrs).get("type") == "application/json"

    def handle_data(self, data: str) -> None:
        if self._json:
            self.data.append(json.loads(data))

    def handle_endtag(self, tag: str) -> None:
        self._json = False

    def rows(self) -> list[dict[str, Any]]:
        """The table of Cases."""
        (cases,) = [one for one in self.data if "rows" in one]
        return [dict(zip(cases["fields"], row, strict=True)) for row in cases["rows"]]


def _shown(value: float | None) -> list[str]:
    assert value is not None
    return [format(value, form).replace("-", "−") for form in (".3f", ".2f", "+.2f")]


@pytest.fixture(scope="module")
def run(learnable: FeatureStore) -> Run:
    return train(learnable, QUICK)


@pytest.fixture(scope="module")
def page(learnable: FeatureStore, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "new" / "report.html"
    return write_page(learnable, [run.run_id], out)


def test_the_page_says_everything_and_needs_nothing_else(
    learnable: FeatureStore, run: Run, page: Path
) -> None:
    text = page.read_text()
    for said in (
        f"On {run.record.n_test} test slides of {run.record.n_test} patients, dated 2020-",
        f"R² {run.metric('r2'):.3f} (95% interval",
        f"{run.metric('mae'):.2f}",
        f"{run.metric('r2', 'ridge_test'):.3f}",
        f"Test has {run.record.n_test} patients, under 50",
        "select slide_id, specimen from bags",
        "trephine train all --bag-size 16 --steps 40",
        "By label range",
        "By predicted range",
        "By scanner",
        "By half-year",
        "The labels show no rounding step",
        "No intervals: 0 calibration slides, under 20",
        "bags are enough",
        "By bag size",
        "The split over time",
        "Calibration slope",
        run.record.code_version,
    ):
        assert said in text, said
    for name in ("r2", "mae", "rmse", "pearson", "bias", "loa_low", "loa_high", "slope"):
        assert any(f"<small>{low} to " in text for low in _shown(run.metric(f"{name}_low"))), name
    assert "Validation (n" not in text
    assert "validation and calibration of under 20 slides are left out" in text
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", text)
    assert not re.search(r"url\(|@import|https?://(?!www.w3.org/2000/svg)", text)
    assert str(learnable.root) not in text
    assert "/gone/" not in text
    assert not re.search(
        r"\d-\d+\.\d|[ (>]-\d", re.sub(r"<(script|style|pre|svg).*?</\1>", "", text, flags=re.S)
    )


def test_every_anchor_has_its_place_and_every_picture_its_words(page: Path) -> None:
    read = Read(page)
    ids = [said["id"] for _, said in read.elements if "id" in said]
    assert len(ids) == len(set(ids))
    links = [said["href"] for tag, said in read.elements if tag == "a"]
    assert len(links) >= 9
    assert {str(link).removeprefix("#") for link in links} <= set(ids)
    for tag, said in read.elements:
        if tag == "svg":
            assert said.get("aria-label") or said.get("aria-hidden") == "true"
    headings = [tag for tag, _ in read.elements if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == "h1"
    assert all(int(b[1]) - int(a[1]) <= 1 for a, b in itertools.pairwise(headings))


def test_the_table_has_every_test_slide_with_its_numbers(run: Run, page: Path) -> None:
    test = run.predictions.filter(pl.col("split") == "test")
    rows = {row["slide_id"]: row for row in Read(page).rows()}
    assert len(rows) == test.height
    for slide in test.iter_rows(named=True):
        row = rows[slide["slide_id"]]
        assert row["mean"] == pytest.approx(slide["mean"], abs=0.006)
        assert row["error"] == pytest.approx(slide["mean"] - slide["label"], abs=0.006)
        assert row["n_tiles"] == slide["n_tiles"]
    worst = [row for row in rows.values() if row["group"] == "worst"]
    rest = [row for row in rows.values() if row["group"] != "worst"]
    assert len(worst) == min(20, test.height)
    if rest:
        assert min(abs(r["error"]) for r in worst) >= max(abs(r["error"]) for r in rest)


def test_pictures_are_of_the_slides_shown_and_all_on_demand(
    learnable: FeatureStore, run: Run, page: Path, tmp_path: Path
) -> None:
    pictures = next(one["pictures"] for one in Read(page).data if "pictures" in one)
    assert pictures
    thumbnails = Read(page).data[-1]
    for one in pictures.values():
        assert one["overlay"].startswith("data:image/png;base64,")
        assert thumbnails[one["thumbnail"]]["uri"].startswith("data:image/jpeg;base64,")
        assert one["most"][0][4] >= one["most"][-1][4] >= one["least"][-1][4] >= one["least"][0][4]
    out = write_page(learnable, [run.run_id], tmp_path / "all.html", every=True)
    pictures = next(one["pictures"] for one in Read(out).data if "pictures" in one)
    assert len(pictures) == run.record.n_test


def test_the_page_shows_intervals_and_their_coverage(
    calibrated: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, _ = calibrated
    run = train(store, QUICK)
    page = write_page(store, [run.run_id], tmp_path / "report.html").read_text()
    width = conformal.calibrated_half_width(run.predictions)
    test = run.predictions.filter(pl.col("split") == "test")
    assert width is not None
    held = test.select(conformal.held(width).sum()).item()
    assert f"An interval of 90% is the prediction ± {width.typical:.1f} points" in page
    assert (
        f"of labels; of test they hold {held} of 20, {held / 20:.1%} with each case counted" in page
    )
    assert "Slides held by interval" in page
    assert set(re.findall(r'class="(?:line|dots) ([lc]\w+)', page)) <= {
        f"{kind}{colour}" for kind in "lc" for colour in (*range(6), "grey")
    }
    assert "Calibration (n = 20)" in page
    assert "Labels are rounded to 5, which allows R² 0.99" in page
    stated = write_page(store, [run.run_id], tmp_path / "report.html", rounding=20).read_text()
    assert "Labels are rounded to 20, which allows R² 0." in stated


def test_intervals_of_few_slides_are_told_as_made_out_of_fold(tmp_path: Path) -> None:
    store = es.build(tmp_path / "store", *es.planted(60, 20))
    es.freeze(store)
    run = train(store, replace(QUICK, steps=4, calibration_fraction=0.1))
    folded = (run.predictions["split"] == "out_of_fold").sum()
    page = write_page(store, [run.run_id], tmp_path / "report.html").read_text()
    assert folded >= 20
    assert f"the {folded} slides of train, each predicted by a model that did not learn" in page
    assert "out_of_fold" not in page  # the Run itself learnt from these: they are train


def test_page_and_terminal_say_one_ceiling_by_two_sources_where_there_are_two(
    tmp_path: Path,
) -> None:
    values = np.random.default_rng(0).uniform(10, 90, 30)
    store = es.build(tmp_path / "store", [np.ones((3, 4))] * 30, values.tolist())
    told = {"target": "cellularity", "method": "rules", "status": "single"}
    cases = store.labels()["case_id", "value"].iter_rows()
    given_ = [Label(case_id=case, value=x + 9, low=x, high=x + 9, **told) for case, x in cases]
    store.record([label.recorded(Target()) for label in given_])
    es.freeze(store, method="random")
    run = train(store, replace(QUICK, steps=2))
    labels = run.predictions.filter(pl.col("split") == "test")["label"].to_numpy()
    said = evaluate.ceiling(store, "all", labels, Target())
    assert said is not None
    assert said.startswith("labels of 30 cases come from two sources")
    assert f"note        {said}" in run.text()
    page = write_page(store, [run.run_id], tmp_path / "report.html").read_text()
    assert f"<p>L{said[1:].replace('R2', 'R²')}.</p>" in page
    assert "rounded to" not in page


def test_the_ceiling_is_measured_where_the_truth_is_known(
    calibrated: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, truth = calibrated
    out, run = tmp_path / "report.html", train(store, QUICK)
    label = run.predictions.filter(pl.col("split") == "test")
    true = label.join(pl.read_csv(truth), on="slide_id")["cellularity"].to_numpy()
    labels = label["label"].to_numpy()
    table = pl.read_csv(truth).rename({"cellularity": "truth"})
    page = write_page(store, [run.run_id], out, truth=lambda target: table).read_text()
    assert f"The labels allow an R² of <b>{evaluate.r2(labels, true):.3f}</b>" in page
    found = evaluate.r2(true, label["mean"].to_numpy())
    assert f"Against the truth the predictions have R² {found:.3f}" in page


def test_a_truth_of_other_slides_is_refused(
    calibrated: tuple[FeatureStore, Path], tmp_path: Path
) -> None:
    store, _ = calibrated
    run = train(store, replace(QUICK, steps=2))
    other = pl.DataFrame({"slide_id": ["nobody"], "truth": [4.0]})
    with pytest.raises(ConfigError, match="none of the 20 test slides"):
        write_page(store, [run.run_id], tmp_path / "report.html", truth=lambda target: other)
    with pytest.raises(ConfigError, match="rounding must be over 0"):
        write_page(store, [run.run_id], tmp_path / "report.html", rounding=-5)


def test_several_runs_are_compared(learnable: FeatureStore, run: Run, tmp_path: Path) -> None:
    others = [train(learnable, replace(QUICK, seed=s, bag_size=b)) for s, b in ((1, 16), (0, 8))]
    ids = [run.run_id, *(one.run_id for one in others)]
    out = write_page(learnable, [*ids, ids[0]], tmp_path / "report.html")
    page = out.read_text()
    assert "3 runs compared" in page
    assert all(f'href="#{i}"' in page and f'id="{i}"' in page for i in ids)
    assert f"On the {run.record.n_test} test slides of {run.record.n_test} patients" in page
    assert "Difference of R²" in page
    assert "Mean ± standard deviation over seeds" in page
    known = [said["id"] for _, said in Read(out).elements if "id" in said]
    assert len(known) == len(set(known))


@pytest.mark.proof
def test_many_runs_are_compared_and_no_more(
    learnable: FeatureStore, run: Run, tmp_path: Path
) -> None:
    others = [train(learnable, replace(QUICK, steps=2, seed=s)).run_id for s in range(6)]
    out = write_page(learnable, [run.run_id, *others], tmp_path / "report.html")
    read = Read(out)
    assert "7 runs compared" in out.read_text()
    assert "article" not in [tag for tag, _ in read.elements]
    ids = {said["id"] for _, said in read.elements if "id" in said}
    links = [said["href"] for tag, said in read.elements if tag == "a"]
    assert {str(link).removeprefix("#") for link in links} <= ids


def test_random_weights_are_said_loudly_and_outside_text_stays_text(tmp_path: Path) -> None:
    embeddings, values = es.planted(24, 5, dim=4)
    store = es.build(tmp_path / "store", embeddings, values, weights="random", outside=HOSTILE)
    quoted = HOSTILE.replace("'", "''")
    store.create_cohort("odd", f"select slide_id, specimen, '{quoted}' as note from bags")
    run = train(store, replace(QUICK, cohort="odd"))
    out = write_page(store, [run.run_id], tmp_path / "report.html")
    page, read = out.read_text(), Read(out)
    assert "weights are random" in page
    scripts = [said.get("type") for tag, said in read.elements if tag == "script"]
    assert scripts == ["application/json", "application/json", None]
    assert not [tag for tag, _ in read.elements if tag in ("img", "b")][8:]
    assert not [name for _, said in read.elements for name in said if name.startswith("on")]
    for row in read.rows():
        assert row["slide_id"].endswith(HOSTILE)
        assert row["evidence"] == HOSTILE
    # Every Slide is one Bag: nothing settles.
    assert f"<b>{run.record.n_test} of {run.record.n_test} test slides</b>" in page
    assert "enough</b>" not in page


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_text_leaves_the_pages_data(value: Any) -> None:
    text = templates().from_string("{{ value | tojson }}").render(value=value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_a_slide_that_was_set_aside_stays_on_the_page(
    learnable: FeatureStore, run: Run, tmp_path: Path
) -> None:
    root = tmp_path / "store"
    shutil.copytree(learnable.root, root)
    gone = run.predictions.filter(pl.col("split") == "test")["slide_id", "slide_key"].row(0)
    (chunk,) = root.glob(f"slides/{gone[1]}.zarr/*/embeddings/*/c/0/0")
    chunk.unlink()
    FeatureStore.verify(root, repair=True)
    store = FeatureStore(root)
    assert gone[0] not in set(store.bags("all")["slide_id"])
    page = Read(write_page(store, [run.run_id], tmp_path / "report.html"))
    assert gone[0] in {row["slide_id"] for row in page.rows()}
    assert "taken out of the store" not in page_text(store, [run.run_id]).text()
    store.withdraw(gone[0], "slide")
    assert "1 test slide taken out of the store since" in page_text(store, [run.run_id]).text()


def test_a_page_says_where_it_is_and_how_large(
    learnable: FeatureStore, run: Run, page: Path
) -> None:
    told = written(learnable, [run.run_id], page)
    assert told.json() == {"page": str(page), "bytes": len(page.read_bytes()), "warnings": []}
    assert f"The page is {page}, " in told.text()


def test_the_page_as_text(learnable: FeatureStore, run: Run) -> None:
    text = page_text(learnable, [run.run_id]).text()
    test = run.predictions.filter(pl.col("split") == "test")
    assert f"R² {run.metric('r2'):.3f}" in text
    plot = text[text.index("predicted cellularity") :].splitlines()[1:]
    cells = [line.split("|")[1] for line in plot if "|" in line]
    assert sum(int(n) for line in cells for n in re.findall(r"\d+", line)) == test.height
    for table in text.split("by predicted"):
        rows = re.findall(r"^ +\d+–\d+ +(\d+)", table, flags=re.M)
        assert sum(map(int, rows)) == test.height
    assert text.index("by label") < text.index("by predicted") < text.index("even a perfect model")


def test_refusals(learnable: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one run"):
        write_page(learnable, [], tmp_path / "report.html")
    with pytest.raises(RunNotFound):
        write_page(learnable, ["nothing"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.proof
@pytest.mark.parametrize(
    ("target", "model", "said"),
    [
        (Target(name="fat_um", kind="continuous", low=0, high=300), "mean", "Fat um"),
        (Target(name="fibrosis", kind="binary", low=0, high=1), "max", "predicted with AUC"),
    ],
)
def test_other_targets_and_poolings_have_a_page_too(
    tmp_path: Path, target: Target, model: Any, said: str
) -> None:
    x, values = es.planted(24, 6, dim=4)
    values = values * 3 if target.kind == "continuous" else (values > 50).astype(float)
    store = es.build(tmp_path / "store", x, values, target=target)
    es.freeze(store, target=target.name)
    run = train(store, replace(QUICK, model=model, steps=2))
    out = write_page(store, [run.run_id], tmp_path / "report.html")
    assert said in out.read_text()
    pictures = next(one["pictures"] for one in Read(out).data if "pictures" in one)
    assert len(pictures) == run.record.n_test
    assert {"overlay" in one for one in pictures.values()} == {model != "max"}
    assert run.run_id in page_text(store, [run.run_id]).text()


def test_a_page_of_classes_says_what_classes_are_judged_by(tmp_path: Path) -> None:
    target = Target(name="mds", kind="binary", low=0, high=1)
    x, values = es.planted(60, 8, dim=4)
    store = es.build(tmp_path / "store", x, (values > 50).astype(float), target=target)
    es.freeze(store, target="mds", method="random")
    made = [train(store, replace(QUICK, steps=30, seed=seed)) for seed in (0, 1)]
    page = write_page(store, [made[0].run_id], tmp_path / "one.html").read_text()
    numbers = made[0].record.metrics["test"]
    for said in (
        f"AUC {numbers['auc']:.3f} (95% interval",
        f"accuracy of {numbers['accuracy']:.1%} (95% interval",
        f"<b>{numbers['positive']:.0%}</b>",
        "Share of positive slides",
        "Receiver operating characteristic",
        "Calibration: share of positive",
        "Predictions by class",
        "By class",
        "Brier score",
    ):
        assert said in page, said
    assert "Groups of under 20 slides are grey." in page  # their accuracies are there
    several = write_page(store, [run.run_id for run in made], tmp_path / "two.html").read_text()
    terminal = page_text(store, [made[0].run_id]).text()
    for text in (page, several, terminal, made[0].text(), repr(made[0])):
        words = re.sub(r"<script.*?</script>", "", text, flags=re.S)
        assert not re.search(r"R²|R2|Bland|limits? of agreement", words)
    assert f"AUC {numbers['auc']:.3f}" in terminal
    assert "negative" in terminal
    assert "Receiver operating characteristic" in several
    assert "Difference of AUC" in several
    assert "Difference of accuracy in points" in several
