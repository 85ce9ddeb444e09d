"""A store to sweep over, and what is swept."""

from __future__ import annotations

from pathlib import Path

from builders import embedding_stores as es

from featurestore import FeatureStore
from trainer import TrainConfig

QUICK = TrainConfig(cohort="all", steps=12, resamples=2)
FACTORS = {"bag_size": [4, 16], "model": ["attention", "mean"]}


def build(root: Path) -> FeatureStore:
    """Forty-two Slides; Cohorts `all`, by time, and `folds`, five of them."""
    x, values = es.planted(42, 12, dim=6)
    made = es.build(root, x, values.tolist())
    es.freeze(made)
    es.freeze(made, "folds", "folds")
    return made
