"""Data that ranks share: who reads a file, what a path means on another rank, shards, folders, disagreements."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import provml_hpc as provml
from provml_hpc import content

comm = MPI.COMM_WORLD
rank, size = comm.rank, comm.size
here = Path.cwd()


def counting(read: Any) -> Any:
    """Note the name of each file whose bytes are really read."""

    def counted(descriptor: int, *how: Any) -> Any:
        with Path(f"reads.{rank}").open("a") as file:
            file.write(json.dumps(str(Path(f"/proc/self/fd/{descriptor}").readlink())) + "\n")
        return read(descriptor, *how)

    return counted


for name in ("_read_whole", "_read_sample"):
    setattr(content.digests, name, counting(getattr(content.digests, name)))


def write(name: str, text: str) -> Path:
    path = here / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def data() -> None:
    if rank == 0:
        for name in ("shared", "late", "only 0", "folder/a", "folder/b"):
            write(name, name)
        write("large", "l" * (1 << 19))
    write(f"of {rank}", f"of {rank}")
    comm.Barrier()
    with provml.init("data", phase="learning", output="data.h5", comm=comm) as run:
        shared = run.use_dataset("shared", role="training", characteristics={"n": 1})
        run.use_dataset("large")
        run.use_dataset("folder")
        run.use_dataset(f"of {rank}")
        run.use_dataset(np.arange(3), label="same array")
        run.use_dataset(np.arange(3) + rank, label="own array")
        if rank == size - 1:
            run.use_dataset("late")
        run.flush()
        if rank == 0:
            run.use_dataset("late")
        with run.training(use=[shared, "shared"]) as training:
            for epoch in training.sections("epoch", 2):
                if rank == 0:
                    model = epoch.log_model(write(f"m{epoch.index}", f"weights {epoch.index}"), step=epoch.index)
                comm.Barrier()
                # A rank that has no handle names the model by its path.
                with training.validation("check", use={"candidate": f"m{epoch.index}"}) as validation:
                    validation.evaluate(acc=epoch.index / 2, model=model if rank == 0 else f"m{epoch.index}")
            run.flush()
            # Each rank writes a shard of its own: by path, and by handle.
            training.generate_dataset(write(f"shards/{rank}", str(rank)), member_of="shards", derived_from=shared)
            if rank == 0:
                whole = training.generate_dataset(write("all", "all"))
                training.generate_dataset(write("part", "part"), member_of=whole)
        comm.Barrier()
        with run.evaluation(use=["m1", "shards"]) as evaluation:
            # All ranks say that they made the same file: one version, made once. Some see it half written: nobody reads
            # it as it was then.
            if rank == 0:
                evaluation.generate_dataset("joint", derived_from="all")
                write("joint", "jo")
            comm.Barrier()
            if rank:
                evaluation.generate_dataset("joint", derived_from="all")
            comm.Barrier()
            if rank == 0:
                write("joint", "joint")
            comm.Barrier()
        with run.activity("own work", use="joint") as work:
            work.generate_dataset(write(f"own {rank}", f"own {rank}"), derived_from="joint")
        run.use_dataset("only 0") if rank == 0 else run.log_values({"not 0": True})


def continued() -> str:
    with provml.init("go on", phase="learning", output="data2.h5", comm=comm, continues="data.h5") as run:
        run.use_model("m1")
    again = provml.init("data", phase="learning", output="data.h5", comm=comm, if_exists="new")
    assert again.output == here / "data-1.h5"
    again.use_dataset("shared")
    again.finish()
    try:
        provml.init("data", phase="learning", output="data.h5", comm=comm)
    except provml.OutputExistsError as error:
        refused = str(error)
    else:
        sys.exit("an output was overwritten")
    live = provml.init("live", phase="learning", output="live.h5", comm=comm)
    try:
        provml.init("live", phase="learning", output="live.h5", comm=comm)
    except provml.OutputExistsError as error:
        refused += str(error)
    else:
        sys.exit("a run that lives was overwritten")
    live.finish()
    return refused


def disagree() -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with provml.init("disagree", phase="learning", output="disagree.h5", comm=comm) as run:
            with run.training("by rank", params={"lr": 0.1 if rank < 2 else 0.2}) as training:
                for epoch in training.sections("epoch", 2):
                    training.log(epoch.index, loss=float(rank))
                training.evaluate(acc=0.5)
            with run.training("alike", params={"lr": 0.3}) as training:
                for _ in training.sections("epoch", 1 if rank == size - 1 else 3):
                    pass
            for _ in range(2 if rank == 0 else 1):
                with run.validation():
                    pass
            if rank == 0:
                with run.evaluation() as evaluation:
                    evaluation.evaluate(acc=0.25)
    return [str(one.message) for one in caught]


def lost() -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with provml.init("lost", phase="learning", output="lost.h5", comm=comm) as run:
            for at in range(10):
                run.log(at, loss=None, acc=0.5)  # type: ignore[arg-type]
            run.log_params({"bad": object()})
            with run.activity("own") as own:
                run.flush()
                own.log(0, loss=1.0)
                run.flush()
            for _ in range(3):
                with run.section("epoch", rank) as section:
                    section.log(0, loss=1.0)
            run.flush()
    return [str(one.message) for one in caught]


def strict() -> str:
    raised = ""
    with provml.init("strict", phase="learning", output="strict.h5", comm=comm, strict=True) as run:
        try:
            run.log(0, loss="x" if rank else 0.5)  # type: ignore[arg-type]
        except provml.ProvMLError as error:
            raised = str(error)
        run.flush()
    return raised


data()
told: dict[str, Any] = {"refused": continued()}
told |= {"disagree": disagree(), "lost": lost(), "strict": strict()}
Path(f"told.{rank}").write_text(json.dumps(told))
os.environ["PROVML_DISABLE"] = "1"
with provml.init("off", phase="learning", output=here / "off.h5", comm=comm, strict=True) as off:
    off.log(0, loss=None)  # type: ignore[arg-type]
    unseen = off.use_dataset("no such file")
    assert unseen.path == str(here / "no such file")
    with off.training(params={"bad": object()}, use=[3]) as training:
        for epoch in training.sections("epoch", 3):
            epoch.log_model(np.zeros(1), params=3)  # type: ignore[arg-type]
            epoch.log_metrics(None)  # type: ignore[arg-type]
            epoch.evaluate(acc=object())
            off.flush()
    assert not off.stop_requested
    off.reference("store", "identifier")
assert not (here / "off.h5").exists()
shutil.rmtree("folder", ignore_errors=True)
