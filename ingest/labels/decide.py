"""From the claims of a Report to one Reading, or to none with its reason. Read it top to bottom."""

from __future__ import annotations

import re
from collections.abc import Sequence

from featurestore.types import Reading, ReadingOutcome
from ingest.labels.claims import Claim, left_open
from ingest.labels.grammar import FILLED
from ingest.labels.headings import classes_in, is_historic, is_remark
from ingest.labels.languages import HIGH_ENDS, LOW_ENDS
from ingest.labels.received import OTHER, absent, denied_at, is_of_a_core, names_no_core
from ingest.labels.segments import Segment
from ingest.labels.specimens import declared
from ingest.labels.tokens import sentence_of
from ingest.labels.voids import taken_back_at, unread_cores

EVIDENCE_CHARACTERS = 200
_SPREAD = re.compile(r"\bvar(?:y|ies|iable)\b|\bheterogen|\bpatchy|\bsome\b.*\bothers?\b")
# "cellularity low: 40", "cellularity high: 50"
_END = re.compile(
    rf"(?<=cellularity)(?: core| biopsy| percent| pct)*[ (,]+"
    rf"(?:(?P<low>{'|'.join(LOW_ENDS)})|(?P<high>{'|'.join(HIGH_ENDS)}))"
    r"(?=[ ),(]*(?:%|pct|percent)?[ )]*$)"
)
# "cellularity (%) | 35 | 60": which column is it?
_COLUMNS = re.compile(r"\|[^|\w]*\d")
_DAY = re.compile(r"\d\d?[./]\d\d?[./]\d{2,4}|\d{4}-\d\d(?:-\d\d)?|\d\d?[ -][a-z]{3,9}[ -]\d{4}")
# "Collected: 2024-03-01", before the day
_TAKEN = r"(?:collect|procedure|biops|taken|receiv|obtain|perform|sampl|date)[^\n|\t%]{0,40}?"
# "focally 80% cellular", "the most cellular area shows 60%"
# ", focally 90%", "(focally up to 90%)", "with foci of 90%"
_FOCUS = re.compile(
    r"[,;(]\s?(?:but |and |though |with )?(?:only )?(?:focal|foci|hot ?spot|fokal|herdförm|stellenw"
    r"|localement|par endroits|in (?:places|foci|spots))"
)
_FOCAL = re.compile(
    r"\b(?:focal(?:ly|ement)?|fokal|herdförmig|stellenweise|örtlich|localement|par endroits"
    r"|focus|foci|maximum|minimum|highest|lowest|places|pockets?"
    r"|(?:most|least) cellular)\b"
)
# a heading of another sample
_SPECIMEN = re.compile(
    r"biops|section|specimen|sample|block|tissue|prepar|resect|excis|node|schnitt"
)
# "age-appropriate cellularity: 30%", in a marrow that is called hypercellular
_FIT = re.compile(
    r"\b(?:age[- ](?:appropriate|adjusted|matched)|alters(?:entspr|gerecht|adäqu|norm)[a-z]*)"
    r" (?:[^\W\d_]+ )?[cz]ellul"
)
# "one focus of 70%; no overall estimate is possible"
_NO_OVERALL = re.compile(
    r"no overall\b|overall (?:[cz]ellularity|figure|estimate|value)[^.\n%]{0,25}"
    r"\b(?:not|cannot)\b"
    r"|elsewhere no (?:estimate|figure)|(?:cellularité globale|gesamtzellularität)[^.\n%]{0,20}"
    r"\b(?:non|nicht|pas)\b"
)
_HYPER = re.compile(r"hyp(?:er|o)-?[cz]ell")
# "7 intertrabecular spaces", "megakaryocytes are normal": what is seen in marrow
_MORPHOLOGY = re.compile(
    r"megakary|[eé]ryth|granulo|my[eé]lo|[cz]ort(?:ex|ical)|trabec|retic|fibros|adip|\bfat"
    r"|\d ?[cm]m\b"
)
# "on deeper levels the cellularity is 60%": a remark that takes another figure's place
_REVISES = re.compile(
    r"\b(?:deeper|further|additional|recuts?|second (?:look|review|opinion)|revis|correct|wrong"
    r"|error|instead|should|re-?(?:cut|view|read|exam|assess|evaluat))"
)


