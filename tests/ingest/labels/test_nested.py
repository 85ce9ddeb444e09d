# ruff: noqa: E501
"""Keys below a heading, drafts, quotes, readers, spreads and keys of a form, over generated inputs.

v is the finding, w another's figure, a and b those of two readers or cores, lo and hi of a spread.
"""

from __future__ import annotations

import pytest

from ingest.labels.rules import parse

PAIRS = ((15, 60), (35, 90), (60, 15), (90, 35))

READ = """
CORE BIOPSY~  Length: 14 mm~  Adequacy: good~  Cellularity: {v}%~CLOT~  Cellularity: {w}%
CORE BIOPSY:~ - Quality: adequate, 13 mm~ - Cellularity: {v}%~~ASPIRATE: particles {w}% cellular.
Core biopsy:~   length, cm = 2.3~   cellularity, % = {v}~   normal for age, % = 30-50~Clot section: cellularity, % = {w}
Trephine:~   length (mm) = 15~   cellularity (%) = {v}~   blasts (%) = {w}
Core biopsy~  Hematopoietic cells (incl. leukemia) / fat: {v}/{r}~  Blasts: {w}%
Core biopsy~  Hemopoietic cells (tumour included) to fat: {v}:{r}
1 CLINICAL~Anemia.~~2 ASPIRATE~Blasts {w}%. Particles {w}% cellular.~~3 BIOPSY~Length 20 mm. Hematopoietic cells fill {v}% of the intertrabecular area.
1 HISTORY~Anemia.~2 SMEAR~Cellularity {w}%.~3 TREPHINE~Cellularity {v}%.
Lakeside Pathology~~1 HISTORY~Anemia.~~4 CORE BIOPSY~Cellularity {v}%. Blasts {w}%.
[DRAFT - PGY3]~Core: cellularity ~{w}%, megakaryocytes normal.~~[FINAL - ATTENDING]~Core: cellularity {v}%.
DRAFT~Core: {w}% cellular.~FINAL~Core: {v}% cellular.
Draft reading~~Core: {w}% cellular.~Clot: {w}%.~~Final: core {v}% cellular.
Biopsy: 19 mm. The biopsy is {v}% cellular.~Result: MDS.~~- - - - - - - - -~ARCHIVE ATTACHMENT (for comparison)~Biopsy: 15 mm. The biopsy is {w}% cellular.
The accompanying report from Elm Hospital lists "core, {w}% cellular; blasts 12%". We read the core at {v}% cellular.
Their letter says "marrow {w}% cellular". On the recut of your block we find the core {v}% cellular.
On review of your slides we read the core as {v}% cellular. Blasts are {w}%.
In your block I read the core at {v}% cellularity, with {w}% blasts.
The core of your patient is {v}% cellular.
CORE~cellularity: WK {a}%, HB {b}%, over the double-headed scope consensus {v}%~blasts {w}%
Core biopsy~Cellularity: first reader {a}%, second reader {b}%, agreed {v}%.
Core biopsy~Cellularity: JM {a}%, TR {b}%, mean {v}%.
Core: Marrow is {{hypercellular}} at {{{v}}} %, for age {{61}} where {{{w}}} % is usual.
Core: {{adequate}}. Cellularity {{{v}}} %. Blasts {{{w}}} %.
Trephine length: 20 mm~Marrow cellularity (core): {v}%~CD34: none~~Grading key used by the registry: severe, cellularity below 25% (or 25-50% with under 30% residual haemopoietic cells).
Core: {v}% cellular.~~Key: severe, cellularity under 25% or 25-50% with few cells.
CORE BIOPSY: Cellularity {v}%.~~COMMENT: Many protocols call a marrow ablated with cellularity below 20% and blasts below 5%.
CORE BIOPSY: Cellularity {v}%.~~COMMENT: Most guidelines ask for a cellularity above 30% to assess it.
Microscopic. Tumour takes {w}% of the marrow space; combined cellularity (tumour and marrow) {v}%.
Microscopic. Residual haemopoiesis amounts to {lo}% of the space; total cellularity (with tumor) {v}%.
HISTOLOGIC FINDINGS~Plasma cells in core (CD138), % of cellularity: {w}%~Core cellularity, specify: {v}%
CORE~Blasts, percent of the cellularity: {w}%~Cellularity: {v}%
Core~T cells (CD3), % of total cellularity: {w}%~Cellularity {v}%
Core biopsy~Field                   Value~Cellularity (fraction, 0-1)   0.{v}~CD34 (fraction of cells)      0.{w}
Length (mm)                   20~Cell:fat ratio (core)         {v}:{r}~M:E ratio (smear)             2.4:1~Blasts (smear)                {w}%
OPEN MARROW DATA STANDARD, record type TREPHINE~~field              value~Length             20~Cellularity (%)    {v}~Blasts (%)         {w}
CHILDREN'S HOSPITAL, TREPHINE REPORT~~Cellularity: {v}%. Blasts {w}%.
                     12/04/2023   03/15/2023   09/20/2022~                     (current)    (post ASCT)  (diagnosis)~Core cellularity, %      {v}           20           {w}~Hct, %                 40.2         33.0         27.5
                 15 Aug       20 Feb~                 previous     current~Core cellularity, %    {w}    {v}
                 previous     present~                 03 Dec       20 Feb~Core cellularity, %    {w}    {v}
A. Right core: 1.3 cm; cellularity {v}%; no infiltrate~B. Left core: 1.6 cm; cellularity {v}%~C. Aspirate: blasts {w}%
A.  Core of 14 mm, 9 marrow spaces.  Cellularity {v}%.  Trilineage~    maturation.~B.  Clot, fragmented.  Cellularity {w}%.  No core here.
Appositions. Étalement riche, de l'ordre de {w} % de cellularité sur les amas. Blastes 1 %.~~Biopsie. Carotte de 14 mm. Le rapport cellules/adipocytes est de {v}/{r}.
BIOPSIE OSTEO-MEDULLAIRE~La moelle est riche, de cellularité proche de {v} %, avec JAK2 {w} %.
""".strip().splitlines()

