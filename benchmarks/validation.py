"""Validation: its speed against pySHACL's, and the memory of the offline commands on large runs.

``python -m benchmarks.validation`` takes about a quarter of an hour, most of it pySHACL's. Every figure comes from a
process of its own: CPU seconds of the work, imports left out, and the memory that the process had at its most.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import close, large
from benchmarks.harness import ROOT, Estimate, Report, compare, estimate, options, ratio, scratch
from benchmarks.launch import environment

PYSHACL, SHAPES, ALL = "pySHACL", "provml validate, shapes", "provml validate, all levels"
MIB = 1 << 20


def pyshacl_of(path: Path) -> None:
    """Check the published shapes with pySHACL, on the RDF of a file."""
    import pyshacl
    import rdflib

    from provml_hpc.storage import reader
    from provml_tools.rdf import convert

    text = io.BytesIO()
    with reader.open(path) as file:
        convert([file.stored_graph], text, "ntriples")
    data = rdflib.Graph().parse(data=text.getvalue(), format="nt")
    del text
    shapes = rdflib.Graph().parse(ROOT / "docs" / "ontology" / "shapes.ttl")
    valid, _, said = pyshacl.validate(data, shacl_graph=shapes, advanced=False, inference="none")
    if not valid:
        raise SystemExit(f"error: pySHACL finds what should not be there: {said[:1000]}")


def command(*words: str) -> None:
    """Run a command of provml in this process, its output thrown away."""
    from provml_tools.cli import main

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123 - no path of ours
        code = main([*words])
    if code:
        raise SystemExit(f"error: provml {words[0]} ended with {code}")


def work(what: str, path: str) -> None:
    """Do one piece of work on a file: what a child process is for."""
    out = str(Path(path).with_name("out"))
    ways: dict[str, Any] = {
        PYSHACL: lambda: pyshacl_of(Path(path)),
        SHAPES: lambda: command("validate", path, "--level", "shapes"),
        ALL: lambda: command("validate", path),
        "validate": lambda: command("validate", path),
        "info": lambda: command("info", path),
        "convert": lambda: command("convert", path, "--to", "nquads", "-o", os.devnull),
        "query": lambda: command("query", path, "training-progress", "--format", "json"),
        "export --to parquet": lambda: command("export", path, "--to", "parquet", "-o", out),
    }
    if what == PYSHACL:
        import pyshacl  # noqa: F401 - so that its import is not counted
    import provml_tools.validate.shapes  # noqa: F401

    before = time.process_time()
    ways[what]()
    seconds = time.process_time() - before
    print(json.dumps({"cpu": seconds, "MiB": peak()}))


def peak() -> float:
    """Return the memory that this process had at its most; what its parent had before counts in `getrusage`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def child(what: str, path: Path) -> Mapping[str, float]:
    """Do a piece of work in a process of its own, and return CPU seconds and MiB."""
    call = [sys.executable, "-m", "benchmarks.validation", "--work", what, "--file", str(path)]
    done = subprocess.run(call, cwd=ROOT, env=environment(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {what} failed: {done.stderr.strip()[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    out = path.with_name("out")
    if out.exists():
        subprocess.run(["rm", "-r", str(out)], check=True)
    return found


def speed(report: Report, folder: Path, quads: int, rounds: int, seed: int) -> None:
    """Compare the speed with pySHACL's."""
    graph = large.preparation(quads // large.QUADS_A_STEP)
    path = large.written(folder / "speed.h5", graph)
    ways = {what: partial(child, what, path) for what in (PYSHACL, SHAPES, ALL)}
    found = compare(ways, rounds, seed=seed, warm_up=0)
    what = f"validation of {quads:,} triples"
    for arm, values in found.items():
        report.measured(f"{what}: CPU", arm, "s", values["cpu"], clock="cpu")
        report.measured(f"{what}: memory at its most", arm, "MiB", values["MiB"])
        print(f"{arm:30} {estimate(values['cpu']).median:8.1f} s {estimate(values['MiB']).median:8.0f} MiB", flush=True)
    for arm in (SHAPES, ALL):
        report.compared(what, PYSHACL, arm, ratio(found[PYSHACL]["cpu"], found[arm]["cpu"]))
        share = ratio(found[arm]["cpu"], found[PYSHACL]["cpu"])
        times = f"5 times pySHACL's speed; reached {1 / share.median:.0f} times"
        report.target(f"{what}, {arm.partition(', ')[2]}, against pySHACL, CPU", 0.2, share, "ratio", times)


def records(report: Report, folder: Path, sizes: list[int]) -> None:
    """Show how the memory of a validation grows with the records of a run."""
    points = []
    for steps in sizes:
        graph = large.preparation(steps)
        count, relations = large.counted(graph)
        path = large.written(folder / "records.h5", graph)
        del graph
        size = path.stat().st_size
        found = {what: child(what, path) for what in ("validate", "convert")}
        path.unlink()
        points.append((count, found["validate"]["MiB"]))
        facts = {"records": count, "relations": relations, "file_bytes": size}
        for what, values in found.items():
            report.measured("memory at its most, by records", what, "MiB", [values["MiB"]], **facts)
            report.measured("CPU, by records", what, "s", [values["cpu"]], **facts)
            print(f"{count:,} records, {what}: {values['MiB']:.0f} MiB, {values['cpu']:.0f} s", flush=True)
    (few, low), (many, high) = points[0], points[-1]
    grown = (high - low) * MIB / (many - few)
    found_bytes = Estimate(grown, grown, grown, 1)
    # In a small run the parts that are the same for all outweigh what each record takes.
    large_enough = many >= 1_000_000
    remark = "relations included" if large_enough else "relations included; too few records to tell"
    what = f"memory of a validation of {many:,} records, of each more"
    report.target(what, 300, found_bytes, "bytes", remark, resolved=large_enough)


def samples(report: Report, folder: Path, few: int, many: int) -> None:
    """Show that the memory of no command grows with the samples."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for count in (few, many):
        context, _ = close.filled(folder, "samples", count)
        context.__exit__(None, None, None)
        path = folder / "samples.h5"
        for what in ("validate", "info", "convert", "query", "export --to parquet"):
            found.setdefault(what, []).append(child(what, path))
            values = found[what][-1]
            report.measured("memory at its most, by samples", what, "MiB", [values["MiB"]], samples=count)
            report.measured("CPU, by samples", what, "s", [values["cpu"]], samples=count)
            print(f"{count:,} samples, {what}: {values['MiB']:.0f} MiB, {values['cpu']:.1f} s", flush=True)
        path.unlink()
    for what, (first, last) in found.items():
        grown = last["MiB"] / first["MiB"]
        remark = f"{first['MiB']:.0f} and {last['MiB']:.0f} MiB"
        told = f"memory of {what} with {many:,} samples against {few:,}"
        report.target(told, 1.1, Estimate(grown, grown, grown, 1), "ratio", remark)


def main() -> None:
    """Measure, print the targets, write the results."""
    parser = options(__doc__, rounds=1)
    parser.add_argument("--quads", type=int, default=1_000_000, help="triples to compare the speed with")
    parser.add_argument(
        "--steps", type=int, nargs="+", default=[25_000, 100_000, 250_000], help="sizes of runs; ten records a step"
    )
    parser.add_argument("--samples", type=int, nargs=2, default=[1_000_000, 10_000_000], help="few and many")
    parser.add_argument("--parts", nargs="+", default=["records", "samples", "speed"], help="what to measure")
    parser.add_argument("--work", help="used by the benchmark itself: do one piece of work")
    parser.add_argument("--file", help="on this file")
    chosen = parser.parse_args()
    if chosen.work:
        work(chosen.work, chosen.file)
        return
    report = Report("validation")
    with scratch(chosen.folder) as folder:
        parts = {
            "records": lambda: records(report, folder, chosen.steps),
            "samples": lambda: samples(report, folder, *chosen.samples),
            "speed": lambda: speed(report, folder, chosen.quads, chosen.rounds, chosen.seed),
        }
        for name, part in parts.items():
            if name in chosen.parts:
                part()
                # The last part takes long: what is known by then is kept.
                report.write(chosen.results)


if __name__ == "__main__":
    main()
