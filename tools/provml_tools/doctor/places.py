"""Where outputs and journals go: what their file systems can do, and how much room and memory there is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from provml_hpc.environment.facts import Fact
from provml_hpc.journal import node_folders
from provml_tools.doctor import children, trial
from provml_tools.doctor.children import Answer
from provml_tools.doctor.findings import BROKEN, MISSING, NOTE, OK, Finding
from provml_tools.units import size

HDF5, JOURNALS = "HDF5", "Places"
BUFFER = 64 << 20
"""What a rank's journal takes by default, in bytes."""

_CHILD = "from provml_tools.doctor import trial; trial.main(tell, {place!r}, hdf5={hdf5!r})"
# What an output or a journal needs of its place, and what becomes of it without.
_ABILITIES = {
    "write": "files cannot be written",
    "reserve": "space cannot be reserved",
    "map": "files cannot be mapped",
    "sync": "files cannot be synced",
    "lock": "locks do not work",
    "link": "there are no hard links",
}
_NEEDED = {"write", "map"}
IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_LOCAL = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "overlay", "f2fs", "tmpfs", "ramfs"})


def folder_of(output: str | os.PathLike[str]) -> Path:
    """Return the folder that an output lies in; a folder stands for what will be in it."""
    path = Path(os.path.abspath(output))  # noqa: PTH100 - links stay as the user wrote them
    return path if path.is_dir() else path.parent


def node_places() -> list[tuple[str, Path]]:
    """Return the places of this node that a journal may take, best first, each with what names it."""
    named = {os.environ[name].rstrip("/") or "/": name for name in ("TMPDIR", "SLURM_TMPDIR") if os.environ.get(name)}
    places: dict[Path, str] = {}
    for folder in node_folders("doctor"):
        places.setdefault(folder.parent, named.get(str(folder.parent), ""))
    return [(name, place) for place, name in places.items()]


def attempt(place: Path, seconds: float, *, hdf5: bool = False) -> Answer:
    """Try out a place in a child."""
    answer = children.ask(_CHILD.format(place=str(place), hdf5=hdf5), seconds)
    left = Path(str(answer.steps.get("made", {}).get("path", "")))
    if left.name.startswith(trial.TRIAL) and left.parent == place:
        # There is something only if the child was killed or crashed.
        shutil.rmtree(left, ignore_errors=True)
    return answer


def hdf5(answer: Answer) -> Iterator[Finding]:
    """Say what was found of HDF5, from the trial of the output's place."""
    found = answer.steps.get("h5py")
    locking = os.environ.get("HDF5_USE_FILE_LOCKING")
    if found is None:
        return  # The place did not even take a file, which is said there.
    details: dict[str, Any] = {"version": found["version"] or None, "hdf5": found["hdf5"] or None, "locking": locking}
    if found["error"]:
        absent = found["error"].startswith("ModuleNotFoundError")
        remedy = "pip install h5py" if absent else "pip install --force-reinstall h5py, with no module of HDF5 loaded"
        state = MISSING if absent else BROKEN
        text = f"cannot be imported: {found['error']}"
        yield Finding(HDF5, "h5py", state, text, "nothing can be written or read", remedy, details)
        return
    kind = "parallel" if found.get("mpi") else "serial"
    yield Finding(HDF5, "h5py", OK, f"{found['version']} with HDF5 {found['hdf5']} ({kind})", "", "", details)
    swmr, plain = answer.steps.get("swmr"), answer.steps.get("plain", {"works": True, "error": ""})
    details = {"works": bool(swmr and swmr["works"]), "error": (swmr or {}).get("error", answer.trouble)}
    if swmr is None or not swmr["works"]:
        yield Finding(
            HDF5,
            "live reading",
            BROKEN,
            f"a file that is being written could not be read: {details['error']}",
            "the log of a run (SWMR) may not work on this file system",
            "choose an output on another file system, such as the site's parallel one",
            details,
        )
    else:
        text = "a file was read by another process while it was written (SWMR)"
        yield Finding(HDF5, "live reading", OK, text, "a run can be followed here", "", details)
    details = {"works": plain["works"], "error": plain["error"], "HDF5_USE_FILE_LOCKING": locking}
    if not plain["works"]:
        meaning = "this library goes on without them; other programs, such as h5dump, fail to open files here"
        remedy = "export HDF5_USE_FILE_LOCKING=FALSE for other programs"
        yield Finding(HDF5, "file locking", NOTE, f"HDF5 gets no lock: {plain['error']}", meaning, remedy, details)
    elif locking is not None and locking.upper() in ("FALSE", "0"):
        meaning = "two programs could write one file; runs keep each other out by a lock of their own"
        remedy = "unset it, unless the file system knows no locks"
        yield Finding(HDF5, "file locking", NOTE, f"HDF5_USE_FILE_LOCKING={locking}", meaning, remedy, details)
    else:
        yield Finding(HDF5, "file locking", OK, "HDF5 locks its files", "", "", details)


