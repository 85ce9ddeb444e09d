"""Show on stderr how work goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from featurestore.types import Progress
from featurestore.words import duration

TELL_EVERY_S = 60.0  # where nobody looks


@contextmanager
def progress(unit: str) -> Iterator[Progress]:
    """Lend a function that shows what is done, with a rate and the time left.

    A bar on a terminal; where nobody looks, a line a minute.
    """
    from tqdm import tqdm

    started = told = time.monotonic()

    def tell(done: int, total: int, also: str) -> None:
        nonlocal told
        if bar.disable and time.monotonic() - told > TELL_EVERY_S:
            told = time.monotonic()
            left = (told - started) / max(1, done) * (total - done)
            note = f", {also}" if also else ""
            line = f"{done:,} of {total:,} {unit}{note}, {duration(left)} left"
            print(line, file=sys.stderr, flush=True)
        bar.total = total
        rate = pace(done, time.monotonic() - started, unit)
        bar.set_postfix_str(", ".join(filter(None, (rate, also))), refresh=False)
        bar.update(done - bar.n)

    shape = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {postfix}]"
    with tqdm(unit=unit, disable=None, file=sys.stderr, bar_format=shape) as bar:
        yield tell


def pace(done: int, seconds: float, unit: str) -> str:
    """How fast work goes, in what reads better: `12.5 slides/s`, `3.2 s/slide`."""
    if not done or not seconds:
        return ""
    if done >= seconds:
        return f"{done / seconds:.3g} {unit}/s"
    each = seconds / done
    one = unit.removesuffix("s")
    return f"{each:.1f} s/{one}" if each < 60 else f"{duration(each)}/{one}"
