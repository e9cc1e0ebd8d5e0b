"""A run as it would be here, tried out: by this process, or by all ranks of the job together.

It is a run like any other, of one training with a few samples, in a hidden folder that is removed afterwards. So what
is said of its ranks, journals, devices and flush points is what happened, not what should.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from provml_hpc.assembly.builder import ranges
from provml_hpc.environment import launcher
from provml_hpc.environment.launcher import Launch
from provml_tools.doctor import children, trial
from provml_tools.doctor.children import Answer
from provml_tools.doctor.findings import BROKEN, NOTE, OK, Finding
from provml_tools.units import size

RANKS, RUN = "Ranks", "Run"
SAMPLES, FLUSHES = 1000, 5
BYTES = SAMPLES * 64
"""What each rank brings to a flush point that is measured."""
_SLOW = 1.0
"""Seconds of a flush point that a training would notice."""

# Run as text, since this side of the house must not import the capture. The import of mpi4py comes first, so that it is
# known whether MPI is what fails.
_SOURCE = """
import os, shutil, socket, tempfile, time, warnings
from pathlib import Path
together, place = {together!r}, {place!r}
world = None
if together:
    from mpi4py import MPI
    world = MPI.COMM_WORLD
rank = world.rank if together else 0
share = world.bcast if together else lambda one: one
gather = world.gather if together else lambda one: [one]
barrier = world.Barrier if together else lambda: None
from provml_hpc.telemetry.visible import Seen, given, visible_devices
from provml_tools.doctor.places import Memory
from provml_tools.doctor.trial import mounted
from provml_hpc.environment import scheduler
variable, text = visible_devices()
seen, nvml = [], ""
try:
    from provml_hpc.telemetry.nvml import Library
    for device in Library().devices():
        if isinstance(device, str):
            nvml = device
        else:
            seen.append((device, Seen(len(seen), -1 if device.parent else device.index, device.identifier)))
except ModuleNotFoundError:
    nvml = "nvidia-ml-py is not installed"
except Exception as error:
    nvml = type(error).__name__ + ": " + str(error)
mine = given(text, [one for _, one in seen]) if variable else []
memory = Memory(scheduler.job_facts())
me = {{
    "rank": rank, "node": socket.gethostname(), "variable": variable, "gpus": text if variable else None,
    "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    "devices": [seen[at][0].name + " " + seen[at][0].model for at in mine], "on_node": len(seen), "nvml": nvml,
    "memory": memory.bytes, "memory_of": memory.source,
}}
ranks = gather(me)
if rank == 0:
    tell("ranks", ranks=ranks)
import provml_hpc as provml
folder, trouble = "", ""
if rank == 0:
    try:
        folder = tempfile.mkdtemp(prefix={prefix!r}, dir=place)
    except OSError as error:
        trouble = error.strerror or str(error)
    tell("made", path=folder)
folder, trouble = share((folder, trouble))
times = {{}}
if folder:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        barrier()
        began = time.perf_counter()
        run = provml.init("doctor", phase="learning", output=folder + "/doctor.h5", comm=world, telemetry=False)
        times["init"] = time.perf_counter() - began
        times["flush"] = []
        training = run.training()
        record = training.series("a", "b", "c")
        for _ in range({flushes}):
            for step in range({samples}):
                record(step, 1.0, 2.0, 3.0)
            barrier()
            began = time.perf_counter()
            run.flush()
            times["flush"].append(time.perf_counter() - began)
        journal = str(run._session.folder or "")
        began = time.perf_counter()
        run.finish()
        times["close"] = time.perf_counter() - began
    beside, above = journal.startswith(folder), str(Path(journal).parent)
    kind = mounted(above)["kind"]
    journals = gather({{"rank": rank, "node": me["node"], "journal": above, "beside": beside, "kind": kind}})
    every = gather(times)
    troubles = gather([str(one.message) for one in said][:1])
    barrier()
    if rank == 0:
        shutil.rmtree(folder, ignore_errors=True)
        flushes = [max(one["flush"][k] for one in every) for k in range({flushes})]
        worst = {{name: max(one[name] for one in every) for name in ("init", "close")}}
        tell("run", flush=flushes, journals=journals, troubles=sum(troubles, []), **worst)
