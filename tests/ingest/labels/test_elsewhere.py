"""A figure of another bone, of imaging, of the clot or of another time is never the core's."""

from __future__ import annotations

import pytest

from ingest.labels.rules import parse

BONES = ["vertebra", "rib", "femoral head", "sternum", "humerus", "mandible", "skull", "tibia"]
OF_BONES = ["vertebral", "femoral", "sternal", "humeral", "mandibular", "cranial", "tibial"]
SITE_FRAMES = [
    "The marrow in the {} is 70% cellular.",
    "Marrow of the resected {} was 70% cellular.",
    "The {} contains marrow of 70% cellularity.",
    "In the {} the marrow has a cellularity of 70%.",
    "Cellularity 70% in the {}.",
    "Cellularity 70% ({}).",
    "Cellularity 70%, {}.",
]
IMAGING = ["MRI", "PET", "imaging"]
IMAGING_FRAMES = [
    "{} suggests a marrow cellularity of 70%.",
    "By {} the marrow is 70% cellular.",
    "On {} the marrow cellularity is 70%.",
    "Cellularity 70% by {}.",
]
OTHERS = ["clot", "clot section", "particle clot", "aspirate particles", "touch imprint"]
BEFORE = ["prior", "prior biopsy", "outside report", "outside hospital", "previous marrow", "2017"]
TRAILING = [
    "70% - {}.",
    "70% -- {}.",
    "70% [{}].",
    "70% ({}).",
    "70%, {}.",
    "70%; {}.",
    "70% / {}.",
]


def check(said: str) -> None:
    for text in (
        f"CORE BIOPSY\n12 mm, crushed. {said}\n",
        f"GROSS\nOne core.\n\nMICROSCOPIC\nThe core is fibrotic. {said}\n\nDIAGNOSIS\nAML.\n",
        f"TREPHINE BIOPSY\nNo lymphoma.\n\nCOMMENT\n{said}\n",
    ):
        assert parse(text).value is None, text
    both = f"CORE BIOPSY\nThe core is 40% cellular.\n\nCOMMENT\n{said}\n"
    assert parse(both).value in (40, None), both


@pytest.mark.parametrize("frame", SITE_FRAMES)
def test_marrow_of_another_bone_is_not_of_the_core(frame: str) -> None:
    for bone in BONES:
        check(frame.format(bone))


def test_marrow_that_is_named_for_another_bone_is_not_of_the_core() -> None:
    for bone in OF_BONES:
        check(f"The {bone} marrow is 70% cellular.")
        check(f"The cellularity of {bone} marrow is 70%.")


@pytest.mark.parametrize("bone", BONES[:5])
def test_a_core_that_was_taken_of_another_bone_is_a_core(bone: str) -> None:
    for text in (
        f"The core biopsy of the {bone} is 70% cellular.",
        f"Core biopsy, {bone}: marrow of 70% cellularity.",
        f"{bone.upper()}, CORE BIOPSY\nCellularity 70%.\n",
    ):
        assert parse(text).value == 70, text


@pytest.mark.parametrize("frame", IMAGING_FRAMES)
def test_what_imaging_says_is_not_of_the_core(frame: str) -> None:
    for means in IMAGING:
        check(frame.format(means))


@pytest.mark.parametrize("frame", TRAILING)
@pytest.mark.parametrize("other", [*OTHERS, *BEFORE])
def test_what_stands_behind_a_figure_says_of_what_it_is(other: str, frame: str) -> None:
    if frame != "70% / {}." or other in OTHERS:
        check(f"Cellularity {frame.format(other)}")
        check(f"Cellularity: {frame.format(other)}")


@pytest.mark.parametrize("frame", TRAILING)
@pytest.mark.parametrize("core", ["core", "trephine", "core biopsy", "normal for age", "average"])
def test_the_core_behind_a_figure_has_it(core: str, frame: str) -> None:
    text = f"CORE BIOPSY\nCellularity {frame.format(core)}\n"
    assert parse(text).value == 70, text
