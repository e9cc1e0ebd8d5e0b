"""Python and its packages, GPUs, the scheduler and the naming authority."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from provml_hpc._version import __version__
from provml_hpc.environment import site_authority
from provml_hpc.environment.authority import SETTING
from provml_hpc.environment.facts import Fact
from provml_tools.doctor import children
from provml_tools.doctor.children import Answer
from provml_tools.doctor.findings import BROKEN, MISSING, NOTE, OK, Finding

PYTHON, GPUS, SITE = "Python", "GPUs", "Site"

# Extra, the packages that it installs, and what they are for.
_EXTRAS: dict[str, tuple[tuple[str, ...], str]] = {
    "offline": (("pyoxigraph", "rich"), "provml query with SPARQL, provml load, most forms of RDF; tables with lines"),
    "export": (("prov", "lxml", "rocrate", "pyarrow"), "provml export, and provml validate of PROV documents"),
    "pandas": (("pandas",), "to_pandas() of what a reader returns"),
}
_IMPORT = """
import importlib, importlib.metadata
for name in {names!r}:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    tell("trying", name=name)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        tell(name, version=version, error="" if error.name == name else str(error), there=error.name != name)
    except Exception as error:
        tell(name, version=version, error=type(error).__name__ + ": " + str(error), there=True)
    else:
        tell(name, version=version, error="", there=True)
"""
_NVML = """
try:
    import pynvml
except ModuleNotFoundError:
    tell("absent")
    sys.exit()
text = lambda value: value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
try:
    pynvml.nvmlInit()
except pynvml.NVMLError as error:
    tell("refused", kind=type(error).__name__, error=text(error))
    sys.exit()
