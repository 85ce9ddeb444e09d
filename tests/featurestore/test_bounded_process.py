"""A process for foreign files ends with its parent, whatever ends that."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from featurestore.bounded_process import BoundedProcess, Bounds, Died, serve

PARENT = """
import functools, time
from featurestore.bounded_process import BoundedProcess, Bounds, serve
process = BoundedProcess(Bounds(), functools.partial(serve, answer=time.sleep))
process.start().send(600)
print(process.pid, process.folder, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("ended", [signal.SIGKILL, signal.SIGHUP])
def test_it_ends_with_its_parent_and_leaves_nothing(ended: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        time.sleep(0.5)  # it imports, or works
        parent.send_signal(ended)
        deadline = time.monotonic() + 20
        while Path("/proc", pid.decode()).exists() or Path(folder.decode()).exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("n_bytes", [1, 10_000_000])  # it fits into the pipe, and does not
def test_a_stopped_one_is_ended_and_told_however_long_the_request(n_bytes: int) -> None:
    process = BoundedProcess(Bounds(silence_s=0.3), partial(serve, answer=iter))
    process.start()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(Died, match="said nothing"):
        next(process.ask(bytes(n_bytes)))
    assert process.pid is None


def test_one_that_was_killed_while_nobody_asked_is_replaced() -> None:
    process = BoundedProcess(Bounds(), partial(serve, answer=iter))
    process.start()
    before = process.pid
    process.kill()
    while ") Z " not in Path("/proc", str(before), "stat").read_text():  # dead, not only dying
        time.sleep(0.01)
    assert next(process.ask("it")) == "i"
    assert process.pid != before
    process.close()


def test_ctrl_c_is_left_to_who_asked() -> None:
    process = BoundedProcess(Bounds(), partial(serve, answer=iter))
    process.start()
    assert process.pid is not None
    for _ in range(5):  # it imports, and the terminal tells both
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.02)
    answered = process.ask("it")
    assert (next(answered), next(answered)) == ("i", "t")
    process.close()
