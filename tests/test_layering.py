"""Who may import whom (DESIGN section 3), read from the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("ingest", "featurestore", "trainer", "sql")
MAY = {
    "ingest": {"ingest", "featurestore"},
    "trainer": {"trainer", "featurestore"},
    "featurestore": {"featurestore", "sql"},
    "sql": set(),
}
HOMES = {
    "pyvips": set(),
    "openslide": {
        "ingest/slides/apart.py",
        "ingest/slides/openslide_source.py",
        "ingest/slides/sources.py",
    },
    "timm": {"ingest/slides/encoders.py"},
    "onnx": {"ingest/slides/img_focus.py"},
    "pydicom": {"ingest/slides/dicom.py"},
    "simplejpeg": {"ingest/slides/jpeg_levels.py"},
    "tifffile": {"ingest/slides/decoders.py", "ingest/synthetic/archive.py"},
    "imagecodecs": {"ingest/slides/decoders.py"},
    "ollama": {"ingest/labels/ollama.py"},
    "duckdb": {"featurestore/catalog.py"},
    "zarr": {"featurestore/arrays.py"},
    "fastexcel": {"ingest/sheets.py"},
    "h5py": {"featurestore/exchange.py"},
    "ray": {"ingest/slides/engines.py"},
    "click": {"cli.py"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def sources() -> list[Path]:
    return [p for name in PACKAGES for p in sorted((ROOT / name).rglob("*.py"))]


def test_packages_import_only_what_they_may() -> None:
    assert len(sources()) > 20
    for path in sources():
        package = path.relative_to(ROOT).parts[0]
        assert not (imports(path) & {*PACKAGES, "cli"}) - MAY[package], path


def test_each_heavy_library_has_one_home() -> None:
    for path in [*sources(), ROOT / "cli.py"]:
        name = path.relative_to(ROOT).as_posix()
        for library in imports(path) & set(HOMES):
            assert name in HOMES[library], f"{name} imports {library}"
        if "torch" in imports(path):
            assert name.startswith("trainer/") or name == "ingest/slides/encoders.py", name


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; import cli;"
        "assert CliRunner().invoke(cli.main, ['train', '--help']).exit_code == 0;"
        "print(sorted({'torch', 'duckdb', 'polars', 'numpy', 'zarr', 'pyvips'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
