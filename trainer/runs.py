"""A Run: its id, its record with its Predictions, and what it says at the end."""

import math
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import polars as pl

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.fields import command_of, from_json, to_json
from featurestore.types import EncoderDescription, RunRecord, Target, content_id
from featurestore.words import as_html, counted
from trainer import conformal
from trainer.config import TrainConfig, loss_of, steps_of

RANDOM = "the encoder's weights are random: these numbers say nothing about marrow"
FEW_PATIENTS = 50  # of test, under which every number is rough
DOES = {"under": "better than", "at": "as well as"}  # what a score is held against, by `lower`
RARE, HANG = 10, "AUC and accuracy hang on each of them"  # Slides of a class in test, under which
Numbers = Mapping[str, float | None]  # of metrics, by name
Score = tuple[str, str, str]  # a metric, what it is called, and how it is written


def scores_of(target: Target) -> tuple[Score, Score]:
    """The two numbers that Runs on a Target are told and compared by."""
    if target.kind == "binary":
        return ("auc", "AUC", ".3f"), ("accuracy", "accuracy", ".1%")
    return ("r2", "R2", ".3f"), ("mae", "MAE", f".{digits(target) + 1}f")


def digits(target: Target) -> int:
    """Decimals that a value of a Target is told with: 1 of 0 to 100, 2 of 0 to 1."""
    return max(1, coarse(target))


