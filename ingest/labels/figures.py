"""Find every figure of a text: number, range, bound, plus-minus, words, fractions, each in place.

`fold` makes a text plain and keeps its length, so that a place in it is a place in the report.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from featurestore.types import Qualifier
from ingest.labels.languages import FRACTIONS, HEDGE, NUMBERS
from ingest.labels.lines import VALUE_BELOW, value_beside

_PLAIN = {ord(c): "-" for c in "‐‑‒–—―−\u00ad"} | {ord(c): "'" for c in "‘’‚´"}
_PLAIN |= {ord(c): '"' for c in "“”„«»"} | {ord(c): " " for c in "\u00a0\u2009\u202f\u2007"}
_PLAIN |= {ord(c): "|" for c in "│┃║╎┆‖¦"} | {ord(c): "-" for c in "─━═┄"}
_PLAIN |= {ord(a): b for a, b in zip("≤≥⁄≅≈∼˜～", "<>/~~~~~", strict=True)}
_IN_BRACES = re.compile(
    r"[{[<(](?:(?<!%.)(?<!% .)(?<!\()(?<! [lhn] .)(?<!\([lhn]\) .)"  # no "30% (L) [40-50%]"
    r" ?(\d[\d %-]{0,8})[}\]>](?= ?%|\n|$)"
    r"|(?<=\()(\d[\d -]{0,6})\)(?= ?%))"
)  # patterns that the whole report is searched for begin with characters: it is far quicker
# "Marrow (smears,\ncore biopsy):", a heading over two lines; "45\n%", a sign on its own
_HEADED = re.compile(r"\([^()\n]{0,80}\n[^()\n]{0,80}\):[ \t]*(?=\n)|\d\s*\n(?=%[ \t]*(?:\n|$))")
_JOINED = re.compile(r"_(?<=[a-z]_)(?=[a-z])")  # "bmb_cell_pct"
# "___40___ %": a blank that is filled in
_FILLED_IN = re.compile(r"_(?<!__)_*+ ?(\d[\d -]*+(?:_++ ?)?)(%?)")
# "C e l l u l a r i t y   2 0 %": letters set apart
_WIDE = re.compile("[\u3000-\U0010ffff]")
_DOTS = re.compile(r"(?: \.){2,}(?= )|(?:\. ){3,}")  # "CELLULARITY . . . . 30 %"
# "Block A1" is a piece of any sample, "cell block A1" one of the clot
_BLOCK = re.compile(r"block(?<!\wblock)s?(?<!cell block)(?<!cell-block)(?= [(\[]?[a-h]\d?\b)")
_OIL, _DIGIT, _LETTERS = set("oilsz"), str.maketrans("oilsz", "01152"), str.maketrans("018", "olb")
_SPACED = re.compile(r"(?<!\S)(?:[^\W_] ){5,}[^\W_](?: {1,4}(?:[^\W_%] ){0,3}[^\W_%]? ?%)?")
# "4O", "l0-2O", "3S-4S", "IO": letters scanned for figures before a sign
_SEEN = r"(?:[\doil]{1,3}|(?=\w?\d)[\doilsz]{1,3})"
_SCANNED = re.compile(rf"(?<![^\W_]){_SEEN}(?: ?(?:-|to|bis) ?{_SEEN})? ?$")
# "I5", "2O": letters scanned for figures beside figures
_MIXED = re.compile(r"(?:\d[oil]|[oil]\d)(?<![\w.]..)(?!\w)")
# "ce11ular", "ceIIuIar", "cellu|ar"; "cellu-\nlarity"; "%95"
_CELL = re.compile(r"ce(?!llular(?:ity)?\b)[l1i|]{2}u[l1i|]a[r1](?:i[t1l][yv])?")
# "low power, 10x", "x10 objective": of the microscope; a word as long stands for each
_POWER = re.compile(
    r"\b(?:low|high|medium)[ -]power\b|(?<![\w.,])\d{1,3}x(?!\w)"
    r"|(?<![\w\]])(?<!\d )x\d{1,3}\b(?! ?[\d%-])"
)
_SAYS_NOTHING = {2: "so", 3: "yes", 4: "also", 9: "therefore", 10: "altogether", 12: "nevertheless"}
_BROKEN = re.compile(r"-(?<=[^\W\d_]-)[ \t]*\n[ \t]*([^\W\d_]+)")
_TWO = re.compile(r"(\d{1,3}) ?\(([^\W\d_]{3,9}(?:[- ][^\W\d_]{3,6})?)\) ?%")  # "10 (ten) %"
# "%40", "% 40 - 50", "%40-%50": the sign before its number
_BEFORE = re.compile(
    r"%(?<![\w)\]%]%)(?<![\d)\]%] %) ?\d{1,3}(?:[.,]\d)?(?: ?(?:-|to) ?%? ?\d{1,3})?"
    r"(?![\d%]|[.,]\d| ?%)"
)
_OF_100 = re.compile(
    r"\d(?<![\w.,/]\d)\d?( ?(?:/|(?:parts )?(?:out )?of|parts in) ?(?:a |the |each |every )?"
    r"(?:100|hundred))(?![\d/:.]\d|\d| ?(?:%|x10|-))"
)
# "8IOPSY", "Lymph0cytes", "B10PSY": figures scanned for letters
_LETTER = re.compile(
    r"[018](?=[018]{0,9}[^\W\d_])(?:(?<=[^\W\d_][018])[018]*|(?<!\w[018])(?=[^\W\d_]{4}))"
)  # begins with the figure itself: looking back at every letter is slow
# "35$", "35 o/o": what a sign is typed or scanned as
_SIGN = re.compile(r"(?<=[\dol])( ?)(\$|[°º]/[o0]|o/o|(?<= )0/0)(?![\w])")

_PER_HUNDRED = re.compile(r"(?<![\d.,])(\d[\d,]{0,4}) ?(?:v\. h\.|p\. 100)")  # "40 v. H."
_PERCENT = (
    r"(?:%(?:-?ige?[nmrs]?\b)?|\((?:%|per ?cent|pct)\)|p\.? ?(?:100|cent)(?!\w)"
    r"|p(?:er[ -]?cents?|ct|c|\. ?c\.|ercnt|ecent|ercet|erecnt|recent|ersent"
    r"|rozent(?:ige?[nmrs]?)?|our ?cent)(?!\w)|v\. ?h\.(?!\w))"
)
_SHARE, _SPELT_SIGN = re.compile(_PERCENT), re.compile(r"%(?:(?<=[a-zß]%)|(?<=[a-zß][ -]%))")
# "40", "7,5", "0050" (was "fifty"), "4050" (a lost dash); no part of a code, a date or a number,
# nor the number of an item: "04 Percent cellularity: 40"
_NUMBER = re.compile(
    r"(?:(?P<sign>[½¼¾⅓⅔])|(?P<digits>\d(?:(?<!\w\d)|(?<=%to\d))(?<!\d[.,]\d)(?:(?<=0)0{0,20}\d{1,3}"
    r"|\d{0,2})(?:(?:[.,]| point )\d{1,3})?|(?P<lost>\d(?<!\w\d)\d{3})(?= ?%))(?!\d|[.,]\d))"
    rf"(?P<pct>(?:-?ish\b|-odd\b)?[ -]?(?:vol(?:umen)?\.?[ -]{{0,2}}|flächen-?)?{_PERCENT}"
    r"(?!(?<=t) cellularity ?(?:[:=]|\.\.)))?"
)
# "fifty-five", "fünfunddreißig", "soixante et onze": the sum of its words; "fifty to sixty"
_ATOM = "|".join(sorted({*NUMBERS, "un(?!d)"} - {"un"}, key=len, reverse=True))
_ATOMS = re.compile(_ATOM)
_WORDED = rf"(?:{_ATOM})(?:(?:[\s-]{{1,2}}|und| et )?(?:{_ATOM}))*(?!(?!prozent)\w)"
_SPELT = re.compile(
    rf"(?<!\w){_WORDED}(?=\s?(?:(?:-|to|or|and|bis|und|à|et)\s?{_WORDED})?[\s-]?{_PERCENT})"
)
# "two thirds", "a quarter of", "half"
_FRACTION = re.compile(
    r"(?<![\w-])(?:(?P<count>an?|one|two|three|four|five|six|seven|nine|une?|deux|trois|einem|einer"
    r"|eine?|zwei|drei|fünf|sieben|acht|neun|cinq|sept|huit|neuf|la|le|die)[ -])?"
    rf"(?P<part>{'|'.join(FRACTIONS)})(?P<many>[sn]?)(?![\w-])(?P<of>(?= (?:is |are )?(?:of|des?|d'"
    r"|der|du|cellular(?:ity)?|the|its|fat|fatty|adipose|full|filled|cells|(?:blood|ha?em[ao])[\w-]*|zell\w+"
    r"|von|aus|mit)\b| ?[.,;)]|$)"
    rf"|(?= (?:and|to|or) (?:(?:an?|one|two|three)[ -])?(?:{'|'.join(FRACTIONS)})))?"
)
_OF_CELLS = re.compile(r"cellularity (?:is|was) $")
_PLACE = re.compile(r"\b(?:in|at|from) (?:the|its) (?:[\w-]+ ){0,2}$")
# "1/2 of the space", "3/4 cellular", "about 1/3"
_OVER_LINE = re.compile(
    r"(?P<a>[1-9])/(?<![\w/.][1-9]/)(?P<b>[2-9]|10)(?![/\d+])"
    r"(?P<of>(?= (?:(?:bis|à|to|-) [1-9]/\d\d? )?(?:(?:of|des?|der|du|von|d'|cellular)\b(?! \d)"
    r"|blutm|blutb|fett|zell|h[äé]mat)))?"
)
_SIGNS = {"½": 50.0, "¼": 25.0, "¾": 75.0, "⅓": 100 / 3, "⅔": 200 / 3}

# "40-50", "40 to 50", "20% up to 80%", "between 40 and 50"
_RANGE = re.compile(
    r" ?(?:-{1,2}(?!>)|~|-?to-?|through|thru|up to|bis|à|voire|until|dash|or|\.\.\.?|…)"
    rf" ?(?:[~<>]|{HEDGE}(?= ))? ?"
)
_DAY = re.compile(r"\b(?:day|week|month|year|tag|woche|monat|jour|mois) \+?$")  # "day 30 to 50%"
_EITHER = re.compile(r"\bor\b")
_AND = re.compile(rf" (?:and|und|et)\s(?:{HEDGE} )?")
_BETWEEN = re.compile(rf"(?:between|zwischen|entre)\s(?:{HEDGE} )?$")
_PLUS_MINUS = re.compile(r"[ \n]*\(? ?(?:±|\+ ?/ ?-|\+-|plus[ /](?:or )?minus) *")
_MORE, _LESS = "more|greater|higher|over|above", "less|lower|fewer|smaller|under|below"
_NOT = "(?:not|never|nicht|nie|(?:is|does|do|did|was)n't)"
# "less than", "<", "not more than", "does not exceed"
_UNDER = (
    rf"<(?:/?=)?|=<|\b(?:{_LESS}|up to|at (?:the )?most|(?:a )?maximum of|not exceed(?:ing)?"
    rf"|(?:no|{_NOT}) (?:{_MORE}|better|exceeding)|(?:weniger|niedriger|geringer|kaum mehr) als"
    r"|kleiner als|unter(?:halb(?: von)?)?|höchstens|bis zu|maximal|max\.?|allenfalls|bestenfalls"
    r"|moins (?:de|d')|(?:tout )?au (?:plus|maximum)|jusqu'à|(?:au-|en )dessous de"
    r"|inférieure?(?: ou égale?)? à"
    rf"|{_NOT} (?:exceeds?|(?:reach|surpass)(?:es)?|(?:rises? |goe?s? )?(?:above"
    r"|beyond)|über|mehr als|höher als)|(?:ne |n')(?:dépass|excèd)(?:e|ant|ent) (?:pas|jamais)"
    r"|pas plus de)"
)
# "at least", ">=", "not less than"
_OVER = (
    rf"(?<![-=>])>(?:/?=)?|(?<!% )=>|\b(?:{_MORE}|beyond|at least|(?:exceed|surpass)(?:e?s|ing|ed)?"
    rf"|in excess of|upwards? of|(?:a )?minimum of|(?:no|{_NOT}) (?:{_LESS})|über|oberhalb(?: von)?"
    r"|(?:mehr|größer|höher) als|wenigstens|mindestens|mind\.|plus (?:de|d')|au(?: minimum| moins)"
    r"|au-dessus de|supérieure?(?: ou égale?)? à|übersteigt|überschreitet|dépasse|excède"
    r"|pas moins de"
    rf"|{_NOT} (?:(?:falls?|drops?|goe?s?) )?(?:below|under|unter|weniger als))"
)
# "about", "in the region of", "ca."
_ABOUT = (
    r"~|±|\+/-|\b(?:um die|about|around|roughly|circa|some|nearly|almost|near(?:er)?|approaching"
    r"|cca|ca\.?|c\."
    r"|ap+rox\.?|ap+r?\.|something like|approximat(?:e(?:ly|s)?|ing)|close(?:r)? to|etwa|rund|rd\.?"
    r"|ungefähr|ungef\.?|zirka|annähernd|nahezu|fast|beinahe|knapp|gut|environ|quelque|presque"
    r"|pr(?:ès|oche) (?:de|d')|(?:voisine?|autour|aux (?:alentours|environs)) de|à peu près"
    r"|quasi(?:ment)?|de l'ordre (?:de|d')"
    rf"|(?:just )?(?:short|shy) of"
    rf"|a (?:shade|touch|trifle|tad|whisker|little|bit) (?:{_MORE}|{_LESS})"
    r"|(?:of|on|in) the (?:order|region|vicinity|neighbou?rhood) of)"
)
_SAID = re.compile(
    rf"(?:(?P<under>{_UNDER})|(?P<over>{_OVER}))(?: than)?(?: or equal to)? ?"
    rf"(?:{HEDGE} )?$|(?P<about>{_ABOUT})(?: an?| the)?[ :(]{{0,2}}$"
)
_said = lru_cache(maxsize=4096)(_SAID.search)  # the names before figures repeat
_FROM = re.compile(r"\bfrom\b[^.;]*up to $")  # "from 20% in some spaces up to 80%" is a spread
# "or more", "+", "or less", "give or take"
_AFTER = re.compile(
    rf" ?(?:or|and) (?:(?P<over>{_MORE})|(?P<under>{_LESS}))\b|(?P<plus>\+)(?![+/\d])"
    r"|(?P<most> (?:at (?:the )?most|au (?:plus|maximum)|maximal|höchstens))\b"
    r"|(?P<least> (?:au (?:moins|minimum)|mindestens))\b|(?P<denied> nicht)\b"
    r"|(?P<about>,? give or take\b| or (?:so|thereabouts)\b|-ish\b)"
)
# "cellularity sixty.", "cellularity of fifty to sixty,": a number in words without a sign
_TOLD = re.compile(
    rf"ellularity:? (?:(?:is|was|of|at|about|around) )*(?!null\b)"
    rf"(?P<said>{_WORDED}(?: (?:to|or) {_WORDED})?)"
    r"(?= ?[,;.)\n]| ?$)"
)
_NO_FIGURE = re.compile(
    r"\b[a-z]{1,4}-?\d\d(?:\d\d)?[-./:]\d{3,}\b(?! ?%)"
    r"|\b[a-z]{1,2}\d\d-\d\d?\b(?! ?%)"
    r"|(?:19|20)\d\d-\d\d?-\d\d?\b"
    r"|\d(?<!\w\d)\d?(?:/\d\d?/(?:\d\d)?\d\d|\.\d\d?\.(?:\d\d)?\d\d|/20\d\d)\b"
)  # the number of a specimen, a date
_THOUSANDS = re.compile("[1-9][.,]000")
_NO_BOUND = ("", ",", ";", "/", ")", "|", "%", "-")  # no word of a bound ends so
_GAP, _RUN = re.compile(r"\n[ \t]+\S"), re.compile(r"\A\s|\S+\s?")
_HINT = re.compile(r"[\d½¼¾⅓⅔]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure and its place: its bound words and its sign are part of it."""

    start: int
    end: int
    low: float
    high: float
    qualifier: Qualifier | None
    signed: bool  # a per cent sign or word, or a fraction: a share for certain
    joined: str = ""  # by which word the ends of a range are: "to"
    parts: tuple[float, ...]  # the numbers as they stand: (80, 45) in "from 80% to 45%"

    @property
    def value(self) -> float:
        """The middle, or the bound itself where the interval is over 20 wide."""
        if self.qualifier in ("<", ">") and self.high - self.low > 20:
            return self.low if self.qualifier == ">" else self.high
        return (self.low + self.high) / 2


