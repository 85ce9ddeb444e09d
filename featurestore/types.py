"""Every noun of trephine, once: rows of the catalog and the ledger, and what is measured.

Units stand in the names (docs/design.md, section 2): `_px0` level-0 pixels, `_um` microns,
mpp microns per pixel. Shape letters: N tiles, D columns of an Embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from featurestore.bookkeeping import OF_CASE as OF_CASE
from featurestore.bookkeeping import Failure as Failure
from featurestore.bookkeeping import GoldenTile as GoldenTile
from featurestore.bookkeeping import IngestTime as IngestTime
from featurestore.bookkeeping import Stage as Stage
from featurestore.errors import ConfigError
from featurestore.fields import Checked, check, setting
from featurestore.fields import content_id as content_id
from featurestore.fields import now as now
from featurestore.words import counted

TargetKind = Literal["fraction", "continuous", "binary"]
Method = Literal["rules", "ollama", "human"]
Status = Literal["agreed", "disputed", "unsupported", "single"]
Qualifier = Literal["<", ">", "~"]
ReadingOutcome = Literal["stated", "states none", "not read"]
Specimen = Literal["core", "clot", "aspirate", "other"]
MPP_RANGE = (0.05, 100.0)  # microns per level-0 pixel that a slide can have
MppSource = Literal["manifest", "file", "option"]
SplitMethod = Literal["time", "random", "folds", "table"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "float32", "bfloat16"]
Engine = Literal["local", "ray"]
Runtime = Literal["auto", "torch", "openvino"]  # what runs an Encoder's network

# Called as work goes on: how much is done, of how much, and what else there is to say.
Progress = Callable[[int, int, str], None]


def silent(done: int, total: int, note: str) -> None:
    """The `Progress` of who does not look."""


# Scores of each Tile, 0 to 1, arrays of that name, float16 (N,); NaN where unknown.
SCORES = ("tissue", "blur", "pen", "marrow")
TISSUE_FILTER = "hsv-1"  # raised with every change of what the filter keeps: it is hashed


@dataclass(frozen=True, kw_only=True)
class Target(Checked):
    """What a Label is about. Values lie in [low, high]; the trainer scales by them."""

    name: str = "cellularity"
    kind: TargetKind = "fraction"
    low: float = 0.0
    high: float = 100.0

    def __post_init__(self) -> None:
        check(self)
        if not self.low < self.high:
            raise ConfigError(
                f"target {self.name!r}: low {self.low} must be under high {self.high}"
            )


@dataclass(frozen=True, kw_only=True)
class Tiling(Checked):
    """How a Slide is cut: tile side, resolution, and the tissue filter that chose the tiles."""

    tile_px: int = setting(224, "Side of a tile in pixels.", at_least=1)
    tile_mpp: float = setting(2.0, "Microns per tile pixel.", over=0)
    min_tissue: float = setting(0.05, "Smallest share of tissue in a tile.", at_least=0, at_most=1)
    filter_version: str = setting(TISSUE_FILTER, hidden=True)

    @property
    def tiling_id(self) -> str:
        """Sixteen hex digits over every field."""
        return content_id(asdict(self))

    @property
    def tile_um(self) -> float:
        """Side of a tile in microns."""
        return self.tile_px * self.tile_mpp


@dataclass(frozen=True, kw_only=True)
class EncoderDescription:
    """A frozen network with its input transform: what the store keeps of it."""

    name: str
    weights: str  # where they came from; 'random' says that they are
    weights_hash: str
    identity: Mapping[str, Any]  # architecture and input transform

    @property
    def encoder_id(self) -> str:
        """Sixteen hex digits over weights, architecture and transform."""
        return content_id([self.weights_hash, self.identity])

    @property
    def random(self) -> bool:
        """Whether it was never trained."""
        return self.weights == "random"

    def again(self) -> str:
        """What makes its Embeddings once more, or takes them in."""
        _, is_foreign, tool = self.weights.partition("imported: ")
        if not is_foreign:
            return "trephine ingest SLIDES"
        if tool == "python":
            return f"store.add_bags({self.name!r}, ...) in Python"
        folder = self.identity.get("folder")
        return f"trephine import {tool} PATH" + (f", with {folder} in it" if folder else "")


class ArrayIds(NamedTuple):
    """Names one array of Embeddings."""

    slide_key: str
    tiling_id: str
    encoder_id: str


@dataclass(frozen=True, kw_only=True)
class Case(Checked):
    """One biopsy procedure of a Patient; a row of `cases` and of ledger/cases."""

    case_id: str
    patient_id: str
    patient_made_up: bool = False  # no patient_id was given: the case_id stands in
    age_years: float | None = setting(None, at_least=0, at_most=130)


@dataclass(frozen=True, kw_only=True)
class GivenSlide(Checked):
    """What a manifest or a folder says of a Slide before it is read."""

    slide_id: str
    case_id: str
    path: str
    scanned_on: date | None = None
    specimen: Specimen | None = None  # None: unknown
    stain: str | None = None
    scanner: str | None = None
    mpp_given: float | None = setting(None, at_least=1e-3, at_most=1e4, option="mpp")  # by it
    extra: str | None = None  # JSON object: every other column of the manifest

    def measured(self, **found: Any) -> Slide:
        """This Slide with what was measured of it."""
        return Slide(**vars(self), **found)


@dataclass(frozen=True, kw_only=True)
class Slide(GivenSlide):
    """One whole-slide image; a row of `slides` and of ledger/slides: as given, and measured."""

    size_bytes: int = 0  # of all its files
    mtime_ns: int = 0  # of the newest of them
    fingerprint: str = ""
    slide_key: str = ""  # over fingerprint and mpp; names its arrays
    reader: str | None = None  # library and version that read the pixels
    # geometry is None for imported Slides
    width_px0: int | None = setting(None, at_least=1, at_most=2**31 - 1)
    height_px0: int | None = setting(None, at_least=1, at_most=2**31 - 1)
    mpp: float | None = setting(None, at_least=1e-3, at_most=1e4)  # microns per level-0 pixel
    mpp_file: float | None = None  # what the file says of that; None: nothing
    mpp_source: MppSource | None = None  # who decided on mpp; None: an earlier version
    tissue_mm2: float | None = None
    blurred_share: float | None = None  # of tiles, 0 to 1
    pen_share: float | None = None  # of tiles, 0 to 1
    black_share: float | None = None  # of the thumbnail, 0 to 1
    ingested_at: datetime = field(default_factory=now)

    def of_group(self) -> dict[str, Any]:
        """What its group of arrays says of it: no case, patient, path or date."""
        return {
            "fingerprint": self.fingerprint,
            "size_px0": [self.width_px0, self.height_px0] if self.width_px0 else None,
            "mpp": self.mpp,
            "reader": self.reader,
        }


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one parser found in one Report; value, low and high are null where none is stated."""

    value: float | None
    low: float | None
    high: float | None
    qualifier: Qualifier | None = None
    evidence: str | None = None  # exact piece of the report that carries the figure
    rule: str = ""  # which rule, or which model, gave it
    outcome: ReadingOutcome = "stated"  # "states none" without a value, unless it says "not read"
    reason: str = ""  # why there is no value

    def __post_init__(self) -> None:
        if self.value is None and self.outcome == "stated":
            object.__setattr__(self, "outcome", "states none")

    @property
    def found(self) -> bool:
        """Whether the report states a value."""
        return self.value is not None


