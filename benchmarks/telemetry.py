"""What sampling costs: 48 GPUs on 12 nodes of four, all played by a STAND-IN on this machine.

``python -m benchmarks.telemetry`` starts a process for each node, with a sampler of its own, NVIDIA's real Python
bindings, and the stand-in of the tests below them. So what is measured is all but the driver, whose calls on a real GPU
come on top. It needs gcc and the extra ``telemetry``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from benchmarks.harness import ROOT, Report, compare, estimate, median, options, scratch
from benchmarks.launch import environment

NODES, GPUS = 12, 4
ARMS: dict[str, tuple[float, str]] = {
    "off": (0, ""),
    "1 Hz": (1, ""),
    "10 Hz": (10, ""),
    "1 Hz, no counters of the bus": (1, "missing=fields"),
}
"""Turns a second, and what the stand-in does not offer."""
RESIDENT = "MB resident, median of the nodes"
OWN = "MB of these its own, no file's"
_TARGET = 0.5
"""Percent of a processor, for a node of four GPUs at 1 Hz."""

NODE = """
import json, os, sys, threading, time
import provml_hpc as provml

output, hz, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
with provml.init("node", phase="learning", output=output, telemetry=hz) as run:
    sampler = run._session.sampler
    while sampler and sampler.turns < 2:
        time.sleep(0.01)
    began, before = time.monotonic(), time.process_time()
    cpu, turns = (sampler.cpu_ns, sampler.turns) if sampler else (0, 0)
    time.sleep(seconds)
    process, wall = time.process_time() - before, time.monotonic() - began
    cpu, turns = (sampler.cpu_ns - cpu, sampler.turns - turns) if sampler else (0, 0)
    threads = threading.active_count()
    resident = {name: int(rest.split()[0]) * 1024 for name, _, rest in
                (line.partition(":") for line in open("/proc/self/status")) if name in ("VmRSS", "RssAnon")}
with provml.open(output) as file:
    devices = len(file.nodes("Device"))
found = {"cpu": cpu / 1e9, "process": process, "wall": wall, "turns": turns, "threads": threads, "devices": devices}
found |= resident
print(json.dumps(found))
"""


def nodes(folder: Path, library: Path, arm: str, seconds: float) -> Mapping[str, float]:
    """Let all nodes sample side by side, and return what they took."""
    hz, lacks = ARMS[arm]
    plays = f"devices={GPUS} {lacks}".strip()
    started = []
    for node in range(NODES):
        extra = {"LD_LIBRARY_PATH": str(library), "STANDIN_NVML": plays, "STANDIN_NODE": f"n{node}"}
        output = folder / f"{arm.replace(' ', '-')}-{node}.h5"
        output.unlink(missing_ok=True)
        command = [sys.executable, "-c", NODE, str(output), str(hz), str(seconds)]
        started.append(subprocess.Popen(command, cwd=folder, env=environment(extra), stdout=subprocess.PIPE, text=True))
    found = [json.loads(process.communicate(timeout=seconds + 120)[0]) for process in started]
    shares = [100 * one["cpu"] / one["wall"] for one in found]
    turns = sum(one["turns"] for one in found)
    assert {one["devices"] for one in found} == {GPUS if hz else 0}
    return {
        "percent of a processor, a node": sum(shares) / NODES,
        "percent of a processor, the most of any node": max(shares),
        "percent of a processor, the whole process": 100 * sum(one["process"] / one["wall"] for one in found) / NODES,
        "milliseconds of CPU a turn": 1000 * sum(one["cpu"] for one in found) / turns if turns else 0.0,
        "turns a second": turns / sum(one["wall"] for one in found),
        "threads": max(one["threads"] for one in found),
        RESIDENT: median(one["VmRSS"] / 1e6 for one in found),
        OWN: median(one["RssAnon"] / 1e6 for one in found),
    }


def main() -> None:
    """Measure, print the target, write the results."""
    parser = options(__doc__, rounds=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each repeat samples")
    chosen = parser.parse_args()
    report = Report("telemetry")
    with scratch(chosen.folder) as folder:
        source = ROOT / "tests" / "standin" / "nvml.c"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", folder / "libnvidia-ml.so.1", source], check=True)
        ways: dict[str, Callable[[], Mapping[str, float]]] = {
            arm: partial(nodes, folder, folder, arm, chosen.seconds) for arm in ARMS
        }
        found = compare(ways, chosen.rounds, seed=chosen.seed, warm_up=0)
    for arm, values in found.items():
        for what, numbers in values.items():
            report.measured(what, arm, "", numbers, nodes=NODES, gpus=NODES * GPUS, library="stand-in")
        print(f"{arm:30}", {what: f"{estimate(numbers).median:.3g}" for what, numbers in values.items()})
    for what in (RESIDENT, OWN):
        for arm in ARMS:
            if arm != "off":
                more = [on - off for on, off in zip(found[arm][what], found["off"][what], strict=True)]
                said = report.measured(f"{what}, more than off", arm, "MB", more, nodes=NODES, library="stand-in")
                print(f"{arm:30} {what}, more than off: {said.median:.2f} [{said.low:.2f}, {said.high:.2f}]")
    share = estimate(found["1 Hz"]["percent of a processor, a node"])
    report.target("a node's sampler at 1 Hz, four stand-in GPUs", _TARGET, share, "% of a processor")
    off = estimate(found["off"]["threads"])
    report.target("threads of a process where telemetry is off", 1, off)
    report.write(chosen.results)


if __name__ == "__main__":
    main()
