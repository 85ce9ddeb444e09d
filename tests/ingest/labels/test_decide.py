"""From claims to one Reading, or to none with its reason: laws on `decide` alone."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featurestore.types import Reading
from ingest.labels.claims import Claim
from ingest.labels.decide import decide, evidence
from ingest.labels.figures import Figure
from ingest.labels.rules import parse
from ingest.labels.segments import Segment

TEXT = "core biopsy: " + "cellularity as stated here. " * 40
SEGMENT = Segment(
    text=TEXT, at=0, start=13, end=len(TEXT), material="core", heading="", paragraph=1,
    amends=False, said=(0, len(TEXT)),
)  # fmt: skip


def claim(low: float, high: float | None = None, *, at: int = 20, **said: Any) -> Claim:
    high = low if high is None else high
    figure = Figure(
        start=at, end=at + 3, low=low, high=high, qualifier=said.pop("qualifier", None),
        signed=True, parts=(low, high),
    )  # fmt: skip
    said = {"owner": "cellularity", "material": "core", "segment": SEGMENT, **said}
    return Claim(figure=figure, start=at, **said)


def read(*claims: Claim, text: str = TEXT) -> Reading:
    return decide(text, text, claims, [])


PERCENT = st.integers(0, 100)
SET_ASIDE: list[dict[str, Any]] = [
    {"role": "norm"},
    {"role": "criterion"},
    {"role": "quality"},
    {"earlier": True},
    {"scope": "aside"},
    {"material": "clot"},
    {"material": "aspirate"},
    {"material": "touch"},
    {"material": "other"},
]


@given(value=PERCENT, other=PERCENT, which=st.sampled_from(SET_ASIDE), first=st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_set_aside_changes_nothing_and_is_nothing_alone(
    value: int, other: int, which: dict[str, Any], first: bool
) -> None:
    aside = claim(other, at=60, **which)
    pair = (aside, claim(value)) if first else (claim(value), aside)
    assert read(*pair).value == read(claim(value)).value == value
    alone = read(aside)
    assert (alone.value, alone.outcome) == (None, "states none")


@given(values=st.lists(PERCENT, min_size=2, max_size=4, unique=True))
@settings(max_examples=40, deadline=None)
def test_the_order_of_claims_decides_nothing(values: list[int]) -> None:
    claims = [claim(value, at=20 + 30 * n) for n, value in enumerate(values)]
    claims.append(claim(50, at=200, scope="overall"))
    assert {read(*order).value for order in itertools.permutations(claims)} == {50}


@given(value=PERCENT, other=PERCENT)
@settings(max_examples=60, deadline=None)
def test_two_findings_of_one_core_that_differ_are_not_read(value: int, other: int) -> None:
    reading = read(claim(value), claim(other, at=60))
    if value == other:
        assert reading.value == value
    else:
        assert (reading.value, reading.outcome) == (None, "not read")
        assert "disagree" in reading.reason


def test_the_wider_range_holds_the_figures_within_it_and_a_bound_what_it_is_true_of() -> None:
    reading = read(claim(20, 60), claim(30, at=60, scope="part"))
    assert (reading.value, reading.low, reading.high) == (40, 20, 60)
    assert read(claim(20, 60), claim(30, at=60)).value == 40
    bound = claim(0, 20, qualifier="<")
    assert read(bound, claim(15, at=60)).value == 15  # "15% cellular", "under 20% as the rule asks"
    assert read(bound, claim(25, at=60)).outcome == "not read"
    assert read(replace(bound, side="l"), claim(15, at=60, side="r")).value == 12.5


@given(sides=st.lists(st.tuples(PERCENT, PERCENT), min_size=2, max_size=4))
@settings(max_examples=60, deadline=None)
def test_cores_read_one_by_one_give_their_mean_and_the_outer_figures(
    sides: list[tuple[int, int]],
) -> None:
    pairs = [(min(pair), max(pair)) for pair in sides]
    claims = [
        claim(low, high, at=20 + 30 * n, side=str(n + 1)) for n, (low, high) in enumerate(pairs)
    ]
    reading = read(*claims)
    mean = sum(low + high for low, high in pairs) / (2 * len(pairs))
    assert reading.value == pytest.approx(mean, abs=0.01)
    assert (reading.low, reading.high) == (min(p[0] for p in pairs), max(p[1] for p in pairs))


@given(first=PERCENT, second=PERCENT, third=PERCENT)
@settings(max_examples=60, deadline=None)
def test_the_last_correction_holds_and_today_beats_what_is_undated(
    first: int, second: int, third: int
) -> None:
    later = replace(SEGMENT, paragraph=2)
    last = replace(SEGMENT, paragraph=3)
    corrected = [
        claim(first),
        claim(second, at=60, amends=True, segment=later),
        claim(third, at=90, amends=True, segment=last),
    ]
    assert read(*corrected).value == third
    assert read(claim(first), claim(second, at=60, now=True)).value == second


@pytest.mark.parametrize(
    "open_claim",
    [{"owner": "unclear"}, {"material": "unknown"}, {"owner": "unclear", "amends": True}],
)
def test_what_may_be_the_cellularity_too_keeps_a_value_from_being_read(
    open_claim: dict[str, Any],
) -> None:
    assert read(claim(40, **open_claim)).outcome == "not read"
    reading = read(claim(70), claim(40, at=60, **open_claim))
    assert (reading.value, reading.outcome) == (None, "not read")
    if not open_claim.get("amends"):  # what is said of the whole does not hang on it
        assert read(claim(70, scope="overall"), claim(40, at=60, **open_claim)).value == 70


def test_words_to_a_reader_are_no_finding() -> None:
    assert read(claim(70), claim(40, at=60, addressed=True)).value == 70
    assert read(claim(40, addressed=True)).outcome == "not read"


def test_without_a_core_only_a_claim_of_the_core_counts() -> None:
    text = TEXT + "no core was received."
    assert read(claim(40, material="general"), text=text).value is None
    assert read(claim(40), text=text).value == 40
    assert read(claim(40, material="general")).value == 40


def test_a_correction_may_take_the_figure_back() -> None:
    said = "the cellularity is withdrawn"
    back = replace(SEGMENT, text=said, start=100, end=130, amends=True, paragraph=2)
    reading = decide(TEXT, TEXT, [claim(40)], [SEGMENT, back])
    assert (reading.value, reading.outcome) == (None, "states none")
    after = claim(60, at=140, amends=True, segment=replace(back, text="it is 60%", paragraph=3))
    assert decide(TEXT, TEXT, [claim(40), after], [SEGMENT, back]).value == 60


@given(at=st.integers(13, len(TEXT) - 4))
@settings(max_examples=60, deadline=None)
def test_evidence_is_at_most_200_characters_around_its_figure(at: int) -> None:
    quote = evidence(TEXT, claim(40, at=at))
    assert len(quote) <= 200
    assert quote in TEXT
    assert TEXT[at : at + 3].strip() in quote


@pytest.mark.parametrize("between", [0, 20, 90, 200, 400])
@pytest.mark.parametrize(("one", "other"), [(30, 50), (5, 90)])
def test_the_evidence_of_a_mean_has_all_its_figures_where_they_fit(
    one: int, other: int, between: int
) -> None:
    said = f"Right iliac crest biopsy: cellularity {one}%. "
    said += "Iron stores are normal. " * (between // 24)
    said += f"Left iliac crest biopsy: cellularity {other}%. Blasts 2%."
    got = parse(said)
    assert got.value == (one + other) / 2
    assert got.evidence is not None
    assert got.evidence in said
    assert len(got.evidence) <= 200
    whole = said.index(f"{other}%.") + len(f"{other}%.") - said.index("cellularity")
    assert (f"{other}%" in got.evidence) == (whole <= 200)
    assert f"{one}%" in got.evidence
