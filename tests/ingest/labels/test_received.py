"""Whether a core is there: a figure that is nobody's is a core's only where one was received."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.received import absent
from ingest.labels.rules import parse

GONE = """No core was received.
No core biopsy was obtained.
Trephine: not performed.
Core biopsy: none.
The core biopsy was not submitted.
Core biopsy: did not survive processing.
The trephine is crushed and not interpretable.
Core not assessable.
The core contains only cortical bone and cannot be assessed.
The biopsy consists of cartilage and cortical bone without marrow.
Trephine biopsy: [ ] yes [x] no
Patient declined the core biopsy.
Biopsy failed.
Keine Stanze entnommen.
BOM : non réalisée.
Core attempt dry.
The trephine attempt was dry.
Dry core.
Dry tap on the core.
Core biopsy: QNS
Core biopsy: N/A
Trephine: --
Number of cores: 0
The trephine is inadequate.
The core biopsy is unsatisfactory.
Core biopsy aborted.
Core biopsy attempted without success.
A trephine was attempted but yielded only soft tissue.
Trephine: cortical bone and muscle only.
The core consists of cartilage and skeletal muscle.
The core is too small for evaluation.
Core biopsy: crush artifact precludes evaluation.
Stanze: kein Mark enthalten.
Trephine

Not taken""".splitlines()
GONE = [said.replace("_", "\n") for said in "\n".join(GONE).replace("\n\n", "_").split("\n")]
# what only wishes for a core, or keeps it for later
WISHES = """is recommended.
is advised to exclude fibrosis.
was requested.
is planned for next week.
is pending.
will be reported separately.
to follow.
could be helpful if clinically indicated.
should be considered.""".splitlines()
THERE = """Trephine biopsy No. 4412.
The core shows no tumor.
The core is not fragmented.
Core adequate? [x] yes [ ] no
Core biopsy, dry tap.
No core biopsy abnormality.
Tumor:
- Core R: lymphoid aggregates
- Core L: none""".splitlines()


@pytest.mark.parametrize("said", GONE)
def test_without_a_core_a_general_figure_is_none_and_its_own_one_is(said: str) -> None:
    texts = [f"{said}\nCellularity: 50%\n", f"Marrow cellularity is 50%.\n\n{said}"]
    texts += [f"{said} Marrow cellularity 50%."] if said.endswith(".") else []
    for text in texts:
        assert parse(f"BONE MARROW EXAMINATION\n{text}").value is None, text
    both = f"BONE MARROW EXAMINATION\n{said}\n\nThe second core is 40% cellular.\n"
    assert parse(both).value == 40


@pytest.mark.parametrize("name", ["core biopsy", "trephine", "bone marrow biopsy"])
@pytest.mark.parametrize("wish", WISHES)
def test_a_core_that_is_wished_for_is_none_and_one_beside_the_wish_is(name: str, wish: str) -> None:
    for lead in ("A ", "A repeat ", "Please note: a "):
        for says in ("Marrow cellularity 50%.", "The marrow is 50% cellular."):
            text = f"BONE MARROW EXAMINATION\n\n{lead}{name} {wish} {says}\n"
            assert parse(text).value is None, text
            there = f"TREPHINE\nOne piece of 14 mm.\n\nCOMMENT\n{says}\n{lead}{name} {wish}\n"
            assert parse(there).value == 50, there


def test_a_side_that_is_inadequate_leaves_the_other_core_there() -> None:
    for said in ("inadequate", "not assessable", "unsatisfactory"):
        text = f"Right core: 14 mm.\nLeft core: {said}.\n\nMarrow cellularity: 50%\n"
        assert parse(text).value == 50, text


def test_what_denies_another_thing_leaves_the_core_there() -> None:
    text = "BONE MARROW EXAMINATION\n" + "\n".join(THERE) + "\n\nMarrow cellularity: 50%\n"
    assert parse(text).value == 50
    for said in THERE[:5]:
        assert parse(f"BONE MARROW EXAMINATION\n{said}\n\nMarrow cellularity: 50%\n").value == 50


def test_the_sentences_that_deny_a_core_are_told_and_no_others() -> None:
    for said in GONE:
        assert absent(said.lower()), said
    assert absent("\n".join(THERE).lower()) == ()


def test_the_rule_under_the_names_of_columns_denies_no_core() -> None:
    for head, rule in itertools.product(("Core", "Biopsy"), ("|---|---|", "| :--- | ---: |")):
        rows = "| Left | 20% |\n| Right | 50% |"
        assert parse(f"Marrow\n| {head} | Cellularity |\n{rule}\n{rows}\n").value == 35, rule
