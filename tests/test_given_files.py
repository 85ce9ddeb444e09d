"""Files that people name and that cannot be read: one sentence, whoever reads them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from featurestore import queries
from featurestore.errors import FileUnwritable, TrephineError, write_beside
from featurestore.types import Target
from ingest.labels import replay
from ingest.labels.config import OllamaConfig
from ingest.labels.reports import read_gold, read_label_table, read_reports
from ingest.slides.archive import read_archive
from ingest.table import read_split, read_truth

READERS: dict[str, Callable[[Path], Any]] = {
    "reports": read_reports,
    "labels": lambda path: read_label_table(path, Target()),
    "gold": read_gold,
    "split": read_split,
    "truth": lambda path: read_truth(path, Target()),
    "manifest": read_archive,
    "answers": lambda path: replay.connect(OllamaConfig(replay=path)),
    "prompt": lambda path: OllamaConfig(prompt_file=path).own_instructions(),
    "query": lambda path: queries.chosen("named", None, path, None),
}
FOLDERS = ("reports", "manifest")  # may be one


@contextmanager
def shut(path: Path) -> Iterator[Path]:
    """A file that may not be read, as by a user whom modes stop."""
    path.write_text("case_id,text\n")
    path.chmod(0)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        yield path
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("name", READERS)
def test_what_cannot_be_read_is_told_in_one_sentence_with_what_to_give(
    name: str, tmp_path: Path
) -> None:
    def told(path: Path) -> str:
        with pytest.raises(TrephineError) as raised:
            READERS[name](path)
        said = str(raised.value).removeprefix(f"{path} ")
        assert said != str(raised.value)
        assert "Errno" not in said
        assert len(said.split(". ")) == 2  # what it is, and what to do
        return said

    (tmp_path / "f.csv").touch()
    for absent in ("none.csv", "f.csv/in.csv"):
        assert told(tmp_path / absent).startswith("does not exist. ")
    if name not in FOLDERS:
        (tmp_path / "d.csv").mkdir()
        assert told(tmp_path / "d.csv").startswith("is a folder. ")
    with shut(tmp_path / "shut.csv") as path:
        said = told(path)
    assert said.startswith("cannot be read: Permission denied. Ask its owner for the right")


def test_a_file_below_a_file_cannot_be_written_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with (
        pytest.raises(FileUnwritable, match="its folder is a file"),
        write_beside(tmp_path / "f/x.csv"),
    ):
        pass
