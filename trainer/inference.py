"""Predict Slides from resampled Bags: mean, standard deviation, and attention per tile."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import polars as pl
import torch
from safetensors.torch import load_file

from featurestore import FeatureStore, RowReader, schema_of
from featurestore.errors import ConfigError, RunNotFound, SlideNotFound
from featurestore.frames import Rows
from featurestore.types import Prediction, Target
from featurestore.words import counted
from trainer import conformal, runs
from trainer.bags import Sampler, inference_draws
from trainer.config import TrainConfig
from trainer.draws import PREDICT
from trainer.feed import streamed
from trainer.holdout import assign_splits
from trainer.model import Scorer, compute_threads
from trainer.own_model import model_of
from trainer.tile_filter import keep_tiles, kept_rows

BAGS_PER_PASS = 64  # of inference; by the next two fewer for long or wide bags
PASS_BYTES, CACHE_BYTES = 64 << 20, 3 << 20  # float16; what stays in a processor's cache
FEW = 4  # bags of a pass, under which a processor adds up in another order
AS_ONE = (
    "mean of {} runs; std is the noise of drawing tiles, std_models the spread between the runs; "
    "no intervals: no slide calibrated the runs as one"
)
NAMED = 50  # Slides that are left out and named
SEEN = pl.Enum(["train", "validation", "calibration", "not"])  # the first that fits counts
SAME = ("patient_id", "content", "slide_key", "slide_id")  # by which a Slide is not new


def resample(
    model: Scorer, sampler: Sampler, reader: RowReader, resamples: int, stream: int = PREDICT
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and number of a model's values over `resamples` Bags a Slide, (N,).

    The values are where the Target's low is 0 and its high is 1. Standard deviation is with n - 1,
    and NaN where there is one Bag: where a Bag is the whole Slide.
    """
    slide, value = bag_values(model, sampler, reader, resamples, stream)
    n = len(sampler.n_tiles)
    count = np.bincount(slide, minlength=n)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.bincount(slide, value, n) / count
        squares = np.bincount(slide, (value - mean[slide]) ** 2, n)
        std = np.where(count > 1, np.sqrt(squares / (count - 1)), np.nan)
    return mean, std, count


