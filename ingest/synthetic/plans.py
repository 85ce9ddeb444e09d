"""Which slides a synthetic archive has: whose they are, and what each of them shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np

from ingest.synthetic.marrow import SCANNERS_20X, SCANNERS_40X, Scanner

FIRST_DAY, LAST_DAY = date(2019, 1, 7), date(2023, 3, 20)
MPP_20X, MPP_40X = (0.4990, 0.5016), (0.2325, 0.2527)
TILES = (22, 27)  # wanted tissue tiles of a core
ARTEFACTS, SLIDES_TO_AN_ARTEFACT = ("pen", "fold", "blur"), 32
SMALL_TILES = 12  # of the broken and the clot slides


@dataclass(frozen=True, kw_only=True)
class SlidePlan:
    """Everything decided about one slide before it is drawn."""

    number: int
    slide_id: str
    case_id: str
    patient_id: str
    scanned_on: date
    age_years: int
    cellularity: float  # wanted
    n_tiles: int  # wanted
    scanner: Scanner
    mpp: float
    specimen: str = "core"
    fault: str = ""  # blank, truncated, no mpp; nominal mpp can be mended
    artefact: str = ""  # pen, fold, blur
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Its name in the folder of slides."""
        return f"{self.slide_id}.svs"

    @property
    def header_mpp(self) -> float | None:
        """What the file says: a scanner's nominal figure where the manifest has to correct it."""
        return {"no mpp": None, "nominal mpp": 0.5 if self.mpp > 0.4 else 0.25}.get(
            self.fault, self.mpp
        )


@dataclass(frozen=True, kw_only=True)
class SlideTruth:
    """What one slide shows, measured as it was drawn."""

    cellularity: float | None
    n_tiles: int


def plan_slides(n_slides: int, n_patients: int, seed: int) -> list[SlidePlan]:
    """Decide on the good slides: some patients have a second block, or come again later."""
    rng = np.random.default_rng([seed, 2])
    days = (LAST_DAY - FIRST_DAY).days
    ages = np.clip(rng.normal(58, 17, n_patients), 19, 92).astype(int)
    again = rng.permutation(n_patients)[np.arange(n_slides - n_patients) % n_patients]
    patients = np.concatenate([np.arange(n_patients), again])
    is_40x = np.zeros(n_slides, bool)
    is_40x[rng.permutation(n_slides)[: n_slides // 4]] = True
    first_day = np.sort(rng.integers(0, days, n_patients))
    rng.shuffle(ages)
    wanted = np.clip(108 - ages + rng.normal(0, 17, n_patients), 4, 96)
    plans: list[SlidePlan] = []
    for number, patient in enumerate(patients):
        repeat = number >= n_patients
        follow_up = repeat and number % 2 == 0  # a later case; otherwise a second block of the case
        day = int(first_day[patient]) + (int(rng.integers(90, 300)) if follow_up else 0)
        day = min(day, days)
        case = f"C{patient + 1:03d}{'-2' if follow_up else ''}"
        scanners = SCANNERS_40X if is_40x[number] else SCANNERS_20X
        mpp = rng.uniform(*(MPP_40X if is_40x[number] else MPP_20X))
        target = wanted[patient] + (rng.normal(0, 14) if follow_up else rng.normal(0, 1.5))
        plans.append(
            SlidePlan(
                number=number,
                slide_id=f"{case}-{'B' if repeat and not follow_up else 'A'}",
                case_id=case,
                patient_id=f"P{patient + 1:03d}",
                scanned_on=FIRST_DAY + timedelta(days=day),
                age_years=int(ages[patient]) + day // 730,
                cellularity=float(np.clip(target, 6, 95)),
                n_tiles=int(rng.integers(*TILES, endpoint=True)),
                scanner=scanners[int(rng.integers(len(scanners)))],
                mpp=round(float(mpp), 4),
                extra={"block": "B1" if repeat and not follow_up else "A1"},
            )
        )
    each = (n_slides + SLIDES_TO_AN_ARTEFACT // 2) // SLIDES_TO_AN_ARTEFACT
    for i, number in enumerate(rng.permutation(n_slides)[: each * len(ARTEFACTS)]):
        plans[number] = replace(plans[number], artefact=ARTEFACTS[i % len(ARTEFACTS)])
    return plans


def with_faults(plans: list[SlidePlan], n_patients: int) -> list[SlidePlan]:
    """Add slides that are broken or of another specimen, and let a good one misstate its mpp."""
    n_slides = len(plans)
    nominal = next((i for i, plan in enumerate(plans) if plan.mpp < 0.4), 0)
    plans[nominal] = replace(plans[nominal], fault="nominal mpp")
    kinds = [("blank", "core"), ("truncated", "core"), ("no mpp", "core"), *[("", "clot")] * 3]
    for i, (fault, specimen) in enumerate(kinds):
        like = plans[(i * 7) % n_patients]
        plans.append(
            SlidePlan(
                number=n_slides + i,
                slide_id=f"{like.case_id}-{'clot' if specimen == 'clot' else f'X{i + 1}'}",
                case_id=like.case_id,
                patient_id=like.patient_id,
                scanned_on=like.scanned_on,
                age_years=like.age_years,
                cellularity=like.cellularity,
                n_tiles=0 if fault == "blank" else SMALL_TILES,
                scanner=SCANNERS_20X[0],
                mpp=0.5,
                specimen=specimen,
                fault=fault,
                extra={"block": "X1"},
            )
        )
    return plans
