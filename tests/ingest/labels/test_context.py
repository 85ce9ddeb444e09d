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
