"""Make the folders and the catalog of a store, or bring an older one to this version."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from featurestore import catalog, folding, layout, ledger
from featurestore.errors import writing


def make(root: Path, shared: bool) -> None:
    """Make what a store lacks; see `FeatureStore.create`."""
    is_new = not layout.slides_dir(root).is_dir()
    root.mkdir(parents=True, exist_ok=True)
    if is_new:
        with suppress(OSError):  # there may be no modes here
            root.chmod(layout.SHARED if shared else layout.PRIVATE)
    folders = [layout.slides_dir(root), layout.runs_dir(root), layout.tmp_dir(root)]
    folders += [layout.ledger_dir(root, kind) for kind in ledger.KINDS]
    for folder in folders:
        layout.make(folder)
    folding.fold(root, published=None if catalog.migrate(root) else ())
    if is_new:
        with suppress(OSError):
            catalog.path_of(root).chmod(layout.rights(root)[1])
    elif shared:
        with writing(root):
            layout.share(root)
