"""A user's SQL in its child process: every type, what a parameter is, and all limits."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from builders.longer import longer
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore import user_sql
from featurestore.errors import QueryRefused
from featurestore.frames import FORMATS, Rows, rendered, table
from featurestore.sql_child import Word
from featurestore.user_sql import Limits, Question

SAMPLES = {  # a value of every type that DuckDB knows; text that differs from DuckDB's own is said
    "ARRAY": "[1, 2]::integer[2]",
    "BIGINT": "9223372036854775807",
    "BIGNUM": f"'{'9' * 60}'::bignum",
    "BIT": "'10101'::bit",
    "BLOB": r"'\xAA\x00'::blob",
    "BOOLEAN": "true",
    "DATE": "'2021-03-01'::date",
    "DECIMAL": "1.25::decimal(38, 10)",
    "DOUBLE": "0.1::double",
    "ENUM": "'a'::enum('a', 'b')",
    "FLOAT": "'inf'::float",
    "GEOMETRY": "'POINT (1 2)'::geometry",
    "HUGEINT": "170141183460469231731687303715884105727::hugeint",
    "INTEGER": "-1::integer",
    "INTERVAL": "interval '1 year 2 days 3 microseconds'",
    "LIST": "['a', null]",
    "MAP": "map {'a': interval 1 day}",
    "NULL": "null",
    "SMALLINT": "1::smallint",
    "STRUCT": "{'a': 1, 'b c': interval 1 day}",
    "TIME": "'24:00:00'::time",
    "TIME WITH TIME ZONE": "'12:00:00+02'::timetz",
    "TIMESTAMP": "'2021-03-01 10:00:00'::timestamp",
    "TIMESTAMP WITH TIME ZONE": "'2021-03-01 10:00:00+00'::timestamptz",
    "TIMESTAMPTZ_NS": "'2021-03-01 10:00:00+00'::timestamptz_ns",
    "TIMESTAMP_MS": "'2021-03-01 10:00:00'::timestamp_ms",
    "TIMESTAMP_NS": "'2021-03-01 10:00:00.123456789'::timestamp_ns",
    "TIMESTAMP_S": "'2021-03-01 10:00:00'::timestamp_s",
    "TIME_NS": "'12:00:00.123456789'::time_ns",
    "TINYINT": "-1::tinyint",
    "TUPLE": "row(1, interval 1 day)",
    "TYPE": "get_type(1)",
    "UBIGINT": "18446744073709551615::ubigint",
    "UHUGEINT": "340282366920938463463374607431768211455::uhugeint",
    "UINTEGER": "1::uinteger",
    "UNION": "union_value(num := interval 1 day)",
    "USMALLINT": "1::usmallint",
    "UTINYINT": "1::utinyint",
    "UUID": "'7d14fc65-09f6-4d20-9fee-b081ce205d36'::uuid",
    "VARCHAR": "'é, \"x\"' || chr(10) || chr(0) || '漢'",
    "VARIANT": "{'a': [1]}::variant",
}
EXACT = {"BIGNUM": "9" * 60, "BIT": "10101", "HUGEINT": 2**127 - 1, "UHUGEINT": str(2**128 - 1)}
EXACT |= {"TIME": "24:00:00", "INTERVAL": "1 year 2 days 00:00:00.000003", "UBIGINT": 2**64 - 1}
EXACT |= {"TIMESTAMP_NS": "2021-03-01 10:00:00.123456789"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of texts that look like numbers, and of numbers."""
    path = tmp_path_factory.mktemp("asking") / "catalog.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("create table cases (case_id varchar, n integer, x double, d date)")
        rows = "('0042', 42, 4.5, '2021-03-01'), ('42', 6, 20.1, null), ('20.10', 5, -1, null)"
        con.execute(f"insert into cases values {rows}")
    return path


def ask(catalog: Path, text: str, limits: Limits | None = None, **parameters: Any) -> pl.DataFrame:
    return Question(catalog, text, parameters, limits).frame()


# -- types -----------------------------------------------------------------------------------------


