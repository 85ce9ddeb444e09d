"""A form that ticks no core, or a clot or an aspirate alone, leaves a general figure to none."""

from __future__ import annotations

from itertools import product

import pytest

from ingest.labels.at_hand import core_ticked, others_alone
from ingest.labels.rules import parse

CORES = ["core biopsy", "trephine", "Stanze", "biopsie"]
OTHERS = [("aspirate", "clot"), ("aspirate smear", "clot section"), ("touch imprint", "clot")]
# {0} and {1} are other samples, {c} is the core; x, y and z their boxes, o an answer in words
LISTS = """Material submitted: {x} {0} {y} {1} {z} {c}
Specimens: {z} {c}, {x} {0}, {y} {1}
{x} {0}   {y} {1}   {z} {c}
{0} {x}   {c} {z}   {1} {y}
{0} {x} | {1} {y} | {c} {z}
{0} {x}¶{c} {z}¶{1} {y}¶
{x} {0}¶{z} {c}¶{y} {1}¶
{c}: {o}   {0}: yes   {1}: no
{c}: {b}   {0}: [ ] no [x] yes""".splitlines()
BOXES = [("[x]", "[ ]"), ("(x)", "( )"), ("☒", "☐"), ("☑", "□"), ("[X]", "[]")]


def _form(frame: str, core: str, others: tuple[str, str], marks: tuple[str, str], z: bool) -> str:
    on, off = marks
    yes_no = f"{on if z else off} yes {off if z else on} no"
    answer, box = "yes" if z else "no", on if z else off
    form = frame.format(*others, c=core, x=on, y=on, z=box, o=answer, b=yes_no)
    return form.replace("¶", "\n")


@pytest.mark.parametrize("frame", LISTS)
@pytest.mark.parametrize("marks", BOXES)
def test_a_core_that_is_not_ticked_is_none_and_a_ticked_one_is(
    frame: str, marks: tuple[str, str]
) -> None:
    for n, (core, others) in enumerate(product(CORES, OTHERS)):
        v = (5, 40, 90)[n % 3]
        gone = _form(frame, core, others, marks, False)
        assert core_ticked(gone.lower()) is False, gone
        assert parse(f"{gone}\nMarrow cellularity: {v}%").value is None, gone
        there = _form(frame, core, others, marks, True)
        assert core_ticked(there.lower()) is True, there
        assert parse(f"{there}\nCore cellularity: {v}%").value in (v, None), there


@pytest.mark.parametrize(
    "other",
    [
        "Iron stain on: [x] aspirate [ ] core",
        "Flow performed on: [x] aspirate [ ] core",
        "Core: [x] left [ ] right",
        "Core: [ ] broken [x] whole",
        "Lymphoma: no   Fibrosis: yes",
    ],
)
def test_a_list_of_something_else_takes_no_core_away(other: str) -> None:
    assert core_ticked(other.lower()) is None
    for v in (5, 40, 90):
        text = f"BONE MARROW CORE BIOPSY\n{other}\nCellularity: {v}%"
        assert parse(text).value == v


ALONE = """Clot and aspirate only{}.
Aspirate smears only{}.
Only clot and aspirate were received{}.
Material: clot section only{}.
Nur Aspirat und Gerinnsel{}.
Frottis seulement{}.""".splitlines()
WHY = ["", " (dry core)", " (core attempted)", ", trephine gave nothing", "; biopsy tried twice"]
SEVERAL = """Core biopsy only, the aspirate was dry.
Core biopsy; dry tap.
Trephine (dry tap on aspiration).
Core and aspirate only.""".splitlines()


@pytest.mark.parametrize("alone", ALONE)
@pytest.mark.parametrize("why", WHY)
def test_what_is_there_alone_leaves_no_core(alone: str, why: str) -> None:
    said = alone.format(why)
    assert others_alone(said.lower())
    for v in (5, 40, 90):
        assert parse(f"{said} Cellularity {v}%.").value is None
        assert parse(f"BONE MARROW\n{said}\nMarrow cellularity: {v}%").value is None


@pytest.mark.parametrize("said", SEVERAL)
def test_a_core_beside_a_dry_tap_is_there(said: str) -> None:
    assert not others_alone(said.lower())
    for v in (5, 40, 90):
        assert parse(f"{said} Cellularity {v}%.").value == v
        assert parse(f"Core biopsy, 14 mm. FISH: aspirate only. Core cellularity {v}%.").value == v
