"""What commands say of a store with a Run: what is in it, one thing of it, and damage to it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from pathlib import Path

import polars as pl
import pytest
from builders.command_line import cli_store, run
from click.testing import CliRunner

import cli
from featurestore import FeatureStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cli_store(tmp_path_factory.mktemp("cli") / "store")


@pytest.fixture(scope="module")
def trained(store: Path) -> Path:
    """The store with one Run."""
    options = ("--bag-size", 8, "--steps", 20, "--resamples", 2, "--store", store)
    out = run("train", "all", *options).stdout
    assert "trephine report" in out
    return store


@pytest.mark.parametrize("words", [("cohort", "delete", "all"), ("runs", "delete", "latest")])
@pytest.mark.parametrize("answer", ["", "n\n"])
def test_a_question_that_nobody_answers_names_yes(
    trained: Path, words: tuple[str, ...], answer: str
) -> None:
    out = CliRunner().invoke(cli.main, [*words, "--store", str(trained)], input=answer)
    assert out.exit_code == 1
    *_, said = out.stderr.strip().splitlines()
    assert said == (
        f"trephine: {words[-1]} was not deleted, for nobody said yes. Answer y, or give --yes."
    )


def test_one_damaged_slide_stops_no_batch_and_is_told_with_exit_3(
    trained: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "store"))
    test = FeatureStore(root).predictions("latest").filter(pl.col("split") == "test")
    slide_id, slide_key = test.select("slide_id", "slide_key").row(0)
    (chunk,) = (root / "slides" / f"{slide_key}.zarr").glob("*/embeddings/*/c/0/0")
    chunk.write_bytes(bytes(chunk.stat().st_size))
    for words in (
        ("predict", "latest", "all", "--format", "csv"),
        ("settle", "latest", "--bag-size", 8),
        ("report", "latest", "--all", "-o", tmp_path / "page.html"),
        ("export", "clam", "all", "-o", tmp_path / "clam"),
        ("export", "parquet", "all", "-o", tmp_path / "parquet"),
        ("heatmap", "latest", *test["slide_id"], "-o", tmp_path / "maps"),
    ):
        out = run(*words, "--store", root, code=3)
        assert slide_id in out.output
        assert f"trephine verify --store {root} --repair" in out.output


def test_status_counts_and_says_what_is_next(store: Path, tmp_path: Path) -> None:
    said = json.loads(run("status", "--json", "--store", store).stdout)
    assert said["slides"] == FeatureStore(store).sql("from slides").height
    assert [one["slides"] for one in said["encoders"]] == [said["slides_with_tiles"]]
    assert said["bytes"]["slides"] > 0
    run("init", "--store", tmp_path / "new")
    new = str(tmp_path / "new")
    after = f"trephine plan --store {new} SLIDES"
    assert f"Next: {after}\n" in run("status", "--store", new).stdout
    assert json.loads(run("status", "--json", "--store", new).stdout)["next"] == after


def test_what_is_unfinished_for_long_is_named_and_removed(tmp_path: Path) -> None:
    root = tmp_path / "store"
    run("init", "--store", root)
    for name, days in (("run-old", 8), ("run-new", 6)):
        work = root / "tmp" / name
        work.mkdir()
        (work / "weights").write_bytes(bytes(1000))
        for path in (work / "weights", work):
            os.utime(path, (time.time() - 86400 * days,) * 2)
    assert "trephine clean" in run("status", "--store", root).stdout
    assert json.loads(run("clean", "--json", "--store", root).stdout)["removed"] == ["run-old"]
    assert [one.name for one in (root / "tmp").iterdir()] == ["run-new"]
    assert "nothing to remove" in run("clean", "--store", root).stdout


def test_everything_is_shown_by_its_id_or_the_beginning_of_it(trained: Path) -> None:
    (record,) = FeatureStore(trained).runs().rows(named=True)
    slide = FeatureStore(trained).sql("from slides order by slide_id").row(0, named=True)
    run_id = record["run_id"]
    for word, kind in [(run_id, "run"), (run_id[:-1], "run"), ("latest", "run"), ("all", "cohort")]:
        said = json.loads(run("show", word, "--json", "--store", trained).stdout)
        assert (said["run"][0]["run_id"] if kind == "run" else said["cohort"]) in (run_id, "all")
    said = json.loads(run("show", slide["slide_id"], "--json", "--store", trained).stdout)
    said = said.get("slide", said)
    shown = json.loads(run("show", "latest", "--json", "--store", trained).stdout)["metrics"]
    metrics = FeatureStore(trained).sql("from metrics where split = 'test'")
    said_of = {row["metric"]: [row["test"], row["low"], row["high"]] for row in shown}
    values = dict(metrics.select("metric", "value").iter_rows())
    for name, numbers in said_of.items():
        assert numbers == [values.get(name + end) for end in ("", "_low", "_high")]
    assert set(values) == {n + e for n in said_of for e in ("", "_low", "_high")} & set(values)
    text = run("show", slide["slide_id"], "--store", trained).stdout
    assert slide["slide_key"] in text
    assert "cohorts" in text
    many = run("show", slide["slide_id"][:1], "--store", trained, code=1).stderr
    assert "beginning of several" in many
    assert "trephine status" in run("show", "no such thing", "--store", trained, code=1).stderr


def completed(*words: str) -> list[str]:
    """What a shell offers for the last of the words, by the script that `trephine` gives bash."""
    env = {
        "_TREPHINE_COMPLETE": "bash_complete",
        "COMP_WORDS": shlex.join(["trephine", *words]),
        "COMP_CWORD": str(len(words)),
    }
    said = CliRunner().invoke(cli.main, env=env, prog_name="trephine").stdout
    return [line.partition(",")[2] for line in said.splitlines() if line]


def test_a_shell_completes_commands_options_choices_and_names(trained: Path) -> None:
    run_id = FeatureStore(trained).run("latest").run_id
    assert completed("tra") == ["train"]
    assert completed("train", "--bag-s") == ["--bag-size"]
    assert completed("train", "--model", "ga") == ["gated"]
    here = ("--store", str(trained))
    assert completed("train", *here, "a") == ["all"]
    assert completed("report", *here, run_id[:4]) == [run_id]
    assert {"all", run_id} <= set(completed("show", *here, ""))
    assert completed("train", "--store", "nowhere", "a") == []
    assert completed("cohort", "show", *here, "a") == ["all"]
    assert completed("runs", "compare", *here, run_id[:4]) == [run_id]
    slide_id = FeatureStore(trained).slides()["slide_id"][0]
    assert slide_id in completed("heatmap", *here, run_id, slide_id[:2])
    source = {"_TREPHINE_COMPLETE": "bash_source"}
    said = CliRunner().invoke(cli.main, env=source, prog_name="trephine").stdout
    assert "complete -o nosort -F _trephine_completion trephine" in said


def test_a_run_is_listed_with_its_numbers(trained: Path) -> None:
    (listed,) = json.loads(run("runs", "--json", "--store", trained).stdout)
    keys = {"run_id", "cohort", "encoder_id", "bag_size", "seed", "n_train", "n_test", "r2", "mae"}
    assert keys <= listed.keys()
    assert listed["config"]["steps"] == 20
    assert "ridge_r2" in run("runs", "--store", trained).stdout
    assert "No run is so" in run("runs", "--where", "r2 > 2", "--store", trained).stderr


def test_predict_prints_rows_to_stdout_and_notes_to_stderr(trained: Path) -> None:
    out = run("predict", "latest", "all", "--json", "--store", trained)
    rows = json.loads(out.stdout)
    assert len(rows) == FeatureStore(trained).bags("all").height
    assert "std is the noise of drawing tiles only" in out.stderr


def test_settle_says_how_many_bags_are_enough(trained: Path) -> None:
    options = ("--bag-size", "4", "--bag-size", "4000", "--resamples", "3")
    out = run("settle", "latest", *options, "--json", "--store", trained)
    small, whole = json.loads(out.stdout)
    assert small["enough"] >= 1
    assert (whole["n_sampled"], whole["enough"]) == (0, None)
    curve = run("settle", "latest", *options, "--curve", "--format", "csv", "--store", trained)
    assert len(curve.stdout.splitlines()) == 7
