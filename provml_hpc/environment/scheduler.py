"""Facts of the scheduler's job: Slurm, PBS, LSF and Flux, in one vocabulary.

=========================== =========================================================================================
name                        meaning
=========================== =========================================================================================
scheduler.name              ``slurm``, ``pbs``, ``lsf`` or ``flux``
scheduler.job_id            the job's own id, as the scheduler writes it
scheduler.array_id          the id that all tasks of a job array share
scheduler.array_task        the task's number in the array
scheduler.step_id           the step in the job
scheduler.job_name          the name given by the user
scheduler.cluster           the cluster's name
scheduler.partition         partition or queue
scheduler.account           account, project or bank
scheduler.qos               quality of service
scheduler.nodes             number of nodes, an integer
scheduler.node_list         the nodes, as the scheduler writes them
scheduler.tasks             number of tasks, an integer
scheduler.cpus_per_task     processors a task, an integer
scheduler.gpus_per_node     GPUs on this node, an integer
scheduler.gpus_per_task     GPUs a task, an integer
scheduler.gpus              GPUs of the whole job, an integer
scheduler.tasks_per_node    tasks on each node, as the scheduler writes them
scheduler.memory_per_node   memory limit a node, in bytes
scheduler.memory_per_cpu    memory limit a processor, in bytes
scheduler.memory_per_gpu    memory limit a GPU, in bytes
scheduler.array_size        how many tasks the job array has, an integer
scheduler.reservation       the reservation that it runs in
scheduler.restart_count     how often the job was requeued, an integer
scheduler.restarted         whether it was, where only that is known
scheduler.end_time          when the time limit ends the job, in seconds since the epoch, an integer
scheduler.start_time        when it started, in seconds since the epoch, an integer
scheduler.time_limit_s      how long it may take, in seconds, an integer
scheduler.submit_host       where it was submitted
scheduler.submit_directory  and in which folder
scheduler.outer             name and id of a scheduler's job around this one, for example ``slurm 123``
scheduler.node_name         this node's name for the scheduler (scope node)
scheduler.reason            why variables of a scheduler were not believed
=========================== =========================================================================================

Variables outlive their job in a terminal that was started inside it, and are copied by hand. So a scheduler is believed
only if its job id has the right form, a second variable that it always sets is there, and, where the node list is
known, this host or the scheduler's name for it stands in it.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from provml_hpc.environment.facts import Fact

_NODE_FILE_LIMIT = 16 * 2**20
# Variable and property; what is a count is turned into an integer, and left out if it is none.
_SLURM = (
    ("SLURM_ARRAY_JOB_ID", "array_id"),
    ("SLURM_ARRAY_TASK_ID", "array_task"),
    ("SLURM_JOB_NAME", "job_name"),
    ("SLURM_CLUSTER_NAME", "cluster"),
    ("SLURM_JOB_PARTITION", "partition"),
    ("SLURM_JOB_ACCOUNT", "account"),
    ("SLURM_JOB_QOS", "qos"),
    ("SLURM_JOB_RESERVATION", "reservation"),
    ("SLURM_SUBMIT_HOST", "submit_host"),
    ("SLURM_SUBMIT_DIR", "submit_directory"),
)
_SLURM_COUNTS = (
    ("SLURM_CPUS_PER_TASK", "cpus_per_task"),
    ("SLURM_GPUS_ON_NODE", "gpus_per_node"),
    ("SLURM_GPUS_PER_TASK", "gpus_per_task"),
    ("SLURM_GPUS", "gpus"),
    ("SLURM_ARRAY_TASK_COUNT", "array_size"),
    ("SLURM_JOB_START_TIME", "start_time"),
    ("SLURM_JOB_END_TIME", "end_time"),
)
_PBS = (
    ("PBS_JOBNAME", "job_name"),
    ("PBS_QUEUE", "partition"),
    ("PBS_ACCOUNT", "account"),
    ("PBS_O_HOST", "submit_host"),
    ("PBS_O_WORKDIR", "submit_directory"),
)
_LSF = (
    ("LSB_JOBNAME", "job_name"),
    ("LSB_QUEUE", "partition"),
    ("LSB_PROJECT_NAME", "account"),
    ("LSB_SUB_HOST", "submit_host"),
    ("LS_SUBCWD", "submit_directory"),
)


class _Job(NamedTuple):
    """What one scheduler's variables say; `reason` is set if they are not to be believed."""

    name: str
    properties: dict[str, str | int | bool]
    reason: str = ""


