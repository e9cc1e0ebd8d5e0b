"""A Slurm cluster of twelve nodes on this one machine: ``python -m tests.slurm.cluster up``.

The daemons are real: munged, slurmctld and twelve slurmd of Debian's slurm-wlm (built with MULTIPLE_SLURMD). So is what
they do to jobs: queue, launch, signal, kill, requeue. The nodes share this machine's cores and disk, and their GPUs are
stand-ins.

Each node has a host name, a /dev/shm and a ``$SLURM_TMPDIR`` of its own (the first two are namespaces of the kernel, so
where this user may make them), and an epilog wipes that folder when a job ends, as clusters do. Everything lies in one
folder below the temporary one, on ports that were free, with a munge socket and key of its own: a Slurm that this
machine runs already is not touched, and only processes that were started here are ended.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "apt-get install --no-install-recommends slurm-wlm munge"
NODES, GPUS, CPUS = 12, 4, 64
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "sinfo", "squeue")
_SYSTEM_PATH = "/usr/sbin:/sbin"
_MARK = "PROVML_CLUSTER_TOKEN"
_READY_S = 60.0

_SLURM_CONF = """\
ClusterName=provml
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A requeued job waits until the credentials of its last attempt are over.
AuthInfo=socket={folder}/munge/socket,cred_expire=30
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/nodes/%n/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/nodes/%n/slurmd.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=pmi2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
# Heterogeneous jobs are started by the backfill alone.
SchedulerParameters=bf_interval=2
ReturnToService=2
EnforcePartLimits=ALL
MinJobAge=3600
# From SIGTERM to SIGKILL; clusters have 30 s.
KillWait=10
# The folder of a job on each of its nodes: made when the job gets the node, wiped when it leaves.
PrologFlags=Alloc
Prolog={folder}/prolog
TaskProlog={folder}/task_prolog
Epilog={folder}/epilog
NodeName=DEFAULT CPUs={cpus} RealMemory=256000 TmpDisk=100000 Gres=gpu:{gpus} State=UNKNOWN
{nodes}
PartitionName=short Nodes=ALL Default=YES MaxTime=24:00:00 State=UP OverSubscribe=NO
"""
_JOB_FOLDER = "{folder}/nodes/$SLURMD_NODENAME/jobs/$SLURM_JOB_ID"
_PROLOG = """\
#!/bin/sh
mkdir -p -m 711 "{folder}/nodes/$SLURMD_NODENAME/jobs"
mkdir -p -m 700 "{job}" && chown "$SLURM_JOB_UID" "{job}"
"""
_TASK_PROLOG = """\
#!/bin/sh
echo "export SLURM_TMPDIR={job}"
echo "export TMPDIR={job}"
"""
_EPILOG = """\
#!/bin/sh
rm -rf "{job}"
"""
_NODE = """\
echo "$1" > /proc/sys/kernel/hostname && mount -t tmpfs -o size=2g,mode=1777 node /dev/shm && shift && exec "$@"
"""


_LONGEST_SOCKET = 107 - len("/nodes/n12/spool/n12_9999.4294967291")
"""Bytes that the name of the folder may have: a job whose step has no socket is queued again for ever."""


class ClusterError(RuntimeError):
    """The cluster could not be brought up; the message says what to do."""


def missing() -> list[str]:
    """Return the programs of Slurm and munge that are not installed."""
    return [name for name in PROGRAMS if _program(name) is None]


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")


def default_folder() -> Path:
    """Return the folder of the cluster of this user and this checkout."""
    checkout = hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"provml-slurm-{os.geteuid()}-{checkout}"


@functools.cache
def own_names() -> bool:
    """Whether this user may give each node a host name and a /dev/shm of its own."""
    unshare = _program("unshare")
    if unshare is None:
        return False
    trial = [unshare, "--uts", "--mount", "--propagation", "slave", "sh", "-c", _NODE, "sh", "node", "true"]
    return subprocess.run(trial, capture_output=True, timeout=30).returncode == 0


class Cluster:
    """The virtual cluster in a folder, up or down.

    Parameters
    ----------
    folder
        Where everything of it lies; by default one below the temporary folder, of this user and this checkout.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        self._children: list[subprocess.Popen[bytes]] = []

    @property
    def configuration(self) -> Path:
        """The slurm.conf that makes Slurm's programs talk to this cluster."""
        return self.folder / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use the cluster; nothing of a job that it is in itself."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH_", "PMI"))}
        # Job scripts find the commands of this environment as where it is activated.
        path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
        return kept | {"SLURM_CONF": str(self.configuration), "PATH": path}

    @property
    def is_up(self) -> bool:
        """Whether every daemon runs."""
        daemons = self._state().get("daemons", [])
        return len(daemons) == NODES + 2 and all(_lives(one) for one in daemons)

    def _state(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.folder / "daemons.json").read_text()))
        except (OSError, ValueError):
            return {}

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second `up` or `down` of the same cluster waiting."""
        with self.folder.with_name(f"{self.folder.name}.lock").open("a") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            yield

    def up(self) -> bool:
        """Bring the cluster up, and return whether it was down before.

        Raises
        ------
        ClusterError
            Slurm is not installed, the folder's name is too long for sockets, or a daemon did not come up.
        """
        lacking = missing()
        if lacking:
            raise ClusterError(f"{', '.join(lacking)} not found: {INSTALL}")
        room = _LONGEST_SOCKET - len(os.fsencode(self.folder.absolute()))
        if room < 0:
            raise ClusterError(
                f"{self.folder}: too long by {-room} bytes for the sockets of its jobs; give a shorter --folder"
            )
        with self._alone():
            if self.is_up:
                return False
            self._end()
            token = secrets.token_hex(8)
            try:
                self._write(token)
                self._start(token)
                self._wait()
            except (ClusterError, KeyboardInterrupt):
                self._end(failed=True)
                raise
            return True

    def down(self) -> bool:
        """End the jobs and the daemons, remove the folder, and return whether there was anything."""
        with self._alone():
            if not self.folder.exists():
                return False
            if self.is_up:
                self.run("scancel", "--user", os.geteuid(), check=False)
                until = time.monotonic() + 5
                while self.run("squeue", "--noheader", check=False).stdout and time.monotonic() < until:
                    time.sleep(0.1)
            self._end()
            return True

    def run(
        self, *command: object, check: bool = True, timeout: float = 60, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command against the cluster and return what it said.

        Raises
        ------
        AssertionError
            It failed, and `check` is true.
        """
        env = self.environment | dict(more.pop("env", {}))
        words = [str(word) for word in command]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=timeout, **more)
        assert not check or done.returncode == 0, f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def _write(self, token: str) -> None:
        folder = self.folder
        folder.mkdir(mode=0o711)
        (folder / "munge").mkdir(mode=0o711)
        for name in ("state", "log", "nodes", *(f"nodes/{node}" for node in _node_names())):
            (folder / name).mkdir(mode=0o711)
        key = folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        for number, device in enumerate(("null", "zero", "full", "random")[:GPUS]):
            # Slurm wants character devices, and does not look further.
            (folder / f"gpu{number}").symlink_to(f"/dev/{device}")
        ports = _free_ports(NODES + 1)
        nodes = [
            f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port}"
            for name, port in zip(_node_names(), ports[1:], strict=True)
        ]
        words = {
            "folder": folder,
            "host": socket.gethostname(),
            "controller": ports[0],
            "user": _user_name(),
            "cpus": CPUS,
            "gpus": GPUS,
            "nodes": "\n".join(nodes),
        }
        self.configuration.write_text(_SLURM_CONF.format(**words))
        (folder / "gres.conf").write_text(f"NodeName=n[1-{NODES}] Name=gpu File={folder}/gpu[0-{GPUS - 1}]\n")
        job = _JOB_FOLDER.format(folder=folder)
        for name, text in (("prolog", _PROLOG), ("task_prolog", _TASK_PROLOG), ("epilog", _EPILOG)):
            script = folder / name
            script.write_text(text.format(folder=folder, job=job))
            script.chmod(0o755)
        self._keep(token, [])

    def _keep(self, token: str, daemons: list[dict[str, Any]]) -> None:
        told = {"token": token, "daemons": daemons}
        temporary = self.folder / "daemons.json.new"
        temporary.write_text(json.dumps(told))
        temporary.replace(self.folder / "daemons.json")

    def _start(self, token: str) -> None:
        folder, daemons = self.folder, list[dict[str, Any]]()

        def start(name: str, *command: str) -> None:
            with (folder / "log" / f"{name}.out").open("ab") as out:
                env = self.environment | {_MARK: token, "PATH": f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}"}
                process = subprocess.Popen(
                    command, env=env, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
                )
            self._children.append(process)
            daemons.append({"name": name, "pid": process.pid, "started": _started(process.pid)})
            self._keep(token, daemons)

        munge = {name: str(folder / "munge" / name) for name in ("socket", "key", "log", "pid", "seed")}
        options = ("socket", "key-file", "log-file", "pid-file", "seed-file")
        # Forced, so that it also takes a socket that other users have no way to.
        start(
            "munged",
            "munged",
            "--foreground",
            "--force",
            *(f"--{o}={p}" for o, p in zip(options, munge.values(), strict=True)),
        )
        self._until(lambda: (folder / "munge" / "socket").exists(), "munged made no socket", "munged.out")
        start("slurmctld", "slurmctld", "-D", "-f", str(self.configuration))
        apart = ["unshare", "--uts", "--mount", "--propagation", "slave", "sh", "-c", _NODE, "sh"]
        for node in _node_names():
            alone = [*apart, node] if own_names() else []
            start(node, *alone, "slurmd", "-D", "-N", node, "-f", str(self.configuration))

    def _until(self, ready: Any, problem: str, log: str) -> None:
        """Wait for something that the daemons do, unless one of them ends."""
        until = time.monotonic() + _READY_S
        while not ready():
            dead = [one["name"] for one in self._state()["daemons"] if not _lives(one)]
            if dead or time.monotonic() > until:
                said = f"{', '.join(dead)} ended" if dead else f"{problem} within {_READY_S:.0f} s"
                path = self.folder / "log" / (f"{dead[0]}.out" if dead else log)
                lines = path.read_text(errors="replace").splitlines()[-5:] if path.exists() else []
                raise ClusterError(f"{said}; the end of {path}:\n" + "\n".join(lines))
            time.sleep(0.1)

    def _wait(self) -> None:
        def ready() -> bool:
            try:
                said = self.run("sinfo", "--noheader", "--Node", "--format=%T", check=False, timeout=2)
            except subprocess.TimeoutExpired:  # it waits for a controller that is not there, or not yet
                return False
            return said.stdout.split() == ["idle"] * NODES

        self._until(ready, f"not all {NODES} nodes came up", "slurmctld")

    def _end(self, *, failed: bool = False) -> None:
        """End what was started here, the steps of jobs included, and remove the folder; its logs tell why it failed."""
        state = self._state()
        daemons = [one for one in state.get("daemons", []) if _lives(one)]
        # A slurmd without its controller takes its time over SIGTERM, and has nothing to lose.
        for number in (signal.SIGKILL,) if failed else (signal.SIGTERM, signal.SIGKILL):
            pids = {one["pid"] for one in daemons if _lives(one)} | _marked(state.get("token"))
            if number == signal.SIGKILL:
                pids |= _descendants(pids)
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            until = time.monotonic() + 10
            while any(_lives(one) for one in daemons) and time.monotonic() < until:
                time.sleep(0.05)
        while self._children:
            self._children.pop().wait()
        if failed:
            self._keep("", [])
        else:
            shutil.rmtree(self.folder, ignore_errors=True)