MEAN = """
A. Right core: 1.3 cm; cellularity {a}%; no infiltrate~B. Left core: 1.6 cm; cellularity {b}%; none~C. Aspirate: blasts {w}%
A.  Core of 14 mm, 9 marrow spaces.  Cellularity {a}%.  Trilineage~    maturation.~B.  Core of 11 mm, one third cortical bone.  Cellularity {b}%.  Trilineage~    maturation.
Trephine: Cellularity is uneven, varying from {lo}% near the cortex to {hi}% in the middle.
Trephine: Cellularity varies from {lo}% near the cortex to {hi}% toward the medulla. Granulomas {w}%.
Trephine: Some spaces are only {lo}% cellular while in others cellularity reaches {hi}%.
Core: patchy; some areas are {lo}% cellular, others are {hi}% cellular. Blasts {w}%.
""".strip().splitlines()

NONE = """
The accompanying report from Elm Hospital lists "core, {w}% cellular; blasts 12%". Blasts are 3%.
The outside pathologist wrote "the core is {w}% cellular". We agree.
Core biopsy: normocellular.~~DRAFT~Core: {w}% cellular.
Core: normal.~~ARCHIVE ATTACHMENT (for comparison)~Biopsy: 15 mm. The biopsy is {w}% cellular.
Core biopsy~Plasma cells in core, % of cellularity: {w}%
Core biopsy~Plasma cells as percent of cellularity: {w}%
Core biopsy: hypercellular.~~Many protocols call a marrow ablated with cellularity below {w}%.
Core biopsy~Cellularity: see text, blasts {w}%, average {w}%.
Core biopsy: cellularity low, blasts from {lo}% near the cortex to {hi}% in the middle.
Core biopsy: cellularity normal; fibrosis varies from {lo}% near the edge to {hi}% in the centre.
Core biopsy: some areas show {lo}% blasts while others show {hi}% plasma cells; cellularity not given.
CORE BIOPSY~  Length: 14 mm~  Blasts: {w}%~  Reticulin: MF-1; cellularity not assessable
Smear:~   length, cm = 2.3~   cellularity, % = {w}
CLOT SECTION~  Length: 14 mm~  Cellularity: {w}%
ASPIRATE~  Quality: adequate~  Cellularity: {w}%
3 CLOT~Cellularity {w}%.
2 ASPIRATE~Particles are {w}% cellular.
Core biopsy. M:E ratio    3:1~Plasma:lymphocyte ratio (core)     3:1
Core biopsy~Myeloid:erythroid ratio (core)      {v}:{r}
Anemia.~~Reference range~Core: {w}% cellular
Core biopsy: total cells (CD34 and CD117) {w}%. Marrow is cellular.
Core biopsy: mean corpuscular volume {w}%. Cellularity is normal.
                 15 Aug       20 Feb~                 previous     earlier~Core cellularity, %    {w}    {v}
Core biopsy: Marrow is {{hypercellular}}. Blasts {{{w}}} %.
In your letter you read the core at {w}% cellular. Our slides are lost.
""".strip().splitlines()


def filled(frame: str, v: int, w: int) -> str:
    ends = {"r": 100 - v, "a": v - 10, "b": v + 10, "lo": v - 10, "hi": v + 10}
    return frame.format(v=v, w=w, **ends).replace("~", "\n")


@pytest.mark.parametrize("frame", READ + MEAN)
def test_the_finding_is_read_beside_what_is_not_one(frame: str) -> None:
    for v, w in PAIRS:
        text = filled(frame, v, w)
        assert parse(text).value == v, text


@pytest.mark.parametrize("frame", NONE)
def test_what_is_no_finding_of_the_present_core_gives_no_value(frame: str) -> None:
    for v, w in PAIRS:
        text = filled(frame, v, w)
        assert parse(text).value is None, text
