"""Run a timm network in OpenVINO: on a CPU about twice as fast as torch, and the same vectors.

Figures and what was tried are in docs/speed.md.
"""

from __future__ import annotations

import os
import shutil
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import torch

from featurestore.device import processors
from featurestore.errors import ConfigError, EncoderUnavailable
from featurestore.types import Runtime

JOB_TILES = 4  # what a stream takes at a time: of one size always, so that vectors never differ
HINTS = {"float32": "f32", "bfloat16": "bf16"}


def runtime_of(wanted: Runtime, device: str) -> str:
    """`torch` or `openvino`: as wanted, or by `auto` OpenVINO on a CPU where it is installed.

    Raises:
        ConfigError: OpenVINO was asked for, and is not installed or cannot use the device.
    """
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


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A network that OpenVINO runs in several streams of one thread each."""

    dim: int
    streams: int
    queue: Any = field(repr=False)  # openvino.AsyncInferQueue

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Vectors float32 (k, D) of float32 (k, 3, side, side); the last job is filled with 0."""
        vectors = np.empty((len(x), self.dim), np.float32)

        def keep(request: Any, start: int) -> None:
            rows = vectors[start : start + JOB_TILES]
            rows[:] = request.get_output_tensor(0).data[: len(rows)]

        self.queue.set_callback(keep)
        for start in range(0, len(x), JOB_TILES):
            job = x[start : start + JOB_TILES]
            job = np.pad(job, ((0, JOB_TILES - len(job)), (0, 0), (0, 0), (0, 0)))
            self.queue.start_async({0: job}, start)
        self.queue.wait_all()
        return vectors


def compile_model(
    model: torch.nn.Module, key: str, *, side: int, dim: int, precision: str, threads: int | None
) -> Compiled:
    """Convert a network once, keep it beside the hub's cache, and make it ready to run.

    It turns (k, 3, side, side) into (k, dim); the same encoder_id as key is the same network. Each
    thread is a stream, which beats one stream of all of them; by default every processor that this
    process may use has one.

    Raises:
        ConfigError: the processor does not compute in this precision; it would be float32 in truth.
        EncoderUnavailable: OpenVINO cannot take the network.
    """
    import openvino

    if precision == "bfloat16" and not has_bfloat16():
        raise ConfigError(
            "OpenVINO has no bfloat16 on this processor. Pass --precision float32, or auto."
        )
    threads = threads or processors()
    shape = [JOB_TILES, 3, side, side]
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
    return Compiled(dim=dim, streams=threads, queue=queue)


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
