"""What the demo says at its end can be typed as it stands."""

from __future__ import annotations

import shlex
from pathlib import Path

from ingest.synthetic.demo import DemoConfig


def test_a_demo_says_what_it_made_where_and_what_comes_next(tmp_path: Path) -> None:
    config = DemoConfig(folder=tmp_path / "a folder's name")
    said = config.done(seconds=185, against_truth="R2 is 0.9")
    assert said.startswith("Done in 3 min 5 s.\nR2 is 0.9\n")
    assert f"The page:    {config.folder / 'report.html'}\n" in said
    steps = [shlex.split(line.removeprefix("Next:")) for line in said.splitlines()[5:]]
    assert [words[:2] for words in steps] == [["trephine", w] for w in ("sql", "train", "ingest")]
    assert {words[-1] for words in steps[:2]} == {str(config.store)}