@dataclass(frozen=True, kw_only=True)
class Report:
    """The free text of a Case, with its date. The text never enters the store."""

    case_id: str
    text: str = field(repr=False)
    reported_on: date | None = None

    @property
    def report_hash(self) -> str:
        """Thirty-two hex digits over the text."""
        return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()

    @property
    def seen(self) -> SeenReport:
        """What the store keeps of it."""
        return SeenReport(
            case_id=self.case_id, report_hash=self.report_hash, reported_on=self.reported_on
        )


@dataclass(frozen=True, kw_only=True)
class SeenReport(Checked):
    """That a Report was seen, without its text; a row of `reports` and of ledger/reports."""

    case_id: str
    report_hash: str
    reported_on: date | None = None
    seen_at: datetime = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class Label(Checked):
    """One value of a Target for one Case, who gave it, and the quote that carries it."""

    case_id: str
    target: str
    value: float | None  # None: a Report that states none
    low: float | None
    high: float | None
    method: Method
    status: Status
    qualifier: Qualifier | None = None
    evidence: str | None = None
    report_hash: str | None = None  # that was read; of a person's, that was current then
    rule: str | None = ""  # the rule, or the model's name
    model_digest: str | None = None
    prompt_hash: str | None = None
    outcome: ReadingOutcome | None = None  # of a parser; None: a person's, or an earlier version's
    reason: str | None = None  # why a parser gives no value

    @property
    def content_id(self) -> str:
        """Sixteen hex digits over what was said: the same Label given twice has the same.

        Neither the outcome nor its reason counts: earlier versions' Labels keep their ids.
        """
        return content_id({name: getattr(self, name) for name in SAID})

    def recorded(self, about: Target, *, again: bool = False) -> RecordedLabel:
        """The row to record; `again` if it holds though the same was said before, as a person's."""
        at, said = now(), self.content_id
        return RecordedLabel(
            **asdict(self),
            label_id=content_id([said, str(at)]) if again else said,
            target_kind=about.kind,
            target_low=about.low,
            target_high=about.high,
            recorded_at=at,
        )


SAID = Label.__dataclass_fields__.keys() - {"outcome", "reason"}  # what two Labels are alike by


