"""A reader process that slide b kills and slide c hangs, halfway through their tiles."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.connection import Connection

from ingest import reading


def serve(connection: Connection) -> None:
    while True:
        request = connection.recv()
        for number, message in enumerate(reading.read_slide(request)):
            if number == 2 and request.slide.slide_id == "b":
                os.kill(os.getpid(), signal.SIGKILL)
            if number == 2 and request.slide.slide_id == "c":
                time.sleep(1000)
            connection.send(message)
