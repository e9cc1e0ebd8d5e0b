"""Other tools on the same work, each in an environment that this builds: steps of 3 values, settings in their favour.

``python -m benchmarks.peers`` builds what is missing (``--environments``) and runs each peer, in random order, between
two baselines of plain JSON lines in the same process; its figures are ratios to those. A peer that cannot be installed
or run is reported with the reason.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import arms, whole
from benchmarks.harness import Report, compare, estimate, median, memory_folder, options, scratch

PROGRAMS = Path(__file__).parent / "peer_programs"
HERE = Path(__file__).parent / ".environments"


@dataclass(frozen=True)
class Peer:
    """A tool, how it is installed, and what is to be known of the way it is run."""

    name: str
    environment: str
    program: str
    install: tuple[tuple[str, ...], ...]
    remark: str
    python: str = ""
    steps: int = 100_000


_FLOWCEPT = (("flowcept==1.0.3",),)
PEERS = (
    Peer("Flowcept 1.0.3, FlowceptTask", "flowcept", "flowcept_task", _FLOWCEPT, "offline, no telemetry"),
    Peer(
        "Flowcept 1.0.3, lightweight task",
        "flowcept",
        "flowcept_lightweight",
        _FLOWCEPT,
        "offline; a step has no identifier and no time",
    ),
    Peer(
        "yProv4ML 3.2.8, csv",
        "yprov4ml",
        "yprov4ml_csv",
        (
            ("--no-deps", "yprov4ml==3.2.8"),
            ("netCDF4", "xarray", "zarr<3", "prov[graph]", "psutil", "pandas", "pydot", "rocrate", "tqdm", "lxml"),
        ),
        "saved every 10,000 logs, not 100; torch and fvcore, which it uses for models only, are stand-ins; needs "
        "Python 3.12, since below that it does not compile",
        python="3.12",
    ),
    Peer(
        "ProvLake 0.2.982",
        "provlake",
        "provlake_bags",
        (("provlake==0.2.982",),),
        "to a file, bags of 1,000, not 1; needs a Python below 3.9",
        python="3.8",
        steps=20_000,
    ),
    Peer(
        "MLflow 3.17.0, sqlite",
        "mlflow",
        "mlflow_sqlite",
        (("mlflow==3.17.0",),),
        "batches of 999 metrics; making the database is in the total",
        steps=4_000,
    ),
    Peer(
        "prov 3.2.3, PROV-JSON",
        "prov",
        "prov_package",
        (("prov==3.2.3",),),
        "all in memory until the end",
        steps=10_000,
    ),
)


def interpreter(version: str) -> str | None:
    """Return a Python of that version, or this one where any will do."""
    if not version:
        return sys.executable
    found = [shutil.which(f"python{version}"), *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    for python in filter(None, found):
        # A name on the path may be one that only says which version to choose.
        if subprocess.run([python, "-c", ""], capture_output=True).returncode == 0:
            return str(python)
    return None


def build(peer: Peer, where: Path) -> str:
    """Make the environment of a peer if it is not there, and return its Python.

    Raises
    ------
    RuntimeError
        It cannot be made; the message says why.
    """
    folder = where / peer.environment
    python = folder / "bin" / "python"
    if (folder / ".built").exists():
        return str(python)
    base = interpreter(peer.python)
    if base is None:
        raise RuntimeError(f"there is no Python {peer.python} here, which it needs")
    print(f"building {folder.name} ...", flush=True)
    steps = [[base, "-m", "venv", "--clear", str(folder)]]
    steps += [[str(python), "-m", "pip", "install", "--quiet", *packages] for packages in peer.install]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise RuntimeError("; ".join(errors[-2:]) or done.stderr[-300:])
    (folder / ".built").touch()
    return str(python)


def run(peer: Peer, python: str, steps: int, folder: Path, timeout: float) -> dict[str, Any]:
    """Run a peer once and return its figures and those of the baselines around it.

    Raises
    ------
    RuntimeError
        It failed, or took too long.
    """
    with scratch(folder) as work:
        home = work / "home"
        home.mkdir()
        kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "HOME")}
        env = {**kept, "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [python, str(PROGRAMS / f"{peer.program}.py"), str(work), str(steps)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"took more than {timeout:.0f} s") from error
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found: dict[str, Any] = json.loads(line[7:])
            return found
    raise RuntimeError((done.stderr.strip().splitlines() or ["no result"])[-1][:300])


def ours(steps: int, rounds: int, seed: int, folder: Path, report: Report) -> None:
    """Do the same work with this library, beside the same baseline."""
    rows = whole.series(steps, whole.FULL)

    def caller(positional: bool) -> dict[str, float]:
        import gc
        import time

        gc.collect()
        name = f"ours-{time.monotonic_ns()}"
        total = time.process_time_ns()
        with arms.training(folder, name) as (_, training):
            record = training.series("loss", "grad_norm", "lr")
            spent = time.thread_time_ns()
            if positional:
                for step, loss, norm, rate in rows:
                    record(step, loss, norm, rate)
            else:
                for step, loss, norm, rate in rows:
                    training.log(step, loss=loss, grad_norm=norm, lr=rate)
            spent = time.thread_time_ns() - spent
        total = time.process_time_ns() - total
        size = (folder / f"{name}.h5").stat().st_size
        return {"caller": spent / steps, "total": total / steps, "bytes": size / steps}

    def plain() -> dict[str, float]:
        import time

        from benchmarks.peer_programs import common

        before = Path.cwd()
        os.chdir(folder)
        try:
            return common.spent(lambda: common.plain(f"plain-{time.monotonic_ns()}.jsonl"), rows)  # type: ignore[arg-type]
        finally:
            os.chdir(before)

    found = compare({"log": lambda: caller(False), "series": lambda: caller(True), "plain": plain}, rounds, seed=seed)
    for arm in ("log", "series"):
        note(report, f"provml-hpc, {arm}", found[arm], found["plain"], "init and closed, compressed file in the total")
    note(report, "plain JSON lines", found["plain"], found["plain"], "the baseline")


def note(report: Report, name: str, values: dict[str, list[float]], base: dict[str, list[float]], remark: str) -> None:
    """Put the figures of one tool into the report."""
    for what, unit in (("caller", "ns"), ("total", "ns"), ("bytes", "bytes")):
        report.measured(f"a step of 3 values: {what}", name, unit, values[what], remark=remark)
    shares = {}
    for what in ("caller", "total"):
        against = estimate([v / b for v, b in zip(values[what], base[what], strict=True)])
        shares[what] = report.compared(f"a step of 3 values: {what}", name, "plain JSON lines", against, remark=remark)
    print(
        f"{name:34} caller {median(values['caller']):>10,.0f} ns ({shares['caller'].median:.2f} of JSON lines), total "
        f"{median(values['total']):>10,.0f} ns ({shares['total'].median:.2f}), {median(values['bytes']):>6.0f} bytes",
        flush=True,
    )


def main() -> None:
    """Build, measure, write the results."""
    parser = options(__doc__, rounds=5)
    parser.add_argument("--environments", type=Path, default=HERE, help="folder of the peers' environments")
    parser.add_argument("--steps", type=int, default=100_000, help="fewer for slow peers")
    parser.add_argument("--timeout", type=float, default=120, help="seconds of one run")
    parser.add_argument("--only", nargs="+", default=None, help="names of environments")
    chosen = parser.parse_args()
    chosen.environments.mkdir(parents=True, exist_ok=True)
    report = Report("peers")
    wanted = [peer for peer in PEERS if chosen.only is None or peer.environment in chosen.only]
    ready: dict[str, tuple[Peer, str]] = {}
    for peer in wanted:
        try:
            ready[peer.name] = peer, build(peer, chosen.environments)
        except RuntimeError as error:
            report.note(what="peer missing", peer=peer.name, reason=f"not installed: {error}", remark=peer.remark)
            print(f"{peer.name}: not installed: {error}")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ready}
    failed: dict[str, str] = {}
    draw = random.Random(chosen.seed)
    with scratch(chosen.folder or memory_folder()) as folder:
        ours(chosen.steps, chosen.rounds, chosen.seed, folder, report)
        for _ in range(chosen.rounds):
            for name in draw.sample(sorted(ready), len(ready)):
                if name in failed:
                    continue
                peer, python = ready[name]
                try:
                    found[name].append(run(peer, python, min(chosen.steps, peer.steps), folder, chosen.timeout))
                except RuntimeError as error:
                    failed[name] = str(error)
    for name, results in found.items():
        peer, _ = ready[name]
        if name in failed or not results:
            report.note(what="peer missing", peer=name, reason=f"did not run: {failed.get(name)}", remark=peer.remark)
            print(f"{name}: did not run: {failed.get(name)}")
            continue
        values = {what: [result["peer"][what] for result in results] for what in ("caller", "total", "bytes")}
        base = {what: [median(b[what] for b in result["plain"]) for result in results] for what in ("caller", "total")}
        note(report, name, values, base, f"{peer.remark}; Python {results[0]['python']}")
    report.write(chosen.results)


if __name__ == "__main__":
    main()
