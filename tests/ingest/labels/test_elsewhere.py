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


NAMED_BEFORE = """The previous biopsy was reviewed.
The biopsy from 3 weeks ago was looked at again.
An outside trephine accompanied the case.
Her last marrow was done eight months ago.
The prior core (2017) is at hand.
The patient's 2017 biopsy was pulled.
His brother's marrow was examined too.
Outside slides reviewed.
Also submitted is a clot section.
The aspirate smears are spicular.
Particle preparations were available.
Touch imprints of good quality were also made.
A separate fragment of clot is present.
The rib was resected.
MRI was repeated.""".splitlines()
FOLLOWING = """The cellularity is 70%.
Cellularity 70%.
Estimated cellularity was 70%.
The marrow was 70% cellular.
It is 70% cellular.
Blasts are not counted. The marrow is 70% cellular.
Cellularity 70%, with 20% blasts.""".splitlines()
TODAYS = """The core is 70% cellular.
The present cellularity is 70%.
Today the marrow is 70% cellular.
We make the cellularity 70%.

Core biopsy: The marrow is 70% cellular.""".replace("\n\n", "\n~~").splitlines()


@pytest.mark.parametrize("before", NAMED_BEFORE)
def test_a_sentence_that_names_no_sample_is_of_the_one_that_was_named_last(before: str) -> None:
    for following in FOLLOWING:
        check(f"{before} {following}")
    for todays in TODAYS:
        text = f"CORE BIOPSY\n12 mm.\n{before} {todays}\n".replace(" ~~", "\n\n")
        assert parse(text).value == 70, text


@pytest.mark.parametrize("before", [*NAMED_BEFORE[:8], "There is no clot.", "No aspirate came."])
def test_a_new_section_and_a_sample_that_is_not_there_own_nothing(before: str) -> None:
    for following in FOLLOWING[:4]:
        text = f"CLINICAL\n{before}\n\nCORE BIOPSY\n12 mm. {following}\n"
        assert parse(text).value == 70, text
    if "no " in before.lower():
        assert parse(f"CORE BIOPSY\n12 mm. {before} Cellularity is 70%.\n").value == 70


@pytest.mark.parametrize("thing", ["lymphoid nodule", "metastatic deposit", "granuloma", "tumor"])
def test_it_is_the_thing_of_the_sentence_before(thing: str) -> None:
    for lead in ("There is a {}.", "A {} is seen.", "One {} is present."):
        for it in ("It is 70% cellular.", "This is 70% cellular."):
            check(f"{lead.format(thing)} {it}")


@pytest.mark.parametrize("other", OTHERS)
def test_a_sentence_behind_a_figure_says_of_what_it_is(other: str) -> None:
    for after in ("This refers to the {}.", "This is the {}.", "({})"):
        check(f"Cellularity 70%. {after.format(other)}")


DENIED = """The marrow is no longer {}% cellular.
There is no longer a cellularity of {}%.
The cellularity is not {}%.
The marrow can hardly be called {}% cellular.
We do not agree with the cellularity of {}%.
We disagree with the figure of {}% cellularity.
The marrow is not thought to be {}% cellular.
Reportedly {}% cellular.
The marrow is allegedly {}% cellular.
The supposed cellularity of {}% is not seen.
The requisition states a cellularity of {}%.
According to the clinician the marrow is {}% cellular.
A cellularity of {}% is needed for enrollment.
The cellularity had to be {}% or more for inclusion.
A cellularity of {}% was claimed.
Cellularity, as quoted by the clinic, {}%.
Die Zellularität beträgt, wie behauptet, {} %.
At birth the marrow is {}% cellular.""".splitlines()
DENIED += [
    f"{by} {said}"
    for by in ("Per the transfer note", "As per the clinic letter,", "According to their chart")
    for said in ("the marrow is {}% cellular.", "the cellularity is {}%.")
]
DENIED += [f"{by} ist das Mark zu {{}} % zellulär." for by in ("Laut Arztbrief", "Gemäß Klinik")]
DENIED += ["Cellularity was said to be {}%.", "We were told that the marrow is {}% cellular."]
DENIED += [
    f"{who} {{}} %{rest}."
    for who, rest in (
        ("Le courrier annonce une cellularité de", ""),
        ("Der Zuweiser gibt die Zellularität mit", " an"),
        ("The clinic quotes a cellularity of", ""),
        ("Her notes mention a cellularity of", ""),
    )
]
DENIED += ["Selon la lettre la moelle est cellulaire à {} %."]
DENIED += [
    f"The {rest} {{}}% {has} a cellularity that is {high}."
    for rest, has in (("viable", "shows"), ("remaining", "has"), ("preserved", "displays"))
    for high in ("high", "reduced")
]
SAID = """The marrow is thought to be {}% cellular.
The cellularity is described as {}%.
The marrow is no longer hypercellular; cellularity is {}%.
We believe the marrow to be {}% cellular.
We agree with the cellularity of {}%.
Per my note the marrow is {}% cellular.
A cellularity of 95% was claimed, but it is {}%.
Cellularity, as quoted by the clinic, 95%; here it is {}%.
The estimated {}% is the cellularity.
The cellularity is {}%, not 95%.""".splitlines()


@pytest.mark.parametrize("frame", DENIED)
def test_what_is_denied_or_only_told_is_no_finding(frame: str) -> None:
    for figure in (10, 35, 70):
        for text in (
            f"CORE BIOPSY\n12 mm, fragmented. {frame.format(figure)}\n",
            f"CORE BIOPSY: Fragmented.\n\nCOMMENT\n{frame.format(figure)}\n",
        ):
            assert parse(text).value is None, text


@pytest.mark.parametrize("frame", SAID)
def test_what_the_reader_says_is_a_finding(frame: str) -> None:
    for figure in (10, 35, 70):
        text = f"CORE BIOPSY\n12 mm. {frame.format(figure)}\n"
        assert parse(text).value == figure, text
