"""Per-slide Zarr arrays: publish them atomically, read their rows fast (docs/format.md)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featurestore import layout, ledger
from featurestore.errors import ConfigError, StoreDamaged, unread, writing
from featurestore.fields import now
from featurestore.rows import SET_ASIDE, check_digest, damaged, digest
from featurestore.types import SCORES, ArrayIds, Tiling

LATER_SCORES = ("marrow",)  # tiles that an older version wrote lack them: they are unknown


@dataclass(frozen=True, kw_only=True)
class SlideArrays:
    """Everything measured from one Slide's pixels, rows in stored order."""

    slide_key: str
    attributes: Mapping[str, Any]  # fingerprint, size, mpp, reader; no case, patient, path, date
    thumbnail: np.ndarray | None  # uint8 (h, w, 3); imported Slides have none
    tiling: Tiling
    coords: np.ndarray  # int32 (N, 2), level-0 corners
    scores: Mapping[str, np.ndarray]  # tissue, blur, pen: float16 (N,)
    encoder_id: str
    embeddings: np.ndarray  # float16 (N, D)
    provenance: Mapping[str, Any]  # the encoder's identity; precision, device, versions


def row_order(slide_key: str, coords: np.ndarray) -> np.ndarray:
    """Order tiles at random, the same on every machine: by blake2b(slide_key, x, y).

    Any block of consecutive rows is then a uniform sample without replacement. Of level-0 corners
    (N, 2), it gives the indices, int64 (N,).
    """
    key = slide_key.encode()
    rows = np.ascontiguousarray(coords, dtype=layout.COORDS_DTYPE)
    digests = [hashlib.blake2b(row.tobytes(), key=key, digest_size=8).digest() for row in rows]
    hashes = np.frombuffer(b"".join(digests), dtype=">u8")
    return np.lexsort((rows[:, 1], rows[:, 0], hashes)) if len(rows) else np.empty(0, np.int64)


def publish(root: Path, arrays: SlideArrays) -> int:
    """Write what the store lacks of a Slide: its group, its Tiling or its Embeddings.

    Work happens in tmp/, is flushed to disk, and appears by one rename. A rename that meets a
    finished target discards its own work: both were made from the same pixels.

    Returns:
        Bytes written.
    """
    group = layout.group_dir(root, arrays.slide_key)
    tiling = group / arrays.tiling.tiling_id
    embedding = tiling / "embeddings" / arrays.encoder_id
    if not (group / "zarr.json").is_file():
        target, write = group, _write_group
    elif not has(root, arrays.slide_key, arrays.tiling.tiling_id):
        target, write = tiling, _write_tiling
    else:
        target, write = embedding, _write_embeddings
    if target.exists():
        if has(root, arrays.slide_key, arrays.tiling.tiling_id, arrays.encoder_id):
            return 0
        quarantine(root, target)
    work = layout.tmp_dir(root) / f"{arrays.slide_key}-{uuid.uuid4().hex[:12]}"
    with writing(root):
        try:
            write(work, arrays)
            n_bytes = sum(file.stat().st_size for file in work.rglob("*") if file.is_file())
            with contextlib.suppress(FileExistsError):
                publish_folder(work, target)
            return n_bytes
        finally:
            shutil.rmtree(work, ignore_errors=True)


def quarantine(root: Path, path: Path) -> Path:
    """Set a broken file or folder aside: into `quarantine/`, under its own path; never deleted."""
    place = layout.quarantine_dir(root) / f"{now():%Y%m%d-%H%M%S-%f}" / path.relative_to(root)
    with writing(root):
        layout.make(place.parent)
        return path.rename(place)


def publish_folder(work: Path, target: Path) -> None:
    """Flush a finished folder to disk and rename it into place, with the rights of that place.

    Raises:
        FileExistsError: the target is there already; `work` is left as it is.
    """
    of_folder, of_file = layout.rights(target.parent)
    for folder, _, files in os.walk(work):
        for name in files:
            _fsync(Path(folder) / name, of_file)
        _fsync(Path(folder), of_folder)
    try:
        work.rename(target)
    except OSError as error:
        if target.exists():
            raise FileExistsError(f"{target} exists already") from error
        raise
    _fsync(target.parent)


def published(root: Path, slide_key: str = "*") -> Iterator[ArrayIds]:
    """Yield the names of every published Embedding array, or of those of one Slide."""
    for group in sorted(layout.slides_dir(root).glob(f"{slide_key}.zarr")):
        for array in sorted(group.glob("*/embeddings/*/")):
            yield ArrayIds(group.stem, array.parts[-3], array.name)