def bag_values(
    model: Scorer, sampler: Sampler, reader: RowReader, resamples: int, stream: int = PREDICT
) -> tuple[np.ndarray, np.ndarray]:
    """Slide (M,) and value (M,), as of `resample`, of each Bag, in one pass over the store.

    Bags of a Slide follow each other in the order of their draws; there is one where it is whole.
    """
    device = model.shift.device
    bag_bytes = int(sampler.lengths.max(initial=1)) * reader.dim * 2
    per_pass = max(1, min(BAGS_PER_PASS, PASS_BYTES // bag_bytes))
    if device.type == "cpu":
        per_pass = min(per_pass, max(FEW, CACHE_BYTES // bag_bytes))
    values, slides = [np.zeros(0)], [np.zeros(0, np.int64)]
    model.eval()
    with torch.inference_mode(), compute_threads(per_pass * bag_bytes // 2):
        plan = inference_draws(sampler, resamples, per_pass)
        for x, mask, drawn in streamed(sampler, reader, plan, stream, device):
            values.append(model.value(model(x, mask)).double().cpu().numpy())
            slides.append(drawn)
    return np.concatenate(slides), np.concatenate(values)


def applied(
    store: FeatureStore, model: Scorer, bags: pl.DataFrame, config: TrainConfig, target: Target
) -> pl.DataFrame:
    """Predict the Slides of `bags` in the Target's units: `as_predictions`; n_tiles drawable."""
    sampler = Sampler(bags, config.bag_size, config.seed, config.sampling)
    with store.rows(bags) as reader:
        mean, std, count = resample(model, sampler, reader, config.resamples)
    size = target.high - target.low
    frame = bags.with_columns(
        pl.col("value").cast(pl.Float64).alias("label"),
        pl.Series("mean", target.low + size * mean),
        pl.Series("std", size * std).fill_nan(None),
        pl.Series("n_resamples", count),
        pl.Series("n_tiles", sampler.n_tiles),
    )
    return as_predictions(frame)


def as_predictions(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns of `Prediction`, case_id and patient_id; the catalog's types are narrower."""
    own = [pl.col(k).cast(v) for k, v in schema_of(Prediction).items()]
    return frame.select(*own, "case_id", "patient_id")


def load_model(run: runs.Run) -> Scorer:
    """Rebuild a Run's model with its weights; ConfigError if its own class cannot be imported."""
    model = model_of(run.config, run.record.dim, run.record.target_kind)
    model.load_state_dict(load_file(run.path / "weights.safetensors"))
    return model.eval()


def predict(
    store: FeatureStore,
    run_id: str,
    cohort: str | None = None,
    *,
    where: str | None = None,
    resamples: int | None = None,
) -> pl.DataFrame:
    """Apply a Run to a Cohort, or to the Slides of a condition, with or without Labels.

    The Run may be `latest`; the Cohort is its own, and there are as many Bags a Slide as in its
    training, unless others are named. `where` is a SQL condition over `bags`.

    Returns:
        One row per Slide: slide_id, slide_key, split, label (null without a Label), mean, std (over
        resampled Bags; null where the Bag is the whole Slide), n_tiles, n_resamples, case_id,
        patient_id, seen (train, validation, calibration or not: see `mark`), interval_low
        and interval_high (conformal, see `trainer.conformal`; null where too few Slides
        calibrated, or where `resamples` is under what those were predicted from).
    """
    run = runs.load(store, run_id)
    config, target = run.config, run.record.about()
    wanted = replace(config, resamples=config.resamples if resamples is None else resamples)
    bags = mark(store, run, store.sound_bags(chosen_bags(store, run, cohort, where)))
    frame = applied(store, load_model(run), bags, wanted, target).with_columns(bags["seen"])
    width = run.half_widths if wanted.resamples >= config.resamples else None
    return conformal.add_intervals(frame, width, target)


def notes(run: runs.Run, frame: pl.DataFrame) -> list[str]:
    """What must be said beside Predictions of a Run: what std and intervals are, and are not."""
    text = "std is the noise of drawing tiles only, not the error"
    if whole := frame["std"].null_count():
        slides = counted(frame.height, "slide")
        text += f"; null for {whole:,} of {slides}, predicted from one bag"
    if frame["interval_low"].null_count() == 0:
        slides = counted(conformal.calibrating(run.predictions).height, "slide")
        held = f"{1 - conformal.ALPHA:.0%} of labels"
        return [text, f"intervals are meant to hold {held}; {slides} calibrated"]
    if run.half_widths is None:
        return [text, conformal.why_none(run.predictions, run.record.target_kind)]
    return [text, f"no intervals: they need {run.config.resamples} resamples or more"]


def predict_together(
    store: FeatureStore,
    words: Sequence[str],
    *,
    where: str | None = None,
    resamples: int | None = None,
) -> Rows:
    """Apply one Run, or several as one, to the Slides of a Cohort or a condition, as `predict`.

    The words are Runs, and last a Cohort, unless it is the first Run's or `where` is given; else
    RunNotFound. Rows are those of `predict`, or of `_as_one`, with what must be said beside them.
    """
    run_ids, cohort = _told_apart(store, words)
    models = [runs.load(store, run_id) for run_id in run_ids]
    if len({run.record.about() for run in models}) > 1:
        named = ", ".join(f"{run.run_id} {run.record.target}" for run in models)
        raise ConfigError(f"runs predict as one where they have one target, got {named}")
    if cohort is None and where is None:
        cohort = models[0].record.cohort
    frames = [predict(store, one, cohort, where=where, resamples=resamples) for one in run_ids]
    made = frames[0] if len(frames) == 1 else _as_one(frames)
    said = [runs.RANDOM] if any(run.encoder.random for run in models) else []
    said += notes(models[0], made) if len(frames) == 1 else [AS_ONE.format(len(frames))]
    said += _not_new(models, made)
    if where is not None:  # all that were asked for, whatever Embeddings they have
        asked = store.sql(f"select slide_id from bags where ({where}\n)")
    else:
        asked = store.named("queries/slides_of_cohort", {"cohort": cohort})
    if lacking := sorted({*asked["slide_id"]} - {*made["slide_id"]}):
        more = f" and {len(lacking) - NAMED:,} more" * (len(lacking) > NAMED)
        encoders = dict.fromkeys(run.record.encoder_id for run in models)
        how = dict.fromkeys(store.encoder(one).again() for one in encoders)
        said.append(
            f"{counted(len(lacking), 'slide')} left out, for they have no tiles that may be drawn "
            f"with embeddings of encoder {' and '.join(encoders)}: {', '.join(lacking[:NAMED])}"
            f"{more}. Take them in with: {'; '.join(how)}"
        )
    return Rows(made, said, failures=lacking)


def _not_new(models: Sequence[runs.Run], made: pl.DataFrame) -> list[str]:
    """That Runs learnt from what they predict, and where they are told what each left out."""
    n = made.filter(pl.col("seen") != "not").height
    pairs = sorted((r.config.fold, r.run_id) for r in models if r.config.fold)
    left = "; ".join(f"fold {fold}: {run_id}" for fold, run_id in pairs)
    own = f"The run of a slide's own fold left it out ({left}). " if left else ""
    said = (
        f"{n:,} of {counted(made.height, 'slide')} are not new to "
        f"{'the run' if len(models) == 1 else 'these runs'}, as the column seen says: their "
        f"predictions flatter. {own}What each run says of the slides that it left out: "
        f"trephine sql --named out_of_fold -p run={models[0].run_id}"
    )
    return [said] if n else []


def _as_one(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put Predictions of several Runs together: one row per Slide that all of them predict.

    As of `predict`, but mean over Runs; std, the root mean square over Runs; n_tiles, n_resamples,
    the least; seen, the best; intervals null; and std_models, the deviation of Runs, n - 1.
    """
    together = pl.concat(frames).group_by("slide_id", maintain_order=True)
    made = together.agg(
        pl.col("slide_key", "split", "label").first(),
        pl.col("mean").mean(),
        pl.when(pl.col("std").is_not_null().any()).then((pl.col("std") ** 2).mean().sqrt()),
        pl.col("n_tiles", "n_resamples").min(),
        pl.col("case_id", "patient_id").first(),
        pl.col("seen").cast(SEEN).min().cast(pl.String),
        pl.lit(None, pl.Float64).alias("interval_low"),
        pl.lit(None, pl.Float64).alias("interval_high"),
        pl.col("mean").std().alias("std_models"),
        pl.len().alias("runs"),
    )
    return made.filter(pl.col("runs") == len(frames)).drop("runs")


def _told_apart(store: FeatureStore, words: Sequence[str]) -> tuple[list[str], str | None]:
    """Which words are Runs, and which is the Cohort: the last one, if it is no Run."""
    found, cohort = [], None
    for i, word in enumerate(words, 1):
        try:
            found.append(store.run(word).run_id)
        except RunNotFound as error:
            if i == 1 or i < len(words):
                raise
            if store.ask("from cohorts where cohort = $name", {"name": word}).is_empty():
                raise RunNotFound(f"{error} Nor is a cohort called so.") from error
            cohort = word
    if twice := sorted({one for one in found if found.count(one) > 1}):
        raise ConfigError(f"run {twice[0]} is named twice. Name each run once.")
    return found, cohort


def with_content(store: FeatureStore, bags: pl.DataFrame) -> pl.DataFrame:
    """Add a column `content`, by which `cohort create` knows the copies of a Slide, too."""
    content = store.ask("select slide_id, content from slide_facts")
    return bags.join(content, on="slide_id", how="left", maintain_order="left")


def mark(store: FeatureStore, run: runs.Run, bags: pl.DataFrame) -> pl.DataFrame:
    """Add a column `seen`: how a Run knows a Slide, by itself, its content or its Patient.

    Its parts are cut as in training; where other code cuts them otherwise, its Predictions tell.
    """
    own = pl.col("split") != conformal.OUT_OF_FOLD  # else judged by a model that is not the Run's
    told = run.predictions.filter(own).select("slide_id", told="split")
    parts = assign_splits(with_content(store, run.bags(store)), run.config)
    parts = parts.join(told, on="slide_id", how="left")
    lost = pl.col("told").is_null() & (pl.col("split") != "test")  # learnt from, so not predicted
    seen = pl.when(lost).then(pl.lit("train")).otherwise(pl.coalesce("told", "split"))
    learnt = parts.with_columns(seen=seen).filter(pl.col("seen") != "test")
    bags, columns = with_content(store, bags), [f"seen_{one}" for one in SAME]
    for one, column in zip(SAME, columns, strict=True):
        best = learnt.group_by(one).agg(pl.col("seen").cast(SEEN).min().alias(column))
        bags = bags.join(best, on=one, how="left", maintain_order="left")
    best_of_all = pl.min_horizontal(columns).fill_null("not").cast(pl.String)
    return bags.with_columns(seen=best_of_all).drop(columns)


def chosen_bags(
    store: FeatureStore, run: runs.Run, cohort: str | None, where: str | None
) -> pl.DataFrame:
    """Choose Slides as `predict` does, with Labels of the Run's Target and what it may draw of."""
    if cohort is not None and where is not None:
        raise ConfigError("give a cohort or --where, not both")
    ids, cohort = (run.record.encoder_id, run.record.tiling_id), cohort or run.record.cohort
    bags = store.bags(cohort, *ids) if where is None else store.bags_where(where, *ids)
    if where is not None or store.cohort(cohort).target != run.record.target:
        of = "select case_id, value from best_labels where target = $target"
        labels = store.ask(of, {"target": run.record.target})
        bags = bags.drop("value").join(labels, on="case_id", how="left", maintain_order="left")
    return keep_tiles(store, bags, run.config.tiles)


def bags_of(store: FeatureStore, run: runs.Run, slide_ids: Sequence[str]) -> pl.DataFrame:
    """What the Run may draw of these Slides, a row each, in order; SlideNotFound if nothing."""
    ids = (run.record.encoder_id, run.record.tiling_id)
    quoted = ", ".join("'" + slide_id.replace("'", "''") + "'" for slide_id in slide_ids)
    try:
        found = store.bags_where(f"slide_id in ({quoted})", *ids)
    except ConfigError:
        found = pl.DataFrame(schema={"slide_id": pl.String})
    known = set(found["slide_id"])
    if unknown := [repr(one) for one in slide_ids if one not in known]:
        raise SlideNotFound(
            f"slide {', '.join(unknown[:3])}{' and others' if unknown[3:] else ''} has no "
            f"embeddings of encoder {ids[0]}. List those that have with: trephine sql 'from bags'"
        )
    wanted = pl.DataFrame({"slide_id": list(dict.fromkeys(slide_ids))})
    bags = wanted.join(found, on="slide_id", maintain_order="left")
    return keep_tiles(store, bags, run.config.tiles)


@contextmanager
def attending(
    store: FeatureStore, run: runs.Run, bags: pl.DataFrame
) -> Iterator[Callable[[int], pl.DataFrame]]:
    """Give what weighs every tile of the i-th Slide of `bags` that may be drawn, in stored order.

    Its columns: x_px0, y_px0 (level-0 corners), attention (sums to 1), relative (times the number
    of tiles: 1 is an even share).
    """
    model, kept = load_model(run), kept_rows(bags)
    if not model.attends:
        raise ConfigError(
            f"{run.record.model}{'' if ':' in run.record.model else ' pooling'} has no attention. "
            "Train with --model attention, or let your own give weights (B, N) beside the value."
        )
    columns = bags.select("slide_key", "tiling_id", "n_tiles").rows()

    def weigh(i: int) -> pl.DataFrame:
        slide_key, tiling_id, n_tiles = columns[i]
        rows = np.arange(n_tiles) if kept is None else kept[i]
        x = np.empty((len(rows), run.record.dim), np.float16)
        reader.read_rows(i, rows, x)
        with torch.inference_mode():
            mask = torch.ones(1, len(x), dtype=torch.bool)
            weights = model.attention(torch.from_numpy(x)[None], mask)[0].numpy()
        x_px0, y_px0 = store.tiles(slide_key, tiling_id)["coords"][rows].T
        even = {"attention": weights, "relative": weights * len(weights)}
        return pl.DataFrame({"x_px0": x_px0, "y_px0": y_px0} | even)

    with store.rows(bags) as reader:
        yield weigh
