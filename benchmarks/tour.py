"""A short tour of the benchmarks, of a few minutes: ``make bench``, or ``python -m benchmarks.tour``.

Its results go to ``benchmarks/.work``, so that those which ``docs/benchmarks.md`` quotes stay as they are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import MARKS, ROOT, kept, pick_targets
from benchmarks.launch import environment

FOLDER = Path(__file__).parent / ".work" / "tour"
STOPS = (
    ("call", "--quick", "--rounds", "9"),
    ("whole", "--rounds", "3", "--steps", "200000"),
    ("longest", "--rounds", "1", "--calls", "300000"),
    ("close", "--rounds", "1", "--samples", "1000000"),
    ("footprint", "--rounds", "5"),
    ("flush", "--rounds", "7", "--ranks", "4", "--sizes", "4096", "65536"),
    ("overhead", "--rounds", "3", "--ranks", "2", "--shapes", "10:20", "--block", "0.5"),
)


def main() -> None:
    """Run every stop, then show all targets in one list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the JSON lines")
    chosen = parser.parse_args()
    failed = []
    for name, *arguments in STOPS:
        print(f"\n{name} ...", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments, "--results", str(chosen.results)]
        if subprocess.run(command, cwd=ROOT, env=environment()).returncode:
            failed.append(name)
    print("\nAll targets of this tour (a short one: see docs/benchmarks.md for the long one)")
    for name, *_ in STOPS:
        for line in pick_targets(kept(chosen.results / f"{name}.jsonl")):
            mark = MARKS[line["met"]]
            print(f"  {mark:19}  {line['what']}: {line['median']:.3g} (target {line['limit']:g} {line['unit']})")
    if failed:
        sys.exit(f"error: these did not run: {', '.join(failed)}; see above for why")


if __name__ == "__main__":
    main()