def output(place: Path, answer: Answer, ranks: int, memory: Memory) -> Finding:
    """Say what the place of outputs can do."""
    details = _details(place, answer)
    if "made" not in answer.steps:
        reason = answer.trouble or "it said nothing"
        meaning = "no output can be written"
        remedy = "name a folder that is there and that you may write with --output, and as the output of the run"
        return Finding(JOURNALS, "output", BROKEN, f"{place}: {reason}", meaning, remedy, details)
    lacking = _lacking(answer)
    text = _described(place, answer)
    if lacking:
        remedy = "choose an output on another file system" + (
            ', or journal="node" for its journals' if {"map", "reserve"} & lacking.keys() else ""
        )
        meaning = "; ".join(lacking.values())
        if "lock" in lacking:
            meaning += " (whether a job lives is told from its heartbeat only)"
        state = BROKEN if _NEEDED & lacking.keys() or "ended" not in answer.steps else NOTE
        return Finding(JOURNALS, "output", state, text, meaning, remedy, details)
    if _short_of(answer, ranks):
        meaning = f"the journals of {_number_of(ranks)} take {size(BUFFER * ranks)} by default"
        return Finding(JOURNALS, "output", NOTE, text, meaning, "make room, or choose another output", details)
    kind = answer.steps["system"]["kind"]
    if kind in IN_MEMORY:
        meaning = f"memory, which is gone when the node goes down{memory.share(ranks)}"
        return Finding(JOURNALS, "output", NOTE, text, meaning, "choose an output on a disk", details)
    return Finding(JOURNALS, "output", OK, text, "mapping, locks, links and reserving work", "", details)


def node(places: Sequence[tuple[str, Path]], answers: Sequence[Answer], ranks: int, memory: Memory) -> list[Finding]:
    """Say what the places of this node can do, and which of them a journal would take."""
    findings, taken = [], None
    for (name, place), answer in zip(places, answers, strict=True):
        label = name or str(place)
        lacking = _lacking(answer) if "made" in answer.steps else {}
        details = _details(place, answer)
        details["variable"] = name or None
        if "made" not in answer.steps or _NEEDED & lacking.keys() or "ended" not in answer.steps:
            reason = "; ".join(lacking.values()) or answer.trouble
            remedy = f"unset {name}, or make it a folder that can be written" if name else ""
            findings.append(Finding(JOURNALS, label, NOTE, f"{place}: {reason}", "is passed over", remedy, details))
            continue
        text = _described(place, answer)
        if _short_of(answer, ranks):
            meaning = f"too little for {_number_of(ranks)} at {size(BUFFER)}"
            remedy = "give a smaller buffer= to provml_hpc.init, or free some"
            findings.append(Finding(JOURNALS, label, NOTE, text, meaning, remedy, details))
            continue
        meaning = ""
        if answer.steps["system"]["kind"] in IN_MEMORY:
            meaning = f"counts as memory of the job{memory.share(ranks)}"
        taken = taken or (label, place)
        findings.append(Finding(JOURNALS, label, OK, text, meaning, "", details))
    unset = [name for name in ("SLURM_TMPDIR", "TMPDIR") if not os.environ.get(name)]
    said = f" ({' and '.join(unset)} not set)" if unset else ""
    details = {"place": None if taken is None else str(taken[1]), "unset": unset}
    if taken is None:
        remedy = 'keep the default, journal="output"'
        findings.append(Finding(JOURNALS, "node journals", MISSING, f"none of these{said}", "", remedy, details))
    else:
        text = f'journal="node" would take {taken[1]}{said}'
        meaning = "a cluster may wipe it when the job ends: a failed job needs provml rescue on its nodes before that"
        findings.append(Finding(JOURNALS, "node journals", OK, text, meaning, "", details))
    return findings


