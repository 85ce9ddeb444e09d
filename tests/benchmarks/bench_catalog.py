"""A catalog of a million Slides with three Encoders: how long people wait for their first row.

    python tests/benchmarks/bench_catalog.py [FOLDER] [--slides 1000000]

The catalog is filled by SQL; there are no arrays. Seconds are the median of three, warm.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import duckdb

from featurestore import FeatureStore, where_query
from featurestore.config import SplitConfig

FILL = (
    "insert into cases select 'C' || i, 'P' || (i // 2), false, 20 + i % 60 from range({n}) t(i)",
    "insert into reports select 'C' || i, md5('r' || i), date '2015-01-01' + (i * 7919 % 3650)::int"
    ", timestamp '2025-01-01' from range({n}) t(i)",
    "insert into slides (slide_id, case_id, path, size_bytes, mtime_ns, fingerprint, slide_key,"
    " scanned_on, specimen, scanner, width_px0, height_px0, mpp, blurred_share, pen_share,"
    " black_share, ingested_at) select 'S' || i, 'C' || i, '/archive/' || i || '.svs', i, i,"
    " md5('f' || i), left(md5('k' || i), 16), date '2015-01-01' + (i * 7919 % 3650)::int, 'core',"
    " 'AT2', 90000, 40000, 0.25, 0.0, 0.0, 0.0, timestamp '2025-01-01' from range({n}) t(i)",
    "insert into tilings values (repeat('t', 16), 224, 2.0, 0.05, 'hsv-1')",
    "insert into encoders select repeat(chr((97 + e)::int), 16), 'e' || e, 384, 'file', 'h', '{{}}'"
    " from range(3) t(e)",
    "insert into embeddings (slide_key, tiling_id, encoder_id, n_tiles, dim, embedded_at, digest)"
    " select left(md5('k' || i), 16), repeat('t', 16), repeat(chr((97 + e)::int), 16), 100"
    " + i % 90, 384, timestamp '2025-01-01', left(md5('d' || i), 16)"
    " from range({n}) t(i), range(3) u(e)",
    "insert into targets values ('cellularity', 'fraction', 0, 100)",
    "insert into labels (label_id, case_id, target, value, low, high, method, status, recorded_at)"
    " select 'L' || i, 'C' || i, 'cellularity', i * 31 % 101, i * 31 % 101, i * 31 % 101, 'human',"
    " 'single', timestamp '2025-01-01' from range({n}) t(i)",
    "insert into best_labels select case_id, target, label_id, value, low, high, null, method,"
    " status from labels",
    "delete from migrations where name like 'views %'",  # so that `init` fills slide_facts
)
COHORT = "reported_on >= '2021-01-01' and cellularity between 20 and 40"
ONE = "from slide_overview where slide_id = 'S4711'"


def median_s(work: Callable[[], object]) -> float:
    """The middle of three."""
    spent = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return sorted(spent)[1]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default="build/bench/catalog")
@click.option("--slides", default=1_000_000, show_default=True)
def main(folder: Path, slides: int) -> None:
    """Print what each takes, beside what is promised."""
    if not folder.exists():
        FeatureStore.create(folder)
        with duckdb.connect(str(folder / "catalog.duckdb")) as con:
            for text in FILL:
                con.execute(text.format(n=slides))
            con.execute("delete from migrations where name like 'write %'")  # by hand
    FeatureStore.create(folder)  # migrates what an earlier bench has left
    store = FeatureStore(folder)
    chosen = f"{where_query(COHORT)} limit 25000"
    with duckdb.connect(str(folder / "catalog.duckdb"), read_only=True) as con:
        told = {
            "cohort by date and cellularity": (
                median_s(lambda: con.execute(where_query(COHORT)).fetchall()),
                0.2,
            ),
            "one slide of slide_overview": (median_s(lambda: con.execute(ONE).fetchall()), 0.02),
        }
    name = f"c{time.time_ns()}"
    began = time.perf_counter()
    store.create_cohort(name, chosen, split=SplitConfig(method="random", duplicates="drop"))
    told["cohort create of 25,000 slides"] = (time.perf_counter() - began, 3.0)
    line = [sys.executable, "cli.py", "sql", "--store", str(folder), f"select * {ONE}"]
    began = time.perf_counter()
    subprocess.run(line, check=True, capture_output=True)
    told["first row of the command line"] = (time.perf_counter() - began, 0.6)
    for what, (seconds, most) in told.items():
        click.echo(f"{what:34} {1e3 * seconds:8.1f} ms, promised {1e3 * most:.0f} ms")


if __name__ == "__main__":
    main()
