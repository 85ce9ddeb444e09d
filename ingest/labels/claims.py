"""Say of every figure of a sentence on cellularity whose it is, of when, of what and in what role.

`grammar` ties the figure; the words around it and the heading give the other attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ingest.labels.addressed import is_addressed
from ingest.labels.figures import Figure
from ingest.labels.grammar import FROM, KEYS, ODD, PAIR, from_to, is_free, may_be, share_of, tied
from ingest.labels.headings import Material
from ingest.labels.languages import KINDS, WORDS, words_of
from ingest.labels.segments import Segment
from ingest.labels.tokens import BOXES, Sentence, sentence_of, ticked

Owner = Literal["cellularity", "unclear"]  # what has another owner is no claim
Role = Literal["finding", "norm", "criterion", "quality"]
_SET_ASIDE = ("clot", "aspirate", "touch", "other")
Scope = Literal["whole", "overall", "part", "extreme", "aside"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one figure says, and where."""

    figure: Figure
    start: int  # of the figure in the report
    segment: Segment
    owner: Owner
    tie: str = ""
    role: Role = "finding"
    earlier: bool = False
    scope: Scope = "whole"
    material: Material = "general"
    side: str = ""
    amends: bool = False
    now: bool = False  # said to be today's
    several: bool = False  # its sentence names two cores or a spread
    addressed: bool = False  # stands in words to a reader or a program

    @property
    def end(self) -> int:
        """Where its figure ends in the report."""
        return self.start + self.figure.end - self.figure.start

    @property
    def counts(self) -> bool:
        """Whether it is a present finding of the cellularity of what may be the core."""
        known = self.material in ("core", "general")
        return self.owner == "cellularity" and known and self._is_present

    @property
    def _is_present(self) -> bool:
        present = self.role == "finding" and not self.earlier and self.scope != "aside"
        return present and not self.addressed

    @property
    def may_count(self) -> bool:
        """Whether it would be one if it were the cellularity's, or if its heading were known."""
        known = self.material in ("core", "general")
        may = (self.owner == "unclear" and known) or (
            self.owner == "cellularity" and self.material == "unknown"
        )
        return may and self._is_present


def read_claims(folded: str, segments: Iterable[Segment]) -> Iterator[Claim]:
    """The claims of every figure that stands in a sentence on cellularity, or goes on from one."""
    said: set[tuple[float, ...]] = set()  # the numbers of the figures that are tied
    heard = -1  # the paragraph of a sentence on cellularity without a figure
    carried: tuple[int, Claim] | None = None  # a tie that the next sentence may go on from
    for segment in segments:
        tied = segment.near
        near = carried is not None and segment.paragraph - carried[0] <= 1
        if not tied and not near and not segment.amends and heard != segment.paragraph:
            continue
        if not tied and not segment.amends and len(segment.text.strip()) < 6:
            continue  # a cell of a table far from the word: "3%"
        sentence = sentence_of(segment.text)
        if not sentence.figures:
            heard = segment.paragraph if "llularit" in segment.text else -1
            continue
        made = list(_claims(sentence, segment)) if tied else []
        if segment.amends or "E" in sentence.classes:
            between = folded[carried[1].end : segment.at] if carried else "%"
            follows = "%" not in between
            made += _corrections(sentence, segment, made, said, follows)
            new = {claim.figure.parts for claim in made if claim.amends} - said
            made = [
                replace(c, earlier=c.earlier or bool(new and c.figure.parts in said)) for c in made
            ]
        said |= {claim.figure.parts for claim in made if claim.owner == "cellularity"}
        if not made and (near or heard == segment.paragraph):
            made = list(_going_on(sentence, segment, near))
        spoken = bool(made) and is_addressed(folded, *segment.said, amends=segment.amends)
        yield from (replace(claim, addressed=True) if spoken else claim for claim in made)
        owned = [claim for claim in made if claim.owner == "cellularity"]
        if owned:
            carried = segment.paragraph, owned[-1]
        elif made or segment.paragraph != (carried[0] if carried else -1):
            carried = None if made else carried


def _claims(sentence: Sentence, segment: Segment) -> Iterator[Claim]:
    s = sentence.classes
    if not sentence.figures or not KEYS & set(s):
        return
    if BOXES.search(s):
        s = ticked(s)
    ties, odd, ratio = tied(sentence, s)
    for at, figure in sentence.figures.items():
        if at in ties and s[at] in "FN":
            cells = share_of(sentence, at, ratio[at]) if at in ratio else figure
            if cells is not None:
                yield _claim(sentence, s, segment, at, cells, ties[at])
        elif s[at] == "F" and at not in ratio.values() and (at in odd or may_be(s, at)):
            yield replace(_claim(sentence, s, segment, at, figure, ""), owner="unclear")


