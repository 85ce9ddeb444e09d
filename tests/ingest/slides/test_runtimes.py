"""OpenVINO gives the vectors of torch, whatever stands beside a tile, and says where it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from builders.ingest_stores import TINY, take_in
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer

from featurestore import FeatureStore
from featurestore.errors import ConfigError
from featurestore.types import Precision, Tiling, content_id
from ingest.slides import encoders
from ingest.slides.archive import read_archive
from ingest.slides.config import HowConfig

pytest.importorskip("openvino")
N = 11
rng = np.random.default_rng(0)
TILES = rng.integers(0, 256, (N, 224, 224, 3), np.uint8)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where converted networks are kept, empty at first."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hub")
        patch.setattr(huggingface_hub.constants, "HF_HOME", str(folder))
        yield folder


def by_openvino(precision: Precision) -> HowConfig:
    return HowConfig(device="cpu", runtime="openvino", precision=precision)


@pytest.fixture(scope="module")
def both(home: Path) -> tuple[encoders.Encoder, encoders.Encoder]:
    by_torch = HowConfig(device="cpu", runtime="torch", precision="float32")
    return (
        encoders.load(TINY, "random", by_torch),
        encoders.load(TINY, "random", replace(by_torch, runtime="openvino", threads=2)),
    )


@pytest.mark.parametrize("side", [224, 160])
def test_the_vectors_are_those_of_torch(
    both: tuple[encoders.Encoder, encoders.Encoder], side: int
) -> None:
    ours, theirs = (one.embed(TILES[:, :side, :side]).astype(np.float64) for one in both)
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > 0.999999
    assert both[0].encoder_id == both[1].encoder_id
    assert [one.runtime for one in both] == ["torch", "openvino"]


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, N), max_size=4), st.permutations(range(N)))
def test_a_vector_is_the_same_bytes_whatever_stands_beside_it(
    both: tuple[encoders.Encoder, encoders.Encoder], cuts: list[int], order: list[int]
) -> None:
    encoder = both[1]
    parts = np.split(TILES[order], sorted(cuts))
    made = np.concatenate([encoder.embed(part) for part in parts])
    np.testing.assert_array_equal(made, encoder.embed(TILES)[order])


def test_no_thread_is_bound_to_a_processor(both: tuple[encoders.Encoder, encoders.Encoder]) -> None:
    compiled = both[1].compiled  # bound ones of several processes would all be on the first
    assert compiled is not None
    assert compiled.args[0][0].get_compiled_model().get_property("ENABLE_CPU_PINNING") is False


@pytest.mark.proof
def test_a_converted_network_is_kept_and_a_damaged_one_is_made_anew(
    both: tuple[encoders.Encoder, encoders.Encoder], home: Path
) -> None:
    (kept,) = home.rglob("model.xml")
    assert both[1].encoder_id in str(kept)
    before = kept.stat().st_mtime_ns
    encoders.load(TINY, "random", HowConfig(device="cpu"))
    assert kept.stat().st_mtime_ns == before
    kept.write_text(kept.read_text()[:1000])
    again = encoders.load(TINY, "random", by_openvino("float32"))
    np.testing.assert_array_equal(again.embed(TILES), both[1].embed(TILES))
    assert [path.name for path in kept.parent.parent.iterdir()] == [both[1].encoder_id]


@pytest.mark.proof
def test_a_home_that_takes_no_file_costs_time_only(
    both: tuple[encoders.Encoder, encoders.Encoder], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "a_file").touch()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(home / "a_file"))
    made = encoders.load(TINY, "random", by_openvino("float32"))
    np.testing.assert_array_equal(made.embed(TILES), both[1].embed(TILES))


def test_a_store_of_one_runtime_goes_on_with_the_other_and_says_which(
    both: tuple[encoders.Encoder, encoders.Encoder], archive: Path, tmp_path: Path
) -> None:
    store = FeatureStore.create(tmp_path)
    slides = [
        one for one in read_archive(archive / "manifest.csv").slides if "-X" not in one.slide_id
    ]
    take_in(store, slides[:1], both[0], Tiling())
    take_in(store, slides[:2], both[1], Tiling())  # the golden tile lets it pass
    files = (store.root / "slides").glob("*.zarr/*/embeddings/*/zarr.json")
    said = {json.loads(file.read_text())["attributes"]["runtime"] for file in files}
    assert said == {"torch", "openvino"}


def test_a_runtime_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert encoders.runtime_of("auto", "cpu") == "openvino"
    assert encoders.runtime_of("auto", "cuda") == encoders.runtime_of("torch", "cpu") == "torch"
    with pytest.raises(ConfigError, match="Pass --device cpu, or --runtime torch"):
        encoders.runtime_of("openvino", "cuda")
    monkeypatch.setattr(encoders, "find_spec", lambda name: None)
    assert encoders.runtime_of("auto", "cpu") == "torch"
    with pytest.raises(ConfigError, match=r"pip install 'trephine\[cpu\]'"):
        encoders.runtime_of("openvino", "cpu")


class ClassAndPatches(torch.nn.Module):
    """The class token beside the mean of the patches, as Virchow2 gives it."""

    def __init__(self, trunk: VisionTransformer) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.trunk.forward_features(x)
        patches = tokens[:, self.trunk.num_prefix_tokens :]
        return torch.cat([tokens[:, 0], patches.mean(dim=1)], dim=1)


REGISTERS = {"reg_tokens": 8, "no_embed_class": True, "dynamic_img_size": True}
SWIGLU = {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU, "mlp_ratio": 5.33334}


PROOF = pytest.mark.proof


def test_an_array_never_says_bfloat16_of_float32(home: Path) -> None:
    """OpenVINO takes float32 without a word where the processor has no bfloat16."""
    if not encoders.has_bfloat16():
        with pytest.raises(ConfigError, match="no bfloat16 on this processor"):
            encoders.load(TINY, "random", by_openvino("bfloat16"))
        return
    half, full = (
        encoders.load(TINY, "random", by_openvino(one)).embed(TILES)
        for one in ("bfloat16", "float32")
    )
    assert (half != full).any()


@PROOF
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kinds", "pooled"),
    [
        pytest.param({}, False, id="layer scale"),
        pytest.param(REGISTERS, False, id="registers"),
        pytest.param(REGISTERS | SWIGLU, False, id="UNI2"),
        pytest.param(REGISTERS | SWIGLU, True, id="class and patches"),
        pytest.param({"global_pool": "avg", "pre_norm": True}, False, id="mean"),
    ],
)
def test_the_layers_of_other_networks_give_the_vectors_of_torch(
    home: Path, kinds: dict[str, Any], pooled: bool, precision: str
) -> None:
    torch.manual_seed(0)
    model: torch.nn.Module = VisionTransformer(
        depth=2, embed_dim=48, num_heads=3, patch_size=14, num_classes=0, init_values=1.0, **kinds
    )
    model = (ClassAndPatches(model) if pooled else model).eval().requires_grad_(False)
    x = torch.randn(6, 3, 224, 224)
    theirs = model(x).numpy()
    key = content_id([str(kinds), pooled])
    dim = theirs.shape[1]
    if precision == "bfloat16" and not encoders.has_bfloat16():
        pytest.skip("no bfloat16 on this processor")
    compiled = encoders.compile_model(model, key, dim=dim, precision=precision, threads=2)
    ours = compiled(x.numpy())
    cosine = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosine.min() > (0.999 if precision == "bfloat16" else 0.999999)