def coarse(target: Target) -> int:
    """Decimals where less will do: none of 0 to 100, 1 of 0 to 10, 2 of 0 to 1."""
    return max(0, round(2 - math.log10(target.high - target.low)))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training, finished: its record (run.json), its folder and its Predictions."""

    record: RunRecord
    path: Path
    predictions: pl.DataFrame  # columns of `Prediction`, case_id, patient_id
    encoder: EncoderDescription

    @property
    def run_id(self) -> str:
        """Sorts by time."""
        return self.record.run_id

    @property
    def config(self) -> TrainConfig:
        """What decided the result, its loss too; what an older Run lacks is as by default."""
        return from_json(TrainConfig, self.record.config)

    @property
    def scores(self) -> tuple[Score, Score]:
        """What it is told by: `scores_of`."""
        return scores_of(self.record.about())

    @cached_property
    def half_widths(self) -> conformal.Widths | None:
        """Half-widths of its intervals; None of classes, and where too few Slides calibrate."""
        if self.record.target_kind == "binary":
            return None
        return conformal.calibrated_half_width(self.predictions)

    def command(self) -> str:
        """The line for a shell that trains with the same configuration."""
        said = replace(self.config, loss=None)
        decided = loss_of(said, self.record.about()) == self.config.loss
        return command_of("train", said if decided else self.config)

    def bags(self, store: FeatureStore) -> pl.DataFrame:
        """All bags of its Cohort, of its Encoder and Tiling."""
        return store.bags(self.record.cohort, self.record.encoder_id, self.record.tiling_id)

    def again(self) -> TrainConfig:
        """The configuration that gives its numbers again: what was left open then is said."""
        record, planned = self.record, self.record.fit.get("planned_steps")
        said: dict[str, Any] = {"encoder_id": record.encoder_id, "tiling_id": record.tiling_id}
        # the length, only where it is another by now: its models without a part of the slides
        # were as long as their own slides ask for
        if planned is not None and planned != steps_of(self.config, record.n_train)[1]:
            said |= {"steps": planned, "epochs": None}
        return replace(self.config, **said)

    def metric(self, name: str, split: str = "test") -> float | None:
        """One metric; None where it is undefined. ConfigError: it has no such metric or split."""
        has = self.record.metrics
        for what, given, known in (("split", split, has), ("metric", name, has.get(split, ()))):
            if given not in known:
                there = ", ".join(sorted(known))
                raise ConfigError(f"no {what} is called {given!r}; there is {there}")
        return has[split][name]

    def __repr__(self) -> str:
        about = f"{self.record.model} on {self.record.cohort}, {self.record.n_test} test slides"
        return f"Run({self.run_id!r}: {about}, {known(self.scores[:1], self._test)})"

    def _repr_html_(self) -> str:
        return as_html(self.text().splitlines())

    def warnings(self) -> list[str]:
        """What must be read before any number of this Run; sentences, none where all is well."""
        return cautions(self.scores, self._test, self._floor, self.encoder.random)

    @property
    def _test(self) -> Numbers:
        """All numbers of test; an older Run did not count the Patients."""
        n = self.record.n_test
        return {"n": n, "patients": n, **self.record.metrics["test"]}

    @property
    def _floor(self) -> Numbers:
        return self.record.metrics.get("ridge_test", {})

    def json(self) -> dict[str, Any]:
        """The record, for a program."""
        return to_json(self.record)

    def text(self) -> str:
        """What to read at the end of a training, and what to type next."""
        return "\n".join([*first(self.warnings()), *self._lines()])

    def _lines(self) -> Iterator[str]:
        record, test = self.record, self.predictions.filter(split="test")
        yield (
            f"run {self.run_id}: {record.model} on bags of {record.bag_size} of encoder "
            f"{self.encoder.name}, {counted(record.n_train, 'slide')} to train, "
            f"{record.n_validation} to validate, {record.n_test} to test, {record.seconds:.1f} s"
        )
        for name, title, form in self.scores:
            share = of_classes(self._test.get("positive")) * (name == "accuracy")
            yield heading(title) + estimate(self._test, name, form, end=", by patient") + share
        yield from of_cases(self.scores, record.metrics.get("test_cases", {}))
        yield f"ridge floor {known(self.scores, self._floor)} (mean embeddings)"
        whole = test["std"].null_count()
        none = f"; none for {whole} of {record.n_test} test slides, whose bag is the whole slide"
        yield f"std         over {self.config.resamples} resampled bags{none * (whole > 0)}"
        if (width := self.half_widths) is not None:  # else a note says why
            yield (
                f"interval    ± {width.typical:.{digits(record.about())}f} about the median, wider "
                f"where errors are larger; {conformal.in_words(conformal.coverage(test, width))}"
            )
        yield from (f"note        {note}" for note in record.notes)
        yield from (f"figure      {file}" for file in sorted(self.path.glob("*.svg")))
        yield f"next        trephine report {self.run_id}"


# -- numbers in words, of one Run or of several together -------------------------------------------


def cautions(
    scores: Sequence[Score], numbers: Numbers, floor: Numbers, random: bool = False
) -> list[str]:
    """What must be read before any number of a test: sentences, none where all is well."""
    name, title, form = against(scores, floor)
    value, said = numbers.get(name), [RANDOM] * random + rare(numbers)
    if value is None:
        return [*said, f"test {title} is {undefined(name, numbers)}", *few(numbers)]
    right, positive = numbers.get("accuracy"), numbers.get("positive")
    most = 0.0 if positive is None else max(positive, 1 - positive) - 1e-9
    mean, commoner = (
        f"the {one} as the answer for every slide" for one in ("mean label", "commoner class")
    )
    of, line = "the ridge floor of ", "a straight line through mean embeddings"
    held = (
        (title, value, floor.get(name), form, of, line),
        ("R2", value if name == "r2" else None, 0.0, ".3f", "", mean),
        ("accuracy", right, most, ".1%", "", commoner),
    )
    for what, score, least, shape, place, other in held:
        if where := lower(score, least, shape):
            ours, theirs = (number(one, f"z{shape}") for one in (score, least))
            said.append(
                f"test {what} {ours} is {where} {place}{theirs}: {other} does {DOES[where]} this "
                "model"
            )
    return said + few(numbers)


def against(scores: Sequence[Score], floor: Numbers) -> Score:
    """The score that is held against the floor: the first that it has, of which more is better."""
    better = (one for one in scores if one[0] != "mae" and floor.get(one[0]) is not None)
    return next(better, scores[0])


def lower(value: float | None, other: float | None, form: str) -> Literal["under", "at"] | None:
    """How a lower score stands to another as both are printed; None where it is not lower."""
    if value is None or other is None or value >= other:
        return None
    return "at" if format(value, f"z{form}") == format(other, f"z{form}") else "under"


def first(warnings: Sequence[str]) -> list[str]:
    """Lines of what must be read before any number."""
    return [f"{level_of(one):12}{one}" for one in warnings]


def level_of(warning: str) -> Literal["alarm", "warning"]:
    """How grave it is."""
    return "alarm" if RANDOM in warning or HANG in warning else "warning"


def heading(title: str) -> str:
    """The column in which a score of test is named."""
    return f"{title if title == 'accuracy' else f'test {title}':12}"


def of_classes(positive: float | None) -> str:
    """Which share of what was tested is of the positive class; nothing without classes."""
    return "" if positive is None else f"; {positive:.0%} of test are positive"


def known(scores: Sequence[Score], numbers: Numbers) -> str:
    """Scores without their intervals, those of several that are known, else the first."""
    told = [one for one in scores if one[0] in numbers] or scores[:1]
    return ", ".join(f"{title} {number(numbers.get(name), form)}" for name, title, form in told)


def of_cases(scores: Sequence[Score], numbers: Numbers) -> Iterator[str]:
    """A line of scores by Case, where several Slides are of one."""
    if n := numbers.get("n"):
        cases = counted(int(n), "case")
        yield f"by case     {known(scores, numbers)} of {cases}, each the mean of its slides"


def rare(numbers: Numbers) -> list[str]:
    """That a test has few Slides of a class, however many it has of the other."""
    n, positive = numbers.get("n"), numbers.get("positive")
    if n is None or positive is None:
        return []
    shares = (("positive", positive), ("negative", 1 - positive))
    least, name = min(((round(n * share), name) for name, share in shares), key=lambda one: one[0])
    under = f"{least} {name} of {counted(int(n), 'slide')}, under {RARE}"
    return [f"test has {under}: {HANG}"] if least < RARE else []


def few(numbers: Numbers) -> list[str]:
    """That a test has few Patients, and what this does to its numbers."""
    patients = int(numbers["patients"] or 0)
    so = "go by its interval" if patients > 1 else "and none has an interval"
    under = f"test has {counted(patients, 'patient')}, under {FEW_PATIENTS}"
    return [f"{under}: every number is rough, {so}"] if patients < FEW_PATIENTS else []


def undefined(name: str, numbers: Numbers) -> str:
    """Why a score has no value."""
    if numbers.get("n") == 1:
        return "undefined for a single slide"
    return f"undefined where all {'are of one class' if name == 'auc' else 'labels are equal'}"


def estimate(numbers: Numbers, name: str, form: str, unit: str = "", end: str = "") -> str:
    """A metric with its bootstrap interval, or why it has none."""
    value, low, high = (numbers.get(name + x) for x in ("", "_low", "_high"))
    if value is None:
        return f"– ({undefined(name, numbers)})"
    if low is None or high is None:
        single = numbers.get("patients") == 1
        why = "it is of one patient" if single else "resampled patients give the same"
        known = single or name + "_low" in numbers
        return f"{value:{form}}{unit}" + f" (no interval: {why})" * known
    return f"{value:{form}}{unit} (95% interval {low:{form}} to {high:{form}}{end})"


def number(value: float | None, form: str) -> str:
    """Format a number, or a dash where there is none."""
    return "–" if value is None else format(value, form)


def new_run_id(config: TrainConfig, started: datetime) -> str:
    """UTC time to the second, then six hex digits over configuration and full time."""
    return f"{started:%Y%m%d-%H%M%S}-{content_id([to_json(config), started.isoformat()], 6)}"


@cache
def code_version() -> str:
    """Version of the package and, in a checkout, its commit; `+` marks uncommitted changes."""
    try:
        version = metadata.version("trephine")
    except metadata.PackageNotFoundError:
        version = "0"
    tracked = _git("ls-files", "--error-unmatch", "__init__.py")
    commit = _git("describe", "--always", "--dirty=+", "--exclude=*", "--") if tracked else ""
    return f"{version} ({commit})" if commit else version


def _git(*words: str) -> str:
    """What git says in the folder of this file; nothing where it knows nothing of it."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


@contextmanager
def tensorboard(folder: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write lines of metrics.jsonl as TensorBoard scalars; ConfigError without its package."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs the package tensorboard, which is not installed. "
            "Install it with: pip install tensorboard"
        ) from error

    def show(line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            writer.add_scalar(name, value, line["step"])
        writer.flush()

    with SummaryWriter(str(folder)) as writer:
        yield show


def load(store: FeatureStore, run_id: str) -> Run:
    """Load a finished Run; `latest` is the newest. RunNotFound: the store has no such Run."""
    record = store.run(run_id)
    return Run(
        record=record,
        path=store.run_folder(record.run_id),
        predictions=store.predictions(record.run_id),
        encoder=store.encoder(record.encoder_id),
    )