def decide(
    text: str, folded: str, claims: Sequence[Claim], segments: Sequence[Segment], rule: str = ""
) -> Reading:
    """One Reading from all claims; it has a value only where one consistent finding remains."""
    claims = _of_the_findings(claims)
    good = [claim for claim in claims if claim.counts]
    hidden = [claim for claim in claims if claim.may_count or _is_hidden(claim)]
    taken_back = max(taken_back_at(folded, segments), denied_at(folded, segments))
    if taken_back >= 0 and not (good := _put_instead(good, claims, taken_back, segments)):
        return none_read("a correction takes the figure back")
    if not good and not declared(folded) and all(it.material != "core" for it in segments):
        good = [claim for claim in claims if claim.may_be_of_the_core]
    settled = bool(good) and (_alike(good) or any(claim.amends for claim in good))
    good = good if settled else _of_the_day(claims, folded) or good
    is_open = not good and left_open(segments, claims)
    good = good or ([] if is_open else _only(hidden, segments, folded))
    if not good:
        return _without(hidden, is_open and not (absent(folded) or names_no_core(folded)))
    good, why_none = _of_cores(good, folded)
    if why_none:
        return why_none
    amended = [claim for claim in good if claim.amends] or good
    known = {(claim.figure.low, claim.figure.high) for claim in amended}
    if any(
        c.amends and not c.addressed and (c.figure.low, c.figure.high) not in known for c in hidden
    ):
        return none_read("a correction could not be read for certain", read=False)
    pool, overall = _decisive(good, hidden)
    since = min((claim.start for claim in pool if claim.amends), default=0)  # it replaces the old
    doubtful = [c for c in claims if c.may_count and not any(_says_again(c, one) for one in pool)]
    doubtful = [claim for claim in doubtful if claim.amends or claim.start > since]
    doubtful = [claim for claim in doubtful if not _is_met(claim, pool)]
    if all(claim.material == "core" for claim in pool):  # "the trial's sample was 60% cellular"
        doubtful = [c for c in doubtful if c.material != "general" or c.amends]
        doubtful = [c for c in doubtful if not _is_beside(c, pool)]
    if doubtful and not overall and not all(claim.now for claim in pool):
        return none_read("another figure may be the cellularity too", read=False)
    if not overall and _NO_OVERALL.search(folded):
        return none_read("no figure of the whole is given", read=False)
    unread = [] if overall or _alike(pool) else unread_cores(folded)
    pool = _read_alone(pool, unread)
    if not pool:
        return none_read("one of the cores is said not to be readable", read=False)
    if not (overall or unread) and any(_is_left_out(claim, pool) for claim in claims):
        return none_read("the figure of the other side could not be tied", read=False)
    if all(_FIT.search(claim.segment.text) for claim in pool) and _HYPER.search(folded):
        return none_read("the figure may be that of the age", read=False)
    return _of_pool(text, pool, rule)


def _of_cores(good: list[Claim], folded: str) -> tuple[list[Claim], Reading | None]:
    """The findings of a core that is there, and why there are none."""
    if all(is_of_a_core(claim, folded) for claim in good):
        return good, None
    gone = absent(folded)
    sure = [claim for claim in good if is_of_a_core(claim, folded)]
    good = sure if gone or names_no_core(folded) else good
    if good:
        return good, None
    if not gone:
        return good, none_read("no core is named", read=False)
    empty = all(left for _, left in gone)
    why = "the core holds no marrow to read" if empty else "no core was received"
    return good, none_read(why, read=not empty)


def _put_instead(
    good: list[Claim], claims: Sequence[Claim], taken_back: int, segments: Sequence[Segment]
) -> list[Claim]:
    """What a correction puts in the place of figures that are taken back."""
    old = {c.figure.parts for c in claims if not c.amends or c.start < taken_back}
    new = [claim for claim in good if claim.amends and claim.start > taken_back]
    for segment in segments:  # "evaluation impossible (that of 60% is void)"
        if segment.at <= taken_back < segment.end:
            put = {claim.figure.parts for claim in new if claim.segment is segment}
            named = {figure.parts for figure in sentence_of(segment.text).figures.values()}
            old |= named - put
    return [claim for claim in new if claim.figure.parts not in old]


def _read_alone(pool: list[Claim], unread: Sequence[frozenset[str]]) -> list[Claim]:
    """The figures of the cores that can be read, or none where it is not told which those are."""
    sides = {claim.side for claim in pool}
    if not unread:
        return pool
    if "" in sides or frozenset() in unread or sides <= frozenset().union(*unread):
        return []
    if not sides & {"1", "2"} and any(not names & {*sides, "r", "l"} for names in unread):
        return []  # "one of them" is which?
    return [claim for claim in pool if not any(claim.side in names for names in unread)]


