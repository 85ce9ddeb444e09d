"""Fixtures of the trainer: small stores whose labels can be learnt, or cannot.

Each file has its own: tests add Cohorts and Runs, and which files a worker runs is chance.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch
from builders import embedding_stores as es
from builders.embedding_stores import SIZES

from featurestore import FeatureStore


@pytest.fixture(autouse=True)
def two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="module")
def learnable(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Forty Slides of 20 to 59 tiles, label planted in the mean; Cohort `all`, split by time."""
    x, values = es.planted(40, list(range(20, 60)), dim=8)
    store = es.build(tmp_path_factory.mktemp("learnable"), x, values)
    es.freeze(store)
    return store


@pytest.fixture(scope="module")
def sizes(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """One Slide with no tile, then `SIZES` twice, one Slide each; Cohort `all`, split by time."""
    counts = [0, *SIZES, *SIZES]
    x, values = es.planted(len(counts), counts, dim=4)
    store = es.build(tmp_path_factory.mktemp("sizes"), x, values)
    es.freeze(store)
    return store


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, Path]:
    """Twenty Slides each to train, to calibrate and to test, labels rounded to 5; truth.csv."""
    folder = tmp_path_factory.mktemp("calibrated")
    x, values = es.planted(60, 20, dim=8)
    store = es.build(folder / "store", x, (values / 5).round() * 5)
    slides = store.bags_where("true")["slide_id"].to_list()
    parts = ["train"] * 20 + ["calibration"] * 20 + ["test"] * 20
    es.freeze(store, split=dict(zip(slides, parts, strict=True)))
    pl.DataFrame({"slide_id": slides, "cellularity": values}).write_csv(folder / "truth.csv")
    return store, folder / "truth.csv"
