"""The campaign: ``python -m tests.faults.fuzz --target info convert --files 1000 --seed 1``."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from pathlib import Path

from tests.faults.fuzz import least, originals, targets
from tests.faults.fuzz.workers import Campaign, Found

_COLUMNS = ("done", "clean error", "found invalid", "contained", "not made", "fault")


def main() -> int:
    """Face many mutants, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", nargs="+", choices=targets.TARGETS, default=list(targets.TARGETS))
    parser.add_argument("--files", type=int, default=1000, help="of each target")
    parser.add_argument("--seed", type=int, default=1, help="the first seed; each file has the next one")
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-found"), help="where to put what brought something down"
    )
    parser.add_argument(
        "--originals", type=Path, help="a folder for the files that are spoiled, made if it is not there"
    )
    parser.add_argument("--state", type=Path, help="a file that remembers what was done, so that a campaign goes on")
    parser.add_argument("--least", action="store_true", help="make what is kept as small as it can be")
    options = parser.parse_args()
    state = json.loads(options.state.read_text()) if options.state and options.state.exists() else {}
    shared = Path("/dev/shm")
    everything: list[Found] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=shared if shared.is_dir() else None) as name:
        root = Path(name)
        made = originals.make(options.originals or root / "originals")
        gc.freeze()
        for target in options.target:
            campaign = Campaign(made, target, root, options.keep)
            found = campaign.found
            known = state.get(target)
            if known:
                found.files, found.seconds, found.longest = known["files"], known["seconds"], known["longest"]
                found.outcomes.update(known["outcomes"])
                found.contained.update(known["contained"])
                found.faults += [(int(seed), fault) for seed, fault in known["faults"]]

            def note(found: Found, target: str = target) -> None:
                tell(found)
                if options.state:
                    state[target] = vars(found)
                    options.state.write_text(json.dumps(state))

            campaign.run(range(options.seed + found.files, options.seed + options.files), note)
            everything.append(found)
            for seed in campaign.kept if options.least else ():
                print(f"   {target} {seed}: {least.least(campaign, seed, options.keep / 'least')}", flush=True)
            for seed, fault in found.faults[:20]:
                print(f"   {target} {seed}: {fault}", flush=True)
    call = f"--target {' '.join(options.target)} --files {options.files} --seed {options.seed}"
    print(f"\n`python -m tests.faults.fuzz {call}`\n")
    print(table(everything))
    return 1 if any(found.faults for found in everything) else 0


def tell(found: Found) -> None:
    """Print a line on how far a campaign is."""
    rate = found.files / found.seconds if found.seconds else 0
    print(
        f"{found.target}: {found.files} files, {rate:.0f}/s, {dict(found.outcomes)}, slowest {found.longest:.2f} s",
        flush=True,
    )


def table(everything: list[Found]) -> str:
    """Return the outcomes as a table in Markdown."""
    lines = [f"| target | files | {' | '.join(_COLUMNS)} | of these contained: how | slowest, s of CPU |"]
    lines.append("| --- |" + " ---: |" * (len(_COLUMNS) + 1) + " --- | ---: |")
    for found in everything:
        counts = " | ".join(f"{found.outcomes[name]:,}" for name in _COLUMNS)
        how = ", ".join(f"{count} {name}" for name, count in found.contained.most_common())
        lines.append(f"| {found.target} | {found.files:,} | {counts} | {how} | {found.longest:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
