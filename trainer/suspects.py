"""Labels to look at again: where Label and out-of-fold Prediction disagree beyond their spread."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Progress, Target, silent
from featurestore.words import counted, in_columns
from trainer import runs
from trainer.inference import as_predictions
from trainer.shared_store import Shared
from trainer.training_loop import job_of, out_of_fold

BEYOND = 2.0  # spreads, from which on a Slide is called a suspect
NEAREST = 0.1  # share of Slides, nearest in Prediction, whose errors give the spread of one
LEAST_NEAREST, MOST_NEAREST = 20, 500
LEAST_SPREAD = 0.01  # of the Target's range
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A Slide whose Label may be wrong, or whose scan is."""

    slide_id: str
    case_id: str
    label: float
    predicted: float  # by a model that did not learn from this Patient
    spread: float  # of such errors at such Predictions
    score: float  # distance from Label to Prediction, in spreads
    quality: str | None  # of the scan
    method: str | None  # of the Label as it is now
    evidence: str | None

    def told(self, digits: int) -> str:
        """What is predicted, and how far such Predictions are off."""
        return f"{self.predicted:.{digits}f} ± {self.spread:.{digits}f}"


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """Every Slide of a Run's Cohort with a Label, the most suspect first."""

    run_id: str
    slides: tuple[Suspect, ...]
    n_beyond: int  # the first so many are suspects
    n_refitted: int  # predicted by models made for this, since the Run learnt from them
    target: Target
    random: bool = False  # weights of the Encoder

    def text(self) -> str:
        """The first of the suspects, and how to hand all of them to a person."""
        first = self.slides[: min(self.n_beyond, SHOWN)]
        lines = [
            *runs.first([runs.RANDOM] * self.random),
            f"{self.n_beyond:,} of {counted(len(self.slides), 'slide')} of run {self.run_id} with "
            f"a label {BEYOND:g} spreads or more from what a model says that did not learn from it",
        ]
        rows = [["slide", "label", "predicted", "spreads", "quality", "evidence"]]
        for one in first:
            said = [f"{one.label:g}", one.told(runs.digits(self.target)), f"{one.score:.1f}"]
            evidence = (one.evidence or one.method or "–")[:80]
            rows.append([one.slide_id, *said, one.quality or "–", evidence])
        lines += in_columns(rows) if first else []
        if more := self.n_beyond - len(first):
            lines.append(f"and {more:,} more")
        if self.n_beyond:
            lines.append(f"next        trephine review export todo.csv --suspects {self.run_id}")
        return "\n".join(lines)

    def reasons(self, target: str | None = None) -> dict[str, str]:
        """Cases of the suspects with why, the most suspect first.

        Raises:
            ConfigError: they are of another Target than the one that is named.
        """
        if target not in (None, self.target.name):
            said = f"run {self.run_id} is of target {self.target.name!r}, not {target!r}"
            raise ConfigError(f"{said}: leave --target out")
        own, digits = {}, runs.coarse(self.target)
        for one in reversed(self.slides[: self.n_beyond]):  # of a Case its worst Slide stays
            own[one.case_id] = f"label {one.label:g}, predicted {one.told(digits)}"
        return dict(reversed(own.items()))


def suspects(store: FeatureStore, run_id: str, *, progress: Progress = silent) -> Suspects:
    """Rank the Slides of a Run's Cohort by how far Label and Prediction are apart.

    Slides that the Run did not learn from are judged by it, or by the Runs of the other folds that
    differ from it in their fold alone; the others by models of its configuration that were trained
    without them (`training_loop.out_of_fold`), which a Run of few Slides has already. The spread of
    a Slide is that of the errors of its neighbours in Prediction, so that what is common at the
    ends or in the middle of the scale is not suspect, and of its own Bags.
    """
    run, test = runs.load(store, run_id), pl.col("split") == "test"
    job, record = job_of(Shared.of(store), run.config), run.record
    folds = store.named("named/out_of_fold", {"run": run.run_id}).filter(seed=run.config.seed)
    others = sorted({*folds["run_id"]} - {run.run_id}, reverse=True)
    frames = [one.predictions.filter(test) for one in [run, *(runs.load(store, i) for i in others)]]
    frames.append(run.predictions.filter(~test))
    known = pl.concat(map(as_predictions, frames)).unique("slide_id", keep="first")
    judged, learnt = known, job.parts["train"].join(known, on="slide_id", how="anti")
    if learnt.height:
        judged = pl.concat([known, *out_of_fold(job, progress)]).unique("slide_id", keep="first")
    judged = judged.filter(pl.col("label").is_not_null()).sort("slide_id")
    spread = spreads(judged, job.target)
    off = (judged["label"] - judged["mean"]).abs().to_numpy()
    own = {"label": "label", "predicted": "mean", "spread": spread, "score": off / spread}
    told = job.store.named("queries/suspect_slides", {"cohort": record.cohort})
    ranked = judged.select("slide_id", **own).sort("score", "slide_id", descending=[True, False])
    ranked = ranked.join(told, on="slide_id", how="left", maintain_order="left")
    ranked = ranked.select(list(Suspect.__dataclass_fields__))
    slides = tuple(Suspect(**row) for row in ranked.iter_rows(named=True))
    return Suspects(
        run_id=run.run_id,
        slides=slides,
        n_beyond=sum(one.score >= BEYOND for one in slides),
        n_refitted=learnt.height,
        random=run.encoder.random,
        target=job.target,
    )


def spreads(judged: pl.DataFrame, target: Target) -> np.ndarray:
    """What errors are usual at the Prediction of each Slide (label, mean, std), (N,)."""
    mean, off = judged["mean"].to_numpy(), (judged["label"] - judged["mean"]).abs().to_numpy()
    order = np.argsort(mean, kind="stable")
    k = min(len(mean), int(np.clip(round(NEAREST * len(mean)), LEAST_NEAREST, MOST_NEAREST)))
    first = np.clip(np.arange(len(mean)) - k // 2, 0, len(mean) - k)
    windows = np.lib.stride_tricks.sliding_window_view(off[order], k)
    usual = np.empty(len(mean))
    usual[order] = 1.4826 * np.median(windows, axis=1)[first]  # the deviation, were it normal
    own = judged["std"].fill_null(0).to_numpy()
    least = LEAST_SPREAD * (target.high - target.low)
    return np.asarray(np.maximum(np.hypot(usual, own), least))
