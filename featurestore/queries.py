"""What a person gives as SQL: a text, a file or a name, and its parameters."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import sql
from featurestore.errors import ConfigError, QueryRefused, reading
from featurestore.sql_child import Word
from featurestore.words import Told

KINDS: dict[str, Any] = {"int": int, "float": float, "text": str, "date": date.fromisoformat}
LONGEST = 1_000_000  # bytes of a file with a query


class NamedQuery(str):
    """A SQL text that comes along: a noun that its parameters name must be in the store."""


def known(folder: str) -> dict[str, str]:
    """The SQL texts of a folder of `sql/` by name, with the checks beside what users ask."""
    folders = ("named", "checks") if folder == "named" else (folder,)
    return {Path(name).name: name for one in folders for name in sql.names(one)}


def listed(folder: str) -> Told:
    """What the texts of a folder of `sql/` do, and which parameters they take, a line each."""
    lines, data = [], []
    for name, where in known(folder).items():
        text = sql.read(where)
        comments = itertools.takewhile(lambda line: line.startswith("--"), text.splitlines())
        said = " ".join(line.removeprefix("--").strip() for line in comments)
        code = "\n".join(line.partition("--")[0] for line in text.splitlines())
        takes = list(dict.fromkeys(re.findall(r"\$(\w+)", code)))
        lines += [said, f"    --named {' '.join([name, *(f'-p {one}=...' for one in takes)])}"]
        data.append({"name": name, "said": said, "parameters": takes})
    return Told("\n".join(lines), data)


def chosen(folder: str, given: str | None, file: Path | None, named: str | None) -> str:
    """The one SQL text that was given, as it stands, in a file or by name."""
    if file is not None:
        with reading(file, ConfigError, "Give a file with one SELECT."), file.open("rb") as opened:
            raw = opened.read(LONGEST + 1)  # a device may have no end
        if len(raw) > LONGEST:
            raise ConfigError(f"{file} has over {LONGEST:,} bytes. Give a file with one SELECT.")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file} cannot be read: {error}. Give a text in UTF-8.") from None
    if named is not None:
        if named not in (there := known(folder)):
            raise ConfigError(f"there is no SQL named {named!r}; there is {', '.join(there)}")
        return NamedQuery(sql.read(there[named]))
    return str(given)


_APART = re.compile(  # texts, names and comments, in which brackets are none
    r"""[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"[^"]*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$""",
    re.DOTALL,
)


def condition(text: str) -> str:
    """A person's condition in brackets, which it must not close: it is one expression."""
    bare = _APART.sub(lambda one: " " if one[0].startswith(("--", "/*")) else "x", text)
    depths = itertools.accumulate((one == "(") - (one == ")") for one in bare)
    closes = min(depths, default=0) < 0
    if closes or not bare.strip():
        fault = "closes a bracket that it does not open" if closes else "is empty"
        example = "Give one expression, as: cellularity > 5, or: true"
        raise QueryRefused(f"the condition {text!r} {fault}. {example}")
    return f"({text}\n)"


def where_query(where: str) -> str:
    """Turn a bare condition over `bags` into the SELECT of a Cohort."""
    return f"select distinct bags.slide_id\nfrom bags\nwhere {condition(where)}"


def parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """Read several of NAME=VALUE, each name once; see `parameter`."""
    found = [parameter(pair) for pair in pairs]
    for name, n in Counter(name for name, _ in found).items():
        if n > 1:
            raise ConfigError(f"parameter {name!r} is given {n} times. Give it once")
    return dict(found)


def parameter(pair: str) -> tuple[str, Any]:
    """Read NAME=VALUE, whose type is that of what it is compared with, or NAME:int=VALUE."""
    name, equals, text = pair.partition("=")
    name, colon, kind = name.partition(":")
    if not (name and equals):
        raise ConfigError(f"a parameter is NAME=VALUE or NAME:int=VALUE, got {pair!r}")
    if not colon:
        return name, Word(text)
    if kind not in KINDS:
        raise ConfigError(f"the type of parameter {name!r} is one of {', '.join(KINDS)}: {kind!r}")
    try:
        return name, KINDS[kind](text)
    except ValueError as error:
        raise ConfigError(f"parameter {name!r} is no {kind}: {text!r}") from error
