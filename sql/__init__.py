"""The SQL of trephine, one statement a file, read by name."""

import functools
from importlib.resources import files


@functools.cache
def read(name: str) -> str:
    """Return one SQL text, named by its path without suffix: `views/bags`."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


@functools.cache
def names(folder: str) -> tuple[str, ...]:
    """The SQL texts of a folder, sorted: `("views/bags", ...)`."""
    found = (entry.name for entry in files(__name__).joinpath(folder).iterdir())
    return tuple(sorted(f"{folder}/{name.removesuffix('.sql')}" for name in found))


def grain(name: str) -> str:
    """Return the first comment of a SQL text: what one row of it is."""
    return read(name).splitlines()[0].removeprefix("--").strip()