def left_open(segments: Iterable[Segment], claims: Iterable[Claim]) -> bool:
    """Whether a figure that no noun owns stands by words on cellularity, and has no claim."""
    known = {claim.start for claim in claims}
    for segment in segments:
        if segment.historic or segment.is_norm or segment.material in _SET_ASIDE:
            continue
        sentence = sentence_of(segment.text)
        s = ticked(sentence.classes) if BOXES.search(sentence.classes) else sentence.classes
        for at, figure in sentence.figures.items():
            new = s[at] in "FN" and segment.at + figure.start not in known
            if new and is_free(s, at, figure):
                return True
    return False


def _corrections(
    sentence: Sentence,
    segment: Segment,
    made: list[Claim],
    said: set[tuple[float, ...]],
    follows: bool,
) -> Iterator[Claim]:
    """What stands behind a correction and could not be tied, but may be the new figure.

    It is where it follows on the old one and no noun stands by: "Typo: 60%". It may be where the
    sentence is on cellularity, where no noun stands between, and where a figure that was tied
    before (in `said`) is named beside it: "read 60% for 40%".
    """
    s = sentence.classes
    mark = 0 if segment.amends else s.find("E")
    if mark < 0:
        return
    lone = follows and not set(s) & (ODD | set("CAHTt?")) and s.count("F") == 1
    known = {claim.start for claim in made}
    old = {at for at, figure in sentence.figures.items() if figure.parts in said}
    named = bool(old)
    if (
        named
        and s.count("F") == 2
        and len(old) == 1
        and not set(s) & set("LfK")
        and set(s) & set("kiu")
    ):
        lone = True  # "instead of 40% it is to be 60%"
    for at, figure in sentence.figures.items():
        since = s[max(s.rfind("F", 0, at), s.rfind(";", 0, at)) + 1 : at]
        if s[at] != "F" or at < mark or "b" in since or segment.at + figure.start in known:
            continue
        if (
            lone
            or not set(s[mark:at]) & set("xLfK")
            or (named and s.count("F") > 1)
            or set(s) & set("CAH")
        ):
            claim = _claim(sentence, s, segment, at, figure, "goes on" if lone else "")
            claim = replace(claim, amends=True, role="finding", earlier=False)
            yield claim if lone else replace(claim, owner="unclear")


def _going_on(sentence: Sentence, segment: Segment, near: bool) -> Iterator[Claim]:
    """The claims of a sentence without a noun of its own: "Left: 30%.", "It is 40%."."""
    s = sentence.classes
    if set(s[: s.find("F") + 1]) & (ODD | set("TX")) or s.count("F") != 1 or "N" in s:
        return
    at = s.index("F")
    named = near and set(s[:at]) & set("BRSbno")
    if not named and not _IT.intersection(sentence.words[:at]):
        return
    yield _claim(sentence, s, segment, at, sentence.figures[at], "goes on")


def _claim(
    sentence: Sentence, s: str, segment: Segment, at: int, figure: Figure, tie: str
) -> Claim:
    figure, changed = _changed(sentence, s, at, figure)
    role, mark, amends = _role(s, at, sentence, segment)
    if tie == "listed" and _AGE.search(" ".join(sentence.words[s.rfind("F", 0, at) + 1 : at])):
        role = "norm"
    first = from_to(sentence, s, at)
    if first is not None:  # "from 80% at diagnosis to 10%"
        changed = bool({"g", "E"} & set(s[:first]))
        mark = "" if changed or mark == "b" else mark
    return Claim(
        figure=figure,
        start=segment.at + figure.start,
        segment=segment,
        owner="cellularity",
        tie=tie,
        role=role,
        earlier=not changed
        and (
            mark in ("b", "r", "k")
            or (segment.historic and mark != "n" and not _is_own(sentence, s, at))
        ),
        now=mark == "n",
        scope=_scope(s, at),
        material=_material(sentence, s, at, segment),
        side=_side(sentence, s, at, segment),
        several=first is not None or bool(_SEVERAL.search(segment.text) or PAIR.search(s, 0, at)),
        amends=amends,
    )


def _changed(sentence: Sentence, s: str, at: int, figure: Figure) -> tuple[Figure, bool]:
    """Of "decreased from 80% to 45%" the later number: it is a change, not a range."""
    before = s[max(0, at - 12) : at]
    if len(figure.parts) == 2 and figure.low < figure.high and figure.qualifier is None:
        words = sentence.words[max(0, at - 12) : at]
        falls = figure.parts[0] > figure.parts[1]
        if (falls or (words and words[-1] in FROM)) and {"g", "E"} & set(before):
            last = figure.parts[1]
            return replace(figure, low=last, high=last), True
    return figure, False


