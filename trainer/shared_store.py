"""A store for many Runs of one call: what does not change between them is read once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.types import Cohort, Target

T = TypeVar("T")


class Shared(FeatureStore):
    """Remembers Cohorts, which never change, and what was read of arrays, which neither do."""

    def __init__(self, root: Path | str) -> None:
        super().__init__(root)
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave when it was first asked for under this key."""
        if key not in self._known:
            self._known[key] = make()
        made: T = self._known[key]
        return made

    def cohort(self, name: str) -> Cohort:
        """As the store's, read once."""
        return self.once(("cohort", name), lambda: super(Shared, self).cohort(name))

    def target(self, name: str = "cellularity") -> Target:
        """As the store's, read once."""
        return self.once(("target", name), lambda: super(Shared, self).target(name))

    def bags(
        self, cohort: str, encoder_id: str | None = None, tiling_id: str | None = None
    ) -> pl.DataFrame:
        """As the store's, read once."""
        ids = (cohort, encoder_id, tiling_id)
        return self.once(("bags", *ids), lambda: super(Shared, self).bags(*ids))

    def scores(
        self, slide_key: str, tiling_id: str, n_tiles: int, names: Sequence[str]
    ) -> dict[str, np.ndarray]:
        """As the store's, read once."""
        wanted = (slide_key, tiling_id, n_tiles, tuple(names))
        return self.once(("scores", *wanted), lambda: super(Shared, self).scores(*wanted))
