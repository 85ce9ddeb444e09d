"""What the words beside a noun or a figure make of it: asides, states, what has a cellularity."""

from __future__ import annotations

import re

from ingest.labels.doubts import CHANGES, OF
from ingest.labels.figures import Figure
from ingest.labels.languages import words_of

_HAVE = words_of("has had have hat hatte avait a an ein eine einen un une")
IS = words_of("is are was were appears remains ist est")
_BESIDE = CHANGES | {"above", "below"}  # "15% more cellular than", "20% below normal"
_HAS_ONE = re.compile("d[qhxt]*Fv$")
# "the infiltrate has a cellularity", "an infiltrate with a cellularity"
_HAS = re.compile(r"(?:(?P<one>d)x{1,2}t?w|x+(?P<has>v))[dqho]*$")
_ASIDE = re.compile(r"(?<=[CMBG]),[^,FNCAK.;]*,(?=c?v)")  # "cellularity, tumor included, is 40%"
_PASSING = re.compile(r"(?<=C),[pzI][^,FNCAKHLf.;]*,(?=[dq]*F)")  # "cellularity, on my count, 40%"
_VERB, _SHOWS = re.compile(r"CxI?[qpd]*F"), re.compile("[BMG]x[qho]*C")
_ENDS_OF = words_of("from between von zwischen entre")
_SUBJECT = re.compile("[xLf]+v")
_AT_FIRST = words_of("at with mit bei avec à")
_DEGREE = re.compile(r"F(?:pd*y)?(?P<apart>[,:](?:dv)?)?q*H[MB]?(?:py|[.,;:()]|$)")
_AT = re.compile(r"F,?v?[dqn]*(?:C(?!p[dq]*x)|[MB]+v[dqh]*[HC])")  # "at 40%, cellularity is normal"

_NOUN_OF = re.compile(r"[xLK][vpqd:]*F|F[q]*p?[dq]*[xLK]")  # "lymphocytes 40%", "40% of cells"
# "hematopoiesis and the infiltrate occupy 90% of the space"
_WITH_OTHERS = re.compile("[KL]jd?x+[qo]*v[qpd]*F[pI][dqhnoM]*[MBG]")
# "gave 75% as the cellularity of the infiltrate"
OF_OTHER = re.compile(r"Cp[dqhn]*[xfL]+(?![MBG])")
# "at entry 55%, this specimen 20%", "criteria ask for under 25%; ours comes to 15%"
_NOW = re.compile(r"[,;][djv]*n(?:[nGMB]*[v:]+p?|[GMB]+)F|[;,(][vq]*d[v:]*F")


def is_a_verb(s: str, words: list[str], figures: dict[int, Figure], at: int) -> bool:
    """Whether a word that is not known is a verb by its place beside the cellularity."""
    if verb := _VERB.match(s, at - 1):  # "cellularity works out at 50%", "hovers around 50%"
        figure = verb.end() - 1
        if "at" in words[at:figure][-2:] or figures[figure].qualifier == "~":
            return True
    if s[at - 1 : at + 2] == "Cxp" and words[at].endswith("ant"):
        return True  # "cellularité rangeant entre"
    if not words[at].endswith(("s", "ed")):
        return False
    # "cellularity swings from 10 to 60%", "the core discloses cellularity"
    swings = s[at - 1 : at] == "C" and not _ENDS_OF.isdisjoint(words[at + 1 : at + 2])
    return swings or _SHOWS.match(s, at - 1) is not None


def is_new(s: str, words: list[str], at: int) -> bool:
    """Whether a noun that is not known begins a clause of its own: "; at present blasts are"."""
    subject = _SUBJECT.match(s, at)
    return subject is not None and words[subject.end() - 1] in IS | {"account", "make"}


def is_had(s: str, words: list[str], at: int) -> bool:
    """Whether a noun that is not known has the cellularity: "a metastasis with a cell..."."""
    has = _HAS.search(s, 0, at)
    return has is not None and words[has.start(has.lastgroup or "")] in _HAVE


def is_no_answer(s: str, words: list[str], at: int) -> bool:
    """Whether a figure is a difference, or a part: "the viable 10% shows a low cellularity"."""
    behind = words[at + 1 : at + 2]
    part = _HAS_ONE.search(s, 0, at + 2) and IS.isdisjoint(behind)
    return bool(part) or not _BESIDE.isdisjoint(behind)


def is_rest(s: str, figures: dict[int, Figure], at: int) -> bool:
    """Whether a figure and the one before it are all of something."""
    before = s.rfind("F", 0, at)
    if before < 0 or "f" in s or not {",", "j"} & set(s[before:at]):
        return False
    return figures[before].value + figures[at].value == 100


def without_asides(s: str, words: list[str]) -> str:
    """A sentence without what stands between commas behind its noun."""
    s = _ASIDE.sub(lambda said: "q" * len(said[0]), s) if ",v" in s or ",cv" in s else s
    passing = _PASSING.search(s) if "C," in s else None
    if passing is None or words[passing.start() + 1] in OF | {"for"}:
        return s
    return s[: passing.start()] + "q" * len(passing[0]) + s[passing.end() :]


def state_of(s: str, words: list[str], head: str, at: int) -> str:
    """The tie by the state of the marrow that a figure leads on to, or none."""
    lead = s[:at].rstrip("q")
    first = words[len(lead) - 1] in _AT_FIRST if lead else s[at + 1 : at + 2] == "v"
    if first and lead[-2:-1] in ("", ".", ":", ",") and _AT.match(s, at):
        return "at F"
    degree = _DEGREE.match(s, at)
    apart = head in ("", "M") if degree and degree["apart"] else lead[-1:] in ("w", "v")
    # "ist mit 40 % hypozellulär", "core: 40%, hypocellular"
    return "F hypercellular" if degree and apart else ""


def is_of_now(s: str, words: list[str], at: int) -> bool:
    """Whether a figure behind one of the cellularity is said to be found here and now."""
    said = _NOW.match(s, at) if "C" in s[:at] else None
    return said is not None and ("n" in said[0] or "here" in words[at : said.end()])


def is_of_them(s: str, known: set[int], at: int) -> bool:
    """Whether a mean is of the figures before, which are `known` to be of the cellularity."""
    return bool(known) and not _NOUN_OF.search(s, max(known), at)


def is_joined(s: str, head: int, at: int) -> bool:
    """Whether blood-forming cells and what lies among them fill the space together up to `at`."""
    joined = _WITH_OTHERS.match(s, head)
    return joined is not None and at < joined.end()
