"""Nouns that the store keeps of its own work: what it holds, what failed, what was taken out."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from featurestore.errors import ConfigError
from featurestore.fields import Checked, check, now, setting
from featurestore.words import counted

Stage = Literal["open", "read", "embed", "write"]
TombstoneKind = Literal["slide", "case", "patient", "cohort", "run"]
OF_CASE = "report of case "  # before the case_id, in the item of a Failure


@dataclass(frozen=True, kw_only=True)
class Failure(Checked):
    """That a Slide or Report could not be read, or can again; a row of ledger/failures."""

    item: str  # path of a Slide, or `OF_CASE` and a case_id
    stage: str | None = None  # archive, open, read, embed, write, label
    reason: str | None = None
    slide_id: str | None = None
    mended: bool = False
    seen_at: datetime = field(default_factory=now)

    def __post_init__(self) -> None:
        check(self)
        if not self.mended and (self.stage is None or self.reason is None):
            raise ConfigError(f"a failure of {self.item!r} needs a stage and a reason")


@dataclass(frozen=True, kw_only=True)
class IngestTime(Checked):
    """What one stage took of one Slide; a row of `ingest_times`."""

    slide_key: str
    tiling_id: str
    encoder_id: str
    stage: Stage
    # at work, without waiting for other stages
    seconds: float = setting(0.0, at_least=0, at_most=float("inf"))
    bytes: int = setting(0, at_least=0, at_most=2**62)
    tiles: int = setting(0, at_least=0, at_most=2**31 - 1)
    device: str  # of the Encoder
    measured_at: datetime = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class GoldenTile:
    """An Encoder's vector of the golden tile at its first use; a row of `golden_tiles`."""

    encoder_id: str
    vector: tuple[float, ...]  # (D,)
    precision: str
    device: str
    kept_at: datetime = field(default_factory=now)


def hidden(name: str) -> str:
    """What a tombstone keeps in place of the name of an erased Slide, Case or Patient."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


@dataclass(frozen=True)
class Gone:
    """Kinds and names of the Slides, Cases and Patients that were taken out."""

    names: Set[tuple[str, str]]

    def has(self, names: Iterable[tuple[str, str]]) -> bool:
        """Whether one of these kinds and names is among them."""
        some = names if self.names else ()
        return any((k, n) in self.names or (k, hidden(n)) in self.names for k, n in some)

    def blank(self, text: str) -> str:
        """A SQL or JSON text without their names: each text and word in it is looked up."""
        return _SAID.sub(self._blanked, text)

    def _blanked(self, said: re.Match[str]) -> str:
        kind = said.lastgroup or ""
        inner, begin = said[kind], said.start(kind) - said.start()
        end = begin + len(inner)
        spelled = {inner, inner.replace("''", "'"), _from_json(inner)}
        if any(self.has((k, one) for k in OF_SLIDES) for one in spelled):
            inner = "erased"
        elif kind == "words":
            return inner if inner.isalnum() else _WORD.sub(self._blanked, inner)
        elif kind != "word":
            inner = self.blank(inner)
        return said[0][:begin] + inner + said[0][end:]


COHORT_TEXTS = ("query", "parameters", "options", "dropped")  # as people typed them
OF_SLIDES: tuple[TombstoneKind, ...] = ("slide", "case", "patient")
_SAID = re.compile(
    r"""'(?P<sql>(?:[^']|'')*)'|"(?P<json>(?:[^"\\]|\\.)*)"|(?P<words>[^\s'"(),%]+)"""
)
_WORD = re.compile(r"(?P<word>\w+)")


def _from_json(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return text


def words_of(names: Iterable[str]) -> re.Pattern[str]:
    """What finds names in SQL and JSON texts, as words of their own."""
    spelled = {s for n in names for s in (n, n.replace("'", "''"), json.dumps(n)[1:-1])}
    either = "|".join(map(re.escape, sorted(spelled, key=len, reverse=True))) or r"(?!)"
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)")


@dataclass(frozen=True, kw_only=True)
class Tombstone(Checked):
    """That a thing was taken out; a row of `tombstones` and of ledger/tombstones.

    A Slide, Case or Patient stays out whatever is said of it later; the name of a Cohort is free
    again, and a Run's id never comes twice.
    """

    kind: TombstoneKind
    name: str  # `hidden`, of an erased Slide, Case or Patient
    erase: bool = False  # whether its rows and arrays were removed, too
    slide_key: str | None = None  # of an erased Slide: whose arrays are removed
    recorded_at: datetime = field(default_factory=now)


@dataclass(frozen=True, kw_only=True)
class Published(Checked):
    """One array of Embeddings that was published, with all it needs; a row of ledger/embeddings."""

    slide_key: str
    tiling_id: str
    encoder_id: str
    n_tiles: int = setting(0, at_least=0, at_most=2**31 - 1)
    dim: int = setting(1, at_least=1, at_most=2**31 - 1)
    precision: str | None = None
    device: str | None = None
    runtime: str | None = None  # torch or openvino; None: imported, or of an earlier version
    tile_px: int | None = None  # None: a foreign Tiling does not say
    tile_mpp: float | None = None
    min_tissue: float | None = None
    filter_version: str = ""
    encoder_name: str = ""
    weights: str = ""
    weights_hash: str = ""
    identity: str = "{}"  # JSON
    digests: Mapping[str, str]  # by file, of the Slide's group
    digest: str = "empty"  # of the Embeddings, where there are rows
    gone: bool = False  # it was set aside; the last word holds
    embedded_at: datetime = field(default_factory=now)

    @property
    def ids(self) -> tuple[str, str, str]:
        """Names the array."""
        return self.slide_key, self.tiling_id, self.encoder_id


@dataclass(frozen=True, kw_only=True)
class Withdrawn:
    """What a withdrawal took out, and what had it."""

    names: Mapping[str, Sequence[str]]  # by kind
    cohorts: Sequence[str]  # that had a Slide of it
    runs: Sequence[str]  # that were trained or tested on one
    erased: bool = False
    before: bool = False  # it was out already
    also: Sequence[str] = ()  # what else was deleted, in sentences

    def text(self) -> str:
        """What `retire`, `cohort delete` and `runs delete` print."""
        out = ", ".join(
            f"{kind} {name}" for kind in self.names for name in sorted(self.names[kind])
        )
        verb = "erased" if self.erased else "already out" if self.before else "taken out"
        lines = [f"{verb}: {out}"]
        for what, had in (("cohort", self.cohorts), ("run", self.runs)):
            if had:
                lines.append(f"  {counted(len(had), what)} had it: {', '.join(had)}")
        lines += [f"  {what}" for what in self.also]
        kind, (name, *_) = next(iter(self.names.items()))
        if self.runs and self.cohorts:
            lines.append(f"Next, to learn without it: trephine train {self.cohorts[0]}")
        elif kind in ("cohort", "run"):
            lines.append("Next: trephine status")
        elif not self.erased:
            keep = shlex.join(["trephine", "retire", name, "--erase"])
            lines.append(f"Its files are kept. Remove them for good with: {keep}")
        return "\n".join(lines)
