"""Say of every figure of a sentence on cellularity whose it is, of when, of what and in what role.

`grammar` ties the figure; the words around it and the heading give the other attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ingest.labels.addressed import is_addressed, is_cited
from ingest.labels.amendments import may_be_anothers, unsigned_as_signed
from ingest.labels.asides import ticked
from ingest.labels.context import IT, context_of, is_of_an_older
from ingest.labels.doubts import is_free, is_spread, may_be
from ingest.labels.figures import Figure, share_of
from ingest.labels.grammar import ODD, tied
from ingest.labels.headings import (
    SET_ASIDE,
    Material,
    classes_in,
    is_historic,
    is_of_another,
    may_be_of_the_core,
    names_norm,
)
from ingest.labels.languages import KINDS, WORDS, words_of
from ingest.labels.roles import WE, Role, changed_to, from_to, role_of
from ingest.labels.scopes import Scope, scope_of
from ingest.labels.segments import Segment
from ingest.labels.shares import NOUN, PAIR, stands_alone
from ingest.labels.specimens import is_of_one, side_of
from ingest.labels.tokens import Sentence, after_any, encode, sentence_of
from ingest.labels.voids import is_left_out

Owner = Literal["cellularity", "unclear"]  # what has another owner is no claim
_BESIDE = re.compile(r"C[MBGvqdiuz:]*F$")  # "Cellularity 30% +++"
# "cellularity is 60%, no, I was on another case, make that 40%": the last one holds
_SPOKEN = re.compile(
    r"C[^.;C]*,d*(?:ix?|E[^.;C]*),(?:[^.;C]*,)?[dvqpno]*(?P<f>F)(?=[.;,)]|p[dn]*[BMR]|$)"
)
# "Prior: 95% (diagnosis), 15% (day 28)", "40% [baseline 85%; day 28: 15%]"
_OF_KEY = re.compile(r"b:[^n:;.]*F[^n:;.]*$|\(b[^n().]*F[^n().]*$")
_NOT_BUT = re.compile("iF[^F.;]*j[dq]*$")  # "is not 85% as typed but 40%"
_WITH_LAST = re.compile("F(?:[(,]?jd?|[^F.;:vn]*j[^F.;:vn]*)$")
_KEY = re.compile(r"\s*cellularity ?:")
# "site 1, 25%, blasts 7%; site 2, 40%": the other core's, whatever stands between
_NOUN_BEFORE = re.compile(r"[xLfK][:vpIqdh(]*$")
_OWN_NOUN = re.compile("[,;j][dqh]*[xLfK]+[vq:]*$")  # "is revised to 60%, blasts 7%"
_OTHER_CORE = re.compile(r"[;,.j][dqpuMBG]*R[dqMBGR]*(?:\([^()F]*\))?[,:vpqd]*F$")
# behind a figure, without a change: "40%, blasts 7%", "40% (ref 40-60)", "40%; M:E 3:1"
_TAIL = re.compile(
    r"(?<=F)(?:,(?:d?[xLfK]+[qv:]*F(?:[,j]d?(?=[xLfK])|(?=[.;]|$)))+|wd?F[hq]*[xLfK]+"
    r"|\([dq]*[ey][^()]*\)(?=[.;]|$)|(?=;[^FC]*$)).*"
)
_OF_ANOTHER = re.compile(r"\([^()F]*[BS][^()F]*F[^()F]*\)")  # "40% (clot 72%), left 30%"
# "Cellularity is 25%. No, make that 20%.", "... Sorry, 20%.", "... Or rather: 20%."
_TAKEN_BACK = re.compile(r"(?P<led>x,|[ji])?[jqidvpR,:]*F")
_HAS_ITS = re.compile("[xLfK]+[qvp:]*F|(?<=[wj,])[q]*F[hq]*[xLfK]+|w[^,;.F]*")  # and its noun
_TO_END = re.compile(
    r"^(?:to|bis|à|auf)\b|\b(?:as (?:much|high)|a (?:high|maximum|peak) of|up to)\b"
)  # of a spread
_ERRORS = words_of("error incorrect incorrectly mistakenly wrongly erroneously")
_AGE = re.compile(r"\b(?:age|alter|âge)")
# what says that there is more than one reading to take the mean of
_SEVERAL = re.compile(
    r"\b(?:two|three|both|bilateral|respectively|zwei|deux|the other|cores|biopsies|trephines)\b"
    r"|\b(?:rang|var[iy]|heterogen|patchy|wechsel)|\bone end\b|\bsome\b.*\bothers\b|\bas low as\b"
    r"|am einen\b|\ba (?:low|high) of\b|\b(?:lowest|highest|minim|maxim)"
    r"|\b(?:long|larg|bigg)er\b.*\b(?:short|small)er\b"
)
_BEHIND = re.compile(r"[AC]?[MG]*(?:(?:[pI]|v(?=d))[dqR]*M*|\((?=[BSMG]+\))[MG]*)([BS])")
_OF_PARTICLES = re.compile("A[dq]*(S)")  # "60% cellular particles"
# "60% (evaluated on the clot)", "60% - clot section", "(60%) is taken from the clot", "60%, clot"
_SOURCE = re.compile(r"[AC]?[MG]*[,;:()/]*[dqvpzuRMS]*([BS])[GMqfx]*(?=[.;)]|[,(](?!q*F)|$)")
_OF_BONE = re.compile("B[MG]*[pI][dqRMG]*$")
_NOT_CORE = re.compile("id*B+")  # "the clot, but not the core, is"
_SECOND = re.compile("B[,j/][dqG]*S[)G]*:[^F:]*i[^F:]*[,j]q*$")  # "core and clot: none and 40%"
_COUNTS = re.compile(r"\b(?:two|three|both|bilateral|zwei|deux)\b")


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
    spread: bool = False  # it is one of a spread or of a pair
    addressed: bool = False  # stands in words to a reader or a program

    @property
    def end(self) -> int:
        """Where its figure ends in the report."""
        return self.start + self.figure.end - self.figure.start

    @property
    def several(self) -> bool:
        """Whether its sentence names two cores or a spread."""
        heading = self.spread or _COUNTS.search(self.segment.heading)
        return bool(heading or _SEVERAL.search(self.segment.text))

    @property
    def counts(self) -> bool:
        """Whether it is a present finding of the cellularity of what may be the core."""
        known = self.material in ("core", "general")
        return known and self.owner == "cellularity" and self._is_present

    @property
    def may_count(self) -> bool:
        """Whether it would be one if it were the cellularity's, or if its heading were known."""
        open_ = ("core", "general") if self.owner == "unclear" else ("unknown",)
        return self.material in open_ and self._is_present

    @property
    def may_be_of_the_core(self) -> bool:
        """Whether only its heading is not understood, and names no other material or organ."""
        tied = self.owner == "cellularity" and self.tie and self.scope in ("whole", "overall")
        unknown = self.material == "unknown" and may_be_of_the_core(self.segment.heading)
        return bool(tied and unknown and self._is_present and "|" not in self.segment.text)

    @property
    def may_be_of_now(self) -> bool:
        """Whether only a date says that it is of before."""
        return self.earlier and replace(self, earlier=False).counts

    @property
    def _is_present(self) -> bool:
        present = self.role == "finding" and not self.earlier and self.scope != "aside"
        return present and not self.addressed


