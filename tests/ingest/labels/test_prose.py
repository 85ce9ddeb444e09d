"""Running prose: the space made of cells, verdicts, and the same words with another owner."""

from __future__ import annotations

import itertools

import pytest

from ingest.labels.rules import parse

VALUES = (10, 25, 40, 65, 90)
READ = """The marrow space is {v}% cells.
MM, BM bx {v}% cellular w/ 30% PCs, FISH del17p in 55%.
Core biopsy: two granulomas in a marrow of {v}% cellularity.
Beckenkammhistologie: Hypozelluläres Mark, etwa {v}%ig, mit 5 % Mastzellen.
Core biopsy. Cellularity: unchanged at {v}%.
Core biopsy: 30% involvement of a marrow with {v}% overall cellularity.
Stanze: Plasmozytom mit einem Infiltrationsgrad von 60 % bei einer Gesamtzellularität von {v} %.
Core biopsy. The current pre-transplant marrow is {v}% cellular.
Die Markräume der Stanze sind zu {v} Prozent von Zellen ausgefüllt.
The core biopsy is {v} per cent cellular depending upon where one looks.
Core biopsy. Hematopoietic cells are 5% of the space; all in all {v}% of the space holds cells.
Trephine. Cellularity is not the same on all slides; from the first it runs at {v}%.
Core biopsy. The marrow fills {v}% of the available space with cells.
Section through the core discloses cellularity of {v}%.
Section through the core biopsy revealed cellularity around {v}%.
Core biopsy. Two of us put the cellularity at 35% and 95%; after a joint look the consensus is {v}.
About {v}% of the marrow space is cells, the rest fat.
In the core biopsy the spaces are {v}% full.
The core is {v}% filled.
The trephine shows {v}% cells and little else.
Trephine: fat marrow, {v}% cells in the biopsy.
Haemopoiesis in this core: {v}%.
Trephine. Haemopoietic tissue, {v}% in each.
I put the cells at {v} percent in this core.
Core biopsy: {v} parts in the hundred of the marrow space are cells.
The trephine is {v} percent cells.
The core biopsy has {v}% of its marrow area cellular.
Biopsy: {v}% of marrow space cellular; iron absent.
The core has a {v} (per cent) cellularity.
The core has a cellularity of {v}-odd per cent.
Trephine. Cellularity by naked eye: {v}%.
Trephine of avg cellularity {v}%.
Core biopsy. I got {v}% for the cellularity.
Core biopsy. We arrived at {v}% as the cellularity.
Core biopsy. {v}% is the cellularity.
The trephine is hypercellular; call it {v}%.
The trephine is patchy, from 5% to 95% cellular; I report {v}%.
The trephine is patchy, from 5% to 95% cellular. I would settle for {v}%.
The trephine: parts 95% cellular, parts empty. Reported to the nearest 5: {v}%.
Cellularity in the trephine is reduced, i.e. {v}%.
Cellularity in the trephine is reduced, in other words {v}%.
The trephine cellularity is commensurate with her 60 years, {v}%.
The trephine cellularity is spot on for age, {v}%.
The trephine cellularity weighs in at {v}%.
The trephine cellularity may be put at {v}%.
The trephine cellularity must be considered low at {v}%.
Trephine cellularity a shade over {v}%.
Trephine cellularity a respectable {v}%.
Trephine cellularity, on my count, {v}%.
Trephine cellularity estimated by Dr Smith at {v}%.
Trephine: {v}%, mildly hypocellular for age.
At {v}% this trephine is hypocellular.
How cellular is the trephine? About {v}%.
The haemopoietic compartment in the trephine is {v}%.
Answering your question, trephine cellularity is {v}%.""".splitlines()
NOUNS = ("blasts", "plasma cells", "carcinoma", "clot", "T cells", "necrosis", "CD34+ cells")
OWNED = """The marrow space is 40% {n}.
About 40% of the marrow space is {n}, the rest fat.
In the core biopsy the spaces are 40% full of {n}.
The core is 40% filled with {n}.
The core is 40% filled by {n}.
The trephine shows fat and 40% {n}.
I put the {n} at 40 percent in this core.
Core biopsy: {n}, cells 40% positive.
Core biopsy: 40 parts in the hundred of the marrow space are {n}.
In the core 40% of cells are {n}.
The core has 40% of its cells as {n}.
The core has 40% of its marrow area as {n}.
Trephine with {n}: 40% of the cells.
Trephine. {n} by naked eye: 40%.
The previous core was 40% cells.
The aspirate is 40% cells.
Core biopsy. Residual haemopoiesis: 40%.
Core biopsy. Haemopoiesis, with {n}: 40%.
Core biopsy. I got 40% for the {n}.
Core biopsy. Cellularity low. 40% is the {n}.
The trephine is hypercellular with {n}; call it 40%.
Core biopsy. Cellularity normal. {n} present. I would settle for 40%.
Core biopsy. Cellularity normal, i.e. {n} 40%.
The trephine cellularity is normal, {n} spot on for age, 40%.
The trephine cellularity is normal and {n} weigh in at 40%.
Trephine cellularity must be considered low at under 40% by the criteria.
Trephine cellularity normal, {n} a respectable 40%.
Trephine cellularity, of {n}, 40%.
Trephine: {n} 40%, hypocellular for age.
At 40% this {n} is hypocellular.
How many {n} in the trephine? About 40%.
Core fine. The clot is 40% full.""".splitlines()