@lru_cache(maxsize=4096)
def _plain_char(char: str) -> str:
    folded = unicodedata.normalize("NFKC", char).lower()
    return folded if len(folded) == 1 else char


def fold(text: str) -> str:
    """Lower case, plain dashes, quotes and blanks, scanning errors mended; the length stays."""
    low = text.replace("\r", " ").replace("`", "'").lower()
    if not text.isascii():
        text = text.replace("\r", " ").translate(_PLAIN)
        low = text.lower()
        if len(low) != len(text) or _WIDE.search(text):
            low = "".join(map(_plain_char, text))
    if "$" in low or "/o" in low or "/0" in low:
        low = _SIGN.sub(lambda m: (m[1] + "%").ljust(len(m[0])), low)
    low = _FILLED_IN.sub(lambda m: (m[1].strip("_ ") + m[2]).rjust(len(m[0])), low)
    if "%" in low:
        low = low.replace("+%", "%+").replace("i.e.", "viz,").replace("viz.", "viz,")
        low = low.replace("c.f.", "cf  ")
        if ")%" in low or ") %" in low:
            low = _TWO.sub(lambda m: f"{m[1]}%".ljust(len(m[0])) if m[2] in NUMBERS else m[0], low)
        *shares, last = low.split("%")
        low = "%".join([*(_mended(piece) for piece in shares), last])
        low = _BEFORE.sub(lambda m: m[0][1:].replace("%", " ") + "%", low)
    if "100" in low or " hundred" in low:
        low = _OF_100.sub(lambda m: m[0].removesuffix(m[1]) + "%".ljust(len(m[1])), low)
    if "percent" in low or "per cent" in low:
        low = _MIXED.sub(lambda m: m[0].translate(_DIGIT), low)
    low = _BLOCK.sub(lambda m: m[0].replace("block", "piece"), low) if "block" in low else low
    if "bmt" in low and "bma" in low:
        low = low.replace("bmt", "bmb")  # the trephine beside the aspirate, and no transplant
    low = low.replace("reference read", "consensus read")  # of a centre: it counts, and is no norm
    low = low.replace("reference review", "consensus review")
    low = _IN_BRACES.sub(lambda m: (m[1] or m[2]).rjust(len(m[0])), low)
    if "):" in low or "\n%" in low:
        low = _HEADED.sub(lambda m: m[0].replace("\n", " "), low)
    low = _JOINED.sub(" ", low)
    if " power" in low or "0x" in low or "x1" in low or "4x" in low or "x4" in low:
        low = _POWER.sub(lambda m: _SAYS_NOTHING[len(m[0])], low)
    low = VALUE_BELOW.sub(value_beside, low)
    if "-\n" in low or "- \n" in low:
        low = _BROKEN.sub(_joined, low)
    low = _DOTS.sub(lambda m: "." * len(m[0]), low) if ". . " in low else low
    low = low.replace("a11 ", "all ").replace("e11 ", "ell ") if "11 " in low else low
    low = _CELL.sub(lambda m: "cellularity"[: len(m[0])], low)
    low = _numbered(_LETTER.sub(lambda m: m[0].translate(_LETTERS), low))
    return _SPACED.sub(_close_up, low) if "l l u" in low else low


