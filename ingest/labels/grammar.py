"""The grammar that ties a figure to the cellularity: it belongs to the nearest noun in its clause.

A sentence is a string of classes (`tokens`). It is read once from left to right; a word that is not
known is a noun, and owns the figures beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from ingest.labels.asides import ticked
from ingest.labels.doubts import OF, is_difference, is_doubted, is_relative, is_spread
from ingest.labels.languages import AWAY, STRONG, TAKEN, is_left_over, words_of
from ingest.labels.nearby import (
    IS,
    OF_OTHER,
    is_a_verb,
    is_had,
    is_joined,
    is_new,
    is_no_answer,
    is_of_now,
    is_of_them,
    is_rest,
    state_of,
    without_asides,
)
from ingest.labels.owners import PARTS, is_a_subject, is_made_of, is_share_of
from ingest.labels.shares import NOUN, OWNED, PAIR, SHARE, list_back, shares_in, unsigned_in
from ingest.labels.tokens import JUDGEMENT, Sentence, sentence_of

_MAY_TIE = re.compile(r"[CAHKf]|(?<!x)L|N/|;[dnoRMG]*[MB]")  # no "plasma cells 40%"
_FROM_TO = re.compile("uq*F[^F.;]*pq*$")  # "from 10% in some to 60% in the middle"
ODD = set("xLfiKN")
FILLED = "blood-forming cells fill F"
_TUMORAL = ("tumor", "blast", "lymph", "néopl", "leuc", "plasmo", "métas")
_WE = words_of("i we ich wir je nous one you we're we've we'd we'll i've i'm i'd i'll")
_TAKE = re.compile(
    r"\b(?:ma[dk]|compris|constitu|account|occup|represent|cover|fill|tak|nehm|due to)"
)
_WHICH = words_of("which that who qui das die der welche welcher welches")
_SITE = re.compile(r"[xfLT](?:[xhq]*[MBG])?")  # "better preserved marrow"
_RIGHT = re.compile(
    r"(?:(?:I|,(?=C(?:[.;]|$))|(?:v[dnqo]*)?p[dnohM]*|v[dn][qho]*|(?<=[wp]F)p?v)(?=C)"
    r"|:?[qohyM]*[MBo]*q*(?:K(?=C))?|qRq)([AC])"
)  # "40% [overall marrow] cellularity"
_AFTER = re.compile(r"[dhRtq]*M*[xLfK]+")  # "40% cellular blasts"
# "40% of the space", "40% of sampled marrow", "40% of assessable (undamaged) marrow"
_OWN_FIGURE = re.compile("[tLGMv]*F")  # "cellularity 40% lymphoid nodules 5%"
_OF_IT = re.compile(r"[pdq](?:[FN]?yyp)?[dqhno]*(?:x?\([^()FN]*\)(?=M)|x(?=M))?(?P<of>[MBGRSK]?)")
# "of the space is hematopoietic"
_SPACE = re.compile(r"[pdq][dqhonM]*[MB][MGB]*[vpzdqhIwBM]*(?:[AK]|LK|(?<=[vz])L(?=[.,;j)]|$))")
_BARE = re.compile(r"[.,;:(|v][dq]*$")  # "..., cells 40%", "I put the cells at 40%"
_DIRECT = re.compile("[qdhGMLtIpBn]*[:,]?[qd]*")  # "hematopoiesis in this core: 40%"
# "occupies 40% of the space", "... of 16 mm of marrow"
_FILLS = re.compile(r"[pI]?(?:[FN]?yyp)?[dqhnoM]*[MBG]|(?:Id)?(?:[.,;)]|$)")
# "nimmt die Blutbildung 40 % des Markraums ein", "Mark, das 40 % der Fläche füllt"
_TURNED, _ENDS_IN_VERB = re.compile("v[dq]*G?$"), re.compile("[pI]?[dqhnoM]*[MBG][MBGdpI]*v")
_FILLED = re.compile(
    r"F(?:[vq]*[pzw][dqG]*(?:K|L(?=v))|pd[dqhno]*[MBG]+w[dqh]*[LK](?!x)|[dqL]*G?(?:K[MGL]?|Lq*[Iz][dq]*[BM]|L)(?=[.;()]|[,j](?!d?Fq*x)|$))"
)  # "contain 20% hematopoiesis", "is 40% cells"
_ENDS = re.compile(r"[.,;:()|jwpku?nehbotR/]|I[dqnhy]+[.,;y]|I[dqnhyx]*[MBG]|$")  # of a clause
_SAID = re.compile(r"[MBGRSebcratoknyqdhvEpI,:(|Xu]*")  # between an adjective and its figure
_CORE_IS = re.compile(r";[dnoRMG]*[MB][MBG]*v[qpd]*F(?:[.;,j)]|$)")  # "...; this core has 40%"
# "at her age one expects 50%", "hypercellular for age; 70%"
_FOR_AGE, _AGE_THEN = (
    re.compile(r"(?:[ye]|pN)[^.;xLfKF]*F$"),
    re.compile(r"H[hqgdpyM]*;F(?:[.;(]|$)"),
)
# "The core [is uneven]: cellularity ...", "is [hard to judge] but averages 40%"
_PREDICATE = re.compile(r"v[qhd]*x(?:[pvd]*px)?(?:[,;:.j]|$)")
_EXTENT = re.compile(r"F[dqRh]*[MGt]|Fh+q")  # "hypercellular, 70% nodules"
_OWN = re.compile(r"[qdyohRSMBG]*(?:[pI][dqoyMBRGS]*)*")  # "hypercellular [marrow for age]"
# "the marrow has been ablated: cellularity is", it has a verb and the colon ends it
_CLAUSE, _SAYS = re.compile(r"v[^.;:|FN]*:$"), re.compile(r":[dqnoMBG]*(?:C|v)")
_IT_IS, _LEAD_ENDS = (
    re.compile(r";[pIzduqRMBG,]*[vo][qpd]*F"),
    re.compile(r"[pwI][dn][qhnMBGRx]*d$"),
)
_MEAN = re.compile(r"[;,][dqvp]*o[dqvpMBG:]*Fo?(?:[.;,)]|$)")
_OF_READERS = re.compile("[^.;,CF]*C:(?:d*[xr]+F[,j/;]+)+[^FCA.;]*o$")  # "XY 50%, Z 75%, mean"
# "cellularity: reduced; 40%", "cellularity hard to judge; my guess 40%"
_ALSO = re.compile(r";[pI]?[qdh]*:?(?P<own>[MBGt]*)v*(?P<by>z*)v*F(?:[.;,(]|$)")
_LAST, _NAMED = re.compile("C[:vhqgdpy]*F?$|HM?$"), re.compile("HM?$|C[^;.FA]*$")
_OF_AGE = re.compile("x+q*[pw]+[dq]*(?:y|Ny)")  # "cellularity is spot on for her age, 40%"


class _Scan:
    """Read a sentence from left to right: each figure goes to the nearest noun in its clause.

    A noun behind a preposition is left again at the verb: there the subject of the clause counts.
    """

    def __init__(self, sentence: Sentence, s: str) -> None:
        self.s, self.words, self.figures = s, sentence.words, sentence.figures
        self.boxed = "X" in sentence.classes
        self.ties: dict[int, str] = {}
        self.odd: set[int] = set()
        self.keys: set[int] = set()  # the words for the cellularity that nothing else owns
        self.clear(0)
        self.owned: set[int] = set()  # by the words behind them
        self.seen = -1  # of a word that a figure before it has taken

    def clear(self, at: int) -> None:
        self.head = self.subject = ""  # C A H K M, T: a tied figure, x: another, ?: in doubt
        self.at = at  # of the head
        self.behind = -1  # the preposition that governs the words in hand
        self.governed = self.sealed = False

    def noun(self, letter: str, at: int) -> None:
        self.head, self.at, self.governed = letter, at, self.behind >= 0
        self.sealed = False
        if not self.governed and (
            not self.subject or letter not in ("x", "?") or self.s[at - 1] in ",j"
        ):
            self.subject = letter

    def semicolon(self, at: int) -> None:
        s = self.s
        if _CORE_IS.match(s, at) and ("C" in s[:at] or _FOR_AGE.search(s, 0, at)):
            self.noun("C", at)
        elif "C" in s[:at] and (it := _IT_IS.match(s, at)) and "it" in self.words[at : it.end()]:
            self.noun("C", at)  # "you estimated the cellularity at 70%; to my eye it is 40%"
        elif (also := _ALSO.match(s, at)) and (_NAMED if also["own"] else _LAST).search(s[:at]):
            self.noun("?" if also["by"] else "C", at)  # "cellularity 38%; visual 45%"
        elif self.head == "T":
            self.subject = ""
        elif is_of_now(self.s, self.words, at):
            self.noun("C", at)
        elif (
            _MEAN.match(s, at) and is_of_them(self.s, self.ties.keys() | self.odd, at)
        ) or _AGE_THEN.search(s[: at + 3]):
            self.noun("C", at)  # "some spaces 60% cellular, some empty; average 40%"
        else:
            self.clear(at)

    def comma(self, at: int) -> None:
        if self.s[at - 1 : at + 1] == "C," and "which" in self.words[at + 1 : at + 2]:
            self.noun("C", at)  # "blasts are 5% of the cellularity, which is 40%"
        elif _MEAN.match(self.s, at) and is_of_them(self.s, self.ties.keys() | self.odd, at):
            self.noun("C", at)  # "lobules 80% cellular and spaces of 10%, for a mean of 40%"
        elif is_of_now(self.s, self.words, at):
            self.noun("C", at)
        elif (
            self.head in ("x", "?", "M")
            and _CLAUSE.search(self.s, 0, at + 1)
            and _SAYS.match(self.s, at)
        ):
            self.clear(at)  # "the marrow has been ablated: cellularity is 5%", "...: it is now"
        elif (
            self.s[at] == ":"
            and self.governed
            and self.subject == "C"
            and not _TAKE.search(" ".join(self.words[:at]))
        ):
            self.head = "C"  # "Cellularity by point counting (600 points): 40%"
        elif self.governed and self.subject == "x" and self.s[self.at : at + 1] in ("C,", "CM,"):
            self.head = "x"  # "Lymphoma fills, by an estimate of the cellularity, 40%"
        self.behind = -1

    def preposition(self, at: int) -> None:
        if self.words[at] == "because" and self.words[at + 1 : at + 2] != ["of"]:
            self.clear(at)  # "cellularity is not given because 70% of the sample is blood"
        if self.words[at] == "at" and self.words[self.behind] == "by" and self.subject == "C":
            self.head = "C"  # "cellularity estimated by Dr Smith at 40%"
        self.behind = at - (self.words[at - 1] == "because")
        mean = re.match(r"w[dq]*op", self.s[at:])  # "with an average of 60%"
        if self.s[at] in "wz" and self.head in ("T", "H", "A") and not mean:
            self.head = ""

    def verb(self, at: int) -> None:
        s = self.s
        subject = self.words[at - 1 - (s[at - 1 : at] == "q")]  # "I would call it"
        if subject in _WE and self.head == "x":
            self.clear(at)  # "..., I estimate 45% cellularity"
        elif self.words[at - 1] in _WHICH and s[at - 2 : at - 1] == ",":
            pass  # "..., at the expense of fat, which is reduced to 10%"
        elif self.subject in ("C", "M", "x") and self.head != "T":
            # a noun is left at the verb: "... by image analysis is", "..., and is"
            bare = s[:at].rstrip("cqhn")[-1:] in ("j", ",", ")")
            if (self.governed or bare) and not self.words[at].endswith("ing"):
                self.head = self.subject
        self.behind, self.governed = -1, False

    def mean(self, at: int) -> None:
        if _OF_READERS.match(self.s[: at + 1]) and re.match("o[dqvp:]*F", self.s[at:]):
            self.head = "C"
        elif self.s[:at].rstrip("d")[-1:] in ("j", ","):  # "..., averaging 40%", "and the mean of"
            self.head = self.subject = "C" if self.subject in ("C", "H", "A") else "M"

    def number(self, at: int) -> None:
        if self.s[at - 1 : at + 2] == "/N:":
            return  # "cellularity = 38/82 = 46%"
        goes_on = self.s[at + 1 : at + 2] in tuple("/,jMBGR")
        goes_on = goes_on or self.words[at + 1 : at + 2] == ["auf"]  # "von 70 auf 30 %"
        if not goes_on and self.head in ("C", "H", "A", "T"):
            self.head = ""

    def other(self, at: int) -> None:
        """A word that is not known: a noun that owns what follows, or what describes a site."""
        s, words = self.s, self.words
        away = self.behind >= 0 and words[self.behind] in AWAY and not is_new(s, words, at)
        participle = words[at].endswith(("ed", "ing", "nd", "iert", "ée"))
        as_said = participle and words[at - 1] in ("as", "wie")  # "as typed"
        as_said = as_said or (words[at - 1] in ("a", "an") and s[at + 1 :][:1] == "F")  # "a big 9%"
        aged = self.head == "C" and "," not in s[self.at : at] and _OF_AGE.match(s, at)
        as_said = as_said or bool(aged)
        participle = self.head == "C" and (participle or s[at + 1 : at + 3] == "pv")
        copula = s.rfind("v", 0, at)
        if s[at] == "x" and words[copula] in IS and _PREDICATE.match(s, max(copula, 0)):
            return
        if s[at] == "L" and (
            s[at - 1 : at] in ("K", "A")
            or words[at - 1 : at] == ["marrow"]
            or not s[:at].strip("d")
            or _BARE.search(s, 0, at)
        ):
            self.noun("K", at)  # "marrow elements occupy", "cellular elements", "Cells occupy"
        elif (site := _SITE.match(s, at)) and words[site.end() - 1] in STRONG:
            pass  # "better preserved marrow"
        elif s[at - 1 : at + 2] in ("vxM", "vfM", "vLM") or _WE & set(words[max(0, at - 2) : at]):
            if self.head == "x" and words[at - 1] in _WE:
                self.clear(at)  # "in your block we find the core 40% cellular"
        elif as_said or (participle and s[:at].rstrip("qnz")[-1:] == "v"):
            pass  # "was scored", "was thought to be", "cellularity varying between"
        elif self.head == "C" and words[at - 1] in _WHICH and s[at + 1 : at + 2] == "p":
            pass  # "a cellularity that oscillates between 25 and 30%"
        elif away and self.head == "T" and self.behind > max(self.ties, default=0):
            pass  # "from 20% at presentation to 70%"
        elif is_a_verb(s, words, self.figures, at):
            pass  # "cellularity works out at 50%"
        elif not is_joined(self.s, self.at, at):
            of = self.behind >= 0 and words[self.behind] != "including"
            tumoral = s[at - 1 : at] == "C" and words[at].startswith(_TUMORAL)
            if tumoral or (of and not away and self.head in ("C", "A")):
                self.subject = "x"  # "the cellularity of blasts", "la cellularité tumorale"
            self.noun("x", at)

    def measured(self, at: int) -> None:
        s = self.s
        if at == self.seen:
            return
        away = self.behind >= 0 and self.words[self.behind] in AWAY
        away = away or self.words[at - 1].endswith("ed")  # "scored cellularity at"
        if _LEAD_ENDS.search(s, 0, at):
            self.behind, self.subject = -1, ""  # "and with these levels the cellularity is"
        away = away or (s[0] == "o" and s[at - 1] == ":")  # "Consensus by two readers: ..."
        its = self.head == "x" and not away and not s[self.at + 1 : at].strip("xLfqNohgy):MBGt")
        if (
            its
            or is_had(s, self.words, at)
            or (s[at - 1 : at] == "t" and self.words[at - 1] in TAKEN)
        ):
            self.noun("?", at)  # "tumor cellularity", "an infiltrate with a cellularity of"
        elif is_share_of(s, self.words, at):
            self.noun("x", at)
            self.subject = "x"
        else:
            self.keys.add(at)
            self.noun("C", at)
            self.subject = self.subject if self.subject == "x" and self.governed else "C"
            self.sealed = s[at - 1 : at] in ("h", "g")

    def adjective(self, at: int) -> None:
        """The adjective is said of another noun in "an infiltrate with", "the infiltrate has"."""
        s = self.s
        if at == self.seen:
            return
        before = s[self.at + 1 : at].rstrip("dqhoe")
        its = before[-1:] in ("w", "v") and "," not in before and self.subject != "M"
        odd = its and self.head in ("x", "?")
        self.noun("?" if odd else s[at], at)

    def site(self, at: int) -> None:
        s, head = self.s, self.head
        if head == "C" and s[at] == "M" and self.words[at].startswith(JUDGEMENT):
            self.behind = -1  # "variation in cellularity and the estimate is 40%"
            return self.noun("C", at)
        if head in ("C", "H", "A"):
            between = s[self.at + 1 : at]
            apart = self.sealed if head == "C" else not _OWN.fullmatch(between)
            if apart and (self.behind < 0 or s[self.behind] in "wz"):
                self.head = "M"  # "cellularity normal, nodules 40%"
        elif head in ("x", "", "?", "K") and s[at] != "t":
            before = s[:at].rstrip("dqhonMBGR" + "x" * (self.words[at] in STRONG))[-1:]
            afresh = self.governed and s[at - 1] == "d" and self.words[self.behind] not in OF
            if afresh or before in ("", ",", ";", ".", "(", "j", "|", ":"):
                self.head = self.subject = "M"

    def figure(self, at: int) -> None:
        s = self.s
        if is_spread(s, self.ties, self.figures, at):
            return self.owned.add(at)
        if s[max(0, at - 2) : at] == "N/" and not PAIR.search(s, 0, at):
            self.odd.add(at)  # "40/60%"
            return
        if re.match(r"C\(F\):(?!q*[Hhg])", s[max(0, at - 2) :]) and self.words[at + 2] != "-":
            return self.odd.add(at)  # "Cellularity (5%): see text", not "... (40%): decreased"
        first = s.rfind("F", 0, at)
        if first in self.ties and _FROM_TO.search(s, 0, at):
            self.ties[at], self.head = "listed", "T"  # "from 20% in some zones to 90% in others"
            return
        reduced = not _FILLED.match(s, at) and is_difference(s, self.words, self.head, at)
        reduced = reduced or is_no_answer(s, self.words, at)
        tie = "" if reduced else self._of_right(at)
        if tie is None:
            tie = self._of_left(at)
        elif not tie:
            self.owned.add(at)
        doubted = not self.boxed and is_doubted(self.words, self.figures[at], s, self.at, at)
        if tie and (tie == "?" or doubted):
            self.odd.add(at)
            return
        if tie:
            self.ties[at] = tie
            self.head, self.sealed, self.behind = "T", False, -1

    def _of_right(self, at: int) -> str | None:
        """The tie by the words behind a figure, "" if they own it, null if they say nothing."""
        s = self.s
        right = _RIGHT.match(s, at + 1)
        if right and (
            "p" not in right[0] or {"for", "as", "zu"} & {*self.words[at + 1 : right.end()]}
        ):
            return self._before_noun(at, right.start(1))
        if led := state_of(s, self.words, self.head, at):
            return led
        if SHARE.match(s, at) or is_relative(self.s, self.words, self.figures, at):
            return ""  # "60% of the cellularity", "20% lower than before"
        if _FILLED.match(s, at) and (
            (self.head == "M" and ({"v", "w"} & set(s[self.at : at]) or self.words[at - 1] == "zu"))
            or re.search("Mh*,$", s[:at])
            or (s[self.at] == "H" and s[self.at + 1 : at] in (",", "(", "w", ",w"))
        ):
            return "the space is F of cells"
        noun = NOUN.match(s, at + 1)
        own = noun and self.head == "C" and _OWN_FIGURE.match(s, noun.end())
        if (
            noun
            and not own
            and "".join(self.words[noun.end() : noun.end() + 1])[:2] not in (":", "=", "..")
        ):
            return ""
        if s[at + 1 : at + 2] in tuple("pdq") and self.words[at + 1] in OF:
            of = _OF_IT.match(s, at + 1)
            if not of or not of["of"]:
                return ""
            if space := _SPACE.match(s, at + 1):
                odd = s[space.end() - 1] == "A" and _AFTER.match(s, space.end())
                return "?" if odd else "F of the space is cellular"
            marrow = self.head == "A" and s[self.at + 1 : self.at + 2] == "M"
            if not marrow and self.head not in ("C", "T", "K", "M"):
                return ""
        of_a_part = self.head != "K" and is_a_subject(s, self.words, at)
        return "" if of_a_part or is_made_of(s, self.words, at) else None

    def _before_noun(self, at: int, word: int) -> str:
        """The tie by the word for the cellularity behind a figure."""
        s, self.seen = self.s, word
        if not TAKEN.isdisjoint(self.words[word + 1 : word + 2]):
            return "?"  # "40% cellularity involved"
        after = _AFTER.match(s, word + 1) if s[word] == "A" else None
        if after and not {"marrow", "core"} & set(self.words[word : after.end() + 1]):
            return "?"  # "40% cellular blasts"
        before = s[:at].rstrip("dqhoye")[-1:]
        if s[word : word + 2] == "AM" and is_rest(s, self.figures, at):
            return "?"  # "95% cortical bone, 5% cellular marrow"
        apart = (
            before in (",", ";", "(", "j", "")
            or re.search(
                "[BM][^.;F]*:$|[MBG]p$|d[hq]*[MB][wp]q*$", s[:at]
            )  # "CORE 16 mm: 30% cell"
            or (before == "w" and self.subject == "M")
            or "as" in self.words[at + 1 : word]
        )
        whose = (self.head in ("x", "?") and not apart) or OF_OTHER.match(s, word)
        within = s[word : word + 2] in ("AM", "AB") and before in ("I", "p", "w", "v")
        return "?" if whose and not within else "F cellular"

    def _of_left(self, at: int) -> str:
        """The tie by the noun that a figure stands behind, or none."""
        s, head = self.s, self.head
        between = s[self.at + 1 : at]
        if head == "C":  # "cellularity involved by lymphoma: 30%" is the lymphoma's
            measured = s.rfind("C", 0, at) + 1
            return "?" if self.words[measured] in TAKEN else "cellularity is F"
        if head == "T":
            return "" if OWNED.match(s, at) and not _FROM_TO.search(s, 0, at) else "listed"
        if head in ("H", "A"):
            far = _SAID.fullmatch(between) and _ENDS.match(s, at + 1)
            if self.boxed and not between:
                return "ticked"
            taken = between[:1] == "t" and _TAKE.search(" ".join(self.words[self.at + 1 : at]))
            if far and (between[-1:] == "t" or taken):
                return "?"  # "cellular areas 40%", "hypercellular areas make up 40%"
            if (
                far
                and not _EXTENT.match(s, at)
                and not (head == "H" and "u" in between.removeprefix(",u"))
            ):
                return "hypercellular (F)"
        shared = (
            "v" in between
            or (not between.strip("qd") and s[at + 1 : at + 2] == "p")
            or (_DIRECT.fullmatch(between) and not any(map(is_left_over, self.words[:at])))
            or not PARTS.isdisjoint(self.words[max(0, at - 2) : at])
            or _TURNED.search(s, 0, self.at) is not None
            or _ENDS_IN_VERB.match(s, at + 1) is not None
        )
        fills = shared and "x" not in between and _FILLS.match(s, at + 1)
        if head == "K" and (fills or is_joined(self.s, self.at, at)):
            return FILLED
        return "?" if head == "?" else ""


_STEPS: dict[str, Callable[[_Scan, int], None]] = {
    ".": _Scan.clear, ";": _Scan.semicolon,
    "C": _Scan.measured, "A": _Scan.adjective, "H": _Scan.adjective,
    "K": lambda scan, at: scan.noun("K", at),
    "F": _Scan.figure, "N": _Scan.number,
    # what a preposition within governs ends with the bracket
    ")": lambda scan, _: setattr(scan, "behind", -1),
    "o": _Scan.mean, "v": _Scan.verb,
}  # fmt: skip
_STEPS |= dict.fromkeys("pIzwku", _Scan.preposition) | dict.fromkeys(",:|", _Scan.comma)
_STEPS |= dict.fromkeys("xfLT", _Scan.other) | dict.fromkeys("MBGt", _Scan.site)
_STEPS |= dict.fromkeys("hg", lambda scan, _: setattr(scan, "sealed", True))


@lru_cache(maxsize=2048)
def tied(text: str) -> tuple[dict[int, str], set[int], dict[int, int]]:
    """The tie of each figure, those that an odd noun may own, and the fat's of a ratio."""
    sentence = sentence_of(text)
    s = without_asides(ticked(sentence.classes), sentence.words)
    scan = _Scan(sentence, s)
    for at, letter in enumerate(s if _MAY_TIE.search(s) else ""):
        if step := _STEPS.get(letter):
            step(scan, at)
    ties, odd, ratio = scan.ties, scan.odd, {}
    for at, name, fat in shares_in(s, sentence):
        ties[at] = name if ties.get(at) in (None, FILLED) else ties[at]
        odd.discard(at)
        if fat >= 0:
            ratio[at] = fat
    for at in unsigned_in(sentence, s, scan.keys) if "N" in s else ():
        ties.setdefault(at, "cellularity: N")
    list_back(s, ties, sorted(set(sentence.figures) - odd - scan.owned))
    return ties, odd, ratio
