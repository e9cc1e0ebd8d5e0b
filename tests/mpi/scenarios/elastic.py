"""A stand-in for torchrun: starts N workers with the variables that torchrun 2.14 sets, and again if one fails.

It is no torchrun: it knows no rendezvous and one node only. ``elastic.py WORKERS RESTARTS NODES SCRIPT ARGUMENT...``;
with more than one node, the workers are told that they are on so many.
"""

from __future__ import annotations

import os
import subprocess
import sys

workers, restarts, nodes = map(int, sys.argv[1:4])
for restart in range(restarts + 1):
    started = []
    for rank in range(workers):
        here = workers // nodes
        env = os.environ | {
            "RANK": str(rank),
            "WORLD_SIZE": str(workers),
            "LOCAL_RANK": str(rank % here),
            "LOCAL_WORLD_SIZE": str(here),
            "GROUP_RANK": str(rank // here),
            "GROUP_WORLD_SIZE": str(nodes),
            "ROLE_RANK": str(rank),
            "ROLE_WORLD_SIZE": str(workers),
            "ROLE_NAME": "default",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29500",
            "TORCHELASTIC_RESTART_COUNT": str(restart),
            "TORCHELASTIC_MAX_RESTARTS": str(restarts),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
        }
        env.setdefault("TORCHELASTIC_RUN_ID", "none")
        started.append(subprocess.Popen([sys.executable, *sys.argv[4:]], env=env))
    codes = [worker.wait() for worker in started]
    if not any(codes):
        sys.exit(0)
sys.exit(1)
