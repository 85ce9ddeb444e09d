"""A sentence as the rules see it: classes, words and figures."""

from __future__ import annotations

from ingest.labels.figures import find_figures, fold
from ingest.labels.segments import Segment, segments
from ingest.labels.tokens import Sentence, encode


def sentence(text: str) -> Sentence:
    """Of one sentence, whatever it is on."""
    folded = fold(text)
    return encode(folded, find_figures(folded))


def segment(text: str) -> Segment:
    """The only segment of a text that is on the cellularity."""
    (found,) = (one for one in segments(text, fold(text)) if one.near)
    return found
