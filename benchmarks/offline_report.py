"""The tables about what is beside the training, some on pages of their own: conversion, checks, readers, telemetry."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.pages import Lines, number, pick, spread, table

ORDER = ("conversion", "validation", "readers", "telemetry")


def _conversion(results: dict[str, Lines]) -> str:
    lines = results.get("conversion", [])
    speeds = {line["base"]: line for line in pick(lines, "ratio")}
    rows = []
    for line in pick(lines, "measurement"):
        speed = spread(speeds[line["arm"]]) if line["arm"] in speeds else ""
        rows.append([line["arm"], f"{line['quads']:,}", spread(line), speed])
    return table(["arm", "quads", "CPU of a quad, ns", "speed of `provml convert`, that of the arm = 1"], rows)


def _checking(results: dict[str, Lines]) -> str:
    lines = pick(results.get("validation", []), "measurement", clock="cpu")
    rows = []
    for line in lines:
        size = line["what"].removesuffix(": CPU")
        [memory] = pick(results["validation"], "measurement", what=f"{size}: memory at its most", arm=line["arm"])
        rows.append([size, line["arm"], spread(line), spread(memory)])
    return table(["what", "arm", "CPU, s", "memory at its most, MiB"], rows)


def _memory(results: dict[str, Lines]) -> str:
    rows = []
    for by in ("records", "samples"):
        for line in pick(results.get("validation", []), "measurement", what=f"memory at its most, by {by}"):
            [cpu] = pick(results["validation"], "measurement", what=f"CPU, by {by}", arm=line["arm"], **{by: line[by]})
            beside = f" and {line['relations']:,} relations" if "relations" in line else ""
            size = f"{line[by]:,} {by}{beside}"
            rows.append([f"`provml {line['arm']}`", size, number(line["median"]), number(cpu["median"])])
    return table(["command", "file", "memory at its most, MiB", "CPU, s"], rows)


def _readers(results: dict[str, Lines]) -> str:
    lines = results.get("readers", [])
    rows = []
    for line in pick(lines, "measurement", what="a process that describes: cpu"):
        [memory] = pick(lines, "measurement", what="a process that describes: MB", arm=line["arm"])
        cells = ["", ""]
        for at, unit in enumerate(("times", "ms more")):
            cells[at] = "".join(spread(d) for d in lines if d.get("arm") == line["arm"] and d.get("unit") == unit)
        if line["arm"].rpartition(", ")[2] != "11 times":
            rows.append([line["arm"], f"{spread(line)} ms", *cells, f"{number(memory['median'])} MB"])
    return table(["what", "CPU of the process", "times `import h5py`", "each further file, ms", "memory"], rows)


def _telemetry(results: dict[str, Lines]) -> str:
    lines = pick(results.get("telemetry", []), "measurement")
    found = {(line["arm"], line["what"]): spread(line) for line in lines}
    heads = {
        "a node's sampler, %": "percent of a processor, a node",
        "the node with the most, %": "percent of a processor, the most of any node",
        "CPU of a turn, ms": "milliseconds of CPU a turn",
        "turns a second": "turns a second",
        "threads": "threads",
        "resident, MB": "MB resident, median of the nodes",
        "more than off, MB": "MB resident, median of the nodes, more than off",
    }
    arms = list(dict.fromkeys(arm for arm, _ in found))
    return table(["", *heads], [[arm, *(found.get((arm, what), "") for what in heads.values())] for arm in arms])


PAGES: dict[str, dict[str, Callable[[dict[str, Lines]], str]]] = {
    "readers.md": {"readers": _readers},
    "telemetry.md": {"telemetry": _telemetry},
}
"""Tables on pages of their own, by the page."""
TABLES: dict[str, Callable[[dict[str, Lines]], str]] = {
    "conversion": _conversion,
    "checking": _checking,
    "memory": _memory,
}
