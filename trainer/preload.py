"""Load torch's libraries, a quarter of its import, while Python imports all else."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from pathlib import Path


def start() -> None:
    """Let a thread load them; it needs no Python, so a second processor does it meanwhile.

    It calls dlopen as any C function, for `ctypes.CDLL` itself would hold Python's lock. What goes
    wrong here is told when torch is imported.
    """
    spec, dlopen = importlib.util.find_spec("torch"), getattr(ctypes.CDLL(None), "dlopen", None)
    if spec is not None and spec.origin is not None and dlopen is not None:
        dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
        library = os.fsencode(Path(spec.origin).parent / "lib" / "libtorch.so")
        threading.Thread(target=dlopen, args=(library, os.RTLD_NOW), daemon=True).start()
