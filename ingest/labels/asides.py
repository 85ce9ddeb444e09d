"""What a sentence adds to a key of the cellularity: a scale, a score, an aside owns no figure."""

from __future__ import annotations

import re

from ingest.labels.figures import Figure
from ingest.labels.languages import HIGH_ENDS, LOW_ENDS, words_of

# of a key: "Cellularity (0-100%): 45", "Cellularity (previous 90%): 20", "Cellularity 0-100%: ____"
_SCALE = re.compile(
    r"C[^.;:FNvhgx(]*(?P<boxed>\((?:[^()FNx]*[FN][^()FNx]*)\))(?P<ends>:?)|C[MBGpdq:]*(?P<bare>F)q*(?=[:O])"
)
# "Cellularity (absolute %):", "Cellularity, if assessable:": what a key adds owns no figure
_ASIDE = re.compile(r"(C[qMBGp%]*\()((?:[^()FNebrnSagxLfKcRE|]|N(?=G))*|x?%|[dqMKL]*)(\)[:q%F])")
# "total cellularity (tumor and marrow) 90%", "total cellularity, tumor included, 90%"
_ASIDE_OF_ALL = re.compile(
    r"(?:(?<=oC)|(?<=oMC))(?:\((?=[^()]*[jpwM])[^()FNebrcSa]*\)|,[^,()FNebrcSa.;]*,)(?=[:vp]*F)"
)
_END = re.compile(r"C[MBGqp%]*\(?(?P<end>[htpux])\)?[q%()]*:")  # "Cellularity (upper): 50"
# "9/10 (90%)", "grade 3 (= 30%)"; "50%, of which lymphoma is 20%", "50% of which lymphoma 20%"
_SCORE = re.compile(r"(?<=:)(?:N/)?N(?=\(q*:?F\))")
_PART = re.compile("p(?:d[xLf]+v|(?<=Fp)(?=d(?:[xLf]+q*F|F[qv]*[xLf])))")
# "Cellularity (cortex excluded): 40%"
_LEFT_OUT, _OUT = re.compile(r"(?<=C)\([xatM]+a\)"), ("excluded", "disregarded", "ignored")
_ENDS = {*LOW_ENDS, *HIGH_ENDS}
_BILINGUAL = re.compile(r"(C)(/x+)(?=:[^FN]{0,3}[FN](?!/))")  # "Cellularity / Zelligkeit: 90 %"
# "Cellularity: 30% (L) [40-60%]", "Cellularity: H [40-60%]": a norm, of the value or of its flag
_NORM = re.compile(r"(?<=[C%:])(?:F(?:\(\w\)|\w|)|\w)(?P<norm>\((?P<of>F)\))(?=[.;,:]|$)")
_LETTERS, _FLAGS = ("l", "h", "n"), ("low", "high", "normal")
# "away from the cortex the overall cellularity is", "excluding the outer third, it is"
# "allowing for some crush at the end, it is"
_AWAY = re.compile(
    r"(?:(?<=[FAC])(?=a[up][dqhR]*[xMBGt]+(?:[.,;]|$))|(?<![^.,;:()]))a[up]?[dqhR]*(?:[xfMBGLtaR]+(?:[pI][dqhR]*[xfMBGLtaR]+)*(?=[,.;]|$|[dqo]*C)|(?=dv))"
)
_LEAVING = words_of(
    "away apart except excluding ignoring disregarding discounting leaving allowing"
)
# "60% once the superficial portion is set aside", "40% with the cortex left out"
_REST = re.compile(r"(?<=[FAC])(?:,?(?P<when>[qcwp])|,(?=[da]))[^.;,FN]*?[axv][qx]?(?=[.,;)]|$)")
_WHEN = words_of("once when if with after wenn sobald nachdem quand si avec une lorsque")
_GONE = words_of("aside excluded ignored disregarded discounted out off ausgenommen exclue exclus")
# "average cellularity (range 5-75%) is 25%", "cellularity, with variation from 5 to 70%, is 40%"
_SPREAD = re.compile(
    r"(?<=C)\([qvp]+F\)(?=[:v])"
    r"|(?<=[CBM]),[wpvdh][^,.;CARSBben]*F[^,.;CARSBben]*,(?=v[qdp]*F)"
)
_ASIDE_COMMA = re.compile(r"(C),c[qvdx]{0,3}(?=:)")
_UNBOXED = str.maketrans("XO", "qq")
_CHOOSE = re.compile(r"\([xq]R\)(?=:|$)")  # "Cellularity (choose one):"
_LEFT_EMPTY = re.compile("(?<=X)([^XO]*)(O[^X]*)$")  # behind the ticked box
_PLAIN_KEY = str.maketrans(dict.fromkeys("MGopdyvzuwhecbrnEgajki:,IKLf", "q"))