def _joined(match: re.Match[str]) -> str:
    """A word that is broken over two lines as one; the parts of a number stay two words."""
    word, size = match[1], len(match[0])
    return word.rjust(size) if word in NUMBERS else word.ljust(size)


def _numbered(low: str) -> str:
    """Write numbers in words as digits filled with zeros: "fifty percent" is "00050 percent"."""
    if "v. h" in low or "p. 100" in low:  # no end of a sentence
        low = _PER_HUNDRED.sub(lambda m: f"{m[1]}%".rjust(len(m[0]), "0"), low)
    spelt = (
        "rcent" in low
        or "rcnt" in low
        or "r cent" in low
        or "prozent" in low
        or _SPELT_SIGN.search(low)
    )
    for share in _SHARE.finditer(low) if spelt else ():
        at = share.start()
        if low[max(0, at - 2) : at].rstrip(" \n-")[-1:].isalpha():
            begin = max(0, low.rfind("\n\n", 0, at), at - 60)
            said = _SPELT.sub(_digits, low[begin : share.end()])
            low = low[:begin] + said + low[share.end() :]
    for told in _TOLD.finditer(low) if "ellularity" in low else ():
        digits = re.sub(_WORDED, _digits, told["said"])
        if re.search("0$|[1-9][0-9]$|[5-9]$", digits):  # "cellularity two" may be a grade
            low = low[: told.start("said")] + digits[1:] + "%" + low[told.end() :]
    low = _OVER_LINE.sub(_over_line, low) if "/" in low else low
    for part in FRACTIONS:
        if part in low:
            return _FRACTION.sub(_share, low)
    return low


