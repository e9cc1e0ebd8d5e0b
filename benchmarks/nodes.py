"""Whether it pays that the ranks of a node send through one of them: the transport alone, without a file.

``python -m benchmarks.nodes`` has MPICH take one machine for several nodes (``MPIR_CVAR_NUM_CLIQUES``), between which
it sends over the network's loopback and not through shared memory. The writer's CPU is what bounds a flush point where
each rank has a core of its own.
"""

from __future__ import annotations

from benchmarks.harness import Report, estimate, options, ratio
from benchmarks.launch import LaunchError, job

SIZES = (0, 4 << 10, 64 << 10)


def main() -> None:
    """Measure and write the results."""
    parser = options(__doc__, rounds=15)
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 48])
    parser.add_argument("--on-a-node", type=int, default=4, help="ranks that MPICH takes to be on one node")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes a rank")
    parser.add_argument("--timeout", type=float, default=200)
    chosen = parser.parse_args()
    report = Report("nodes")
    for ranks in chosen.ranks:
        arguments = {"sizes": list(chosen.sizes), "rounds": chosen.rounds, "seed": chosen.seed}
        extra = {"MPIR_CVAR_NUM_CLIQUES": str(ranks // chosen.on_a_node)}
        try:
            done = job("benchmarks.scenarios.nodes", ranks, arguments, extra=extra, timeout=chosen.timeout)
        except LaunchError as error:
            report.note(what="failed", ranks=ranks, error=str(error)[-500:])
            print(error)
            continue
        facts = {"ranks": ranks, "nodes": done["nodes"], "mpi": done["library"]}
        for key, clocks in done["found"].items():
            arm, _, size = key.partition("|")
            base = done["found"][f"ranks to writer|{size}"]
            for clock, values in clocks.items():
                report.measured(
                    "a meeting", arm, "ms", [1e3 * v for v in values], clock=clock, bytes=int(size), **facts
                )
                if arm != "ranks to writer":
                    against = ratio(values, base[clock])
                    report.compared("a meeting", arm, "ranks to writer", against, clock=clock, bytes=int(size), **facts)
            writer, all_ranks = (1e3 * estimate(clocks[clock]).median for clock in ("cpu writer", "cpu all"))
            print(f"{ranks:3} ranks, {size:>6} bytes, {arm:30} writer {writer:7.3f} ms, all ranks {all_ranks:8.2f} ms")
    report.write(chosen.results)


if __name__ == "__main__":
    main()