def read_claims(folded: str, segments: Iterable[Segment]) -> Iterator[Claim]:
    """The claims of every figure that stands in a sentence on cellularity, or goes on from one."""
    said: set[tuple[float, ...]] = set()  # the numbers of the figures that are tied
    asked = False  # by the sentence before: "Cellularity of the core? 40%."
    heard = ended = -1  # the paragraph of a sentence on cellularity without a figure; its end
    carried: tuple[int, Claim] | None = None  # a tie that the next sentence may go on from
    for segment in segments:
        near = carried is not None and segment.paragraph - carried[0] <= 1
        if not (segment.near or near or segment.amends or heard == segment.paragraph):
            continue
        sentence = sentence_of(segment.text)
        if not sentence.figures:
            heard = segment.paragraph if _opens(segment.text) else -1
            asked = segment.text.endswith("?")
            ended = segment.end
            continue
        made = list(_claims(sentence, segment)) if segment.near else []
        corrects = segment.amends or "E" in sentence.classes
        if corrects or _SPOKEN.search(sentence.classes):
            follows = bool(carried and "%" not in folded[carried[1].end : segment.at])
            follows = follows and not is_of_another(segment.heading)
            begun = folded[segment.said[0] : segment.at]  # "The cellularity was mistyped. ..."
            follows = follows or heard == segment.paragraph or "ellul" in begun.rpartition("%")[2]
            amended = _corrections(sentence, segment, made, said, follows=follows)
            made = [*{claim.start: claim for claim in [*made, *amended]}.values()]
            new = {claim.figure.parts for claim in made if claim.amends} - said
            made = [
                replace(c, earlier=c.earlier or bool(new and c.figure.parts in said)) for c in made
            ]
        made = _by_whom(made, segment, folded) if any(c.amends for c in made) else made
        said |= {claim.figure.parts for claim in made if claim.owner == "cellularity"}
        if not made and (near or heard == segment.paragraph):
            last = carried[1] if carried and near else None
            made = list(
                _going_on(sentence, segment, last, follows=ended == segment.start, asked=asked)
            )
        if any(claim.counts or claim.may_count for claim in made):
            made = _beside(made, sentence, segment, folded, corrects=corrects)
        spoken = bool(made) and is_addressed(folded, *segment.said, amends=segment.amends)
        yield from (replace(claim, addressed=True) if spoken else claim for claim in made)
        ended = segment.end if made or {"e", "c"} & set(sentence.classes) else -1
        named = ("norm", "criterion")  # "... under 25%, which is not met. Measured here: 45%."
        owned = [c for c in made if c.owner == "cellularity" or c.role in named or c.earlier]
        if owned:
            carried = segment.paragraph, owned[-1]
        elif made:
            carried = None


