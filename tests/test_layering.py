"""Who may import whom, one home for each heavy library, and sizes: read from the sources."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from builders import embedding_stores as es

from featurestore import FeatureStore

ROOT = Path(__file__).parents[1]
PACKAGES = ("ingest", "featurestore", "trainer", "sql")
MAY = {
    "ingest": {"ingest", "featurestore"},
    "trainer": {"trainer", "featurestore"},
    "featurestore": {"featurestore", "sql"},
    "sql": set(),
}
DOORS = {  # what others may import of featurestore
    "featurestore",
    "featurestore.types",
    "featurestore.config",
    "featurestore.errors",
    "featurestore.fields",
    "featurestore.device",
    "featurestore.words",
    "featurestore.frames",
    "featurestore.bounded_process",
    "featurestore.queries",
    "featurestore.overview",
    "featurestore.options",
    "featurestore.starting",
    "featurestore.user_sql",
}
HOMES = {  # a path, or a folder and all that is in it
    "openslide": ("ingest/slides/",),
    "tifffile": ("ingest/slides/", "ingest/synthetic/archive.py"),
    "openvino": ("ingest/slides/encoders.py",),
    "timm": ("ingest/slides/encoders.py", "ingest/slides/weights.py"),
    "onnx": ("ingest/slides/weights.py",),
    "simplejpeg": ("ingest/slides/tile_reader.py",),
    "fastexcel": ("ingest/sheets.py",),
    "ollama": ("ingest/labels/ollama.py",),
    "duckdb": ("featurestore/catalog.py", "featurestore/folding.py", "featurestore/sql_child.py"),
    "zarr": ("featurestore/arrays.py",),
    "h5py": ("featurestore/exchange/",),
    "ray": ("featurestore/device.py",),  # both ingest and trainer work on one
    "click": ("cli.py", "featurestore/options.py"),
    "torch": ("trainer/", "ingest/slides/", "featurestore/device.py", "featurestore/exchange/"),
}
HEAVY = ("torch", "duckdb", "polars", "numpy", "zarr", "openslide", "pydantic", "httpx", "tqdm")
MOST_LINES, MOST_LINES_CLI = 450, 700
MOST_FUNCTION_LINES, MOST_PARAMETERS = 50, 7
# what is declared, and the door; it decides nothing
DECLARED = {"__init__", "bookkeeping", "config", "errors", "layout", "preload", "store", "types"}
TESTED_THROUGH = {  # other modules' tests of modules that have no file of their own
    "tests/featurestore/exchange/test_exporting.py": ("tools", "writers"),
    "tests/featurestore/test_salvage.py": ("catalog_file", "creation"),
    "tests/featurestore/test_user_sql.py": ("sql_child",),
    "tests/ingest/labels/test_claims.py": ("addressed",),
    "tests/ingest/labels/test_ollama.py": ("prompt",),
    "tests/ingest/slides/test_bounds.py": ("preview", "tiff", "tiling"),
    "tests/ingest/synthetic/test_archive.py": ("marrow", "reports", "textures"),
    "tests/ingest/test_table.py": ("cells", "sheets"),
    "tests/test_cli.py": ("options", "starting"),
    "tests/trainer/test_resume.py": ("training_loop",),
    "tests/trainer/test_sweeps_at_once.py": ("helper", "shared_store"),
}

SOURCES = [p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))] + [ROOT / "cli.py"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path, *, at_top: bool = False) -> set[str]:
    """Full names of what a file imports: `featurestore.types` of each form of it."""
    tree = tree_of(path)
    found = set()
    for node in tree.body if at_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            if (ROOT / Path(*node.module.split("."))).is_dir():  # `from ingest.slides import embed`
                inside = ROOT / Path(*node.module.split("."))
                found |= {
                    f"{node.module}.{alias.name}"
                    for alias in node.names
                    if (inside / f"{alias.name}.py").exists()
                }
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, Function))


def test_there_is_something_to_read() -> None:
    assert len(SOURCES) > 40
    assert len(TESTS) > 30


@pytest.mark.parametrize("path", SOURCES[:-1], ids=name_of)
def test_what_decides_something_has_a_test_file(path: Path) -> None:
    if path.stem not in DECLARED:
        own = ROOT / "tests" / path.relative_to(ROOT).with_name(f"test_{path.name}")
        others = [ROOT / file for file, of in TESTED_THROUGH.items() if path.stem in of]
        assert any(file.exists() for file in (own, *others)), own.relative_to(ROOT)


def test_a_class_has_a_name_of_its_own() -> None:
    named = (
        (node.name, name_of(p))
        for p in SOURCES
        for node in ast.walk(tree_of(p))
        if isinstance(node, ast.ClassDef)
    )
    homes: dict[str, list[str]] = {}
    for name, home in named:
        homes.setdefault(name, []).append(home)
    assert {name: of for name, of in homes.items() if of[1:]} == {}


def test_a_setting_is_declared_once() -> None:
    homes: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.AnnAssign) and "setting(" in ast.unparse(node):
                homes.setdefault(ast.unparse(node), []).append(name_of(path))
    assert len(homes) > 80
    assert {said: of for said, of in homes.items() if of[1:]} == {}


def test_who_does_not_look_at_progress_leaves_it_out() -> None:
    said = set()
    for path in SOURCES:
        for node in functions(path):
            given = [*node.args.posonlyargs, *node.args.args]
            defaults = [None] * (len(given) - len(node.args.defaults)) + node.args.defaults
            pairs = [*zip(given, defaults, strict=True)]
            pairs += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            for one, default in pairs:
                if one.annotation is not None and "Progress" in ast.unparse(one.annotation):
                    assert "None" not in ast.unparse(one.annotation), f"{name_of(path)} {node.name}"
                    said.add(default and ast.unparse(default))
    assert said == {None, "silent"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    for path in SOURCES:
        if name_of(path).startswith(f"{package}/"):
            assert not (roots(path) & {*PACKAGES, "cli"}) - MAY[package], name_of(path)


def test_the_parts_of_ingest_know_nothing_of_each_other() -> None:
    parts = ("slides", "labels", "synthetic")
    for path in SOURCES:
        package, *inner = path.relative_to(ROOT).parts
        if package != "ingest":
            continue
        others = {f"ingest.{part}" for part in parts if part != inner[0]}
        for name in imports(path):
            assert ".".join(name.split(".")[:2]) not in others, f"{name_of(path)} imports {name}"
        if (
            inner[0] in parts
        ):  # of what lies beside them they take the reader of tables and its options
            shared = {n for n in imports(path) if n.startswith("ingest.") and n.count(".") == 1}
            known = {"ingest.table", "ingest.config", f"ingest.{inner[0]}"}
            assert shared <= known, name_of(path)


def test_the_folder_of_a_store_is_its_own_matter() -> None:
    """To open it elsewhere is `FeatureStore.of`, or to pickle it."""
    for path in SOURCES:
        if name_of(path).split("/")[0] != "featurestore":
            read = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.Attribute)]
            assert "root" not in {node.attr for node in read}, name_of(path)


def test_there_is_one_door_to_the_store() -> None:
    for path in SOURCES:
        if name_of(path).split("/")[0] not in ("featurestore", "sql"):
            inside = {n for n in imports(path) if n.split(".")[0] == "featurestore"}
            assert inside <= DOORS, f"{name_of(path)} imports {sorted(inside - DOORS)}"


@pytest.mark.parametrize("library", HOMES)
def test_a_heavy_library_has_one_home(library: str) -> None:
    for path in SOURCES:
        if library in roots(path):
            assert name_of(path).startswith(HOMES[library]), name_of(path)


def test_the_store_imports_torch_only_where_it_computes() -> None:
    for path in SOURCES:
        if name_of(path).startswith("featurestore/"):
            assert "torch" not in imports(path, at_top=True), name_of(path)


@pytest.mark.parametrize("path", [*SOURCES, *TESTS], ids=name_of)
def test_a_file_is_not_too_long(path: Path) -> None:
    most = MOST_LINES_CLI if path.name == "cli.py" else MOST_LINES
    lines = len(path.read_text().splitlines())
    assert lines <= most


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_function_is_not_too_long_and_takes_few_parameters(path: Path) -> None:
    for node in functions(path):
        said = node.body[0] if ast.get_docstring(node) else None  # shapes and units may be told
        told = int(said.end_lineno or 0) - said.lineno + 1 if said else 0
        lines = int(node.end_lineno or 0) - node.lineno + 1 - told
        assert lines <= MOST_FUNCTION_LINES, f"{node.name} has {lines} lines"
        given = node.args
        if node.name == "__init__":
            continue
        named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
        names = [one.arg for one in named if one is not None and one.arg not in ("self", "cls")]
        assert len(names) <= MOST_PARAMETERS, f"{node.name} takes {', '.join(names)}"


def test_a_command_is_a_few_lines() -> None:
    for node in functions(ROOT / "cli.py"):
        body = node.body[1:] if ast.get_docstring(node) else node.body
        if body and node.decorator_list:
            lines = int(body[-1].end_lineno or 0) - body[0].lineno + 1
            assert lines <= 20, f"{node.name} has {lines} lines"


def test_the_command_line_has_no_sql() -> None:
    for node in ast.walk(tree_of(ROOT / "cli.py")):
        if isinstance(node, ast.Call):
            for text in ast.walk(node):
                if isinstance(text, ast.Constant) and isinstance(text.value, str):
                    assert not text.value.lstrip().lower().startswith(("select ", "with ")), text


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_a_test_module_imports_builders_alone(path: Path) -> None:
    for name in imports(path):
        parts = name.split(".")
        assert not parts[-1].startswith("test_"), name
        if parts[0] == "tests":
            assert parts[1:2] == ["builders"], name


@pytest.mark.parametrize("path", TESTS, ids=name_of)
def test_a_test_calls_no_private_name(path: Path) -> None:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            private = [alias.name for alias in node.names if is_private(alias.name)]
            assert not private, f"imports {private} of {node.module}"
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            assert isinstance(node.value, ast.Name), ast.unparse(node)
            assert node.value.id in ("self", "cls"), ast.unparse(node)


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_help_imports_nothing_heavy() -> None:
    code = f"""