def has(root: Path, slide_key: str, tiling_id: str, encoder_id: str | None = None) -> bool:
    """Whether these Embeddings open with the right shape; without an Encoder, whether tiles do."""
    tiles = layout.tiles_dir(root, slide_key, tiling_id) / "coords"
    array = tiles
    if encoder_id is not None:
        array = layout.embedding_dir(root, slide_key, tiling_id, encoder_id)
    try:
        n_tiles = _header(tiles)[0][0]
        shape = _header(array)[0]
        size = math.prod(shape) * (4 if encoder_id is None else 2)
        there = not size or layout.chunk(array, 2).stat().st_size == size + layout.CHECKSUM_BYTES
    except (StoreDamaged, OSError, IndexError):
        return False
    return there and len(shape) == 2 and shape[0] == n_tiles


def attributes(root: Path, slide_key: str, tiling_id: str = "") -> dict[str, Any]:
    """Read the attributes of a Slide's group, or of one of its Tilings."""
    return _header(layout.group_dir(root, slide_key) / tiling_id)[1]


def embedding_header(
    root: Path, slide_key: str, tiling_id: str, encoder_id: str
) -> tuple[tuple[int, int], dict[str, Any]]:
    """Read the shape (N, D) and the provenance of an Embedding array, not its rows."""
    array = layout.embedding_dir(root, slide_key, tiling_id, encoder_id)
    shape, said = _header(array)
    if len(shape) != 2:
        raise damaged(array, f"has the shape {shape}, expected (N, D)")
    return (shape[0], shape[1]), said


def read_tiles(root: Path, slide_key: str, tiling_id: str) -> dict[str, np.ndarray]:
    """Read coords int32 (N, 2) and the scores float16 (N,) in stored order, checked."""
    coords = _read(layout.tiles_dir(root, slide_key, tiling_id) / "coords", layout.COORDS_DTYPE, 2)
    return {"coords": coords} | read_scores(root, slide_key, tiling_id, len(coords), SCORES)


def read_scores(
    root: Path, slide_key: str, tiling_id: str, n_tiles: int, names: Sequence[str]
) -> dict[str, np.ndarray]:
    """Read some scores, float16 (N,) each, checked."""
    scores = {}
    for name in names:
        array = layout.tiles_dir(root, slide_key, tiling_id) / name
        if name in LATER_SCORES and not array.exists():
            scores[name] = np.full(n_tiles, np.nan, layout.SCORE_DTYPE)
            continue
        scores[name] = _read(array, layout.SCORE_DTYPE, 1)
        if len(scores[name]) != n_tiles:
            raise damaged(array, f"has {len(scores[name])} values, expected {n_tiles}")
    return scores


def read_embeddings(root: Path, slide_key: str, tiling_id: str, encoder_id: str) -> np.ndarray:
    """Read all Embeddings of a Slide with their checksum, float16 (N, D)."""
    array = layout.embedding_dir(root, slide_key, tiling_id, encoder_id)
    return _read(array, layout.EMBEDDING_DTYPE, 2)


def read_thumbnail(root: Path, slide_key: str) -> np.ndarray:
    """Read a Slide's thumbnail, uint8 (h, w, 3), checked.

    Raises:
        ConfigError: it never had one, as Slides whose Embeddings were imported.
        StoreDamaged: it is not what was written.
    """
    import zarr

    path = layout.group_dir(root, slide_key) / "thumbnail"
    if not path.exists() and not ledger.told_digest(root, slide_key, "thumbnail/zarr.json"):
        raise ConfigError(
            f"the store has no thumbnail of slide {slide_key}. "
            "Ingest the slide itself with: trephine ingest SLIDES"
        )
    shape, _ = _header(path)
    if len(shape) != 3 or not layout.chunk(path, 3).is_file():
        raise damaged(path, "has no picture")
    try:
        _check(layout.chunk(path, 3), layout.chunk(path, 3).read_bytes())
        return np.asarray(zarr.open(str(path), mode="r")[...])
    except StoreDamaged:
        raise
    except Exception as error:  # whatever its codecs make of garbage
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise damaged(path, f"cannot be read: {said.rstrip('.')}") from error


def digests_of(root: Path, ids: ArrayIds) -> dict[str, str]:
    """Digests of the files that an array of Embeddings needs, by their path in the Slide's group.

    A chunk is believed to be what its own checksum says; other files are read.
    """
    group = layout.group_dir(root, ids.slide_key)
    tiling = group / ids.tiling_id
    inner = [group / "thumbnail", tiling / "tiles", tiling / "embeddings" / ids.encoder_id]
    files = [group / "zarr.json", tiling / "zarr.json", tiling / "embeddings" / "zarr.json"]
    files += [file for folder in inner for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(group).as_posix(): _file_digest(file) for file in sorted(files)}


def _file_digest(file: Path) -> str:
    has_crc = file.parts[-2] in ("c", "0") and "thumbnail" not in file.parts
    try:
        if not has_crc:
            return digest(file.read_bytes())
        with file.open("rb") as opened:
            opened.seek(-layout.CHECKSUM_BYTES, os.SEEK_END)
            crc = opened.read()
    except OSError as error:
        raise unread(file, error, SET_ASIDE) from error
    return f"{int.from_bytes(crc, 'little'):08x}{crc.hex()}"