def _details(place: Path, answer: Answer) -> dict[str, Any]:
    room, system = answer.steps.get("room", {}), answer.steps.get("system", {})
    abilities = {name: answer.steps.get(name, {}).get("works") for name in _ABILITIES}
    return {
        "path": str(place),
        "free_bytes": room.get("free"),
        "file_system": system.get("kind") or None,
        "in_memory": system.get("kind") in IN_MEMORY,
        "works": abilities,
        "trouble": answer.trouble,
    }


def _lacking(answer: Answer) -> dict[str, str]:
    """Return what a place cannot do, in words."""
    lacking: dict[str, str] = {}
    for name, words in _ABILITIES.items():
        step = answer.steps.get(name)
        if step is None:
            # The child got stuck here, or before.
            lacking[name] = f"{words} ({answer.trouble or 'not tried'})"
            break
        if not step["works"]:
            lacking[name] = f"{words} ({step['error']})"
    return lacking


def _described(place: Path, answer: Answer) -> str:
    kind = answer.steps["system"]["kind"] or "unknown"
    where = f"{kind}, of this node alone" if kind in _LOCAL and kind not in IN_MEMORY else kind
    return f"{place} ({where}), {size(answer.steps['room']['free'])} free"


def _short_of(answer: Answer, ranks: int) -> bool:
    return int(answer.steps["room"]["free"]) < BUFFER * ranks


def _number_of(ranks: int) -> str:
    return "one rank" if ranks == 1 else f"{ranks} ranks"


class Memory:
    """How much memory this process and its job may use on this node.

    Parameters
    ----------
    facts
        What the scheduler says.
    """

    def __init__(self, facts: Sequence[Fact]) -> None:
        limits = {"this machine": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}
        groups = [one for one in _group_limits() if one]
        if groups:
            limits["its control group"] = min(groups)
        told = next((fact.value for fact in facts if fact.name == "scheduler.memory_per_node"), None)
        if isinstance(told, int) and told > 0:
            limits["the scheduler"] = told
        self.source, self.bytes = min(limits.items(), key=lambda one: one[1])

    def share(self, ranks: int) -> str:
        """Say what the journals of ranks take of it."""
        whole = BUFFER * ranks
        percent = 100 * whole / self.bytes
        shown = f"{percent:.0f}" if percent >= 1 else "less than 1"
        return f", {shown} % of {size(self.bytes)} ({self.source}) with {_number_of(ranks)} at {size(BUFFER)}"


def _group_limits() -> Iterator[int]:
    """Yield the limits of the control groups that this process is in, of both versions."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, file = Path("/sys/fs/cgroup"), "memory.max"
        elif "memory" in controllers.split(","):
            root, file = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"
        else:
            continue
        place = root / path.lstrip("/")
        # In a container the path may be that of the host, so the root counts as well.
        for folder in {root, place, *place.parents}:
            if folder == root or root in folder.parents:
                yield _limit(folder / file)


def _limit(path: Path) -> int:
    try:
        text = path.read_text().strip()
    except OSError:
        return 0
    return int(text) if text.isdecimal() else 0
