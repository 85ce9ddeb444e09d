"""Where is computed: device and precision, one answer for Encoders and training; a Ray cluster."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featurestore.errors import ConfigError

if TYPE_CHECKING:
    from featurestore.types import Device, Precision

NO_CUDA = "there is no CUDA device here. Pass --device cpu."
ANSWER_S = 5.0  # that a cluster may take to answer
MOST_DEATHS = 3  # workers that one piece of work may take down


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


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; to one of this machine alone without an address."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to its makers
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its warning
    try:
        import ray
    except ImportError as error:
        raise ConfigError("Ray is not installed. Run: pip install 'trephine[ray]'") from error
    where = {"address": address} if address else {"address": "local", "include_dashboard": False}
    stop = signal.getsignal(signal.SIGTERM)
    try:
        try:
            _knock(address or "")
            ray.init(**where, logging_level="ERROR", log_to_driver=False)
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            why = (str(error).splitlines() or [""])[0][:200].rstrip(".")
            raise ConfigError(
                f"there is no Ray cluster at {address or 'this machine'}: {why}. "
                "Start one with: ray start --head"
            ) from error
        except SystemExit as error:  # what Ray makes of a SIGTERM, from here on
            raise KeyboardInterrupt from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, stop)
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Reach an address with a port, for Ray itself would try for minutes."""
    if address in ("", "auto", "local"):
        return
    host, _, port = address.rpartition(":")
    if "/" in host or not (host and port.isdecimal()):  # no streams come from a ray:// client
        raise ValueError("expected HOST:PORT of its head")
    socket.create_connection((host, int(port)), ANSWER_S).close()
