"""The SQL of trephine, one statement a file, read by name."""

from importlib.resources import files


def read(name: str) -> str:
    """Return one SQL text, named by its path without suffix: `views/bags`."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


def names(folder: str) -> list[str]:
    """List the SQL texts of a folder, sorted: `["views/bags", ...]`."""
    entries = files(__name__).joinpath(folder).iterdir()
    return sorted(
        f"{folder}/{e.name.removesuffix('.sql')}" for e in entries if e.name != "__init__"
    )


def grain(name: str) -> str:
    """Return the first comment of a SQL text: what one row of it is."""
    return read(name).splitlines()[0].removeprefix("--").strip()
