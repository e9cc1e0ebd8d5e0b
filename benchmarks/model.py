"""A cost model of a flush point, fitted to ``benchmarks.flush``, checked on points held out, carried to 10,000 ranks.

``python -m benchmarks.model`` needs results of ``benchmarks.flush`` in the results folder. Seconds of a flush point of
`n` ranks with `b` bytes each are taken as::

    fixed + step * log2(n) + rank * n + byte * n * b

*fixed*: agreeing, committing, two syncs; *step*: latency of a collective; *rank*: what the writer does once a rank (its
part of the gather, one extent, one append); *byte*: moving, checksumming and appending one byte.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.harness import Report, median, options, read

TERMS = ("fixed", "step", "rank", "byte")
RANKS = (48, 192, 1000, 4000, 10_000)
SIZES = (4 << 10, 64 << 10, 1 << 20)
ROUND = 64 << 20
"""What one round of a gather brings to the writer rank at most, and so its memory; as `transport.base.ROUND_BYTES`."""
Point = tuple[int, int, float]


def row(ranks: int, size: int) -> list[float]:
    """Return the factors of the terms."""
    return [1.0, math.log2(ranks) if ranks > 1 else 0.0, float(ranks), float(ranks * size)]


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


def predict(coefficients: list[float], ranks: int, size: int) -> float:
    """Return seconds of a flush point."""
    return sum(c * f for c, f in zip(coefficients, row(ranks, size), strict=True))


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
    for place in ("on disk", "in memory"):
        for clock in ("cpu writer", "wall"):
            points = points_of(lines, place, clock)
            if len(points) < 8:
                continue
            # Every third point is held out; the largest is always among them, since what matters is the way beyond.
            held = points[::-1][::3]
            known = [point for point in points if point not in held]
            coefficients = fit(known)
            errors = [predict(coefficients, n, b) / seconds for n, b, seconds in held]
            named = dict(zip(TERMS, (float(f"{c:.4g}") for c in coefficients), strict=True))
            facts = {"place": place, "clock": clock, "coefficients": named}
            worst = max(errors, key=lambda e: abs(math.log(e)) if e > 0 else math.inf)
            report.note(
                what="fit",
                **facts,
                points=len(known),
                held_out=len(held),
                typical=round(median(errors), 3),
                worst=round(worst, 3),
            )
            for n, b, seconds in points:
                expected = predict(coefficients, n, b)
                report.note(
                    what="point",
                    **facts,
                    ranks=n,
                    bytes=b,
                    measured=seconds,
                    predicted=expected,
                    held_out=(n, b, seconds) in held,
                )
            for ranks in RANKS:
                for size in SIZES:
                    memory = min(ranks * size, ROUND)
                    report.note(
                        what="prediction",
                        **facts,
                        ranks=ranks,
                        bytes=size,
                        seconds=predict(coefficients, ranks, size),
                        writer_bytes=memory,
                    )
            print(
                place, clock, named, "held out, predicted/measured: typical", f"{median(errors):.2f}, worst {worst:.2f}"
            )
            print("  10,000 ranks of 64 KiB:", f"{predict(coefficients, 10_000, 64 << 10):.2f} s")
    report.write(chosen.results)


if __name__ == "__main__":
    main()