import json, sys
from click.testing import CliRunner
import cli
def walk(command, words):
    assert CliRunner().invoke(cli.main, [*words, "--help"]).exit_code == 0, words
    seen[" ".join(words)] = sorted(set({list(HEAVY)}) & set(sys.modules))
    for name, inner in getattr(command, "commands", {{}}).items():
        walk(inner, [*words, name])
seen = {{}}
walk(cli.main, [])
print(json.dumps(seen))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    seen = json.loads(out.stdout)
    assert len(seen) > 15
    assert {words: heavy for words, heavy in seen.items() if heavy} == {}


def test_sql_prints_a_table_without_what_is_slow_to_import(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "store")
    code = f"""
import json, sys
sys.argv = ["trephine", "sql", "select 1 as one", "--store", {str(tmp_path / "store")!r}]
import cli
cli.main(standalone_mode=False)
print(json.dumps(sorted(set({list(HEAVY)}) & set(sys.modules))))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    *table, imported = out.stdout.splitlines()
    assert "one" in table[1]
    assert json.loads(imported) == []


def test_nothing_that_train_imports_waits_for_the_libraries_of_torch(tmp_path: Path) -> None:
    x, values = es.planted(8, 4, dim=4)
    store = es.build(tmp_path / "store", x, values.tolist())
    es.freeze(store)
    code = f"""
