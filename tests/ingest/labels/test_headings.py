"""What the words of a heading name."""

from __future__ import annotations

import pytest

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
