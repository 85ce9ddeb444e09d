"""A Ray cluster to work on: the one place that knows how one is reached."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from featurestore.errors import ConfigError

ANSWER_S = 5.0  # that a cluster may take to answer
MOST_DEATHS = 3  # workers that one piece of work may take down


@contextmanager
def cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; to one of this machine alone without an address.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
    """
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
