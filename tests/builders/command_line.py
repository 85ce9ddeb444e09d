"""The command line, called in this process, and a small store for it."""

from __future__ import annotations

from pathlib import Path

from builders.embedding_stores import build, planted
from click.testing import CliRunner, Result

import cli


def run(*arguments: str | Path | int, code: int = 0) -> Result:
    result = CliRunner().invoke(cli.main, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def cli_store(root: Path) -> Path:
    """A store of ready embeddings with a Cohort `all`."""
    build(root, *planted(24, 20))
    run("cohort", "create", "all", "--where", "true", "--store", root)
    return root
