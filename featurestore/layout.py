"""The on-disk format: paths, array names, dtypes and the format version (docs/format.md)."""

import json
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

FORMAT_VERSION = 1

CATALOG = "catalog.duckdb"

COORDS_DTYPE = "<i4"  # level-0 corners, columns (x, y)
SCORE_DTYPE = "<f2"
EMBEDDING_DTYPE = "<f2"
CHECKSUM_BYTES = 4  # crc32c behind the raw buffer of every chunk

PRIVATE, SHARED = 0o700, 0o2770  # of a store's folder; what lies in it has the same rights


def rights(folder: Path) -> tuple[int, int]:
    """Modes of the folders and of the files that are put into a folder: its own."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    return mode, mode & 0o666


def make(folder: Path) -> None:
    """Make a folder, and those above it, with the rights of the one it stands in."""
    if not folder.is_dir():
        make(folder.parent)
        folder.mkdir(exist_ok=True)
        with suppress(OSError):  # another user made it in between, or there are no modes here
            folder.chmod(rights(folder.parent)[0])


def share(root: Path) -> None:
    """Give the group of a store's folder the rights that its owner has, on all that is there."""
    for path in (root, *root.rglob("*")):
        group = 0o2070 if path.is_dir() else 0o060
        path.chmod(stat.S_IMODE(path.stat().st_mode) | group)


def _room(name: str) -> Callable[[Path], Path]:
    return lambda root: root / name


slides_dir = _room("slides")  # the per-slide groups
runs_dir = _room("runs")
tmp_dir = _room("tmp")  # unfinished work, on the same file system as the rest
quarantine_dir = _room("quarantine")  # what `verify --repair` set aside; nothing reads it


def group_dir(root: Path, slide_key: str) -> Path:
    """Zarr group of one Slide."""
    return slides_dir(root) / f"{slide_key}.zarr"


def is_group(folder: Path) -> bool:
    """Whether a folder says of itself that it is the group of a Slide, whatever its name."""
    try:
        said = json.loads((folder / "zarr.json").read_bytes())["attributes"]
        return "format_version" in said and "fingerprint" in said
    except (OSError, ValueError, KeyError, TypeError):
        return False


def embedding_dir(root: Path, slide_key: str, tiling_id: str, encoder_id: str) -> Path:
    """Zarr array of one Slide's Embeddings, shape (N, D)."""
    return group_dir(root, slide_key) / tiling_id / "embeddings" / encoder_id


def tiles_dir(root: Path, slide_key: str, tiling_id: str) -> Path:
    """Zarr group of one Slide's coords and per-tile scores."""
    return group_dir(root, slide_key) / tiling_id / "tiles"


def chunk(array_dir: Path, ndim: int) -> Path:
    """Return the one chunk file of an array: a raw little-endian buffer and a crc32c."""
    return array_dir / "c" / "/".join("0" * ndim)


def ledger_dir(root: Path, kind: str) -> Path:
    """Folder of one kind of append-only files."""
    return root / "ledger" / kind
