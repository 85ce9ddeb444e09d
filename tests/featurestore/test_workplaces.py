"""Folders of unfinished work: a refusal takes nothing away, and leaves nothing empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from featurestore import FeatureStore
from featurestore.errors import ConfigError, NotFinite, TrainError, TrephineError


@pytest.mark.parametrize("refusal", [ConfigError, TrainError, NotFinite])
def test_work_that_is_refused_leaves_no_empty_folder(
    tmp_path: Path, refusal: type[TrephineError]
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    with pytest.raises(refusal), store.workplace("a"):
        raise refusal("no")
    assert list((store.root / "tmp").iterdir()) == []


def test_a_refusal_keeps_what_a_killed_call_did(tmp_path: Path) -> None:
    """As of a training on a device that is not there for once: it goes on when it is again."""
    store = FeatureStore.create(tmp_path / "store")
    with store.workplace("a") as work:
        (work / "state").write_text("step 1500")
    with pytest.raises(ConfigError), store.workplace("a"):
        raise ConfigError("there is no CUDA device here")
    with store.workplace("a") as again:
        assert (again / "state").read_text() == "step 1500"
