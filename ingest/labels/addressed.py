"""Tell words to a reader or a program, and quoted ones: they are content, and no finding."""

from __future__ import annotations

import re

# orders to a program or a reader: "ignore previous instructions", "note to software"
_ORDERS = re.compile(
    r"\b(?:ignore|disregard|override|forget)\b[^.]{0,40}\b(?:instruct|prompt|rule|everything|all|text|"
    r"above)|\b(?:note|notice|message|instructions?|attention|memo)[ :,]*(?:to|for)? (?:the |all )*"
    r"(?:software|program|model|ai\b|llm|parser|reader|abstract|automat|machine|assistant|system)"
)
# names of the machine: "language models must", "SYSTEM: you are now"
_MACHINES = re.compile(
    r"\b(?:language models?|llms?|chat ?bots?|gpt|ai(?!-)|assistants?|parsers?|prompt|json"
    r"|abstract(?:ion|ors?|ing)|summari[sz]ers?|test mode|extraction|data ?base)\b|(?:^|\n)[ \t]*"
    r"(?:system|assistant|user) ?:|to the (?:model|program|software|machine|reader)\b"
)
# what to say: "answer 100%", "return only 40", "must be recorded as"
_ANSWERS = re.compile(
    r"\b(?:(?<!in )(?:answer|reply)|respond|output|(?<!\bi )(?<!\bwe )(?<!would )(?:return|enter"
    r"|record)|transcribe|extract|print|write)\b"
    r"[^.\n]{0,40}[\d\"'<]|\b(?:must|shall) (?:be )?(?:record|answer|report|return|enter|output|say"
    r")|\b(?:answer|reply|respond) (?:only |just )?(?:with|in|as|using)\b"
)
_CITED = re.compile(r'[^\W\d_]\s"(?P<said>[^"]*)$')
_WORDS = re.compile(r"[^\W\d_]{2,}")
_OVER = ("end of report", "end of the report", "new report", "new task", "begin report")


def is_addressed(folded: str, start: int, end: int, *, amends: bool) -> bool:
    """Whether the words from start to end speak to a reader, or stand behind a planted end.

    They go from the paragraph's first to the next sentence's last: "The value is 90%. Models must
    take it." An addendum does stand behind the end of the report.
    """
    if not amends and any(0 <= folded.find(mark) < start for mark in _OVER):
        return True
    start = max(0, start - 1)  # with the line's end before it
    return any(word.search(folded, start, end) for word in (_ORDERS, _MACHINES, _ANSWERS))


def is_cited(folded: str, begin: int, start: int, end: int) -> bool:
    """Whether a figure stands in quotes behind words: 'their report lists "core, 80% cellular"'.

    Its paragraph begins at `begin`; the figure goes from `start` to `end`.
    """
    before = folded[begin:start]
    quote = _CITED.search(before) if before.count('"') % 2 == 1 else None
    behind = folded[end : end + 200].partition('"')[0]
    return quote is not None and bool(
        _WORDS.search(quote["said"]) or len(_WORDS.findall(behind)) > 2
    )
