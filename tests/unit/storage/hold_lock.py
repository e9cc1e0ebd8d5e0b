"""Own an output until told to end; run by test_owner.py with OUTPUT and what to hold: run or recovery."""

from __future__ import annotations

import os
import sys

from provml_hpc.storage.owner import Ownership, recovering


def main(output: str, what: str) -> None:
    if what == "recovery":
        with recovering(output, force=True):
            print("held", flush=True)
            sys.stdin.readline()
        return
    with Ownership.take(output, "some-run") as owner:
        if what == "fork":
            child = os.fork()
            if child == 0:
                # A child's end must neither drop the lock nor remove anything.
                owner.release()
                os._exit(0 if not owner.beat() else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        print("held", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
