"""How a table that people hand over is read; apart from its reader, for `--help` needs no more."""

from dataclasses import dataclass

from featurestore.errors import ConfigError
from featurestore.fields import check, setting


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """How a table is read where its own names and values leave it open."""

    column: tuple[str, ...] = setting(
        (),
        "OURS=THEIRS: a column that has another name; may be given several times, and joins texts.",
    )
    date_format: str | None = setting(
        None, "Of dates that can be read in two ways, such as %d/%m/%Y."
    )

    def __post_init__(self) -> None:
        check(self)
        if self.date_format is not None and "%" not in self.date_format:
            raise ConfigError(f"date-format is as %d/%m/%Y, got {self.date_format!r}")
        if wrong := [pair for pair in self.column if not all(pair.partition("=")[::2])]:
            raise ConfigError(f"column is OURS=THEIRS, such as path=PATH, got {wrong[0]!r}")
