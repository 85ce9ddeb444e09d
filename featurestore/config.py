"""How a Cohort is split, and what is taken from and written for other tools: options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from featurestore.errors import ConfigError
from featurestore.fields import About, Checked, check, setting, types_of
from featurestore.types import MPP_RANGE, Engine, SplitMethod


@dataclass(frozen=True, kw_only=True)
class SplitConfig(Checked):
    """How Slides are shared out between train and test; never two sides for one Patient."""

    method: SplitMethod = setting("time", hidden=True)  # the command line says folds:5 in one word
    test_fraction: float = setting(0.5, "Share of slides in test.", over=0, under=1)
    seed: int = setting(0, "Seed of a random split or folds.")
    folds: int = setting(5, "Folds of `--split folds`.", hidden=True, at_least=2)
    table: Mapping[str, str] = field(  # slide_id or patient_id to split
        default_factory=dict, metadata={"about": About(hidden=True)}
    )
    late_slides: Literal["drop", "keep"] = setting(
        "drop", "Slides of a train patient dated after the first test date."
    )
    undated: Literal["refuse", "drop"] = setting(
        "refuse", "Slides without a date, in a time split."
    )
    duplicates: Literal["refuse", "drop"] = setting(
        "refuse", "Slides of several patients with one content; drop keeps the first of each."
    )

    @property
    def options(self) -> dict[str, Any]:
        """What a Cohort keeps of it beside the method; what a table says, its Slides have."""
        return {name: v for name, v in vars(self).items() if name not in ("method", "table")}

    def by(self, word: str, read: Callable[[Path], Mapping[str, str]]) -> Self:
        """The same, split as one word says: `time`, `random`, `folds:5` or `table:split.csv`."""
        method, _, argument = word.partition(":")
        if method not in types_of(SplitConfig)["method"][2] or (method == "table" and not argument):
            got = f"got {word!r}"
            raise ConfigError(f"split must be time, random, folds:K or table:FILE.csv, {got}")
        if method == "folds" and argument:
            if not argument.isdecimal():
                got = f"got {argument!r}"
                raise ConfigError(f"folds must be a whole number, {got}. Say: --split folds:5")
            return replace(self, method="folds", folds=int(argument))
        if method == "table":
            return replace(self, method="table", table=read(Path(argument)))
        return replace(self, method=method)  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Where work is done."""

    engine: Engine = setting("local", "Where the work is done: here, or on a Ray cluster.")
    address: str | None = setting(None, "Of the Ray cluster.  [default: one on this machine]")

    def __post_init__(self) -> None:
        check(self)
        if self.address is not None and not self.address.strip():
            raise ConfigError(
                "--address is empty: give that of a Ray cluster, as `ray status` knows it, "
                "or leave it out to start one here"
            )
        if self.address is not None and self.engine != "ray":
            raise ConfigError(f"--address {self.address} is of a Ray cluster. Add --engine ray")


@dataclass(frozen=True, kw_only=True)
class ImportConfig(Checked):
    """Whose embeddings are taken in, and what their files do not say."""

    tool: Literal["trident", "clam", "stamp", "slide2vec"] = setting(help="Who wrote them.")
    path: Path = setting(help="The folder that the tool wrote, or one file of features.")
    mpp: float | None = setting(
        None,
        "Microns per level-0 pixel of slides of which nobody says it.",
        at_least=MPP_RANGE[0],
        at_most=MPP_RANGE[1],
    )
    name: str | None = setting(
        None, "What the encoder is called.", shown="as the files or their folder say"
    )
    cut: str | None = setting(
        None, "What this way to cut slides is called.", shown="as the files or their folder say"
    )


@dataclass(frozen=True, kw_only=True)
class ArraysConfig(Checked):
    """Which Embeddings of a Cohort's Slides are used."""

    encoder_id: str | None = setting(None, "Which, where there are several.", option="encoder")
    tiling_id: str | None = setting(None, "Which, where there are several.", option="tiling")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(ArraysConfig):
    """Which embeddings are written, for whom."""

    tool: Literal["trident", "clam", "stamp", "slide2vec", "parquet"] = setting(
        help="Who is to read them."
    )
    cohort: str = setting(help="The Cohort whose Slides, labels and splits are written.")
    out: Path = setting(Path("export"), "Folder to write.", option="o")