def _node_names() -> list[str]:
    return [f"n{number}" for number in range(1, NODES + 1)]


def _user_name() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _free_ports(count: int) -> list[int]:
    """Return ports that are free, of those that the kernel gives to nobody by itself while we do not use them yet."""
    ports: list[int] = []
    for port in random.sample(range(15_000, 32_000), 1000):
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("", port))
            ports.append(port)
        if len(ports) == count:
            break
    return ports


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on, nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _started(pid: int) -> int:
    return int((_stat(pid) or [0] * 20)[19])


def _parent(pid: int) -> int:
    return int((_stat(pid) or [0] * 20)[1])


def _lives(daemon: Mapping[str, Any]) -> bool:
    """Tell whether a daemon of ours runs, and is not a later process with its number."""
    fields = _stat(daemon["pid"])
    return bool(fields) and fields[0] not in "ZX" and int(fields[19]) == daemon["started"]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _marked(token: str | None) -> set[int]:
    """Return the processes that carry the mark of a cluster's daemons: these, and the steps that they started."""
    mark, found = f"{_MARK}={token}".encode(), set[int]()
    for pid in _pids() if token else ():
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.add(pid)
    return found


def _descendants(pids: set[int]) -> set[int]:
    parents = {pid: _parent(pid) for pid in _pids()}
    found = set(pids)
    while further := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= further
    return found