def test_a_sample_stands_for_every_type_of_duckdb() -> None:
    with duckdb.connect() as con:
        rows = con.execute("select distinct logical_type from duckdb_types()").fetchall()
    assert {name for (name,) in rows} == set(SAMPLES)


@pytest.fixture(scope="module")
def all_types(catalog: Path) -> Question:
    """Every type: itself, in a list, in a struct, in both, as a map's value, and missing."""
    columns = []
    for name, value in SAMPLES.items():
        shapes = [value, f"[{value}]", f"{{'k': {value}}}", f"[{{'k': [{value}]}}]"]
        shapes += [f"map {{'k': {value}}}"]
        columns += [f'{shape} as "{name} {i}"' for i, shape in enumerate(shapes)]
    one = f"select {', '.join(columns)}"
    return Question(catalog, f"{one} union all select {', '.join(['null'] * len(columns))}")


@pytest.fixture(scope="module")
def everything(all_types: Question) -> pl.DataFrame:
    """The same as a frame."""
    return all_types.frame()


@pytest.mark.parametrize("form", FORMATS)
def test_every_type_prints_in_every_format(everything: pl.DataFrame, form: str) -> None:
    said, _ = rendered(Rows(everything), form)
    if isinstance(said, bytes):
        assert pl.read_parquet(io.BytesIO(said)).shape == everything.shape
    elif form == "csv":
        assert pl.read_csv(io.StringIO(said), infer_schema=False).shape == everything.shape
    elif form == "json":
        full, empty = json.loads(said, parse_constant=lambda word: pytest.fail(word))
        assert set(empty.values()) == {None}
        assert {name: full[f"{name} 0"] for name in EXACT} == EXACT
        assert full["INTERVAL 3"] == [{"k": [EXACT["INTERVAL"]]}]
        assert json.loads(full["MAP 4"]) == {"k": {"a": "1 day"}}
    else:
        assert len(said.splitlines()) == 6


@pytest.mark.parametrize("form", FORMATS)
def test_a_question_prints_what_its_frame_prints(
    all_types: Question, everything: pl.DataFrame, form: str
) -> None:
    assert rendered(Rows(all_types), form) == rendered(Rows(everything), form)


VALUES = {
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "hugeint": st.integers(-(2**127), 2**127 - 1),
    "uhugeint": st.integers(0, 2**128 - 1),
    "double": st.floats(-1e300, 1e300),
    "decimal(20, 3)": st.decimals(-(10**15), 10**15, places=3),
    "varchar": st.text(st.characters(codec="utf-8", exclude_characters="'"), max_size=9),
    "date": st.dates(),
    "timestamptz": st.datetimes(),
}


@settings(max_examples=6, deadline=None)
@given(data=st.data(), width=st.none() | st.integers(40, 200))
def test_rows_of_any_values_print_alike(
    catalog: Path, data: st.DataObject, width: int | None
) -> None:
    n, kinds = data.draw(st.integers(1, 50)), list(VALUES)
    row = st.tuples(*(st.none() | VALUES[kind] for kind in kinds))
    rows = data.draw(st.lists(row, min_size=1, max_size=3))
    rows = (rows * n)[:n]
    said = [
        ", ".join("null" if v is None else f"'{v}'::{k}" for v, k in zip(one, kinds, strict=True))
        for one in rows
    ]
    names = ", ".join(f"c{i}" for i in range(len(kinds)))
    question = Question(catalog, f"from (values ({'), ('.join(said)})) as t({names})")
    frame = question.frame()
    assert table(question, width) == table(frame, width)
    assert rendered(Rows(question), "json") == rendered(Rows(frame), "json")


@pytest.mark.parametrize(
    "value", ["'infinity'::date", "'-infinity'::timestamp", "'12000-01-01'::date"]
)
def test_a_day_that_no_other_tool_knows_is_refused(catalog: Path, value: str) -> None:
    with pytest.raises(QueryRefused, match=r"column day holds .*years 1 to 9999"):
        ask(catalog, f"select {value} as day")
    assert ask(catalog, f"select ({value})::varchar as day").height == 1