def _by_whom(made: list[Claim], segment: Segment, folded: str) -> list[Claim]:
    """Corrections that are another's reading, or may be of another sample, replace none."""
    whose = may_be_anothers(segment.heading, folded[segment.said[0] : segment.end])
    if whose == "theirs":
        return [replace(claim, earlier=True, amends=False) for claim in made]
    return [replace(claim, owner="unclear") for claim in made] if whose else made


def _beside(
    made: list[Claim], sentence: Sentence, segment: Segment, folded: str, *, corrects: bool
) -> list[Claim]:
    """Claims as the words beside their sentence leave them: of then, of another, quoted, unused."""
    if of := context_of(sentence, segment, folded):
        made = [_of_context(claim, of) for claim in made]
    lead, n = f"{segment.heading} {segment.text}", len(segment.heading) + 1
    made = [
        replace(c, earlier=True)
        if is_of_an_older(folded, lead, n + c.figure.start, n + c.figure.end)
        else c
        for c in made
    ]
    if not corrects:
        cited = [is_cited(folded, segment.said[0], c.start, c.end) for c in made]
        made = [replace(c, earlier=True) if q else c for c, q in zip(made, cited, strict=True)]
    return [replace(c, scope="aside") if is_left_out(folded, c.end) else c for c in made]


def _of_context(claim: Claim, of: str) -> Claim:
    if of == "S":
        return replace(claim, material="aspirate")
    return replace(claim, earlier=True) if of == "b" else replace(claim, scope="aside")


