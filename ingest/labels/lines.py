"""Lines as they were written: without a mail program's quote marks and a printer's blank lines."""

from __future__ import annotations

import re
from itertools import pairwise

_QUOTED = re.compile(r"^>[ \t]?", re.MULTILINE)
_SHARE = re.compile(r"[<>~]? ?\d{1,3}(?: ?(?:-|to) ?\d{1,3})? ?(?:%|per ?cent)")
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
