"""How TRIDENT, CLAM, STAMP and slide2vec lay out what they write: one description for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

IMPORTED = "import "  # how `reader` begins for a Slide whose pixels were never seen
# What coords count: level-0 pixels, microns where nobody says the slide's mpp (the store keeps
# fractions of them as nanometres), or nothing but rows.
Unit = Literal["level0_px", "um", "nm", "row"]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """The layout of one tool, in all its versions.

    Patterns are of the end of a whole path. Of features, `folder` tells one Encoder from another,
    `encoder` is its name where the folder says more than that, and `cut` tells one way to cut
    Slides from another. Places with a `base` are of the features under it alone.
    """

    title: str  # as its makers write it
    features: tuple[str, ...]  # of a Slide's files, those that fit the first of these count
    places: str  # where tiles lie, and what else is said of them
    usual: str  # folder of features, for messages
    own: str = r"(?!)"  # paths that no other tool writes; none unless said
    signs: frozenset[str] = frozenset()  # datasets, and attributes of coords, of no other tool
    rows: str = "features"  # dataset of the features
    unit: Unit = "level0_px"
    needs_places: bool = True  # else rows may come without
    is_twice: bool = False  # whether a Slide's files of several kinds hold the same rows
    version: Callable[[Mapping[str, Any]], str | None] = lambda said: None  # by all that is said


def _of_trident(said: Mapping[str, Any]) -> str:
    if isinstance(said.get("patch_size_level0"), float):
        return "0.2.4 or later"
    return "0.2.2 or 0.2.3" if "level0_width" in said else "before 0.2.2"


def _of_slide2vec(said: Mapping[str, Any]) -> str:
    told = "coordinate_space" in said or "num_tiles" in said  # in files beside, from 3 on
    return "5 or later" if "filtering" in said else "3 or 4" if told else "1 or 2"


_TRIDENT = (
    r"(?:(?P<cut>[^/]*overlap[^/]*)/)?"
    r"(?P<folder>(?!slide_features_)(?:features_)?(?P<encoder>[^/]+))/(?P<slide>[^/]+)"
)
_CLAM = (
    r"(?P<folder>(?!patches/)(?:features_)?(?P<encoder>[^/]+))/"
    r"(?:(?:h5|pt)_files/)?(?P<slide>[^/]+)"
)
_SLIDE2VEC = (
    r"(?P<folder>[^/]+)/(?:features|tile_embeddings(?:/(?:.*/)?(?P<cut>[^/]+))?)/"
    r"(?P<slide>[^/]+?)(?:-tiles)?"
)
TOOLS = {
    "stamp": Tool(
        title="STAMP",
        features=(
            r"(?:.*/)?(?P<folder>[^/]+-[0-9a-f]{8})/(?:.*/)?(?P<slide>[^/]+)\.h5",
            r"(?P<folder>[^/]+)/(?P<slide>[^/]+)\.h5",
        ),
        places=r"(?P<base>.*)/info\.json",
        usual="<extractor>-<hash>",
        signs=frozenset({"feats"}),
        rows="feats",
        unit="um",
        version=lambda said: said.get("stamp_version", "1"),
    ),
    "trident": Tool(
        title="TRIDENT",
        features=(rf"{_TRIDENT}(?<!_patches)\.h5", rf"{_TRIDENT}\.pt"),
        places=r"(?P<base>.*)/patches/(?P<slide>[^/]+)_patches\.h5",
        usual="features_<encoder>, beside patches",
        own=r"\d[^/]*x_[^/]+overlap/[^/]+/[^/]+\.h5",
        signs=frozenset({"level0_magnification", "target_magnification"}),
        version=_of_trident,
    ),
    "clam": Tool(
        title="CLAM",
        features=(rf"{_CLAM}\.h5", rf"{_CLAM}\.pt"),
        places=r"patches/(?P<slide>[^/]+)\.h5",
        usual="h5_files and pt_files of its feat_dir",
        own=r"(?:h5_files/[^/]+\.h5|pt_files/[^/]+\.pt)",
        signs=frozenset({"patch_level", "downsample"}),
        needs_places=False,
        is_twice=True,
    ),
    "slide2vec": Tool(
        title="slide2vec",
        features=(
            rf"{_SLIDE2VEC}\.(?:pt|npz)",
            rf"{_SLIDE2VEC}\.meta\.json",  # of a Slide without a tile
        ),
        places=r"(?P<base>.*)/(?:tiles|coordinates|tile_embeddings(?=.*json$))/"
        r"(?:(?:.*/)?(?P<cut>[^/]+)/)?(?P<slide>[^/]+?)(?:\.coordinates|\.tiles)?"
        r"\.(?:npz|npy|meta\.json)",
        usual="tile_embeddings, or features in old versions",
        own=r"tile_embeddings/(?:[^/]+/)?[^/]+\.(?:pt|npz)",
        version=_of_slide2vec,
    ),
}
ROWS = frozenset(tool.rows for tool in TOOLS.values())
SIGNS = frozenset[str]().union(*(tool.signs for tool in TOOLS.values()))

# What attributes and files beside call a number over 0; the first that is there counts.
NUMBERS = {
    "tile_px": (
        "tile_size_px",
        "patch_size",
        "requested_tile_size_px",
        "target_tile_size_px",
        "target_tile_size",
    ),
    "tile_px0": ("patch_size_level0", "tile_size_lv0"),
    "tile_um": ("tile_size_um", "tile_size", "microns"),
    "tile_mpp": ("requested_spacing_um", "target_spacing_um", "target_spacing"),
    "min_tissue": ("min_tissue_fraction",),
    "mpp": ("base_spacing_um",),
}
KEPT = ("level0_magnification", "target_magnification", "overlap")  # what an export can use
ENCODER = ("encoder", "extractor", "encoder_name")
# What must be said, if anything is: a row a tile, and what its places count.
KINDS = {"feat_type": "tile", "artifact_type": "tile_embeddings"}
UNITS = {"unit": "um", "coordinate_space": "level0_px"}
ATTRIBUTES = sorted(
    SIGNS.union(
        *NUMBERS.values(),
        *(KEPT, ENCODER, KINDS, UNITS),
        ("stamp_version", "level0_width", "level0_height", "level_dim"),
    )
)
