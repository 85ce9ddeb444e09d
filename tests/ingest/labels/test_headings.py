"""What the words of a heading name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.labels import headings
from ingest.labels.headings import material_of


@pytest.mark.parametrize(
    ("heading", "material"),
    [
        ("core biopsy", "core"),
        ("bone marrow trephine biopsy", "core"),
        ("core biopsy as read centrally", "core"),
        ("bone marrow blopsy", "core"),  # an i scanned as an l
        ("clot section", "clot"),
        ("histology (clot)", "clot"),
        ("aspirate smears", "aspirate"),
        ("touch imprints of core biopsy", "touch"),
        ("bone marrow, aspirate, clot and core biopsy", "general"),
        ("final diagnosis", "general"),
        ("lymph node biopsy", "unknown"),
        ("peripheral blood", "other"),
        ("flow cytometry", "unknown"),
        ("liver", "other"),
        ("", "unknown"),
    ],
)
def test_a_heading_names_its_material_or_none(heading: str, material: str) -> None:
    assert material_of(heading) == material


@pytest.mark.parametrize(
    ("heading", "historic", "anothers"),
    [
        ("previous biopsy", True, False),
        ("outside report", True, True),
        ("for comparison", True, True),
        ("referring physician", True, False),
        ("outside slides", True, False),  # material sent in
        ("core biopsy", False, False),
        ("diagnosis", False, False),
    ],
)
def test_a_heading_tells_of_an_earlier_time_or_of_another(
    heading: str, historic: bool, anothers: bool
) -> None:
    assert (headings.is_historic(heading), headings.is_anothers(heading)) == (historic, anothers)


@pytest.mark.parametrize(
    "name", ["cellularity", "Cellularity (0-100%)", "core cell%", "zellularität"]
)
def test_a_name_is_measured_and_one_with_its_figure_is_not(name: str) -> None:
    assert headings.is_measured(name.lower())
    assert not headings.is_measured(f"{name.lower()} 40%")


@given(
    st.sampled_from("|\t"), st.lists(st.sampled_from(["core", "40%", "x"]), min_size=2, max_size=5)
)
def test_a_line_with_bars_or_tabs_is_cut_there(mark: str, cells: list[str]) -> None:
    assert headings.cut_of(mark.join(cells)) == mark
    assert headings.cut_of(" ".join(cells)) == ""


def test_norms_and_sides_are_told_from_materials() -> None:
    for heading in ("normal range", "expected for age", "reference"):
        assert headings.names_norm(heading)
    assert not headings.names_norm("core biopsy")
    assert headings.is_side("left iliac")
    assert not headings.is_side("left iliac crest core")