def simplified(
    s: str, words: list[str], places: dict[int, Figure]
) -> tuple[str, dict[int, Figure]]:
    """A sentence with its scales, scores and asides as words that own no figure."""
    s = _without_norm(_without_scale(s, words, places), words, places)
    if (end := _END.search(s)) and words[end.start("end")] in _ENDS:
        s = f"{s[: end.start('end')]}q{s[end.end('end') :]}"
    for score in _SCORE.finditer(s) if "N(" in s else ():
        if words[score.start() - 1] != "-":  # no "Ki-67 (40%)"
            s = s[: score.start()] + "q" * len(score[0]) + s[score.end() :]
    if (part := _PART.search(s)) and words[part.start() + 1] in ("which", "whom", "denen"):
        s = f"{s[: part.end() - 1]}{'q,'[part[0] == 'p']}{s[part.end() :]}"
    for out in _LEFT_OUT.finditer(s) if "a)" in s else ():
        if words[out.end() - 2] in _OUT:
            s = f"{s[: out.start()]}{'q' * len(out[0])}{s[out.end() :]}"
    s = _SPREAD.sub(lambda m: "q" * len(m[0]), s) if s.count("F") > 1 else s
    s = s.replace("(R)", "qRq")  # "30% (R) and 50% (L)"
    s = _ASIDE_OF_ALL.sub(lambda m: "q" * len(m[0]), s) if "o" in s else s
    s = _BILINGUAL.sub(lambda m: m[1] + "q" * len(m[2]), s)
    s = _ASIDE.sub(lambda m: m[1] + "q" * len(m[2]) + m[3], s)
    s = _ASIDE_COMMA.sub(lambda m: "C" + "q" * (len(m[0]) - 1), s)
    for aside in _AWAY.finditer(s) if "a" in s else ():
        if words[aside.start()] in _LEAVING:  # or behind: "40% cellular away from the cortex"
            boxed = s[: aside.start()][-1:] == "("  # "50% (excluding nodules, which fill 20%)"
            last = s.find(")", aside.end()) if boxed else aside.end()
            s = s[: aside.start()] + "q" * (last - aside.start()) + s[last:]
    rest = _REST.search(s)
    if (
        rest
        and (not rest["when"] or words[rest.start("when")] in _WHEN)
        and words[rest.end() - 1] in _GONE
    ):
        s = s[: rest.start()] + "q" * len(rest[0]) + s[rest.end() :]
    return s, {at: figure for at, figure in places.items() if s[at] in "FN"}


def _without_scale(s: str, words: list[str], figures: dict[int, Figure]) -> str:
    """The figure of a key, a scale or a norm, is read as a sign: it is never the finding."""
    for key in _SCALE.finditer(s):
        part = "boxed" if key["boxed"] else "bare"
        at = next(n for n in range(*key.span(part)) if s[n] in "FN")
        figure, inner = figures[at], key[part].strip("()")
        whole = (figure.low, figure.high) == (0, 100)
        ended = bool(key["ends"]) and words[key.end() - 1] != "-"
        if whole or (ended and (len(figure.parts) > 1 or len(inner) > 1)):
            del figures[at]
            unit = "%" if figure.signed else "q"
            said = key[part].translate(_PLAIN_KEY).replace(s[at], unit)
            s = s[: key.start(part)] + said + s[key.end(part) :]
    return s


def _without_norm(s: str, words: list[str], figures: dict[int, Figure]) -> str:
    """The range in brackets behind a value or its flag is a norm: it is never the finding."""
    for said in _NORM.finditer(s) if "(F)" in s else ():
        at, of = said.start("norm"), figures[said.start("of")]
        value, flag = (
            figures.get(said.start()),
            words[said.start() : at][-2 if s[at - 1] == ")" else -1],
        )
        left = flag == "l" and "r" in words  # "L (40-50%), R (30%)"
        if value:
            told = len(value.parts) == 1 and flag in ("", *_LETTERS, *_FLAGS)
        else:
            told = not left and flag in (_LETTERS + _FLAGS if words[at] == "[" else _LETTERS)
        if told and len(of.parts) == 2:
            del figures[said.start("of")]
            s = s[:at] + "qqq" + s[said.end("norm") :]
    return s


def ticked(s: str) -> str:
    """Leave only figures behind a ticked box: "[ ] <10% [x] 10-30%"."""
    if "X" not in s and "O" not in s:
        return _CHOOSE.sub("qqqq", s)
    if re.match(r"[^XO]*[FN]q*[XO].*[FN]q*[XO][.)]*$", s):
        empty = re.compile(r"[FN](?=[^XO]*O)")  # "<50% [ ]  50-70% [x]"
        return empty.sub("q", s).translate(_UNBOXED)
    s = _LEFT_EMPTY.sub(lambda it: f"{it[1]};{'q' * (len(it[2]) - 1)}", s)
    lead, *boxes = re.split(r"(?=[XO])", s)
    kept = ("q" + box[1:] if box[0] == "X" else "q" * len(box) for box in boxes)
    return "".join([_CHOOSE.sub("qqqq", lead), *kept])
