"""Two Runs beside each other: what differs, and by how much."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from builders.copies import copy_of

from featurestore import FeatureStore
from featurestore.config import SplitConfig
from featurestore.errors import ConfigError
from trainer import TrainConfig, compare, page, train
from trainer.runs import Run

QUICK = TrainConfig(cohort="all", steps=12, bag_size=8, resamples=2)


@pytest.fixture(scope="module")
def run(learnable: FeatureStore) -> Run:
    return train(learnable, QUICK, draw=False)


def test_runs_are_compared_by_what_differs(learnable: FeatureStore, run: Run) -> None:
    other = train(learnable, replace(QUICK, bag_size=4), draw=False)
    found = compare.compare(learnable, run.run_id, other.run_id)
    assert set(found.data["differs"]) == {"bag-size"}
    assert found.data["differs"]["bag-size"] == [8, 4]
    assert found.data["n_slides"] == run.record.n_test
    assert found.data["difference"]["r2"].value == pytest.approx(
        other.metric("r2") - run.metric("r2")
    )
    assert "bag-size" in found.text()
    with pytest.raises(ConfigError, match="both are run"):
        compare.compare(learnable, run.run_id, run.run_id[:-1])


def test_runs_tested_on_other_slides_say_what_is_of_those_they_share(
    learnable: FeatureStore, run: Run, tmp_path: Path
) -> None:
    store = copy_of(learnable, tmp_path / "copy")
    split = SplitConfig(method="time", test_fraction=0.2)
    store.create_cohort("later", "from bags", split=split)
    late, again = (train(store, one, draw=False) for one in (replace(QUICK, cohort="later"), QUICK))
    n = late.record.n_test
    assert 1 < n < run.record.n_test
    for other, of in (late, f" on the {n} shared"), (again, ""):
        said = compare.compare(store, run.run_id, other.run_id).text()
        assert re.search(rf"^test R2{of}  +-?\d", said, re.MULTILINE)
        tests = [page.test_slides(store, one) for one in (run, other)]
        assert compare.view(store, [run, other], tests)["apart"] == bool(of)
    out = page.write_page(store, [run.run_id, late.run_id], tmp_path / "page.html")
    text = out.read_text()
    assert f"The figures are of the {n} test slides of " in text
    assert ", the table of all that each run was tested on. " in text
    assert "<caption>On all test slides of each run</caption>" in text


def test_a_page_of_runs_says_what_was_left_open_in_words(learnable: FeatureStore) -> None:
    config = replace(QUICK, calibration_fraction=0)
    made = [train(learnable, one, draw=False) for one in (config, replace(config, steps=None))]
    view = compare.view(learnable, made, [page.test_slides(learnable, run) for run in made])
    assert view["short"] == ["steps 12", "steps default"]
    assert view["differ"] == ["steps"]
    assert [one["steps"] for one in view["settings"]] == [12, "default"]
    assert "None" not in "".join(one["svg"] for one in view["figures"])