def _role(s: str, at: int, sentence: Sentence, segment: Segment) -> tuple[Role, str, bool]:
    """Role, the mark that decides time (b before, r another's, n now), and whether it corrects."""
    tail = _before(sentence, s, at)
    after = _behind(s, at)
    amends = segment.amends or "E" in s[:at] or "E" in after
    marks = "ebrnk" if amends else "ebcrnk"
    if _is_past(sentence, s, at):
        return "finding", "b", False
    if amends and re.match(r"F[^F.;]*c[^F.;]*F", s[at:]):
        return "finding", "b", False  # "the cellularity of 85% should read 65%"
    if "?" in s[at + 1 : at + 3]:
        return "criterion", "", False
    found = [letter for letter in after if letter in marks]
    mark = found[0] if found else next((letter for letter in tail[::-1] if letter in marks), "")
    normal = re.search(r"h[^,(;)w]*$", tail)
    if normal and mark not in ("n",) and _says_normal(sentence, s, at, len(normal[0])):
        return "norm", "", False
    if segment.is_norm and mark != "n":
        mark = "e"
    if mark in ("e", "c"):
        return ("norm" if mark == "e" else "criterion"), "", False
    return "finding", mark, amends


def _before(sentence: Sentence, s: str, at: int) -> str:
    """What stands before a figure in its sentence and may say when or what it is."""
    begin = max(s.rfind(mark, 0, at) for mark in ".;") + 1
    before = s[begin:at]
    for _ in range(3):  # what stands in brackets of its own says nothing of what follows
        before = re.sub(r"\([^()n]*[FN][^()n]*\)", "", before)
    lead = re.match(
        r"[^F,(]*[kb][^F,(]*,(?=[dnoqv]*[CMBGHAF])", before
    )  # "Compared with the prior, ..."
    if lead and not set(lead[0]) & set("CAEe"):
        before = before[lead.end() :]
    last = max(before.rfind("F"), before.rfind("N"))
    tail = before[last + 1 :]
    if last >= 0 and (not tail.strip(",j/") or tail[0] == ":"):
        return before
    own = tail.rpartition(",")[2]
    relative = {"which", "when", "where"} & set(sentence.words[at - len(own) : at])
    return own if last >= 0 and not relative else tail


def _behind(s: str, at: int) -> str:
    """What stands behind a figure in its clause and may say when or what it is."""
    inner = re.match(r"[AC]?\(([^()FN]*)\)", s[at + 1 :])
    if inner and set(inner[1]) & set("nb") and "e" not in inner[1]:
        return inner[1]
    stop = re.search(r"[,;:.()|jwkFu]", s[at + 1 :])
    if stop is None:
        return s[at + 1 :]
    return "" if stop[0] == "F" else s[at + 1 : at + 1 + stop.start()]


def _is_past(sentence: Sentence, s: str, at: int) -> bool:
    """Whether it reads "reduced from 70%", "80% -> ...", "(was 40%)" or "not 40%"."""
    arrow = s[at + 1 : at + 3] == "uF" and not sentence.words[at + 1].isalpha()
    if arrow or re.search(r"[ik][pdqv]*$", s[max(0, at - 6) : at]):
        return True
    figure = sentence.figures[at]
    said = s[max(0, at - 4) : at - 1]
    if s[at - 1 : at] == "u" and figure.low == figure.high and ("g" in said or "v" not in said):
        return sentence.words[at - 1] in ("from", "von", "de")
    was = sentence.words[at - 1] in ("was", "were", "war")
    return was and s[max(0, at - 2) : at] in ("(v", ",v")


def _says_normal(sentence: Sentence, s: str, at: int, back: int) -> bool:
    """Whether it is the norm: "normal for age 30-50%", but not "normal for age at 40%"."""
    begin = at - back
    said = sentence.words[max(0, begin) : at]
    return any(word in ("normal", "nl", "normale") for word in said) and said[-1:] != ["at"]


def _is_own(sentence: Sentence, s: str, at: int) -> bool:
    """Whether a clause tells who says it: "we estimate it at 45%"."""
    begin = max(s.rfind(mark, 0, at) for mark in ".;") + 1
    return not {"we", "i", "our", "wir", "nous"}.isdisjoint(sentence.words[begin:at])


