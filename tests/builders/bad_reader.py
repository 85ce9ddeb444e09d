"""A reader process that slide b kills and slide c hangs, halfway through their tiles."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection

from featurestore.bounded_process import ONE_THREAD, Bounds
from ingest.slides.worker import Done, read_slide


def tell_threads(connection: Connection, limits: Bounds) -> None:
    """Answer any request with what polars and the environment say of threads."""
    import polars as pl

    request = connection.recv()
    threads = pl.thread_pool_size()
    said = {name: os.environ.get(name) for name in ONE_THREAD}
    connection.send(Done(stage=f"{threads} {set(said.values())} {request.encoder_id}"))


def serve(connection: Connection, limits: Bounds) -> None:
    while True:
        request = connection.recv()
        for number, message in enumerate(read_slide(request)):
            if number == 2 and request.slide.slide_id == "b":
                os.kill(os.getpid(), signal.SIGKILL)
            if number == 2 and request.slide.slide_id == "c":
                time.sleep(1000)
            connection.send(message)
