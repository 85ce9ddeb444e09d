"""Cut a Report into sentences and table cells that know their heading, material and side.

A known heading sets the material of what follows, one that is not known sets it to unknown.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

from ingest.labels.headings import (
    AMENDS,
    KEY,
    ORNAMENT,
    SET_ASIDE,
    Material,
    classes_in,
    governs,
    is_heading,
    is_historic,
    is_measured,
    is_of_before,
    is_open,
    is_said,
    is_side,
    key_of,
    material_of,
    names_norm,
    of_nothing_else,
    tells_it,
)
from ingest.labels.languages import EVENTS, GENERAL, HEDGE, HISTORY, triggers_in
from ingest.labels.lines import width_of, wraps
from ingest.labels.lists import ENTRY, Entry, entry_of, fields_in, is_of_the_list
from ingest.labels.specimens import declared, labelled, lead
from ingest.labels.stops import LONGEST, stops_of
from ingest.labels.tables import Columns, cells_in, heading_of
from ingest.labels.tokens import class_of

# "  - CORE BIOPSY: ...", "## Histology (core)", "[Section 3] ...", "3.2 Core", "(B) Core"
_MARK = re.compile(
    r"[ \t]*(?P<mark>(?:[#*•=_+-]++(?!\d|/ ?-)|[<>]++(?! ?\d)|\[(?!.?\]))?\s*(?:section |part |§)?"
    r"(?:q\d+\b| ?[(\[]?(?:\d{1,2}(?:[./]\d)*|[a-h]-[a-h]|[a-h]\d?|[ivx]{1,4})[.:)\]]+(?=\s)"
    r"|(?<=[n§ ])\d{1,2}(?=[ \t][^\W\d]{3})|\d(?:[./]\d)+(?=[ \t](?![cm]m\b)))?)[ \t*]*"
)
_LETTER = re.compile(r"\W*[a-d]\d?[.:)\]]+")  # "A: cellularity 30%", of a core
_AFTER_LABEL = re.compile(r"\s*(?:[^\W\d_]{3,12} )?[(\[]?\w{1,2}(?:[)\].:]{1,2}| -)\s")
_LEAD = re.compile(r"\s*(?:\(?\w{1,2}(?:[.):]| - )|[#*•>\[-])|[^:?\n]{1,62}[:?]")
_INSTITUTE = re.compile(r"hospital|\bcent(?:er|re)\b|institut|universit|department|laborator")
_HEADED = re.compile(r"\. |:(?!\d)")  # what ends a heading before words
_WORD = re.compile(r"[^\W\d_]+")
_SUBJECT = re.compile(r"d?[MR]*B+v")
_BOX = re.compile(r"[ \t]*(?:\[[ x✓_]?\]|\( ?[x*]?\)|o(?= \d)|[☐☒☑✓□])")  # it goes on with boxes
_VALUE = re.compile(rf"[ \t]*(?:[<>~]|{HEDGE} )?\d{{1,3}}(?: ?- ?\d{{1,3}})? ?(?:(?P<sign>%)|$)")
_ROW = re.compile(r"[^\d,.;:%]{2,30}[<>~]?\d{1,3} ?%[ .;]*")  # "blasts 5%" on its own line
_VALUES = re.compile(r"\b(?:range|values?|interval|limits|cellularit)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A sentence or a cell; `at` is the place of its first letter in the report."""

    text: str  # folded; a cell begins with the names of its row and column
    at: int
    start: int  # of the sentence or row in the report, for evidence
    end: int
    material: Material
    heading: str  # folded
    paragraph: int
    amends: bool  # stands under an addendum or a correction
    said: tuple[int, int]  # its paragraph as far as the next sentence: is a reader spoken to?
    near: bool = True  # holds a word that a cellularity may stand by


def segments(text: str, folded: str) -> list[Segment]:
    """Cut a report and its `figures.fold`; far from words on cellularity only headings are read."""
    triggers = triggers_in(folded)
    if not triggers:
        return []
    cutter = _Cutter(text, folded, triggers)
    at = 0
    for line in folded.split("\n"):
        if line and not line.isspace():
            cutter.line(line, at)
        else:
            cutter.gap(at)
            if at > triggers[-1] and not cutter.amends:
                return cutter.found
        at += len(line) + 1
    cutter.gap(len(folded))
    return cutter.found


