"""A file that all ranks name and want described, one of each rank's own, and one that a rank makes."""

from __future__ import annotations

from pathlib import Path

import h5py
from mpi4py import MPI

import provml_hpc as provml

comm = MPI.COMM_WORLD
rank = comm.rank


def reads(path: str) -> dict[str, int]:
    """Describe a file, and leave a mark of having done so."""
    with (Path(path).parent / "reads.txt").open("a") as file:
        file.write(Path(path).name + "\n")
    return {"bytes": Path(path).stat().st_size}


if __name__ == "__main__":
    Path(f"own-{rank}").write_text("x" * (rank + 1))
    if rank == 0:
        Path("shared").write_text("shared")
    comm.Barrier()
    with provml.init("described", phase="learning", output="job.h5", comm=comm) as run:
        me = "capture_described:reads"
        run.use_dataset("shared", characteristics=me)
        run.use_dataset(f"own-{rank}", characteristics=me)
        run.flush()
        with run.activity("make") as step:
            with h5py.File(f"made-{rank}.h5", "w") as file:
                file["x"] = range(rank + 1)
            step.generate_dataset(f"made-{rank}.h5", characteristics="auto")
