"""Make a synthetic archive with known cellularity: slides, manifest, reports and truth."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tifffile
from PIL import Image, ImageFilter

from featurestore.types import Progress, silent
from featurestore.words import size
from ingest.synthetic.marrow import SCANNERS_20X, SCANNERS_40X, Scanner, Scene
from ingest.synthetic.reports import write_report
from ingest.synthetic.textures import Textures

MARGIN_20X_UM, MARGIN_40X_UM = 420, 120
TILE_PX = 256
CHUNK_TILES = 4  # drawn at once: what fits a processor's cache
JPEG_QUALITY = 72
LEVELS = (1, 4, 16)
BLUR_UM, BLUR_RIM_PX = 2.4, 32  # of slides out of focus; the rim in drawn pixels
FIRST_DAY, LAST_DAY = date(2019, 1, 7), date(2023, 3, 20)
MPP_20X, MPP_40X = (0.4990, 0.5016), (0.2325, 0.2527)
TILES = (22, 27)  # wanted tissue tiles of a core
ARTEFACTS, SLIDES_TO_AN_ARTEFACT = ("pen", "fold", "blur"), 32
SAID = ("slide_id", "case_id", "patient_id", "scanned_on", "specimen")  # by the manifest
SMALL_TILES = 12  # of the broken and the clot slides

Overview = Callable[[], np.ndarray]
Level = tuple[tuple[int, int], Iterator[bytes]]  # width and height; compressed tiles, row by row


@dataclass(frozen=True, kw_only=True)
class SlidePlan:
    """Everything decided about one slide before it is drawn; then what it shows."""

    number: int
    slide_id: str
    case_id: str
    patient_id: str
    scanned_on: date
    age_years: int
    cellularity: float | None  # wanted, then as drawn; None: there is no marrow
    n_tiles: int  # wanted, then as drawn
    scanner: Scanner
    mpp: float
    specimen: str = "core"
    fault: str = ""  # blank, truncated, no mpp; nominal mpp can be mended
    artefact: str = ""  # pen, fold, blur
    block: str = "A1"


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
                block="B1" if repeat and not follow_up else "A1",
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
        plan = replace(
            like,
            number=n_slides + i,
            slide_id=f"{like.case_id}-{'clot' if specimen == 'clot' else f'X{i + 1}'}",
            n_tiles=0 if fault == "blank" else SMALL_TILES,
            scanner=SCANNERS_20X[0],
            mpp=0.5,
            specimen=specimen,
            fault=fault,
            artefact="",
            block="X1",
        )
        plans.append(plan)
    return plans


def make_archive(
    folder: Path,
    *,
    n_slides: int = 64,
    n_patients: int = 52,
    seed: int = 0,
    faults: bool = True,
    progress: Progress = silent,
) -> str:
    """Make what a hospital would hand over, and the truth beside it; say in a line what was made.

    Writes slides/*.svs, manifest.csv, reports.csv and truth.csv: one seed, the same files, whatever
    the number of cores at work. A quarter of the good core slides are at 40x. The faults are a
    blank, a truncated and an mpp-less slide, three clot slides, and a good file that states a
    nominal mpp, which the manifest corrects.
    """
    (folder / "slides").mkdir(parents=True, exist_ok=True)
    plans = plan_slides(n_slides, n_patients, seed)
    if faults:
        plans = with_faults(plans, n_patients)
    textures = Textures(seed)

    def draw(plan: SlidePlan) -> SlidePlan:
        return _draw_slide(folder / f"slides/{plan.slide_id}.svs", plan, textures, seed)

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        for i, drawn in enumerate(pool.map(draw, plans)):
            plans[i] = drawn
            progress(i + 1, len(plans), "")
    write_tables(folder, plans, seed)
    n_bytes = sum(file.stat().st_size for file in (folder / "slides").iterdir())
    n_people = len({plan.patient_id for plan in plans})
    broken = ", some of them broken on purpose" if faults else ""
    return f"{len(plans)} slides of {n_people} patients, {size(n_bytes)}{broken}"


def _draw_slide(path: Path, plan: SlidePlan, textures: Textures, seed: int) -> SlidePlan:
    """Draw and write one slide; return what it shows."""
    rng = np.random.default_rng([seed, 3, plan.number])
    enlarge = 1 if plan.mpp > 0.4 else 2
    scene = Scene(
        rng,
        textures,
        scanner=plan.scanner,
        drawn_mpp=plan.mpp * enlarge,
        cellularity=plan.cellularity or 0.0,
        n_tiles=plan.n_tiles,
        margin_um=MARGIN_20X_UM if enlarge == 1 else MARGIN_40X_UM,
        pieces=2 if plan.specimen == "core" and rng.random() < 0.1 else 1,
        clot=plan.specimen == "clot",
        artefact=plan.artefact if plan.artefact != "blur" else "",
    )
    blur_px = BLUR_UM / plan.mpp if plan.artefact == "blur" else 0.0
    width, height = (n * enlarge for n in scene.size_px)
    small = np.empty((height // LEVELS[1], width // LEVELS[1], 3), np.uint8)
    levels: list[Level] = [((width, height), _scene_tiles(scene, enlarge, small, blur_px))]
    for down in LEVELS[1:]:
        size = (width // down, height // down)
        levels.append((size, resized_tiles(small, size)))
    # what the file says: a scanner's nominal figure where the manifest has to correct it
    nominal = {"no mpp": None, "nominal mpp": 0.5 if plan.mpp > 0.4 else 0.25}
    mpp = nominal.get(plan.fault, plan.mpp)
    write_svs(path, levels, lambda: small[::4, ::4], mpp=mpp, scanner=plan.scanner.name)
    if plan.fault == "truncated":
        os.truncate(path, path.stat().st_size * 2 // 5)
    return replace(plan, cellularity=scene.cellularity, n_tiles=scene.n_tiles)


def _scene_tiles(scene: Scene, enlarge: int, small: np.ndarray, blur_px: float) -> Iterator[bytes]:
    """Draw and compress level 0 row by row of tiles, and fill in the next level by the way.

    All tiles of empty glass share one, as the texture of glass repeats with the tiles.
    """
    width, height = scene.size_px
    step, side = TILE_PX // enlarge, TILE_PX // LEVELS[1]
    empty = _drawn(scene, (0, 0, step, step), enlarge)
    glass_tile, glass_small = jpeg(empty), np.asarray(empty.reduce(LEVELS[1]).convert("RGB"))
    n = width // step
    for y in range(0, height, step):
        first, last = (x // step for x in scene.extent(y, step, step))
        rows = small[y * enlarge // LEVELS[1] :][:side]
        rows[:] = np.tile(glass_small, (1, n, 1))
        yield from [glass_tile] * first
        if last > first:
            for x in range(first, last, CHUNK_TILES):
                wide = min(CHUNK_TILES, last - x)
                band = _drawn(scene, (x * step, y, wide * step, step), enlarge, blur_px)
                rows[:, x * side : (x + wide) * side] = band.reduce(LEVELS[1]).convert("RGB")
                for left in range(0, band.width, TILE_PX):
                    yield jpeg(band.crop((left, 0, left + TILE_PX, TILE_PX)))
        yield from [glass_tile] * (n - last)


def _drawn(
    scene: Scene, box: tuple[int, int, int, int], enlarge: int, blur_px: float = 0
) -> Image.Image:
    """Draw x, y, width and height; out of focus it needs a rim, so that no seams are seen."""
    x, y, width, height = box
    rim = BLUR_RIM_PX if blur_px else 0
    pixels = scene.draw(x - rim, y - rim, width + 2 * rim, height + 2 * rim, rim)
    if enlarge == 2:
        pixels = _doubled(pixels)
    size = pixels.shape[::-1]
    image = Image.frombuffer("RGBX", size, pixels, "raw", "RGBX", 0, 1)
    if not blur_px:
        return image
    image, rim = image.filter(ImageFilter.GaussianBlur(blur_px)), rim * enlarge
    return image.crop((rim, rim, size[0] - rim, size[1] - rim))


def _doubled(pixels: np.ndarray) -> np.ndarray:
    """Twice the rows and columns, means between them; four colours of a uint32 at once."""
    height, width = pixels.shape
    out = np.empty((2 * height, 2 * width), np.uint32)
    out[::2, ::2] = pixels
    out[::2, 1:-1:2] = _mean(pixels[:, :-1], pixels[:, 1:])
    out[::2, -1] = pixels[:, -1]
    out[1:-1:2] = _mean(out[:-2:2], out[2::2])
    out[-1] = out[-2]
    return out


def _mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean of each of the four bytes, without a carry from one to the next."""
    return np.asarray((a & b) + (((a ^ b) >> 1) & np.uint32(0x7F7F7F7F)))


def resized_tiles(image: np.ndarray, size: tuple[int, int]) -> Iterator[bytes]:
    """Resize a picture and compress it; tiles that reach over the edge are padded with white."""
    level = Image.fromarray(image)
    if level.size != size:
        level = level.resize(size, Image.Resampling.BOX)
    for y in range(0, size[1], TILE_PX):
        for x in range(0, size[0], TILE_PX):
            tile = Image.new("RGB", (TILE_PX, TILE_PX), (244, 244, 244))
            tile.paste(level.crop((x, y, min(x + TILE_PX, size[0]), min(y + TILE_PX, size[1]))))
            yield jpeg(tile)


def write_svs(
    path: Path, levels: Sequence[Level], overview: Overview, *, mpp: float | None, scanner: str
) -> None:
    """Write an Aperio-like SVS, its pages in Aperio's order; without mpp its header lacks it.

    The overview is asked for when level 0 is written, for thumbnail and macro.
    """
    header = "Aperio Image Library v12.0.16\r\n{}" + f"|AppMag = {40 if mpp and mpp < 0.4 else 20}"
    header += f"|ScanScope ID = {scanner}" + (f"|MPP = {mpp:.4f}" if mpp else "")
    label = np.full((180, 180, 3), 250, np.uint8)
    label[40:140, 20:160] = np.where((np.arange(140) * 7919 % 11 > 4)[None, :, None], 250, 20)
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:

        def write(tiles: Iterator[bytes], height: int, width: int, said: str, **how: Any) -> None:
            how |= {"photometric": "ycbcr", "subsampling": (2, 2), "compression": "jpeg"}
            how |= {"metadata": None, "software": False, "description": header.format(said)}
            tiff.write(tiles, shape=(height, width, 3), dtype=np.uint8, **how)

        def write_plain(image: np.ndarray, said: str, kind: int = 0) -> None:
            height, width = image.shape[:2]
            tiles = iter([jpeg(Image.fromarray(image))])
            write(tiles, height, width, said, rowsperstrip=height, subfiletype=kind)

        for number, ((width, height), tiles) in enumerate(levels):
            write(tiles, height, width, f"{width}x{height}", tile=(TILE_PX, TILE_PX))
            if number == 0:
                small = np.ascontiguousarray(overview())
                write_plain(small, "thumbnail")
        write_plain(label, "label 180x180", 1)
        write_plain(small, "macro", 9)


def jpeg(tile: Image.Image) -> bytes:
    """A tile as the slides hold it."""
    out = io.BytesIO()
    tile.save(out, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return out.getvalue()


def write_tables(folder: Path, plans: Sequence[SlidePlan], seed: int) -> None:
    """Write manifest, reports and truth of drawn slides as a hospital would hand them over."""
    manifest = [
        {
            "path": f"slides/{plan.slide_id}.svs",
            **{name: getattr(plan, name) for name in SAID},
            "stain": "H&E",
            "scanner": plan.scanner.name,
            "age_years": plan.age_years,
            "mpp": plan.mpp if plan.fault == "nominal mpp" else "",
            "block": plan.block,
        }
        for plan in plans
    ]
    pl.DataFrame(manifest).write_csv(folder / "manifest.csv")
    good = ("", "nominal mpp")
    known = [plan for plan in plans if plan.specimen == "core" and plan.fault in good]
    truth = [
        {
            **{name: getattr(plan, name) for name in SAID[:2]},
            "cellularity": round(plan.cellularity or 0.0, 2),  # of a core it is known
            "n_tissue_tiles": plan.n_tiles,
            "note": plan.fault or plan.artefact,
        }
        for plan in known
    ]
    pl.DataFrame(truth).write_csv(folder / "truth.csv")
    _write_reports(folder / "reports.csv", known, np.random.default_rng([seed, 4]))


def _write_reports(path: Path, known: Sequence[SlidePlan], rng: np.random.Generator) -> None:
    """Write a Report a Case on what its slides show; one in fourteen states no figure."""
    cases: dict[str, list[SlidePlan]] = {}
    for plan in known:
        cases.setdefault(plan.case_id, []).append(plan)
    silent = set(rng.permutation(sorted(cases))[: len(cases) // 14].tolist())
    rows = []
    for case_id, slides in cases.items():
        first = slides[0]
        text = write_report(
            rng,
            cellularity=float(np.mean([plan.cellularity for plan in slides])),
            age_years=first.age_years,
            year=first.scanned_on.year,
            stated=case_id not in silent,
        )
        day = first.scanned_on + timedelta(days=int(rng.integers(1, 9)))
        rows.append({"case_id": case_id, "reported_on": day, "text": text})
    pl.DataFrame(rows).write_csv(path)