tell("driver", version=text(pynvml.nvmlSystemGetDriverVersion()))
count = pynvml.nvmlDeviceGetCount()
handles = [pynvml.nvmlDeviceGetHandleByIndex(at) for at in range(count)]
tell("devices", names=[text(pynvml.nvmlDeviceGetName(one)) for one in handles])
pynvml.nvmlShutdown()
"""
_NVIDIA, _AMD = Path("/dev/nvidiactl"), Path("/dev/kfd")
_SCHEDULERS = (("Slurm", "sbatch"), ("PBS", "qsub"), ("LSF", "bsub"), ("Flux", "flux"))


def extras(seconds: float) -> Answer:
    """Import the optional packages in a child."""
    names = ["numpy", *(name for names, _ in _EXTRAS.values() for name in names)]
    return children.ask(_IMPORT.format(names=names), seconds)


def packages(answer: Answer) -> Iterator[Finding]:
    """Say which Python this is, and what of the packages is there."""
    details: dict[str, Any] = {"version": platform.python_version(), "executable": sys.executable, "prefix": sys.prefix}
    text = f"{platform.python_version()} ({sys.executable})"
    remedy = "" if sys.version_info >= (3, 10) else "use Python 3.10 or newer"
    yield Finding(PYTHON, "python", BROKEN if remedy else OK, text, "", remedy, details)
    yield Finding(PYTHON, "provml-hpc", OK, __version__, "", "", {"version": __version__})
    yield _packages(answer, "numpy", ("numpy",), "everything", MISSING, "pip install numpy")
    for extra, (names, purpose) in _EXTRAS.items():
        # Nobody needs all of the extras, and a job needs none.
        yield _packages(answer, extra, names, purpose, NOTE, f"pip install 'provml-hpc[{extra}]'")


def _packages(answer: Answer, name: str, packages: tuple[str, ...], purpose: str, absent: str, install: str) -> Finding:
    versions: dict[str, str | None] = {}
    lacking, broken = [], []
    for package in packages:
        step = answer.steps.get(package) or _untold(answer, package)
        versions[package] = step["version"] or None
        if not step["there"]:
            lacking.append(package)
        elif step["error"]:
            broken.append(f"{package} cannot be imported: {step['error']}")
    details: dict[str, Any] = {"packages": versions, "missing": lacking, "broken": broken, "for": purpose}
    there = [f"{package} {version}" for package, version in versions.items() if version]
    meaning = f"for {purpose}"
    if broken:
        remedy = f"{install} --force-reinstall"
        return Finding(PYTHON, name, BROKEN, "; ".join(broken), meaning, remedy, details)
    if lacking:
        text = f"not installed: {', '.join(lacking)}" + (f"; installed: {', '.join(there)}" if there else "")
        return Finding(PYTHON, name, absent, f"{text} (for {purpose})", "", install, details)
    return Finding(PYTHON, name, OK, ", ".join(there) or "there", "", "", details)


def _untold(answer: Answer, package: str) -> dict[str, Any]:
    """Say why a child told nothing of a package."""
    stuck = answer.steps.get("trying", {}).get("name") == package
    error = answer.trouble if stuck else "not tried, since the process that tries packages ended before"
    return {"version": "", "error": error or "it said nothing", "there": True}


def nvml(seconds: float) -> Answer:
    """Ask NVML in a child: one whose driver is ill may hang."""
    return children.ask(_NVML, seconds)


def gpus(answer: Answer) -> Finding:
    """Say which GPUs are seen."""
    steps = answer.steps
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    details: dict[str, Any] = {"count": None, "names": [], "driver": None, "reason": None, "visible": visible}
    name = "NVML"
    if "absent" in steps:
        details["reason"] = "not installed"
        remedy = "pip install 'provml-hpc[telemetry]' (nvidia-ml-py and psutil)"
        if _NVIDIA.exists():
            text = f"nvidia-ml-py is not installed, but there is an NVIDIA driver ({_NVIDIA})"
            return Finding(GPUS, name, MISSING, text, "GPUs cannot be told of", remedy, details)
        text = "nvidia-ml-py is not installed, and no NVIDIA driver was found"
        return Finding(GPUS, name, NOTE, text, _without(), f"on a node with GPUs: {remedy}", details)
    if "refused" in steps:
        kind, error = steps["refused"]["kind"], steps["refused"]["error"]
        details["reason"] = error
        if kind == "NVMLError_LibraryNotFound":
            if _NVIDIA.exists():
                remedy = "add the folder of libnvidia-ml.so.1 to LD_LIBRARY_PATH; in a container, start it with GPUs"
                text = f"nvidia-ml-py is there, the device {_NVIDIA} too, but not the library libnvidia-ml.so.1"
                return Finding(GPUS, name, BROKEN, text, "GPUs cannot be told of", remedy, details)
            text = "nvidia-ml-py is there, but no NVIDIA library (libnvidia-ml.so.1): no driver on this node"
            remedy = "if it should have GPUs, ask for them in the job, for example with --gpus-per-node=1"
            return Finding(GPUS, name, NOTE, text, _without(), remedy, details)
        remedy = "show this to the site's support, with what nvidia-smi says"
        return Finding(GPUS, name, BROKEN, f"NVML does not start: {error}", "GPUs cannot be told of", remedy, details)
    details["driver"] = steps.get("driver", {}).get("version")
    if "devices" not in steps:
        details["reason"] = answer.trouble
        remedy = "show this to the site's support, with what nvidia-smi says"
        text = f"NVML does not answer: {answer.trouble or 'it said nothing'}"
        return Finding(GPUS, name, BROKEN, text, "GPUs cannot be told of", remedy, details)
    names = list(map(str, steps["devices"]["names"]))
    details.update(count=len(names), names=names)
    if not names:
        details["reason"] = "no device"
        remedy = "if it should have GPUs, ask for them in the job, for example with --gpus-per-node=1"
        text = f"driver {details['driver']}, but no device is seen"
        return Finding(GPUS, name, NOTE, text, "the job has no GPU here", remedy, details)
    kinds = ", ".join(f"{names.count(one)} x {one}" for one in dict.fromkeys(names))
    seen = "" if visible is None else f", CUDA_VISIBLE_DEVICES={visible or '(empty)'}"
    return Finding(GPUS, name, OK, f"{kinds}, driver {details['driver']}{seen}", "", "", details)


def _without() -> str:
    if _AMD.exists():
        return f"there is a device of AMD ({_AMD}), which is not told of yet"
    return "a job here computes without GPUs, and nothing is told of them"


def scheduler(facts: Sequence[Fact]) -> Finding:
    """Say in which job of which scheduler this is."""
    told = {fact.name.removeprefix("scheduler."): fact.value for fact in facts}
    tools = {name: path for name, command in _SCHEDULERS if (path := shutil.which(command))}
    details: dict[str, Any] = {"job": {k: v for k, v in told.items() if k != "reason"}, "commands": tools}
    details["reason"] = told.get("reason")
    if "name" in told:
        words = {"nodes": "nodes", "tasks": "tasks", "partition": "partition", "restart_count": "requeued"}
        more = ", ".join(f"{word} {told[key]}" for key, word in words.items() if told.get(key))
        text = f"{told['name']} job {told['job_id']}" + (f" ({more})" if more else "")
        return Finding(SITE, "scheduler", OK, text, "it is recorded with each run", "", details)
    if "reason" in told:
        remedy = "start a fresh shell, or a job; in a container, hand the node's name through"
        meaning = "a run here is recorded as one outside of a job"
        return Finding(SITE, "scheduler", NOTE, str(told["reason"]), meaning, remedy, details)
    if tools:
        text = f"{' and '.join(tools)} ({', '.join(tools.values())}), but this is not in a job"
        remedy = "run provml doctor in a job too: nodes of a job may differ from this one"
        return Finding(SITE, "scheduler", NOTE, text, "", remedy, details)
    return Finding(SITE, "scheduler", OK, "none", "jobs are started with mpiexec or python", "", details)


def authority() -> Finding:
    """Say under which naming authority things get their identity."""
    found = site_authority()
    details = {"name": found.name, "source": found.source, "setting": SETTING}
    if found.source == "default":
        return Finding(
            SITE,
            "names",
            NOTE,
            f"belong to {found.name!r}, since this machine says no domain",
            "studies, persons and stores of other machines without a domain would be taken for the same ones",
            f"export {SETTING}=your.site.example.org in all jobs of the site",
            details,
        )
    text = f"belong to {found.name!r} (from the {found.source})"
    return Finding(SITE, "names", OK, text, "", "", details)
