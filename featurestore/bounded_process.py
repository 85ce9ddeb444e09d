"""Work on foreign files, and SQL, in a process of its own: what kills or hangs it fails alone."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import Any

from featurestore.errors import temporary

ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


class Died(Exception):
    """Why a process gave no answer: it was killed, or hung and was ended."""

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code  # its exit code; None: it hung


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one request may take; more of it kills the process, and that request fails."""

    silence_s: float = 300.0  # a reader that says nothing for so long hangs
    cpu_s: float = 1800.0  # of all threads
    memory_bytes: int = 8 * 2**30  # of data, over what a fresh reader has; reserved is not held
    one_thread: bool = True  # the caller needs the cores


Target = Callable[[Connection, Bounds], None]


def serve(connection: Connection, limits: Bounds, answer: Callable[[Any], Iterator[Any]]) -> None:
    """Answer requests until the other side is gone; runs in the process."""
    try:
        while True:
            request = connection.recv()
            signal.setitimer(signal.ITIMER_PROF, limits.cpu_s)  # its signal ends the process
            for message in answer(request):
                connection.send(message)
            signal.setitimer(signal.ITIMER_PROF, 0)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _end_with_parent() -> None:
    parent, pid = multiprocessing.parent_process(), os.getppid()
    assert parent is not None
    while os.getppid() == pid and parent.is_alive():  # its other children may hold what tells it
        parent.join(0.5)
    shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    os._exit(1)


def hold_data(n_bytes: int) -> None:
    """Let this process have so much data more; what threads reserve of addresses is none."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
    except OSError:  # no Linux: the limit means something else there
        return
    most = pages * resource.getpagesize() + n_bytes
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _run(target: Target, connection: Connection, limits: Bounds) -> None:
    """What runs in the new process, whose folder for what is temporary goes with it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    hold_data(limits.memory_bytes)
    try:
        target(connection, limits)
    finally:
        shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)


_ENVIRONMENT = threading.Lock()


@contextmanager
def _environment(**told: str) -> Iterator[None]:
    """Start a process with these variables, and without the caller's script.

    A child imports the script again that its parent runs: one without `if __name__ == "__main__"`
    would start over there. A worker of a pool is a daemon, which may have no child: it may here.
    """
    with _ENVIRONMENT:
        before, script = dict(os.environ), sys.modules["__main__"]
        caller = multiprocessing.current_process()
        is_daemon, caller.daemon = caller.daemon, False
        os.environ.update(told)
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            caller.daemon = is_daemon
            sys.modules["__main__"] = script
            for name in told:
                os.environ.pop(name)
                os.environ.update({name: before[name]} if name in before else {})


class BoundedProcess:
    """A process that answers one request after the other, and is replaced when it dies or hangs.

    Args:
        limits: of each request.
        target: what runs in it; a function of a module, as `serve` with its own `answer`.
    """

    def __init__(self, limits: Bounds, target: Target) -> None:
        self._limits, self._target = limits, target
        self._process: Any = None
        self._connection: Connection | None = None
        self.folder = ""  # its own, for what is temporary

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else int(self._process.pid)

    def ask(self, request: Any, cpu_s: float | None = None) -> Iterator[Any]:
        """Yield what is answered to a request; the caller knows the last word.

        `cpu_s` is what the target lets this one take, where it has a rule of its own.

        Raises:
            Died: the process did, or was silent for too long; the next request starts another.
        """
        code = None
        try:
            connection = self.start()
            connection.send(request)
            while connection.poll(self._limits.silence_s):
                yield connection.recv()
            raise BlockingIOError
        except BlockingIOError:  # also where a long request finds no room
            reason = f"hung: its reader said nothing for {self._limits.silence_s:g} s"
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            reason = f"killed its reader (exit code {code})"
            if code == -signal.SIGPROF:
                most = cpu_s or self._limits.cpu_s
                reason = f"took its reader over {most:.3g} s of processor time"
        self.close()
        raise Died(reason, code)

    def kill(self) -> None:
        """End the process, from another thread: who reads is told that it died."""
        with suppress(AttributeError, ValueError):  # there is none, or no more
            self._process.kill()

    def close(self) -> None:
        """End the process at once, and what it left."""
        if self._process is not None:
            self._process.kill()
            self._process.join(10)  # a dead file server holds even what was killed
            if not self._process.is_alive():
                self._process.close()
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def start(self) -> Connection:
        """Start the process, unless it runs; it takes its time while the caller does others."""
        if self._connection is not None and self._process.is_alive():
            return self._connection
        self.close()  # it was killed while nobody asked
        from multiprocessing import resource_tracker  # it costs what no training needs

        # never fork: a child has the locks of its parent's threads, and none of the threads
        context = multiprocessing.get_context("spawn")
        with temporary():
            self.folder = tempfile.mkdtemp(prefix="trephine-")
        self._connection, theirs = context.Pipe()
        with socket.fromfd(self._connection.fileno(), socket.AF_UNIX, socket.SOCK_STREAM) as ours:
            limit = struct.pack("ll", *divmod(int(self._limits.silence_s * 1e6), 1_000_000))
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._process = context.Process(
            target=_run, args=(self._target, theirs, self._limits), daemon=True
        )
        few = dict.fromkeys(ONE_THREAD if self._limits.one_thread else (), "1")
        # Ctrl-C is the caller's, who ends the process; it would be told of what is half imported
        resource_tracker.ensure_running()  # where it starts, it lets Ctrl-C in again
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _environment(TMPDIR=self.folder, **few):
                self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        return self._connection
