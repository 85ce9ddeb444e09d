# ruff: noqa: E501
"""Forms that are filled in: codes of items, choices, boxes, fields side by side, over generated inputs."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

VALUES = (5, 35, 60, 95)


@pytest.mark.parametrize("codes", ["S1.01 S2.05 G2.01 S3.02", "fld_004 fld_005 fld_006 fld_007", "Q04 Q05 Q06 Q07"])  # fmt: skip
def test_the_code_of_an_item_is_no_part_of_its_name(codes: str) -> None:
    items = ("Length of trephine", "Cellularity", "Blasts", "Reticulin")
    for v, cell, gap in itertools.product(VALUES, ("Cellularity", "Cellularity (% of marrow space)", "CELLULARITY %"), ("    ", "  ")):  # fmt: skip
        names = [cell if item == "Cellularity" else item for item in items]
        told = ("19 mm", f"{v}%" if "%" not in cell else str(v), "2%", "grade 1")
        rows = [f"{code}{gap[:1]}{name}{gap}{one}" for code, name, one in zip(codes.split(), names, told, strict=True)]  # fmt: skip
        text = "Bone marrow trephine biopsy\n\n" + "\n".join(rows)
        assert parse(text).value == v, text
        assert parse(text.replace(cell, "Plasma cells")).value is None, text


def test_a_marker_before_its_cells_is_no_code() -> None:
    for marker, v in itertools.product(("CD34", "CD138", "CD-34", "Ki-67"), VALUES):
        text = "Core biopsy, 12 mm\n\n" + "\n".join(f"{marker} cells {v}%" for _ in range(3))
        assert parse(text).value is None, text


CHOICES = ["[<20% | 20-40% | 40-60% | >60%]", "[hypo / normo / hyper]", "hypo / normo / hyper", ""]


@pytest.mark.parametrize("arrow", ["->", "==>", "  -->"])
def test_of_choices_before_an_arrow_what_stands_behind_it_is_the_answer(arrow: str) -> None:
    for choices, v, key in itertools.product(CHOICES, VALUES, ("Cellularity", "Cellularity (%)")):
        text = f"Trephine core, 14 mm\n\nQuality: good / poor {arrow} good\n{key}: {choices} {arrow} {v}%\nBlasts: {arrow} 3%"  # fmt: skip
        assert parse(text).value == v, text
        other = text.replace(key, "Plasma cells")
        assert parse(other).value is None, other


def test_a_box_drawn_with_lines_is_ticked_by_its_letter() -> None:
    ranges = ("0-10", "11-30", "31-50", "71-90")
    for at, mark, blank in itertools.product(range(4), ("_X_", "_x_", "__X__"), ("___", "____")):
        boxes = "  ".join(f"{mark if n == at else blank} {one}" for n, one in enumerate(ranges))
        text = f"CORE BIOPSY\nCellularity (percent): {boxes}\nBlasts: 3%"
        low, high = map(int, ranges[at].split("-"))
        assert parse(text).value == (low + high) / 2, text
        none = text.replace(mark, blank)
        assert parse(none).value is None, none


@pytest.mark.parametrize(
    "asks", ["- specify %: {v}", ", specify %: {v}", "(specify): {v} %", ", _{v}_ %"]
)
def test_the_figure_that_a_ticked_box_asks_for_is_its_own(asks: str) -> None:
    for at, v in itertools.product(range(3), VALUES):
        names = ("hypocellular", "normocellular", "hypercellular")
        rows = (f"   {'(x)' if n == at else '( )'} {name} {asks.format(v=v if n == at else '__')}" for n, name in enumerate(names))  # fmt: skip
        text = "Cellularity of core\n" + "\n".join(rows) + "\n   ( ) not assessable\n\nBlasts 2%."
        assert parse(text).value == v, text


def test_fields_side_by_side_are_read_each_by_itself() -> None:
    aspirate, core = "Aspirate quality: good", "Trephine quality: good (16 mm)"
    for v, gap in itertools.product(VALUES, ("   ", "      ")):
        for side_by_side in (f"{aspirate}{gap}{core}", f"{core}{gap}{aspirate}"):
            text = f"BONE MARROW REPORT\n\n{side_by_side}\n\nCellularity: {v}%\nBlasts 3%"
            assert parse(text).value == v, text
        text = f"Core length: 9 mm{gap}Cellularity: {v}%{gap}Blasts: 40%"
        assert parse(text).value == v, text
        for other in (
            "Specimen: clot",
            "Material: aspirate",
            "Sample: particles.",
        ):
            text = f"Core and clot\n\nCellularity: {v}%{gap}{other}"
            assert parse(text).value is None, text
        text = f"Aspirate: cellular{gap}Aspirate cellularity: {v}%\n\nCore: see below"
        assert parse(text).value is None, text


def test_a_bound_under_a_name_that_is_not_known_disputes_no_value_within_it() -> None:
    for name, bound in itertools.product(("Camitta", "Bacigalupo", "Reference group"), (25, 50)):
        rule = f"{name}: cellularity <{bound}% counts toward severe disease."
        for said, v in (("5%", 5), ("less than 20%", 10), ("<10%", 5)):
            text = f"TREPHINE\n\nCellularity: {said}, islands in fat.\n\n{rule}"
            assert parse(text).value == v, text
        assert parse(f"TREPHINE\n\nCellularity: 80%, islands in fat.\n\n{rule}").value != bound


def test_the_normal_cellularity_for_an_age_is_a_norm_also_beside_its_years() -> None:
    for v, age, said in itertools.product(VALUES, (31, 76), ("normal cellularity for age ({}): 24-36%", "Expected cellularity ({} y): 24-36%")):  # fmt: skip
        text = f"Core biopsy, 13 mm.\n\nCellularity: {v}%\nEstimated {said.format(age)}\nBlasts: 2%"
        assert parse(text).value == v, text


@pytest.mark.parametrize("sides", [("R", "L"), ("Right", "Left"), ("Left", "Right")])
def test_of_one_side_alone_no_value_is_read_where_the_other_has_a_figure(
    sides: tuple[str, str],
) -> None:
    for a, b in itertools.permutations((30, 40, 80), 2):
        text = f"Bilateral trephines. {sides[0]} = {a}% cellular, nodules, say 20% of the space. {sides[1]} = {b}% cellular."
        assert parse(text).value == (a + b) / 2, text
        text = f"Bilateral trephines.\n\n{sides[0]}: cellularity {a}%.\n{sides[1]}: tumor cellularity {b}%."
        assert parse(text).value is None, text


def test_of_answers_in_xml_the_chosen_one_counts() -> None:
    for v, (yes, no) in itertools.product(VALUES, (("true", "false"), ("yes", "no"))):
        others = "".join(
            f'<A selected="{no}">{one}</A>\n' for one in ("Less than 10", "10 to 30", "90")
        )
        text = f'<?xml version="1.0"?>\n<R>\n<Q title="Core cellularity (percent)">{others}<A selected="{yes}">Other, specify: {v}</A></Q>\n<Q title="Blasts"><A selected="{yes}">3</A></Q></R>'
        assert parse(text).value == v, text
        rows = f"<report><section name='Core'><row><k>cellularity</k><v>{v}%</v><ref>60-70% at this age</ref></row></section></report>"
        assert parse(rows).value == v, rows


def test_a_line_may_stand_above_an_rtf_text() -> None:
    for v, lead in itertools.product(VALUES, ("", "MAIN LAB  PATHOLOGY DEPT     ", "Case 12\n")):
        text = f"{lead}{{\\rtf1\\ansi {{\\b Core Biopsy}}\\par\nA hypercellular marrow ({{\\i {v}%}}) with 3% blasts.\\par}}"
        assert parse(text).value == v, text
