"""DICOM instances that are small and right enough to be listed; their pixels are noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import ExplicitVRLittleEndian

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def write_instance(
    path: Path,
    series: str,
    *,
    kind: str = "VOLUME",
    seed: int = 0,
    n_bytes: int = 1000,
    sop_class: str = WHOLE_SLIDE,
    syntax: str = ExplicitVRLittleEndian,
    **values: Any,
) -> Path:
    """One file of a series; ``values`` are further elements by keyword, None leaves one out."""
    said = Dataset()
    said.SOPClassUID, said.SOPInstanceUID = sop_class, f"{series}.{seed + 1}"
    said.ImageType, said.Modality = ["DERIVED", "PRIMARY", kind, "NONE"], "SM"
    said.StudyInstanceUID, said.SeriesInstanceUID = "1.2.3", series
    said.PixelData = np.random.default_rng(seed).bytes(n_bytes)
    said["PixelData"].VR = "OB"
    for keyword, value in values.items():
        if value is None:
            delattr(said, keyword)
        else:
            setattr(said, keyword, value)
    said.file_meta = FileMetaDataset()
    said.file_meta.MediaStorageSOPClassUID = sop_class
    said.file_meta.MediaStorageSOPInstanceUID = said.SOPInstanceUID
    said.file_meta.TransferSyntaxUID = syntax
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, said, enforce_file_format=True)
    return path


def write_series(folder: Path, series: str, names: tuple[str, ...] = ("a.dcm", "b.dcm")) -> Path:
    """A series of a volume and its smaller levels, one file a name."""
    for seed, name in enumerate(names):
        write_instance(folder / name, series, seed=seed)
    return folder
