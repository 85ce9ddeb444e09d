"""What of the marrow a figure is of: all of it, a part, an area that is set aside."""

from __future__ import annotations

import re
from typing import Literal

from ingest.labels.roles import WITHOUT
from ingest.labels.tokens import after_any

Scope = Literal["whole", "overall", "part", "extreme", "aside"]
_OF_LAST = re.compile(r"\(?[^,(]*a[^,(]*(?=[pj])")  # "20% [in subcortical spaces] to 50%"


def scope_of(s: str, at: int) -> Scope:
    """What of the marrow a figure is of, by its own clause."""
    mean = re.search(r"o[qvpd:]*F(?![pI][dqh]*[MBG])", s)  # no "nodules, say 20% of the space"
    if mean and s.count("F") > 1:
        return "overall" if mean.end() - 1 == at else "aside" if "a" in s[:at] else "part"
    if s[at - 1 : at] == "(":
        s = s[: at + 1] + s[at + 1 :].replace(")", "q", 1)  # "fatty (10%) and not representative"
    stop = re.search(r"[.;,()FN]|$", s[at + 1 :])
    boxed = s[at - 1 : at] == "("  # what stands before "(10% cellular)" is of it
    begin = after_any(s, ".;,jF" if boxed else ".;,(F", at)
    clause = s[begin:at] + s[at + 1 :][: stop.start() if stop else 0]
    since = after_any(s, ".;F", at)
    wide = s[since:at]
    if s[since - 1 : since] == "F":
        wide = re.sub("^[qpI]*o(?=[(,j])", "", wide)  # "40% overall (20% here"
    if s[at - 1 : at] != "(":
        wide, clause = WITHOUT.sub("", wide), WITHOUT.sub("", clause)
    if _OF_LAST.match(wide) and "F" in s[:at]:
        wide = clause = _OF_LAST.sub("", wide) + clause.rpartition(wide)[2]
    clause = re.sub("w[dq]*t[qv]*f", "", clause)  # "40% with the remainder fat"
    clause = re.sub("w[^vF,]*(?=v)", "", clause)  # "a core with focal hemorrhage shows"
    clause = re.sub("[xLfKi]+t", "", clause)  # "cellularity 40%, no lymphoid nodules"
    apart = re.search(r"[,j].*[MB]", wide) or {"M", "t"} & set(clause)
    if "a" in clause or ("a" in wide and not apart and "o" not in clause):
        return "aside"
    return "overall" if "o" in wide + clause else "part" if "t" in clause else "whole"
