"""What more Patients are worth: gains from size to size, and what twice as many would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from featurestore import FeatureStore
from featurestore.errors import ConfigError, TrainError
from trainer import TrainConfig
from trainer.config import CurveConfig
from trainer.curve import curve

QUICK = TrainConfig(cohort="all", steps=2, resamples=1, calibration_fraction=0)


def test_a_curve_says_what_more_patients_gained(learnable: FeatureStore) -> None:
    with pytest.raises(ConfigError, match="50,100,200"):
        CurveConfig(sizes="8,many").numbers()
    found = curve(learnable, QUICK, CurveConfig(sizes="4,8,14", seeds=1))
    sweep, twice = found.data["found"], found.data["twice"]
    cells = sweep.cells
    assert [cell.values["train_patients"] for cell in cells] == [4, 8, 14]
    gains = np.diff([cell.scores["r2"].value for cell in cells])
    differences = [one.scores["r2"].value for one in sweep.differences]
    assert differences == pytest.approx(gains)
    goes_on = twice is not None and twice >= cells[-1].scores["r2"].value
    assert ("with 28 patients R2 would be about" in found.text()) == goes_on
    assert ("no steady gain" in found.text()) != goes_on
    with pytest.raises(TrainError, match=r"has 20 train patients.*--sizes"):
        curve(learnable, QUICK, CurveConfig(sizes="4,100"))


def test_a_curve_whose_runs_fail_says_so(learnable: FeatureStore) -> None:
    config = replace(QUICK, lr=1e30, steps=6, loss="bce")
    found = curve(learnable, config, CurveConfig(sizes="4,8", seeds=1))
    assert found.gave_up
    assert found.text().count("failed      train-patients ") == 2


def test_a_curve_of_one_size_says_what_it_lacks_and_what_is_next(
    learnable: FeatureStore,
) -> None:
    said = curve(learnable, QUICK, CurveConfig(sizes="8", seeds=1)).text().splitlines()
    assert "three sizes" in said[-2]
    assert said[-1].startswith("next        trephine predict ")
    with pytest.raises(ConfigError, match="leave out --train-patients"):
        curve(learnable, replace(QUICK, train_patients=4), CurveConfig(sizes="8"))