def _is_left_out(claim: Claim, pool: Sequence[Claim]) -> bool:
    """Whether a figure is of another core, where those that count are of one core alone."""
    one = {it.side for it in pool}
    sided = len(one) == 1 and "" not in one and claim.side not in ("", *one)
    named_alike = {(side in "rl", side.isdigit()) for side in {claim.side, *one}}
    return sided and len(named_alike) == 1 and (claim.counts or claim.may_count)


def _of_the_day(claims: Sequence[Claim], folded: str) -> list[Claim]:
    """Of a series of dated readings the one of the report's own date."""
    dated = [
        (c, _DAY.search(c.segment.text, 0, c.figure.start))
        for c in claims
        if c.may_be_of_now or c.counts
    ]
    days = {day[0] for _, day in dated if day}
    own = [day for day in days if re.search(_TAKEN + re.escape(day), folded)]
    return [c for c, day in dated if day and day[0] == own[0]] if len(own) == 1 < len(days) else []


def _of_the_findings(claims: Sequence[Claim]) -> list[Claim]:
    """Where the findings of the core say the cellularity, a remark elsewhere disputes nothing."""
    if not any(c.counts and c.scope != "part" and not _is_remark(c) for c in claims):
        return list(claims)
    return [claim for claim in claims if not _is_remark(claim)]


def _without(hidden: list[Claim], is_open: bool) -> Reading:
    """Why no figure is a finding of the core."""
    if hidden:
        return none_read("a figure could not be tied for certain", read=False)
    if is_open:
        return none_read("a figure stands by the cellularity and could not be tied", read=False)
    return none_read("every figure has another owner")


def _only(hidden: list[Claim], segments: Sequence[Segment], folded: str) -> list[Claim]:
    """Findings under headings that are not known, where no other is there: those of a core.

    Its own paragraph has to speak of bone, fat or blood-forming cells, and of nothing else.
    """
    known = (it for it in segments if not is_historic(it.heading))
    if declared(folded) or any(it.material == "core" for it in known):
        return []
    same = bool(hidden) and (_alike(hidden) or all(claim.side for claim in hidden))
    return hidden if same and all(_is_of_a_core(claim, folded) for claim in hidden) else []


def _is_of_a_core(claim: Claim, folded: str) -> bool:
    head, said = claim.segment.heading, claim.segment.text
    if claim.owner != "cellularity" or claim.amends or claim.addressed:
        return False
    if claim.scope not in ("whole", "overall") or _COLUMNS.search(said):
        return False
    if OTHER.search(f"{head} {said}") or _SPECIMEN.search(head):
        return False
    begin, end = claim.segment.start, claim.segment.end
    before, after = folded.rfind("\n\n", 0, begin), folded.find("\n\n", end)
    beside = folded[max(before, 0) : begin] + folded[end : after if after >= 0 else None]
    return _MORPHOLOGY.search(beside) is not None


def _is_remark(claim: Claim) -> bool:
    """Whether a figure stands in a note, a comment or the like, and takes no other one's place."""
    holds = claim.amends or claim.now or claim.scope == "overall"
    under = is_remark(claim.segment.heading, claim.segment.material)
    return under and not holds and not _REVISES.search(claim.segment.text)


def _is_beside(claim: Claim, pool: Sequence[Claim]) -> bool:
    """Whether a figure that is hardly tied has its own sentence: "tumor cellularity 90%"."""
    placed = all(claim.segment.at != one.segment.at for one in pool) and any(
        claim.segment.heading == one.segment.heading for one in pool
    )
    return placed and claim.owner == "unclear" and claim.scope != "overall" and not claim.amends


