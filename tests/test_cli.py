"""The command line: options made of configurations, messages and formats."""

from __future__ import annotations

import io
import itertools
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest
from builders.command_line import cli_store, run
from builders.configurations import configurations
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import cli
from featurestore import FeatureStore, options, queries
from featurestore.config import ExportConfig, ImportConfig, SplitConfig
from featurestore.errors import ConfigError
from featurestore.fields import about, arguments_of, flag_of
from featurestore.frames import FORMATS
from featurestore.types import Tiling
from ingest.config import TableConfig
from ingest.labels.config import LabelConfig, OllamaConfig, ParserConfig, ValueConfig
from ingest.slides.config import IngestConfig, PlanConfig
from ingest.synthetic.demo import DemoConfig
from trainer.config import SettleConfig, TrainConfig

CONFIGURATIONS = {
    "plan": (PlanConfig, Tiling),
    "ingest": (IngestConfig, Tiling),
    "label": (LabelConfig, OllamaConfig, ValueConfig),
    "evaluate-labels": (ParserConfig, OllamaConfig, TableConfig),
    "review import": (ValueConfig,),
    "settle": (SettleConfig,),
    "cohort create": (SplitConfig, TableConfig),
    "report": (TableConfig,),
    "train": (TrainConfig,),
    "import": (ImportConfig,),
    "export": (ExportConfig,),
    "demo": (DemoConfig,),
}
KINDS = sorted({kind for kinds in CONFIGURATIONS.values() for kind in kinds}, key=str)


