"""Open a DICOM series apart from whatever else lies in its folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import openslide

from ingest.slides import dicom


def open_apart(file: Path) -> Any:
    """Open a file with openslide, which sees of a DICOM file's folder only that series.

    openslide reads the header of every file beside a DICOM file, for each slide again: a flat
    folder of 160 series was read 29 times over. So a crowded series is opened through links.

    Raises:
        OpenSlideError: as `openslide.OpenSlide`.
    """
    known = dicom.groups(file.parent) if dicom.may_be_dicom(file.name) else {}
    group = known.get(file.name)
    if group is None or len(group.names) == len(known):
        return openslide.OpenSlide(str(file))
    return _LinkedSeries([file.with_name(name).absolute() for name in group.names])


class _LinkedSeries(openslide.OpenSlide):  # type: ignore[misc]  # it has no types
    """A slide that brings a folder of links to its files, and takes it away when it is closed."""

    def __init__(self, files: list[Path]) -> None:
        self._links = tempfile.TemporaryDirectory(prefix="series-")
        try:
            for number, file in enumerate(files):
                Path(self._links.name, f"{number}.dcm").symlink_to(file)
            super().__init__(str(Path(self._links.name, "0.dcm")))
        except BaseException:
            self._links.cleanup()
            raise

    def close(self) -> None:
        """Close the handle; openslide opens files anew as it reads: so long the links stay."""
        super().close()
        self._links.cleanup()
