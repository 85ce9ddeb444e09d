"""Weights of a file, however it wraps them: the same network, or a sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from featurestore.errors import EncoderUnavailable
from ingest.slides import encoders

TINY = "timm:test_vit"


def noise(n: int, side: int = 224) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (n, side, side, 3), np.uint8)


def wrapped(state: dict[str, torch.Tensor], how: str) -> dict[str, Any]:
    """A state_dict as a training leaves it."""
    prefix, _, nested = how.rpartition("/")
    chunked = nested.endswith("*")
    names = {k.replace("blocks.", "blocks.0.") if chunked else k: v for k, v in state.items()}
    made: dict[str, Any] = {f"{nested.removesuffix('*')}{k}": v for k, v in names.items()}
    for key in reversed(prefix.split("/") if prefix else []):
        made = {key: made}
    return made


class _Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("/tmp/trephine_bomb"),))


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


@settings(
    max_examples=24, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    folder=st.sampled_from(["", "teacher/", "model/", "state_dict/", "model/teacher/"]),
    prefix=st.sampled_from(
        ["", "backbone.", "teacher.backbone.", "module.", "module.backbone.",
         "teacher.backbone._fsdp_wrapped_module.", "_orig_mod.", "encoder.vit."]
    ),
    chunked=st.booleans(),
    student=st.booleans(),
    head=st.booleans(),
)  # fmt: skip
def test_a_backbone_is_found_however_it_is_wrapped(
    tmp_path: Path, folder: str, prefix: str, chunked: bool, student: bool, head: bool
) -> None:
    first = encoders.load(TINY, "random")
    state = first.model.state_dict()
    made = wrapped(state, folder + prefix + "*" * chunked)
    other = {k: torch.ones_like(v) for k, v in state.items()}
    if student and "teacher" in folder + prefix:
        inner = made["model"] if folder == "model/teacher/" else made
        inner |= {f"student.backbone.{k}": v for k, v in other.items()}
    if head:
        made |= {"dino_head.mlp.weight": torch.zeros(2), "iteration": 3, "optimizer": {"lr": 1.0}}
    path = tmp_path / "model_final.rank_0.pth"
    torch.save(made, path)
    assert encoders.load(TINY, str(path)).encoder_id == first.encoder_id


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a.weight": torch.zeros(2), "b": torch.zeros(2)}, "2 tensors: a.weight, b"),
        ({"model": {"teacher.backbone._flat_param": torch.zeros(9)}}, "FSDP has sharded"),
        (
            {f"{name}.patch_embed.proj.weight": torch.zeros(2) for name in "ab"},
            "several networks.*'a.', 'b.'",
        ),
        ({}, "0 tensors: none"),
    ],
)
def test_a_file_without_one_backbone_says_which_keys_it_holds(
    tmp_path: Path, state: dict[str, Any], said: str
) -> None:
    torch.save(state, tmp_path / "model_final.pth")
    with pytest.raises(EncoderUnavailable, match=said):
        encoders.load(TINY, str(tmp_path / "model_final.pth"))


@pytest.mark.parametrize("other", ["patch_size", "embed_dim", "depth"])
def test_weights_of_another_size_are_refused_by_name(tmp_path: Path, other: str) -> None:
    wanted = encoders.load(TINY, "random").model
    sizes = {"patch_size": 16, "embed_dim": 64, "depth": 6, "num_heads": 2}
    assert isinstance(wanted.patch_embed.proj, torch.nn.Conv2d)  # type: ignore[union-attr]
    sizes["patch_size"] = int(wanted.patch_embed.proj.kernel_size[0])  # type: ignore[union-attr]
    sizes["embed_dim"] = int(wanted.num_features)  # type: ignore[arg-type]
    sizes["depth"] = len(wanted.blocks)  # type: ignore[arg-type]
    sizes[other] = {"patch_size": 14, "embed_dim": sizes["embed_dim"] * 2, "depth": 3}[other]
    made = VisionTransformer(img_size=224 // 14 * 14, num_classes=0, **sizes)
    torch.save(made.state_dict(), tmp_path / "w.pth")
    said = (
        f"patches of {sizes['patch_size']} px, {sizes['embed_dim']} columns and "
        f"{sizes['depth']} blocks, expected patches of"
    )
    with pytest.raises(EncoderUnavailable, match=said):
        encoders.load(TINY, str(tmp_path / "w.pth"))


@pytest.mark.parametrize("kind", ["missing", "bomb", "text", "other", "pipe", "zeros"])
def test_weights_that_cannot_be_trusted_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.pth"
    if kind == "bomb":
        torch.save({"teacher": _Bomb()}, path)
    elif kind == "text":
        path.write_text("not weights")
    elif kind == "other":
        torch.save({"cls_token": torch.zeros(1, 1, 8)}, path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "zeros":
        path.write_bytes(bytes(5000))
    with pytest.raises(EncoderUnavailable, match=r"weights|run any program") as told:
        encoders.load(TINY, str(path))
    assert "torch" not in str(told.value).lower()  # in our words, not in the library's
    assert not Path("/tmp/trephine_bomb").exists()


@pytest.mark.proof
@pytest.mark.parametrize("registers", [0, 4])
def test_a_file_of_the_dinov2_repository_loads_strictly(tmp_path: Path, registers: int) -> None:
    name = "dinov2-small" + ("-reg" if registers else "")
    ours = encoders.load(name, "random").model.state_dict()
    torch.manual_seed(1)
    theirs = {
        k: torch.randn_like(v) for k, v in ours.items() if k not in ("pos_embed", "reg_token")
    }
    theirs["mask_token"] = torch.zeros(1, 384)
    theirs["pos_embed"] = torch.randn(1, 1 + 37 * 37, 384)  # of pictures of 518 px
    if registers:
        theirs["register_tokens"] = torch.randn(1, registers, 384)
    torch.save(theirs, tmp_path / "dinov2.pth")
    loaded = encoders.load(name, str(tmp_path / "dinov2.pth")).model.state_dict()
    for key in theirs.keys() & ours.keys() - {"cls_token", "pos_embed"}:
        assert torch.equal(loaded[key], theirs[key]), key
    first = theirs["cls_token"] + theirs["pos_embed"][:, :1]  # what the network begins with
    got = loaded["cls_token"] if registers else loaded["cls_token"] + loaded["pos_embed"][:, :1]
    assert torch.allclose(got, first)
    if registers:
        assert torch.equal(loaded["reg_token"], theirs["register_tokens"])
    del theirs["norm.bias"]
    torch.save(theirs, tmp_path / "short.pth")
    with pytest.raises(EncoderUnavailable, match="not those of encoder"):
        encoders.load(name, str(tmp_path / "short.pth"))