def commands(
    command: click.Command = cli.main, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its words."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    for name, inner in command.commands.items():
        yield from commands(inner, (*words, name))


COMMANDS = dict(commands())


def test_the_help_lists_every_command_with_its_whole_first_sentence() -> None:
    said = " ".join(run("--help").stdout.split())
    listed = [name for name in cli.main.commands if f" {name} {' '.join(first(name))}" in said]
    assert listed == list(cli.main.commands)
    places = [said.rindex(f" {name} {first(name)[0]}") for name in listed]
    assert places == sorted(places)


def first(name: str) -> list[str]:
    return str(cli.main.commands[name].help).partition("\n\n")[0].split()


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_and_option_says_what_it_is_for(words: str) -> None:
    command = COMMANDS[words]
    assert (command.help or "").split("\n")[0].endswith("."), words
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("words", CONFIGURATIONS)
def test_every_field_of_a_configuration_is_an_option_with_its_default(words: str) -> None:
    parameters = {one.name: one for one in COMMANDS[words].params}
    for kind in CONFIGURATIONS[words]:
        for field in options.shown(kind):
            parameter = parameters[field.name]
            if isinstance(parameter, click.Option):
                assert flag_of(field) in parameter.opts
                assert parameter.default == field.default
                assert about(field).help in str(parameter.help)


@pytest.mark.parametrize("words", COMMANDS)
def test_what_may_be_given_once_is_not_given_twice(words: str) -> None:
    swept = {one.opts[0] for one in COMMANDS["sweep"].params if getattr(one, "multiple", False)}
    for one in COMMANDS[words].params:
        if isinstance(one, click.Option) and not one.multiple:
            for first, second in itertools.product([*one.opts, *one.secondary_opts], repeat=2):
                value = [] if one.is_flag else ["1"]
                said = run(*words.split(), first, *value, second, *value, code=2).stderr
                assert f"{one.opts[0]} is given 2 times, expected once." in said
                assert said.endswith("use: trephine sweep\n") == (one.opts[0] in swept)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_arguments_of_a_configuration_make_it_again(kind: type[Any], data: Any) -> None:
    made, seen = data.draw(configurations(kind)), []

    @click.command()
    @options.options_of(kind)
    def command(config: Any) -> None:
        seen.append(config)

    command.main(arguments_of(made), standalone_mode=False)
    assert seen == [made]


WITHOUT_STORE = {"init", "encoders", "evaluate-labels", "demo"}
ARGUMENTS = {
    "cohort create": ("x", "--where", "true"),
    "review import": ("labels.csv",),
    "review export": ("labels.csv",),
    "sql": ("select 1",),
    "import": ("trident", "jobs"),
    "export": ("trident", "x"),
    "cohort delete": ("x", "--yes"),
    "runs delete": ("x", "--yes"),
    "heatmap": ("x", "y", "-o", "maps"),
}


@pytest.mark.parametrize("words", sorted(set(COMMANDS) - WITHOUT_STORE))
def test_without_a_store_every_command_says_how_to_make_one(words: str, tmp_path: Path) -> None:
    needed = [p for p in COMMANDS[words].params if isinstance(p, click.Argument)]
    arguments = ARGUMENTS.get(words, ["x"] * len(needed))
    out = run(*words.split(), *arguments, "--store", tmp_path / "none", code=1)
    assert out.stderr.startswith("trephine: there is no store at")
    assert out.stderr.endswith(f"trephine init --store {tmp_path / 'none'}\n")
    assert out.stdout == ""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cli_store(tmp_path_factory.mktemp("cli") / "store")


def test_what_is_wrong_is_refused_before_torch_is_loaded(store: Path) -> None:
    wrong = ["nothing", "all --fold 0", "all --train-patients 1000"]
    wrong += [f"all --model {one}" for one in ("os:system", "os:path", "collections:Counter")]
    lines = [f"train {one}" for one in wrong] + ["sweep all --fold 0", "curve nothing"]
    script = (
        "import sys, cli; from featurestore.errors import TrephineError\n"
        "for line in sys.argv[2:]:\n"
        "    words = [*line.split(), '--store', sys.argv[1]]\n"
        "    try: cli.main.main(words, standalone_mode=False, obj='raise')\n"
        "    except TrephineError: print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", script, str(store), *lines]
    found = subprocess.run(words, capture_output=True, text=True, cwd=Path(cli.__file__).parent)
    assert found.stdout.split() == ["False"] * len(lines), found.stderr
    assert not any((store / "tmp").iterdir())


def test_a_wrong_use_of_train_ends_in_order_while_a_thread_loads_torch() -> None:
    words, folder = [sys.executable, "-m", "cli", "train", "--nope"], Path(cli.__file__).parent
    found = subprocess.run(words, capture_output=True, text=True, cwd=folder)
    assert found.returncode == 2, found.stderr
    assert found.stderr.splitlines()[-1].startswith("Error: No such option")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sql", "drop table slides"), "exactly one SELECT"),
        (("sql", "--named", "nothing"), "labels_as_of"),
        (("sql", "--named", "labels_to_review", "-p", "target=nosuch"), "no label of target"),
        (("sql", "--named", "out_of_fold", "-p", "run=nosuch"), "there is no run yet. Train"),
        (("sql", "select $a as a", "-p", "a"), "NAME=VALUE"),
        (("sql", "select $a as a", "-p", "a:float=x"), "'a' is no float"),
        (("sql", "select $a as a", "-p", "a:number=1"), "int, float, text, date"),
        (("train", "nothing"), "trephine cohort list"),
        (("train", "all", "--bag-size", "0"), "bag-size must be at least 1"),
        (("cohort", "delete", "nothing", "--yes"), "trephine cohort list"),
        (("cohort", "delete", "nothing"), "trephine cohort list"),  # and nobody is asked
        (("runs", "delete", "nothing"), "there is no run yet"),
        (("train", "all", "--steps", "5", "--epochs", "1"), "steps or epochs"),
        (("report", "nothing"), "there is no run yet"),
        (("predict", "nothing", "all"), "there is no run yet"),
        (("plan", "cli.py", "--encoder", "nope"), "encoder 'nope' is unknown"),
        (("plan", "/no/such/folder"), "does not exist"),
        (("label", "/no/such/reports.csv", "--parser", "rules"), "reports.csv"),
        (("cohort", "show", "nothing"), "trephine cohort list"),
        (("cohort", "create", "all", "--where", "true"), "trephine cohort show --store"),
        (("cohort", "create", "x", "--named", "nothing"), "by_cellularity"),
        (("cohort", "create", "x", "--where", "true", "--split", "folds:two"), "folds:5"),
        (("cohort", "create", "x", "--where", "true", "--split", "thirds"), "folds:K"),
        (("ingest", "cli.py", "--encoder", "nothing"), "dinov2-small"),
        (("runs", "--where", "r2 > > 1"), "(line 1, at"),
        (("runs", "--where", ""), "the condition '' is empty"),
        (("cohort", "create", "x", "--where", ""), "the condition '' is empty"),
        (("cohort", "create", "x", "--where", "cellularity > 5) or (1 = 1"), "closes a bracket"),
        (("retire", "C-0001", "--kind", "patient"), "is no patient, but a case: --kind case"),
        (("show", "C-"), "and 10 more. Give a whole id"),
        (
            ("label", "--table", "cli.py", "--kind", "binary"),
            "cellularity' is known as fraction, from",
        ),
    ],
)
def test_a_mistake_gets_one_sentence_and_exit_code_1(
    store: Path, arguments: tuple[str, ...], message: str
) -> None:
    out = run(*arguments, "--store", store, code=1)
    assert message in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert out.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("sql", "select 1", "--named", "labels_as_of"),
        ("cohort", "create", "x"),
        ("ingest",),
        ("ingest", "slides", "--adopt-only"),
        ("label",),
        ("label", "reports.csv", "--table", "labels.csv"),
        ("train", "all", "--model", "median"),
    ],
)
def test_a_wrong_use_is_told_with_exit_code_2(store: Path, arguments: tuple[str, ...]) -> None:
    assert "Usage:" in run(*arguments, "--store", store, code=2).stderr


