"""A store for many Runs of one call: what does not change between them is read once."""

import functools
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from featurestore import FeatureStore, RowReader

T = TypeVar("T")
LASTING = ("cohort", "splits", "target", "bags", "scores", "encoder")  # what never changes


class Shared(FeatureStore):
    """Remembers Cohorts, which never change, and what was read of arrays, which neither do."""

    def __init__(self, root: Path | str) -> None:
        super().__init__(root)
        self._known: dict[Hashable, Any] = {}
        for name in LASTING:
            setattr(self, name, functools.cache(getattr(self, name)))

    def rows(self, bags: pl.DataFrame, max_open: int = 64) -> RowReader:
        """Open a reader; what arrays must be is asked once."""
        self.know_arrays(bags)
        return super().rows(bags, max_open)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave when it was first asked for under this key."""
        if key not in self._known:
            self._known[key] = make()
        made: T = self._known[key]
        return made
