"""A Run's folder with the sha256 of each of its files, in the form of `sha256sum`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import polars as pl

from featurestore import layout, ledger
from featurestore.errors import (
    ConfigError,
    RunNotFound,
    StoreDamaged,
    StoreForbidden,
    TrephineError,
    unread,
)
from featurestore.fields import check, from_json, to_json
from featurestore.ids import one_of
from featurestore.types import Prediction, RunRecord

SEAL = "SHA256SUMS"
SealedRun = tuple[RunRecord, pl.DataFrame, str]  # with its Predictions and the seal's digest
MEND = "Set it aside with: trephine verify --repair"
FOLD = pl.col("config").str.json_path_match("$.fold").alias("fold")  # a column of its own in SQL
RECORD, PREDICTIONS = "run.json", "predictions.parquet"


def seal(folder: Path) -> str:
    """Write the sha256 of all files of a folder into it; return that of what was written."""
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and file.name != SEAL
    )
    text = "".join(f"{_sha256(folder / name)}  {name}\n" for name in names)
    work = folder / f"{SEAL}.partial"
    work.write_text(text)
    with suppress(OSError):  # there may be no modes here
        work.chmod(layout.rights(folder)[1])
    with work.open("rb") as file:
        os.fsync(file.fileno())
    work.rename(folder / SEAL)
    return hashlib.sha256(text.encode()).hexdigest()


def seal_old(runs: Path) -> None:
    """Seal the Runs of an earlier version, which knew no seals."""
    for folder in runs.glob("*/"):
        if (folder / RECORD).exists() and not (folder / SEAL).exists():
            with suppress(OSError, StoreDamaged):
                seal(folder)


def check_sealed(folder: Path, digest: str | None = None, only: Collection[str] = ()) -> str | None:
    """Check the files of a Run against what was written of them; return the seal's own sha256.

    `digest` is what the catalog has of the seal, if anything. Unless `only` names some files, all
    are checked, and nothing else may be in the folder.
    """
    try:
        raw = (folder / SEAL).read_bytes()
    except OSError as error:
        if digest is None and isinstance(error, FileNotFoundError):
            return None  # of an earlier version
        raise unread(folder / SEAL, error) from error
    found = hashlib.sha256(raw).hexdigest()
    if digest not in (None, found):
        raise StoreDamaged(f"{folder / SEAL} was changed.")
    try:
        lines = [line.split("  ", 1) for line in raw.decode().splitlines()]
        said = {name: sha256 for sha256, name in lines}
    except ValueError as error:
        raise StoreDamaged(f"{folder / SEAL} cannot be read: {error}.") from error
    for name in only or said:
        file = folder / name
        if name not in said or not file.is_file() or file.is_symlink():
            raise StoreDamaged(f"{file} is missing.")
        if _sha256(file) != said[name]:
            raise StoreDamaged(
                f"{file} was changed: it has another sha256 than when it was written."
            )
    if not only:
        there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
        if foreign := sorted(there - said.keys() - {SEAL}):
            raise StoreDamaged(f"{folder / foreign[0]} is no part of the run.")
    return found


def read_run(folder: Path, digest: str | None = None) -> SealedRun:
    """Read the record and the Predictions of a finished Run, and the digest of its seal."""
    ((_, run),) = read_runs([folder], {folder.name: digest})
    if isinstance(run, TrephineError):
        raise run
    return run


def read_runs(
    folders: Sequence[Path], digests: Mapping[str, str | None]
) -> Iterator[tuple[Path, SealedRun | StoreDamaged | StoreForbidden]]:
    """The same of many Runs at once, with their digests by id; of one that cannot be read, why."""
    records: dict[Path, tuple[RunRecord, str | None]] = {}
    for folder in folders:
        try:
            records[folder] = _record_of(folder, digests.get(folder.name))
        except StoreDamaged as error:
            yield folder, StoreDamaged(f"{error} {MEND}")
        except StoreForbidden as error:
            yield folder, error
    if not records:
        return
    files = [folder / PREDICTIONS for folder in records]
    found, broken = ledger.read_many(files, Prediction)
    good, bad = ledger.sound(Prediction, found)
    faults = dict(bad.select("place", "fault").iter_rows())
    good = good.select("place", *ledger.schema_of(Prediction))
    rows = good.partition_by("place", as_dict=True, include_key=False)
    for place, (folder, (run, sealed)) in enumerate(records.items()):
        if files[place] in broken:
            yield folder, StoreDamaged(f"{broken[files[place]]} {MEND}")
        elif place in faults:
            yield folder, StoreDamaged(f"{files[place]} holds a row whose {faults[place]}. {MEND}")
        else:
            own = rows.get((place,), good.clear().drop("place"))
            yield folder, (run, own, sealed or "")


def _record_of(folder: Path, digest: str | None) -> tuple[RunRecord, str | None]:
    file = folder / RECORD
    sealed = check_sealed(folder, digest, only=(RECORD, PREDICTIONS))
    try:
        run = from_json(RunRecord, json.loads(file.read_text(encoding="utf-8")))
        check(run)
        list(metrics_of(run))
    except (OSError, ConfigError, ValueError, TypeError, AttributeError) as error:
        raise unread(file, error) from error
    if run.run_id != folder.name:
        raise StoreDamaged(f"{folder} holds run {run.run_id!r}: it is a copy, or was renamed.")
    return run, sealed


def metrics_of(run: RunRecord) -> Iterator[tuple[str, str, str, float | None]]:
    """Every metric of a Run: run_id, split, name and value."""
    for split, metrics in run.metrics.items():
        for metric, value in metrics.items():
            yield run.run_id, split, metric, None if value is None else float(value)


def frames_of(runs: Sequence[SealedRun]) -> dict[str, pl.DataFrame]:
    """The rows of the catalog's tables that Runs give."""
    metrics = pl.DataFrame(
        [row for run, *_ in runs for row in metrics_of(run)],
        schema={"run_id": str, "split": str, "metric": str, "value": float},
        orient="row",
    )
    ids = [run.run_id for run, said, _ in runs for _ in range(said.height)]
    records = ledger.frame_of(RunRecord, [run for run, *_ in runs])
    predictions = pl.concat([said for _, said, _ in runs])
    return {
        "runs": records.with_columns(FOLD, digest=pl.Series([sealed for *_, sealed in runs])),
        "metrics": metrics,
        "predictions": predictions.with_columns(run_id=pl.Series(ids, dtype=pl.String)),
    }


