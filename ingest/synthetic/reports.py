"""Write invented pathology reports around a known cellularity, as people would."""

import numpy as np

RANGE_SHARE, FIVE_SHARE = 0.2, 0.25  # of the reports; the rest says a multiple of 10
READER_SD = 7.0  # points, before rounding: what two pathologists differ by


def write_report(
    rng: np.random.Generator, *, cellularity: float, age_years: int, year: int, stated: bool
) -> str:
    """Write a report of several sections with the digit preference of people.

    The patient's age decides the expected range beside the figure, which a report in words alone
    does not state.
    """
    expected = round(100 - age_years, -1)
    sentence = str(rng.choice(_WITH_FIGURE if stated else _WITHOUT_FIGURE))
    sentence = sentence.format(figure=_figure(rng, cellularity))
    words = {
        "sentence": sentence,
        "expected": f"{max(10, expected - 10)}-{min(90, expected + 10)}%",
        "blasts": rng.integers(0, 4),
        "plasma": rng.integers(1, 5),
        "prior": rng.choice([20, 30, 40, 60, 70, 80]),
        "age": age_years,
        "hb": f"{rng.uniform(7, 14):.1f}",
        "year": year - 1,
        "megakaryocytes": rng.choice(["adequate in number", "mildly increased", "few"]),
        "history": rng.choice(["cytopenia", "anemia", "lymphoma staging", "thrombocytosis"]),
    }
    return str(rng.choice(_LAYOUTS)).format(**words)


def _figure(rng: np.random.Generator, cellularity: float) -> str:
    seen = float(np.clip(cellularity + rng.normal(0, READER_SD), 2, 98))
    kind = rng.random()
    if kind < RANGE_SHARE:
        low = int(np.clip(10 * np.floor((seen - 1) / 10), 0, 90))
        return f"{low}{rng.choice(['-', ' to ', '% to '])}{low + 10}%"
    step = 5 if kind < RANGE_SHARE + FIVE_SHARE else 10
    return f"{int(np.clip(step * round(seen / step), 5, 95))}%"


_WITH_FIGURE = [
    "The core biopsy shows an overall cellularity of {figure}.",
    "Sections show trabecular bone and marrow of {figure} cellularity.",
    "The marrow is {figure} cellular with trilineage hematopoiesis.",
    "Cellularity is estimated at {figure}.",
    "Marrow cellularity: {figure}.",
    "The trephine section is adequate; cellularity {figure}.",
]
_WITHOUT_FIGURE = [
    "The marrow is hypocellular for age.",
    "The core is small and crushed; cellularity cannot be assessed.",
]
_LAYOUTS = [
    """BONE MARROW REPORT

CLINICAL HISTORY: {age}-year-old with {history}. Hemoglobin {hb} g/dL.

CORE BIOPSY: {sentence} Normal cellularity expected for age is {expected}. Megakaryocytes are \
{megakaryocytes}. Bone trabeculae are unremarkable.

ASPIRATE SMEARS: Cellular spicules. Blasts {blasts}%, plasma cells {plasma}%.

IMMUNOHISTOCHEMISTRY: CD34 highlights {blasts}% of cells; CD138 about {plasma}%.
""",
    """Haematopathology

Clinical details
{history}, age {age}. Hb {hb} g/dL.

Bone marrow aspirate
Particulate. Myelogram: blasts {blasts}%, plasma cells {plasma}%.

Trephine biopsy
{sentence} Megakaryocytes are {megakaryocytes}. No fibrosis.

Comment
The biopsy of {year} was reported elsewhere as {prior}% cellular.
""",
    """FINAL DIAGNOSIS
Bone marrow, right iliac crest, core biopsy and aspirate: no evidence of a neoplasm.

MICROSCOPIC
Aspirate: blasts are {blasts}% of 500 cells.
Core biopsy: {sentence} (expected for age: {expected}). Plasma cells are {plasma}% by CD138.
Megakaryocytes: {megakaryocytes}.

ANCILLARY STUDIES
Flow cytometry: {blasts}% myeloblasts.
""",
    """1. Specimen: trephine, right posterior iliac crest
2. Indication: {history}; {age} years
3. Histology: {sentence} Megakaryocytes {megakaryocytes}.
4. Cytology: blasts {blasts}%, plasma cells {plasma}%
5. Summary: see above
""",
]
