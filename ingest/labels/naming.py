"""What the name of a row or a column says of its cell: a sum over the cores, or another noun's."""

from __future__ import annotations

import re

from ingest.labels.headings import (
    SET_ASIDE,
    classes_in,
    is_known,
    is_side,
    is_time,
    material_of,
)

NOW = re.compile(r"\bthis\b")  # "This biopsy (June 2021)"
_NUMBER = re.compile(r"\d{1,3}")
_LETTERED = re.compile(r"(?:core |biopsy )?[(\[]?(?:[a-h]\d?|\d)[)\].]?")
# "Age (years)", "Length mm", "Megakaryocytes per mm2", "Blasts %": a quantity of its own
_UNIT = re.compile(
    r"\b(?:age|alter|âge|per|pro|par|length|longueur|länge|size|taille)\b|/ ?[cm]m\d?\b"
    r"|\b(?:[cm]m\d?|years?|yrs?)\b[)\].]*$"
)
_NORM_OR_YEAR = re.compile(r"\d{4}|\blab|\bage\b|ellul")  # "Mean for age", "Reported 2019"
_ACCESSION = re.compile(r"\d\d[-./:]\d")  # "S19-220"
_TIMED = re.compile(r"\d ?(?:[cm]m|y)")  # "core, 14 mm", "20-40 y"


def names_core(name: str) -> bool:
    """Whether a name is that of one of several cores: "Core A", "Left", "B"."""
    own = material_of(name) == "core" and "o" not in classes_in(name)
    return own or (is_side(name) and "R" in classes_in(name)) or bool(_LETTERED.fullmatch(name))


def names_sample(name: str) -> bool:
    """Whether a name is that of a sample or of a time: "Left", "Clot", "Previous"."""
    return names_core(name) or material_of(name) in SET_ASIDE or is_time(name)


def in_full(name: str) -> str:
    """The name of the cellularity in full: of "Core cell%"."""
    return re.sub(r"\bcell\b\.?", "cellularity", name)


def day_of(name: str) -> str:
    """The name of a column, "current" in the place of one with its date; its sample stays."""
    if not NOW.search(name) and "n" not in classes_in(name):
        return name
    material = material_of(name)
    return material if material in SET_ASIDE else "current"


def sums_up(name: str, cell: str, parts: list[str]) -> bool:
    """Whether a cell is of all cores, whose cells are `parts`: "Weighted mean", "Reported".

    Its name names no sample and no time, and it lies between theirs.
    """
    met, found = classes_in(name), [int(n[0]) for part in parts for n in _NUMBER.finditer(part)]
    said = [int(n[0]) for n in _NUMBER.finditer(cell)]
    known = met <= set("ovqdpMGLC") or ("o" in met and not met & set("SBRrbecnfKit"))
    if len(parts) < 2 or not (said and met and known) or _NORM_OR_YEAR.search(name):
        return False
    return min(found, default=101) <= min(said) and max(said) <= max(found)


def is_of_another(row: str, cell: str, of: str, above: list[tuple[str, str]]) -> bool:
    """Whether the name of a row is a noun of its own, below "Cellularity".

    Under "Reader" or "Specimen", `of`, stand names that no one knows. They are of readers where
    no row `above` has a name that is known, and none has words for a figure.
    """
    met, known = classes_in(row), is_known(row)
    if _UNIT.search(row) and not _TIMED.search(row):
        return True
    noun = "x" in met and not known and not _ACCESSION.search(row)
    if noun and ("%" in row or not classes_in(of) & set("drG")):
        return True
    worded = any(cell.strip(" -") and not _NUMBER.search(cell) for _, cell in above)
    told = any(is_known(name) or not classes_in(name) for name, _ in above)
    if noun:
        return worded or told
    return worded and "%" not in cell and not (met & set("BRSn") or _LETTERED.fullmatch(row))
