"""What runs a user's SQL, in a process of its own, which `featurestore.user_sql` starts.

It writes each result as a Parquet file into the folder it was given; its rows, where they are asked
for as plain values, are told. It ends when a request took its time. It imports DuckDB alone.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from featurestore.bounded_process import Bounds

Types = Any  # DuckDB's own, imported in `serve`
WHOLE = {"tinyint", "smallint", "integer", "bigint"}
PLAIN = WHOLE | {f"u{name}" for name in WHOLE} | {"boolean", "float", "double", "varchar"}
NUMBERS = PLAIN - {"boolean", "varchar"} | {"decimal"}
NESTED = {"decimal", "list", "array", "struct", "map"}
# of at most six digits, as others have them; nanoseconds are text
MOMENTS = {"timestamp", "timestamp_s", "timestamp_ms", "timestamp with time zone"}
WIDE = {"bigint": "Int64", "hugeint": "Int128"}  # types of polars
NAMES = "select name from migrations"
ASIDE = """select
    (select count(*) from failures where stage = 'ledger'),
    (select max(name) from ledger_files where part_of is null and name similar to '\\d{17}-.*')"""
LEDGER_FILE = re.compile(r"\d{17}-\w+-[0-9a-f]{8}(-[0-9a-f]{8})?\.parquet")
HEADS = (4096 + 8, 8192 + 8)  # where DuckDB's two headers count; the last of them holds
COMMIT = b"d\0d\xff\xff"  # the end of a commit in a log
MARKS = re.compile(  # a log in which each commit says only that the file is being written
    rb"d\0b.{,60}?\xff\xff(.{16}d\0c.{,40}?\xff\xff.{16}d\0d\xff\xff)+", re.DOTALL
)
BATCH = 2048  # rows
EXACT_DIGITS = 15  # of a decimal, as a double has them
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
CAST = re.compile(r"CAST\((.{0,200}?) AS (?:U?(?:TINY|SMALL|BIG|HUGE)?INT|FLOAT|DOUBLE|DECIMAL)")
PROBE = "no number 5f1c"
THREADS = {"threads": min(8, os.cpu_count() or 1), "async_threads": 4}  # each has a stack of 8 MB


class Word(str):
    """A parameter's value as it was typed: its type is that of the column it is compared with."""


class Unreadable(Exception):
    """What DuckDB says of a catalog that lacks what it should hold."""


class Refused(Exception):
    """Why a SQL text gives no rows, in a sentence."""


def serve(connection: Connection, limits: Bounds, *, file_bytes: int) -> None:
    """Answer requests until the other side is gone; each may take its seconds, and a file bytes."""
    from featurestore import bounded_process

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say where memory ends
    # What the package is made of, where it has this name still: all of it takes four times as long.
    duckdb = import_module("_duckdb" if find_spec("_duckdb") else "duckdb")
    bounded_process.hold_data(limits.memory_bytes)  # over what this takes
    with suppress(ValueError, OSError):  # the system allows less already
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the system then ends what took its time
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            request = connection.recv()
            seconds = request.pop("seconds")
            signal.setitimer(signal.ITIMER_REAL, seconds)
            for told in _told(duckdb, request):
                signal.setitimer(signal.ITIMER_REAL, 0)  # who hears it may take any time
                connection.send(told)
                signal.setitimer(signal.ITIMER_REAL, seconds)
            signal.setitimer(signal.ITIMER_REAL, 0)


def _told(duckdb: Types, request: dict[str, Any]) -> Iterator[Any]:
    try:
        yield from answers(duckdb, **request)
    except (Refused, Unreadable, duckdb.Error, MemoryError) as error:
        yield {"unreadable" if isinstance(error, Unreadable) else "refused": sentence(error)}


