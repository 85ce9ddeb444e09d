"""The rows of a table: each cell on the cellularity, with the names of its row and column."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ingest.labels.captions import named_days
from ingest.labels.headings import (
    SET_ASIDE,
    Material,
    classes_in,
    cut_of,
    is_known,
    is_measured,
    is_note,
    is_time,
    material_of,
    with_units,
    without_scale,
)
from ingest.labels.languages import GENERAL
from ingest.labels.lists import Entry
from ingest.labels.naming import (
    NOW,
    day_of,
    in_full,
    is_of_another,
    names_core,
    names_sample,
    sums_up,
)

_COLUMN = {mark: re.compile(rf"[^{mark}]+") for mark in "|\t,;"}
_COLUMN[" "] = re.compile(r"\S+(?: \S+)*")
_ITEM = re.compile(r"\d{1,2}[.)] ")  # "1. Specimen   core": a row, and no names of columns
_SHARE = re.compile(r"\d ?%")
# a cell that is a figure and no name of a column: "40-50 %", "> 90%", "12"
_FIGURE = re.compile(r"[<>~=]* ?\d{1,3}(?:[.,]\d+)?(?: ?(?:-|to) ?\d{1,3})? ?%?")
_VALUE = re.compile(r"\d{1,3} ?%?")
_RANGE = re.compile(r"[(\[]? ?\d{1,3} ?%? ?(?:-|to) ?\d{1,3} ?%? ?[)\]]?")
_PLAIN = re.compile(r"\d{1,3}(?![\d-])")
_LENGTH = re.compile(r"\d+(?:[.,]\d+)? ?[cm]m")
_MEASURE = re.compile(r"\d/\d|\d ?[cm]m\b")
# shares and boxes name no columns, "CD34 %" does
_UNNAMED = re.compile(
    r"(?<![^\W\d_])(?<![^\W\d_]\d)(?<![^\W\d_]\d\d)\d ?(?:%|per ?cent)|[\[(][ x✓]?[\])]|[☐☒☑✓□]"
)
_LABELS = 12  # characters that the column of a table's row names is wide, at least
_MARK = re.compile(r"[(\[]?(?:[a-z]\d{0,2}|\d{1,2}|[ivx]{1,4})[.):\]]*")  # "B.", "(3)", "B3"
# columns of a panel: readings that stand beside the one that counts, and that one
_OF_SITE = re.compile(r"local|site|initial|reader")
_OF_PANEL = re.compile(r"cent(?:ral|er|re)|consensus|adjudicat")
_TIMED = re.compile(r"[^\W\d_]+ ?[+-]?\d{1,3}")  # "Day 14"
_LETTER = re.compile(r"[^\W\d_]")
_SIZED = re.compile(r" \([^()]*\d ?mm\b[^()]*\)")
_LETTERED = re.compile(r"^\(?[a-h\d][.):] +")  # "A. Right iliac crest"
# "Cellularity limited", where a column begins at its second word; a sign or brackets are its name
_LABEL = re.compile(
    r".*?(?:[cz]ellul|richesse)[^\s(\[]*+(?: ?(?:[(\[][^)\]]*[)\]]|%|:))*+(?= +(?P<rest>\S.*))"
)
_LAST = re.compile(rf".* (?P<figure>{_FIGURE.pattern})")
_NUMBER = re.compile(r"\d\d[-./:]\d")  # "S19-220", "2019-06-21"
_FLAG = re.compile(r"[(\[]?(?:[lhn]|low|high|normal)[)\]]?\*?")
_REMARK = re.compile(rf"(?P<figure>{_FIGURE.pattern}) (?P<said>\([^()]*\))")  # "1% (current)"
_NORM = re.compile(r"(?:normal|range|ref(?:erence)?(?:[ _]?(?:low|high))?|limits|interval)\b")


@dataclass(kw_only=True, slots=True)
class Columns:
    """The names of the columns of the table in hand, and how many rows came below them."""

    head: list[str] = field(default_factory=list)
    rows: int = 0
    values: list[int] = field(default_factory=list)  # of the row of the cellularity
    slots: list[tuple[int, str]] = field(default_factory=list)  # of the head, with its blanks
    titled: bool = False  # "Cellularity (%)" stands above it
    above: list[tuple[str, str]] = field(default_factory=list)  # rows of "Cellularity": name, cell

    def is_far(self, line: str, cells: int) -> bool:
        """Whether a row that is not on the cellularity need not be read: most of most tables."""
        if self.head:
            wider = cells > len(self.head)  # it may name columns itself
            return self.rows > 0 and not wider and not any(map(is_measured, self.head))
        return _SHARE.search(line) is not None

    def take(
        self, line: str, cut: str, *, below: str, above: str, listing: bool
    ) -> list[Entry] | None:
        """The cells of a row that are on the cellularity, or null where none is known to be.

        `above` and `below` are the lines beside it; `listing` says that it is an entry of a list
        below "Cellularity:".
        """
        cells, remark = self._parted(line, cut)
        names = [cell.strip(" \t\"'~") for _, cell in cells]
        figures = [_FIGURE.fullmatch(name) is not None for name in names]
        bare = bool(_UNNAMED.search(without_scale(line))) or any(figures)
        bare = bare or any(map(_LENGTH.fullmatch, names)) or _ITEM.match(names[0]) is not None
        if self._names_columns(line, cells, above, bare=bare):
            self.slots = self.slots if len(names) < len(self.head) else slots_in(line, cut)
            return []
        self.rows += 1
        measured = [n for n, name in enumerate(names) if is_measured(name)]
        measured = measured[: 1 if measured[:1] == [0] else None]  # a row goes by its name
        heads = not self.head or self._is_wider(names)
        if heads and len(cells) > 1 and not bare and len(line) < 200:
            self.head, self.rows, self.slots, self.above = names, 0, slots_in(line, cut), []
            self.titled = is_measured(above.strip(" \t:=#*."))
            if len(cells) > 2 or measured != [0] or not re.search(r"\d", names[1]):
                return []
        head = {len(cells): self.head, len(cells) - 1: ["", *self.head]}.get(len(self.head), [])
        if placed := self._placed(line, cut, cells):
            head, cells = placed  # a cell is empty: the others stand where they stand
            names = [cell.strip(" \t\"'~") for _, cell in cells]
            figures = [_FIGURE.fullmatch(name) is not None for name in names]
        figures = _without_norms(figures, head)
        column = next((n for n, name in enumerate(head) if is_measured(name)), None)
        if column is not None and not measured:
            alone = self.rows == 1 and not below.strip()  # its date is the report's
            said = [] if alone else _said_in(names, column) + remark
            return _in_column(names, head, cells, column, " ".join(said), self.above)
        if len(measured) == sum(figures) == 1 and (of := _sample_of(names, figures, measured[0])):
            named = None if "e" in classes_in(of) else material_of(of)
            return [_cell(f"{names[measured[0]]} ({of}) : ", cells[figures.index(True)], named)]
        if measured == [0] and head and len(cells) > 2:
            return self._in_row(names, head, cells)
        if rows := self._by_title(names, head, cells, figures):
            return rows
        if listing:
            n = int(figures[0])  # "90 %   PATIENT"
            return [_cell(f"{names[n]} cellularity : ", cells[1 - n])]
        if len(measured) == 1 and measured[0] + 1 < len(cells):
            return self._beside(measured[0], names, cells, (line, cut))
        own = [n for n, name in enumerate(names) if "ellul" in name and _SHARE.search(name)]
        if len(own) > 1 and len(self.head) == len(cells):
            # "| cellularity 20% | cellularity 90% |" below "| current | reference |"
            known: list[Material | None] = [None if is_known(of) else "unknown" for of in self.head]
            return [_cell(f"{day_of(self.head[n])} : ", cells[n], known[n]) for n in own]
        return None

    def _in_row(
        self, names: list[str], head: list[str], cells: list[tuple[int, str]]
    ) -> list[Entry]:
        """The cells of the row "Cellularity", below the names of their columns."""
        own = [n for n, name in enumerate(head) if n and not is_note(name)]
        self.values = [int(plain[0]) for n in own if (plain := _PLAIN.match(names[n]))]
        parts = [names[n] for n in own if names_core(head[n])]
        whole = [n for n in own if not names_core(head[n]) and sums_up(head[n], names[n], parts)]
        name = in_full(names[0])
        row = dict.fromkeys(whole if len(whole) == 1 else (), f"overall {name}")
        now = [n for n in own if day_of(head[n]) == "current"]
        if len(now) == 1 and all(n in now or _TIMED.fullmatch(head[n]) for n in own):
            head = [of if n in now else "previous" for n, of in enumerate(head)]
        return [_below(row.get(n, name), head, n, cells[n]) for n in own]

    def _by_title(
        self,
        names: list[str],
        head: list[str],
        cells: list[tuple[int, str]],
        figures: list[bool],
    ) -> list[Entry]:
        """The cells of a row "Left", in a table below "Cellularity", or of "Combined" in any.

        What is combined is one figure between those of both cores.
        """
        if self.titled and len(head) > 1 and all(map(names_sample, (names[0], *head[1:]))):
            named = f"{names[0]} cellularity %"
            return [_below(named, head, n, cells[n]) for n in range(1, len(head)) if figures[n]]
        filled = [n for n, name in enumerate(names) if name]
        met = classes_in(names[0])
        if len(filled) != 2 or "o" not in met or not met <= set("oMRGpdvq"):
            return []
        said = _PLAIN.match(names[filled[1]]) if figures[filled[1]] else None
        if not said or not self.values or not min(self.values) <= int(said[0]) <= max(self.values):
            return []
        return [_cell("overall cellularity % : ", cells[filled[1]])]

    def _parted(self, line: str, cut: str) -> tuple[list[tuple[int, str]], list[str]]:
        """The cells of a row, and a remark behind the last column; one blank may part two cells."""
        cells, remark = with_units(cells_in(line, cut)), list[str]()
        last = cells[-1][1].strip()
        if not any(map(is_measured, self.head)):
            pass
        elif said := _REMARK.fullmatch(last):
            cells, remark = [*cells[:-1], (cells[-1][0], said["figure"])], [said["said"]]
        elif self._is_behind(line, cut, cells) and _tells_time(last):
            cells, remark = cells[:-1], [last]
        label = _LABEL.match(cells[0][1]) if cut == " " and self.slots else None
        if not label:
            return cells, remark
        at, text = cells[0]
        most = len(self.head) + self._is_set_in((at, text[: label.end()]))
        figure = _LAST.fullmatch(text)
        end = figure.start("figure") if figure else len(text) - 1
        starts = [place - at for place, _ in self.slots if 2 < place - at < len(text)]
        words = [k for k in starts if label.end() < k <= end and text[k - 1] == " " != text[k]]
        if figure or starts or not _is_filled((0, label["rest"])):
            words.append(end if figure else label.start("rest"))
        if words and len(cells) < most:
            k = words[0]
            cells = [(at, text[:k].rstrip()), (at + k, text[k:]), *cells[1:]]
        return cells, remark

    def _is_behind(self, line: str, cut: str, cells: list[tuple[int, str]]) -> bool:
        """Whether the last cell of a row stands behind the last column: others may be empty."""
        at, name = self.slots[-1]
        wide = len(slots_in(line, cut)) == len(self.slots) + 1 or len(cells) == len(self.head) + 1
        return wide or (cut == " " and cells[-1][0] > at + len(name))

    def _is_wider(self, names: list[str]) -> bool:
        """Whether a row below others names columns: "Test, result, reference", below two cells."""
        return len(names) > len(self.head) and all(map(_is_column, names[1:]))

    def cut_of(self, line: str) -> str:
        """What parts the cells of a line; in an aligned table one blank may."""
        cut = cut_of(line)
        label = _LABEL.match(line) if self.slots and not cut else None
        if not label or "[" in line or line.rstrip().endswith("."):
            return cut
        set_in = _is_column(self.head[0]) and self._is_set_in((0, label[0]))
        rest = label.start("rest"), label["rest"].partition("  ")[0]
        below = set_in or any(not _apart(slot, rest) for slot in self.slots[1:])
        return " " if below and len(self._parted(line, " ")[0]) > 1 else ""

    def _beside(
        self, k: int, names: list[str], cells: list[tuple[int, str]], row: tuple[str, str]
    ) -> list[Entry]:
        """The cell beside the one that names the cellularity, where no column has a name."""
        behind = [name for name in names[k + 1 :] if not _FLAG.fullmatch(name)]
        flagged = len(behind) < len(names) - k - 1
        ranges = [_RANGE.fullmatch(name) is not None for name in behind]
        if ranges == [True] and (flagged or _is_empty(*row, cells[k][0])):
            return []  # "Cellularity | low | 30-60%": a norm beside no value
        if ranges == [False, True] and _VALUE.fullmatch(behind[0]):
            return [_cell(f"{names[k]} : ", cells[names.index(behind[0], k + 1)])]
        most = len(self.head) + (bool(self.slots) and self._is_set_in(cells[k]))
        norm = row[1] == " " and any(map(_NORM.match, self.head))
        fewer = len(cells) < most and (norm or classes_in(" ".join(self.head)) & set("Sb"))
        values = [n for n in range(k + 1, len(names)) if _VALUE.fullmatch(names[n])]
        if not self.head and len(values) > 1:  # columns that have no names
            return [_cell(f"{names[k]} : ", cells[n]) for n in values]
        figures = sum(_FIGURE.fullmatch(name) is not None for name in names[k + 1 :])
        worded = ranges == [False, True] and not classes_in(behind[0]).isdisjoint("hg")
        unsure = fewer or figures > 2 or worded  # of which column is it?
        told = " ".join(name for name in names[:k] if not _MARK.fullmatch(name))
        material = material_of(told) if told else None
        said = cells[k + 1][0], " | ".join(names[k + 1 :])
        return [_cell(f"{names[k]} : ", said, "unknown" if unsure else material)]

    def _placed(
        self, line: str, cut: str, cells: list[tuple[int, str]]
    ) -> tuple[list[str], list[tuple[int, str]]] | None:
        """The names of the columns and the cells below each, where some are empty; else null."""
        left = iter(self.head)  # names over two lines are joined there
        named = sum(map(_is_filled, self.slots)) == len(self.head)
        head = [(at, next(left) if _is_filled((at, of)) and named else of) for at, of in self.slots]
        end = cells[-1][0]  # a remark stands behind it
        slots = [
            one for one in with_units(slots_in(line, cut)) if one[0] <= end or not _is_filled(one)
        ]
        if cut == " " and head and self._is_set_in(cells[0]):
            head = [(0, ""), *head]  # the names of the rows stand below no name
        told = any(_MEASURE.search(name) for _, name in head)  # "core 8/10   length 22 mm" is a row
        if cut == " " and 1 < len(cells) < len(head) != len(slots) and not told:
            named_at = [*head[: len(head) - len(self.slots)], *self.slots]  # as wide as in its line
            below = {0: cells[0]} if is_measured(cells[0][1]) else {}
            columns = range(len(below), len(head))
            for one in cells[len(below) :]:
                near, *others = sorted((_apart(named_at[n], one), n) for n in columns)
                if not near[0] or not others or others[0][0] > 2 * near[0]:
                    below[near[1]] = one
            slots = [below.get(n, (0, "")) for n in range(len(head))]
            slots = slots if len(below) == len(cells) else []
        if len(slots) == len(head) + 1 and head:
            head = [(0, ""), *head]  # "| Core | Clot", above "Cellularity | | 60%"
        if not len(slots) == len(head) > len(cells):
            return None
        blank = [(at, text if _is_filled((at, text)) else "") for at, text in slots]
        return [name.strip(" \t\"'~") for _, name in head], blank

    def _is_set_in(self, cell: tuple[int, str]) -> bool:
        """Whether the names of the columns begin behind those of the rows."""
        at = self.slots[0][0]
        if cell[0] + len(cell[1]) <= at:
            return True
        return at > cell[0] + 2 and is_measured(cell[1]) and _is_column(self.head[0])

    def _names_columns(
        self, line: str, cells: list[tuple[int, str]], above: str, *, bare: bool
    ) -> bool:
        """Whether a row below the names of the columns goes on with them."""
        names = [cell.strip(" \t\"'~") for _, cell in cells]
        if not self.head and (days := named_days(names)):
            self.head = days
            return True
        if bare or self.rows or not self.head:
            return False
        plain = line[0] == "\t" or (line[0] == " " and "|" not in line)
        title = above[:1] != " " and len(names) == len(self.head) and _indent(line) > _LABELS
        if plain and (title or len(names) > len(self.head)):
            self.head = names  # a title stood above
            return True
        left = len(self.head) - len(names)  # columns without a second name
        set_in = min(map(_indent, (line, above))) > _LABELS or any(map(is_time, self.head + names))
        same = left == 0 and above[:1] == " " and set_in
        if line[0] != " " or not (same or left == 1):
            return False
        for k, name in enumerate(names):
            below = (n for n in range(len(self.head)) if len(self.slots) == len(self.head))
            n = min(below, key=lambda n: _apart(self.slots[n], cells[k]), default=left + k)
            two = self.head[n], name
            self.head[n] = next(filter(is_time, two), " ".join(two))
        return True


def _said_in(names: list[str], column: int) -> list[str]:
    """What the cells beside that of a column say of its sample or day, figures left out."""
    return [
        name
        for n, name in enumerate(names)
        if n != column
        and (not n or not _FIGURE.fullmatch(name))
        and (n < 2 or (_LETTER.search(name) and is_known(name)) or _tells_time(name))
    ]


def _tells_time(remark: str) -> bool:
    """Whether a remark behind a row says of what time it is: "(current)", "this biopsy"."""
    return remark[:1] == "(" or is_time(remark) or NOW.search(remark) is not None


def _is_column(name: str) -> bool:
    """Whether a cell is the name of a column of values: "Core", "Result", "Normal for age"."""
    named = _LETTER.search(name) is not None and is_known(name)  # no "24-3310"
    return named or is_note(name) or _NORM.match(name) is not None


def _in_column(
    names: list[str],
    head: list[str],
    cells: list[tuple[int, str]],
    column: int,
    said: str,
    above: list[tuple[str, str]],
) -> list[Entry]:
    """The cell of a row below "Cellularity"; of another noun, as "CD34" is, there is none."""
    row, cell, of = names[0], names[column], classes_in(head[0])
    sampled = any(map(_names_sample, names[1:]))
    if column and not sampled and is_of_another(row, cell, head[0], above):
        return []
    parts = [it for name, it in above if names_core(name)]
    whole = column and not names_core(row) and sums_up(row, cell, parts)
    above.append((row, cell))
    odd = column and "G" in of and not (is_known(row) or _names_sample(row))
    name = in_full(head[column])
    said = "overall" if whole else said
    return [_cell(f"{said} | {name} : ", cells[column], "unknown" if odd else None)]


def _names_sample(name: str) -> bool:
    return material_of(name) != "unknown" or _NUMBER.search(name) is not None


def _without_norms(figures: list[bool], head: list[str]) -> list[bool]:
    """Which cells are figures, those below "RefLow" and the like left out."""
    return [one and not (n < len(head) and _NORM.match(head[n])) for n, one in enumerate(figures)]


def _sample_of(names: list[str], figures: list[bool], measured: int) -> str:
    """The one cell that names what the figure of a row is of: "cellularity | core | 25", a norm."""
    left = names[: figures.index(True)]
    told = [
        name
        for n, name in enumerate(names)
        if n != measured
        and (
            material_of(name) in ("core", *SET_ASIDE) or (name in left and "e" in classes_in(name))
        )
    ]
    return told[0] if len(told) == 1 else ""


def slots_in(line: str, cut: str) -> list[tuple[int, str]]:
    """The columns of a row with their places, empty ones too; those of blanks are as its cells."""
    if cut == " ":
        return [(m.start(), m[0]) for m in _COLUMN[cut].finditer(line)]
    found, at = [], 0
    for piece in line.split(cut):
        found.append((at, piece))
        at += len(piece) + 1
    if cut == "|":  # before the first bar and behind the last; where it has none, one may be empty
        found = found if found[0][1].strip() else found[1 : len(found) - (not found[-1][1].strip())]
    return found


def _apart(name: tuple[int, str], cell: tuple[int, str]) -> int:
    """How far the name of a column and a cell are from standing one below the other."""
    return max(1 + name[0] - cell[0] - len(cell[1]), 1 + cell[0] - name[0] - len(name[1]), 0)


def _is_empty(line: str, cut: str, at: int) -> bool:
    """Whether the column behind a cell is empty."""
    slots = slots_in(line, cut)
    behind = next((n + 1 for n, slot in enumerate(slots) if slot[0] == at), len(slots))
    return behind < len(slots) and not _is_filled(slots[behind])


def _is_filled(cell: tuple[int, str]) -> bool:
    return bool(cell[1].strip(" -:=+*"))


def cells_in(line: str, cut: str) -> list[tuple[int, str]]:
    """The cells of a row with their places; `cut` is what parts them (`headings.cut_of`)."""
    found = [(m.start(), m[0]) for m in _COLUMN[cut].finditer(line)]
    return list(filter(_is_filled, found))


def heading_of(cells: list[tuple[int, str]]) -> str:
    """The name of a section in a row without a value: "CLOT", "TREPHINE   L 14 mm"; or none."""
    if len(cells) == 2 and classes_in(cells[0][1]) == {"G"}:
        part = cells[1][1].strip()  # "part;core"
        return part if material_of(part) in ("core", *SET_ASIDE) else ""
    if len(cells) == 2 and _MARK.fullmatch(cells[0][1].strip()) and "%" not in cells[1][1]:
        return cells[1][1].strip(" :")  # "D  BASELINE FOR COMPARISON (08-2023)"
    sized = len(cells) == 2 and _LENGTH.fullmatch(cells[1][1].removeprefix("l ").strip())
    return cells[0][1].strip(" :") if len(cells) == 1 or sized else ""


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _cell(names: str, cell: tuple[int, str], material: Material | None = None) -> Entry:
    return Entry(names=names, at=cell[0], text=cell[1], material=material)


def _below(row: str, head: list[str], n: int, cell: tuple[int, str]) -> Entry:
    """A cell below the name of its column."""
    row = row.rstrip(" :")
    name = _SIZED.sub("", head[n])  # "BOM (24 mm, crête G)"
    name = "expected" if _NORM.match(head[n]) else _LETTERED.sub("", name)
    if _OF_SITE.match(name) and any(map(_OF_PANEL.search, head)):
        return _cell(f"{row} (referring) : ", cell)
    if _OF_PANEL.search(name):
        return _cell(f"{row} (consensus) : ", cell)
    if name in GENERAL or classes_in(name) == {"v"}:
        return _cell(f"{row} : ", cell)  # "Finding", "Result"
    return _cell(f"{row} ({day_of(name)}) : ", cell, None if is_known(head[n]) else "unknown")