def _claims(sentence: Sentence, segment: Segment) -> Iterator[Claim]:
    s = ticked(sentence.classes)
    ties, odd, ratio = tied(segment.text)
    last: Claim | None = None
    sided = False  # whether one of a core is among those before
    for at, figure in sentence.figures.items():
        if at in ties and s[at] in "FN":
            cells = share_of(figure, sentence.figures[ratio[at]]) if at in ratio else figure
            if cells is not None:
                claim = _claim(sentence, s, segment, at, cells, ties[at])
                if last and ties[at] == "listed":
                    claim = _listed(claim, last, sentence, s, at)
                sided = sided or bool(claim.side)
                yield (last := claim)
        elif (
            s[at] == "F"
            and at not in ratio.values()
            and not is_spread(s, ties, sentence.figures, at)
        ):
            clause = _HAS_ITS.sub("", s[after_any(s, ";.", at) : at])
            other = sided and _OTHER_CORE.search(s, 0, at + 1) is not None
            if (
                (other and not set("xLfK") & set(clause))
                or at in odd
                or may_be(s, sentence.words, at)
            ):
                yield replace(_claim(sentence, s, segment, at, figure, ""), owner="unclear")


def _listed(claim: Claim, last: Claim, sentence: Sentence, s: str, at: int) -> Claim:
    """A claim as the one before it in its list leaves it."""
    if last.now:
        claim = replace(claim, now=True)
    if last.earlier and _OF_KEY.search(s, 0, at):
        claim = replace(claim, earlier=True)
    if last.earlier and _NOT_BUT.search(s, 0, at):
        claim = replace(claim, amends=True)
    if last.role != "finding" and _WITH_LAST.search(s, 0, at):
        claim = replace(claim, role=last.role)  # "below 25% (or 25-50% with ...)"
    if claim.side and last.side not in ("", claim.side) and claim.scope != "overall":
        claim = replace(claim, scope=last.scope)  # "one end 20%, the other 60%"
    between = " ".join(sentence.words[s.rfind("F", 0, at) + 1 : at])
    if claim.scope == "whole" and claim.side == last.side and _TO_END.search(between):
        # "overall it runs from as little as 10% to 60% along the core"
        claim = replace(claim, scope=last.scope, material=last.material)
    return claim


def left_open(segments: Iterable[Segment], claims: Iterable[Claim]) -> bool:
    """Whether a figure that no noun owns stands by words on cellularity, and has no claim."""
    known = {claim.start for claim in claims}
    for segment in segments:
        passed = is_historic(segment.heading) or names_norm(segment.heading)
        if passed or segment.material in SET_ASIDE:
            continue
        sentence = sentence_of(segment.text)
        s = ticked(sentence.classes)
        for at, figure in sentence.figures.items():
            new = s[at] in "FN" and segment.at + figure.start not in known
            signs = sentence.words[at + 1 : at + 2] == ["+"] and _BESIDE.search(s, 0, at + 1)
            if new and (signs or is_free(s, at, figure)):
                return True
    return False


