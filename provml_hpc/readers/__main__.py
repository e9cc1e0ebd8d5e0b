"""The child process that readers run in: a job a line on standard input, an answer a line on standard output.

A job is a JSON object with ``path``, ``reader`` and ``seconds``; an answer has ``facts`` or ``error``. Who asks gives
up by itself. The seconds are for the case that it is gone, killed with its job: nobody else would end a reader that
hangs.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys

from provml_hpc.readers import describe

MEMORY = 8 << 30
"""Most bytes of address space: a header that claims to be huge ends here, and not the node."""

SECONDS = 600
"""After so long a reader ends with its process, where the job says nothing else."""


def main() -> None:
    """Answer until there are no more jobs."""
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, MEMORY)):
        most = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (value if most == resource.RLIM_INFINITY else min(value, most), most))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a launcher may have had it ignored
    # What a library prints is no answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        # An alarm that nobody handles ends a process in the middle of a library's loop too.
        signal.alarm(int(job.get("seconds", SECONDS)))
        try:
            answer = {"facts": describe(job["path"], job["reader"])}
            text = json.dumps(answer, default=str)
        except Exception as error:  # a reader may raise anything, and so may a value's own code
            text = json.dumps({"error": f"{type(error).__name__}: {error}"[:500]})
        signal.alarm(0)
        answers.write(text + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
