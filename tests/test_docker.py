"""The container: built and run where Docker runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_the_container_is_built_and_runs() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True).returncode:
        pytest.skip("no Docker daemon runs here: the Dockerfile was not tried")
    build = [docker, "build", "--quiet", "--tag", "trephine-proof", str(ROOT)]
    made = subprocess.run(build, capture_output=True, text=True, check=False)
    if made.returncode and any(
        w in made.stderr for w in ("dial tcp", "lookup", "resolv", "retries")
    ):
        pytest.skip("Docker reaches no registry from here: the Dockerfile was not tried")
    assert made.returncode == 0, made.stderr
    run = [docker, "run", "--rm", "trephine-proof", "encoders"]
    said = subprocess.run(run, check=True, capture_output=True, text=True).stdout
    assert "dinov2-small" in said