def write_run(work: Path, record: RunRecord, predictions: Sequence[Prediction]) -> None:
    """Write what a Run says of itself beside its weights, and seal the folder."""
    text = json.dumps(to_json(record), indent=2, allow_nan=False)
    (work / RECORD).write_text(text + "\n")
    ledger.frame_of(Prediction, predictions).write_parquet(work / PREDICTIONS)
    seal(work)


def erase_predictions(folder: Path, tmp: Path, slides: Collection[str]) -> bool:
    """Write a Run again without its Predictions of some Slides; whether it had any.

    What is new is made in a folder beside and moved file by file; where a process was killed, the
    next call moves the rest.
    """
    work = tmp / f"erase-{folder.name}"
    is_left = work.exists()
    try:
        if not is_left:
            check_sealed(folder)
            record, rows, _ = read_run(folder)
            kept = rows.filter(~pl.col("slide_id").is_in(list(slides)))
            if kept.height == rows.height:
                return False
            beside = work.with_name(f"{work.name}.partial")
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(folder, beside)
            note = f"{rows.height - kept.height} predictions of erased slides were removed"
            record = replace(record, notes=(*record.notes, note))
            write_run(beside, record, ledger.nouns_of(Prediction, kept))
            beside.rename(work)
    except StoreDamaged:
        return False
    for name in (PREDICTIONS, RECORD, SEAL):
        if (work / name).exists():
            (work / name).replace(folder / name)
    shutil.rmtree(work)
    return not is_left or erase_predictions(folder, tmp, slides) or True


def run_id_of(known: Sequence[str], name: str) -> str:
    """The Run that an id, an unambiguous prefix or `latest` means; `known` has the newest last."""
    if not known:
        raise RunNotFound("there is no run yet. Train one with: trephine train COHORT")
    newest_first = {one: one for one in reversed(known)}
    return known[-1] if name == "latest" else one_of(name, newest_first, "run", RunNotFound)


def meant_run(root: Path, digests: Mapping[str, str | None], name: str) -> SealedRun:
    """Read the Run that a name means, checked against the digests of all Runs, by id."""
    run_id = run_id_of(list(digests), name)
    folder = layout.runs_dir(root) / run_id
    try:
        check_sealed(folder, digests[run_id])
        return read_run(folder, digests[run_id])
    except StoreDamaged as error:
        said = str(error).removesuffix(f" {MEND}")
        raise StoreDamaged(f"{said} {MEND}, and train it again") from error


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise unread(file, error) from error
