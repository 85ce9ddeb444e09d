"""A store for many Runs of one call: what does not change between them is read once."""

import functools
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import polars as pl

from featurestore import FeatureStore, RowReader

T = TypeVar("T")
LASTING = ("cohort", "splits", "target", "bags", "scores", "encoder")  # what never changes


class Shared(FeatureStore):
    """Remembers Cohorts, which never change, and what was read of arrays, which neither do."""

    def __getstate__(self) -> dict[str, Any]:
        """What was read is this process's alone."""
        return {k: v for k, v in super().__getstate__().items() if k not in ("_known", *LASTING)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._known: dict[Hashable, Any] = {}
        for name in LASTING:
            setattr(self, name, functools.cache(getattr(self, name)))

    def rows(self, bags: pl.DataFrame, max_open: int = 64) -> RowReader:
        """Open a reader; what arrays must be is asked once."""
        self.know_arrays(bags)
        return super().rows(bags, max_open)

    def runs_of(self, keys: Iterable[str]) -> dict[str, str]:
        """The last run_id of each key that has a Run."""
        of = "select key, max(run_id) from runs where key in (select unnest($keys)) group by key"
        return dict(self.ask(of, {"keys": list(keys)}).iter_rows())

    @contextmanager
    def claimed(self, key: str) -> Iterator[str | None]:
        """Hold the Run `key` alone, once no other process makes it; its run_id if one did."""
        with self.turn(key):
            yield self.runs_of([key]).get(key)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave when it was first asked for under this key."""
        if key not in self._known:
            self._known[key] = make()
        return cast(T, self._known[key])
