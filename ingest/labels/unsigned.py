"""Figures without a sign: a share, an age, a length or a number of cores."""

from __future__ import annotations

import re
from dataclasses import replace

from ingest.labels.figures import Figure
from ingest.labels.languages import words_of

# "cellularity: 0.6", but not "cellularity (%): 0.6"
OF_ONE = re.compile(r"C(?:[MBGRhvqdopz:(),]|(?<=[q,])N\))*$")
_UNITS = words_of(
    "mm cm m jahre jahr j ans"
    " year years yr yrs y yo month months week weeks day days hour hours h g mg ml x hpf"
)
_CORES = words_of("cores biopsies trephines specimens fragments pieces sides")  # "mean of 2 cores"


def is_mean(before: str, behind: list[str]) -> bool:
    """Whether a number without a sign is the mean or the like of figures with one before it."""
    ended = behind in ([], *([mark] for mark in ".,;)"))
    return (
        ended and "F" in before and re.search("[CAH].*[;,.]q*[^;.]*o[vpdq:]*$", before) is not None
    )


def of_hundred(figure: Figure) -> tuple[Figure, str]:
    """A figure under a key of the cellularity, which is a share of one where it is below one."""
    if not (0 < figure.parts[0] < 1 and figure.parts[-1] <= 1):
        return figure, "N"
    low, high = 100 * figure.low, 100 * figure.high if figure.high <= 1 else 100.0
    parts = tuple(100 * part for part in figure.parts)
    return replace(figure, low=low, high=high, parts=parts, signed=True), "F"


def bare(figure: Figure, behind: list[str], classes: list[str]) -> tuple[str, str]:
    """The class of a figure without a sign: an age, a length or the number of a core is none."""
    last = classes[-1] if classes else " "
    unit = "".join(behind[behind[:1] == ["-"] :][:1]).rstrip("-")
    if last == "y" or classes[-2:] == ["y", "("] or unit in _UNITS:
        return "y", ""
    if last == "E" or unit in _CORES or (last in "BGr" and figure.high < 5):
        return "R", str(int(figure.high))  # "addendum 2", "core 2"
    return "N", ""