class _Cutter:
    """The place in a report: which material its last heading named, and the table in hand."""

    def __init__(self, text: str, folded: str, triggers: list[int]) -> None:
        self.text, self.folded, self.triggers = text, folded, triggers
        self.found: list[Segment] = []
        self.labels = declared(folded)
        self.broken = text.count("\n") > folded.count("\n")
        self.lengths = sorted(map(len, folded.split("\n")))
        self.material: Material = "general"  # of the section
        self.heading = ""
        self.amends = False
        self.local: tuple[Material, str] = ("general", "")  # of the paragraph
        self.before = ""  # the line before, in this block
        self.caps = False  # whether it is in capitals
        self.width = 0  # of the longest line of this block
        self.opened = self.begun = -1  # of the paragraph in hand: its words, its line with the key
        self.number, self.in_row = 0, False  # of paragraphs; was the line before a row?
        self.listing = False  # whether "Cellularity:" stands above and this line is one of its list
        self.listed = ""  # the unit of "Cellularity (%)" above the list of this line, or a blank
        self.near = False  # whether the paragraph before is on cellularity
        self.table = Columns()  # the one in hand
        self.indent = self.depth = 0  # of the line in hand, and of the heading above it
        self.inner = -1  # the indent of the first line below that heading
        # "LEFT", above "Aspirate:" and "Biopsy:"; a section that is not this report's: "DRAFT"
        self.side = self.another = ""
        self.reach = -1  # the indent of that heading, where it holds for what is set in below

    def gap(self, at: int) -> None:
        """A blank line ends the paragraph and the table in hand."""
        self._close(at, self.local, self.amends)
        ends = names_norm(self.another) and self.another not in self.before
        self.another = "" if ends or self.another.endswith(":") else self.another
        self.local, self.before, self.table = (self.material, self.heading), "", Columns()
        self.listing, self.width = False, 0

    def line(self, line: str, at: int) -> None:
        """Take a line: a row of a table, a heading, or more of the paragraph."""
        if not self.width:
            self.width = width_of(self.folded, at)
        if fields := fields_in(line):
            self._fields(fields, at)
            return
        broken = self.broken and "\n" in self.text[at : at + len(line)]  # a word over two lines
        if self.table.head and not line.strip(" \t|:=+_-"):
            return  # a rule under the names of the columns
        cut = "" if len(line) > LONGEST or broken or _BOX.match(line) else self.table.cut_of(line)
        if entry := entry_of(line, self.listed, self.before):
            self._close(at, self.local, self.amends)
            self.found.append(self._cell(line, at, entry))
        elif cut:
            self._close(at, self.local, self.amends)
            self._row(line, at, cut)
            self.in_row = True
            self.local = (self.material, self.heading)
        elif self.opened < 0 or len(line) < 62 or self._begins(line, at):
            self.table = Columns()
            was = self.local, self.amends
            starts, rest = self._heading(line, at)
            if starts:
                self.listing = False
                self._close(at, *was)
            if self.opened < 0 and rest < at + len(line):
                self.opened, self.begun = rest, at
        if line.strip(" -=_*"):  # a rule is no line
            if is_measured(line.strip(" \t:=#*")):
                self.listed = "%" if "%" in line or "percent" in line else " "
            else:
                self.listed = self.listed if self.listed and is_of_the_list(line) else ""
            self.before, self.caps = line, self.text[at : at + len(line)].isupper()

    def _fields(self, fields: list[re.Match[str]], at: int) -> None:
        """Take fields side by side: those of several materials name none for what follows."""
        was, met = (self.material, self.heading, self.amends), set[Material]()
        for field in fields:
            self.line(field[0], at + field.start())
            self._close(at + field.end(), self.local, self.amends)
            met |= {self.material} - {"general", "unknown", was[0]}
        if len(met) > 1:
            self._set(*was)

    def _close(self, end: int, under: tuple[Material, str], amends: bool) -> None:
        start, self.opened = self.opened, -1
        self.number += start >= 0 or not self.in_row  # a row is closed already
        self.in_row = False
        if start >= 0:
            hot = self._is_hot(start, end)
            near = self.near and "%" in self.folded[start:end]
            if hot or near or amends:
                self._sentences(start, end, under, amends)
            self.near = hot

    def _is_hot(self, start: int, end: int) -> bool:
        return bisect_left(self.triggers, start) < bisect_left(self.triggers, end)

    def _set(self, material: Material, heading: str, amends: bool = False) -> None:
        self.material, self.heading, self.amends = material, heading, amends
        self.depth, self.inner = self.indent, -1
        self.local = (material, heading)

    def _heading(self, line: str, at: int) -> tuple[bool, int]:
        """Take a line's heading or key; whether a paragraph begins, and where its words begin."""
        plain = line[:3].isalpha() and line[0] not in "ivx" and line[:5] not in ("secti", "part ")
        mark = None if plain else _MARK.match(line)
        begin = mark.end() if mark else 0
        rest, marked = line[begin:], mark["mark"] if mark else None
        if self.opened >= 0 and (_BOX.match(line) or self._is_entry(line)):
            return False, at
        lettered = self.material == "core" and _LETTER.fullmatch(marked or "")
        small = self.text[at + begin :][:1].islower() and not lettered
        small = small or (self.opened >= 0 and wraps(self.before, rest))
        if self.opened >= 0 and small and is_open(self.before):
            return False, at + begin  # "Iron stain of\nsmear: absent"
        self._leave_section(line, rest)
        label = lead(line, self.labels) if self.labels else None
        if label:
            if label[0] == "other" or of_nothing_else(line[label[1] :]):
                self.local = (label[0], f"{label[0]} {line[: label[1]]}".strip())
                if not line[label[1] :].strip():
                    self._set(*self.local)  # "Specimen A" on its own line
                return True, at + label[1]
            begin = label[1]  # "A. Core biopsy, left: ..."
            rest = line[begin:]
        if self.before and small and self._is_full(rest):
            return False, at + begin  # a key that is broken over two lines
        key = key_of(rest)
        if key and len(key[1].split()) <= 8 and not is_said(key[1]):
            value = self._key(key[1].strip(), rest, key.end())
            return True, at + value + (0 if lettered and not value else begin)
        bare = rest.strip(ORNAMENT)
        raw = self.text[at : at + len(line)]
        item = len(line) - len(line.lstrip(" \t")) > max(self.depth, 0)
        item = (item and self.material != "general") or self._is_item(line, at, marked)
        above = (bool(self.before), not self.caps or len(self.before) < 46)
        if is_heading(raw, bare, marked, item=item, above=above):
            self._bare_heading(bare)
            return True, at + len(line)
        boxed = rest[:1] == "(" and len(self.before) > 45 and self.before[-1:].isalpha()
        wrapped = not (marked or label) and (is_open(self.before) or self._is_full(rest) or boxed)
        row = self._is_row(rest) or (self.before.endswith("%") and not small)
        row = row or marked == "*" == self.before[-1:]  # a footnote
        listed = marked and marked[0] in "-*•+" and self.before.lstrip()[:1] == marked[0]
        row = row or bool(listed and rest[:1].isalpha())  # an item of a list
        if self.before and not row and (wrapped or small):
            return False, at + begin
        self.local = (self.material, self.heading)
        if label and label[0] != "unknown":
            self.local = (label[0], f"{label[0]} {line[: label[1]]}".strip())
        return True, at + (0 if lettered and not label else begin)

    def _leave_section(self, line: str, rest: str) -> None:
        """End a section at a line that is less set in, or at a block that begins with the core."""
        self.indent = len(line) - len(line.lstrip(ORNAMENT))
        self.inner = self.indent if self.inner < 0 else self.inner
        if self.indent <= self.reach:
            self.another, self.reach = "", -1
        if self.material == "unknown" and self.indent < self.inner:
            self._set("general", "")
        if self.material in SET_ASIDE and not self.before:
            named = _HEADED.split(rest)[0].strip(ORNAMENT)
            if len(named) < 60 and material_of(named) == "core":
                self._set("core", named)  # "Bone marrow biopsy, iliac crest. 12 mm."

    def _bare_heading(self, bare: str) -> None:
        amends, material = bool(AMENDS.search(bare)), material_of(bare)
        words = set(_WORD.findall(bare)) - EVENTS
        if not self.number and _INSTITUTE.search(bare):
            words -= {"clinical", "clinique", "klinische"}  # "Clinical Center, Pathology"
        told = words & HISTORY or classes_in(" ".join(words)) & set("Sbrt")
        norm = _VALUES.search(bare) or (self.number and "e" in classes_in(bare))
        norm = bool(norm) and names_norm(bare)  # no "Reference laboratory" above all
        named = told or norm or material in ("core", "other")
        if not (self.number or amends or named or is_side(bare)):
            material, bare = "general", ""  # "COMPREHENSIVE MARROW SUMMARY" above all
        elif material == "unknown" and amends:
            material = "general"
        elif is_side(bare):
            material = self.material
        self.side = f"{bare} " if is_side(bare) else ""
        old = bool(self.number) and is_of_before(bare)  # "MARROW, 14 MONTHS AGO"
        self.another = bare if governs(bare) or norm or old else ""
        self.reach = self.indent if old else -1
        self._set(material, bare, amends)
        self.depth = -1 if not self.indent else self.depth

    def _is_item(self, line: str, at: int, marked: str | None) -> bool:
        """Whether a line has the mark of the line below it: "- MYELOMA", among other findings."""
        if not marked or marked[0] not in "-*•+":
            return False
        below = self.folded[at + len(line) + 1 :][:LONGEST].partition("\n")[0]
        lead = len(line) - len(line.lstrip())
        return below[: lead + 1] == line[: lead + 1]

    def _begins(self, line: str, at: int) -> bool:
        """Whether a long line does not go on from the one before."""
        first = self.text[at + len(line) - len(line.lstrip()) :][:1]
        new = self.before.endswith("%") and first.isupper()
        return new or _LEAD.match(line) is not None or not self._is_full(line)

    def _is_row(self, rest: str) -> bool:
        """Whether a line has a name and a figure of its own: "Cellularity 40%\\nblasts 5%"."""
        return self.before.endswith("%") and _ROW.fullmatch(rest) is not None

    def _is_full(self, rest: str) -> bool:
        """Whether the line before had no room left for the first word of this one."""
        if self._is_row(rest) or " ..." in self.before:
            return False
        word = rest.split(maxsplit=1)[0] if rest.strip() else ""
        if len(self.before) <= 45 or len(self.before) + 1 + len(word) <= self.width:
            return False
        # where no other line is as long, a capital begins a sentence
        alike = len(self.lengths) - bisect_left(self.lengths, len(self.before) - 9)
        return alike > 2 or not word[:1].isalpha()

    def _is_entry(self, line: str) -> bool:
        """Whether a line is one of the list below "Cellularity:"."""
        above = is_measured(self.before.strip(" \t:="))
        self.listing = (self.listing or above) and ENTRY.fullmatch(line) is not None
        value = _VALUE.match(line) if above else None
        signed = value and "%" in (value["sign"] or self.before.replace("percent", "%"))
        return self.listing or bool(signed)

    def _key(self, words: str, rest: str, end: int) -> int:
        """Take "Key: ...": a known key sets the material, another one holds for its line only."""
        tail = rest[end:].strip()
        met = classes_in(words)
        mean = class_of(words.split()[0]) == "o" and not met & set("SbrLfK")
        told = mean and met <= set("ovqndpRBMGz")
        told = told and (bool(_VALUE.match(tail)) or material_of(words) == "unknown")
        told = told or (mean and "ellul" in tail.partition("%")[0])  # "Consensus by two: ..."
        if told or tells_it(words) or {"L", "f"} <= met:  # "Mean reported: 45% cellularity"
            self.local = (self.material, self.heading)
            return 0  # the key is what is measured
        material = self.material if is_side(words) else material_of(words)
        if self.labels and self.labels.keys() >= set(_WORD.findall(words)) - {"and"}:
            material = "general"  # "A, B and C: ..."
        if material in ("general", "unknown") and len(tail) < 60 and not set(tail) & set("%.:;"):
            named = material_of(tail)  # "SPECIMEN 3: BONE MARROW TREPHINE BIOPSY"
            if named not in ("general", "unknown"):
                material, words = named, f"{words} {tail}"
        brief = material == "general" and "S" not in met and is_historic(words)  # "History: ..."
        if AMENDS.search(words):
            self._set("general", words, amends=True)
        elif words.startswith(("original", "primary", "initial")) and AMENDS.search(self.folded):
            self._set("general", "")  # "Original diagnosis:", beside an addendum
        elif tail and (material == "unknown" or "e" in met or brief):
            unknown = material == "unknown" and not self.amends
            inner = self._is_inner(words) or self.heading in self.before
            old = f"{self.heading} " if is_historic(self.heading) and inner else ""
            self.local = ("unknown" if unknown else self.material, old + words)
        elif tail and material == "general" and self._is_inner(words) and not met & set("M"):
            self.local = (self.material, words)  # "Core biopsy:\n  Length: 12 mm"
        else:
            if "n" in met or not GENERAL.isdisjoint(_WORD.findall(words)):
                self.another = ""  # "Final: ..."
            elif not tail and governs(words):
                self.another = f"{words}:"  # "Resident's draft:" as far as the next blank line
            self._set(material, f"{self.side}{self.another} {words}".strip())
            self.depth = self.depth or -(not tail)  # "Clot section:", above "Quality: good"
        return end

    def _is_inner(self, words: str) -> bool:
        """Whether a key is one of the list below a heading: set in, "Result: adequate"."""
        general = GENERAL - {"result", "finding", "findings"} if self.before else GENERAL
        bare = self.depth < 0 and general.isdisjoint(_WORD.findall(words))
        return bare or (self.depth >= 0 and self.indent > self.depth)

    def _sentences(self, start: int, end: int, under: tuple[Material, str], amends: bool) -> None:
        """The sentences of a paragraph; one that opens with a known key changes the material."""
        material, heading = under
        paragraph = self.folded[start:end]
        stops = stops_of(paragraph)
        begin, near = 0, self.near
        begun = min(start, self.begun) if self.begun >= 0 else start  # of what speaks to a reader
        for n, stop in enumerate(stops):
            sentence = paragraph[begin:stop]
            at, begin = start + begin, stop
            if not sentence or sentence.isspace():
                continue
            key = KEY.match(sentence.lstrip()) if n and ":" in sentence else None
            amends = amends or (key is not None and AMENDS.search(key[1]) is not None)
            if key and not is_side(key[1]) and material_of(key[1]) != "unknown":
                material, heading = material_of(key[1]), key[1]
                begun = at if sentence[0] == "\n" else begun
            elif key and is_side(key[1]):
                heading = f"{key[1]} {heading}"  # "Specimen A. Right crest: 15 mm. Cellularity"
            elif not key and "%" not in sentence:
                words = _WORD.findall(sentence[:60])[:4]
                said = "".join(map(class_of, words))
                if subject := _SUBJECT.match(said):
                    material = "core"  # "The left biopsy is 15 mm long."
                    heading = " ".join(words[: subject.end() - 1])
                named = material_of(sentence) if len(sentence) < 40 else "unknown"
                material = material if named in ("unknown", "general") else named
                # "Microscopic." on its own line
                known = said != "" and words[0] in GENERAL and said[0] not in "dpjwI"
                if named == "unknown":  # "Previous biopsy (2019).", too
                    old = material not in SET_ASIDE and re.search("b[MBG]|S", said) is not None
                    known = old and classes_in(sentence).isdisjoint("vj")
                if known and (not n or sentence[0] == "\n"):
                    begun = at
                    material, heading = named, sentence
            label = labelled(sentence, self.labels) if self.labels else None
            if label and (label == "other" or of_nothing_else(_AFTER_LABEL.sub("", sentence))):
                material = label
            hot = self._is_hot(at, start + stop)
            if not (hot or amends or (near and ("%" in sentence or "per" in sentence))):
                continue
            near = near or hot
            spoken = max(begun, at - LONGEST), start + stops[min(n + 1, len(stops) - 1)]
            self.found.append(Segment(
                text=sentence, at=at, start=at, end=start + stop, near=hot, material=material,
                heading=heading, paragraph=self.number, amends=amends, said=spoken,
            ))  # fmt: skip

    def _row(self, line: str, start: int, cut: str) -> None:
        """The cells of a row; each begins with the names of its row and its column."""
        cells = cells_in(line, cut)
        bare = heading_of(cells)
        raw = self.text[start : start + len(line)]
        if bare and (raw.isupper() or not of_nothing_else(bare) or is_historic(bare)):
            self._set(material_of(bare), bare)  # "CLOT" in the first column, without a value
            return
        self.listing = len(cells) == 2 and (self.listing or is_measured(self.before.strip(" \t:=")))
        hot = self.listing or self.near or self.amends or self._is_hot(start, start + len(line))
        if not cells or (not hot and self.table.is_far(line, len(cells))):
            return
        below = self.folded[start + len(line) + 1 :][:LONGEST].partition("\n")[0]
        row = self.table.take(line, cut, below=below, above=self.before, listing=self.listing)
        self.near = self.near or bool(row) or (row is None and hot)
        self.found += [self._cell(line, start, cell) for cell in row or ()]
        if row is None and hot:
            self._free(start, cells)

    def _cell(self, line: str, start: int, cell: Entry) -> Segment:
        return Segment(
            text=cell.names + cell.text, at=start + cell.at - len(cell.names), start=start,
            end=start + len(line), material=cell.material or self.material,
            heading=self.heading, paragraph=self.number, amends=self.amends,
            said=(start, start + len(line)),
        )  # fmt: skip

    def _free(self, start: int, cells: list[tuple[int, str]]) -> None:
        """Cells that are sentences of their own: "BMA: ... || BMBx: ...", "Core<tab>..."."""
        material, heading = self.material, self.heading
        self.begun = start
        named = material_of(cells[0][1]) if len(cells[0][1]) < 40 else "unknown"
        if len(cells) == 2 or (len(cells) > 1 and named not in ("unknown", "general")):
            material, heading, cells = named, cells[0][1], cells[1:]
        for at, cell in cells:
            key = KEY.match(cell.lstrip())
            if key and not tells_it(key[1].strip()):
                material, heading = material_of(key[1]), key[1]
            self.number += 1
            self._sentences(start + at, start + at + len(cell), (material, heading), self.amends)