def _header(array: Path) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Shape and attributes of an array or group, from its zarr.json alone."""
    file = array / "zarr.json"
    try:
        said = json.loads(file.read_bytes())
        shape = tuple(int(n) for n in said.get("shape", ()))
        attributes = dict(said.get("attributes", {}))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise unread(file, error, SET_ASIDE) from error
    group = next(p for p in array.parents if p.suffix == ".zarr") if shape else array
    names = {"slide_key": group.stem, "encoder_id": array.name}
    if len(inner := array.relative_to(group).parts) > 1:
        names["tiling_id"] = inner[0]
    for key, name in names.items():
        if shape and attributes.get(key, name) != name:
            raise damaged(array, f"is that of {key} {attributes[key]}")
    return shape, attributes


def _read(array: Path, dtype: str, ndim: int) -> np.ndarray:
    """An array of one raw chunk, checked against its shape and checksum."""
    shape, _ = _header(array)
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    if len(shape) != ndim or n_bytes < 0:
        raise damaged(array, f"has the shape {shape}, expected {ndim} axes")
    if not n_bytes:
        return np.empty(shape, dtype)
    path = layout.chunk(array, ndim)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise unread(path, error, SET_ASIDE) from error
    if len(raw) != n_bytes + layout.CHECKSUM_BYTES:
        raise damaged(path, f"has {len(raw)} bytes, expected {n_bytes + layout.CHECKSUM_BYTES}")
    _check(path, raw)
    return np.frombuffer(raw, dtype, math.prod(shape)).reshape(shape).copy()


def _check(path: Path, raw: bytes) -> None:
    """Check a chunk of a Slide's group against what the ledger says of it."""
    group = next(p for p in path.parents if p.suffix == ".zarr")
    name = path.relative_to(group).as_posix()
    check_digest(path, raw, ledger.told_digest(group.parents[1], group.stem, name))


def _write_group(path: Path, arrays: SlideArrays) -> None:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    attrs = {"format_version": layout.FORMAT_VERSION, **arrays.attributes}
    group = zarr.create_group(str(path), zarr_format=3, attributes=attrs)
    if arrays.thumbnail is not None:
        thumbnail = np.ascontiguousarray(arrays.thumbnail, dtype=np.uint8)
        group.create_array(
            "thumbnail",
            data=thumbnail,
            chunks=thumbnail.shape,
            compressors=[ZstdCodec(), Crc32cCodec()],
            attributes={"slide_key": arrays.slide_key},
        )
    _write_tiling(path / arrays.tiling.tiling_id, arrays)


def _write_tiling(path: Path, arrays: SlideArrays) -> None:
    import zarr

    zarr.create_group(str(path), zarr_format=3, attributes=asdict(arrays.tiling))
    zarr.create_group(str(path / "tiles"), zarr_format=3)
    said = {"slide_key": arrays.slide_key, "tiling_id": arrays.tiling.tiling_id}
    coords = np.asarray(arrays.coords, layout.COORDS_DTYPE)
    _write_array(path / "tiles" / "coords", coords, -1, said)
    for name in SCORES:
        scores = np.asarray(arrays.scores[name], layout.SCORE_DTYPE)
        _write_array(path / "tiles" / name, scores, np.nan, said)
    zarr.create_group(str(path / "embeddings"), zarr_format=3)
    _write_embeddings(path / "embeddings" / arrays.encoder_id, arrays)


def _write_embeddings(path: Path, arrays: SlideArrays) -> None:
    data = np.asarray(arrays.embeddings, layout.EMBEDDING_DTYPE)
    ids = ArrayIds(arrays.slide_key, arrays.tiling.tiling_id, arrays.encoder_id)
    _write_array(path, data, np.nan, dict(arrays.provenance) | ids._asdict())


def _write_array(path: Path, data: np.ndarray, fill: float, attrs: dict[str, Any]) -> None:
    # One uncompressed chunk: the file is a plain little-endian buffer and a crc32c, so rows are
    # read by position, and any Zarr reader still verifies it.
    import zarr

    array = zarr.create_array(
        str(path),
        shape=data.shape,
        dtype=data.dtype,
        chunks=tuple(max(1, n) for n in data.shape),
        compressors=[zarr.codecs.Crc32cCodec()],
        filters=None,
        fill_value=fill,
        attributes=attrs,
        zarr_format=3,
        config={"write_empty_chunks": True},
    )
    if data.size:
        array[...] = data


def _fsync(path: Path, mode: int | None = None) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        if mode is not None:
            with contextlib.suppress(OSError):  # there may be no modes here
                os.fchmod(fd, mode)
        os.fsync(fd)
    finally:
        os.close(fd)