def main(arguments: list[str] | None = None) -> int:
    """Bring the cluster up or down, or say how it is."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.slurm.cluster",
        description=f"A Slurm cluster of {NODES} nodes with {GPUS} stand-in GPUs each, on this machine.",
        epilog='use it with: eval "$(python -m tests.slurm.cluster env)"; sinfo',
    )
    parser.add_argument("action", choices=["up", "down", "status", "env"])
    parser.add_argument("--folder", type=Path, help=f"where it lies (default: {default_folder()})")
    options = parser.parse_args(arguments)
    cluster = Cluster(options.folder and options.folder.absolute())
    try:
        if options.action == "up":
            print("the cluster is up" if cluster.up() else "the cluster was up already", f"in {cluster.folder}")
        elif options.action == "down":
            print("the cluster is down" if cluster.down() else "there was no cluster", f"in {cluster.folder}")
            return 0
        elif not cluster.is_up:
            print(f"the cluster in {cluster.folder} is down: python -m tests.slurm.cluster up", file=sys.stderr)
            return 1
        if options.action == "env":
            print(f"export SLURM_CONF={cluster.configuration}")
            return 0
        print(cluster.run("sinfo").stdout, end="")
        said = "a host name and a /dev/shm" if own_names() else "no host name and no /dev/shm"
        print(f"Each node has {said} of its own, and a $SLURM_TMPDIR that is wiped when its job ends.")
        print("Its GPUs are stand-ins, and its cores are those of this machine.")
        print(f"Use it with: export SLURM_CONF={cluster.configuration}")
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    sys.exit(main())
