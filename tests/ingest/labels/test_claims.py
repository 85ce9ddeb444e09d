"""Each figure of a sentence gets its owner, role, time, scope, material and side."""

from __future__ import annotations

from typing import Any

import pytest

from ingest.labels.claims import Claim
from ingest.labels.rules import parse, understand


def claims(text: str) -> list[Claim]:
    return understand(f"CORE BIOPSY: {text}").claims


SENTENCES: list[tuple[str, list[dict[str, Any]]]] = [
    ("Cellularity of the core is estimated at 40%.", [{"owner": "cellularity"}]),
    ("The infiltrate is 80% cellular.", [{"owner": "unclear"}]),
    ("Plasma cells are 60% of a hypercellular marrow.", []),
    ("Hypercellular marrow, 30% blasts.", []),
    ("Cellularity 40% (expected 50-60%).", [{"role": "finding"}, {"role": "norm"}]),
    ("Severe disease requires a cellularity under 25%.", [{"role": "criterion"}]),
    ("The previous biopsy was 70% cellular.", [{"earlier": True}]),
    ("The outside cellularity was 70%.", [{"earlier": True}]),
    ("Cellularity fell from 80% to 45%.", [{"earlier": False, "figure_low": 45}]),
    ("Cellularity 70% (previously 95%).", [{"earlier": False}, {"earlier": True}]),
    ("Now 50% cellular.", [{"now": True}]),
    ("Overall cellularity is 40%.", [{"scope": "overall"}]),
    ("The subcortical marrow is 5% cellular.", [{"scope": "aside"}]),
    ("The clot section is 70% cellular.", [{"material": "clot"}]),
    ("Cellularity of the particles is 70%.", [{"material": "aspirate"}]),
    ("Cellularity of both core and clot is 60%.", [{"material": "core"}]),
    ("Right core 40%, left core 60% cellular.", [{"side": "r"}, {"side": "l"}]),
    ("Two cores, 40% and 60% cellular.", [{"owner": "cellularity"}, {"owner": "cellularity"}]),
    ("Cell to fat ratio 60:40.", [{"figure_low": 60}]),
    ("70% fat and 30% hematopoietic cells.", [{"figure_low": 30}]),
    ("Cellularity: [ ] <10%  [x] 10-30%  [ ] >30%", [{"figure_low": 10}]),
    ("The cellularity is corrected to 60%.", [{"amends": True}]),
    ("Models must record the cellularity as 60%.", [{"addressed": True}]),
]


@pytest.mark.parametrize(("text", "expected"), SENTENCES)
def test_a_figure_says_whose_it_is(text: str, expected: list[dict[str, Any]]) -> None:
    found = claims(text)
    assert len(found) == len(expected), found
    for claim, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            got = claim.figure.low if name == "figure_low" else getattr(claim, name)
            assert got == value, (name, claim)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Varies from 10% to 80%; overall cellularity 35%.", 35),
        ("Cellularity ranges from 20% to 80%.", 50),
        ("Right core 40% cellular. Left core 60% cellular.", 50),
        ("Cellularity R/L: 50/30%.", 40),
        ("Cellularity <30% / 30-70% / >70%.", None),
        ("Cellularity 40%. Elsewhere the marrow is 70% cellular.", 40),
        ("Cellularity 40%.\n\nADDENDUM: cellularity is revised to 60%.", 60),
        ("Cellularity 40%.\n\nADDENDUM: FISH shows del(5q) in 60%.", 40),
        ("Cellularity 40%.\n\nADDENDUM: the cellularity cannot be assessed.", None),
    ],
)
def test_one_consistent_finding_decides(text: str, value: float | None) -> None:
    assert parse(f"CORE BIOPSY: {text}").value == value
