"""What a rank pays for being there: CPU of the import and the first calls, memory above what it had before."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from mpi4py import MPI


def memory() -> dict[str, float]:
    """Return the resident memory of this process in MiB: of its own, and of mapped files (the journal among them)."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("RssAnon", "RssFile", "RssShmem", "VmRSS"):
            found[name] = int(rest.split()[0]) / 1024
    return found


def main() -> None:
    """Do what the arguments say and write the result."""
    arguments, result = json.loads(sys.argv[1]), Path(sys.argv[2])
    comm = MPI.COMM_WORLD
    np.zeros(10).sum()
    before, cpu = memory(), time.process_time()
    import provml_hpc as provml

    imported = time.process_time() - cpu
    cpu = time.process_time()
    run = provml.init("rank", phase="learning", output=Path(arguments["folder"]) / "rank.h5", comm=comm)
    opened = time.process_time() - cpu
    with run, run.training() as training:
        cpu = time.process_time()
        for step in range(1000):
            training.log(step, loss=0.1, grad_norm=0.2, lr=0.3)
        logged = time.process_time() - cpu
        for start in range(0, 200_000, 20_000):
            for step in range(start, start + 20_000):
                training.log(step, loss=0.1, grad_norm=0.2, lr=0.3)
            run.flush()
        after = memory()
        journal = run._session.journal
        touched = 0.0 if journal is None else 20_100 * 64 / 2**20
        modules = [
            name for name in ("h5py", "pandas", "pyoxigraph", "rdflib", "json", "mpi4py.MPI") if name in sys.modules
        ]
    # Pages of the journal are files' pages; what of them was touched is the buffer.
    grown = after["VmRSS"] - before["VmRSS"]
    mine = {
        "rank": comm.rank,
        "writer": comm.rank == 0,
        "import_s": imported,
        "init_s": opened,
        "log_s": logged,
        "grown_mib": round(grown, 2),
        "anonymous_mib": round(after["RssAnon"] - before["RssAnon"], 2),
        "above_buffer_mib": round(grown - touched, 2),
        "modules": [name for name in modules if name in ("h5py", "pandas", "pyoxigraph", "rdflib")],
    }
    everyone = comm.gather(mine)
    if comm.rank == 0:
        result.write_text(json.dumps(everyone))


if __name__ == "__main__":
    main()
