"""Load torch's libraries, a quarter of its import, while Python imports all else."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import threading
from contextlib import suppress
from pathlib import Path

# Modules that load libraries before torch does: while it is loaded, they could not.
FIRST = (
    "numpy _duckdb _polars_runtime_32._polars_runtime google_crc32c binascii csv decimal hashlib "
    "json mmap multiprocessing.connection queue resource socket unicodedata uuid zoneinfo"
)


def start() -> None:
    """Let a thread load them; it needs no Python, so a second processor does it meanwhile.

    It calls dlopen as any C function, for `ctypes.CDLL` itself would hold Python's lock. What goes
    wrong here is told when it is imported again. Python's end waits for it: it crashes otherwise.
    """
    for name in FIRST.split():
        with suppress(ImportError):
            importlib.import_module(name)
    spec, dlopen = importlib.util.find_spec("torch"), getattr(ctypes.CDLL(None), "dlopen", None)
    if spec is not None and spec.origin is not None and dlopen is not None:
        dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
        library = os.fsencode(Path(spec.origin).parent / "lib" / "libtorch.so")
        threading.Thread(target=dlopen, args=(library, os.RTLD_NOW)).start()
