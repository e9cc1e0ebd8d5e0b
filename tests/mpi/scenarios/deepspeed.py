"""A stand-in for DeepSpeed's own launcher: starts the workers of N nodes with the variables that DeepSpeed 0.19.8 sets.

It is no DeepSpeed, and all its nodes are this machine. ``deepspeed.py WORKERS NODES SCRIPT ARGUMENT...``
"""

from __future__ import annotations

import os
import subprocess
import sys

workers, nodes = map(int, sys.argv[1:3])
here = workers // nodes
started = []
for rank in range(workers):
    env = os.environ | {
        "RANK": str(rank),
        "WORLD_SIZE": str(workers),
        "LOCAL_RANK": str(rank % here),
        "LOCAL_SIZE": str(here),
        "CROSS_RANK": str(rank // here),
        "CROSS_SIZE": str(nodes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
    }
    started.append(subprocess.Popen([sys.executable, "-u", *sys.argv[3:]], env=env))
codes = [worker.wait() for worker in started]
sys.exit(any(codes))
