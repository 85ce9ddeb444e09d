"""What stands beside the finding in one sentence or table: norms, earlier ones, shares, parts."""

from __future__ import annotations

import pytest

from ingest.labels.rules import parse

LEADS = [
    "BONE MARROW CORE BIOPSY:\n{}\n\nASPIRATE SMEAR:\nBlasts 3%. Erythroid 22%.",
    "Specimen: core biopsy, clot and aspirate.\n\nTrephine:\n\n{}\n\nReticulin grade 1.",
]
# 35 is the cellularity in each; a line end is written as \\n
FINDINGS = r"""Cellularity 35% (normal for age 40-60%).
Cellularity 35% (expected for age: 40-60%).
Cellularity 35% (age-adjusted expected range 40-60%).
Cellularity 35% (normal range for a 60-year-old, 40-60%).
Cellularity 35%, expected 40-60%.
Cellularity 35% versus an expected 50% for age.
Cellularity 35%, below the expected 50%.
Cellularity 35%; expected cellularity for age 50%.
Cellularity: 35% (age-matched normal: 50%)
Cellularity: 35% (reference 40-60%)
Cellularity: 35% (ref. range 40 - 60 %)
Cellularity: 35% (N: 40-60%)
Cellularity: 35 % (L) [40 - 60]
The marrow is hypocellular at 35% (normal cellularity at this age is about 50%).
The marrow is 35% cellular; normal for age is 40 to 60%.
Normal for age is 40-60%; the present biopsy is 35% cellular.
Hypocellular for age (35%, normal 40-60%).
Hypocellular for age (35% vs. expected 50%).
Expected cellularity for age 50%; observed 35%.
Expected cellularity is 50%, estimated cellularity is 35%.
Cellularity 35% (previously 80%).
Cellularity 35% (80% on prior biopsy).
Cellularity 35%, previously 80%.
Cellularity 35%, was 80% in March 2019.
Cellularity 35%, down from 80%.
Cellularity has decreased from 80% to 35%.
Cellularity is 35%, decreased from 80% on the biopsy of 3/4/2020.
Compared with the prior biopsy (80% cellular) the cellularity is decreased to 35%.
In the previous biopsy the cellularity was 80%; it is now 35%.
The previous marrow was 80% cellular. The current marrow is 35% cellular.
Cellularity 35%; clot section 80% cellular.
Cellularity 35% (clot section: 80%).
Core 35% cellular, clot 80% cellular.
The core is 35% cellular while the clot section is 80% cellular.
The clot section is 80% cellular and the core biopsy is 35% cellular.
Cellularity of core biopsy is 35%; cellularity of particles is 80%.
Cellularity 35%, with plasma cells comprising 60% of cellularity.
35% cellular with blasts accounting for 60% of the cellular elements.
35% cellular, 60% of which is plasma cells.
Cellularity is 35%. Blasts comprise 60% of overall cellularity.
Cellularity is 35%, lymphoma involves 60% of the marrow space.
Cellularity 35%, involvement by lymphoma 60%.
35% cellular marrow involved by CLL (60% of marrow cellularity).
Hypocellular marrow (35%) with 60% blasts.
Hypocellular marrow (35%) extensively involved by myeloma (60% plasma cells by CD138).
Cellularity 35%, fat 65%.
35% cells and 65% fat.
Cellularity ranges from 20% to 50%.
Cellularity ranges from 10% to 80%, with an overall cellularity of 35%.
Cellularity is variable (10% to 80%), overall approximately 35%.
Cellularity varies from 10% in subcortical areas to 80% in deeper areas, 35% overall.
The subcortical marrow is 5% cellular; the deeper marrow is 35% cellular.
Subcortical areas are hypocellular (5%), the remainder is 35% cellular.
Overall cellularity 35% (range 10-80%).
Overall cellularity is 35%, focally up to 80%.
Right core 30% cellular, left core 40% cellular.
Right: cellularity 30%. Left: cellularity 40%.
Left and right cores show 30% and 40% cellularity respectively.
Core A: 30% cellular; core B: 40% cellular.
Two cores with cellularity of 30% and 40%.
Bilateral biopsies: right 30%, left 40% cellular.
Cellularity 35% (resident: 50%; attending: 35%, final).
Cellularity: 35%\nM:E ratio: 3:1\nBlasts: 5%\nPlasma cells: 10%\nReticulin fibrosis: MF-1
Cellularity: 35%    M:E: 3:1    Blasts: 5%
Length: 15 mm | Cellularity: 35% | Fibrosis: MF-0
Biopsy length 15 mm, cellularity 35%, M:E 3:1, blasts 5%.
Cellularity (% of marrow space): 35%\nFat (%): 65%
- Hypocellular marrow for age (35% cellular)\n- Plasma cell myeloma (60% of cells)
Hypocellular (35%), trilineage; plasma cells 8%; blasts 2%.
CELLULARITY:            35%\nCELLULARITY EXPECTED:   50%
Cellularity, observed: 35%; cellularity, expected: 50%
Test | Result | Reference\nCellularity | 35% | 40-60%\nBlasts | 2% | <5%
Test\tResult\tReference\nCellularity\t35%\t40-60%\nBlasts\t2%\t<5%
Feature | Core | Clot\nCellularity | 35% | 80%\nBlasts | 2% | 2%""".splitlines()
NO_FINDINGS = r"""Hypocellular for age. Blasts 35%.
Cellularity cannot be assessed. CD34 35%.
The marrow is replaced by blasts (35%).
Cellularity: not evaluable (subcortical). Expected 35%.
Cellularity is normal for age (normal 35-50%).
Normal cellularity for age is 35%.
Hypercellular marrow with increased megakaryocytes, 35% with dysplasia.
Normocellular marrow. Erythroid precursors 35% of cellularity.
Cellular marrow with 35% lymphoid infiltrate.
The aspirate is 35% cellular. Core: hypocellular.
Cellularity: see comment.\nPlasma cells: 35% of marrow cellularity.
Fibrosis occupies 35% of the hypocellular marrow.
Necrosis involves 35% of the cellular marrow.
Tumor cellularity is 35%.
The lymphoma replaces 35% of the marrow; remaining marrow normocellular.
Prior biopsy: 35% cellular. Current: hypocellular.""".splitlines()


def values(said: str) -> set[float | None]:
    plain = said.replace("\\n", "\n").replace("\\t", "\t")
    return {parse(lead.format(plain)).value for lead in LEADS}


@pytest.mark.parametrize("said", FINDINGS)
def test_the_finding_is_read_beside_what_is_none(said: str) -> None:
    assert values(said) == {35}


@pytest.mark.parametrize("said", NO_FINDINGS)
def test_what_is_no_finding_gives_none(said: str) -> None:
    assert values(said) == {None}
