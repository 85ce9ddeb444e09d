"""Whose files are in a folder, and of which slides."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.foreign_bags import WITH_PLACES, made
from builders.foreign_files import EVERY, grid, stamp

from featurestore import FeatureStore, import_features
from featurestore.config import ImportConfig
from featurestore.errors import FeaturesRefused


@pytest.mark.parametrize("tool", ["trident", "clam", "stamp", "slide2vec"])
@pytest.mark.parametrize("path", ["new", "gone"])
def test_a_folder_without_features_is_refused(
    tool: str, path: str, new: FeatureStore, tmp_path: Path
) -> None:
    with pytest.raises(FeaturesRefused, match=r"Give the folder"):
        import_features(new, ImportConfig(tool=tool, path=tmp_path / path))


@pytest.mark.parametrize("kind", WITH_PLACES)
def test_places_without_features_are_told_as_such(
    kind: str, new: FeatureStore, tmp_path: Path
) -> None:
    tool, write = EVERY[kind]
    for name in ("S.1", "T"):
        features = write(tmp_path / "of", name, made(), grid(20))
    names = ("patches", "coordinates", "tiles")
    (folder,) = (path for name in names for path in (tmp_path / "of").rglob(name))
    words = rf"coordinates of tiles of 2 slides, and no features.*{features.parent.name[:6]}"
    with pytest.raises(FeaturesRefused, match=words):
        import_features(new, ImportConfig(tool=tool, path=folder))
    assert new.sql("from failures").is_empty()


def test_one_name_in_two_folders_is_refused_unless_they_say_the_same(
    new: FeatureStore, tmp_path: Path
) -> None:
    for name, seed in (("same", 0), ("other", 1)):
        first = stamp()(tmp_path / "of", name, made(), grid(20))
        second = first.parent.parent / "more" / first.name
        second.parent.mkdir(exist_ok=True)
        first.rename(second)
        stamp()(tmp_path / "of", name, made(seed=seed), grid(20))
    told = import_features(new, ImportConfig(tool="stamp", path=tmp_path / "of"))
    assert (told.imported, told.copies, len(told.failures)) == (1, 1, 2)
    assert new.sql("select slide_id from bags").rows() == [("same",)]
