"""Suspects: spoiled labels stand first, whether the Run learnt from them or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import embedding_stores as es

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Target
from ingest.labels.review import export_review
from trainer import TrainConfig, runs, train
from trainer.suspects import Suspects, suspects
from trainer.sweep import sweep

N = 160


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, set[str]]:
    """Slides with the labels of people, 5% of which were given to another Slide on purpose."""
    x, values = es.planted(N, 10, dim=8, seed=4)
    rng = np.random.default_rng(4)
    labels = np.clip(np.round((values + rng.normal(0, 5, N)) / 5) * 5, 0, 100)
    bad = rng.choice(N, N // 20, replace=False)
    labels[bad] = np.where(labels[bad] < 50, rng.uniform(60, 100, len(bad)), rng.uniform(0, 40))
    root = tmp_path_factory.mktemp("spoiled") / "store"
    store = es.build(root, x, labels.tolist())
    es.freeze(store)
    es.freeze(store, "folds", "folds")
    return store, {f"S-{i:04}" for i in bad}


@pytest.mark.proof
@pytest.mark.parametrize("cohort", ["all", "all, without intervals", "folds"])
def test_spoiled_labels_stand_in_the_first_tenth(
    spoiled: tuple[FeatureStore, set[str]], cohort: str
) -> None:
    store, bad = spoiled
    config = TrainConfig(cohort=cohort.partition(",")[0], steps=80, lr=1e-2, resamples=2)
    if cohort == "all, without intervals":
        config = replace(config, calibration_fraction=0)
    if cohort == "folds":
        run_id = sweep(store, config).cells[0].run_ids[2]
    else:
        run_id = train(store, config, draw=False).run_id
    found = suspects(store, run_id)
    assert sorted(one.slide_id for one in found.slides) == [f"S-{i:04}" for i in range(N)]
    first = {one.slide_id for one in found.slides[: N // 10]}
    assert len(first & bad) >= len(bad) / 2
    assert found.n_beyond < N / 5
    learnt = runs.load(store, run_id).record.n_train
    # its intervals had a training predict out of fold already
    assert found.n_refitted == (learnt if cohort == "all, without intervals" else 0)
    top = found.slides[0]
    assert top.score == pytest.approx(abs(top.label - top.predicted) / top.spread)
    assert (top.quality, top.method) == ("ok", "human")
    assert f"review export todo.csv --suspects {run_id}" in found.text()


def test_they_are_ready_for_review(spoiled: tuple[FeatureStore, set[str]], tmp_path: Path) -> None:
    store, _ = spoiled
    why = {"C-0003": "label 10, predicted 80 ± 6", "C-0001": "label 90, predicted 20 ± 6"}
    said = export_review(store, tmp_path / "todo.csv", suspects=why)
    assert said.data["n"] == 2
    _, first, second = (tmp_path / "todo.csv").read_text().splitlines()
    assert first.startswith("C-0003,,,,suspect,")
    assert '"label 90, predicted 20 ± 6"' in second


def test_nothing_is_proposed_where_nothing_is_suspect() -> None:
    found = Suspects(
        run_id="20260101-000000-abcdef", slides=(), n_beyond=0, n_refitted=0, target=Target()
    )
    assert found.text().startswith("0 of 0 slides")
    assert "review export" not in found.text()
    with pytest.raises(ConfigError, match="is of target 'cellularity', not 'blasts'"):
        found.reasons("blasts")
    assert found.reasons("cellularity") == found.reasons() == {}
