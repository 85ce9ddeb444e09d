# ruff: noqa: E501
"""Keys, long tables, records and fragments of exports, over generated inputs."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

VALUES = (5, 35, 60, 90)
CORES = ("core", "trephine", "core biopsy")
OTHERS = ("clot", "aspirate", "smear", "particles")
# {m} names the sample, {v} is the figure
ROWS = [
    "test,sample,value,unit\nlength,{m},14,mm\ncellularity,{m},{v},%",
    "item\tmaterial\tunit\tvalue\ncellularity\t{m}\tpct\t{v}",
    '"TEST","SPEC","VALUE","UNIT"\n"CELLULARITY","{m}","{v}","%"\n"BLASTS","{m}","2","%"',
    "part;{m}\nmm;14\ncellularity;{v};%\nexpected;45;%",
    "OBX|1|NM|101^CELLULARITY^L|{m}|{v}|%\nOBX|2|NM|102^BLASTS^L|{m}|2|%",
    '{{"cellularity": {{"{m}": {{"pct": {v}}}, "norm": {{"pct": 45}}}}, "blasts": {{"smear": {{"pct": 1}}}}}}',
    "<dl><dt>Material</dt><dd>{m}</dd>\n<dt>Cellularity</dt>\n<dd>{v} %</dd>\n<dt>Blasts</dt><dd>3 %</dd></dl>",
    '<div><span class="k">{m} cellularity</span><span class="v">{v}%</span></div>\n<div><span>Blasts</span><span>3%</span></div>',
]


@pytest.mark.parametrize("frame", ROWS)
def test_the_sample_of_a_record_says_whose_its_figure_is(frame: str) -> None:
    for m, v in itertools.product(CORES, VALUES):
        assert parse(frame.format(m=m, v=v)).value == v, frame.format(m=m, v=v)
    for m, v in itertools.product(OTHERS, VALUES):
        assert parse(frame.format(m=m, v=v)).value is None, frame.format(m=m, v=v)
        both = f"{frame.format(m='core', v=60)}\n{frame.format(m=m, v=v)}"
        if frame in ROWS[:5]:
            assert parse(both).value == 60, both


# {n} names what is measured
KEYS = [
    "CORE BIOPSY\n{n}: 3/5 ({v}%)",
    "CORE BIOPSY\n{n} grade: 3 (= {v} %)",
    "CORE BIOPSY • Length: 16 mm • {n}: {v}% • M:E 3:1",
    "Core biopsy\n@{n}@: {v}%\n@FIBROSIS@: none",
    "TREPH ‖ LEN: 18 mm ‖ {n}: {v} % ‖ M:E: 2",
    "CORE BIOPSY\n{n} (pct): core {v} clot 70 asp 80",
    "CORE BIOPSY\n{n} (core & clot): {v}%",
    "CORE BIOPSY\n{n}, pct: rt {v} ; lt {v} ; avg {v}",
    "CORE BIOPSY\n{n}, mean of 2 cores ....... {v} %",
    "CORE BIOPSY\n{n} observed {v} / expected 45 (percent)",
    "CORE BIOPSY\n{n} {v}%, of which lymphoma is 75%",
    "CORE BIOPSY\n{n}: >>> {v} % <<<\n{n} (age) : >>> 75 % <<<",
    "CORE BIOPSY\n{n}, core: {v} %\n{n}, age-matched mean: 75 %",
]


@pytest.mark.parametrize("frame", KEYS)
def test_what_stands_around_a_figure_and_its_key_does_not_part_them(frame: str) -> None:
    for v in VALUES:
        assert parse(frame.format(n="Cellularity", v=v)).value == v, frame
        for other in ("Blasts", "Plasma cells", "Lymphocytes"):
            assert parse(frame.format(n=other, v=v)).value is None, frame


def test_a_bound_is_one_however_it_is_written() -> None:
    for sign, value in itertools.product((">/= 90%", ">=90%", "≥ 90%"), ("Cellularity", "Core cellularity")):  # fmt: skip
        assert parse(f"Core biopsy\n{value}: {sign}\nBlasts: {sign}").value == 95
    assert parse("Core biopsy. Cellularity &lt;10%. Fat &gt;90%").value == 5
    json = '{"boneCoreCellularityPercent": {"operator": "OP", "value": 90}, "coreBlastsPercent": 7}'
    assert parse(json.replace("OP", ">")).value == 95
    assert parse(json.replace("OP", "=")).value == 90


LISTS = [
    "CELLULARITY\n  Core {v} %\n  Clot 70 %",
    "# Cellularity\n**{v} %** (core biopsy)\n_70 %_ (clot)\n# Blasts\n**2 %** (aspirate)",
    "Cellularity:\n   {v} percent (biopsy)\n   70 percent (spicules)\nLymphoid cells:\n   25 percent (biopsy)",
    "Overall cellularity:\n    {v} per cent (estimated on core)\nCell types:\n    granulocytic 70 per cent, erythroid 25 per cent",
    "Core biopsy\nHow cellular? {v} per cent.\nBlasts? 12 per cent.",
    "1) Adequate? Yes, a 2 cm trephine.\n2) Cellularity (core) in %? A: {v}\n3) Blasts in aspirate in %? A: 70",
    "Core biopsy checklist\nQ: Percentage cellularity? - {v}.\nQ: Tumor? - none.",
    "Core biopsy checklist\nQ12 Cellularity in %? A: {v}\nQ13 Cellularity at last visit in %? A: 70",
    "Trephine\n{v}% ← cellularity\n70% ← fat\n2% ← CD34",
    "15 <-- length, core, mm\n{v} <-- cellularity, core, %\n70 <-- cellularity, expected, %\n2 <-- blasts, smear, %",
    "  {v}%  Core cellularity\n  70%  Core fat\n   3%  Core CD34\n  25%  Clot cellularity",
    "CORE\nCellularity (subcortical zone) 70%, set aside\nCellularity (cortex excluded) {v}%",
    "Core biopsy. Marrow space occupied by cells: {v}%; by fat: 70%",
    "Core biopsy\nCellularity: {v}%\nClot cellularity: 70% -- withdrawn",
    "Core 1.1 cm. Cellul. {v}%. Gran. 70%. Eryth. 25%.",
]


@pytest.mark.parametrize("frame", LISTS)
def test_lists_questions_and_figures_before_their_names_are_read(frame: str) -> None:
    for v in VALUES:
        assert parse(frame.format(v=v)).value == v, frame.format(v=v)
        none = frame.replace("ellul", "haracter").replace("ELLUL", "HARACTER")
        none = none.replace("occupied by cells", "of blasts").format(v=v)
        assert parse(none).value is None, none


@pytest.mark.parametrize("void", ["-- WITHDRAWN, wrong slide", "(retracted)", "- cancelled"])
def test_a_figure_that_is_taken_back_beside_it_is_none(void: str) -> None:
    for v in VALUES:
        assert parse(f"CORE CELLULARITY: {v}% {void}\nBLASTS: 1%").value is None
        assert parse(f"Core cellularity: {v}% {void}\nCore cellularity, new: 40%").value == 40


def test_an_unchanged_key_under_a_correction_is_not_the_new_figure() -> None:
    for v, key in itertools.product(VALUES, ("Blasts (unchanged)", "Plasma cells", "Lymphocytes")):
        text = f"CORE BIOPSY (amended form)\nCellularity (as issued): 60%\nCellularity: 80%\n{key}: {v}%"
        assert parse(text).value in (None, 80), text


FRAGMENTS = [
    "<report>\n <coreBiopsy><cellularity unit='percent'>{v}</cellularity></coreBiopsy>\n <clotSection><cellularity unit='percent'>70</cellularity></clotSection>\n</report>",
    "<BoneMarrowBiopsy><SpecimenType>Core</SpecimenType>\n<PercentCellularity>{v}</PercentCellularity>\n<PercentCellularityPrior>70</PercentCellularityPrior></BoneMarrowBiopsy>",
    '<r:bm>\n<r:cellularity site="trephine" lo="{v}" hi="{v}"/>\n<r:cellularity site="norm" lo="70" hi="75"/>\n<r:blasts site="smear" pct="2"/>\n</r:bm>',
    "core_length_mm: 15\ncellularity_core_min: {v}\ncellularity_core_max: {v}\ncellularity_clot: 70",
    "Trephine, 83 y\nCellularity - measured, %: {v}\nCellularity - expected, %: 70",
    "Marrow core / length / mm / 13\nMarrow core / cellularity / percent / {v}\nMarrow core / norm / percent / 70",
    "TREPHINE\nLength . . 1.1 cm\nCellularity . . {v}% (N 40-60)\nM:E . . 2",
    "Cellularities, in percent:\n  {v} - core\n  70 - clot\nBlasts: 3 percent in smear.",
    "Biopsy cylinder\nCell density: {v} % of marrow spaces\nSinuses: dilated",
    "Core trephines; cellularity % R: {v}, L: {v}; blasts % R: 70, L: 72",
    "Cellularity of trepanobioptate, % - {v}\nBlasts in myelogram, % - 70",
    "! Trephine    ! Result ! Normal   !\n! Cellularity ! {v} % ! 30 - 60 % !\n! Blasts      ! 1 %    ! < 5 %    !",
    "Trephine ▸ 2.0 cm ▸ good\n▸ Cellularity ▸ {v} % ▸ low for 20 y\n▸ Blasts ▸ 0 % ▸",
    "Trephine biopsy\n□ hypo □ normo\nCellularity: □ 95–100% ■ {v}% □ 97–99%",
    "Core biopsy\nCellularity: {v}%\nCell cycle? 70% of cells",
    "Summary\nTrephine cellularity: {v} per cent;\nTrephine lymphocytes: 70 per cent;\nAge norm: 97-99 per cent.",
    "Legend: CBX core\nCBX: cellularity {v}%",
]


@pytest.mark.parametrize("frame", FRAGMENTS)
def test_a_fragment_is_read_by_the_names_of_its_parts(frame: str) -> None:
    for v in VALUES:
        assert parse(frame.format(v=v)).value == v, frame.format(v=v)
        for key in ("ellularity", "ellularities", "ell density"):
            if key in frame:
                none = frame.replace(key, "haracter").format(v=v)
                assert parse(none).value is None, none


def test_a_row_of_another_noun_in_a_column_of_the_cellularity_is_none() -> None:
    for v, noun in itertools.product(VALUES, ("Blasts", "Plasma cells", "Lymphoma")):
        text = f"Material     | Cellularity\nCore biopsy  | {{}}\nParticles    | 30 %\n{noun} | {v} % throughout"
        assert parse(text.format("reduced")).value is None, text


def test_a_share_of_blood_forming_cells_in_a_key_is_the_cellularity() -> None:
    for v in VALUES:
        for key in ("Percent hematopoietic", "Hematopoietic tissue (% of marrow area)", "Hematopoietic cells, %"):  # fmt: skip
            assert parse(f"Core biopsy\n{key}: {v}\nBlasts: 2").value == v, key
        for key in ("Percent hematopoietic precursors", "Hematopoietic cells (% of blasts)"):
            assert parse(f"Core biopsy\n{key}: {v}").value is None, key


def test_a_flag_and_a_number_of_a_study_name_no_two_cores() -> None:
    for v in VALUES:
        text = f"STUDY BMT-3, CORE\nCellularity....70% (H)\nCellularity, day 30 core....{v}% (L)"
        assert parse(text).value is None