def test_a_sql_file_that_is_no_text_is_told(store: Path, tmp_path: Path) -> None:
    file = tmp_path / "query.sql"
    file.write_bytes(b"select '\xff'")
    assert "UTF-8" in run("sql", "--file", file, "--store", store, code=1).stderr


@pytest.mark.parametrize("form", FORMATS)
def test_sql_prints_rows_in_every_format(store: Path, form: str) -> None:
    query = "select slide_id, encoder_ids from slide_overview order by slide_id"
    n = FeatureStore(store).sql("from slides").height
    out = run("sql", query, "--format", form, "--store", store)
    if form == "json":
        assert len(json.loads(out.stdout)) == n
    elif form == "csv":
        assert len(out.stdout.strip().splitlines()) == n + 1
    elif form == "parquet":
        assert pl.read_parquet(io.BytesIO(out.stdout_bytes)).height == n
    else:
        assert f"{n} rows" in out.stderr


def test_parameters_are_what_they_are_compared_with_or_said_to_be(
    store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "query.sql"
    file.write_text(
        "select $word as word, $whole as whole, n_tiles >= $least as least, $day::date as day, "
        "case_id = $case as is_case from bags order by case_id limit $n"
    )
    words = ("word=a=b", "whole:int=03", "least=0.5", "day=2021-03-01", "case=0042", "n=1")
    options = [option for word in words for option in ("-p", word)]
    out = run("sql", "--file", file, *options, "--json", "--store", store)
    expected = {"word": "a=b", "whole": 3, "least": True, "day": "2021-03-01", "is_case": False}
    assert json.loads(out.stdout) == [expected]
    out = run("sql", "select $n", "-p", "n=1", "-p", "n=2", "--store", store, code=1)
    assert "parameter 'n' is given 2 times" in out.stderr


def test_a_cohort_is_listed_and_shown_as_it_was_made(store: Path) -> None:
    (listed,) = json.loads(run("cohort", "list", "--json", "--store", store).stdout)
    shown = json.loads(run("cohort", "show", "all", "--json", "--store", store).stdout)
    assert listed["cohort"] == shown["cohort"] == "all"
    assert listed["slides"] == sum(side["slides"] for side in shown["splits"])
    text = run("cohort", "show", "all", "--store", store).stdout
    assert text.startswith("cohort all (time split, target cellularity)")
    assert text.endswith(f"Next: trephine train --store {store} all\n")


def test_one_word_says_how_a_cohort_is_split(store: Path, tmp_path: Path) -> None:
    slides = FeatureStore(store).sql("select slide_id from bags order by slide_id")["slide_id"]
    table = tmp_path / "split.csv"
    sides = [("train", "test")[i % 2] for i in range(len(slides))]
    pl.DataFrame({"slide_id": slides, "split": sides}).write_csv(table)
    for name, word, expected in [
        ("folds", "folds:3", {"0", "1", "2"}),
        ("table", f"table:{table}", {"train", "test"}),
        ("random", "random", {"train", "test"}),
    ]:
        run("cohort", "create", name, "--where", "true", "--split", word, "--store", store)
        assert {side.split for side in FeatureStore(store).splits(name)} == expected
    pl.DataFrame({"WHICH": slides, "PART": sides}).write_csv(table)
    named = ("--column", "slide_id=WHICH", "--column", "split=PART", "--store", store)
    run("cohort", "create", "named", "--where", "true", "--split", f"table:{table}", *named)
    assert {side.split for side in FeatureStore(store).splits("named")} == {"train", "test"}


def test_sql_alone_lists_what_can_be_asked(store: Path) -> None:
    said = json.loads(run("sql", "--json", "--store", store).stdout)
    for one in said:
        assert one["one_row"].startswith("a") or one["one_row"].startswith("the"), one
        query = f"select {', '.join(one['columns'])} from {one['relation']} limit 0"
        assert FeatureStore(store).sql(query).columns == one["columns"]
    assert {"slides", "bags", "slide_overview", "predictions"} <= {one["relation"] for one in said}
    assert "bags: a row is a Slide, Tiling" in run("sql", "--store", store).stdout


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["sql"], "labels_as_of"),
        (["cohort", "create"], "by_date"),
        (["cohort", "create", "x"], "by_date"),
    ],
)
def test_named_alone_lists_what_comes_along(store: Path, words: list[str], name: str) -> None:
    said = run(*words, "--named", "--store", store).stdout
    assert f"{name}: one row per" in said
    assert f"--named {name} -p " in said
    listed = json.loads(run(*words, "--named", "--json", "--store", store).stdout)
    assert name in [one["name"] for one in listed]