def answers(
    duckdb: Types, *, catalog: str, versions: frozenset[str], half: int | None, **asked: Any
) -> Iterator[Any]:
    """Open the catalog and tell of it, run one SELECT and tell of that; then perhaps its rows.

    Args:
        duckdb: the module.
        catalog: its path.
        versions: the migrations that it must have, none: any; where it has others, or another
            program wrote to it, those it has are told, and its last write.
        half: how many of the first and last rows to tell, 0 for all; None for none.
        asked: see `run`.
    """
    with ExitStack() as held:
        try:
            held.enter_context(turn(catalog))
            con = held.enter_context(duckdb.connect(catalog, read_only=True, config=THREADS))
        except duckdb.OutOfMemoryException:
            raise  # no damage
        except (BlockingIOError, duckdb.Error) as error:
            yield {"closed": str(error)}
            return
        file = held.enter_context(Path(catalog).open("rb"))
        try:
            found = versions and {name for (name,) in con.execute(NAMES).fetchall()}
            last = last_write(file.fileno(), f"{catalog}.wal")
            if found - {f"write {last}"} != versions:
                yield {"versions": found, "last": last}
                return
            yield about(con, Path(catalog).with_name("ledger")) if versions else {}
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            yield {"unreadable": str(error)}
            return
        told = run(duckdb, con, **asked)
        if half is not None:
            yield from plain(con, asked["result"], told, half)
            return
    yield told  # the catalog is closed: a writer need not wait for it


