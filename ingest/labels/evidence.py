"""Check that a Label is evidenced: the quote stands in the Report and carries the figures."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from featurestore.types import Reading

UNIT_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
TEN_WORDS = "- - twenty thirty forty fifty sixty seventy eighty ninety"
UNITS = {word: float(n) for n, word in enumerate(UNIT_WORDS.split())} | {"hundred": 100.0}
TENS = {word: 10.0 * n for n, word in enumerate(TEN_WORDS.split())}
FRACTIONS = {
    r"half|1/2": 50.0,
    r"third|1/3": 100 / 3,
    r"two[ -]thirds|2/3": 200 / 3,
    r"quarter|1/4": 25.0,
    r"three[ -]quarters|3/4": 75.0,
    r"fifth|1/5": 20.0,
    r"tenth|1/10": 10.0,
}
NUMBER = re.compile(r"(?<![0-9a-z.,])([0-9oils]+(?:[.,][0-9ol]+)?)(?![0-9a-z])(\s*%)?")
SPREAD = re.compile(r"(\d+(?:\.\d+)?)\s*%?\s*(?:±|\+\s*/?\s*-)\s*(\d+(?:\.\d+)?)")
SCANNED = str.maketrans("oils,", "0115.")  # scanning errors, and the decimal comma
PLAIN = str.maketrans("‘’“”⁄‐‑‒–—―−", "''\"\"/-------", "\u00ad")
ADDRESSED = re.compile(  # words to a reader or a program, not about the marrow
    r"""\b(?:ignore|disregard|override|forget)\b .{0,40}
        \b(?:instructions?|prompts?|rules?|everything|all\s+(?:previous|prior|of))\b
    | \b(?:note|notice|message|instructions?)\s+(?:to|for)\s+(?:the\s+|any\s+|all\s+)?
        (?:software|programs?|models?|ai|llms?|parsers?|readers?|abstract|automat|machines?)
    | \b(?:language\s+model|ai\s+(?:model|system|assistant)|llm|chatbot|system\s+prompt|json)\b
    | \b(?:abstract(?:ion|or)|assistant|software|system|program|reader|model|parser|you)s?\s+
        (?:must|should|shall|needs?\s+to|ha(?:s|ve)\s+to)\b .{0,20}
        \b(?:record|return|output|answer|enter|reply|set|extract)\b
    | \b(?:answer|reply|respond\s+with)\b .{0,20} \d
    | \b(?:output|return)\s+(?:only\s+|the\s+|value\s+|number\s+)+["'<]?\d
    | ^\s*(?:system|assistant|user)\s*:
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE | re.DOTALL,
)


def is_supported(text: str, reading: Reading, *, obeys: bool = True) -> bool:
    """Whether the quote stands in the report, carries the figures, and speaks of the marrow.

    White space, case and kinds of dash do not matter. The figures are looked for in the report's
    own words at that place, out to whole words: "5%" cut from "85%" carries no 5. No evidence is a
    sentence that speaks to a reader or, for a parser that `obeys`, one that follows such words.
    """
    if reading.low is None or reading.high is None or not reading.evidence:
        return False
    for start, end in _places(text, reading.evidence):
        ends = (reading.low, reading.high)
        carried = carries(reading.evidence, ends) and carries(text[start:end], ends)
        if carried and not ADDRESSED.search(_sentences(text, start, end, 1 + obeys)):
            return True
    return False


def carries(text: str, wanted: Iterable[float]) -> bool:
    """Whether a text holds these figures; a third is 33, or 33.3."""
    found = figures(text)
    return all(any(abs(figure - one) < 0.4 for figure in found) for one in wanted)


def figures(text: str) -> set[float]:
    """Every number a text may mean: digits (`4O%` too), words, fractions, the ends of a spread."""
    text = unicodedata.normalize("NFKC", text).translate(PLAIN).lower()
    found = {
        float(match[1].translate(SCANNED))
        for match in NUMBER.finditer(text)
        if match[2] or any(char.isdigit() for char in match[1])
    }
    for middle, spread in SPREAD.findall(text):
        found |= {float(middle) - float(spread), float(middle) + float(spread)}
    words = re.findall(r"[a-z]+", text)
    for word, after in zip(words, [*words[1:], ""], strict=False):
        if word in UNITS:
            found.add(UNITS[word])
        if word in TENS:
            found.add(TENS[word] + (UNITS[after] if 0 < UNITS.get(after, 0) < 10 else 0))
    return found | {
        value
        for name, value in FRACTIONS.items()
        if re.search(rf"(?<![\w/])(?:{name})(?![\w/])", text)
    }


def _places(text: str, quote: str) -> Iterator[tuple[int, int]]:
    """Where a quote stands in a text, out to whole words: start and end, indices into the text."""
    folded, origin = text, list(range(len(text)))
    if quote not in text:
        (folded, origin), (quote, _) = _fold(text), _fold(quote)
    at = folded.find(quote) if quote else -1
    while at >= 0:
        start, end = origin[at], origin[at + len(quote) - 1] + 1
        while start and (text[start - 1].isalnum() or re.match(r"\d[.,]", text[start - 2 : start])):
            start -= 1
        while end < len(text) and (text[end].isalnum() or text[end] in ".,%"):
            end += 1
        yield start, end
        at = folded.find(quote, at + 1)


def _fold(text: str) -> tuple[str, list[int]]:
    """Drop white space and dashes, fold the rest; returns it, and where each letter was."""
    pairs = [
        (letter, index)
        for index, char in enumerate(text)
        for letter in unicodedata.normalize("NFKC", char).casefold().translate(PLAIN)
        if not letter.isspace() and letter != "-"
    ]
    return "".join(letter for letter, _ in pairs), [index for _, index in pairs]


def _sentences(text: str, start: int, end: int, n: int) -> str:
    """The sentence of a place, with those before it: n in all."""
    stops = [0, 0] + [stop.end() for stop in re.finditer(r"[.!?]\s+|\n\s*\n", text[:start])]
    after = re.compile(r"[.!?](?:\s|$)|\n\s*\n").search(text, end - 1)
    return text[stops[-n] : after.start() if after else len(text)]