def _corrections(
    sentence: Sentence,
    segment: Segment,
    made: list[Claim],
    said: set[tuple[float, ...]],
    *,
    follows: bool,
) -> Iterator[Claim]:
    """What stands behind a correction and could not be tied, but may be the new figure.

    It is where it follows on the old one: "Typo: 60%". It may be where the sentence is on
    cellularity, or where a figure of before (in `said`) is named beside it: "read 60% for 40%".
    """
    s = unsigned_as_signed(sentence, said)
    met = set(s)
    wrong = _ERRORS & set(sentence.words)
    mark = 0 if segment.amends else s.find("E")
    known = {claim.start for claim in made}
    n_old = sum(figure.parts in said for figure in sentence.figures.values())
    lone = n_old == 1 and s.count("F") == 2  # "instead of 40% it is to be 60%"
    lone = lone and not met & set("LfK") and bool(met & set("kiu"))
    lone = lone or (follows and s.count("F") == 1 and not met & (ODD | set("CAHTt?ey")))
    spoken = _SPOKEN.search(s)
    for at, figure in sentence.figures.items():
        since = s[max(s.rfind("F", 0, at), s.rfind(";", 0, at)) + 1 : at]
        read = re.search(r"E[dCqv:]*$|c[vq]*$", since) is not None  # "... should (have) read 20%"
        last = s[:at].rstrip("q")
        read = read or (n_old == 1 and sentence.words[len(last) - 1] == "read")
        put = bool(spoken and spoken.start("f") == at) or (
            read
            and ("C" in s[:at] or n_old == 1)
            and ("E" in since or sentence.words[len(last) - 1] == "read")
        )
        put = put or bool(wrong and sentence.words[at - 1] == "for")  # "a typing error for 60%"
        beside = n_old and s.count("F") > 1
        new = put or (beside and figure.parts not in said)
        old = "b" in since and not new  # "(was 40%)"
        owned = s[at + 1 : at + 2] == "p" and _NOUN_BEFORE.search(since) is not None
        owned = owned or _OWN_NOUN.search(since) is not None
        if s[at] != "F" or at < mark or old or (segment.at + figure.start in known and not put):
            continue
        if (NOUN.match(s, at + 1) and not put) or re.search(r"f[MGv:q]*$|h[pdq]*y+\($", since):
            continue  # "60% cellular, with 7% blasts"; "30%; fat is 70%", "normal at age 5 (60%)"
        free = not set(s[mark:at]) & set("xLfK") and is_free(s, at, figure)
        if lone or put or beside or (met & set("CAH") and not owned) or free:
            claim = _claim(sentence, s, segment, at, figure, "goes on" if lone or put else "")
            owner: Owner = "cellularity" if lone or put else "unclear"
            yield replace(claim, amends=True, role="finding", earlier=False, owner=owner)


def _opens(text: str) -> bool:
    """Whether a sentence without a figure is on the cellularity of now and of no other material."""
    named = "llularit" in text or ("llular" in text and text.endswith("?"))
    said = set(encode(text, []).classes) if named else set()
    key = _KEY.match(text) is not None  # "Cellularity: smear moderate. Biopsy 40%."
    return bool(said) and not said & set("ebrc") and (key or "S" not in said or "B" in said)


def _going_on(
    sentence: Sentence, segment: Segment, last: Claim | None, *, follows: bool, asked: bool
) -> Iterator[Claim]:
    """The claims of a sentence without a noun of its own: "Left: 30%.", "It is 40%."."""
    s = _TAIL.sub(lambda tail: ".".ljust(len(tail[0]), "q"), sentence.classes)
    at = s.find("F")
    back = follows and _TAKEN_BACK.fullmatch(s.rstrip(".;"))
    if back and (back["led"] or "rather" in sentence.words):
        claim = _claim(sentence, s, segment, at, sentence.figures[at], "")
        yield replace(claim, owner="unclear", amends=True)
        return
    alone = s.count("F") == 1 and "N" not in s and stands_alone(sentence, s, at)
    told = any(c == "o" != WORDS.get(w) for c, w in zip(s, sentence.words, strict=True))
    if not alone or "extent" in sentence.words or (told and not follows):
        return  # "B cells fill the sinusoids. Overall extent 40%."
    named = set(s[:at]) & set("BRSbno") or "here" in sentence.words[:at]
    other = last and (last.role != "finding" or last.earlier)  # "Criterion: <25%. Found: 20%."
    told_now = not at and classes_in(segment.heading) == {"n"}  # "Actual: 40%"
    found = other and (told_now or re.fullmatch("[dqGM]*v[vqd:]*", s[:at]))
    # "... We estimate 20%.", "... Biopsy 40%."
    mine = WE.intersection(sentence.words[:at]) or s[:at].strip("GRd:") in ("B", "S")
    mine = mine or (asked and not s[:at].strip("q"))
    if (follows and mine) or (last and (named or found)) or IT.intersection(sentence.words[:at]):
        claim = _claim(sentence, s, segment, at, sentence.figures[at], "goes on")
        same = last and not (named or found or other)  # "Clot: 40%. It is 50% at most."
        role = last.role if last and claim.role == "finding" else claim.role
        claim = replace(claim, now=claim.now or told)
        same = same or (last and set(s[:at]) & set("BRSbno") == {"R"})  # "- Right: 15%. Left: 20%"
        yield replace(claim, material=last.material, role=role) if last and same else claim


