"""Tiles per second of `read_tiles` beside what other tools do, on one slide in one process.

Run: python tests/benchmarks/bench_reading.py [--rounds 5] [--threads 2] [--tissue scan|marrow]

The slides are 40x pyramids of 4.5 gigapixels, kept in the temporary folder, made from real tissue
in ../shared: all of an Aperio scan, at its scanner's own JPEG quality of 30 (1 bit a pixel), or
marrow pictures at quality 80 (3 bits a pixel, which is hard on every decoder). What is read are the
tiles that an ingest keeps. Every round runs every reader in turn; ratios are medians over the
rounds, so that a busy machine slows all alike.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import simplejpeg
import tifffile
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from featurestore.types import Tiling  # noqa: E402
from ingest.slides.reader import open_slide  # noqa: E402
from ingest.slides.tiling import find_tiles  # noqa: E402

PICTURE_PX, ACROSS, DOWN = 1200, 112, 28  # 134,400 x 33,600 pixels: two cores side by side
JPEG_TILE = 240
QUALITIES = {"scan": 30, "marrow": 80}
TILE_PX, TILE_MPP, MPP, LEVEL = 224, 2.0, 0.25, 1  # level 1 has 1 micron per pixel
SIDE = 448  # of a tile on that level


def pictures(kind: str) -> list[np.ndarray]:
    """Pictures of tissue at 0.25 microns per pixel, uint8 [1200, 1200, 3]."""
    data = ROOT.parent / "shared/data"
    if kind == "marrow":
        files = sorted((data / "bone_marrow").glob("graz_*.jpg"))
        return [np.asarray(Image.open(file)) for file in files]
    slide = openslide.OpenSlide(str(data / "slides/CMU-1-Small-Region.svs"))
    width, height = slide.dimensions
    side = PICTURE_PX // 2  # the scan has 0.5 microns per pixel
    corners = [(x, y) for y in range(0, height - side, side) for x in range(0, width - side, side)]
    crops = [slide.read_region(corner, 0, (side, side)).convert("RGB") for corner in corners]
    return [np.asarray(crop.resize((PICTURE_PX, PICTURE_PX))) for crop in crops]


def make_slide(path: Path, tissue: float, kind: str) -> Path:
    """Write a pyramid with levels 1, 4 and 16, the given share of it tissue and the rest glass."""
    if path.exists():
        return path
    views = [np.rot90(picture, turn) for picture in pictures(kind) for turn in range(4)]
    views.append(np.full_like(views[0], 243))
    grid = np.full((DOWN, ACROSS), len(views) - 1)
    width = round(ACROSS * min(1.0, tissue * 2))  # a core: half as high as the slide
    height = round(DOWN * ACROSS * tissue / width)
    rng = np.random.default_rng(0)
    grid[:height, :width] = rng.integers(0, len(views) - 1, (height, width))
    options = {
        "tile": (JPEG_TILE, JPEG_TILE), "photometric": "ycbcr", "subsampling": (2, 2),
        "compression": "jpeg", "dtype": "uint8", "metadata": None,
    }  # fmt: skip
    unfinished = path.with_suffix(".part")
    with tifffile.TiffWriter(unfinished, bigtiff=True) as out:
        for down in (1, 4, 16):
            small = [np.asarray(Image.fromarray(view).reduce(down)) for view in views]
            shape = (grid.shape[0] * PICTURE_PX // down, grid.shape[1] * PICTURE_PX // down, 3)
            out.write(
                jpeg_tiles(grid, small, QUALITIES[kind]),
                shape=shape,
                description=f"Aperio Image Library v11\n|AppMag = 40|MPP = {MPP}",
                subfiletype=int(down > 1),
                **options,
            )
    return unfinished.rename(path)


def jpeg_tiles(grid: np.ndarray, pictures: list[np.ndarray], quality: int) -> Iterator[bytes]:
    """Compress a mosaic tile by tile; equal tiles are compressed once."""
    side = len(pictures[0])
    height, width = grid.shape[0] * side, grid.shape[1] * side
    known: dict[tuple[object, ...], bytes] = {}
    for y in range(0, height, JPEG_TILE):
        rows = range(y // side, min(-(-(y + JPEG_TILE) // side), len(grid)))
        for x in range(0, width, JPEG_TILE):
            columns = range(x // side, min(-(-(x + JPEG_TILE) // side), grid.shape[1]))
            ids = grid[rows.start : rows.stop, columns.start : columns.stop]
            key = (x % side, y % side, ids.tobytes(), ids.shape)
            if key not in known:
                mosaic = np.concatenate(
                    [np.concatenate([pictures[i] for i in row], axis=1) for row in ids]
                )
                top, left = y - rows.start * side, x - columns.start * side
                tile = np.full((JPEG_TILE, JPEG_TILE, 3), 243, np.uint8)
                part = mosaic[top : top + JPEG_TILE, left : left + JPEG_TILE]
                tile[: part.shape[0], : part.shape[1]] = part
                stream = io.BytesIO()
                Image.fromarray(tile).save(stream, "JPEG", quality=quality, subsampling="4:2:0")
                known[key] = stream.getvalue()
            yield known[key]


def plain(slide: openslide.OpenSlide, coords: np.ndarray) -> np.ndarray:
    """One read_region a tile at the best level, then PIL's resize: the loop of most tools."""
    return np.stack(
        [
            np.asarray(
                slide.read_region((x, y), LEVEL, (SIDE, SIDE)).convert("RGB").resize((TILE_PX,) * 2)
            )
            for x, y in coords.tolist()
        ]
    )