def _digits(match: re.Match[str]) -> str:
    values = [NUMBERS[word] for word in _ATOMS.findall(match[0])]
    plain = sum(values) <= 100 and sum(value >= 20 for value in values) < 2  # not "fifty-fifty"
    plain = plain and (0 not in values or len(values) == 1)  # nor "four zero"
    return f"{sum(values):0{len(match[0])}d}" if plain else match[0]


def _over_line(match: re.Match[str]) -> str:
    share = 100 * int(match["a"]) / int(match["b"])
    before = match.string[max(0, match.start() - 32) : match.start()]
    told = match["of"] is not None or _SAID.search(before) is not None
    thirds = match[0] in ("1/2", "1/3", "2/3")  # "2/4" and "3/4" are grades
    told = told or (thirds and _OF_CELLS.search(before) is not None)
    return f"{share:.0f}%".ljust(len(match[0])) if share < 100 and told else match[0]


def _share(match: re.Match[str]) -> str:
    share = 100 * NUMBERS.get(match["count"], 1) / FRACTIONS[match["part"]]
    whole = match["of"] is not None
    told = (match["count"] and (whole or match["many"])) or (whole and share >= 50)
    of = match.string.startswith((" of", " de", " du"), match.end())
    placed = not of and _PLACE.search(match.string[: match.start()][-40:])
    if share > 100 or not told or placed:
        return match[0]  # "the proximal half is 20% cellular", "in the preserved two thirds"
    return f"{share:.3f}"[: len(match[0]) - 1].rstrip(".").rjust(len(match[0]) - 1, "0") + "%"


