"""What stops a command, while Python imports: one sentence, as later; imports nothing slow."""

import os
import signal
import sys

NAMES = ("trephine", "cli.py")  # of the program, as it is called
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a queue, a closed terminal
STOPPED = b"trephine: it was stopped. Nothing is lost: give the same command again.\n"


def is_program() -> bool:
    """Whether this is the program's own process: no test, notebook or process that it starts."""
    return sys.argv[0].rpartition("/")[2] in NAMES and "multiprocessing" not in sys.modules


def stop(number: int, frame: object) -> None:
    """Leave at once: what is half imported cannot be told anything."""
    os.write(2, STOPPED)
    os._exit(130)


def guard() -> None:
    """Until the command takes over; what ignores a signal, as nohup, is left to ignore it."""
    for one in STOPPING:
        if signal.getsignal(one) is not signal.SIG_IGN:
            signal.signal(one, stop)


def must_be_somewhere() -> None:
    """Refuse to work in a folder that was deleted.

    Raises:
        ConfigError: in a sentence with what to do.
    """
    try:
        os.getcwd()  # noqa: PTH109
    except FileNotFoundError as error:
        from featurestore.errors import ConfigError

        raise ConfigError("this folder was deleted. Go to one that is there: cd ~") from error