def job_facts(environ: Mapping[str, str] | None = None, host: str | None = None) -> list[Fact]:
    """Describe the job; empty where there is none.

    Parameters
    ----------
    environ, host
        The variables and this host's name; those of the process by default.
    """
    believed, doubts = _jobs(os.environ if environ is None else environ, host or socket.gethostname())
    facts: list[Fact] = []
    if believed:
        inner = believed[0]
        facts.append(Fact("scheduler.name", inner.name))
        facts += [Fact(f"scheduler.{name}", value) for name, value in inner.properties.items()]
        if len(believed) > 1:
            outer = "; ".join(f"{job.name} {job.properties['job_id']}" for job in believed[1:])
            facts.append(Fact("scheduler.outer", outer))
    if doubts:
        facts.append(Fact("scheduler.reason", "; ".join(doubts)))
    return facts


def node_facts(environ: Mapping[str, str] | None = None, host: str | None = None) -> list[Fact]:
    """Give the scheduler's name for this node, which need not be the host's; empty where there is no job."""
    environ = os.environ if environ is None else environ
    believed, _ = _jobs(environ, host or socket.gethostname())
    name = environ.get("SLURMD_NODENAME")
    if name and any(job.name == "slurm" for job in believed):
        return [Fact("scheduler.node_name", name)]
    return []


def _jobs(environ: Mapping[str, str], host: str) -> tuple[list[_Job], list[str]]:
    """Find the jobs that this process is in, the innermost first, and the reasons against the others."""
    # Flux is often started inside a job of another scheduler, never the other way round.
    finders: tuple[Callable[[Mapping[str, str], str], _Job | None], ...] = (_flux, _slurm, _pbs, _lsf)
    found = [job for job in (find(environ, host) for find in finders) if job is not None]
    return [job for job in found if not job.reason], [job.reason for job in found if job.reason]


def _slurm(environ: Mapping[str, str], host: str) -> _Job | None:
    job_id = environ.get("SLURM_JOB_ID") or environ.get("SLURM_JOBID")
    if job_id is None:
        return None
    nodes = environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST")
    if not job_id.isdecimal() or not nodes:
        return _Job("slurm", {}, f"variables of Slurm are incomplete (job id {_short(job_id)}): taken as leftovers")
    names = [name for name in (environ.get("SLURMD_NODENAME"), host) if name]
    if not any(in_node_list(name, nodes) for name in names):
        return _Job("slurm", {}, f"this host is not a node of Slurm job {job_id}: its variables are taken as leftovers")
    properties: dict[str, str | int | bool] = {"job_id": job_id}
    properties.update(_texts(environ, _SLURM))
    step = environ.get("SLURM_STEP_ID") or environ.get("SLURM_STEPID", "")
    # The batch script and its kin are steps too, with numbers just below 2^32 that mean nothing to a reader.
    if step.isdecimal() and int(step) < 0xFFFFFF00:
        properties["step_id"] = step
    properties.update(
        _counts(environ, (("SLURM_JOB_NUM_NODES", "nodes"),)) or _counts(environ, (("SLURM_NNODES", "nodes"),))
    )
    properties["node_list"] = nodes
    properties.update(
        _counts(environ, (("SLURM_STEP_NUM_TASKS", "tasks"),) if "step_id" in properties else ())
        or _counts(environ, (("SLURM_NTASKS", "tasks"),))
    )
    properties.update(_counts(environ, _SLURM_COUNTS))
    # A job asks for memory a node or a core; then it is that of this node.
    memory = _count(environ.get("SLURM_MEM_PER_NODE"))
    if memory is None and (each := _count(environ.get("SLURM_MEM_PER_CPU"))):
        memory = each * (_count(environ.get("SLURM_CPUS_ON_NODE")) or 0)
    if memory:
        properties["memory_per_node"] = memory * 2**20
    for what in ("cpu", "gpu"):
        each = _count(environ.get(f"SLURM_MEM_PER_{what.upper()}"))
        if each:  # in MiB; 0 stands for all there is
            properties[f"memory_per_{what}"] = each * 2**20
    spread = environ.get("SLURM_STEP_TASKS_PER_NODE") if "step_id" in properties else None
    spread = spread or environ.get("SLURM_TASKS_PER_NODE")
    if spread:
        properties["tasks_per_node"] = spread
    start, end = properties.get("start_time"), properties.get("end_time")
    if isinstance(start, int) and isinstance(end, int) and end > start:
        properties["time_limit_s"] = end - start
    # Slurm sets the count from the first requeue on.
    properties["restart_count"] = _count(environ.get("SLURM_RESTART_COUNT")) or 0
    return _Job("slurm", properties)


