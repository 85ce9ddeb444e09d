"""The SQL of trephine, one statement a file, read by name."""

import functools
from pathlib import Path

HERE = Path(__file__).parent


@functools.cache
def read(name: str) -> str:
    """Return one SQL text, named by its path without suffix: `views/bags`."""
    return (HERE / f"{name}.sql").read_text(encoding="utf-8")


@functools.cache
def names(folder: str) -> tuple[str, ...]:
    """The SQL texts of a folder, sorted: `("views/bags", ...)`."""
    return tuple(sorted(f"{folder}/{entry.stem}" for entry in (HERE / folder).iterdir()))


def grain(name: str) -> str:
    """Return the first comment of a SQL text: what one row of it is."""
    return read(name).splitlines()[0].removeprefix("--").strip()