@pytest.mark.parametrize("frame", READ)
def test_a_space_that_is_made_of_cells_gives_its_figure(frame: str) -> None:
    for v in VALUES:
        assert parse(frame.format(v=v)).value == v, frame


def test_the_same_words_with_another_owner_give_no_value() -> None:
    for frame, noun in itertools.product(OWNED, NOUNS):
        text = frame.format(n=noun)
        assert parse(text).value is None, text


@pytest.mark.parametrize(
    ("said", "value"),
    [("forty", 40), ("fifty to sixty", 55), ("zero", 0), ("nil", 0), ("seventy-five", 75)],
)
def test_a_number_in_words_needs_no_sign_behind_the_cellularity(said: str, value: float) -> None:
    for frame in ("Trephine cellularity {}, iron absent.", "The core has a cellularity of {}."):
        assert parse(frame.format(said)).value == value, frame
    for frame in ("Trephine cellularity {} times normal.", "Core cellularity low, blasts {}."):
        assert parse(frame.format(said)).value is None, frame


LISTED = """Core and clot show respectively {v}% and 99% cellularity.|{v}
The clot and the core show 99% and {v}% cellularity, respectively.|{v}
Respectively for clot, core and smear I recorded 99, {v} and 99% cellularity.|{v}
The three trephine cores come in at 5, {v} and 50% cellular.|{mean}
Two observers scored this trephine at a cellularity of {v}% (AB) and {v}% (CD).|{v}
Core 1 (12 mm) is fat; cellularity {v}%. Core 2 (9 mm) has islands; cellularity {v}%.|{v}
Trephine, bilateral. R {v}%, L {v}%, cellularity.|{v}
Core biopsy. Haemopoiesis and fat are present in this measure ({v}:{rest}).|{v}
Core biopsy (cells vs fat {v}:{rest}).|{v}
The bone biopsy marrow was recorded as {v}/{rest}, haemopoiesis/fat.|{v}
Slightly low cellularity on core ({v}%, normal low limit 99% at this age by our tables).|{v}
Core biopsy. Cellularity averaged over fragments = 36%. Reported as {v}%.|{v}
Our trephine has {v}% cells by area.|{v}
Core biopsy. Marrow cellularity {v}% of which lymphocytes 85%.|{v}
Core biopsy. Tumor fills 5%. I report total marrow cellularity, tumor cells included, as {v}%.|{v}
Haemopoietic elements comprise an estimated {v}% of the core's marrow area.|{v}""".splitlines()


@pytest.mark.parametrize("frame", LISTED)
def test_figures_of_a_list_and_of_a_ratio_go_to_their_own_names(frame: str) -> None:
    said, _, wanted = frame.partition("|")
    for v in VALUES[:4]:
        value = (55 + v) / 3 if "mean" in wanted else v
        text = said.format(v=v, rest=100 - v)
        assert parse(text).value == pytest.approx(value, abs=0.01), text


def test_lists_of_other_nouns_and_what_was_said_before_give_no_value() -> None:
    for frame, noun in itertools.product(
        (
            "Core and clot show respectively 40% and 30% {n}.",
            "Three trephine cores. They come in at 5, 40 and 50% {n}.",
            "Core biopsy. {n} and fat are present in this measure (40:60).",
            "The trephine was recorded as 40/60, {n}/fat.",
            "Core biopsy. The cellularity, 40% of which is {n}, is increased.",
            "Core biopsy of {n}. Cellularity stated on the request form: 40%.",
            "Our trephine has 40% {n} by area.",
            "'40% cellular core with {n}' was what I said at frozen.",
        ),
        ("blasts", "tumor", "plasma cells"),
    ):
        assert parse(frame.format(n=noun)).value is None, frame


@pytest.mark.parametrize(
    ("said", "value"),
    [("two-fifths", 40), ("three quarters", 75), ("a third", 33.3), ("four tenths", 40)],
)
def test_a_fraction_before_the_cells_is_their_share(said: str, value: float) -> None:
    for frame in ("The core is {} cells.", "The spaces of the core are {} full."):
        assert parse(frame.format(said)).value == pytest.approx(value, abs=0.1), frame
    for frame in ("The core is {} fat.", "The core is {} full of tumor.", "In {} of cores tumor."):
        assert parse(frame.format(said)).value is None, frame


def test_both_ends_of_a_swing_are_its_range() -> None:
    for a, b in itertools.combinations(VALUES, 2):
        for verb in ("swings", "seesaws", "ranged", "varies"):
            said = f"cellularity {verb} from as little as {a}% to as much as {b}%"
            reading = parse(f"Core biopsy: {said} between adjacent spaces.")
            assert (reading.value, reading.low, reading.high) == ((a + b) / 2, a, b), said


def test_a_noun_between_the_core_and_its_cellularity_owns_it() -> None:
    for noun in ("tumor", "lymphoma", "myeloma", "blast"):
        assert parse(f"Core biopsy: marrow {noun} cellularity 60%.").value is None
