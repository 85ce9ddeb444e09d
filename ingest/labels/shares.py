"""Shares that cells and fat have of the marrow: "30% cells, 70% fat", "cell to fat ratio 3:1"."""

from __future__ import annotations

import re
from collections.abc import Iterator

# f is the figure of the cells, g that of the fat
_SHARES: dict[str, re.Pattern[str]] = {
    # "30% hematopoietic cells and 70% fat"
    "F cells and F fat": re.compile(r"(?P<f>F)[dq]*[KL][MLG]*[,j/;:(v]*[dv]*Fp?[dq]*f"),
    # "70% fat and 30% hematopoietic cells", "70% of the space filled by fat and 30% by cells"
    "F fat and F cells": re.compile(
        r"F(?:p[doh]*M+v?)?[pz]?[dq]*fG?[,j/;:(v]*[dvq]*(?P<f>F)[pz]?[dq]*[KL]"
    ),
    # "hematopoietic cells 30%, fat 70%"
    "cells F, fat F": re.compile(r"[KL][MLG]*[v:p]*(?P<f>F)[,j/;:]*f[LMG]*[v:p]*F"),
    # "fat 70%, hematopoietic cells 30%"
    "fat F, cells F": re.compile(r"f[MLG]*[vq:p]*F(?:pd*M+)?[,j/;]*[KL][MLG]*[vq:p]*(?P<f>F)"),
    # "cell to fat ratio 60:40"
    "cells to fat": re.compile(
        r"[LCAK][LC]?[:/pj,]*fT?[vpIdqzMBG:()T,]*(?P<f>[NF])[:/p](?P<g>[NF])"
    ),
    # "fat and hematopoietic tissue stand in a proportion of 60:40"
    "fat and cells G:F": re.compile(
        r"fG?j[dq]*K[LGM]*[vx]?[Ipdq]*T?[pq]*(?P<g>[NF])[:/](?P<f>[NF])"
    ),
    # "a 3:1 ratio of cells to fat"
    "F:G cells to fat": re.compile(r"(?P<f>[NF])[:/p](?P<g>[NF])T?[dqp]*[LAK][LMG]*[:/pj]d?f"),
    # "fat to cell ratio 40:60"
    "fat to cells": re.compile(r"fT?[:/pj,]*[LCAK][LG]?T?[vpdq:(T]*(?P<g>[NF])[:/p](?P<f>[NF])"),
}
# "marrow space occupied by hematopoiesis, estimate: 85%"
_FILLED = re.compile(r"M[MB]*v[zp][dq]*K[,vqdp]*:q*(?P<f>F)")


def shares_in(s: str) -> Iterator[tuple[int, str, int]]:
    """The place of each figure of cells, what ties it, and that of the fat's of a ratio, or -1."""
    for name, pattern in _SHARES.items() if "f" in s else ():
        for match in pattern.finditer(s):
            yield match.start("f"), name, match.start("g") if match.groupdict().get("g") else -1
    for match in _FILLED.finditer(s) if "K" in s else ():
        yield match.start("f"), "space filled by cells", -1