if together:
    MPI.Finalize()
tell("ended", rank=rank, trouble=trouble)
"""


def attempt(place: Path, seconds: float, *, together: bool) -> Answer:
    """Try out a run whose output lies in a folder. *Collective* if it is tried together: every rank has to.

    It is a child of each rank that becomes a rank of the job, as under any wrapper script; this process never does.

    Parameters
    ----------
    place
        The folder; nothing stays in it.
    seconds
        How long it may take.
    together
        Whether all ranks of the job take part, or this process alone.
    """
    source = _SOURCE.format(together=together, place=str(place), prefix=trial.TRIAL, samples=SAMPLES, flushes=FLUSHES)
    env = dict(os.environ) if together else launcher.by_itself()
    answer = children.ask(source, seconds, env, launcher.descriptors() if together else ())
    left = Path(str(answer.steps.get("made", {}).get("path", "")))
    if left.name.startswith(trial.TRIAL) and left.parent == place:
        shutil.rmtree(left, ignore_errors=True)  # only there if the child was killed or crashed
    return answer


def findings(answer: Answer, launched: Launch, *, together: bool) -> Iterator[Finding]:
    """Say what the run found."""
    told = answer.steps.get("ranks", {}).get("ranks", [])
    if together:
        yield _ranks(told, answer, launched)
        if not told:
            return
        yield _gpus(told)
        if "run" in answer.steps:
            yield _journals(answer.steps["run"]["journals"], told)
    yield _flush(answer, RANKS if together else RUN)


def _ranks(told: list[dict[str, Any]], answer: Answer, launched: Launch) -> Finding:
    details: dict[str, Any] = {"ranks": told, "nodes": {}}
    if not told:
        return Finding(
            RANKS,
            "together",
            BROKEN,
            f"could not be asked: {answer.trouble or 'they did not find each other'}",
            "a job started like this would not get beyond its first collective call",
            "start it with the mpiexec of mpi4py's MPI, and look at the network of the nodes",
            details,
        )
    nodes = _by_node(told)
    details["nodes"] = {node: [one["rank"] for one in here] for node, here in nodes.items()}
    where = "; ".join(f"{node}: {ranges(one['rank'] for one in here)}" for node, here in nodes.items())
    found = f"{len(told)} on {len(nodes)} node{'s' * (len(nodes) > 1)} ({where})"
    if launched.size is not None and len(told) != launched.size:
        meaning = f"the launcher started {launched.size}, so each of them records a run of its own"
        remedy = "start the job with the mpiexec of mpi4py's MPI"
        return Finding(RANKS, "together", BROKEN, found, meaning, remedy, details)
    return Finding(RANKS, "together", OK, found, "they find each other", "", details)


def _gpus(told: list[dict[str, Any]]) -> Finding:
    """Say which rank was given which device."""
    details = {"by_rank": {str(one["rank"]): one["devices"] or one["gpus"] for one in told}}
    given = [one for one in told if one["gpus"] is not None]
    blind = {node: here[0]["nvml"] for node, here in _by_node(told).items() if here[0]["nvml"]}
    why = "; ".join(f"{node}: {reason}" for node, reason in blind.items())
    if not given:
        if any(one["on_node"] for one in told):
            text = "no variable says which rank has which device, so each sees all of its node"
            remedy = "srun --gpus-per-task=1, or set CUDA_VISIBLE_DEVICES for each rank"
            return Finding(RANKS, "GPUs", NOTE, text, "telemetry cannot tell whose device is whose", remedy, details)
        found = f"none were given to the ranks, and none are seen ({why or 'the driver names none'})"
        return Finding(RANKS, "GPUs", NOTE, found, "the job computes without GPUs", "", details)
    maps = []
    for node, here in _by_node(given).items():
        pairs = [f"{one['rank']} -> {', '.join(one['devices']) or one['gpus'] or 'none'}" for one in here]
        maps.append(f"{node}: {'; '.join(pairs)}")
    text = "rank -> device: " + " | ".join(maps)
    if blind:
        remedy = "see NVML above; without it a device is known by its number alone"
        return Finding(RANKS, "GPUs", NOTE, text, f"NVML was not there to ask ({why})", remedy, details)
    shared = [node for node, here in _by_node(given).items() if len({str(one["gpus"]) for one in here}) < len(here)]
    if shared:
        meaning = f"ranks on {', '.join(shared)} were given the same devices: which of them each uses is not known"
        remedy = "srun --gpus-per-task=1, or set CUDA_VISIBLE_DEVICES for each rank"
        return Finding(RANKS, "GPUs", NOTE, text, meaning, remedy, details)
    return Finding(RANKS, "GPUs", OK, text, "", "", details)


def _journals(journals: list[dict[str, Any]], told: list[dict[str, Any]]) -> Finding:
    """Say where the ranks' journals lay, and what those in memory take of it."""
    from provml_tools.doctor.places import BUFFER, IN_MEMORY

    memory = {one["rank"]: (one["memory"], one["memory_of"]) for one in told}
    parts, odd = [], False
    for node, here in _by_node(journals).items():
        places: dict[tuple[str, str, bool], list[int]] = {}
        for one in here:
            places.setdefault((one["journal"], one["kind"], one["beside"]), []).append(one["rank"])
        for (place, kind, beside), ranks in places.items():
            odd |= not beside
            text = f"{node}: ranks {ranges(ranks)} {'beside the output' if beside else f'in {place}'}"
            if kind in IN_MEMORY:
                whole, source = memory[ranks[0]]
                text += f", in memory: {100 * BUFFER * len(ranks) / whole:.1g} % of {size(whole)} ({source})"
            parts.append(text)
    details = {"ranks": journals, "bytes_a_rank": BUFFER}
    if odd:
        meaning = "the folder of the output is not there, or full, on those nodes: what a killed job left stays on them"
        remedy = "choose an output on a file system that all nodes share, or see provml rescue"
        return Finding(RANKS, "journals", NOTE, "; ".join(parts), meaning, remedy, details)
    return Finding(RANKS, "journals", OK, "; ".join(parts), f"{size(BUFFER)} a rank by default", "", details)