def _decisive(good: list[Claim], hidden: list[Claim]) -> tuple[list[Claim], bool]:
    """The last correction's, today's, overall and core claims, and whether they are overall."""
    amended = [claim for claim in good if claim.amends]
    old = {claim.figure.parts for claim in good if not claim.amends}
    if amended:
        last = max(amended, key=lambda claim: (_numbered(claim.segment.heading), claim.start))
        good = [claim for claim in amended if claim.segment.paragraph == last.segment.paragraph]
        # "was transcribed as 60%. The correct value is 90%."
        good = [claim for claim in good if claim.figure.parts not in old] or good
    good = [c for c in good if not any(_is_focus(c, it) for it in good)]
    now = [claim for claim in good if claim.now]
    good = now if now and not _alike(good) else good
    by_name = [claim for claim in good if claim.tie != FILLED]  # a paraphrase may be of a part
    good = by_name or good
    overall = [claim for claim in good if claim.scope == "overall"]
    overall = _of_all_cores(overall, [*good, *hidden])
    # "some areas 10% and others 70%": what is listed with a part is one
    parts = {
        claim.segment.at
        for claim in good
        if claim.scope == "part" and (claim.tie == "listed" or _SPREAD.search(claim.segment.text))
    }
    whole = [c for c in good if c.scope in ("whole", "overall") and c.segment.at not in parts]
    pool = overall or whole or good
    cores = [claim for claim in pool if claim.material == "core"]
    return cores if cores and _covers(cores, pool) else pool, bool(overall)


def _is_focus(claim: Claim, one: Claim) -> bool:
    """Whether a figure is of a focus beside that of the whole: "40% cellular, focally 90%"."""
    if (
        claim.scope != "part"
        or one.scope not in ("whole", "overall", "part")
        or one.end > claim.start
    ):
        return False
    between = claim.segment.text[one.end - claim.segment.at : claim.figure.start]
    return one.segment is claim.segment and "%" not in between[1:] and bool(_FOCUS.search(between))


def _of_all_cores(overall: list[Claim], good: Sequence[Claim]) -> list[Claim]:
    """Overall figures but those of one core, where another's stands beside or behind them."""
    first = min((claim.start for claim in overall if claim.side), default=0)
    sides = {claim.side for claim in good if claim.side and claim.start >= first}
    return [claim for claim in overall if not claim.side or len(sides) == 1]


def _is_focal(claim: Claim) -> bool:
    said = _FOCAL.search(claim.segment.text)
    return said is not None and (claim.scope == "part" or said[0].endswith("cellular"))


def _are_ends(pool: Sequence[Claim]) -> bool:
    """Whether two fields hold the ends of a range: "cellularity low: 40", "... high: 50"."""
    ends = [_end_of(claim) for claim in pool]
    return (
        [end.lastgroup for end in ends if end] == ["low", "high"]
        and len({_END.sub("", end.string, count=1) for end in ends if end}) == 1
        and pool[0].figure.value <= pool[1].figure.value
    )


def _end_of(claim: Claim) -> re.Match[str] | None:
    return _END.search(claim.segment.text[: claim.figure.start].rpartition(":")[0])


def _numbered(heading: str) -> int:
    """The number of an addendum: the second may stand before the first."""
    said = re.match(r"\D{0,40}?\b(\d)\b", heading)
    return int(said[1]) if said else 0


def _of_pool(text: str, pool: list[Claim], rule: str) -> Reading:
    """One value: all alike, the mean over cores, or the range that holds all others."""
    if any(map(_end_of, pool)):
        ends = _stated(text, pool, rule or "two ends") if _are_ends(pool) else None
        return ends or none_read("one end of a range stands alone", read=False)
    if all(map(_is_focal, pool)) and _alike(pool):
        return none_read("only a part of the marrow has a figure", read=False)
    exact = [claim for claim in pool if claim.figure.qualifier not in ("<", ">")]
    if exact and all(_holds(bound, exact) for bound in pool if bound not in exact):
        pool = exact  # "10% cellular ... under 25%, as the criteria ask"
    if _alike(pool):
        return _stated(text, pool[:1], rule or pool[0].tie)
    cores: dict[str, list[Claim]] = {}
    for claim in pool:
        cores.setdefault(claim.side, []).append(claim)
    unnamed = cores.pop("", [])
    named = [same[0] for same in cores.values()]
    odd = not {"r", "l"}.isdisjoint(cores) and any(map(str.isdigit, cores))  # "study 3", "(L)"
    if len(named) > 1 and not odd and all(map(_alike, cores.values())) and _covers(named, unnamed):
        return _stated(text, named, rule or "mean over cores")
    first, *rest = sorted(pool, key=lambda claim: claim.start)
    spread = first.figure.high > first.figure.low and first.segment.start == rest[-1].segment.start
    if spread and _alike(rest) and _within(rest[0], first) and _SPREAD.search(first.segment.text):
        return _stated(
            text, rest[:1], rule or rest[0].tie
        )  # "varies from 20 to 70%, as a whole 40%"
    listed = sum(claim.tie == "listed" for claim in pool) >= len(pool) - 1
    mixed = "S" in classes_in(pool[0].segment.heading)  # "Core and clot: 40% and 60% cellular"
    several = all(claim.several for claim in pool) or any(claim.spread for claim in pool)
    if listed and (mixed or not several):
        return none_read("a second figure stands beside it", read=False)
    if listed and len({claim.segment.start for claim in pool}) == 1:
        return _stated(text, pool, rule or "mean over cores")
    if len({claim.segment.start for claim in pool}) == 1 and _SPREAD.search(pool[0].segment.text):
        return _stated(text, pool, rule or "spread")
    widest = max(pool, key=lambda claim: claim.figure.high - claim.figure.low)
    if widest.figure.qualifier is None and all(_within(claim, widest) for claim in pool):
        return _stated(text, [widest], rule or widest.tie)
    return none_read("figures disagree", read=False)