def _pbs(environ: Mapping[str, str], host: str) -> _Job | None:
    job_id = environ.get("PBS_JOBID")
    if job_id is None:
        return None
    match = re.fullmatch(r"(\d+)(?:\[(\d*)\])?(\.[A-Za-z0-9_.\-]+)?", job_id)
    if not match or not (environ.get("PBS_ENVIRONMENT") or environ.get("PBS_NODEFILE")):
        return _Job("pbs", {}, f"variables of PBS are incomplete (job id {_short(job_id)}): taken as leftovers")
    # Only the first node has the file; elsewhere the other variables must do.
    nodes = _node_file(environ.get("PBS_NODEFILE", ""))
    if nodes and not any(_same_host(host, node) for node in nodes):
        return _Job("pbs", {}, f"this host is not a node of PBS job {job_id}: its variables are taken as leftovers")
    properties: dict[str, str | int | bool] = {"job_id": job_id}
    if match[2] is not None:
        properties["array_id"] = environ.get("PBS_ARRAY_ID") or f"{match[1]}[]{match[3] or ''}"
    task = environ.get("PBS_ARRAY_INDEX") or environ.get("PBS_ARRAYID") or match[2]
    if task:
        properties["array_task"] = task
    properties.update(_texts(environ, _PBS))
    if nodes:
        distinct = list(dict.fromkeys(nodes))
        properties["nodes"] = len(distinct)
        properties["node_list"] = ",".join(distinct)
        properties["tasks"] = len(nodes)
    else:
        properties.update(_counts(environ, (("PBS_NUM_NODES", "nodes"), ("PBS_NP", "tasks"))))
    properties.update(_counts(environ, (("PBS_WALLTIME", "time_limit_s"), ("PBS_NGPUS", "gpus_per_node"))))
    return _Job("pbs", properties)


def _lsf(environ: Mapping[str, str], host: str) -> _Job | None:
    job_id = environ.get("LSB_JOBID")
    if job_id is None:
        return None
    slots = _lsf_slots(environ)
    if not job_id.isdecimal() or not (slots or environ.get("LSB_QUEUE")):
        return _Job("lsf", {}, f"variables of LSF are incomplete (job id {_short(job_id)}): taken as leftovers")
    if slots and not any(_same_host(host, node) for node in slots):
        return _Job("lsf", {}, f"this host is not a node of LSF job {job_id}: its variables are taken as leftovers")
    properties: dict[str, str | int | bool] = {"job_id": job_id}
    index = environ.get("LSB_JOBINDEX", "0")
    if index.isdecimal() and int(index):
        # An LSF array has one id for all its tasks.
        properties["job_id"] = f"{job_id}[{index}]"
        properties["array_id"] = job_id
        properties["array_task"] = index
    properties.update(_texts(environ, _LSF))
    if slots:
        properties["nodes"] = len(slots)
        properties["node_list"] = ",".join(slots)
    tasks = _count(environ.get("LSB_DJOB_NUMPROC")) or sum(slots.values())
    if tasks:
        properties["tasks"] = tasks
    properties["restarted"] = environ.get("LSB_RESTART", "").upper() == "Y"
    return _Job("lsf", properties)


