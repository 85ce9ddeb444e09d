"""Make of bytes a text, and of a text that programs spoilt what a person wrote."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from unicodedata import category, normalize

from featurestore.errors import TrephineError, reading
from featurestore.words import counted

Guess = tuple[str, int]  # an encoding that nothing states, and of how many lines: 0 is a whole file

# byte order marks, the longer ones first
MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32"}
MARKS |= {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
# how files begin that people take for texts; of all others their control characters tell
BEGINNINGS = {b"%PDF": "a PDF", b"PK\3\4": "a .docx or a ZIP", b"\xd0\xcf\x11\xe0": "a .doc"}
BEGINNINGS |= dict.fromkeys((b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*"), "a picture")
EXPECTED = "expected plain text in UTF-8, UTF-16, Windows-1252 or Mac Roman"
SAVE = "Save it as UTF-8 text."
# behind a small letter Mac Roman has its own, cp1252 a capital or none: "cellularit\x8e", "f\x9fr"
MAC = re.compile(rb"[a-z][\x8a\x8d-\x90\x9d]|[A-Za-z]\x9f")
NO_MAC = re.compile(rb"[a-z][\xe0-\xff]")

_NO_TEXT = re.compile("[\0-\x08\x0e-\x1f\x7f]")
CONTROL = "[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]"  # that end no line
_CONTROL, _IN_WORD = re.compile(CONTROL), re.compile(rf"(?<=[^\W_]){CONTROL}+(?=[^\W_])")
_FRAME = "\x0b\x1c\x1a \t\r\n"  # what stands around a message of HL7, and behind a text of DOS
_SOFT = re.compile("(?<=[^\\W\\d_])\u00ad+(?=[^\\W\\d_])")  # "cellu\u00adlarity"; others are seen
# what cp1252 has in place of control characters; U+0085 ends a line as well
_CP1252 = {byte: bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xA0)}
_CP1252 = {byte: char for byte, char in _CP1252.items() if char}
_BYTES = {ord(char): byte for byte, char in _CP1252.items()}
_TYPED = {byte: char for byte, char in _CP1252.items() if byte != 0x85}
# letters of none of the three languages, as "CELLULARITÉ\u00a0:" would be read; no signs, no Greek
_FOREIGN = re.compile(
    "[\u0180-\u0191\u0193-\u02c5\u02c7-\u02db\u02dd-\u02ff\u0400-\u1fff\u2c00-\ufaff\ufb07-\ufefe"
    "\U00010000-\U0010ffff]"
)
_TWICE = re.compile(f"[\xc2-\xf4][\x80-\xbf{''.join(_CP1252.values())}]")  # "Ã¤"


def read_text(path: Path, error: type[TrephineError], expected: str) -> tuple[str, Guess | None]:
    """The text of a file and what was guessed of it; what cannot be read is an `error`."""
    with reading(path, error, expected):
        data = path.read_bytes()
    return decode(data, str(path), error)


def decode(data: bytes, name: str, error: type[TrephineError]) -> tuple[str, Guess | None]:
    r"""Decode bytes; returns the text, with `\n` for every line end, and what was guessed of it.

    A byte order mark decides; else NUL bytes at every other place tell utf-16; else it is utf-8, or
    most of it is and the other lines are cp1252; else cp1252, or Mac Roman where only that makes
    words of it.

    Raises:
        TrephineError: of class `error`: no encoding fits, or what comes out is no text.
    """
    start = data[:64].lstrip()
    for beginning, what in BEGINNINGS.items():
        if start.startswith(beginning):
            raise error(f"{name} is {what}, {EXPECTED}. {SAVE}")
    marked = (encoding for mark, encoding in MARKS.items() if data.startswith(mark))
    encoding, guess = next(marked, None) or _by_nuls(data) or "utf-8", None
    try:
        text: str | None = data.decode(encoding)
    except UnicodeDecodeError:
        text, guess = _guess(data) if encoding.startswith("utf-8") else (None, None)
    if text is None:
        raise error(f"{name} is in no encoding that is known here, {EXPECTED}. {SAVE}")
    if 10 * (n := len(_NO_TEXT.findall(text))) > len(text):
        said = f"{name} has {counted(n, 'control character')} among its {len(text):,}"
        raise error(f"{said}, {EXPECTED}. {SAVE}")
    return text.replace("\r\n", "\n").replace("\r", "\n"), guess


def _by_nuls(data: bytes) -> str | None:
    """The encoding of plain words with a NUL before or behind most letters."""
    first, second = data[0:4096:2].count(0), data[1:4096:2].count(0)
    if 8 * max(first, second) < len(data[:4096]) or 8 * min(first, second) > max(first, second):
        return None
    return "utf-16-le" if second > first else "utf-16-be"


def _guess(data: bytes) -> tuple[str | None, Guess | None]:
    """Decode what is not all utf-8; None where it is no cp1252 either."""
    lines, own, foreign = [], 0, 0
    for line in data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n"):
        try:
            lines.append(line.decode())
            own += not line.isascii()
        except UnicodeDecodeError:
            lines.append(line.decode("cp1252", "replace"))
            foreign += 1
    if own > foreign:
        return "\n".join(lines), ("Windows-1252", foreign)
    if 2 * len(data.translate(None, bytes(range(0x80, 0x100)))) < len(data):
        return None, None  # words of the three languages are mostly of plain letters
    if MAC.search(data) and not NO_MAC.search(data):
        return data.decode("mac_roman"), ("Mac Roman", 0)
    try:
        return data.decode("cp1252"), ("Windows-1252", 0)
    except UnicodeDecodeError:
        return None, None


def guessed(guesses: Iterable[Guess | None]) -> list[str]:
    """What to tell of encodings that nothing in their files states."""
    files, lines = Counter[str](), Counter[str]()
    for name, n in filter(None, guesses):
        files[name] += not n
        lines[name] += n
    told = [("not UTF-8", name, counted(n, "file")) for name, n in files.items() if n]
    among = "not UTF-8 as the lines around them"
    told += [(among, name, counted(n, "line")) for name, n in lines.items() if n]
    return [
        f"{why}, so taken for {name}: {many}. Look at letters like ä and é"
        for why, name, many in told
    ]


def cleaned(text: str) -> str:
    """A text as a person wrote and saw it: letters coded twice mended, unseen characters away.

    A text that it gives comes back as it is.
    """
    while (once := _without_controls(_mended(text))) != text:
        text = once
    return text


def _without_controls(text: str) -> str:
    return _CONTROL.sub(" ", _IN_WORD.sub("", text)) if _CONTROL.search(text) else text


def is_damaged(text: str) -> bool:
    """Whether characters of a text are lost, or some of it is none."""
    text = _mended(text).strip(_FRAME)
    return "\ufffd" in text or _CONTROL.search(text) is not None


def _mended(text: str) -> str:
    """A text coded once, composed, and without what nobody sees but control characters."""
    if text.isascii():
        return text
    while _TWICE.search(text):
        once = "\n".join(map(_coded_once, text.split("\n")))
        if once == text:
            break
        text = once
    if _CONTROL.search(text):
        text = text.translate(_TYPED)  # cp1252 that was read as Latin-1: "40\x9650%"
    unseen = {ord(char): None for char in set(text) if category(char) == "Cf" and char != "\u00ad"}
    text = normalize("NFC", text.translate(unseen) if unseen else text)
    return _SOFT.sub("", text) if "\u00ad" in text else text


def _coded_once(line: str) -> str:
    """A line of utf-8 that was read as cp1252 or Latin-1, as it was before; any other stays."""
    try:
        once = line.translate(_BYTES).encode("latin-1").decode()
    except UnicodeError:
        return line
    return line if _FOREIGN.search(once) else once
