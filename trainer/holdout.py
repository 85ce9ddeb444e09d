"""Which Slides of a Cohort train, validate, calibrate and test; no Patient does two of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.device import require_driver
from featurestore.errors import TrainError
from featurestore.types import CohortSlide, Target
from featurestore.words import counted
from trainer.config import TrainConfig, class_of, named
from trainer.conformal import CALIBRATES
from trainer.runs import code_version
from trainer.tile_filter import keep_tiles

SPLITS = ("train", "validation", "calibration", "test")
WIDER = "Make a wider cohort: trephine cohort create NAME --where EXPR"
JUDGES = 5  # validation Slides, from which on they are cut from train and judge the weights


def refuse_early(store: FeatureStore, config: TrainConfig) -> None:
    """Check what can be before torch is loaded, which takes seconds; training checks the rest."""
    cohort = store.cohort(config.cohort)
    require_driver(config.device)
    if own := named(config.model):
        class_of(own)
    if config.fold is not None or (
        config.train_patients is not None and cohort.split_method in ("time", "random")
    ):
        assign_splits(store.bags(config.cohort, config.encoder_id, config.tiling_id), config)


@dataclass(frozen=True, kw_only=True)
class Division:
    """The Slides that a training works on, each with its part."""

    bags: pl.DataFrame  # of `FeatureStore.bags`, with the split and the rows that may be drawn
    parts: Mapping[str, pl.DataFrame]  # the same by split
    notes: tuple[str, ...]
    digest: str  # of all of them that decides a Run
    target: Target


def divided(store: FeatureStore, config: TrainConfig) -> Division:
    """Give every Slide of a Cohort its part."""
    found = store.bags(config.cohort, config.encoder_id, config.tiling_id)
    split = assign_splits(found, config)
    bags = keep_tiles(store, split, config.tiles)
    check_trainable(bags, config)
    parts = {name: bags.filter(pl.col("split") == name) for name in SPLITS}
    frozen = [one.name for one in fields(CohortSlide) if one.name not in ("slide_id", "dated")]
    digest = hashlib.blake2b(bags.select(*frozen, "n_tiles").write_csv().encode()).hexdigest()
    lacking = sum(side.slides for side in store.splits(config.cohort)) - found.height
    said = tuple(notes(split, bags, parts, lacking))
    target = store.target(store.cohort(config.cohort).target)
    return Division(bags=bags, parts=parts, notes=said, digest=digest, target=target)


def divide_ahead(store: FeatureStore, config: TrainConfig) -> None:
    """Let a thread do what a training of `config` needs before its first step, but for torch."""

    def make() -> Division:
        code_version()  # asks git
        made = divided(store, config)
        store.know_arrays(made.bags)
        return made

    store.read_ahead(config, make)


def assign_splits(bags: pl.DataFrame, config: TrainConfig) -> pl.DataFrame:
    """Give every Slide one of `SPLITS`: folds resolved, validation and calibration cut from train.

    Of train Patients there are `train_patients`. Where a cut would be too small for its use
    (`JUDGES`, `CALIBRATES`), its Slides train. TrainError: no such fold, or not so many Patients.
    """
    names = sorted(bags["split"].unique(), key=lambda one: (len(one), one))  # 2 before 10
    known = set(SPLITS)
    if config.fold is not None:
        if config.fold not in names or set(names) & known:
            raise TrainError(
                f"cohort {config.cohort!r} has no fold {config.fold!r}; its splits are "
                f"{', '.join(names)}"
            )
        test = pl.when(split=config.fold).then(pl.lit("test"))
        bags = bags.with_columns(split=test.otherwise(pl.lit("train")))
    elif not set(names) <= known:
        raise TrainError(
            f"cohort {config.cohort!r} is split into {', '.join(names)}. "
            "Name the one to test on with --fold, or train all with: trephine train"
        )
    if (n := config.train_patients) is not None:  # with one seed the fewer lie among the more
        is_train = pl.col("split") == "train"
        patients = bags.filter(is_train)["patient_id"].unique().sort()
        if 1 < len(patients) < n:  # of one `check_trainable` says what to do
            raise TrainError(
                f"cohort {config.cohort!r} has {counted(len(patients), 'train patient')}, and {n} "
                "were asked for. Lower --train-patients, of a curve --sizes."
            )
        order = np.random.default_rng([config.seed, 4]).permutation(len(patients))
        bags = bags.filter(~is_train | pl.col("patient_id").is_in(patients[order[:n]].implode()))
    left = 1.0
    cuts = [("validation", config.validation_fraction, JUDGES, 1)]
    cuts += [("calibration", config.calibration_fraction, CALIBRATES, 3)]
    for name, fraction, least, stream in cuts:
        if name in names:
            continue
        chosen = cut_patients(bags, fraction / left, config.seed, stream)
        is_cut = (pl.col("split") == "train") & pl.col("patient_id").is_in(chosen.implode())
        cut = bags.with_columns(split=pl.when(is_cut).then(pl.lit(name)).otherwise("split"))
        if (cut["split"] == name).sum() >= least:
            bags, left = cut, left - fraction
    return bags


def _by_label(bags: pl.DataFrame) -> pl.DataFrame:
    """Patients in the order of their mean label."""
    return bags.group_by("patient_id").agg(pl.mean("value")).sort("value", "patient_id")


def stratified(bags: pl.DataFrame, folds: int, seed: int) -> pl.Series:
    """Number the folds of Slides, int64 (N,): by Patient, each with labels of the whole range."""
    patients = _by_label(bags)
    rng = np.random.default_rng([seed, 5])
    rounds = -(-patients.height // folds)
    fold = np.concatenate([rng.permutation(folds) for _ in range(rounds)])[: patients.height]
    of = dict(zip(patients["patient_id"], fold.tolist(), strict=True))
    return bags["patient_id"].replace_strict(of, return_dtype=pl.Int64)


def cut_patients(bags: pl.DataFrame, fraction: float, seed: int, stream: int) -> pl.Series:
    """Choose a share of the train Patients, spread evenly over the labels; seeded.

    Patients are ordered by mean label and cut into runs of 1 / fraction; one of each is drawn.
    None is chosen where fewer than 10 Patients would leave too little of either side.
    """
    patients = _by_label(bags.filter(split="train"))
    n = round(patients.height * fraction)
    if patients.height < 10 or n < 2 or n >= patients.height:
        return patients["patient_id"].clear()
    sizes = patients.height // n + (np.arange(n) < patients.height % n)  # of the runs
    drawn = np.random.default_rng([seed, stream]).integers(0, sizes)
    return patients["patient_id"].gather(sizes.cumsum() - sizes + drawn)


def check_trainable(bags: pl.DataFrame, config: TrainConfig) -> None:
    """Refuse, in one sentence, what cannot be trained or tested: TrainError."""
    train, test = bags.filter(split="train"), bags.filter(split="test")
    name = f"cohort {config.cohort!r}"
    if config.validation_fraction + config.calibration_fraction >= 1:
        raise TrainError(
            f"--validation-fraction {config.validation_fraction:g} and --calibration-fraction "
            f"{config.calibration_fraction:g} leave no patient to train on. Lower them."
        )
    if test.is_empty():
        raise TrainError(f"{name} has no test slides with tiles. {WIDER}")
    if (patients := train["patient_id"].n_unique()) < 2:
        raise TrainError(
            f"{name} has {counted(train.height, 'train slide')} of {counted(patients, 'patient')}; "
            f"training needs at least 2 of each. {WIDER}"
        )
    if train["value"].n_unique() < 2:
        raise TrainError(
            f"all {train.height} train slides of {name} have the label {train['value'][0]:g}, so "
            f"there is nothing to learn. {WIDER}"
        )
    shared = train.join(test, on="patient_id", how="semi")["patient_id"].unique().sort()
    if len(shared):
        raise TrainError(
            f"{counted(len(shared), 'patient')} of {name} in train and test, the first is "
            f"{shared[0]!r}. Make the cohort anew."
        )


def notes(
    found: pl.DataFrame, bags: pl.DataFrame, parts: Mapping[str, pl.DataFrame], lacking: int = 0
) -> list[str]:
    """Say what a reader must know about the split, and of Slides `lacking` of the Encoder's."""
    why = "of the cohort left out, for this encoder has not embedded them"
    said = [f"{counted(lacking, 'slide')} {why}"] if lacking else []
    if lost := found.height - bags.height:
        said.append(f"{counted(lost, 'slide')} without a tile that passes the filter left out")
    if (n := parts["validation"].height) < JUDGES:
        said.append(
            f"validation has {counted(n, 'slide')}, under {JUDGES}: the last weights are kept, "
            "and --patience stops nothing"
        )
    return said