def _flux(environ: Mapping[str, str], host: str) -> _Job | None:
    job_id = environ.get("FLUX_JOB_ID")
    if job_id is None:
        return None
    size = _count(environ.get("FLUX_JOB_SIZE"))
    if not re.fullmatch(r"[ƒf]?[0-9A-Za-z]+", job_id) or size is None or "FLUX_TASK_RANK" not in environ:
        return _Job("flux", {}, f"variables of Flux are incomplete (job id {_short(job_id)}): taken as leftovers")
    properties: dict[str, str | int | bool] = {"job_id": job_id}
    # `flux submit --cc` numbers the copies of a job; they are jobs of their own, without a common id.
    properties.update(_texts(environ, (("FLUX_JOB_CC", "array_task"),)))
    properties.update(_counts(environ, (("FLUX_JOB_NNODES", "nodes"),)))
    properties["tasks"] = size
    return _Job("flux", properties)


def in_node_list(name: str, nodes: str) -> bool:
    """Tell whether a host is in a Slurm node list such as ``login,n[01-12,20]-ib[0-3]``, by full or short name.

    Examples
    --------
    >>> in_node_list("n07.cluster", "n[01-12,20]"), in_node_list("n7", "n[01-12,20]")
    (True, False)
    """
    short = name.partition(".")[0]
    for item in _node_items(nodes):
        pattern = _node_pattern(item)
        for candidate in (name, short):
            match = pattern.fullmatch(candidate)
            if match and all(map(_in_ranges, match.groups(), re.findall(r"\[([^\]]*)\]", item))):
                return True
    return False


def _node_items(nodes: str) -> Iterator[str]:
    """Split at the commas that are not in brackets."""
    return (match[0] for match in re.finditer(r"(?:[^,\[]|\[[^\]]*(?:\]|$))+", nodes))


def _node_pattern(item: str) -> re.Pattern[str]:
    literal = re.split(r"\[[^\]]*\]", item)
    return re.compile(r"(\d+)".join(map(re.escape, literal)), re.ASCII)


def _in_ranges(number: str, ranges: str) -> bool:
    for part in ranges.split(","):
        first, dash, last = part.strip().partition("-")
        last = last if dash else first
        # Numbers in a list are padded to the width of the range's start.
        if first.isdecimal() and last.isdecimal() and len(number) >= len(first):
            padded = len(number) == len(first) or not number.startswith("0")
            if padded and int(first) <= int(number) <= int(last):
                return True
    return False


def _node_file(name: str) -> list[str]:
    if not name:
        return []
    try:
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            return file.read(_NODE_FILE_LIMIT).split()
    except OSError:
        return []


def _lsf_slots(environ: Mapping[str, str]) -> dict[str, int]:
    """Give the slots of each host from ``h1 16 h2 16`` or ``h1 h1 h2 h2``."""
    words = environ.get("LSB_MCPU_HOSTS", "").split()
    if words and len(words) % 2 == 0 and all(word.isdecimal() for word in words[1::2]):
        return {host: int(count) for host, count in zip(words[::2], words[1::2], strict=True)}
    hosts = environ.get("LSB_HOSTS", "").split()
    return {host: hosts.count(host) for host in dict.fromkeys(hosts)}


def _same_host(one: str, other: str) -> bool:
    return one == other or one.partition(".")[0] == other.partition(".")[0]


def _texts(environ: Mapping[str, str], table: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {name: environ[variable] for variable, name in table if environ.get(variable)}


def _counts(environ: Mapping[str, str], table: tuple[tuple[str, str], ...]) -> dict[str, int]:
    counts = ((name, _count(environ.get(variable))) for variable, name in table)
    return {name: count for name, count in counts if count is not None}


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def _short(text: str) -> str:
    return repr(text[:40])
