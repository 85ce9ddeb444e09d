"""The attention of one Slide's tiles."""

from __future__ import annotations

import polars as pl

from featurestore import FeatureStore
from trainer import runs
from trainer.inference import attending, bags_of


def attention(store: FeatureStore, run_id: str, slide_id: str) -> pl.DataFrame:
    """What `attending` gives of a Slide."""
    run = runs.load(store, run_id)
    with attending(store, run, bags_of(store, run, [slide_id])) as weigh:
        return weigh(0)
