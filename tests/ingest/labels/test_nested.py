# ruff: noqa: E501
"""Keys below a heading, drafts, quotes, readers, spreads and keys of a form, over generated inputs.

v is the finding, w another's figure, a and b those of two readers or cores, lo and hi of a spread.
"""

from __future__ import annotations

import pytest

from ingest.labels.rules import parse

PAIRS = ((15, 60), (35, 90), (60, 15), (90, 35))

READ = r"""
Trephine: Sections show marrow with a cellularity of {v}%. Residual haematopoiesis is seen in the remaining {w}%.
**Trephine**~Cellularity is uneven, from {lo}% in some zones up to {hi}% around the nodules,~for an average of {v}% overall. Blasts {w}%.
Stanzbiopsie: Die Markräume sind zu {v} % zellulär ausgefüllt (altersentsprechend wären 50 %).
Marrow consultation - outside slides~~Received: 9 slides of Pine Hospital.~~The biopsy is {v}% cellular. Blasts {w}%.
SYNOPTIC FORM (our own)~Setting of the study .............. Staging~Cellularity of the core ........... {v}%~Lymphocytes ....................... {w}%~Granulocytes ...................... plentiful
Lecture~~Myélogramme : pauvre, blastes {w} %~~Longueur de la biopsie : 1,4 cm~Cellularité : {v} %~Lignée rouge : rare
<report><item name="Cellularity" material="clot">{w}</item><item name="Cellularity" material="trephine">{v}</item></report>
<r><test label="Cellularity" tissue="Aspirate" unit="%">{w}</test><test label="Cellularity" tissue="Core biopsy" unit="%">{v}</test></r>
ID|DAY|MATERIAL|SMEAR_BLASTS|BIOPSY_CELLULARITY_PCT|DX~K7|2019-04-02|core+clot|3|{v}|MDS
Trephine: Metastasis fills much of the bone; total cellularity, metastasis included, {v}%. In the spared spaces the marrow is {w}% cellular.
TREPHINE:   Adequate sample of bone, 14 mm in length.  Cellularity: {v} %~  Erythroid islands - enlarged , left shifted , in the centre of spaces.~  Iron is absent
Beckenkammhistologie~Zylinder 15 mm. Markraumfüllung etwa {v} %, Blasten {w} %.
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
Trephine: Cellularity is uneven, varying from {lo}% near the cortex to {hi}% in the middle.
Trephine: Cellularity varies from {lo}% near the cortex to {hi}% toward the medulla. Granulomas {w}%.
Trephine: Some spaces are only {lo}% cellular while in others cellularity reaches {hi}%.
Core: patchy; some areas are {lo}% cellular, others are {hi}% cellular. Blasts {w}%.
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
A. Right core: 1.3 cm; cellularity {a}%; no infiltrate~B. Left core: 1.6 cm; cellularity {b}%; none~C. Aspirate: blasts {w}%
A.  Core of 14 mm, 9 marrow spaces.  Cellularity {a}%.  Trilineage~    maturation.~B.  Core of 11 mm, one third cortical bone.  Cellularity {b}%.  Trilineage~    maturation.
Core biopsy, right: cellularity {v}%. Prior biopsy (2019): {w}% cellular.
TREPHINE~  Specimen quality: good~  Marrow spaces: 12~  Cellularity: {v}%~  Infiltrate: {w}% of cells
CORE~  cellularity    {v}% (expected for age~                 {w}%)~  blasts         3%
CORE~  cellularity    about {v}%, with~                 megakaryocytes in clusters~  blasts         {w}%
Cores~Cellularity by core: first {v}%, second {v}%.
core:~  cellularity_pct: {v}~clot:~  cellularity_pct: {w}
Core biopsy. Overall cellularity, including the infiltrate, is {v}%. Tumor is {w}% of cells.
Core biopsy. The infiltrate replaces {w}% of the marrow; what remains is hypocellular. Cellularity as a whole {v}%.
Bone marrow biopsy: Cellularity is estimated at {v}%, of which {w}% are plasma cells.
Core: hematopoietic cells occupy {v}% of the marrow space; lymphoma {w}%.
Core biopsy~Percent cellularity: {v}~Percent blasts: {w}
Core biopsy~Cellularity percentage: {v}~Blast percentage: {w}
Core biopsy~Percent cells: see count~Cellularity, percent = {v}
MICROSCOPIC DESCRIPTION~~Trephine: The marrow is {v}% cellular (age-expected 40-60%). Clot: particles {w}% cellular.
The trephine biopsy shows a marrow that is {v}% cellular, compared with {w}% in the previous biopsy.
In contrast to last year, when it was {w}%, the cellularity of the core is now {v}%.
Marrow cellularity was {w}% at diagnosis and {v}% in the present core.
Core biopsy. We estimate {v}% cellularity. The clinician's letter says {w}%.
Core biopsy: I would call this {v}% cellular. Blasts {w}%.
Core biopsy: we put the cellularity at {v}% and the blasts at {w}%.
Core biopsy: Cellularity {v}%, in keeping with the outside report (cellularity {v}%).
Consultation. Outside diagnosis: {w}% cellular marrow.~~Our review of the core: {v}% cellular.
OUTSIDE REPORT~Core: {w}% cellular~~OUR REVIEW~Core: {v}% cellular
Preliminary report~Core: {w}% cellular~~Final report~Core: {v}% cellular
Resident's draft:~Core: {w}% cellular.~~Attending's final:~Core: {v}% cellular.
Core biopsy: haematopoiesis {v}%, fat {r}%.~Aspirate: fat {w}%
Core biopsy: ratio of haematopoietic tissue to adipose tissue {v}:{r}.
BONE MARROW CORE BIOPSY~Adequacy: adequate~Cellularity: {v}%~ASPIRATE SMEAR~Adequacy: poor~Cellularity: {w}%
BONE MARROW CORE BIOPSY~Cellularity (percent): {v}~Cellularity for age: hypercellular
Biopsy: cellularity {v}% (reference for 60 years: {w}%)
Biopsy: the core is cellular at {v}%; the previous one was at {w}%.
Biopsy, level 1: {v}% cellular; deeper levels alike. CD34 {w}%.
PART A: CORE BIOPSY~Cellularity: {v}%~~PART B: CLOT SECTION~Cellularity: {w}%~~PART C: ASPIRATE~Blasts 3%
A) Bone marrow core: {v}% cellular~B) Clot: {w}% cellular
Core (A): cellularity {v}%; clot (B): cellularity {w}%.
"Bone marrow, core biopsy: {v}% cellular marrow."
DIAGNOSIS: "Normocellular marrow ({v}%)"
Core biopsy: Cellularity = {v}%; T cells = {w}%
Core biopsy: {v}% cellular. Response criteria ask for cellularity over {w}%.
Core biopsy: {v}% cellular. Healthy adults of this age have {w}%.
Core biopsy: {v}% cellular. The donor's marrow was {w}% cellular.
Trephine, 14 mm. Cellularity: {v} %. Necrosis: {w} %.
Trephine~    Cellularity          {v} %~    Normal for age       {w} %~    Fibrosis             MF-1
Trephine~    Cellularity :        {v} %~    Expected    :        {w} %
Hematopoietic cellularity {v}%; tumour occupies {w}% of the core.
Specimen: left iliac crest trephine. Marrow {v}% cellular. Plasma cells {w}% of cellularity.
BONE MARROW: SYNOPTIC~Specimen: Core biopsy~Cellularity (%): {v}~Blasts (%): {w}
SYNOPTIC REPORT~Procedure: Bone marrow core biopsy and aspirate~Estimated cellularity: {v} %~Blasts by aspirate differential: {w} %
Core biopsy~Marrow Cellularity: Hypercellular ({v}%)~Clot section cellularity: {w}%
Core biopsy~Cellularity: ___{v}___ %~Blasts: ___{w}___ %
Core biopsy~Cellularity: [X] Increased (specify %): {v}~Fibrosis: [X] None
Core biopsy~+ Cellularity~    Specify percentage: {v}%~+ Blasts~    Specify percentage: {w}%
Core biopsy~Cellularity~   Estimated: {v}%~   Expected for age: {w}%
Core biopsy~Cellularity~   Observed       {v}%~   Age-adjusted   {w}%
Core biopsy:~Cellularity: Observed {v}%, expected {w}%
Core biopsy:~Cellularity .......... {v}%~Blasts ............... {w}%
Core biopsy:~1. Cellularity - {v}%~2. Blasts - {w}%
Core biopsy:~(a) Cellularity: {v}%~(b) Blasts: {w}%
Core biopsy:~* cellularity -> {v}%~* blasts -> {w}%
Core biopsy:~cellularity={v}%;blasts={w}%;reticulin=1
Core biopsy| cellularity {v}% | blasts {w}% | reticulin 1
| Specimen | Cellularity | Blasts |~|---|---|---|~| Core | {v}% | {w}% |~| Clot | {w}% | {w}% |
Specimen      Cellularity    Megakaryocytes~Core          {v}%            normal~Clot          {w}%            few
Parameter            Core       Clot~Cellularity          {v}%        {w}%~Granulomas           none       none
Parameter            Finding         Reference~Cellularity          {v}%             40-60%~Blasts               {w}%             <5%
Parameter,Value,Unit~Core cellularity,{v},%~Blasts,{w},%
Trephine biopsy (L): 18 mm; 8 spaces; cellularity {v}%; reticulin 1; blasts {w}%
BMT 18mm. Cellularity {v}%. M:E 3:1. Megas N. Retic 1. CD34 {w}%.
BMB: {v}% cellular, MF-1. BMA: blasts {w}%, particles {w}% cellular.
bm bx cellularity {v} percent, trilineage, no blasts. aspirate {w} percent lymphs
MICRO: Sections of core show {v}% cellularity with {w}% plasma cells by CD138.
Sections of the trephine show marrow with an overall cellularity of {v}% (normal for age {w}%).
The core biopsy is adequate (1.6 cm). Cellularity is heterogeneous but averages {v}%. Blasts {w}%.
The core biopsy shows hypercellular marrow for age (approximately {v}% cellular vs. expected {w}%).
The marrow is hypercellular for the patient's age with cellularity of approximately {v}%; blasts are {w}% of cells.
The biopsy contains 6 intact marrow spaces with {v}% haemopoietic tissue and {r}% fat. CD34 {w}%.
The trephine is {v}% cellular, normal being {w}% at this age.
Trephine: Cellularity {v}% (normal {w}%).
Trephine: Cellularity {v}% [ref. {w}%]
Trephine: cellularity {v}%/expected {w}%
Core biopsy: marrow {v}% cellular; clot {w}% cellular; touch imprint not done.
Core biopsy (left): {v}% cellular. Core biopsy (right): {v}% cellular. Clot: {w}%.
Core biopsy: cellularity is patchy, {lo}-{hi}%, mean {v}%.
Core biopsy: cellularity ranges from {lo} to {hi}% (average {v}%); plasma cells {w}%
Zellularität: {v} %~Blasten: {w} %~Beckenkammbiopsie, Länge 14 mm
Beckenkammtrepanat: Das Knochenmark ist mit {v} % hyperzellulär (altersentsprechend {w} %).
Stanzbiopsie: Markzellularität ca. {v} %, Plasmazellen {w} %.
BOM: richesse cellulaire {v} %, blastes {w} %.
Biopsie ostéo-médullaire : cellularité globale estimée à {v} % (attendue {w} %).
Addendum: cellularity corrected.~Core biopsy: originally reported {w}%, should read {v}% cellularity.
CORE BIOPSY: cellularity {v}%.~~ADDENDUM~Flow cytometry: {w}% of events are B cells.
CORE BIOPSY: cellularity {v}%.~~ADDENDUM~The clot section has since been cut and is {w}% cellular.
Diagnosis: Hypercellular marrow ({v}%) with {w}% blasts~Gross: core biopsy 15 mm
Bone marrow, core biopsy:~ - Hypercellular marrow, {v}%, with myeloid predominance~ - Blasts {w}%
Bone marrow, core biopsy:~ - {v}% cellular~ - {w}% blasts
Bone marrow, biopsy: mildly hypocellular ({v}% cellularity) for age; plasma cells {w}%
Core: Cellularity, {v}%, is above the {w}% expected.
Core: Cellularity is {v}% against an expected {w}%.
Core: at {v}%, cellularity exceeds the {w}% expected at 60 years.
OBX|1|NM|CELL^Marrow cellularity core||{v}|%|40-60~OBX|2|NM|BLAST^Blasts||{w}|%
MICROSCOPIC DESCRIPTION~Peripheral blood: blasts {w}%~Aspirate: spicules {w}% cellular~Biopsy: the marrow is {v}% cellular~Clot: similar, {w}%
Core biopsy.  Adequate.  Cellularity: {v}%.  Blasts: {w}%.
Core Biopsy Findings~Cellularity..........{v}%~Fibrosis.............MF-1~Clot Findings~Cellularity..........{w}%
Core: Hypercellular marrow for age, {v}% (expected {w}%).
Core: Normocellular ({v}%; expected for age {w}%).
Core: overall marrow cellularity approximates {v}%; the infiltrate accounts for {w}% of the cellularity.
Core: overall cellularity {v}% (range {lo}-{hi}%). Infiltrate: {w}%.
Core: estimated marrow cellularity: {v}% (of which blasts {w}%).
The cellularity of the biopsy section is {v}%, that of the clot section {w}%.
The cellularity of the clot section is {w}%, whereas the biopsy is {v}% cellular.
The core shows {v}% cellularity; the aspirate particles, {w}%.
Biopsy cellularity {v}% (aspirate {w}%).
Bx: {v}% cell.; asp: {w}% lymphs.
Cellularity of core/clot: {v}%/{w}%
Cellularity, core: {v}%~Cellularity, clot: {w}%
Cellularity (core)   {v}%~Cellularity (clot)   {w}%
Core cellularity [%]     {v}~Clot cellularity [%]     {w}~Blast count [%]     3
CORE BX: CELLULARITY {v} PCT. CLOT: CELLULARITY {w} PCT.
Core biopsy~Cellularity~{v}%~Blasts~{w}%
Core biopsy~<b>Cellularity</b>: {v}%<br>Blasts: {w}%
Trephine 15 mm: cellularity previously {w}%, now {v}%.
Trephine: compared with the biopsy of May ({w}% cellular), today's core is {v}% cellular.
Comparison: 2019 core {w}% cellular.~~Trephine: {v}% cellular.
History: marrow {w}% cellular in 2020.~~Trephine: {v}% cellular.
HISTORY~Prior marrow, {w}% cellular, showed AML.~~CORE BIOPSY~{v}% cellular, no blasts.
Clinical: day 28, prior cellularity {w}%.~Core biopsy: cellularity {v}%.
Core biopsy: Cellularity {v}%. The previous biopsy's cellularity of {w}% was higher.
Core biopsy: Cellularity {v}%. Last time: {w}%.
Core biopsy: Cellularity {v}% ({w}% in the earlier biopsy).
Core biopsy: Cellularity {v}% (was {w}%).
Core biopsy: Cellularity has fallen from {w}% to {v}%.
Core biopsy: {v}% cellularity. Immunostains: CD34 {w}% of cellularity.
Core biopsy: {v}% cellularity. CD138 stains {w}% of the overall cellularity.
Core biopsy: cellularity {v}%, in line with the {w}% that is usual for age.
Core biopsy: {v}% cellular (normal for age {w}%).
Core biopsy: {v}% cellular. Reference: children of this age {w}%.
Core biopsy: {v}% cellular. Note: normal cellularity at this age is {w}%.
Core biopsy: {v}% cellular; a second pathologist agrees ({v}%).
Core biopsy: {v}% cellular on H&E. Digital count: {v}%.
Core biopsy: the deep marrow is {v}% cellular; subcortical marrow is {w}% cellular and is not counted.
Dictated: core biopsy, cellularity {w} percent, correction, {v} percent.
Core biopsy: Cellularity {w}%.~~CORRECTION: The cellularity should be {v}%.
Core biopsy: Cellularity {w}%.~~Addendum 1: revised cellularity {v}%.
Core biopsy, two cores: {v}% and {v}% cellular.
Bone marrow core biopsy, right: {v}%; left: {v}% cellular. Clot: {w}% cellular.
SUBMITTED MATERIAL~Core: {v}% cellular~Clot: {w}% cellular
OUTSIDE SLIDES REVIEWED~Core: {v}% cellular~Aspirate: blasts {w}%
Parameter            Result       Reference~Core cellularity          {v}%~Blasts               {w}%            <5%
Core biopsy: {v}% cellular.~Expected for a man of 50: cellularity {w}%
Core biopsy: {v}% cellular.~Age-adjusted reference (WHO): cellularity {w}%
Core biopsy: {v}% cellular. In 20 patients of this age cellularity was {w}%.
Core biopsy: ignoring the subcortical spaces cellularity is {v}%.
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
Core biopsy: normocellular. Plasma cells, CD138: {w}% of cellularity.
Core biopsy~Plasma cells: percentage of cellularity {w}%
Core biopsy: cellularity cannot be judged; we find {w}% blasts.
Core biopsy: in your block we find {w}% blasts; cellularity is normal.
Core biopsy: hypercellular~~OUTSIDE REPORT~Core: {w}% cellular
Core biopsy: cellularity as in the letter, which says "core {w}% cellular".
Core biopsy~  Cellularity: not given~  Plasma cells: {w}%
core:~  cellularity:~    age_reference: {w}~    estimate: not given
Core biopsy: cellular marrow, with infiltrate from {lo}% to {hi}%.
Core biopsy: cellularity normal, blasts {w}%~plasma cells {v}%
Core biopsy: cellularity is normal with {w}%~blasts.
Core biopsy: cellularity: blasts {w}%, plasma cells {v}%, together {v}%
Core biopsy: cellularity: lymphocytes {w}%, plasma cells {v}%, mean {v}%
Core biopsy: cellularity normal. Some areas are {lo}% fat while others are {hi}% fibrosis.
Core biopsy: normocellular. Some smears are {lo}% cellular while others are {hi}% cellular.
Clot:~  Length: 3 mm~  Cellularity: {w}%
Aspirate clot~ - Adequacy: good~ - Cellularity: {w}%
Core biopsy: total (CD34 and CD117) {w}%, cellularity normal
Core biopsy: overall cellularity (see below) normal, blasts {w}%
Core biopsy: total cellularity (blasts) {w}%, of tumor
Previous biopsies~  Length: 13 mm~  Cellularity: {w}%
Core biopsy: normal.~~PRIOR REPORT~  Quality: fine~  Cellularity: {w}%
Protocols ask for cellularity of at least {w}%.~Core biopsy: acceptable.
Core biopsy: cellularity adequate by the criteria, which ask for {w}%.
Core biopsy: marrow with {{{w}}} % blasts, {{hypercellular}}.
Cell:fat ratio (clot)      {v}:{r}~Core length           12 mm
Ratio of cells to fat (aspirate)      {v}:{r}~Core length           12 mm
M:E ratio (core)     {v}:{r}~Core length           12 mm~Cellularity          normal
Core biopsy~Cellularity: ____ %~Blasts: ___{w}___ %
Core biopsy~Cellularity: [ ] <30% [ ] 30-60% [ ] >60%~Blasts: {w}%
Core biopsy~Cellularity~   Expected for age: {w}%
Parameter            Core       Clot~Cellularity          --         {w}%
Specimen      Cellularity    Blasts~Clot          {w}%            3%
No core obtained. Clot: {w}% cellular.
Core biopsy: normocellular for age (normal {w}%).
Core biopsy: cellularity within the expected range of {w}% for age.
Core biopsy: cellularity is normal; sinusoids {w}%, edema {v}%.
Core biopsy: the cellular infiltrate covers {w}% of the section.
Core biopsy: the nodules are cellular and cover {w}% of the marrow.
Core biopsy: cellular areas alternate with fibrosis ({w}%).
Core biopsy: hypercellular, {w}% of nuclei Ki-67 positive.
Core biopsy: hypercellular with {w}% erythroid cells.
Core biopsy: hypercellular marrow; {w}% of cells are blasts.
Core biopsy: cellularity moderate; adipocytes {w}%.
Core biopsy: {w}% of the cellularity is myeloid.
Trephine: marrow cellularity adequate, myeloid:erythroid {v}:{r}
Core biopsy: crush artefact in {w}%; cellularity not assessable.
Core biopsy: {w}% cortical bone, cellularity cannot be given.
Aspirate: cellularity {w}%. Core biopsy: crushed.
Cellularity, clot: {w}%~Cellularity, core: not evaluable
Cellularity (core)   n/a~Cellularity (clot)   {w}%
Item: Marrow cellularity~Value: not given~Item: Blasts~Value: {w}%~Core biopsy, left
Core biopsy~Cellularity~normal~Blasts~{w}%
Trephine: cellularity previously {w}%, now not assessable.
Core biopsy: cellularity as before. Last time: {w}%.
Core biopsy: {w}% of cellular elements are blasts.
Core biopsy: nodule {w}% cellular; marrow normal.
Core biopsy: normal cellularity. CD138 stains {w}% of the overall cellularity.
Core biopsy: normal. Reference: children of this age {w}% cellular.
Core biopsy: normal. According to the literature marrow of this age is {w}% cellular on average.
Core biopsy: normal. In a series of 20 patients cellularity was {w}%.
Core biopsy: subcortical marrow only, {w}% cellular.
Core biopsy: normal.~~DISCLAIMER~Readers differ by {w}% in cellularity.
Core biopsy: cellularity normal; the laboratory reports cellularity in steps of {w}%.
Core biopsy: cell viability {w}%; cellularity good.
Core biopsy: cellularity of the tumor block {w}%.
Core biopsy: normal. In a series of 20 patients cellularity was {w}%.
Core biopsy: normal.~Expected for a man of 50: cellularity {w}%
""".strip().splitlines()


def filled(frame: str, v: int, w: int) -> str:
    ends = {"r": 100 - v, "a": v - 10, "b": v + 10, "lo": v - 10, "hi": v + 10}
    return frame.format(v=v, w=w, **ends).replace("~", "\n")


@pytest.mark.parametrize("frame", READ)
def test_the_finding_is_read_beside_what_is_not_one(frame: str) -> None:
    for v, w in PAIRS:
        text = filled(frame, v, w)
        assert parse(text).value == v, text


@pytest.mark.parametrize("frame", NONE)
def test_what_is_no_finding_of_the_present_core_gives_no_value(frame: str) -> None:
    for v, w in PAIRS:
        text = filled(frame, v, w)
        assert parse(text).value is None, text