def _covers(cores: Sequence[Claim], pool: Sequence[Claim]) -> bool:
    """Whether no figure under a general heading is outside of those of the core."""
    low, high = min(c.figure.low for c in cores), max(c.figure.high for c in cores)
    return all(low - 5 <= c.figure.low and c.figure.high <= high + 5 for c in pool)


def _is_hidden(claim: Claim) -> bool:
    """A finding under a heading that was not understood, or beside words to a reader."""
    present = claim.role == "finding" and not claim.earlier and claim.owner == "cellularity"
    return present and (claim.material == "unknown" or claim.addressed)


def _holds(bound: Claim, claims: Sequence[Claim]) -> bool:
    """Whether a bound without a side of its own is true of all the others."""
    low, high = bound.figure.low, bound.figure.high
    return not bound.side and all(low <= c.figure.low and c.figure.high <= high for c in claims)


def _is_met(claim: Claim, pool: Sequence[Claim]) -> bool:
    """Whether it is a bound under a name that is not known, and true: "Camitta: below 25%"."""
    bound = claim.material == "unknown" and claim.figure.qualifier in ("<", ">")
    return bound and not claim.amends and _holds(claim, pool)


def _alike(claims: Sequence[Claim]) -> bool:
    return len({(claim.figure.low, claim.figure.high) for claim in claims}) == 1


def _says_again(claim: Claim, one: Claim) -> bool:
    """Whether a figure is another's: within it, or rounded, "a third of the space (33%)"."""
    return _within(claim, one) or abs(claim.figure.value - one.figure.value) < 0.5


def _within(claim: Claim, widest: Claim) -> bool:
    if widest.figure.qualifier in ("<", ">") and not _alike([claim, widest]):
        return False
    return widest.figure.low <= claim.figure.low and claim.figure.high <= widest.figure.high


def _stated(text: str, claims: Sequence[Claim], rule: str) -> Reading:
    low = min(claim.figure.low for claim in claims)
    high = max(claim.figure.high for claim in claims)
    value = sum(claim.figure.value for claim in claims) / len(claims)
    qualifiers = {claim.figure.qualifier for claim in claims}
    return Reading(
        value=round(value, 2),
        low=round(low, 2),
        high=round(high, 2),
        qualifier=qualifiers.pop() if len(qualifiers) == 1 else None,
        evidence=evidence(text, *claims),
        rule=rule,
    )


def evidence(text: str, claim: Claim, *others: Claim) -> str:
    """The text of all claims where it has 200 characters, else the sentence of the first, cut."""
    said = [one.segment for one in (claim, *others)]
    begin, end = min(one.start for one in said), max(one.end for one in said)
    if end - begin > EVIDENCE_CHARACTERS and others:
        return evidence(text, claim)
    if end - begin > EVIDENCE_CHARACTERS:
        middle = claim.start + (claim.figure.end - claim.figure.start) // 2
        begin = max(begin, min(middle - EVIDENCE_CHARACTERS // 2, end - EVIDENCE_CHARACTERS))
        end = begin + EVIDENCE_CHARACTERS
    return text[begin:end].strip()


def none_read(reason: str, *, read: bool = True) -> Reading:
    """A Reading without a value: states none, or not read."""
    outcome: ReadingOutcome = "states none" if read else "not read"
    return Reading(
        value=None, low=None, high=None, rule=f"none: {reason}", outcome=outcome, reason=reason
    )