def test_hints_come_whole_and_letters_are_not_escaped(store: Path) -> None:
    said = run("sql", "select n_tile from bags", "--store", store, code=1).stderr
    assert 'Candidate bindings: "n_tiles"' in said
    assert '"é"' in run("sql", "select 'é' as a", "--json", "--store", store).stdout


def test_a_file_without_an_end_is_no_query() -> None:
    with pytest.raises(ConfigError, match=r"over 1,000,000 bytes"):
        queries.chosen("named", None, Path("/dev/zero"), None)


@pytest.mark.parametrize("words", sorted(set(COMMANDS) - WITHOUT_STORE))
@given(store=st.text(st.characters(categories=["L", "N", "P", "Zs"]), min_size=1, max_size=9))
@settings(max_examples=5, deadline=None)
def test_every_next_step_names_the_store_of_the_call(words: str, store: str) -> None:
    @click.group(cls=options.Main, commands=cli.main.commands)
    def main() -> None:
        pass

    @main.command("fails")
    @options.store_folder_option
    def fails(store: Path) -> None:
        raise ConfigError(f"the trephine verify of it is none. Do: trephine {words} NAME --yes")

    try:
        said = CliRunner(env={"TREPHINE_STORE": ""}).invoke(main, ["fails", f"--store={store}"])
    finally:
        main.commands.pop("fails")
    line = said.stderr.removeprefix("trephine: the trephine verify of it is none. Do: ").rstrip(
        "\n"
    )
    named = [] if Path(store) == Path("store") else ["--store", str(Path(store))]
    assert shlex.split(line) == ["trephine", *words.split(), *named, "NAME", "--yes"]