import builtins, os, sys
from trainer import preload
begun, start, plain = set(), preload.start, builtins.__import__

def started():
    start()
    begun.update(sys.modules)

def told(name, *asked, **how):
    if name == "torch":
        new = [sys.modules[one] for one in sys.modules if one not in begun]
        files = [one.__file__ for one in new if getattr(one, "__file__", None)]
        print(len(files), [one for one in files if one.endswith((".so", ".pyd"))], flush=True)
        os._exit(0)
    return plain(name, *asked, **how)

preload.start, builtins.__import__ = started, told
sys.argv = ["trephine", "train", "all", "--store", {str(store.root)!r}]
import cli
cli.main()
"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    imported, libraries = out.stdout.split(maxsplit=1)
    assert int(imported) > 100
    names = [file.rpartition("/")[2] for file in ast.literal_eval(libraries)]
    assert [one for one in names if "_polars_runtime" not in one] == []  # known by another name


BENCHMARKS = sorted((ROOT / "tests" / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_takes_what_is_there(path: Path) -> None:
    taken = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
    ]
    for node in taken:
        if (module := ROOT / f"{(node.module or '').replace('.', '/')}.py").is_file():
            known = {
                name.id if isinstance(name, ast.Name) else getattr(name, "name", "").split(".")[0]
                for name in ast.walk(ast.parse(module.read_text()))
                if isinstance(name, (ast.Name, ast.ClassDef, ast.FunctionDef, ast.alias))
            }
            assert {one.name for one in node.names} <= known, (path, node.module)
