"""Run one command, and kill or stop it before its n-th change of a folder.

`python killed.py N SIGNAL FOLDER WORD...`: a change is a rename, a removal, a new folder, or a file
that is opened to be written.
"""

from __future__ import annotations

import os
import sys

CHANGES = {"os.rename": 0, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "open": 0}


def main(at: int, number: int, folder: str, words: list[str]) -> None:
    """Count the changes; at the one that is meant, send this process the signal."""
    seen = 0

    def see(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in CHANGES or folder not in str(args[0]):
            return
        if event == "open" and not (isinstance(args[2], int) and args[2] & 3):
            return
        seen += 1
        if seen == at:
            os.kill(os.getpid(), number)

    import cli

    sys.addaudithook(see)
    sys.argv = ["trephine", *words]
    try:
        cli.main()
    finally:
        print(seen, file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