def _flush(answer: Answer, topic: str) -> Finding:
    """Say how long the flush points of the trial took."""
    run = answer.steps.get("run")
    name = "flush"
    if run is None:
        reason = answer.steps.get("ended", {}).get("trouble") or answer.trouble or "it said nothing"
        remedy = "see the place of the output above; with more time: --timeout"
        return Finding(topic, name, BROKEN, f"a run could not be tried: {reason}", "", remedy, {"flush_s": None})
    flush = sorted(run["flush"])
    middle = flush[len(flush) // 2]
    details = {"flush_s": run["flush"], "init_s": run["init"], "close_s": run["close"], "bytes_a_rank": BYTES}
    text = (
        f"{_time(middle)} for {size(BYTES)} a rank (of {len(flush)}: {_time(flush[0])} to {_time(flush[-1])}), "
        f"init {_time(run['init'])}, end {_time(run['close'])}"
    )
    if run["troubles"]:
        return Finding(topic, name, BROKEN, text, str(run["troubles"][0]), "see the places above", details)
    if middle > _SLOW:
        remedy = "flush less often, choose an output on a faster file system, or give each rank a core"
        return Finding(topic, name, NOTE, text, "a training would notice it", remedy, details)
    return Finding(topic, name, OK, text, f"one a minute costs {100 * middle / 60:.2g} % of the time", "", details)


def _time(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _by_node(told: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    nodes: dict[str, list[dict[str, Any]]] = {}
    for one in told:
        nodes.setdefault(str(one["node"]), []).append(one)
    return nodes