def test_names_that_come_twice_get_a_number(catalog: Path) -> None:
    frame = ask(catalog, "select a.*, b.*, 1 as N from cases a join cases b using (n) -- all ;")
    assert frame.columns == [
        *("case_id", "n", "x", "d"),
        *("case_id_2", "n_2", "x_2", "d_2"),
        "N_3",
    ]


def test_rows_come_in_the_order_asked_for(catalog: Path) -> None:
    frame = ask(catalog, "select range as i from range(300000) order by hash(i)")
    assert frame["i"].to_list()[:3] != [0, 1, 2]
    again = ask(catalog, "select range as i from range(300000) order by hash(i) limit 5;")
    assert frame["i"].to_list()[:5] == again["i"].to_list()


# -- parameters ------------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.integers(-99, 99).map(str),
    st.integers(0, 999).map(lambda n: f"{n:05}"),
    st.decimals(-50, 50, places=2, allow_nan=False).map(str),
)


MEETS: dict[str, Callable[[str, str, int, float], Any]] = {
    "case_id = $w": lambda w, c, n, x: c == w,
    "case_id in ($w, 'z')": lambda w, c, n, x: c in (w, "z"),
    "concat($w, case_id)": lambda w, c, n, x: w + c,
    "n > $w": lambda w, c, n, x: n > float(w),
    "x <= $w": lambda w, c, n, x: x <= float(w),
    "n between $w and 50": lambda w, c, n, x: float(w) <= n <= 50,
    "round(n + $w, 2)": lambda w, c, n, x: round(n + float(w), 2),
}


@settings(max_examples=6, deadline=None)
@given(word=NUMBERS)
def test_a_word_is_of_the_type_that_it_meets(catalog: Path, word: str) -> None:
    parts = [part.replace("$w", f"$w{i}") for i, part in enumerate(MEETS)]
    words = {f"w{i}": Word(word) for i in range(len(parts))}
    frame = ask(catalog, f"select case_id, n, x, {', '.join(parts)} from cases", **words)
    for case_id, n, x, *got in frame.rows():
        assert got == [law(word, case_id, n, x) for law in MEETS.values()]


def test_a_word_may_be_a_day_and_a_typed_value_is_what_it_says(catalog: Path) -> None:
    assert ask(catalog, "select n from cases where d >= $d", d=Word("2021-01-01")).item() == 42
    assert ask(catalog, "select $i as i, $t as t", i=42, t="42").rows() == [(42, "42")]
    with pytest.raises(QueryRefused, match="Could not convert string 'abc' to INT32"):
        ask(catalog, "select n from cases where n > $w", w=Word("abc"))


# -- limits ----------------------------------------------------------------------------------------

HEAVY = [
    "select sum(a.range * b.range) from range(1000000) a, range(1000000) b",
    "select sum(length(repeat('x', 90000000 + range))) from range(10000)",
]


@pytest.mark.parametrize("text", HEAVY)
def test_a_query_is_ended_when_its_time_is_over(catalog: Path, text: str) -> None:
    user_sql.start()
    started = time.monotonic()
    with pytest.raises(QueryRefused, match=r"longer than 0\.3 s"):
        ask(catalog, text, Limits(time_s=0.3))
    assert time.monotonic() - started < 30  # of hours
    assert ask(catalog, "select 1 as a").item() == 1


@pytest.mark.parametrize(
    ("text", "limits", "message"),
    [
        ("from range(1001)", Limits(rows=1000), "more than 1,000 rows"),
        ("select repeat('x', 1000) from range(9000)", Limits(bytes=10**6), "more than 1.0 MB"),
        ("select repeat('x', 2000000000)", Limits(memory_bytes=10**9), "1.0 GB of memory"),
        ("select list(range) from range(200000000)", Limits(memory_bytes=10**9), "of memory"),
    ],
)
def test_a_limit_is_said(catalog: Path, text: str, limits: Limits, message: str) -> None:
    with pytest.raises(QueryRefused, match=f"{message}.* limit 1000"):
        ask(catalog, text, limits)
    assert ask(catalog, "from range(1000)", limits).height == 1000