def _scope(s: str, at: int) -> Scope:
    """What of the marrow a figure is of, by its own clause."""
    mean = re.search(r"o[qvpd:]*F", s)
    if mean and s.count("F") > 1:
        return "overall" if mean.end() - 1 == at else "aside" if "a" in s[:at] else "part"
    begin = max(s.rfind(mark, 0, at) for mark in ".;,(F") + 1
    stop = re.search(r"[.;,()FN]", s[at + 1 :])
    end = at + 1 + stop.start() if stop else len(s)
    clause = s[begin:at] + s[at + 1 : end]
    if "a" in clause:
        return "aside"
    if "o" in clause:
        return "overall"
    wide = max(s.rfind(mark, 0, at) for mark in ".;F") + 1
    apart = re.search(r"[,j].*M", s[wide:at]) or {"M", "t"} & set(clause)
    if "a" in s[wide:at] and not apart:
        return "aside"
    if "o" in s[wide:at]:
        return "overall"
    return "part" if "t" in clause else "whole"


def _material(sentence: Sentence, s: str, at: int, segment: Segment) -> Material:
    """The material of a figure: named behind it, else nearest before it, else by the heading."""
    behind = re.match(r"[AC]?[MG]*[pI][dq]*(?:M*)([BS])", s[at + 1 :])
    begin = max(s.rfind(mark, 0, at) for mark in ".") + 1
    pair = PAIR.search(s, begin, at)
    second = s[at - 1 : at] == "/"
    paired = pair and "R" not in pair[0] and (second or s[at + 1 : at + 2] == "/")
    if pair and paired:  # "(core/clot): 15%/25%"
        place = pair.end() - 1 if second else pair.start()
    elif behind:
        place = at + 1 + behind.start(1)
    else:
        places = [i for i in range(begin, at) if s[i] in "BS"]
        if not places:
            return segment.material
        place = places[-1]
    names = {s[place]}
    for step in (-1, 1):  # "core and clot": joined names hold together
        i = place
        while True:
            j = i + step
            while 0 <= j < len(s) and s[j] in "djM,G":
                j += step
            between = s[min(i, j) + 1 : max(i, j)]
            if not (0 <= j < len(s) and s[j] in "BS") or not set(between) & set("j,"):
                break
            names.add(s[j])
            i = j
    if "B" in names and len(names) == 2:
        return "core"
    if s[place] == "B":
        touch = re.search(r"S[pG]*d?M*$", s[begin:place])
        return "core" if not touch else "touch"
    kind = KINDS.get(sentence.words[place].rstrip("-"), "other")
    return "clot" if kind == "clot" else "touch" if kind == "touch" else "aspirate"


_IT = words_of("it es sie elle")
_AGE = re.compile(r"\b(?:age|alter|âge)")
# what says that there is more than one reading to take the mean of
_SEVERAL = re.compile(
    r"\b(?:two|three|both|bilateral|respectively|zwei|deux|cores|biopsies|trephines)\b"
    r"|\b(?:rang|var[iy]|heterogen|patchy|wechsel)|\bone end\b|\bas low as\b"
)
_SIDE_WORDS = {"r": "right rt r rechts rechte droite", "l": "left lt l links linke gauche"}
_SIDE_WORDS |= {"1": "first one 1 a", "2": "second b 2", "3": "third 3", "4": "fourth 4"}
_COUNTED = words_of("first one 1 a second b 2 third 3 fourth 4")  # of cores, not of readers
_SIDES = {word: side for side, words in _SIDE_WORDS.items() for word in words.split()}


def _side(sentence: Sentence, s: str, at: int, segment: Segment) -> str:
    """Which core a figure is of: right, left or a number, named in its clause or its heading."""
    begin = max(s.rfind(mark, 0, at) for mark in ".F;") + 1
    after = re.match(r"[A]?[pI(]+[dM]*(R)", s[at + 1 :])
    if after:  # "40% on the left and 60% on the right"
        return _SIDES.get(sentence.words[at + 1 + after.start(1)].rstrip("-"), "")
    counted = _COUNTED.intersection(sentence.words)
    listed = len({_SIDES[word] for word in counted}) > 1 and "r" not in s
    names = [
        sentence.words[i].rstrip("-")
        for i in range(begin, at)
        if s[i] == "R"
        and not (sentence.words[i] in _COUNTED and s[i + 1 : i + 2] == "M")
        and (
            listed or sentence.words[i] not in _COUNTED or set(s[max(0, i - 1) : i + 2]) & set("BG")
        )
    ]
    sides = [_SIDES[name] for name in names if name in _SIDES]
    if "both" in names:
        return ""
    if sides:
        return sides[-1]
    heading = re.findall(r"\w+", segment.heading)
    named = any(WORDS.get(word) == "B" for word in heading)
    heads = [_SIDES[word] for word in heading if word in _SIDES and (named or word not in _COUNTED)]
    return heads[-1] if len(set(heads)) == 1 else ""
