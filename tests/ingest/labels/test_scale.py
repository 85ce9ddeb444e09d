"""A figure of a key, "Cellularity (0-100%):", is its scale or a norm, and never the finding."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

KEYS = """Cellularity|Marrow cellularity|Core cellularity|Cellularity of the core
Overall cellularity|Zellularität|Cellularité|CELLULARITY""".replace("\n", "|").split("|")
SCALES = """(0-100%)|(0 - 100 %)|[0-100%]|(0 to 100%)|(0-100)|(%, 0-100)|(scale 0-100%)
(range: 0-100%)|(5-95%)|(normal 30-70%)|(ref 40-60%)|(expected for age 40%)|(previous 90%)
0-100%""".replace("\n", "|").split("|")
ENDS = [": ", " : ", " = ", " ........ "]
UNFILLED = """unable to assess|not done|pending|____|insufficient|nicht beurteilbar|see text|n/a|[ ]
not assessable|non évaluable|-|decreased""".replace("\n", "|").split("|")
FILLED = {"45": 45, "45%": 45, "45 %": 45, "40-50%": 45, "<10%": 5, "approx. 45%": 45}


@pytest.mark.parametrize("scale", SCALES)
def test_a_form_reads_what_is_filled_in_and_nothing_else(scale: str) -> None:
    for key, end in itertools.product(KEYS, ENDS):
        for said in UNFILLED:
            text = f"CORE BIOPSY\n{key} {scale}{end}{said}"
            assert parse(text).value is None, text
        for said, value in FILLED.items():
            text = f"CORE BIOPSY\n{key} {scale}{end}{said}\n\nBlasts {scale}{end}3%"
            assert parse(text).value == value, text
            close = parse(text.replace("\n\n", "\n")).value  # a long line may go on in the next
            assert close in (value,) if ":" in end else (value, None), text


@pytest.mark.parametrize("scale", ["(0-100%)", "[0-100 %]", "(%, 0-100)", "(5-95%)"])
def test_a_table_does_so_too(scale: str) -> None:
    row = f"CORE BIOPSY\n| Cellularity {scale} | {{}} |\n| Blasts {scale} | 3% |"
    assert parse(row.format("45")).value == 45
    assert parse(row.format("not done")).value is None
    table = f"| Site | Cellularity {scale} |\n| Core | 45 |\n| Clot | 60 |"
    assert parse(table).value == 45


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Cellularity (40%).", 40),
        ("Cellularity (30-40%) is normal for age.", 35),
        ("Cellularity (30-40%) - mildly hypocellular.", 35),
        ("Cellularity (40%): hypocellular for age.", 40),
        ("Cellularity (5%): see text.", None),
        ("Cellularity (0-100%)", None),
        ("Normocellular (40%): trilineage.", 40),
    ],
)
def test_a_figure_in_brackets_that_is_no_key_stays_the_finding(
    text: str, value: float | None
) -> None:
    assert parse(f"CORE BIOPSY: {text}").value == value
