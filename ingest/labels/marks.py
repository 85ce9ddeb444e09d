"""Marks as marks: spoken or masked ones, boxes, questions, arrows, what a form has filled in."""

from __future__ import annotations

import html
import re

# a ticked box and an empty one
TICKED, EMPTY = r"[\[(] ?[xo✓*+] ?[\])]|[☒☑✓]", r"\[[ _-]*\]|\( \)|[☐□]"
_MARKS = {"period": ".", "full stop": ".", "comma": ",", "colon": ":", "semicolon": ";"}
_MARKS |= {"open bracket": "(", "close bracket": ")"}
_MARKS |= {"new paragraph": "\n\n", "new line": "\n", "next line": "\n"}
_TELLING = (" period", " comma", " full stop", " new paragraph")
_SPOKEN_MARK = re.compile(
    r" (period|full stop|comma|colon|semicolon|(?:open|close) bracket|new paragraph|new line"
    r"|next line)s?\b",
    re.IGNORECASE,
)
_STRUCK = re.compile(r"~~(?=\S)[^~\n]{1,80}~~")
_DIGITS = re.compile(r"(?:\|_\d_)+\||\[ ?\d(?: ?\| ?\d)+ ?\]")
TAG = re.compile(r"<(?:html|body|p|div|br|table|t[rd]|h[1-6]|[ud]l|li|b|span)\b[^>]*>", re.I)
# "Q12 Cellularity (core) in %? A: 80", "Req: cellularity?\n Res: 80 %"
_ASKED = re.compile(
    r"^[ \t]*(?:(?:q|req|question|item|frage)[ \d]*[.:)]?[ \t]+|\d+[.)][ \t]+)?"
    r"(?P<of>[^?\n:]{0,60}?)(?P<it>(?<![^\W\d_])(?:how )?cellular(?:ity)?)"
    r"(?P<more>[^?\n:\d]{0,40})\?"
    r"[ \t]*\n?[ \t]*(?:(?:a|ans|answer|res|result|response|antwort)[.:]|[-–—:])?[ \t]*(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
# "80% ← cellularity", "60 <-- cellularity, core, %", "60%  Core cellularity"
_FIRST = re.compile(
    r"^[ \t]*(?P<value>[<>~]?\d[\d.-]{0,6} ?%?)(?: *(?:←|<-+) *|(?<=%) {2,})"
    r"(?P<name>[^\W\d_][^\n\d]*)$",
    re.MULTILINE,
)
# "S3.02  Cellularity", "fld_004 cell_pct": the code of an item, before its name
_CODE = re.compile(
    r"^[ \t]*[A-Z]{1,4}(?:\d{1,2}\.\d{1,2}|_\d{2,4}|0\d{1,2})\b[ \t.:)]*(?=[^\W\d])", re.M | re.I
)
# "Cellularity: [<20% | 20-40% | >40%] ==> 20-40%", "Quality: good / poor   -> good"
_CHOICES = re.compile(
    r"^(?P<key>[^:\n]{2,40}:)[ \t]*+"
    r"(?:\[(?=[^\]\n]{0,90}[|/])[^\]\n]{0,200}\]|[^:,;.\n\[>]{0,90}/[^:,;.\n\[>]{0,90}?)?"
    r"[ \t]*[-=]+>[ \t]*(?P<answer>(?=\S)[^|/\n]*)$",
    re.M,
)
_DRAWN = re.compile(r"(?<!\w)_+[xX✓]_+(?!\w)")  # "_X_ 71-90", beside "___ >90"
_ROW_DRAWN = re.compile(r"^.*_[xX✓]_.*", re.M)
_BLANK = re.compile(r"(?<!\w)_{2,}(?=[ \t]+[^\s%])")
# "Fat : cells = 40 : 60"
_RATIO = re.compile(r"^([ \t]*[^\W\d_]{1,20}) ?: ?([^\W\d_]{1,20}) ?=", re.M)
# "[x] hypercellular - specify %: 70", "Other, specify: 95"
_SPECIFY = re.compile(
    r"(?:\bother[ ,:]{0,3})?[-–( ]{0,4}\b(?:please )?specify\b"
    r" ?(?P<unit>%?)[ )]{0,3}: {0,9}(?P<value>\d[\d -]*)",
    re.I,
)


def by_marks(text: str) -> str:
    """A Report with its marks as marks: spoken or masked ones, boxes, questions, arrows."""
    low = text.lower()
    # "core biopsy colon 40 percent cellular period"
    if sum(low.count(mark) for mark in _TELLING) > 2 and len(_SPOKEN_MARK.findall(text)) > 5:
        text = _SPOKEN_MARK.sub(lambda mark: _MARKS[mark[1].lower()], text)
    if "<!--" in text:  # what no reader sees
        lead, *rest = text.split("<!--")
        text = lead + "".join(part.partition("-->")[2] for part in rest)
    if "~~" in text:
        text = _STRUCK.sub(" ", text)  # of Markdown
    if "|_" in text or "[ " in text:  # "|_4_|_5_|", "[ 4 | 5 ]": a box for each digit
        text = _DIGITS.sub(lambda boxes: re.sub(r"[^\d]", "", boxes[0]), text)
    if "&lt;" in text or "&gt;" in text:
        text = text if TAG.search(text) or text.lstrip()[:1] == "<" else html.unescape(text)
    if "□" in text:  # a bullet elsewhere
        text = text.replace("■", "☒")
    for mark in filter(text.__contains__, "!▸►"):  # "! Cellularity ! 50 % ! 30 - 60 % !"
        if sum(line.count(f"{mark} ") > 1 for line in text.split("\n")) > 1:
            text = text.replace(mark, "|")
    if "?" in text:
        text = _ASKED.sub(lambda it: f"{it['of']}cellularity{it['more']}: ", text)
    if ("%  " in text or "<-" in text or "←" in text) and len(_FIRST.findall(text)) > 1:
        text = _FIRST.sub(r"\g<name>: \g<value>", text)
    return _filled_in(text)


def _filled_in(text: str) -> str:
    """What a form has filled in, without its codes, its choices, and where it asks for more."""
    if "_" in text and _DRAWN.search(text):
        text = _ROW_DRAWN.sub(lambda row: _BLANK.sub("[ ]", _DRAWN.sub("[x]", row[0])), text)
    if len(_CODE.findall(text)) > 2:
        text = _CODE.sub("", text)
    if ">" in text:
        text = _CHOICES.sub(r"\g<key> \g<answer>", text)
    text = _RATIO.sub(r"\1/\2 =", text) if "=" in text else text
    if "pecify" in text.lower():
        text = _SPECIFY.sub(lambda it: f" {it['value'].strip()} {it['unit']}", text)
    return text
