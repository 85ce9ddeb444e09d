"""Set sections that stand side by side one below the other: "CORE BIOPSY     ASPIRATE SMEAR"."""

from __future__ import annotations

import re

from ingest.labels.headings import SET_ASIDE, material_of

_HEADS = re.compile(
    r"^[^\S\n]*(?P<heads>[^\W\d_][^\n\d%|;]{2,60}?[^\S\n]{2,}[^\n\d%|;]{3,80})$", re.M
)
_CELL = re.compile(r"\S+(?: \S+)*")
_NAME = re.compile(r"[^\W\d_]")
_LEAST = 2  # rows in which a name stands at the place of a later heading


def unfolded(text: str) -> str:
    """A text with each section of such a block in lines of its own; another comes back as it is."""
    for heads in _HEADS.finditer(text):
        cells = list(_CELL.finditer(heads["heads"]))
        materials = {material_of(cell[0].lower().strip(" :=-")) for cell in cells}
        if len(materials) == len(cells) > 1 and materials <= {"core", *SET_ASIDE}:
            places = [heads.start("heads") - heads.start() + cell.start() for cell in cells]
            if block := _block(text[heads.start() :].split("\n"), places):
                end = heads.start() + block[1]
                return text[: heads.start()] + block[0] + "\n" + unfolded(text[end:])
    return text


def _block(lines: list[str], places: list[int]) -> tuple[str, int] | None:
    """The sections below headings at places, and how many characters they took; or none."""
    sections: list[list[str]] = [[] for _ in places]
    taken = named = 0
    for line in lines:
        cells = list(_CELL.finditer(line))
        if not cells and taken > len(lines[0]) + 1:
            break
        ends = [*places[1:], len(line) + 1]
        spans = list(zip([cells[0].start() if cells else 0, *places[1:]], ends, strict=True))
        if any(place - 1 < len(line) and line[place - 1 : place].strip() for place in places[1:]):
            break  # it runs on over the place of a heading
        for section, (begin, end) in zip(sections, spans, strict=True):
            section.append(line[begin:end].strip())
        later = [cell for cell in cells if cell.start() in places[1:] and _NAME.match(cell[0])]
        last = later[-1][0] if later else ""
        said = later and (
            cells[-1].start() > later[-1].start() or last.count(" ") > 2 or ": " in last
        )
        named += bool(said)
        taken += len(line) + 1
    if named < _LEAST:
        return None
    return "\n\n".join("\n".join(filter(None, section)) for section in sections), taken