@dataclass(frozen=True, kw_only=True)
class RecordedLabel(Label):
    """A Label with its Target's scale and the time it was given; a row of ledger/labels."""

    label_id: str
    target_kind: TargetKind = "fraction"
    target_low: float = 0.0
    target_high: float = 100.0
    recorded_at: datetime = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class Split:
    """One side of a Cohort, in numbers."""

    split: str  # train, validation, test, or a fold number
    slides: int
    patients: int
    first: date | None
    last: date | None
    mean: float  # Label
    positive: int | None = None  # Slides of the high class; None where there are no classes

    @property
    def labels(self) -> str:
        """Its Labels in words."""
        if self.positive is not None:
            return f"{self.positive:,} positive, {self.slides - self.positive:,} negative"
        return f"mean {self.mean:.1f}" if abs(self.mean) >= 10 else f"mean {self.mean:.3g}"


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """A frozen set of Slides; a row of `cohorts`."""

    cohort: str
    cohort_id: str  # hash of its Slides, Labels and split
    target: str
    query: str  # the SQL text that chose the Slides
    parameters: Mapping[str, Any]
    split_method: SplitMethod
    options: Mapping[str, Any]  # test_fraction, seed, folds, late_slides, undated, patients_made_up
    dropped: Mapping[str, int]  # Slides left out, by reason
    created_at: datetime = field(default_factory=now)

    def text(self, splits: Sequence[Split]) -> str:
        """What `cohort show` prints."""
        lines = [f"cohort {self.cohort} ({self.split_method} split, target {self.target})"]
        lines += [
            f"  {side.split:10} {counted(side.slides, 'slide'):>13} of "
            f"{counted(side.patients, 'patient')}, "
            f"{f'{side.first} to {side.last}' if side.first else 'undated'}, {side.labels}"
            for side in splits
        ]
        lines += [f"  left out: {counted(n, 'slide')}, {why}" for why, n in self.dropped.items()]
        if n := self.options["patients_made_up"]:
            named = f"{counted(n, 'slide')} without patient_id"
            lines += [f"  {named}: each of their cases counts as a patient"]
        broken = self.options.get("broken", {}).items()
        lines += [f"  {n} other rows of the store break the check {why}" for why, n in broken]
        return "\n".join(lines + [f"  | {line}" for line in self.query.strip().splitlines()])


@dataclass(frozen=True, kw_only=True)
class CohortSlide(Checked):
    """One Slide of a Cohort with its frozen Label and split; a row of `cohort_slides`."""

    slide_id: str
    slide_key: str
    case_id: str
    patient_id: str
    dated: date | None = None
    split: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class FrozenSlide(Cohort, CohortSlide):
    """One Slide of a Cohort with all of the Cohort's own; a row of ledger/cohorts."""


@dataclass(frozen=True, kw_only=True)
class Sweep(Checked):
    """Runs that differ in what was swept; a row of `sweeps` and of ledger/sweeps."""

    sweep_id: str  # hash of the keys of its Runs
    cohort: str
    config: Mapping[str, Any]  # a TrainConfig: what its Runs share
    factors: Mapping[str, Any]  # what was swept: a field of TrainConfig, and its values
    runs: Mapping[str, Any]  # by `RunRecord.key`: what each Run has of the factors, seed and fold
    created_at: datetime = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A Run's value for a Slide, over resampled Bags; a row of `predictions`."""

    slide_id: str
    slide_key: str
    split: str
    label: float | None = setting(formerly="truth")  # None without one
    mean: float
    std: float | None  # None where the Bag is the whole Slide
    n_tiles: int  # that may be drawn
    n_resamples: int


Metrics = Mapping[str, Mapping[str, float | None]]  # by split, then by name


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One training, finished: what run.json holds; a row of `runs`."""

    run_id: str  # sorts by time
    cohort: str
    encoder_id: str
    tiling_id: str
    config: Mapping[str, Any]  # a TrainConfig, with its loss decided
    code_version: str
    versions: Mapping[str, str] = field(default_factory=dict)
    target: str
    target_kind: TargetKind
    target_low: float
    target_high: float
    dim: int  # columns of an Embedding, D
    model: str
    bag_size: int
    seed: int
    n_train: int
    n_validation: int
    n_calibration: int = 0
    n_test: int
    fit: Mapping[str, Any]  # steps, planned_steps, best_step, seconds, bags_per_s, device, ...
    notes: tuple[str, ...] = ()
    started_at: datetime
    seconds: float
    metrics: Metrics
    sequence: int = 0  # the store's order; 0: of an earlier version
    key: str | None = None  # of all that decided it: one key, one result; None: an older Run

    def about(self) -> Target:
        """The Target it was trained for, as it was then."""
        return Target(
            name=self.target, kind=self.target_kind, low=self.target_low, high=self.target_high
        )
