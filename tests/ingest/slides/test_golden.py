"""The golden tile: an Encoder that computes otherwise than before embeds nothing."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from builders.ingest_stores import rebuilt, take_in

from featurestore import FeatureStore
from featurestore.errors import EncoderUnavailable
from featurestore.types import Tiling
from ingest.slides import encoders
from ingest.slides.config import HowConfig, IngestConfig
from ingest.slides.golden import check_golden_tile, golden_tile


@pytest.fixture(scope="module")
def encoder() -> encoders.Encoder:
    return encoders.load("timm:test_vit", "random", HowConfig(runtime="torch", precision="float32"))


class Bent(torch.nn.Module):
    """A network whose vectors have turned by an angle."""

    def __init__(self, model: torch.nn.Module, cosine: float) -> None:
        super().__init__()
        self.model, self.cosine = model, cosine

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v = self.model(x)
        turned = torch.roll(v, 1, dims=-1)
        turned -= v * (turned * v).sum() / (v * v).sum()  # at right angles to v
        turned *= v.norm() / turned.norm()
        return self.cosine * v + (1 - self.cosine**2) ** 0.5 * turned


def test_the_tile_never_changes() -> None:
    tile = golden_tile()
    assert (tile.shape, tile.dtype) == ((224, 224, 3), np.uint8)
    assert hashlib.blake2b(tile.tobytes(), digest_size=8).hexdigest() == "fb2509f340d7ec64"


@pytest.mark.parametrize(("cosine", "refused"), [(0.9999, False), (0.998, True)])
def test_a_vector_that_has_turned_is_refused_also_after_a_rebuild(
    tmp_path: Path, encoder: encoders.Encoder, cosine: float, refused: bool
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    take_in(store, [], encoder, Tiling())
    rebuilt(store)
    other = replace(encoder, model=Bent(encoder.model, cosine))
    assert other.encoder_id == encoder.encoder_id
    for shard in ("1/2", None):  # before and after the ledger is folded in
        config = IngestConfig(shard=shard)
        take_in(store, [], encoder, Tiling(), config)
        if refused:
            with pytest.raises(EncoderUnavailable, match=r"cosine of -?[01]\.\d+.* at least 0.999"):
                take_in(store, [], other, Tiling(), config)
        else:
            take_in(store, [], other, Tiling(), config)
    assert store.sql("select encoder_id, device from golden_tiles").rows() == [
        (encoder.encoder_id, encoder.device)
    ]


def test_bfloat16_passes_and_numbers_that_are_none_do_not(
    tmp_path: Path, encoder: encoders.Encoder
) -> None:
    store = FeatureStore.create(tmp_path / "store")
    check_golden_tile(store, encoder)
    check_golden_tile(store, replace(encoder, precision="bfloat16"))

    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), encoder.dim), float("nan"))

    broken = replace(encoder, model=Broken())
    for target in (store, FeatureStore.create(tmp_path / "new")):
        with pytest.raises(EncoderUnavailable, match="numbers that are none"):
            check_golden_tile(target, broken)
