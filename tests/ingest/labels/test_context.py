"""A sentence that names no sample is of the one named beside it."""

from __future__ import annotations

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
