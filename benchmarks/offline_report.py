"""The tables of ``docs/benchmarks.md`` about the offline side: conversion and validation."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.pages import Lines, number, pick, spread, table

ORDER = ("conversion", "validation")


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


TABLES: dict[str, Callable[[dict[str, Lines]], str]] = {
    "conversion": _conversion,
    "checking": _checking,
    "memory": _memory,
}
