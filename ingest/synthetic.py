"""Make a synthetic archive with known cellularity: slides, manifest, reports and truth."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from ingest.synthetic_marrow import SCANNERS, Scanner, Textures, draw_core, glass
from ingest.synthetic_reports import write_report

FIRST_DAY, LAST_DAY = date(2019, 1, 7), date(2023, 3, 20)
MPP_20X, MPP_40X = (0.4990, 0.5016), (0.2325, 0.2527)
MARGIN_20X_UM, MARGIN_40X_UM = 420, 120
TILE_PX = 256
JPEG_QUALITY = 82
LEVELS = (1, 4, 16)


@dataclass(frozen=True, kw_only=True)
class ArchiveSummary:
    """What was made, and where."""

    folder: Path
    slides: int
    patients: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Everything decided about one slide before it is drawn."""

    number: int
    slide_id: str
    case_id: str
    patient_id: str
    scanned_on: date
    age_years: int
    cellularity: float  # wanted
    scanner: Scanner
    mpp: float
    specimen: str = "core"
    fault: str = ""  # blank, truncated, no mpp
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return f"{self.slide_id}.svs"


def make_archive(
    folder: Path,
    *,
    n_slides: int = 64,
    n_patients: int = 52,
    seed: int = 0,
    faults: bool = True,
    progress: Callable[[int], None] = lambda n: None,
) -> ArchiveSummary:
    """Make what a hospital would hand over, and the truth beside it.

    Writes slides/*.svs, manifest.csv, reports.csv and truth.csv; one seed, the same files.

    Args:
        folder: made if it is not there.
        n_slides: good core slides; a quarter at 40x.
        n_patients: at most `n_slides`.
        seed: decides everything.
        faults: add a blank, a truncated and an mpp-less slide, and three clot slides.
        progress: called with 1 for each finished slide.
    """
    (folder / "slides").mkdir(parents=True, exist_ok=True)
    plans = _plan(n_slides, n_patients, seed, faults)
    textures = Textures(seed)

    def draw(plan: _Plan) -> float | None:
        truth = _draw_slide(folder / "slides" / plan.file, plan, textures, seed)
        progress(1)
        return truth

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        truths = list(pool.map(draw, plans))
    _write_tables(folder, plans, truths, seed)
    return ArchiveSummary(
        folder=folder,
        slides=len(plans),
        patients=len({plan.patient_id for plan in plans}),
        bytes=sum(file.stat().st_size for file in (folder / "slides").iterdir()),
    )


def _plan(n_slides: int, n_patients: int, seed: int, faults: bool) -> list[_Plan]:
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
    plans: list[_Plan] = []
    for number, patient in enumerate(patients):
        repeat = number >= n_patients
        follow_up = repeat and number % 2 == 0  # a later case; otherwise a second block of the case
        day = int(first_day[patient]) + (int(rng.integers(90, 300)) if follow_up else 0)
        day = min(day, days)
        case = f"C{patient + 1:03d}{'-2' if follow_up else ''}"
        mpp = rng.uniform(*(MPP_40X if is_40x[number] else MPP_20X))
        target = wanted[patient] + (rng.normal(0, 14) if follow_up else rng.normal(0, 1.5))
        plans.append(
            _Plan(
                number=number,
                slide_id=f"{case}-{'B' if repeat and not follow_up else 'A'}",
                case_id=case,
                patient_id=f"P{patient + 1:03d}",
                scanned_on=FIRST_DAY + timedelta(days=day),
                age_years=int(ages[patient]) + day // 730,
                cellularity=float(np.clip(target, 6, 95)),
                scanner=SCANNERS[int(rng.integers(len(SCANNERS)))],
                mpp=round(float(mpp), 4),
                extra={"block": "B1" if repeat and not follow_up else "A1"},
            )
        )
    if faults:
        kinds = [("blank", "core"), ("truncated", "core"), ("no mpp", "core"), *[("", "clot")] * 3]
        for i, (fault, specimen) in enumerate(kinds):
            like = plans[(i * 7) % n_patients]
            plans.append(
                _Plan(
                    number=n_slides + i,
                    slide_id=f"{like.case_id}-{'clot' if specimen == 'clot' else f'X{i + 1}'}",
                    case_id=like.case_id,
                    patient_id=like.patient_id,
                    scanned_on=like.scanned_on,
                    age_years=like.age_years,
                    cellularity=like.cellularity,
                    scanner=like.scanner,
                    mpp=0.5,
                    specimen=specimen,
                    fault=fault,
                    extra={"block": "X1"},
                )
            )
    return plans


