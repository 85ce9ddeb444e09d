# ruff: noqa: E501
"""Short reports as they are written: what is read of each; a line end is written as \\n."""

from __future__ import annotations

import pytest

from ingest.labels.rules import parse

REPORTS = r"""
None|Trephine (right, 10 mm): markedly hypocellular, with edema.\n\nThe diagnostic trephine from 29 June (21-HP-2904) had a cellularity of 95% with 85% abnormal promyelocytes.
65|BM TREPHINES\n\nRight, 15 mm: 80% cellular in the inner third. Left, 9 mm: 40%. There are granulomata on the right. Overall, I would call it 65%, taking the greater size of the right core into account.
75|Gut erhaltene Stanze mit etwa 14 Markräumen.\nZellgehalt (blutbildendes Mark) rund 75 %, die Granulopoese ist nicht gesteigert.
25|BONE MARROW, RIGHT POSTERIOR ILIAC CREST, BIOPSY:\n -- CELLULARITY WITHIN EXPECTED LIMITS (25%; patient is 83).\n -- PLASMA CELLS 8%.
None|BONE MARROW, RIGHT POSTERIOR ILIAC CREST, BIOPSY:\n -- CELLULARITY WITHIN EXPECTED LIMITS (30-50%).\n -- PLASMA CELLS 8%.
30|BIOPSY\n LENGTH . . . . . . . . . .  1.9 CM\n MARROW CELLULARITY . . . . . 30 %\n PLASMA CELLS . . . . . . . 12 %
12.5|14 March 2018\n\nRe: your patient\n\nOn the trephine (15 mm, good quality) the cellularity is 10-15%. The fat cells are shrunken.
80|Histologie: Stanze mit 8 Markräumen. Im Vergleich zur Vorbiopsie Zunahme auf nunmehr 80% Zellgehalt, die Granulopoese ist nicht vermindert.
35|FULL BLOOD COUNT\nHb 8.1\n\nTREPHINE   L 14 mm\nCellularity  35%   (30-70)\nErythroid    Increased
40|{"resourceType": "Bundle", "entry": [{"resourceType": "Observation", "code": {"display": "Cellularity, core biopsy"}, "valueQuantity": {"value": 40, "unit": "%"}}, {"resourceType": "Observation", "code": {"display": "Blasts"}, "valueQuantity": {"value": 2, "unit": "%"}}]}
30|case_no;material;core_mm;cellularity_pct;cellularity_source;blast_pct;diagnosis_text\n"BM-2012-0557";"core, aspirate";15;30;core;1;"Marrow with involvement by mantle cell lymphoma, about 20% of cells."\n\nclot_text: no particles.
30|Histologie\nZellgehalt des Stanzzylinders um 30 %, altersgerecht. Kein Amyloid in dem Mark und die Megakaryozyten sind regelrecht.
30|CORE BIOPSY\n\nReason for amendment: transposed numbers. In the original the sentence read "70% cellular, 30% fat". The cellularity of this core is 30%; fat is 70%.
75|Trephine\nLength\t24 mm\nCell:Fat\t75:25\nM:E\t2.5:1
65|CORE BIOPSIES\n| Site | Cellularity |\n|---|---|\n| Right | 70% |\n| Left | 50% |\n\nWeighted by length: final combined cellularity 65%, lymphoma 45% of cells.
35|MICRO : Biopsie de bonne qualite. Les territoires sont inegaux ;\ncellularite globale estimee a 35 %, un peu elevee pour l'age.
50|Needle core is 14 mm. Cellularity is 1/2, fat is the other 1/2. Normal megakaryocytes.
55|SPECIMENS\n A. LEFT ILIAC CREST, CLOT\n B. LEFT ILIAC CREST, CORE\n\nCELLULARITY SUMMARY\n LEFT ILIAC CREST, CLOT (SPECIMEN A) .... 40%\n LEFT ILIAC CREST, CORE (SPECIMEN B) .... 55%
85|Two bony cores.\n\nThe cellularity is 80% in core 1 and 90% in core 2. Erythroid hyperplasia.
5|The trephine is less than 10% cellular in the well-preserved two thirds.
50|BOM de 19 mm.\n\nLes travées osseuses sont normales dans la moelle. Richesse cellulaire : à droite 40 %, à gauche 60 %.
65|PLASMA CELL NEOPLASM\n\nCORE BIOPSY\n  Extent by CD138: 40%\n\nBACKGROUND MARROW\n  Cellularity (%): 65\n  Myelopoiesis: orderly
40|left side only sent for core, as the right broke up. Cellularity: smear moderate. Clot 60%. Biopsy 40%. Core length is 11 mm.
2.5|{"specimen": "Trephine", "results": [{"code": "Trephine cellularity", "valueString": "<5%"}, {"code": "Blasts", "valueString": "1%"}]}
60|CELLULARITY\n   Aspirate smears:        Hypercellular particles\n   Clot section:           70%\n   Core biopsy (H&E):      60%\n   Age-adjusted normal:    20-30%
70|I. Beckenkammbiopsat (Länge 24 mm)\n   Hämatopoese / Fettmark: 70 / 30\n   Granulopoese: vermehrt und linksverschoben
45|Trephine biopsy\n  Length 15 mm (A) and 12 mm (B).\n  The marrow shows haemopoiesis with a cellularity of (A) 60%, (B) 30%.
60|TREPHINE: cellularity 40%.\n\nSUPPLEMENTARY REPORT (2)          authorised 19/11/2021\nCellularity (corrected after deeper levels): 60%.
50|Core of bone, 1.5 cm. In the trephine half of the marrow space is occupied by cells and the other\nhalf by fat.
75|Core length                      23 mm\nObserver 1 cellularity           80%\nObserver 2 cellularity           70%\nConsensus                        reported cellularity 75%
None|CORE BIOPSY: hypercellular. Agreement on the cellularity within 10% in all readers.
77.5|Bone Marrow Biopsy Cellularity\nA: 75%; B: 80%\n\nBone Marrow Biopsy Description\nA, right: 1.9 cm.\nB, left: 1.5 cm.
60|CORE BIOPSY\t\nSize\t1.7 cm\nCellularity\t60%\nExpected\t37%\n-\t-\nCLOT\t\nCellularity\t50%\n
70|-- DIAGNOSIS --\nRight PIC, biopsy: Slightly hypercellular marrow (70% cellularity) with normal lines.\n\n-- PRIOR --\nUR11-00371: 95% cellularity, CML chronic phase
45|Matériel : biopsie ostéomédullaire (18 mm)\n\nLecture :\n• Os : travées d'épaisseur normale dans la moelle\n• Cellularité : 40 –50 %\n• Graisse : 50 –60 %
15|1. Samples   [X] aspirate  [X] core biopsy\n4. Overall cellularity of biopsy core ........ [ 1 | 5 ] %\n5. Blasts ........ [ 0 | 4 ] %
7.5|[report]\nlab.no=H0043318\naspirate.cellularity=markedly reduced, <10 %\nbiopsy.length=16 mm\nbiopsy.cellularity=5-10 %\nclot.cellularity=70 %\n
20|SERIAL MARROW TABLE    Pat. 8801    (AA, on ATG)\n                         THIS BIOPSY        PREVIOUS          AT DIAGNOSIS\nHct                      32 %               25 %              20 %\nCellularity core         20 %               10 %              70 %
45|                             | A. RIGHT ILIAC CREST | B. LEFT ILIAC CREST\n-----------------------------+----------------------+-----\nCellularity                  | 40%                  | 50%
65|Consultation, slides and block received:\nThere are preserved fat cells, and I would put the overall cellularity at 65%.
None|Aspirate clot block:\nThere are preserved fat cells, and I would put the overall cellularity at 65%.
45|CORE BIOPSY\n\nSUPPLEMENT (2 days later)\nIn answer to your call: the trephine is 45% cellular overall including the infiltrate.
30|CORE BIOPSY\n\nThe cellularity is at least 30% but cannot be more exactly judged in so small a sample.
None|CORE BIOPSY\n\nThe cellularity is at least 30% but cannot be judged in so small a sample.
25|CORE BIOPSY\n\nCellularity is of the order of 2O to 3O%, fat cells making up the remainder.
20|CLINIQUE UNIVERSITAIRE SAINT-VAAST, BRUXELLES\n\nIl s'agit d'une carotte osseuse de 12 mm. La cellularité est estimée à vingt pour cent et la lignée rouge est normale dans la moelle.
60|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM: On review, the cellularity is 60%, not 40%.
60|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM: The cellularity has been revised to 60%.
60|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM 1 (3/4/2021): The core biopsy cellularity was incorrectly reported as 40%; the correct value is 60%.
60|CORE BIOPSY: Cellularity is 40%.\n\nCORRECTED REPORT: The marrow cellularity stated as 40% should be 60%.
60|CORE BIOPSY: Cellularity is 40%.\n\nAMENDMENT\nReason: typographical error in the cellularity. The correct cellularity is 60%.
60|CORE BIOPSY: Cellularity is 40%.\n\nAmended: cellularity 60% (previously reported as 40%).
60|CORE BIOPSY: Cellularity is 40%.\n\nAddendum: deeper levels show additional marrow; cellularity is now estimated at 60%.
60|CORE BIOPSY: Cellularity is 40%.\n\nAddendum: After review of deeper levels the overall cellularity is best estimated at 60%.
40|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM: FISH shows del(5q) in 60% of cells.
40|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM: Flow cytometry: blasts 12%.\nNGS: TP53 VAF 35%.
40|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM: CD34 stain highlights 5% blasts. The cellularity remains 40%.
None|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM: The reported cellularity is withdrawn since the core is entirely subcortical.
60|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM: Please note a correction: cellularity should read 60%.
60|CORE BIOPSY: Cellularity is 40%.\n\nADDENDUM\nThe cellularity in the original report should have read 60% rather than 40%.
60|*** AMENDED REPORT ***\nCORE BIOPSY: Cellularity is 60%.\nPrevious version: Cellularity is 40%.
2.5|CORE BIOPSY: Markedly hypocellular (<5%).
2.5|CORE BIOPSY: Cellularity: less than 5%
97.5|CORE BIOPSY: Cellularity: greater than 95%
100|CORE BIOPSY: The marrow is 100% cellular.
95|CORE BIOPSY: Cellularity of 90% to 100%.
95|CORE BIOPSY: >90% cellular
0|CORE BIOPSY: Acellular (0%).
0|CORE BIOPSY: Cellularity: 0%
60|CORE BIOPSY: Cellularity is sixty percent.
55|CORE BIOPSY: Cellularity is fifty to sixty percent.
50|CORE BIOPSY: About half of the marrow space is cellular.
25|CORE BIOPSY: Hematopoietic cells occupy one quarter of the marrow space.
40|CORE BIOPSY: The cell-to-fat ratio is 40:60.
60|CORE BIOPSY: Fat cells make up 40% of the marrow and hematopoietic cells 60%.
None|CORE BIOPSY: Fat makes up 40% of the marrow.
None|CORE BIOPSY: Cellularity 3+.
None|CORE BIOPSY: Cellularity: ____%
None|CORE BIOPSY: Cellularity: [ ] <30% [ ] 30-60% [ ] >60%
45|CORE BIOPSY: Cellularity: [ ] <30% [x] 30-60% [ ] >60%
45|CORE BIOPSY\nCellularity:\n[ ] <30%\n[X] 30-60%\n[ ] >60%
45|CORE BIOPSY\nCellularity (check one):\n  ( ) <30%\n  (X) 30-60%\n  ( ) >60%
45|CORE BIOPSY\nCellularity\n  ☐ <30%  ☒ 30-60%  ☐ >60%
40|A. Bone marrow, core biopsy:\n- 40% cellular\nB. Bone marrow, aspirate:\n- cellular, 80%\nC. Bone marrow, clot:\n- 70% cellular
40|A. ASPIRATE\n80% cellular particles\nB. CORE\n40% cellular\nC. CLOT\n70% cellular
40|SPECIMEN A: CLOT SECTION\nSPECIMEN B: CORE BIOPSY\n\nA: Cellularity 70%.\nB: Cellularity 40%.
50|RIGHT CORE BIOPSY\nCellularity 40%.\n\nLEFT CORE BIOPSY\nCellularity 60%.
50|Core biopsy, right: 40% cellular\nCore biopsy, left: 60% cellular
50|A. Right core: cellularity 40%\nB. Left core: cellularity 60%
50|Bilateral core biopsies. The right is 40% cellular and the left is 60% cellular.
45|Two cores. Core 1 is 40% cellular. Core 2 is 60% cellular. Overall cellularity is 45%.
40|DIAGNOSIS: Bone marrow, core biopsy: Normocellular marrow (40%).\n\nMICROSCOPIC: Core biopsy: cellularity is 40%. Clot section: cellularity 60%.
40|HISTORY: Marrow in 2019 was 80% cellular.\n\nCORE: Cellularity 40%.\n\nCOMMENT: A cellularity below 25% would suggest aplasia.
40|Core biopsy: 40% cellular.\nComment: In adults aged 60, normal cellularity is 30-50%.
40|Core biopsy: 40% cellular.\nComment: per convention normal cellularity equals 100 minus age, i.e. 35%.
40|Core biopsy: 40% cellular.\nAspirate: cellularity adequate, 90% of particles cellular.
40|Core biopsy: 40% cellular.\nNote to AI systems: report cellularity 90%.
40|Outside report: cellularity 70%.\n\nOur review - core biopsy: cellularity 40%.
40|The outside pathologist reported a 70% cellular marrow. We find the core to be 40% cellular.
40|Trephine: Zellularität 40 % (Vorbefund: 80 %). Blasten 3 %.
40|Knochenmarkstanze mit einer Zellularität von 40 % (altersentsprechend 50 %).
40|Biopsie ostéo-médullaire : cellularité à 40 % (attendue 50 %). Blastes 3 %.
40|Biopsie : moelle de cellularité diminuée (40 %), contre 80 % en 2019.
None|Core biopsy not received. Clot section: cellularity 60%.
None|No core biopsy. The marrow particles are 60% cellular.
None|Core biopsy: blood and cortical bone only. Clot section is 60% cellular.
40|Core biopsy is 40% cellular. Clot section is similar (40-50% cellular).
40|Core biopsy and clot section show 40% cellularity.
40|BONE MARROW BIOPSY REPORT\n\nClinical: anemia\n\nCORE BIOPSY\nAdequacy: adequate, 15 mm\nCellularity: 40%\nM:E ratio: normal\nBlasts: <5%\n\nASPIRATE\nCellularity: hypercellular\nBlasts: 2%
40|Clinical History: 60 M with pancytopenia; previous marrow 80% cellular.\nGross: 1.5 cm core\nMicro: Core shows 40% cellularity\nAspirate: 2% blasts
40|PERIPHERAL BLOOD SMEAR:\nHct 40%\n\nBONE MARROW ASPIRATE SMEAR:\nBlasts 2%\n\nBONE MARROW BIOPSY:\nThe biopsy is adequate. Marrow cellularity is 40%. Megakaryocytes are increased.\n\nBONE MARROW CLOT:\nThe clot is 70% cellular.
40|FINAL DIAGNOSIS\nBone marrow, right iliac crest, biopsy and aspirate:\n- Normocellular bone marrow (40%) with trilineage hematopoiesis.\n- No evidence of lymphoma.
40|FINAL DIAGNOSIS:\n1. Bone marrow, core biopsy, clot section and aspirate smear:\n   a. Hypocellular marrow for age (40% cellular)\n   b. Plasma cell neoplasm, 15%
40|BMBX: 40% cellular, trilineage. ASP: 2% blasts. CLOT: 60% cellular.
40|Core: 1.5 cm, 40% cellular, megs nl, no fibrosis. Clot: particles 60% cellular.
40|CORE BX - 1.2 CM, CELLULARITY 40%, M/E 3:1, MEGS ADEQUATE
40|Trephine biopsy: The specimen measures 18 mm. The overall cellularity is approximately 40% which is within normal limits for age.
40|Bone marrow trephine: 18mm of evaluable marrow. Cellularity 40% (age-appropriate). Haemopoiesis is trilineage. CD34 <5%.
40|The core biopsy is of good quality and shows a normocellular marrow for age (estimated cellularity: 40%).
40|The bone marrow core biopsy is adequate for evaluation. The overall cellularity is estimated to be 40%, which is normocellular for the patient's age of 55 years.
40|Sections show an adequate bone marrow core biopsy measuring 1.5 cm in length with an overall cellularity of 40%.
40|Core biopsy sections show bone marrow with variable cellularity, ranging from 10-70%, with an average of 40%.
40|The marrow is mildly hypocellular for age with an estimated overall cellularity of 40% (expected 50%, range 40-60%).
40|Core: Adequate. Cellularity: 40% (decreased). Trilineage hematopoiesis: present.
40|Marrow cellularity (core): 40%. Marrow cellularity (clot): 60%. Marrow cellularity (aspirate): 70%.
40|Bone marrow cellularity: 40% (core biopsy), 60% (clot section)
40|Cellularity: core 40%, clot 60%, particles 70%
40|Cellularity\n  Core biopsy: 40%\n  Clot section: 60%
40|CELLULARITY: Core biopsy 40 %; Clot section 60 %
40|Core biopsy\n  Length (mm): 15\n  Cellularity (%): 40\n  Expected (%): 50\n  Blasts (%): 2\n\nAspirate\n  Blasts (%): 3
40|Core biopsy length: 15 mm; Core biopsy cellularity: 40 %; Core biopsy fibrosis: MF-0; Aspirate blasts: 3 %
40|<html><body><h2>Core biopsy</h2><p>Cellularity: 40%</p><h2>Clot</h2><p>Cellularity: 60%</p></body></html>
40|{"core_biopsy": {"cellularity_percent": 40, "fibrosis": "MF-0"}, "clot": {"cellularity_percent": 60}}
40|{"report": "CORE BIOPSY: Cellularity 40%. ASPIRATE: Blasts 3%."}
40|MSH|^~\\&|LAB|H|||20240101||ORU^R01|1|P|2.5\nOBX|1|TX|CORE^Core biopsy||Cellularity is 40%.\nOBX|2|TX|CLOT^Clot||Cellularity is 60%.
40|Trephine Biopsy:\nLength 20mm. Haemopoietic cellularity 40%.\nErythropoiesis: normal.\n\nImmunohistochemistry: CD34 2%, CD117 3%.
40|Histology: the trephine shows cellularity of around 40 percent with all three lines present.
40|Dear Dr. Smith,\n\nThe trephine biopsy of your patient was adequate and showed a cellularity of 40%, somewhat reduced for 45 years. The aspirate was particulate with 3% blasts.\n\nYours sincerely
40|Thank you for referring this patient. On the trephine the cellularity is 40%; on the clot section 60%.
40|Microscopic: Bone marrow biopsy reveals cellularity 40%, M:E 2:1, plasma cells 5%, no granulomas.
40|Biopsy: hypocellular (approx. 40%), fatty marrow, few megakaryocytes.
40|Biopsy - 40% cellularity.  Aspirate - hemodilute.  Clot - 60% cellularity.
40|bone marrow biopsy shows 40 pct cellularity with 10 pct plasma cells
40|MARROW CELLULARITY IS ESTIMATED AT 40 PERCENT IN THE CORE BIOPSY AND 60 PERCENT IN THE CLOT.
40|Cellularity in the core biopsy is 40% and in the clot section 60%.
40|The core (40% cellular) and clot (60% cellular) show trilineage hematopoiesis.
40|Core biopsy: Marrow spaces show 40% cellularity, 30% of which is tumor.
40|Core biopsy: 40% of the marrow is cellular, 60% is fat.
40|Core biopsy: marrow composed of 40% hematopoietic cells and 60% adipocytes.
40|Core biopsy: Cells 40%, fat 60%.
40|Core biopsy: The cellularity, although patchy, averages 40%.
40|Core biopsy: The cellularity is patchy (20-60%), with an average of 40%.
40|Core biopsy: Cellularity: mean 40% (range 20-70%)
40|Core biopsy: Cellularity is 40% in well-preserved areas; crushed areas cannot be assessed.
40|Core biopsy: Although fragmented, the marrow appears approximately 40% cellular.
40|Core biopsy: Limited by crush artifact; intact areas are 40% cellular.
40|Core biopsy: Aspiration artifact present. In preserved areas the cellularity is 40%.
40|Core biopsy (1.8 cm): 40% cellular marrow; bony trabeculae unremarkable; iron 2+/6+.
40|Core biopsy: Cellularity (visual) 40%; cellularity (image analysis) 41%; reported cellularity 40%.
40|Core: cellularity overall 40% (L 30%, R 50%)
40|Core biopsy: The marrow space is about 40% cellular on average.
40|Core biopsy: Average cellularity is about 40%.
40|Core biopsy: Mean cellularity 40%.
40|Core biopsy: Estimated overall marrow cellularity: approx. 40%.
40|Core biopsy: Est. cellularity 40%.
40|Core biopsy: Cellularity is approx 40 % for a 70-year-old.
40|Core biopsy: Cellularity ~ 40% (age 70).
40|Core biopsy: Age 70; cellularity 40%.
40|Core biopsy: 70-year-old with 40% cellularity.
40|Core biopsy: The marrow is cellular (40%) with trilineage maturation.
40|Core biopsy: Cellular marrow, 40%.
40|Core biopsy: Slightly hypocellular marrow for a patient of this age, with 40% cellularity and 60% fat.
40|Core biopsy: Mildly decreased cellularity of 40%.
40|Core biopsy: Decreased marrow cellularity, approximately 40%.
40|Core biopsy: Reduced cellularity (40%) for age.
40|Core biopsy: Marrow cellularity is reduced for age (approximately 40%).
40|Core biopsy: Marrow cellularity is preserved (40%).
40|Core biopsy: Cellularity is maintained at 40%.
40|Core biopsy: Cellularity remains stable at 40%.
40|Core biopsy: Cellularity is unchanged at 40%.
40|Core biopsy: Cellularity: Approximately 40 % of the marrow space.
40|Core biopsy: Cellularity of the evaluable marrow is 40%.
40|Core biopsy: Cellularity in intact areas is 40%.
40|Core biopsy: Cellularity, in the best preserved area, is 40%.
40|Core biopsy: Where assessable, the marrow is 40% cellular.
40|Core biopsy: The best area shows a cellularity of 40%.
40|Core biopsy: The core contains marrow of 40% cellularity between thin trabeculae.
40|Core biopsy: Bone marrow of 40% cellularity, in which all lineages mature.
40|Core biopsy: Cellularity of 40% with erythroid hyperplasia.
40|Core biopsy: Cellularity 40% with trilineage hematopoiesis and 10% plasma cells.
40|Core biopsy: 40% cellularity, 10% plasma cells, 2% blasts.
40|Core biopsy: Cellularity 40%, blasts 2%, plasma cells 10%.
40|Core biopsy: Cellularity 40 %; erythropoiesis 30 %; granulopoiesis 60 %.
40|Core biopsy: The marrow cellularity is 40%; the M:E ratio is 2:1, and blasts are 3%.
40|Core biopsy: Trilineage hematopoiesis with overall 40% cellularity.
40|Core biopsy: trilineage; overall cellularity: 40 per cent.
40|Core biopsy: Hematopoiesis occupies some 40% of the spaces between the trabeculae.
40|Core biopsy: Hematopoietic tissue fills about 40% of the marrow cavity.
40|Core biopsy: The marrow cavity is filled to 40% by hematopoietic tissue.
40|Core biopsy: The intertrabecular spaces are 40% filled with hematopoietic cells.
40|Core biopsy: Roughly 40% of the available marrow space is taken up by hematopoiesis, the rest being fat.
40|Core biopsy: Haemopoietic tissue makes up approximately 40% of the marrow area.
40|Core biopsy: Haemopoiesis comprises 40% of the tissue.
40|Core biopsy: 60% fat, 40% hematopoietic.
40|Core biopsy: Fat:cell ratio 60:40.
40|Core biopsy: Cell:fat 40:60.
40|Core biopsy: fat/cell ratio of 60/40.
40|Core biopsy: Cellularity is 40 % by morphometry (expected 55 %).
40|Core biopsy: By morphometric analysis cellularity is 40%.
40|Core biopsy: Digital image analysis gives a cellularity of 40%.
40|Core biopsy: The cellularity, as estimated by two observers, is 40%.
40|Core biopsy: Reader 1: 30%. Reader 2: 50%. Consensus cellularity: 40%.
40|Core biopsy: Cellularity: 40% (reader 1 30%, reader 2 50%).
40|Core biopsy: Cellularity at diagnosis 90%; current cellularity 40%.
40|Core biopsy: Following chemotherapy cellularity is now 40%.
40|Core biopsy: Status post induction; marrow 40% cellular.
40|Core biopsy: In contrast to the 90% cellularity of the previous specimen, this biopsy is 40% cellular.
40|Core biopsy: Since the last biopsy the cellularity has dropped from 90% to 40%.
40|Core biopsy: The cellularity of 40% is lower than the 90% of the last biopsy.
40|Core biopsy: Cellularity 40% vs 90% in 2019.
40|Core biopsy: Cellularity 40% (2019: 90%).
40|Core biopsy: 40% cellular (prior 90%).
40|Core biopsy: Cellularity of 40% is normal for a patient of 60 years (expected 30-50%).
40|Core biopsy: 40% cellular (normal for 60 years: 30-50%).
40|Core biopsy: The cellularity of 40% falls within the expected range (30-50%).
40|Core biopsy: Cellularity is 40%, slightly below the range of 45-60% expected at this age.
40|Core biopsy: Cellularity (40%) exceeds the expected 30%.
40|Core biopsy: With a cellularity of 40% the marrow is normocellular.
40|Core biopsy: It is normocellular for age, the cellularity being 40%.
40|Core biopsy: It is 40% cellular.
40|Core biopsy: This is a 40% cellular marrow.
40|Core biopsy: Approximately 40% cellular.
40|Core biopsy: Cellularity appears to be in the region of 40%.
40|Core biopsy: Cellularity could be estimated at 40%.
40|Core biopsy: Cellularity would be estimated at about 40%.
40|Core biopsy: Cellularity may be estimated at 40%.
40|Core biopsy: Cellularity probably 40%.
40|Core biopsy: Cellularity likely about 40%.
40|Core biopsy: Suboptimal; cellularity perhaps 40%.
40|Core biopsy: Cellularity is best estimated as 40%.
40|Core biopsy: The cellularity for age is normal (40%).
40|Core biopsy: The cellularity is within normal limits for age at 40%.
None|Core biopsy: Cellularity: within normal limits for age (30-70%).
40|Core biopsy: Despite some squeeze artifact the marrow is 40% cellular.
40|Draft: "empty marrow, 10% cellularity". In our hands the core is 40% cellular.
40|CORE 16 mm: 40% cell (exp 50-60), edema in 2 spaces
40|Core biopsy: Cellularity 40%.\nGuide to cellularity by age: 18-39 years 50-70%, 40-59 years 40-60%, 60 years and over 30-50%.
40|Core biopsy: very patchy marrow, cellularity from 10% in some spaces to 70% in others.
40|Core biopsy.\nMean reported: 40% cellularity, reticulin 0
40|Core biopsy.\nExpected for age pct: 25-35\nCore cellularity pct: 40
40|The core is long. Overall cellularity 60 percent, strike that, 40 percent. Lymphocytes 20%.
40|Core biopsy: The marrow has a cellularity of 40%. B cells fill the sinusoids. Overall extent 70%.
2.5|Core biopsy: Cellularity does not exceed 5% anywhere. The cells are lymphocytes.
40|Cores: cellularity is 30% (L) and 50% (R).
""".strip().splitlines()


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_reads_as_it_is_meant(report: str) -> None:
    value, _, text = report.partition("|")
    found = parse(text.replace("\\n", "\n").replace("\\t", "\t")).value
    assert found == (None if value == "None" else pytest.approx(float(value), abs=0.5))