def super_tiles(slide: openslide.OpenSlide, blocks: list[tuple[int, int]]) -> int:
    """One read_region for 8 x 8 tiles, resized at once and cut; returns the number of tiles."""
    for x, y in blocks:
        block = slide.read_region((x, y), LEVEL, (8 * SIDE, 8 * SIDE)).convert("RGB")
        pixels = np.asarray(block.resize((8 * TILE_PX,) * 2))
        pixels.reshape(8, TILE_PX, 8, TILE_PX, 3).swapaxes(1, 2).copy()
    return 64 * len(blocks)


def bare_decode(buffers: list[bytes], threads: int, scale: int = 1) -> float:
    """Decoding of a level's JPEG tiles and nothing else; returns tiles of 224 px."""
    least = JPEG_TILE // scale

    def decode(share: list[bytes]) -> None:
        for buffer in share:
            simplejpeg.decode_jpeg(buffer, min_height=least, min_width=least)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, [buffers[i::threads] for i in range(threads)]))
    return len(buffers) * JPEG_TILE**2 / SIDE**2


def trephine(path: Path, coords: np.ndarray) -> int:
    """What one reader of an ingest does with a slide's pixels, in a process of its own there."""
    with open_slide(path) as reader:
        return sum(len(rows) for rows, _ in reader.read_tiles(coords, TILE_PX, TILE_MPP))


def tissue_tiles(path: Path) -> np.ndarray:
    """Corners of the tiles with tissue."""
    with open_slide(path) as reader:
        return find_tiles(reader, Tiling()).coords


def whole_slide(path: Path) -> int:
    """Find the tissue and read its tiles, on the one thread that a reader of an ingest has."""
    with open_slide(path) as reader:
        coords = find_tiles(reader, Tiling()).coords
        return sum(len(rows) for rows, _ in reader.read_tiles(coords, TILE_PX, TILE_MPP))


