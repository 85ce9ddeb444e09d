"""What a line beside a table says of its cells: of which day is today's, what its figures are."""

from __future__ import annotations

import re

_UNIT = r"(?:day|week|month|tag|woche|monat|jour|semaine)"
# "Present specimen: day 35.", "This biopsy was taken on day 28"
_PRESENT = re.compile(
    r"\b(?:present|current|this|today's) (?:specimen|biopsy|core|trephine|sample|marrow|material)"
    r"(?: is| was)?(?: taken| obtained| that)?(?: of| from| on)? ?[:=]? ?"
    rf"(?P<day>{_UNIT} ?\+?\d+)\b",
    re.I,
)
_UNITS = ("day ", "day+", "week", "month ", "tag ", "woche", "monat", "jour ", "semaine")
_ROW = re.compile(rf"{_UNIT}(?:s|e|n)?")
_DAY = re.compile(r"[+-]?\d{1,3}(?: ?\([^()]*\))?")
_CELL = re.compile(  # "Day 14", alone in its cell
    rf"(?:^|(?<=[|\t])|(?<=[|\t] )|(?<=  )){_UNIT} ?\+?\d+(?=[ ]?(?:[|\t\n]|[ ]{{2}}|$))",
    re.I | re.M,
)

# "Figures are cellularity.", "All values give the marrow cellularity (%)"
_OF_ALL = re.compile(
    r"^[ \t]*(?:all )?(?:the )?(?:figures|values|numbers|percentages|entries)(?: shown| given)?"
    r" (?:are|give|show|represent|denote)(?: the)?(?: \w+)? cellularity"
    r"[^\w\n]*(?:%|percent)?[^\w\n]*$",
    re.I | re.M,
)


def captioned(text: str) -> str:
    """A text with what stands below a table above it: of which day is today's, or its title."""
    text = with_today(text)
    said = _OF_ALL.search(text)
    if not said or len(_OF_ALL.findall(text)) > 1:
        return text
    begin = text.rfind("\n\n", 0, said.start())
    begin = begin + 2 if begin >= 0 else 0
    return (
        f"{text[:begin]}Cellularity (%)\n{text[begin : said.start()]}{text[said.end() :].lstrip()}"
    )


def with_today(text: str) -> str:
    """A text with "today" in the cells of the day that is said to be the present, else "prior"."""
    if not any(map(text.lower().__contains__, _UNITS)):
        return text  # for speed: as most texts
    said = {_plain(met["day"]) for met in _PRESENT.finditer(text)}
    if len(said) != 1 or said.isdisjoint(map(_plain, _CELL.findall(text))):
        return text
    return _CELL.sub(
        lambda met: ("today" if _plain(met[0]) in said else "prior").ljust(len(met[0])), text
    )


def _plain(day: str) -> str:
    return re.sub(r"\W", "", day.lower())


def named_days(names: list[str]) -> list[str]:
    """The names of columns that a row of days holds, "day | 0 | 14 | 28 (this one)"; or none."""
    if len(names) < 3 or not _ROW.fullmatch(names[0]) or not all(map(_DAY.fullmatch, names[1:])):
        return []
    return [names[0], *(f"{names[0]} {name}" for name in names[1:])]