def _claim(
    sentence: Sentence, s: str, segment: Segment, at: int, figure: Figure, tie: str
) -> Claim:
    figure, changed = changed_to(sentence, s, at, figure)
    role, mark, amends = role_of(s, at, sentence, segment)
    since = s.rfind("F", 0, at) + 1
    if tie == "listed" and ",v" not in s[since:at]:  # "which should be 50% at this age, is 80%"
        own = after_any(s, ",;j", at) if _OTHER_CORE.search(s, 0, at + 1) else since
        role = "norm" if _AGE.search(" ".join(sentence.words[max(since, own) : at])) else role
    first = from_to(sentence, s, at)
    if first is not None:  # "from 80% at diagnosis to 10%"
        changed = bool({"g", "E"} & set(s[:first]))
        mark = "" if changed else mark
    scope = scope_of(s, at)
    one = scope == "overall" and is_of_one(s, at)  # of that core, not of all
    old = mark in ("b", "r", "k") or (is_historic(segment.heading) and mark != "n")
    return Claim(
        figure=figure,
        start=segment.at + figure.start,
        segment=segment,
        owner="cellularity",
        tie=tie,
        role=role,
        earlier=old and (not changed or mark == "r"),
        now=mark == "n" and not one,
        scope="whole" if one else scope,
        material=_material(sentence, s, at, segment),
        side=side_of(sentence, s, at, segment.heading),
        spread=first is not None or PAIR.search(s, 0, at) is not None,
        amends=amends,
    )


def _material(sentence: Sentence, s: str, at: int, segment: Segment) -> Material:
    """The material of a figure: named behind it, else nearest before it, else by the heading."""
    ways = (_BEHIND, _OF_PARTICLES, _SOURCE)
    behind = next(filter(None, (way.match(s, at + 1) for way in ways)), None)
    if segment.heading.startswith("other "):  # the letter of a specimen of another time
        return "other"
    begin = s.rfind(".", 0, at) + 1
    s = _OF_ANOTHER.sub(lambda it: "q" * len(it[0]) if it.end() <= at else it[0], s)
    named = [met.start() for met in re.finditer("[BS]+", s)]
    figures = [n for n in sentence.figures if s[n] in "FN"]
    pair = PAIR.search(s, begin, at)
    second = s[at - 1 : at] == "/"
    if pair and "R" not in pair[0] and (second or s[at + 1 : at + 2] == "/"):
        place = pair.end() - 1 if second else pair.start()  # "(core/clot): 15%/25%"
        return "core" if s[place] == "B" else "aspirate"
    elif _SECOND.search(s, 0, at):
        return "aspirate"
    elif "respectively" in sentence.words and len(named) == len(figures):
        place = named[figures.index(at)]  # "core and clot show 30% and 40% respectively"
        return "core" if s[place] == "B" else "aspirate"
    elif behind:
        place = behind.start(1)
    else:
        s = _NOT_CORE.sub(lambda said: "q" * len(said[0]), s)
        place = max(s.rfind("B", begin, at), s.rfind("S", begin, at))
        if KINDS.get(sentence.words[place]) == "bones" and (core := _OF_BONE.search(s, 0, place)):
            place = core.start()  # "the core biopsy of the vertebra"
        if place < 0:
            return segment.material
    # "core and clot": joined names hold together
    lists = re.finditer(rf"[BS]+(?:[dMG]*[j,{'/' * (s.count('F') == 1)}][djM,G]*[BS]+)+", s)
    names = next((it[0] for it in lists if it.start() <= place < it.end()), s[place])
    if {"B", "S"} <= set(names):
        return "core"
    if s[place] == "B":
        return "touch" if re.search(r"S[pG]*d?M*$", s[begin:place]) else "core"
    kind = KINDS.get(sentence.words[place].rstrip("-"), "other")
    return "clot" if kind == "clot" else "touch" if kind == "touch" else "aspirate"