def bench_reading(rounds: int, threads: int, kind: str) -> dict[str, float]:
    """Median rates and ratios; prints them."""
    folder = Path(tempfile.gettempdir())
    full = make_slide(folder / f"trephine-bench-full-{kind}.svs", 1.0, kind)
    sparse = make_slide(folder / f"trephine-bench-sparse-{kind}.svs", 0.05, kind)
    slide = openslide.OpenSlide(str(full))
    coords = tissue_tiles(full)
    row = len(np.unique(coords[:, 0]))
    with tifffile.TiffFile(full) as tiff, full.open("rb") as stream:
        page, buffers = tiff.pages[LEVEL], []
        for start, length in zip(page.dataoffsets[:700], page.databytecounts[:700], strict=True):
            stream.seek(start)
            buffers.append(stream.read(length))
    few = tissue_tiles(sparse)
    blocks = [(8 * 1792 * i, 0) for i in range(2)]
    shares = [(full, share) for share in np.array_split(coords, threads)]
    readers_pool = multiprocessing.get_context("spawn").Pool(threads)  # never fork under libvips
    readers_pool.starmap(trephine, [(path, share[:1]) for path, share in shares])
    readers: dict[str, Callable[[], float]] = {
        "plain": lambda: len(plain(slide, coords[row : 3 * row])),
        "super": lambda: super_tiles(slide, blocks),
        "bare 1": lambda: bare_decode(buffers, 1),
        f"bare {threads}": lambda: bare_decode(buffers, threads),
        f"half {threads}": lambda: bare_decode(buffers, threads, scale=2),
        "trephine 1": lambda: trephine(full, coords),
        f"trephine {threads}": lambda: sum(readers_pool.starmap(trephine, shares)),
        "few tiles": lambda: trephine(sparse, few),
        "full": lambda: whole_slide(full),
        "sparse": lambda: whole_slide(sparse),
    }
    rates: dict[str, list[float]] = {name: [] for name in readers}
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, read in readers.items():
            start = time.perf_counter()
            tiles = read()
            seconds[name].append(time.perf_counter() - start)
            rates[name].append(tiles / seconds[name][-1])
    print(f"{os.cpu_count()} cores, {len(coords)} tiles of {TILE_PX} px at {TILE_MPP} mpp")
    for name, values in rates.items():
        print(f"{name:12} {statistics.median(values):8.0f} tiles/s")

    def ratio(a: str, b: str, of: dict[str, list[float]] = rates) -> float:
        return statistics.median(x / y for x, y in zip(of[a], of[b], strict=True))

    best = f"trephine {threads}"
    ours = np.zeros((row, TILE_PX, TILE_PX, 3), int)
    with open_slide(full) as reader:
        for rows, tiles in reader.read_tiles(coords[:row], TILE_PX, TILE_MPP):
            ours[rows] = tiles
    areas = [
        slide.read_region((x, y), LEVEL, (SIDE, SIDE)).convert("RGB").reduce(2)
        for x, y in coords[:row].tolist()
    ]
    results = {
        "times the plain openslide loop, 1 reader": ratio("trephine 1", "plain"),
        f"times the plain openslide loop, {threads} readers": ratio(best, "plain"),
        f"times 8x8 super-tiles, {threads} readers": ratio(best, "super"),
        "share of bare JPEG decoding, 1 reader": ratio("trephine 1", "bare 1"),
        f"share of bare JPEG decoding, {threads} readers": ratio(best, f"bare {threads}"),
        f"share of bare JPEG decoding to half size, {threads} readers": ratio(
            best, f"half {threads}"
        ),
        f"times the plain loop that this decoding alone would be, {threads} readers": ratio(
            f"half {threads}", "plain"
        ),
        "time to read a slide with 5% tissue, of a full one": ratio(
            "few tiles", "trephine 1", seconds
        ),
        "the same, with finding the tissue": ratio("sparse", "full", seconds),
        "mean difference to openslide + area, grey levels": float(
            np.abs(ours - np.stack([np.asarray(area) for area in areas])).mean()
        ),
    }
    for name, value in results.items():
        print(f"{value:8.3f} {name}")
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tissue", choices=[*QUALITIES], default="scan")
    arguments = parser.parse_args()
    bench_reading(arguments.rounds, arguments.threads, arguments.tissue)
