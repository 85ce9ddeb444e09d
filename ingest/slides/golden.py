"""Check that an Encoder still gives what it gave when its first vectors entered the store."""

from collections.abc import Iterable

import numpy as np

from featurestore import FeatureStore
from featurestore.errors import EncoderUnavailable
from featurestore.types import GoldenTile
from ingest.slides.encoders import Encoder

LEAST_COSINE = 0.999  # bfloat16 against float32 is at least 0.9999


def golden_tile() -> np.ndarray:
    """Draw the fixed tile, uint8 (224, 224, 3): fat vacuoles and nuclei, in whole numbers alone."""
    y, x = np.mgrid[:224, :224]
    tile = np.empty((224, 224, 3), np.uint8)
    tile[...] = (214, 130, 172)
    nuclei = (x * x + 3 * y * y + x * y) % 131 < 24
    tile[nuclei] = (96, 58, 140)
    fat = (x % 75 - 37) ** 2 + (y % 56 - 28) ** 2 < 500
    tile[fat] = (244, 242, 245)
    return tile


def check_golden_tile(store: FeatureStore, encoder: Encoder) -> None:
    """Keep the golden tile's vector at an Encoder's first use; compare with it ever after."""
    known = store.known(GoldenTile)
    here = compare_golden_tile(encoder, known)
    if all(one.encoder_id != encoder.encoder_id for one in known):
        store.record([here], fold=False)  # a shard leaves the catalog alone


def compare_golden_tile(encoder: Encoder, known: Iterable[GoldenTile]) -> GoldenTile:
    """What the Encoder makes of the golden tile here, which is what it made of it before.

    The id of an Encoder says which weights it has, not that this machine computes with them right.

    Raises:
        EncoderUnavailable: the vector is not finite, or another one than at the first use.
    """
    vector = encoder.embed(golden_tile()[None])[0].astype(np.float64)
    if not np.isfinite(vector).all():
        raise EncoderUnavailable(
            f"encoder {encoder.encoder_id} gives numbers that are none with {encoder.how}: its "
            "weights hold NaN, or are too large for it. Pass other --weights, or --precision "
            "float32; nothing was embedded."
        )
    kept = next((one for one in known if one.encoder_id == encoder.encoder_id), None)
    before = np.array(kept.vector) if kept else vector
    lengths = float(np.linalg.norm(vector) * np.linalg.norm(before))
    likeness = vector @ before / lengths if lengths else float((vector == before).all())
    if kept and not likeness >= LEAST_COSINE:
        raise EncoderUnavailable(
            f"encoder {encoder.encoder_id} does not give the vector of its golden tile: got a "
            f"cosine of {likeness:.9g} with {encoder.how}, expected at least {LEAST_COSINE} to "
            f"{kept.precision} on {kept.device}. Pass another --runtime, --precision or --device, "
            "or mend torch and timm; nothing was embedded."
        )
    return GoldenTile(
        encoder_id=encoder.encoder_id,
        vector=tuple(vector.tolist()),
        precision=encoder.precision,
        device=encoder.device,
    )
