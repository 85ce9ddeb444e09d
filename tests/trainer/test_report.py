from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import embedding_stores as es
import pytest

from featurestore.errors import ConfigError, RunNotFound
from featurestore.store import FeatureStore
from trainer import TrainConfig, train, write_report
from trainer.report import command

QUICK = TrainConfig(cohort="all", bag_size=16, steps=40)


def test_the_page_says_everything_and_needs_nothing_else(
    learnable: FeatureStore, tmp_path: Path
) -> None:
    run = train(learnable, QUICK)
    page = write_report(learnable, [run.run_id], tmp_path / "new" / "report.html").read_text()
    for text in (
        f"{run.metric('r2'):.3f}",
        f"{run.metric('mae'):.2f}",
        f"{run.metric('r2', 'ridge_test'):.3f}",
        "select slide_id, specimen from bags",
        "trephine train all --bag-size 16 --steps 40",
        "By label range",
        "By scanner",
        "By half-year",
        "The 10 largest errors",
        "there is no standard deviation" if run.predictions["std"].null_count() else "smaller than",
        run.record["code_version"],
    ):
        assert text in page, text
    assert page.count("data:image/png;base64,") == 2
    assert page.count("data:image/jpeg;base64,") == 10
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert not re.search(r"url\(|@import|https?://|<script", page)


def test_several_runs_are_compared(learnable: FeatureStore, tmp_path: Path) -> None:
    ids = [train(learnable, replace(QUICK, seed=s)).run_id for s in (0, 1)]
    page = write_report(learnable, ids, tmp_path / "report.html").read_text()
    assert "2 runs compared" in page
    assert all(f'href="#{i}"' in page and f'id="{i}"' in page for i in ids)


def test_random_weights_are_said_loudly_and_names_are_escaped(tmp_path: Path) -> None:
    store = es.build(tmp_path / "store", *es.planted(12, 5, dim=4), weights="random")
    query = "select slide_id, specimen, '<script>alert(1)</script>' as note from bags"
    store.create_cohort("odd", query)
    run = train(store, replace(QUICK, cohort="odd"))
    page = write_report(store, [run.run_id], tmp_path / "report.html").read_text()
    assert "weights are random" in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_refusals(learnable: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one run"):
        write_report(learnable, [], tmp_path / "report.html")
    with pytest.raises(RunNotFound):
        write_report(learnable, ["nothing"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_command_names_what_differs_from_the_defaults() -> None:
    config = {"cohort": "my cohort", "bag_size": 256, "loss": "bce", "tiles": "tissue > 0.5"}
    assert command(config) == "trephine train 'my cohort' --tiles 'tissue > 0.5'"