def _mended(piece: str) -> str:
    tail = piece[-10:]
    if _OIL.isdisjoint(tail[len(tail.rstrip("0123456789oilsz -tb")) :]):
        return piece  # for speed: a share as it mostly stands, " 40"
    scanned = _SCANNED.sub(
        lambda m: m[0].translate(_DIGIT).replace("t0", "to").replace("b15", "bis"), tail
    )
    return piece[:-10] + scanned


def _close_up(match: re.Match[str]) -> str:
    words = re.split(r" {2,}", match[0])
    return " ".join(word.replace(" ", "") for word in words).rjust(len(match[0]))


def find_figures(text: str) -> list[Figure]:
    """Every figure of 0 to 100 in a folded text, in order; ranges and spreads are one figure.

    Spelt numbers count with a per cent sign or word only; a figure over 100 is none.
    """
    if not _HINT.search(text):
        return []
    if _GAP.search(text):  # "between 40 and\n   50%"
        left = [at for run in _RUN.finditer(text) for at in range(*run.span())]
        return [
            replace(it, start=left[it.start], end=left[it.end - 1] + 1)
            for it in find_figures("".join(_RUN.findall(text)))
        ]
    plain = text.replace("\n", " ").replace("\t", " ")
    plain = _NO_FIGURE.sub(lambda match: "#" * len(match[0]), plain)
    numbers: list[re.Match[str] | None] = [*_NUMBER.finditer(plain), None]
    found: list[Figure] = []
    end = 0
    for first, second in pairwise(numbers):
        if first is None or first.start() < end:
            continue  # it is the second number of a range
        figure = _figure(plain, first, second)
        if figure is not None:
            end = figure.end
            found.append(figure)
    return found


