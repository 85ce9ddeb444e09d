"""Scores of groups of Runs on the same Slides, and their paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.evaluate import finite, interval
from trainer.runs import Score

Drawn = Mapping[str, np.ndarray]  # of `evaluate.drawn`: a value, then those of resampled Patients


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number with its 95% interval, by bootstrap over Patients; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None

    def text(self, form: str) -> str:
        """The number and its interval, in a format such as `.3f`."""
        if self.value is None or self.low is None or self.high is None:
            return "–" if self.value is None else format(self.value, form)
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


def estimates(
    scores: Sequence[Score], group: Iterable[Drawn], base: Iterable[Drawn] = ()
) -> dict[str, Estimate]:
    """The scores of a group of Runs, or what they are over those of another; by name.

    A score of a group is the mean over its Runs, so that a difference of two groups is that of
    their Runs, pair by pair, and what makes a Slide hard for both is not in its interval. A
    difference of shares is in points: hundredths.
    """
    made, ours, theirs = {}, list(group), list(base)
    for name, _, form in scores:
        drawn = np.mean([one[name] for one in ours], axis=0)
        if theirs:
            drawn = drawn - np.mean([one[name] for one in theirs], axis=0)
            drawn = drawn * (100 if form.endswith("%") else 1)
        low, high = interval(drawn[1:])
        made[name] = Estimate(**finite({"value": drawn[0], "low": low, "high": high}))
    return made


def differences(scores: Sequence[Score]) -> list[Score]:
    """How differences of scores are told: with a sign, those of shares in points."""
    return [
        (name, f"{title} in points", "+.1f") if form.endswith("%") else (name, title, f"+{form}")
        for name, title, form in scores
    ]
