"""A sentence that names no sample is of the one named beside it."""

from __future__ import annotations

from itertools import product

import pytest

from ingest.labels.rules import parse

SAMPLES = ["clot section", "aspirate", "touch preparation", "smear"]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sentence_is_of_the_sample_that_the_one_before_is_on(sample: str) -> None:
    text = f"Core biopsy received. The {sample} is good. Cellularity is 60%."
    assert parse(text).value is None
    assert parse(f"Core biopsy: cellularity 60%. This refers to the {sample}.").value is None


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("mark", [";", ",", " and"])
def test_a_list_of_samples_with_the_core_is_of_none_alone(sample: str, mark: str) -> None:
    text = f"SECTION: One core, 9 mm{mark} a {sample} with spicules. Marrow cellularity is 60%."
    assert parse(text).value == 60


@pytest.mark.parametrize("sample", ["previous marrow", "outside trephine"])
def test_a_sentence_behind_one_on_another_time_is_of_that_time(sample: str) -> None:
    text = f"Core biopsy received. The {sample} was looked at again. Cellularity was put at 60%."
    assert parse(text).value is None


THEN = [
    "At diagnosis, cellularity 90%. Now hypocellular.",
    "On admission, cellularity was 90%. Today: empty marrow.",
    "Core biopsy 2018: cellularity 90%.\nCore biopsy 2020: hypocellular.",
    "Trephine 2018: 90% cellular. Trephine 2020: fibrotic.",
    "Stanze 2018: Zellularität 90 %. Stanze 2020: Leermark.",
    "Au diagnostic, cellularité 90 %. Ce jour moelle désertique.",
    "Core biopsy: cellularity is higher than on the last biopsy, 90%.",
    "Core biopsy: cellularity is lower than in 2019, 90%.",
    "She had a hypercellular marrow (90%) at diagnosis; the trephine now is hypocellular.",
    "Day 14: core 90% cellular. Day 28 (today): core inadequate.",
    "D14: core 90% cellular. Today (D28): core crushed.",
    "Week 12: trephine 90% cellular. Week 24 (this specimen): no marrow.",
    "Biopsy #1: core 90% cellular. Biopsy #2 (current): core lost.",
    "S20-1 core: 90% cellular. S21-7 core (present): crushed.",
    "Core biopsy 05/2020: cellularity 90%. Core biopsy 05/2021: not evaluable.",
    "Tag 14: Stanze, Zellularität 90 %. Tag 28 (heute): nicht auswertbar.",
    "J28 : BOM cellularité 90 %. J100 (ce jour) : BOM non évaluable.",
    "Core. In 2019, cellularity was 90%; at present it is clearly lower.",
    "Core: The marrow, once 90% cellular, has become empty.",
    "BOM : la cellularité, qui était de 90 % en janvier, a nettement diminué.",
    "Stanze. Im Mai war die Zellularität 90 %; jetzt ist das Mark leer.",
    "Core: what was a 90% cellular marrow is now aplastic.",
    "Date     Core cellularity   Blasts   Remark\n12 Jan   90%                48%      diagnosis\n"
    "30 Aug   not estimated      3%       this report",
    "Stanze. Verglichen mit der Erstbiopsie (Zellgehalt 90 %) ist das Mark stark gelichtet.",
]


@pytest.mark.parametrize("text", THEN)
def test_a_figure_of_then_is_not_of_now(text: str) -> None:
    for v in (5, 40, 90):
        assert parse(text.replace("90", str(v))).value is None


@pytest.mark.parametrize("v", [5, 40, 90])
def test_a_year_alone_makes_no_figure_old(v: int) -> None:
    assert parse(f"Core biopsy 2020: cellularity {v}%.").value == v
    assert parse(f"Core biopsy 2018: hypocellular.\nCore biopsy 2020: cellularity {v}%.").value == v
    assert parse(f"Core biopsy: cellularity is lower than in 2019, at {v}%.").value == v
    assert parse(f"D14: core 15% cellular. Today (D28): {v}% cellular.").value in (v, None)
    assert (
        parse(f"Core. Cellularity was 95% at diagnosis, 15% on day 14, and is {v}% today.").value
        == v
    )
    assert parse(f"Core biopsy: cellularity was {v}% in the biopsy taken today.").value == v
    assert parse(f"Core 1: {v}% cellular. Core 2: {v}% cellular. Reported today.").value == v


UNITS = [
    ("Day {}", 28, 0),
    ("D{}", 14, -2),
    ("Week {}", 6, 2),
    ("Month {}", 12, 3),
    ("J{}", 42, 15),
]
UNITS += [("Tag {}", 21, 7), ("Woche {}", 9, 4), ("Cycle {}", 4, 1)]
OF_A_TIME = ["{} core biopsy.", "Core biopsy, {}.", "Trephine ({}):", "{}, trephine.", "BOM {}."]
EMPTY = ["Empty marrow.", "Fat only, no blood-forming cells.", "Severely hypocellular."]


@pytest.mark.parametrize(("unit", "now", "then"), UNITS)
@pytest.mark.parametrize("core", OF_A_TIME)
def test_a_figure_of_another_day_than_the_cores_is_not_the_cores(
    unit: str, now: int, then: int, core: str
) -> None:
    lead = core.format(unit.format(now))
    for empty, v in product(EMPTY, (5, 40, 90)):
        for said in ("{}: {}% cellular.", "{}: cellularity {}%.", "{}, cellularity {}%."):
            old = said.format(unit.format(then), v)
            assert parse(f"{lead} {empty} {old}").value is None, f"{lead} {empty} {old}"
            own = said.format(unit.format(now), 20)
            assert parse(f"{lead} {own}").value in (20, None), own
            assert parse(f"{lead} Cellularity 20%. {old}").value == 20, old


NOW = """Present material: {}.
Current specimen (5/1/2021): {} only.
Received today: {}.
This time {} alone.
Aktuelles Material: {}.
Matériel actuel : {}.""".splitlines()


@pytest.mark.parametrize("now", NOW)
@pytest.mark.parametrize("sample", ["aspirate smears", "a clot section", "clot and aspirate"])
def test_a_dated_core_is_old_where_no_core_is_at_hand(now: str, sample: str) -> None:
    for core, day, v in product(
        ("Core biopsy of", "Trephine,"), ("3/2/2019", "2018", "07/2020"), (5, 40, 90)
    ):
        old = f"{core} {day}: cellularity {v}%."
        assert parse(f"{old}\n{now.format(sample)}").value is None, old
        assert parse(f"{now.format(sample)}\n{old}").value is None, old
        with_core = now.format(f"core biopsy and {sample}").replace(" only", "")
        assert parse(f"{with_core}\nTrephine: cellularity {v}%.").value == v, with_core


def test_the_diagnosis_of_a_section_is_no_time() -> None:
    for head, v in product(("Final diagnosis", "Diagnosis", "Pathologic diagnosis"), (5, 85)):
        said = f"Bone marrow, core biopsy: Acute leukemia. Marrow {v}% cellular with 60% blasts."
        assert parse(f"{head}: {said}").value == v, head
    then = "At diagnosis: bone marrow biopsy. The marrow was 85% cellular."
    assert parse(f"{then}\n\nCore biopsy: no figure is given.").value is None
