"""Nouns that the store says of itself: what was taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from featurestore.fields import Checked, now

TombstoneKind = Literal["slide", "case", "patient", "cohort", "run"]


@dataclass(frozen=True, kw_only=True)
class Tombstone(Checked):
    """That a thing was taken out; a row of `tombstones` and of ledger/tombstones.

    A Slide, Case or Patient stays out whatever is said of it later; the name of a Cohort is free
    again, and a Run's id never comes twice.
    """

    kind: TombstoneKind
    name: str
    erase: bool = False  # whether its rows and arrays were removed, too
    slide_key: str | None = None  # of an erased Slide: whose arrays are removed
    recorded_at: datetime = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """What a withdrawal took out, and what had it."""

    names: Mapping[str, Sequence[str]]  # by kind
    cohorts: Sequence[str]  # that had a Slide of it
    runs: Sequence[str]  # that were trained or tested on one
    erased: bool = False

    def text(self) -> str:
        """What `retire`, `cohort delete` and `runs delete` print."""
        out = ", ".join(
            f"{kind} {name}" for kind in self.names for name in sorted(self.names[kind])
        )
        lines = [f"{'erased' if self.erased else 'taken out'}: {out}"]
        for what, had in (("cohort", self.cohorts), ("run", self.runs)):
            if had:
                lines.append(f"  {len(had)} {what}s had it: {', '.join(had)}")
        return "\n".join(lines)
