"""Two Runs beside each other: what differs, and by how much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from featurestore import FeatureStore
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


def test_a_page_of_runs_says_what_was_left_open_in_words(learnable: FeatureStore) -> None:
    config = replace(QUICK, calibration_fraction=0)
    made = [train(learnable, one, draw=False) for one in (config, replace(config, steps=None))]
    view = compare.view(learnable, made, [page.test_slides(learnable, run) for run in made])
    assert view["short"] == ["steps 12", "steps default"]
    assert view["differ"] == ["steps"]
    assert [one["steps"] for one in view["settings"]] == [12, "default"]
    assert "None" not in "".join(one["svg"] for one in view["figures"])
