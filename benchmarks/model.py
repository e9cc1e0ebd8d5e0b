"""A cost model of a flush point, fitted to ``benchmarks.flush``, checked on points held out, carried to 10,000 ranks.

``python -m benchmarks.model`` needs results of ``benchmarks.flush`` in the results folder. Seconds of a flush point of
`n` ranks with `b` bytes each are taken as::

    fixed + rank * n + byte * n * b

*fixed*: what a flush point costs whoever takes part: three writes to the file, a commit, a sync; *rank*: what the
writer rank does once a rank: take its message, note its extent, send it the answer; *byte*: moving and appending one
byte. There is no term of log(n): ranks send to the writer rank, or to the one of their node, and not along a tree.

All ranks wait while the writer rank works. So the share of a training that flush points take does not depend on how
often they come, once they are far enough apart: it is `byte` times the bytes that all ranks log a second.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.harness import Report, median, options, read

TERMS = ("fixed", "rank", "byte")
RANKS = (48, 192, 1000, 4000, 10_000)
SIZES = (4 << 10, 64 << 10, 1 << 20)
RATES = ((10, 20), (100, 20), (1000, 20), (10, 3), (100, 3), (1000, 3))
"""Milliseconds of a step, and values that each rank logs in it."""
SHARE = 0.005
"""The part of a training that its flush points may take."""
ROUND = 64 << 20
"""What one round of a gather brings to the writer rank at most, and so its memory; as `transport.base.ROUND_BYTES`."""
LIBRARIES = ("MPICH", "Open MPI")
Point = tuple[int, int, float]


def row(ranks: int, size: int) -> list[float]:
    """Return the factors of the terms."""
    return [1.0, float(ranks), float(ranks * size)]


def fit(points: list[Point], iterations: int = 300) -> list[float]:
    """Return the positive coefficients with the least squared error of the logarithm.

    So a flush point of a millisecond counts as much as one of a second, and half as much is as wrong as twice as much.
    Levenberg-Marquardt over the logarithms of the coefficients.
    """
    factors = np.array([row(n, b) for n, b, _ in points])
    wanted = np.log([seconds for _, _, seconds in points])
    middle = float(np.exp(np.median(wanted)))
    logs = np.log(middle / 4 / np.maximum(np.median(factors, axis=0), 1e-9))

    def errors(at: Any) -> Any:
        return np.log(factors @ np.exp(at)) - wanted

    damping, now = 1.0, errors(logs)
    for _ in range(iterations):
        shares = factors * np.exp(logs)
        slope = shares / shares.sum(axis=1, keepdims=True)
        step = np.linalg.solve(slope.T @ slope + damping * np.eye(len(logs)), -slope.T @ now)
        tried = np.maximum(logs + np.clip(step, -2, 2), -60)
        then = errors(tried)
        if then @ then < now @ now:
            logs, now, damping = tried, then, max(damping / 5, 1e-12)
        else:
            damping = min(damping * 5, 1e6)
    return [float(c) for c in np.exp(logs)]


def predict(coefficients: list[float], ranks: int, size: int, writers: int = 1) -> float:
    """Return seconds of a flush point, that of its busiest rank: the lead, to which each writer rank is one more."""
    fixed, rank, byte = coefficients
    group = -(-ranks // writers)
    return fixed + rank * (group + writers - 1) + byte * group * size


def writers_for(byte: float, ranks: int, step_ms: float, values: int) -> tuple[float, int]:
    """Return which part of a training one writer takes by the bytes alone, and how many keep it below `SHARE`."""
    a_second = ranks * (40 + 8 * values) / (step_ms / 1e3)
    return byte * a_second, max(1, math.ceil(byte * a_second / SHARE))


def apart(points: list[Point]) -> tuple[list[Point], list[Point]]:
    """Return the points that the model is fitted to, and those that it is checked on.

    Held out are all of the largest number of ranks, since what matters is the way beyond, and of the others every
    fourth, with another size at each number of ranks.
    """
    most = max(n for n, _, _ in points)
    counts = sorted({n for n, _, _ in points})
    sizes = sorted({b for _, b, _ in points})
    held = [p for p in points if p[0] == most or (counts.index(p[0]) + sizes.index(p[1])) % 4 == 3]
    return [p for p in points if p not in held], held


def points_of(lines: list[dict[str, Any]], place: str, clock: str, mpi: str = "MPICH") -> list[Point]:
    """Return ranks, bytes a rank and seconds of the flush points that were measured with one MPI."""
    found: dict[tuple[int, int], list[float]] = {}
    for line in lines:
        if line["kind"] != "measurement" or (line["arm"], line["clock"], line["place"]) != ("flush", clock, place):
            continue
        if line["bytes"] and line["mpi"].startswith(mpi):
            found.setdefault((line["ranks"], line["bytes"]), []).append(line["median"] / 1e3)
    return [(n, b, median(values)) for (n, b), values in sorted(found.items())]


def main() -> None:
    """Fit, check, predict, write the results."""
    parser = options(__doc__)
    chosen = parser.parse_args()
    lines = read(chosen.results / "flush.jsonl")
    report = Report("model")
    for library in LIBRARIES:
        for place in ("on disk", "in memory"):
            for clock in ("cpu writer", "wall"):
                points = points_of(lines, place, clock, library)
                if len(points) >= 8:
                    note(report, points, {"library": library, "place": place, "clock": clock})
    report.write(chosen.results)


def note(report: Report, points: list[Point], facts: dict[str, Any]) -> None:
    """Put one fit, its check and its predictions into the report."""
    known, held = apart(points)
    coefficients = fit(known)
    errors = [predict(coefficients, n, b) / seconds for n, b, seconds in held]
    worst = max(errors, key=lambda e: abs(math.log(e)))
    facts = facts | {"coefficients": dict(zip(TERMS, (float(f"{c:.4g}") for c in coefficients), strict=True))}
    checked = {"held_out": len(held), "typical": round(median(errors), 3), "worst": round(worst, 3)}
    report.note(what="fit", **facts, points=len(known), **checked)
    for n, b, seconds in points:
        expected = float(f"{predict(coefficients, n, b):.4g}")
        which = (n, b, seconds) in held
        report.note(what="point", **facts, ranks=n, bytes=b, measured=seconds, predicted=expected, held_out=which)
    for ranks in RANKS:
        for size in SIZES:
            seconds = float(f"{predict(coefficients, ranks, size):.4g}")
            memory = min(ranks * size, ROUND)
            report.note(what="prediction", **facts, ranks=ranks, bytes=size, seconds=seconds, writer_bytes=memory)
        for step_ms, values in RATES:
            share, writers = writers_for(coefficients[-1], ranks, step_ms, values)
            load = {"ranks": ranks, "step_ms": step_ms, "values": values}
            report.note(what="writers", **facts, **load, share=float(f"{share:.4g}"), writers=writers)
    print(
        *(v for v in facts.values()), f"held out, predicted/measured: typical {median(errors):.2f}, worst {worst:.2f}"
    )
    print("  10,000 ranks of 64 KiB:", f"{predict(coefficients, 10_000, 64 << 10):.2f} s")


if __name__ == "__main__":
    main()
