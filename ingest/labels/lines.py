"""Lines as they were written: without a mail program's quote marks and a printer's blank lines."""

from __future__ import annotations

import re
from itertools import pairwise

from ingest.labels.languages import HEDGE

_QUOTED = re.compile(r"^>[ \t]?", re.MULTILINE)
# "Cellularity:" or "CELLULARITY" on a line, its value below it or below a blank line
_KEYS = r"(?:[cz]ellulari?t[^\W\d_]+|zellgehalt|richesse)"
VALUE_BELOW = re.compile(
    rf"{_KEYS}(?:[^\n%:]{{0,25}}(?:\(%\))?(?P<ends>:)(?:[ \t]*\n)+"
    rf"(?=[ \t]*(?:{HEDGE} |[<>~]? ?\d(?!\d* - ?[^\W\d])|[\[(][ x]?[\])]))|(?:[ \t]*\n)+"
    r"(?=[ \t]*\d{1,3}(?: ?(?:-|to) ?\d{1,3})? ?(?:%|per ?cent)(?:[.;,\n]|$)))"
)
_LED = re.compile(r"  |[%:\t|;]|^.{41}")  # what stands before no key alone on its line
_SHARE = re.compile(r"[<>~]? ?\d{1,3}(?: ?(?:-|to) ?\d{1,3})? ?(?:%|per ?cent)")
_BLANK = re.compile(r"\n[ \t]*\n")
_LEAST = 4  # lines of a text that may be quoted or spaced


def plain_lines(text: str) -> str:
    """A Report without "> " before its lines, or without a blank line behind each."""
    lines = text.split("\n")
    filled = [line for line in lines if line.strip()]
    if len(filled) < _LEAST:
        return text
    if text.lstrip().startswith(">") and all(line.startswith(">") for line in filled):
        return plain_lines(_QUOTED.sub("", text))
    return "\n".join(filled) if _is_spaced(lines, filled) else text


def _is_spaced(lines: list[str], filled: list[str]) -> bool:
    """Whether a blank line stands behind each line, also where a sentence goes on."""
    if any(one.strip() and other.strip() for one, other in pairwise(lines)):
        return False
    goes_on = pairwise(filled)
    broken = sum(one.rstrip()[-1:].isalnum() and other[:1].islower() for one, other in goes_on)
    return broken > 1 and 8 * broken >= len(filled)


def wraps(before: str, line: str) -> bool:
    """Whether a line that begins with a figure goes on from the one before: "..., about\n40%"."""
    ends = before.rstrip()[-1:]
    wraps = len(before) > 30 and (ends.isalpha() or ends in ",-")
    return wraps and _SHARE.match(line) is not None


def value_beside(match: re.Match[str]) -> str:
    """A key and the lines behind it as one line, where it ends in a colon or stands alone."""
    lead = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]
    return match[0] if not match["ends"] and _LED.search(lead) else match[0].replace("\n", " ")


def width_of(folded: str, at: int) -> int:
    """The length of the longest line from a place as far as the next blank one."""
    blank = _BLANK.search(folded, at)
    return max(map(len, folded[at : blank.start() if blank else None].split("\n")))
