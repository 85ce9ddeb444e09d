"""Where a network computes and in which precision: one answer for Encoders and for training."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from featurestore.errors import ConfigError

if TYPE_CHECKING:
    from featurestore.types import Device, Precision

NO_CUDA = "there is no CUDA device here. Pass --device cpu."


def processors() -> int:
    """Processors that this process may use."""
    is_linux = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if is_linux else os.cpu_count() or 1


def require_driver(wanted: Device) -> None:
    """Refuse cuda where there is no driver, before torch is loaded, which takes seconds."""
    if wanted == "cuda" and sys.platform == "linux" and not Path("/dev/kfd").exists():  # AMD's
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise ConfigError(NO_CUDA) from error


def device_of(wanted: Device) -> str:
    """`cuda` or `cpu`: as wanted, or by `auto` cuda where there is one."""
    import torch  # slow to import: not everyone who opens a store computes

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(NO_CUDA)
    return "cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu"


def precision_of(wanted: Precision, device: str) -> str:
    """`float32` or `bfloat16`: as wanted, or by `auto` bfloat16 where the device has it."""
    import torch

    if wanted != "auto":
        return wanted
    if device == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        can = torch.cpu.get_capabilities()
        native = any(can.get(name) for name in ("amx_bf16", "avx512_bf16"))
    return "bfloat16" if native else "float32"
