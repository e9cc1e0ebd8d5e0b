"""Puts results into ``docs/benchmarks.md`` and its like, between their markers, and draws the plots beside it.

``python -m benchmarks.report`` reads ``benchmarks/results``; plots need the extra ``bench``, and are left out else.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import model, offline_report
from benchmarks.harness import RESULTS, ROOT, kept
from benchmarks.pages import Lines, measured, number, pick, put, spread, table
from benchmarks.plots import draw

DOCS = ROOT / "docs"


def _machine(results: dict[str, Lines]) -> str:
    rows = []
    for name, lines in results.items():
        for line in pick(lines, "machine"):
            built = f"Python {line['python']}, numpy {line['numpy']}, h5py {line['h5py']}, mpi4py {line['mpi4py']}"
            where = f"{line['cpu']}, {line['cores']} cores, {line['memory_gib']} GiB, {line['system']}"
            rows.append([name, f"`{line['command']}`", where, built])
    return table(["results", "command", "machine", "versions"], rows)


def _targets(results: dict[str, Lines]) -> str:
    rows = []
    for lines in results.values():
        for line in pick(lines, "target"):
            met = {True: "yes", False: "**no**", None: "cannot be told here"}[line["met"]]
            limit = f"≤ {line['limit']:g} {line['unit'].replace('ratio', '')}".strip()
            rows.append([line["what"], limit, spread(line), met, line["remark"]])
    return table(["what", "target", "reached", "met", "remark"], rows)


def _call(results: dict[str, Lines]) -> str:
    lines = pick(results.get("call", []), "measurement", unit="ns")
    steps = list(dict.fromkeys(line["what"] for line in lines))
    arms = list(dict.fromkeys(line["arm"] for line in lines))
    found = {(line["what"], line["arm"]): line for line in lines}
    rows = [[arm, *(spread(found[step, arm]) if (step, arm) in found else "" for step in steps)] for arm in arms]
    return table(["CPU of the caller, ns", *(step.replace("a step with ", "") for step in steps)], rows)


def _structure(results: dict[str, Lines]) -> str:
    lines = pick(results.get("call", []), "measurement", unit="us")
    return table(
        ["call", "library", "clock", "microseconds"], [[d["what"], d["arm"], d["clock"], spread(d)] for d in lines]
    )


def _longest(results: dict[str, Lines]) -> str:
    lines = pick(results.get("longest", []), "measurement")
    found = {(line["arm"], line["clock"], line["what"].partition(": ")[2]): line for line in lines}
    names = ("p50", "p99", "p99.9", "max", "above 1 ms", "preemptions")
    keys = list(dict.fromkeys((arm, clock) for arm, clock, _ in found))
    rows = [[arm, clock, *(number(found[arm, clock, name]["median"]) for name in names)] for arm, clock in keys]
    return table(["arm", "clock", *(f"{n}, ns" if n[0] in "pm" and n != "preemptions" else n for n in names)], rows)


def _whole(results: dict[str, Lines]) -> str:
    lines = pick(results.get("whole", []), "measurement")
    rows = [[d["what"], d["arm"], d.get("clock", ""), d["unit"], spread(d)] for d in lines if d.get("clock") != "wall"]
    return table(["what", "arm", "clock", "unit", "median"], rows)


def _close(results: dict[str, Lines]) -> str:
    lines = pick(results.get("close", []), "measurement")
    return table(["what", "arm", "unit", "median"], [[d["what"], d["arm"], d["unit"], spread(d)] for d in lines])


def _footprint(results: dict[str, Lines]) -> str:
    lines = results.get("footprint", [])
    rows = [[d["what"], d["arm"], f"{spread(d)} ms"] for d in pick(lines, "measurement")]
    for rank in pick(lines, "note", what="a rank"):
        who = "writer" if rank["writer"] else "no writer"
        grown = f"{rank['above_buffer_mib']} MiB resident, {rank['anonymous_mib']} MiB of them its own"
        rows.append([f"memory above the buffer, rank {rank['rank']}", who, grown])
    return table(["what", "arm", "median"], rows)


def _flush(results: dict[str, Lines]) -> str:
    lines = results.get("flush", [])
    rows = []
    for ratio in pick(lines, "ratio", arm="flush", clock="wall"):
        facts = {k: ratio[k] for k in ("ranks", "bytes", "mpi", "place")}
        times = {d["arm"]: d for d in pick(lines, "measurement", clock="wall", **facts)}
        control = pick(lines, "ratio", arm="bare, A/A control", clock="wall", **facts)[-1]
        cpu = pick(lines, "ratio", arm="flush", clock="cpu all", **facts)[-1]
        rows.append(
            [
                ratio["mpi"].split()[0].replace("Open", "Open MPI"),
                ratio["place"],
                ratio["ranks"],
                f"{ratio['bytes'] >> 10} KiB",
                number(times["flush"]["median"]),
                number(times["bare"]["median"]),
                spread(ratio),
                spread(control),
                spread(cpu),
            ]
        )
    head = [
        "MPI",
        "file",
        "ranks",
        "bytes a rank",
        "flush, ms",
        "bare, ms",
        "wall ratio",
        "A/A control",
        "CPU ratio, all ranks",
    ]
    return table(head, rows)


def _nodes(results: dict[str, Lines]) -> str:
    lines = results.get("nodes", [])
    rows = []
    for ratio in pick(lines, "ratio", clock="cpu writer"):
        facts = {k: ratio[k] for k in ("ranks", "bytes", "mpi", "nodes")}
        times = {d["arm"]: d for d in pick(lines, "measurement", clock="cpu writer", **facts)}
        pair = [number(times[arm]["median"]) for arm in (ratio["arm"], ratio["base"])]
        rows.append([ratio["ranks"], ratio["nodes"], f"{ratio['bytes'] >> 10} KiB", ratio["arm"], *pair, spread(ratio)])
    head = ["ranks", "nodes", "bytes a rank", "arm", "its writer's CPU, ms", "ranks to writer, ms", "ratio"]
    return table(head, rows) if rows else "Not measured on this machine yet."


def _peers(results: dict[str, Lines]) -> str:
    lines = results.get("peers", [])
    rows = []
    for line in pick(lines, "measurement", what="a step of 3 values: caller"):
        name = line["arm"]
        total, size = (
            pick(lines, "measurement", what=f"a step of 3 values: {w}", arm=name)[0] for w in ("total", "bytes")
        )
        caller_share, total_share = (
            pick(lines, "ratio", what=f"a step of 3 values: {w}", arm=name)[0] for w in ("caller", "total")
        )
        cells = [name, number(line["median"]), number(caller_share["median"]), number(total["median"])]
        rows.append([*cells, number(total_share["median"]), number(size["median"]), line["remark"]])
    rows += [
        [d["peer"], "", "", "", "", "", f"{d['reason']}; {d['remark']}"]
        for d in pick(lines, "note", what="peer missing")
    ]
    head = [
        "tool",
        "caller, ns",
        "of JSON lines",
        "all CPU to the end, ns",
        "of JSON lines",
        "bytes a step",
        "settings",
    ]
    return table(head, rows)


_SHAPE = ("ranks", "step_ms", "events", "flush_every", "device", "arm", "library", "beside")


def _overhead(results: dict[str, Lines]) -> str:
    lines = results.get("overhead", [])
    rows = []
    for line in pick(lines, "measurement", clock="capture cpu"):
        facts = {k: line.get(k) for k in _SHAPE}
        calls = pick(lines, "measurement", clock="capture cpu, calls", **facts)[-1]
        wall = pick(lines, "measurement", clock="wall", **facts)[-1]
        above = pick(lines, "ratio", what="wall of a step, percent above nothing", **facts)
        percent = f"{above[-1]['median']:+.1f} [{above[-1]['low']:+.1f}, {above[-1]['high']:+.1f}]" if above else ""
        where = line["device"] + (f", beside {line['beside']}" if line.get("beside") else "")
        cells = [line["ranks"], where, f"{line['step_ms']:g}", line["events"], line["flush_every"], line["arm"]]
        rows.append([*cells, spread(calls), spread(line), number(wall["median"]), percent])
    head = [
        "ranks",
        "accelerator",
        "step, ms",
        "values",
        "steps a flush",
        "arm",
        "calls, CPU us",
        "with flush, CPU us",
        "wall, us",
        "wall, % above nothing",
    ]
    return table(head, rows)


def _cold(results: dict[str, Lines]) -> str:
    lines = pick(results.get("cold", []), "measurement")
    befores = list(dict.fromkeys(line["before"] for line in lines))
    found = {(line["arm"], line["before"]): line for line in lines}
    arms = list(dict.fromkeys(line["arm"] for line in lines))
    rows = [[arm, *(spread(found[arm, before]) for before in befores)] for arm in arms]
    return table(["20 values, wall, ns", *(f"after {before}" for before in befores)], rows)


def _model(results: dict[str, Lines]) -> str:
    rows = []
    for d in pick(results.get("model", []), "note", what="fit"):
        terms = [number(v) for v in d["coefficients"].values()]
        rows.append([d["library"], d["place"], d["clock"], *terms, d["held_out"], d["typical"], d["worst"]])
    head = ["MPI", "file", "clock", "fixed, s", "a rank, s", "a byte, s", "held out", "typical", "worst"]
    return table(head, rows)


def _beyond(results: dict[str, Lines]) -> str:
    lines = pick(results.get("model", []), "note", what="prediction", clock="cpu writer")
    ways = list(dict.fromkeys((d["library"], d["place"]) for d in lines))
    found = {(d["library"], d["place"], d["ranks"], d["bytes"]): d for d in lines}
    rows = []
    for ranks, size in dict.fromkeys((d["ranks"], d["bytes"]) for d in lines):
        each = [found[(*way, ranks, size)] for way in ways]
        memory = f"{each[0]['writer_bytes'] / 2**20:.3g} MiB"
        rows.append([ranks, f"{size >> 10} KiB", *(number(d["seconds"]) for d in each), memory])
    times = [f"{library}, {place}, s" for library, place in ways]
    return table(["ranks", "bytes a rank", *times, "receive buffer at the writer"], rows)


def _writers(results: dict[str, Lines]) -> str:
    lines = pick(results.get("model", []), "note", what="writers", clock="cpu writer", place="on disk", library="MPICH")
    loads = list(dict.fromkeys((d["step_ms"], d["values"]) for d in lines))
    found = {(d["ranks"], d["step_ms"], d["values"]): d for d in lines}
    rows = []
    for ranks in dict.fromkeys(d["ranks"] for d in lines):
        each = [found[(ranks, *load)] for load in loads]
        rows.append([ranks, *(f"{number(100 * d['share'])} % ({d['writers']})" for d in each)])
    return table(["ranks", *(f"{values} values each {step_ms} ms" for step_ms, values in loads)], rows)


def _several(results: dict[str, Lines]) -> str:
    lines = results.get("writers", [])
    fits = pick(results.get("model", []), "note", what="fit", clock="cpu writer")
    fitted = {(d["library"], d["place"]): list(d["coefficients"].values()) for d in fits}
    rows = []
    for one in sorted(
        pick(lines, "measurement", clock="cpu"), key=lambda d: (d["mpi"], d["place"], d["bytes"], _count(d), d["arm"])
    ):
        facts = {k: one[k] for k in ("ranks", "bytes", "mpi", "place")}
        against = pick(lines, "ratio", clock="cpu", arm=one["arm"], **facts)
        together = pick(lines, "measurement", clock="cpu all", arm=one["arm"], **facts)[-1]
        library = one["mpi"].split()[0].replace("Open", "Open MPI")
        known = fitted.get((library, one["place"]))
        predicted = 1e3 * model.predict(known, one["ranks"], one["bytes"], _count(one)) if known else None
        times = [number(one["median"]), number(predicted) if predicted else "", number(together["median"])]
        size = f"{one['bytes'] >> 10} KiB"
        rows.append([library, one["place"], size, one["arm"], *times, spread(against[-1]) if against else ""])
    head = ["MPI", "file", "bytes a rank", "arm", "busiest rank, ms", "by the model, ms", "all ranks, ms"]
    head.append("busiest, 1 writer = 1")
    return table(head, rows) if rows else "Not measured on this machine yet."


def _count(line: dict[str, Any]) -> int:
    return int(line["arm"].split()[0])


Tables = dict[str, Callable[[dict[str, Lines]], str]]
TABLES: Tables = {
    "targets": _targets,
    "call": _call,
    "structure": _structure,
    "longest": _longest,
    "whole": _whole,
    "close": _close,
    "footprint": _footprint,
    "flush": _flush,
    "peers": _peers,
    "overhead": _overhead,
    "cold": _cold,
    "nodes": _nodes,
    "model": _model,
    "beyond": _beyond,
    "writers": _writers,
    "several": _several,
    **offline_report.TABLES,
    "machine": _machine,
}
PAGES: dict[str, Tables] = {"benchmarks.md": TABLES, **offline_report.PAGES}
SOURCES = {
    "structure": "call",
    "model": "flush",
    "beyond": "flush",
    "writers": "flush",
    "several": "writers",
    "checking": "validation",
    "memory": "validation",
    "targets": "",
    "machine": "",
}
"""Of which results a table is, where it has not their name."""
ORDER = (
    "call",
    "whole",
    "longest",
    "close",
    "footprint",
    "flush",
    "nodes",
    "writers",
    "peers",
    "overhead",
    "cold",
    "model",
    *offline_report.ORDER,
)


def stored(folder: Path = RESULTS) -> dict[str, Lines]:
    """Return the lines of all results that there are."""
    return {name: lines for name in ORDER if (lines := kept(folder / f"{name}.jsonl"))}


def filled(page: str, tables: Tables, results: dict[str, Lines]) -> str:
    """Return a page with its tables made anew, each with a line that says when and on which code it was measured."""
    for name, make in tables.items():
        when = measured(results.get(SOURCES.get(name, name), []))
        page = put(page, name, "\n\n".join(filter(None, [make(results), when])))
    return page


def main() -> None:
    """Write the page and draw the plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--pages", type=Path, default=DOCS, help="folder of the pages")
    parser.add_argument("--plots", type=Path, default=DOCS / "benchmarks", help="folder of the plots")
    chosen = parser.parse_args()
    results = stored(chosen.results)
    for name, tables in PAGES.items():
        page = chosen.pages / name
        page.write_text(filled(page.read_text(), tables, results))
        print("->", page)
    for path in draw(results, chosen.plots):
        print("->", path)


if __name__ == "__main__":
    main()