def _values(match: re.Match[str]) -> tuple[float, ...]:
    if match["sign"]:
        return (_SIGNS[match["sign"]],)
    if match["lost"]:
        return float(match["lost"][:2]), float(match["lost"][2:])
    return (float(match["digits"].replace(" point ", ".").replace(",", ".")),)


def _figure(text: str, first: re.Match[str], second: re.Match[str] | None) -> Figure | None:
    """A number, or a range or plus-minus of it and the next one; null where it is no share."""
    if _THOUSANDS.fullmatch(first[0].rstrip(" %")):
        return None
    parts, end = _values(first), first.end()
    said: Qualifier | None = None
    low, high = parts[0], parts[-1]
    signed = bool(first["pct"] or first["sign"])
    gap = text[end : second.start()] if second else ""
    if second and len(gap) <= 20 and gap[:1] != "," and not first["lost"] and not second["lost"]:
        a, b = low, _values(second)[0]
        spread, begin = _PLUS_MINUS.fullmatch(gap), first.start()
        between = _AND.fullmatch(gap) and _BETWEEN.search(text[max(0, begin - 24) : begin])
        ranged = b <= 100 and bool(between or _RANGE.fullmatch(gap))
        undated = first["pct"] or not ranged or not _DAY.search(text[max(0, begin - 8) : begin])
        if ranged and abs(b - a) > 20 and _EITHER.search(gap):
            ranged = False  # "20% or 60%" is no range, "40 or 50%" is one
        if a <= 100 and (spread or (ranged and undated)):
            low, high = (max(a - b, 0), min(a + b, 100)) if spread else (min(a, b), max(a, b))
            parts, said, end = (a, b), "~" if spread else None, second.end()
            signed = signed or bool(second["pct"] or second["sign"])
    if not low <= high <= 100:
        return None
    start, end, low, high, said = _bounded(text, first.start(), end, low, high, said)
    joined = gap.strip() if len(parts) > 1 else ""
    return Figure(
        start=start, end=end, low=low, high=high, qualifier=said, signed=signed, joined=joined,
        parts=parts,
    )  # fmt: skip


