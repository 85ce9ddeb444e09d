"""What a figure is said to be, and of when: a finding, one of before, a norm, a criterion."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Literal

from ingest.labels.figures import Figure
from ingest.labels.headings import names_norm
from ingest.labels.languages import VOID, words_of
from ingest.labels.segments import Segment
from ingest.labels.tokens import MODALS, Sentence, after_any

Role = Literal["finding", "norm", "criterion", "quality"]
_OF_AGE = re.compile(r"F[^F]*\([dpz]*y[:dpv]*$")  # "40% hypercellular (for age 30%)"
# "cellularity, age: 50", "cellularity (age-matched mean): 50"
# "40% -- WITHDRAWN, wrong slide"
_VOIDED = re.compile(rf"[\s:;,([*-]{{1,6}}(?:please )?(?:discard|{VOID})")
_AGED = re.compile(
    r"ity[ ,([/-]{1,3}age(?:[ -](?:mean|average|median|group|matched|adjusted))*[\]),:|=> -]*$"
)
# "the age-appropriate cellularity is 40%", "the cellularity appropriate for age is 40%"
_FIT = re.compile(r"(?:(?P<age>y)[hxq]?C(?P<is>[qn]*v[qdp]*)?|C[hx]p+d*yv[qdp]*)F$")
_AT_AGE = re.compile(r"F[pI]d*(?P<age>y)")  # "the cellularity (see table: 40% for 50 years) is"
# "cellularity below 20% is usually", "over 60% with panmyelosis would favor"
_RULE = re.compile(r"C[opdM]*F(?:(?=[^.;,j]*v)[^.;]*[ec]|[^.;,FN]*cq*[xv])")
WITHOUT = re.compile(r"(?:c[dq]*)?a[dqupvMBG]*a")  # "[excluding the subcortical] spaces 40%"
# "is within the expected range for age, at 40%"
_COMPARED = re.compile("[pIq][dqh]*e[eq]*(?:p[dq]*y[yd]*)?(?=[,(])")
_ADVERB = re.compile("e(?=x)")
_MODAL = MODALS | words_of(
    """ought if whether unless when rule suspected query sollte wäre wären würde würden könnte muss
    müssen soll sollen wenn si doit faut doivent devait lorsque quand severe calls aim goal"""
)
_FROM, _TO = ("from", "von", "de"), ("to", "auf", "zu", "à")
# verbs of change, and no states as "reduced" is: "rose 20% to 60%" ends at 60 either way
_CHANGES = words_of(
    """rose risen rise fell fallen fall dropped drop went gone grown come down declined improved
    recovered climbed ging sank sinkt stieg gestiegen fiel gefallen gesunken passée passé passe"""
)
_UNIT = re.compile(r"\([q%y]+\)(?=:)")  # "Normal cellularity for age (%): 40", "... (76): 40"
_CORRECTS = re.compile("E(?![qx]{0,2}c)")  # but not "the modified Camitta criteria"
_YOURS = re.compile(r"\bihr(?:e[mnrs]?)? (?:befund|bericht|brief|gutachten|schreiben)")
_AGAINST = words_of("within above below under over beyond inside")
_PAST = words_of("had was were showed")
# "60% (outside report)", "60%, prior biopsy", "60%, according to the sender"
_OF_BEFORE = re.compile(
    r"F[AC]?[MG]*[,;:(]+(?P<by>[dqv]*[pz]+)?[dqvRM]*(?P<mark>b|rx?)[MBGSdbRyq]*(?:[.;,)](?!:)|$)"
)
# "a cellularity of 90% was claimed", "as quoted by the clinic", "per the transfer note"
_HEARD = re.compile(
    r"\b(?:said to be|were told that|(?:clinic|letter|notes?|referral|request|zuweiser|klinik"
    r"|courrier|lettre)"
    r" (?:quot|claim|sa[iy]|stat|mention|giv|report|list|annonc|donn|gibt|nennt|meld)\w*)\b"
    r"|\b(?:claimed|alleged|asserted|rumou?red|behauptet|prétendue?)\b"
    r"|\b(?:as|wie|comme) (?:quoted|cited|relayed|communicated|told|zitiert|mitgeteilt|citée?)\b"
    r"|\b(?:per|according to|laut|gemäß|selon|d'après) (?!my |our |this )(?:[^\W\d_]+ ){0,3}?"
    r"(?:[^\W\d_]*(?:brief|schein)|note|letter|form|chart|record|report|clinic|lettre|courrier|überweisung|klinik|zuweiser|befund|bericht|compte)\b"
)
# "is no longer 90%", "not 40%", "no cellularity of 90%", "do not agree with the 90%"
_DENIED = re.compile("[ik]R?(?:[xv]?w)?(?:,[^,F]*,)?[pdqv]*$|iR?[xv]?w?[dq]*C[pd]*$")
# "cellularity for age: 30-40%", "average cellularity at 75 yrs is 25%", "increased (age 65: 30%)"
_AT_AN_AGE = re.compile(r"(?:C[pI][dnho]*y[ydNq:]*[vo]?[vq:]*|\(p?y[yN]*:)F$")
_AS_USUAL = re.compile("F[KMLG]{0,2}ke")  # "gelten 20-40 % Blutbildung als üblich"
_THEN = re.compile("^[pI]d?b(?=d?[MBCG][^F;,.]*[vg])")  # "from 90% at diagnosis the marrow fell to"
_AT_THEN, _AT_WHEN = re.compile("[pI]d?b,"), words_of("at on in during zum bei au à zu")
_BOXED_THEN = re.compile(r"\)[pI]d?b")  # "hypercellular (95%) at diagnosis"
_NORM_IS = re.compile("F,d?q*e")  # "exceeds 40%, the norm"
_THAN = words_of("than als que")
_THAN_ENDS = re.compile("k[^,;:F]*[,;:]")  # "less cellular than before, at 40%"
_WHO = words_of("which that who where when qui die der das welche dont wo où")
_WHICH, _IS = words_of("which what that"), words_of("is was")
_AS = words_of("as like wie comme to than")
WE = words_of("i we ich wir je nous")


def role_of(s: str, at: int, sentence: Sentence, segment: Segment) -> tuple[Role, str, bool]:
    """Role, the mark that decides time (b before, r another's, n now), and whether it corrects."""
    before = _before(sentence, s, at)
    if sentence.words[at - 1 : at] == ["at"]:
        before = re.sub("ph+e", "", before)  # "is within normal limits for age at 40%"
    since = after_any(s, ".;F", at)
    if WE.intersection(sentence.words[since:at]):
        before = before.replace("r", "q")  # "in your block we read"
    lies = "within" in sentence.words[at + 1 : at + 6]  # "40%, which is within normal limits"
    after = "" if lies else WITHOUT.sub("", _behind(s, sentence.words, at))
    after = re.sub("n(?=[xye])", "", after)
    amends = segment.amends or _CORRECTS.search(s, 0, at) is not None
    marks = "ebrnk" if amends and not _is_ruled(sentence) else "ebcrnk"
    # "transcribed as 16%; the correct figure is 60%", "the cellularity of 85% should read 65%"
    old = amends and re.match(r"F[^F]*E[dCqv:]*F", s[at:])
    if old or _is_past(sentence, s, at):
        return "finding", "b", False
    aged = _is_of_age(sentence, s, at) or _OF_AGE.search(s, 0, at)
    if aged or _AGED.search(segment.text[: sentence.figures[at].start]):
        return "norm", "", False
    bound = sentence.figures[at].qualifier in ("<", ">")
    yours = _YOURS.search(segment.text, 0, sentence.figures[at].start)
    if yours or _VOIDED.match(segment.text, sentence.figures[at].end) or _is_heard(sentence, s, at):
        return "finding", "r", False
    if bound and _NORM_IS.match(s, at):
        return "norm", "", False
    if "?" in s[at + 1 : at + 3] or (bound and _RULE.match(s, max(0, s.rfind("C", 0, at)))):
        return "criterion", "", False
    mark = next((letter for letter in after + before[::-1] if letter in marks), "")
    behind = _OF_BEFORE.match(s, at)
    if behind and _AS.isdisjoint(sentence.words[at : behind.start("mark")]):
        mark = behind["mark"][0]
    what = "what" in sentence.words[since:at] and re.search(r"vh[pdy]*\($", before)
    normal = what or re.search(r"h[^,(;)wjx]*$", before)
    # "normal for age 30-50%", but not "normal for age at 40%", "normal marrow of 80% cellularity"
    if normal and mark != "n" and not re.search("[MB][^F]*p$|[MB][qod]+C", normal[0]):
        said = sentence.words[max(0, at - len(normal[0])) : at]
        if said[-1] != "at" and {"n", "normal", "nl", "normale"} & set(said):
            return "norm", "", False
    listed = re.search("[:,]yy[yj]*$", s[:at])  # "18-39 years 50-70%, 40-59 years 40-60%"
    # "the mean age-matched cellularity in our laboratory is 55%"
    listed = listed or re.search("e[yqdMBG]*C[^,;:(jkwu]*$", before)
    mark = "e" if listed or (names_norm(segment.heading) and mark != "n") else mark
    if mark in ("e", "c"):
        return ("norm" if mark == "e" else "criterion"), "", False
    return "finding", mark, amends


def _is_ruled(sentence: Sentence) -> bool:
    """Whether a sentence of a correction is on a criterion: "should read 40%" is none."""
    words = zip(sentence.classes, sentence.words, strict=True)
    return any(letter == "c" and word not in _MODAL for letter, word in words)


def _is_heard(sentence: Sentence, s: str, at: int) -> bool:
    """Whether the clause of a figure only tells what another says."""
    end = at + len(re.split("[.;j]", s[at:], maxsplit=1)[0])
    return _HEARD.search(" ".join(sentence.words[after_any(s, ".;j", at) : end])) is not None


def _is_of_age(sentence: Sentence, s: str, at: int) -> bool:
    """Whether a figure is what is fit for an age, and not of a marrow that is said to be fit."""
    if _AT_AN_AGE.search(s[: at + 1]) or _AS_USUAL.match(s, at):
        return True
    years = _AT_AGE.match(s, at) if re.search(r"C\([^()FN]*$", s[:at]) else None
    if years and not sentence.words[years.start("age")]:
        return True  # a number of years
    fit = _FIT.search(s[: at + 1])
    if fit is None or fit["age"] is None:
        return fit is not None
    figure = sentence.figures[at]
    told = fit["is"] or figure.high - figure.low >= 20  # a norm is as wide
    return bool(told) and sentence.words[fit.start()].startswith(("age", "alter"))


def _before(sentence: Sentence, s: str, at: int) -> str:
    """What stands before a figure in its sentence and may say when or what it is."""
    since = after_any(s, ".;", at)
    before = s[since:at]
    before = _UNIT.sub(lambda unit: "q" * len(unit[0]), before)
    for said in _THAN_ENDS.finditer(before):
        which = _WHO.intersection(sentence.words[since + said.end() :][:1])  # "..., which had 60%"
        bare = "b" in said[0] and not before[said.end() :].strip("qd")  # "than before, 60%"
        told = bool(which) or bare
        if sentence.words[since + said.start()] in _THAN and not told:
            before = before.replace(said[0], "q" * (len(said[0]) - 1) + said[0][-1])
    for said in _ADVERB.finditer(before):  # "normally populated", but not "normally 40%"
        if sentence.words[since + said.start()].endswith(("ly", "lement", "weise")):
            before = f"{before[: said.start()]}q{before[said.end() :]}"
    alone = sentence.figures[at].low == sentence.figures[at].high
    for said in _COMPARED.finditer(before):
        open_ = before[said.end()] == "," or alone  # no "limits (30-50%)": that is the norm
        open_ = open_ and "F" not in before[: said.start()]  # "10% below that expected (50%)"
        if open_ and sentence.words[since + said.start()] in _AGAINST:
            before = before.replace(said[0], "q" * len(said[0]))
    before = re.sub("(?<=n)b(?=[MBG])", "q", before)  # "the current pre-transplant marrow"
    before = re.sub("n(?=N)", "q", before)  # "Marrow in 2001, our 77: 50% cellular"
    before = re.sub(r"(?<=b)\([^()n]*[FN][^()n]*\)(?=v)", "", before)  # "before (in 2019) it was"
    for _ in range(min(3, before.count("("))):  # a figure in brackets says nothing of what follows
        before = re.sub(r"\([^()n]*[FN][^()n]*\)", ",", before)
    # "cellularity, when measured twice, is", "the deep marrow, which is what should be judged, has"
    before = re.sub(r",(?:[^,FN]*,(?=q*v)|p?d[vc][^,FN]*,)", "", before)
    before = re.sub("^[^CAHFN]*v[^CAHFN]*:(?=d?[MBC]|dv)", "", before)  # "it is another story: the"
    before = re.sub(r"(?<=v)b(?=\($|[zw]d?[xLf])", "q", before)  # "is replaced (95% cellular) by"
    before = re.sub(
        "k(?:[ebd],(?=q*p$)|v,(?=q*p?$))", ",", before
    )  # "less cellular than expected, at 40%"
    before = re.sub("k(?=d?[Rf])", "q", before)  # "more cellular (50%) than the left (30%)"
    before = re.sub(r"kp+d*y(?!y)", "", before)  # "hypocellular relative to age"
    before = re.sub("prd|(?<=[BMG])r[qd]*[xv](?=v)", "", before)  # "of your patient", "you sent is"
    before = before.rpartition(",j")[2]  # "..., which limits the estimate, but it is"
    # "Compared with the prior, the core is ..."
    lead = re.match(r"[^FCAEe,(MBG]*[kb][^FCAEe,(]*,+(?=[dnoqv]*[CMBGHAF])", before)
    then = lead and _AT_THEN.match(before) and sentence.words[since] in _AT_WHEN
    then = then and not any(map(str.isdigit, "".join(sentence.words[since : since + 3])))
    before = before[lead.end() :] if lead and not then else before
    last = max(before.rfind("F"), before.replace("pN", "py").rfind("N"))  # "expected at 50"
    tail = _THEN.sub("", before[last + 1 :])
    if last < 0 or not tail.strip(",j/") or tail[0] == ":":
        return before
    boxed = tail.rpartition("(")[2].replace(",", "q")  # "(normal for a 60-year-old, 40-60%)"
    own = boxed if boxed and "(" in tail and ")" not in boxed else re.split("[,j]", tail)[-1]
    return tail if own[:1] == "%" else own  # "12. Expected cellularity, %: 40"


def _behind(s: str, words: list[str], at: int) -> str:
    """What stands behind a figure in its clause and may say when or what it is."""
    stop = re.search(r"[,;:.()|jwkFu]|$", s[at + 1 :])
    lead = _THEN.match(s[at + 1 :]) or (s[at - 1 : at] == "(" and _BOXED_THEN.match(s[at + 1 :]))
    behind = "" if not stop or stop[0] in ("F", ":") else s[at + 1 : at + 1 + stop.start()]
    behind = lead[0] if lead else behind
    behind = re.sub("c(?=[dq]*o)", "q", behind)  # "50% when all is taken together"
    told = _WHICH.intersection(words[at + 1 : at + 2]) and _IS.intersection(words[at + 2 : at + 3])
    return behind.replace("c", "q") if told else behind  # "40% which is where it should be"


def _is_past(sentence: Sentence, s: str, at: int) -> bool:
    """Whether it reads "reduced from 70%", "80% -> ...", "(was 40%)" or "not 40%"."""
    arrow = s[at + 1 : at + 3] == "uF" and not sentence.words[at + 1].isalpha()
    if arrow or _DENIED.search(s, max(0, at - 16), at):
        return True
    if re.match("F[pI][^F.;]*M[^F.;]*pF", s[at:]):
        return False  # "from 10% in some spaces to 70% in others"
    if "was what" in " ".join(sentence.words[at : at + 14]):
        return True  # "'80% cellular' was what I said at frozen"
    told = sentence.words[after_any(s, ".;", at) : at]
    now = "n" in s[max(s.rfind(",", 0, at), 0) : at]  # "..., the current biopsy is 50%"
    if "diagnostic" in told and _PAST.intersection(told[told.index("diagnostic") :]) and not now:
        return True  # "the diagnostic trephine of 29 June had a cellularity of 95%"
    last = sentence.words[max(0, at - 1)]
    if last == "once":
        return True  # "once 80% cellular, the marrow is empty"
    if last in ("was", "were", "war"):
        aside = re.search("[CMB][^,.;F]*,[^,.;F]*,v$", s[:at])  # "cellularity, judged twice, was"
        return s[max(0, at - 2) : at] in ("(v", ",v") and not aside
    said = s[max(0, at - 4) : at - 1]
    figure = sentence.figures[at]
    left = last == "from" and ("g" in said or "v" not in said)
    left = left or (last in ("von", "de") and "g" in said)  # "ging von 80 % auf 20 % zurück"
    to = re.match("F[pq]*F(?P<changed>[qv]*g)?", s[at:]) if last in ("von", "de") else None
    left = left or (to is not None and bool(to["changed"] or "auf" in sentence.words[at:][:2]))
    return left and figure.low == figure.high


def changed_to(sentence: Sentence, s: str, at: int, figure: Figure) -> tuple[Figure, bool]:
    """Of "decreased from 80% to 45%" the later number: it is a change, not a range."""
    if len(figure.parts) == 2 and figure.low < figure.high and figure.qualifier in (None, "~"):
        first, last = figure.parts
        turned = first > last or _word_before(sentence, s, at) in _FROM
        verb = _word_before(sentence, s, at) in _CHANGES
        turned = turned or (verb and figure.joined == "to")
        if turned and {"g", "E"} & set(s[max(0, at - 12) : at]):
            return replace(figure, low=last, high=last), True
    return figure, False


def from_to(sentence: Sentence, s: str, at: int) -> int | None:
    """Where the other end stands of "from 20% in some spaces (up) to 80% in others"."""
    first = s.rfind("F", 0, at)
    if first < 1 or ";" in s[first:at] or _word_before(sentence, s, first) not in _FROM:
        return None
    up = sentence.figures[at].qualifier is None and s[:at].rstrip("q")[-1:] == "p"
    return first if up and _word_before(sentence, s, at) in _TO else None


def _word_before(sentence: Sentence, s: str, at: int) -> str:
    return sentence.words[max(len(s[:at].rstrip("q")), 1) - 1]