def _draw_slide(path: Path, plan: _Plan, textures: Textures, seed: int) -> float | None:
    """Draw and write one slide; return its true cellularity, null where it shows no marrow."""
    rng = np.random.default_rng([seed, 3, plan.number])
    margin = MARGIN_20X_UM if plan.mpp > 0.4 else MARGIN_40X_UM
    two = plan.specimen == "core" and rng.random() < 0.2
    clot = plan.specimen == "clot"
    length = int(rng.uniform(1500, 2200) if clot else rng.uniform(4500, 5500))
    widths = [int(w) for w in rng.uniform(950, 1100, 2 if two else 1)]
    pieces = [
        draw_core(
            rng,
            textures,
            length_um=length // len(widths),
            width_um=width,
            cellularity=plan.cellularity,
            scanner=plan.scanner,
            clot=clot,
        )
        for width in widths
        if plan.fault != "blank"
    ]
    height = 2 * margin + max([p.pixels.shape[0] for p in pieces], default=3000)
    width = 2 * margin + sum([p.pixels.shape[1] for p in pieces]) if pieces else 2000
    canvas = _empty_glass(rng, plan.scanner, (height, width))
    tissue = np.zeros((height, width), bool)
    x = margin
    for piece in pieces:
        h, w = piece.tissue.shape
        canvas[margin : margin + h, x : x + w] = piece.pixels
        tissue[margin : margin + h, x : x + w] = piece.tissue
        x += w
    write_svs(
        path,
        canvas,
        image_mpp=1.0,
        mpp=plan.mpp,
        stated_mpp=None if plan.fault == "no mpp" else plan.mpp,
        drawn=tissue,
        scanner=plan.scanner.name,
    )
    if plan.fault == "truncated":
        os.truncate(path, path.stat().st_size * 2 // 5)
    if plan.fault in ("blank", "truncated") or clot:
        return None
    areas = np.array([p.tissue.sum() for p in pieces], float)
    return float(np.average([p.cellularity for p in pieces], weights=areas))


def _empty_glass(rng: np.random.Generator, scanner: Scanner, shape: tuple[int, int]) -> np.ndarray:
    """Glass is never quite even: a little noise lies on it."""
    tile = rng.integers(-1, 2, (256, 256, 1), np.int16) + glass(scanner).astype(np.int16)
    tile = np.clip(tile, 0, 255).astype(np.uint8)
    times = (-(-shape[0] // 256), -(-shape[1] // 256), 1)
    return np.ascontiguousarray(np.tile(tile, times)[: shape[0], : shape[1]])


def write_svs(
    path: Path,
    image: np.ndarray,
    *,
    image_mpp: float,
    mpp: float,
    stated_mpp: float | None = None,
    drawn: np.ndarray | None = None,
    levels: Sequence[float] = LEVELS,
    scanner: str = "synthetic",
) -> None:
    """Write an Aperio-like SVS: tiled JPEG levels, thumbnail, label and macro.

    Args:
        path: of the file.
        image: the whole slide, uint8 (h, w, 3).
        image_mpp: microns per pixel of `image`; it is resized to each level.
        mpp: microns per pixel of level 0.
        stated_mpp: what the header says; None says nothing.
        drawn: bool (h, w), where the image is not empty glass; empty tiles are compressed once.
        levels: downsample of each level.
        scanner: its name in the header.
    """
    source = Image.fromarray(image)
    app_mag = 40 if mpp < 0.4 else 20
    header = f"Aperio Image Library v12.0.16\r\n{{}}|AppMag = {app_mag}|ScanScope ID = {scanner}"
    header += f"|MPP = {stated_mpp:.4f}" if stated_mpp else ""
    plain = np.ascontiguousarray(image[::16, ::16])
    label = np.full((180, 180, 3), 250, np.uint8)
    label[40:140, 20:160] = np.where((np.arange(140) * 7919 % 11 > 4)[None, :, None], 250, 20)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for number, down in enumerate(levels):
            pitch = mpp * down / image_mpp  # image pixels a level pixel
            width, height = round(source.width / pitch), round(source.height / pitch)
            tiff.write(
                _jpeg_tiles(source, (width, height), pitch, drawn),
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                metadata=None,
                software=False,
                description=header.format(f"{width}x{height}"),
            )
            if number == 0:  # Aperio's order: level 0, thumbnail, further levels, label, macro
                _write_plain(tiff, plain, header.format("thumbnail"))
        _write_plain(tiff, label, header.format("label 180x180"), subfiletype=1)
        _write_plain(tiff, plain, header.format("macro"), subfiletype=9)


def _write_plain(
    tiff: tifffile.TiffWriter, image: np.ndarray, description: str, subfiletype: int = 0
) -> None:
    tiff.write(
        iter([_jpeg(Image.fromarray(image))]),
        shape=image.shape,
        dtype=np.uint8,
        rowsperstrip=image.shape[0],
        photometric="ycbcr",
        subsampling=(2, 2),
        compression="jpeg",
        metadata=None,
        software=False,
        subfiletype=subfiletype,
        description=description,
    )


def _jpeg_tiles(
    source: Image.Image, size: tuple[int, int], pitch: float, drawn: np.ndarray | None
) -> Iterator[bytes]:
    """Resize and compress a level row by row of tiles; all tiles of empty glass share one."""
    glass_tile = _jpeg(_resized(source, pitch, 0, 0, TILE_PX, TILE_PX))
    n = -(-size[0] // TILE_PX)
    for y in range(0, size[1], TILE_PX):
        top, side = int(y * pitch), int(TILE_PX * pitch) + 8
        rows = None if drawn is None else drawn[max(0, top - 8) : top + side].any(axis=0)
        here = [
            rows is None or bool(rows[max(0, int(x * TILE_PX * pitch) - 16) :][: side + 24].any())
            for x in range(n)
        ]
        if not any(here):
            yield from [glass_tile] * n
            continue
        first, last = here.index(True), n - here[::-1].index(True)
        left, right = first * TILE_PX, min(last * TILE_PX, size[0])
        height = min(TILE_PX, size[1] - y)
        band = Image.new("RGB", ((last - first) * TILE_PX, TILE_PX), (244, 244, 244))
        band.paste(_resized(source, pitch, left, y, right - left, height))
        yield from [glass_tile] * first
        for x in range(0, band.width, TILE_PX):
            yield _jpeg(band.crop((x, 0, x + TILE_PX, TILE_PX)))
        yield from [glass_tile] * (n - last)


def _resized(
    source: Image.Image, pitch: float, x: int, y: int, width: int, height: int
) -> Image.Image:
    """Cut a rectangle of a level out of the source; level pixel j spans [j, j + 1) times pitch."""
    right = min((x + width) * pitch, source.width)
    bottom = min((y + height) * pitch, source.height)
    box = (x * pitch, y * pitch, right, bottom)
    return source.resize((width, height), Image.Resampling.BICUBIC, box=box)


def _jpeg(tile: Image.Image) -> bytes:
    out = io.BytesIO()
    tile.save(out, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return out.getvalue()


def _write_tables(
    folder: Path, plans: Sequence[_Plan], truths: Sequence[float | None], seed: int
) -> None:
    _write_csv(
        folder / "manifest.csv",
        [
            {
                "path": f"slides/{plan.file}",
                "slide_id": plan.slide_id,
                "case_id": plan.case_id,
                "patient_id": plan.patient_id,
                "scanned_on": plan.scanned_on,
                "specimen": plan.specimen,
                "stain": "H&E",
                "scanner": plan.scanner.name,
                "age_years": plan.age_years,
                "mpp": "",
                **plan.extra,
            }
            for plan in plans
        ],
    )
    known = [(p, t) for p, t in zip(plans, truths, strict=True) if t is not None and not p.fault]
    _write_csv(
        folder / "truth.csv",
        [
            {"slide_id": p.slide_id, "case_id": p.case_id, "cellularity": round(truth, 2)}
            for p, truth in known
        ],
    )
    rng = np.random.default_rng([seed, 4])
    cases: dict[str, list[tuple[_Plan, float]]] = {}
    for plan, truth in known:
        cases.setdefault(plan.case_id, []).append((plan, truth))
    silent = set(rng.permutation(sorted(cases))[: len(cases) // 14].tolist())
    rows = []
    for case_id, slides in cases.items():
        report = write_report(
            rng,
            cellularity=float(np.mean([truth for _, truth in slides])),
            age_years=slides[0][0].age_years,
            scanned_on=slides[0][0].scanned_on,
            stated=case_id not in silent,
        )
        rows.append({"case_id": case_id, "reported_on": report.reported_on, "text": report.text})
    _write_csv(folder / "reports.csv", rows)


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