@contextmanager
def turn(catalog: str, *, writes: bool = False) -> Iterator[None]:
    """Hold the folder of a catalog, alone or with others who read, around all that opens it.

    DuckDB's lock is the process's, which loses it when any thread closes the file. This is its own.

    Raises:
        BlockingIOError: another has it.
    """
    folder = os.open(os.path.dirname(catalog), os.O_RDONLY | os.O_CLOEXEC)  # noqa: PTH120
    try:
        try:
            fcntl.flock(folder, (fcntl.LOCK_EX if writes else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError("another process has the lock") from error
        except OSError:
            pass  # a file system without: DuckDB's lock is all that there is
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_UN)  # a process that was forked has the descriptor, too
        os.close(folder)


def about(con: Types, ledger: Path) -> dict[str, Any]:
    """What the catalog could not take, and whether its last file of the ledger is the last there.

    Nobody who folds what is written is at work: that would need the lock.
    """
    n, last = con.execute(ASIDE).fetchall()[0]
    names = [name for kind in ledger.glob("*") if kind.is_dir() for name in os.listdir(kind)]  # noqa: PTH208
    said = [name for name in names if LEDGER_FILE.match(name)]
    other = (
        "" if max(said, default=None) == last else "other" if {last} - {*said, None} else "older"
    )
    return {"aside": n, "other": other}


def last_write(file: int, log: str) -> int:
    """The number of the last write to a catalog: each makes that in the header one more.

    Args:
        file: a descriptor of the catalog.
        log: the path of DuckDB's log beside it, which a program that was killed may have left. What
            it committed there counts; of a write of ours, the log has marks alone.
    """
    last = max(int.from_bytes(os.pread(file, 8, at), "little") for at in HEADS)
    try:
        logged = Path(log).read_bytes()
    except OSError:
        return last
    return last + (COMMIT in logged and not MARKS.fullmatch(logged))


def run(
    duckdb: Types,
    con: Types,
    *,
    text: str,
    parameters: dict[str, Any],
    result: str,
    memory_bytes: int,
    most_rows: int,
) -> dict[str, Any]:
    """Run one SELECT of a user, and write its rows to the file `result`, all that it may touch.

    Returns:
        height, and the columns of whole numbers that stand as text, by the type that holds them.
    """
    for setting in (
        f"allowed_directories = ['{os.path.dirname(result)}']",  # noqa: PTH120
        "temp_directory = ''",  # a sort never writes beside the catalog
        "enable_external_access = false",
        "autoinstall_known_extensions = false",
        "autoload_known_extensions = false",
        "explain_output = 'all'",
        f"memory_limit = '{memory_bytes}B'",
        "lock_configuration = true",
    ):
        con.execute(f"set {setting}")
    text = one_select(duckdb, con, text, parameters)
    values = typed(duckdb, con, text, parameters) or None
    shown, wide = columns(*described(con, text, values))
    rows = f"select {', '.join(shown)} from (\n{text}\n) limit {most_rows + 1}"
    how = "format parquet, compression uncompressed, dictionary_size_limit 0"
    try:
        height = con.execute(f"copy ({rows}) to '{result}' ({how})", values).fetchall()[0][0]
    except duckdb.Error as error:  # its place is one in a text that nobody gave
        if "Could not read" in str(error):  # of the catalog: no other file may be read
            raise Unreadable(str(error)) from error
        raise Refused(sentence(error, placed=False)) from error
    if height > most_rows:
        raise Refused("rows")
    return {"height": height, "wide": held(con, result, wide)}


def described(con: Types, text: str, values: Any = None) -> tuple[list[str], list[Types]]:
    """Names and types of the columns of a SELECT, which does not run."""
    rows = con.execute(f"describe {text}", values).fetchall()
    return [row[0] for row in rows], [con.type(row[1]) for row in rows]


def held(con: Types, result: str, wide: list[str]) -> dict[str, list[str]]:
    """Columns of whole numbers that stand as text, by the smallest type that holds them all."""
    found: dict[str, list[str]] = {}
    for name in wide:
        for kind, place in WIDE.items():
            own = quoted(name)
            fits = f"count({own}) = count(try_cast({own} as {kind}))"
            if con.execute(f"select {fits} from '{result}'").fetchall()[0][0]:
                found.setdefault(place, []).append(name)
                break
    return found


def plain(con: Types, result: str, told: dict[str, Any], half: int) -> Iterator[Any]:
    """Tell of a result's columns, then its rows as Python has them, then an empty list."""
    names, kinds = described(con, f"from '{result}'")
    whole = [name for some in told["wide"].values() for name in some]
    numeric = [kind.id in NUMBERS for kind in kinds]
    shown, zoned = [], []
    for place, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        value = quoted(name)
        if name in whole:
            value, numeric[place] = f"{value}::hugeint", True
        elif kind.id == "timestamp with time zone":
            value = f"timezone('UTC', {value})"
            zoned.append(place)
        shown.append(value)
    yield told | {"names": names, "numeric": numeric}
    last = told["height"] - half
    for part in (f"limit {half}", f"offset {last}") if 0 < half < last else ("",):
        asked = con.execute(f"select {', '.join(shown)} from '{result}' {part}")
        while rows := asked.fetchmany(BATCH):
            for place in zoned:
                at = [row[place] and row[place].replace(tzinfo=UTC) for row in rows]
                rows = [
                    (*row[:place], moment, *row[place + 1 :])
                    for row, moment in zip(rows, at, strict=True)
                ]
            yield rows
    yield []


def one_select(duckdb: Types, con: Types, text: str, given: dict[str, Any]) -> str:
    """The one SELECT of a text, without its semicolon, with just the parameters that it has."""
    statements = con.extract_statements(text)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        got = ", ".join(s.type.name for s in statements) or "nothing"
        raise Refused(f"expected exactly one SELECT, got {got}. The catalog is read-only.")
    wanted = set(statements[0].named_parameters)
    if missing := sorted(wanted - set(given)):
        raise Refused(f"parameter {missing[0]!r} has no value. Add: -p {missing[0]}=VALUE")
    if surplus := sorted(set(given) - wanted):
        has = ", ".join(sorted(wanted)) or "none"
        raise Refused(f"the SQL has no parameter {surplus[0]!r}; it has: {has}")
    raw = text.encode()
    for place, kind in reversed(duckdb.tokenize(text)):
        if kind == duckdb.token_type.operator and raw[place : place + 1] == b";":
            raw = raw[:place] + raw[place + 1 :]
    return raw.decode()


def typed(duckdb: Types, con: Types, text: str, given: dict[str, Any]) -> dict[str, Any]:
    """Values of parameters: a `Word` is a number where it meets numbers, else the text it is.

    DuckDB takes a text for the type that it is compared with, and rounds 5.5 to a whole number
    there. So what looks like a number is tried as a text that is nothing else: where that cannot
    stand, or the plan reads it as a number, it is a number.
    """
    values = {k: str(v) if isinstance(v, Word) else v for k, v in given.items()}
    numbers = {
        name: int(value) if value.lstrip("+-").isdecimal() else float(value)
        for name, value in given.items()
        if isinstance(value, Word) and NUMBER.fullmatch(value)
    }
    for name in numbers:
        as_text = with_casts(duckdb, text, name)
        if not any(
            stands(duckdb, con, as_text, text, values | others | {name: PROBE})
            for others in (numbers, {})
        ):
            values[name] = numbers[name]
    return values


def stands(duckdb: Types, con: Types, as_text: str, text: str, values: dict[str, Any]) -> bool:
    """Whether a SELECT takes the probe for a text."""
    try:
        described(con, as_text, values)
        plans = con.execute(f"explain (format json) {text}", values).fetchall()
    except duckdb.Error:
        return False
    return not any(PROBE in said for row in plans for said in CAST.findall(row[1]))


def with_casts(duckdb: Types, text: str, name: str) -> str:
    """A SQL text whose parameter `name` is a text wherever it stands."""
    raw, tokens = text.encode(), duckdb.tokenize(text)
    for (place, kind), (start, _) in reversed(list(itertools.pairwise(tokens))):
        end = start + len(name.encode())
        if kind != duckdb.token_type.operator or raw[place:end] != f"${name}".encode():
            continue
        if not (raw[end : end + 1].isalnum() or raw[end : end + 1] == b"_"):
            raw = raw[:place] + f"cast(${name} as varchar)".encode() + raw[end:]
    return raw.decode()


def columns(names: list[str], types: list[Types]) -> tuple[list[str], list[str]]:
    """What to select so that every column has a type that others know; and those of huge numbers.

    Names that come twice get a number.
    """
    shown, wide, seen = [], [], set()
    for place, (name, kind) in enumerate(zip(names, types, strict=True), 1):
        own, n = name, 1
        while own.casefold() in seen:
            n += 1
            own = f"{name}_{n}"
        seen.add(own.casefold())
        shown.append(f"{column(f'#{place}', own, kind)} as {quoted(own)}")
        if kind.id in ("hugeint", "uhugeint"):
            wide.append(own)
    return shown, wide


def column(value: str, name: str, kind: Types) -> str:
    """One column as a type that others know: what has none is text, exactly as DuckDB writes it."""
    if kind.id == "date" or kind.id in MOMENTS:
        known = {"date": "date", "timestamp with time zone": "timestamptz"}
        plain = known.get(kind.id, "timestamp")
        fault = (
            f"'column {name.replace(chr(39), '')} holds ' || {value}::varchar || ', which is no "
            "day of the years 1 to 9999. Cast it to text: ::varchar'"
        )
        fits = f"{value} is null or isfinite({value}) and year({value}) between 1 and 9999"
        return f"case when {fits} then {value}::{plain} else error({fault}) end"
    if kind.id == "null" or kind.id.strip('"').lower() == "null":
        return f"{value}::integer"
    steps = dict.fromkeys(target(kind, step) for step in ("map", "json", "varchar"))
    return "::".join([value, *steps])  # a map of exotic values is no JSON before these are texts


def target(kind: Types, step: str) -> str:
    """A type that others know. A map becomes a map of such, then JSON, then a text: the steps."""
    if str(kind) == "JSON":  # DuckDB says varchar of it
        return step if step != "map" else "json"
    if kind.id in PLAIN:
        return str(kind)
    children = dict(kind.children) if kind.id in NESTED else {}
    if kind.id == "decimal":
        return "double" if children["precision"] <= EXACT_DIGITS else str(kind)
    if kind.id == "map":
        key, value = (target(child, "map") for child in children.values())
        return f"map({key}, {value})" if step == "map" else step
    if kind.id in ("list", "array"):
        return f"{target(children['child'], step)}[]"
    if kind.id == "struct" and children:
        inner = (f"{quoted(name)} {target(child, step)}" for name, child in children.items())
        return f"struct({', '.join(inner)})"
    return "varchar"


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def sentence(error: BaseException, *, placed: bool = True) -> str:
    """An error on one line, with DuckDB's hints whole, and the place as words."""
    if isinstance(error, Refused | Unreadable):
        return str(error)
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__:
        return "memory"
    said, _, place = str(error).strip().partition("\n\nLINE ")
    said = said.partition("Stack Trace:")[0]
    if "File too large" in said:
        return "bytes"
    if "No space left" in said or "Async write failed" in said:
        return "room"
    said = re.sub(r"^[A-Z][A-Za-z ]+ Error: ", "", said)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if placed and "\n" in place:
        line, caret = place.splitlines()[:2]
        at = line[caret.find("^") - len("LINE ") :][: max(1, caret.count("^"))].strip()
        lines.append(f"(line {line.split(':')[0]}, at {at})" if at else "")
    return "the SQL fails: " + " ".join(filter(None, lines))