def _bounded(
    text: str, start: int, end: int, low: float, high: float, said: Qualifier | None
) -> tuple[int, int, float, float, Qualifier | None]:
    """Take in the words before and after a figure that make it a bound or an approximation."""
    for _ in range(2):
        before = text[max(0, start - 32) : start]
        before = before[max(before.rfind(","), before.rfind("%"), 0) :]
        last = before.rstrip(" :(")
        none = last[-1:] in _NO_BOUND and not last.endswith("+/-")
        met = None if none else _said(before)
        if not met or (met[0] == "up to " and _FROM.search(text[:start][-80:])):
            break
        start -= len(before) - met.start()
        if met["about"]:
            said = said or "~"
        elif low == high:
            low, high, said = (0.0, high, "<") if met["under"] else (low, 100.0, ">")
    after = _AFTER.match(text, end)
    if after and after["denied"]:
        if said == ">":  # "übersteigt 10 % nicht"
            end, low, high, said = after.end(), 0.0, low, "<"
    elif after and (after["about"] or low == high):
        end = after.end()
        if after["about"]:
            said = said or "~"
        else:
            up = after["over"] or after["plus"] or after["least"]
            low, high, said = (low, 100.0, ">") if up else (0.0, high, "<")
    return start, end, low, high, said


def share_of(cells: Figure, fat: Figure) -> Figure | None:
    """A ratio of cells to fat as the share of the cells."""
    total = cells.value + fat.value
    if not 99 <= total <= 101 and not (0 < max(cells.value, fat.value) <= 10):
        return None
    share = 100 * cells.value / total
    first = cells if cells.start < fat.start else fat
    return replace(first, low=share, high=share, qualifier=None, signed=True)