def test_what_threads_reserve_is_no_memory(catalog: Path) -> None:
    """Ten threads reserve 700 MB of address space on two cores, eighty 6 GB on sixteen."""
    limits = Limits(memory_bytes=350_000_000)
    assert ask(catalog, "select sum(range % 7) as n from range(3000000)", limits).item() > 0
    with pytest.raises(QueryRefused, match=r"350\.0 MB of memory"):
        ask(catalog, "select list(range) from range(200000000)", limits)


def test_ctrl_c_ends_a_query_at_once(catalog: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(catalog, HEAVY[0])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 30  # of hours


def height_of(catalog: Path) -> int:
    return ask(catalog, "from range(7)").height


def test_a_worker_of_a_pool_may_ask(catalog: Path) -> None:
    with get_context("spawn").Pool(1) as pool:  # its workers are daemons
        assert pool.map(height_of, [catalog]) == [7]


PARENT = """
import sys
from pathlib import Path
from featurestore import user_sql
limits = user_sql.Limits(time_s=float(sys.argv[3]))
user_sql.start(limits)
print(user_sql._child.pid, user_sql._child.folder, flush=True)
user_sql.Question(Path(sys.argv[1]), sys.argv[2], limits=limits).frame()
"""


@pytest.mark.parametrize(("ended", "time_s"), [(signal.SIGKILL, 60), longer(signal.SIGSTOP, 6)])
def test_a_query_ends_in_its_time_and_with_its_parent_whatever_that_does(
    catalog: Path, ended: signal.Signals, time_s: float
) -> None:
    words = [sys.executable, "-c", PARENT, str(catalog), HEAVY[0], str(time_s)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        stat = Path("/proc", pid, "stat")
        try:
            while int(stat.read_text().split()[13]) < 40:  # of processor time: it computes
                time.sleep(0.02)
            parent.send_signal(ended)
            deadline = time.monotonic() + 20
            with suppress(FileNotFoundError, ProcessLookupError):  # it ends while it is read
                while stat.read_text().split()[2] != "Z":  # its parent may be halted
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            assert ended == signal.SIGSTOP or not Path(folder).exists()
        finally:
            parent.kill()


@pytest.mark.parametrize(
    "text",
    [
        "from read_text('/etc/passwd')",
        "select getenv('HOME')",
        "copy cases to '/tmp/x.csv'",
        "select 1) to '/tmp/x.csv'; copy (select 1",
        "attach '/tmp/x.duckdb'",
        "set memory_limit = '9GB'",
        "select 1; select 2",
        "select",
        "",
    ],
)
def test_nothing_but_one_closed_select_runs(catalog: Path, text: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        ask(catalog, text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("select case_i from cases", 'Candidate bindings: "case_id"'),
        ("from case", "at case"),
        ("from casez", 'Did you mean "cases"?'),
        ("select coun(*) from cases", 'Did you mean "count"?'),
        ("select round(case_id, 'a') from cases", "round(x DOUBLE) -> DOUBLE"),
    ],
)
def test_the_hints_of_duckdb_are_passed_on(catalog: Path, text: str, hint: str) -> None:
    with pytest.raises(QueryRefused) as refused:
        ask(catalog, text)
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("form", ["json", "csv"])
@pytest.mark.parametrize("value", ["'nan'::double", "[1.0, 'inf'::double]", "{'a': '-inf'::float}"])
def test_numbers_that_json_lacks_are_null_and_that_is_said(
    catalog: Path, value: str, form: str
) -> None:
    text, notes = rendered(Rows(Question(catalog, f"select {value} as x, 1.5 as y")), form)
    if form == "csv" and value.startswith("'"):  # it is a cell of its own
        assert (text, notes) == ("x,y\nNaN,1.5\n", [])
        return
    assert "null" in str(text)
    assert notes == ["NaN and infinity are null: JSON has no such numbers"]
    assert rendered(Rows(Question(catalog, "select [null] as x, 1.5 as y")), form)[1] == []
